"""
What restricted keys may do: every endpoint, with a key of each scope, and with keys that reach other wallets.

The requests are those of the object matrix. After every refusal each table of the domain holds what it held before.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.urls import get_resolver

from config.api import key_scopes
from tests.api.endpoints import endpoints
from tests.support.databases import shared_rows
from tests.support.object_matrix import (
    FORM,
    OTHERWISE,
    TABLE,
    World,
    as_if_nothing_had_happened,
    build,
    digests,
    expected,
    silent_raida,
)
from tests.support.restricted_keys import with_key
from trusts.models import Trust
from wallets.states import KeyScope

pytestmark = pytest.mark.django_db

# Fixtures.
__all__ = ["silent_raida"]

# A key has one of the two, and one that peeks reaches the wallet that made it.
ALL: Final = [scope for scope in KeyScope if scope is not KeyScope.TRANSFERS_PENDING_ONLY]
NO_PEEKS: Final = [scope for scope in ALL if scope is not KeyScope.LOCKERS_PEEK]


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    with shared_rows(django_db_blocker):
        world = build()
        owner, manager = world.callers["owner"], world.callers["manager"]
        for scope in KeyScope:
            world.callers[scope] = with_key(owner, scope, wallets=["alice"])
        world.callers["manager without alice"] = with_key(manager, *ALL, wallets=["mona"])
        world.callers["manager for alice"] = with_key(manager, *NO_PEEKS, wallets=["alice"])
        yield world


ACTIONS: Final = {(method, path): action for method, path, action in endpoints(get_resolver())}


def scopes_of(endpoint: tuple[str, str]) -> tuple[KeyScope, ...] | None:
    return key_scopes.OPERATIONS[ACTIONS[endpoint].operation]  # type: ignore[attr-defined]


def test_every_operation_is_in_the_table() -> None:
    assert {action.operation for action in ACTIONS.values()} == set(key_scopes.OPERATIONS)  # type: ignore[attr-defined]
    assert {endpoint for endpoint in ACTIONS if scopes_of(endpoint) is None} == set(OTHERWISE)
    # Each scope allows something.
    assert {scope for scopes in key_scopes.OPERATIONS.values() for scope in scopes or ()} == set(KeyScope)


def asked(world: World, endpoint: tuple[str, str]) -> tuple[str, str, Any, dict[str, str]]:
    path, body, _ = TABLE[endpoint]
    headers = {"content_type": FORM} if isinstance(body, bytes) else {}
    return endpoint[0], path.format(**{name: str(value) for name, value in world.ids.items()}), body, headers


@pytest.mark.parametrize("endpoint", TABLE, ids=" ".join)
def test_a_key_may_what_its_scope_allows_and_nothing_else(
    world: World, settings: Any, endpoint: Any, silent_raida: Any
) -> None:
    settings.RAIDA_HOSTS = silent_raida
    settings.RAIDA_TIMEOUT_SECONDS = 0.1
    method, path, body, headers = asked(world, endpoint)
    allowing = scopes_of(endpoint)
    before = digests()
    found, wanted = {}, {}

    for scope in KeyScope:
        if allowing is None or scope in allowing:
            response, _ = as_if_nothing_had_happened(
                before,
                lambda: world.callers[scope].send(method, path, body, **headers),  # noqa: B023
            )
            wanted[scope] = (expected(endpoint)["owner"], False)
        else:
            response = world.callers[scope].send(method, path, body, **headers)
            wanted[scope] = (403, True)
        found[scope] = (response.status_code, response.get("Error-Code") == "key_scope_missing")

    assert digests() == before
    assert found == wanted


@pytest.mark.parametrize("endpoint", TABLE, ids=" ".join)
def test_a_key_reaches_no_object_of_a_wallet_outside_its_set(
    world: World, settings: Any, endpoint: Any, silent_raida: Any
) -> None:
    """A manager's key without the managed wallet gets what a stranger gets; one for it alone what its manager gets."""
    settings.RAIDA_HOSTS = silent_raida
    settings.RAIDA_TIMEOUT_SECONDS = 0.1
    method, path, body, headers = asked(world, endpoint)
    before, allowing = digests(), scopes_of(endpoint)
    wrong = []

    for role, like in (("manager without alice", "stranger"), ("manager for alice", "manager")):
        response, has_written = as_if_nothing_had_happened(
            before,
            lambda: world.callers[role].send(method, path, body, **headers),  # noqa: B023
        )
        status = expected(endpoint)[like]
        if allowing == () or (role == "manager for alice" and allowing == (KeyScope.LOCKERS_PEEK,)):
            status = 403
        if response.status_code != status or (status >= 400 and has_written):
            wrong.append((role, response.status_code, status, has_written, response.content))

    assert wrong == []
    assert digests() == before


# What the later version answers with other statuses is the object matrix's matter.
@pytest.mark.parametrize("role", ["manager without alice", KeyScope.EVENTS_READ])
def test_below_the_address_of_the_later_version_a_key_may_no_more(world: World, role: str) -> None:
    before = digests()
    wrong = []
    for endpoint in TABLE:
        if endpoint[1].startswith(("/api/", "/webhooks", "/keys")):
            continue
        method, path, body, headers = asked(world, endpoint)
        response, has_written = as_if_nothing_had_happened(
            before,
            lambda: world.callers[role].send(method, f"/wallet/v2{path}", body, **headers),  # noqa: B023
        )
        allowing = scopes_of(endpoint)
        if role in KeyScope:
            is_allowed = allowing is None or role in allowing
        else:
            is_allowed = expected(endpoint)["stranger"] < 400 and allowing != ()
        if (response.status_code < 400) != is_allowed or (not is_allowed and has_written):
            wrong.append((endpoint, response.status_code, has_written))
    assert wrong == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/wallets?limit=99", "wallets"),
        ("/wallet/v2/wallets?limit=99", "wallets"),
        ("/tokens?limit=99", "tokens"),
        ("/transfers?limit=99", "transfers"),
        ("/transfers?limit=99&state=pending", "transfers"),
        ("/transfers?limit=99&wallet=alice", "transfers"),
        ("/wallet/v2/transfers", "transfers"),
        ("/wallet/v2/transfers?wallet=alice&sort_by=state", "transfers"),
        ("/trust_relationships", "trust_relationships"),
        ("/wallet/v2/trust_relationships", "trust_relationships"),
        ("/events?limit=99", "events"),
        ("/action-tokens", "action_tokens"),
        ("/webhooks", "webhooks"),
        ("/api/v1/wallets", "wallets"),
        ("/api/v1/lockers", "lockers"),
        ("/api/v1/exports", "exports"),
        ("/api/v1/payment-requests", "payment_requests"),
    ],
)
def test_lists_have_what_the_wallets_of_a_key_have(world: World, path: str, name: str) -> None:
    """The lists of a manager's key for one wallet are those of that wallet, and those without it have nothing of it."""

    def listed(role: str) -> tuple[list[str], Any]:
        body = world.callers[role].get(path).json()
        return sorted(each.get("id") or each["name"] for each in body[name]), body.get("total")

    own = listed("owner")
    if path.startswith("/tokens"):
        # The list is of the caller's own wallet, which the key does not reach.
        assert world.callers["manager for alice"].get(path).status_code == 403
    elif "wallets" in path:
        # The owner manages no wallet.
        assert listed("manager for alice") == own
    else:
        assert listed("manager for alice") == own
    assert own[0]
    # Of its own trust with the managed wallet the manager is a party.
    common = set(listed("manager without alice")[0]) & set(own[0])
    assert common == ({str(Trust.objects.get(actor__name="mona").pk)} if "trust" in path else set())


_SORTS: Final = ("", "created_at", "closed_at", "state", "id", "source_wallet_id", "originator_wallet_id")
_FILTERS: Final = (
    "", "state=pending", "state=completed", "state=requested", "wallet=alice", "wallet=steve", "wallet=mona",
    "before=2040-01-01", "after=2020-01-01", "created_since=2020-01-01T00:00:00Z", "reference=x",
    "metadata[shop]=north", "awaiting_approval=true", "include=available_actions", "after=2020-01-01&state=pending",
)  # fmt: skip
LISTS: Final = (
    *(f"/transfers?limit=9&{query}" for query in _FILTERS if "include" not in query),
    *(
        f"/wallet/v2/transfers?{query}&{sort and f'sort_by={sort}&order={order}'}"
        for query in _FILTERS
        if "include" not in query
        for sort in _SORTS
        for order in ("asc", "desc")
        if order == "asc" or (sort and not query)
    ),
    *(
        f"/wallet/v2/wallets?{query}&{sort and f'sort_by={sort}&order={order}'}"
        for query in ("", "name=a", "created_at_start_date=2020-01-01")
        for sort in ("", "created_at", "name")
        for order in ("asc", "desc")
    ),
    *(
        f"/wallet/v2/trust_relationships?{query}&{sort and f'sort_by={sort}&order={order}'}"
        for query in ("", "state=trusted", "search=a", "type=send")
        for sort in ("", "created_at", "updated_at", "state")
        for order in ("asc", "desc")
    ),
    *(f"/trust_relationships?{query}" for query in ("", "state=trusted", "type=manage", "request_type=manage")),
    "/wallets/{alice}/trust_relationships", "/wallet/v2/wallets/{alice}/trust_relationships?exclude_managed=true",
    "/events?limit=9&wallet=alice", "/action-tokens?state=active",
    "/webhooks?wallet=alice", "/tokens?limit=9&wallet=alice",
)  # fmt: skip


def test_each_form_of_a_list_is_narrowed_and_none_is_refused_as_unknown(world: World) -> None:
    """What the manager's key for one wallet lists is what that wallet's own login lists."""
    wrong = []
    for path in LISTS:
        named = path.format(**{name: str(value) for name, value in world.ids.items()})
        of_key, of_owner = (world.callers[role].get(named) for role in ("manager for alice", "owner"))
        if (of_key.status_code, of_owner.status_code) != (200, 200):
            wrong.append((path, of_key.content, of_owner.content))
            continue
        [key] = [name for name, value in of_key.json().items() if isinstance(value, list)]
        rows = [sorted(str(each.get("id") or each["name"]) for each in one.json()[key]) for one in (of_key, of_owner)]
        if rows[0] != rows[1] or of_key.json().get("total") != of_owner.json().get("total"):
            wrong.append((path, *rows))
    assert wrong == []
