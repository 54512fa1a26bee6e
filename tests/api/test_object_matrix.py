"""
Who may do what: every endpoint, called by each kind of caller, on objects of alice.

The endpoints come from the URL conf, so a new one fails here until its row says who may. After every refusal
each table of the domain holds what it held before.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.urls import get_resolver

from tests.api.caller import PASSWORD, Caller
from tests.api.endpoints import endpoints
from tests.support.databases import shared_rows
from tests.support.object_matrix import (
    FORM,
    OTHERWISE,
    ROLES,
    TABLE,
    World,
    as_if_nothing_had_happened,
    build,
    digests,
    expected,
    silent_raida,
)
from wallets.models import Wallet
from wallets.operations import authenticate

pytestmark = pytest.mark.django_db

# Fixtures.
__all__ = ["silent_raida"]


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    with shared_rows(django_db_blocker):
        yield build()


def test_every_endpoint_of_the_url_conf_has_a_row() -> None:
    assert {(method, path) for method, path, _ in endpoints(get_resolver())} == set(TABLE)


@pytest.mark.parametrize("endpoint", TABLE, ids=" ".join)
def test_everybody_gets_what_the_row_says_and_a_refusal_changes_nothing(
    world: World, settings: Any, endpoint: Any, silent_raida: Any
) -> None:
    settings.RAIDA_HOSTS = silent_raida
    settings.RAIDA_TIMEOUT_SECONDS = 0.1
    method = endpoint[0]
    asked, body, _ = TABLE[endpoint]
    path = asked.format(**{name: str(value) for name, value in world.ids.items()})
    statuses, wrote, before = {}, {}, digests()

    for role in ROLES:
        headers = {"content_type": FORM} if isinstance(body, bytes) else {}
        response, wrote[role] = as_if_nothing_had_happened(
            before,
            lambda: world.callers[role].send(method, path, body, **headers),  # noqa: B023
        )
        statuses[role] = response.status_code

    assert digests() == before, "what was done for one was there for the next"
    assert statuses == expected(endpoint)
    assert [role for role in ROLES if statuses[role] >= 400 and wrote[role]] == []
    if method != "GET" and statuses["owner"] < 400 and not path.endswith(("/code", "/describe")):
        # What is allowed does write, so that the line above could fail.
        assert wrote["owner"]


# Below `/wallet/v2`: endpoints, and the statuses that stand for others there.
OF_V2: Final[dict[tuple[str, str], dict[int, int]]] = {
    ("GET", "/tokens/{token_id}"): {401: 403},
    ("GET", "/tokens/{token_id}/transactions"): {401: 403},
    ("GET", "/tokens/{token_id}/proof"): {401: 403},
    ("GET", "/wallets/{wallet_id}/trust_relationships"): {403: 422},
    ("PATCH", "/wallets/{wallet_id}"): {403: 422},
    ("POST", "/trust_relationships"): {200: 201},
    ("POST", "/trust_relationships/{trust_relationship_id}/accept"): {403: 404},
    ("POST", "/trust_relationships/{trust_relationship_id}/decline"): {403: 404},
    ("POST", "/wallets"): {200: 201},
    ("POST", "/wallets/batch-create-wallet"): {200: 201},
}


def test_everybody_may_do_the_same_below_the_address_of_the_later_version(world: World) -> None:
    before = digests()
    found: dict[tuple[str, str], dict[int, int]] = {}
    wrong = []
    for endpoint, (asked, body, _) in TABLE.items():
        method, path = endpoint
        if path.startswith(("/api/", "/webhooks", "/keys")):
            continue
        here = "/wallet/v2" + asked.format(**{name: str(value) for name, value in world.ids.items()})
        headers = {"content_type": FORM} if isinstance(body, bytes) else {}
        for role, status in expected(endpoint).items():
            response, has_written = as_if_nothing_had_happened(
                before,
                lambda: world.callers[role].send(method, here, body, **headers),  # noqa: B023
            )
            if (response.status_code < 400) != (status < 400) or (response.status_code >= 400 and has_written):
                wrong.append((endpoint, role, response.status_code, has_written))
            if role in {"no token", "revoked token"} and endpoint not in OTHERWISE:
                if response.status_code != 401:
                    wrong.append((endpoint, role, response.status_code, has_written))
            elif response.status_code != status:
                found.setdefault(endpoint, {})[status] = response.status_code

    assert wrong == []
    assert found == OF_V2
    assert digests() == before


@pytest.mark.parametrize("prefix", ["", "/wallet/v2"])
def test_who_may_not_see_a_token_does_not_see_in_its_transfer_where_it_went(world: World, prefix: str) -> None:
    owner, manager, trusted, stranger = (world.callers[role] for role in ROLES[:4])
    rita = Caller(owner.api_key, authenticate(name_or_id="rita", password=PASSWORD))
    alice, offered = world.ids["alice"], world.ids["offered"]
    assert owner.post(f"/transfers/{offered}/accept", {}).status_code == 200
    token = owner.get(f"/transfers/{offered}/tokens?limit=9").json()["tokens"][0]["id"]

    def shown(caller: Caller) -> dict[str, Any]:
        """What the transfer's list shows of the token, but for the fields that never change."""
        (row,) = caller.get(f"{prefix}/transfers/{offered}/tokens?limit=9").json()["tokens"]
        return {name: row[name] for name in ("wallet_id", "transfer_pending", "transfer_pending_id", "updated_at")}

    as_left = shown(owner)
    assert as_left["wallet_id"] == str(alice)
    sent = owner.post("/transfers", {"sender_wallet": "alice", "receiver_wallet": "tina", "tokens": [token]})
    assert sent.status_code == 201
    pending = trusted.post("/transfers", {"sender_wallet": "tina", "receiver_wallet": "rita", "tokens": [token]})
    assert pending.status_code == 202

    for caller in (owner, manager):
        assert caller.get(f"{prefix}/tokens/{token}").status_code in (401, 403)
        assert shown(caller) == as_left
    for caller in (trusted, stranger):
        assert caller.get(f"{prefix}/transfers/{offered}/tokens?limit=9").status_code == 404

    assert rita.post(f"/transfers/{pending.json()['id']}/accept", {}).status_code == 200
    (row,) = trusted.get(f"{prefix}/transfers/{sent.json()['id']}/tokens?limit=9").json()["tokens"]
    assert row["wallet_id"] == str(trusted.wallet.pk)
    # Who sees the token sees where it is.
    assert shown(rita)["wallet_id"] == str(Wallet.objects.get(name="rita").pk)
    assert shown(rita) != as_left
    assert shown(owner) == as_left


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/wallets?limit=99", "wallets"),
        ("/tokens?limit=99", "tokens"),
        ("/transfers?limit=99", "transfers"),
        ("/transfers?limit=99&wallet=alice", "transfers"),
        ("/wallet/v2/transfers?wallet=alice&sort_by=state", "transfers"),
        ("/trust_relationships", "trust_relationships"),
        ("/api/v1/lockers", "lockers"),
        ("/api/v1/exports", "exports"),
        ("/api/v1/payment-requests", "payment_requests"),
    ],
)
def test_lists_show_a_stranger_nothing_of_anybody(world: World, path: str, name: str) -> None:
    listed = world.callers["stranger"].get(path).json()[name]

    assert [each["name"] for each in listed] == (["steve"] if name == "wallets" else [])
    assert world.callers["owner"].get(path).json()[name]
