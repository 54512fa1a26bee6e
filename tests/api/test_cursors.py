"""
Every list with cursors: each row once at any limit, equal sort keys included, and each cursor for its own list alone.

The lists are those of the committed API description; one without a row here fails.
"""

import json
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from django.db import connection

from tests.api.caller import Caller, answer, refusal
from tests.support.pagination import next_path
from transfers import bulk
from transfers import operations as transfers
from trusts import operations as trusts
from trusts import queries as trust_queries
from trusts.states import TrustRequestType
from wallets.models import Token

DESCRIPTION: Final = Path(__file__).parents[2] / "docs" / "openapi.json"


class Listed(NamedTuple):
    """A list: the endpoint of the description, the name of its rows, how many there are, and what narrows it."""

    endpoint: str
    name: str
    rows: int
    # Another id in the path, and a filter, with which a cursor of this list is worth nothing.
    other: str = ""
    narrowed: str = ""


@pytest.fixture
def lists(alice: Caller, bob: Caller) -> dict[str, Listed]:
    """alice manages six wallets, of which five were created at one moment, and has at least three rows in each list."""
    actor = alice.wallet
    rows = [bulk.Row(line, f"tree-{line}", None) for line in range(2, 7)]
    bulk.create_batch(actor=actor, rows=rows)
    sapling = trusts.open_managed_wallet(actor=actor, name="sapling")
    for kind in (TrustRequestType.SEND, TrustRequestType.RECEIVE, TrustRequestType.MANAGE):
        trusts.request_trust(actor=actor, request_type=kind, requestee="bobby")
    transfers.issue_tokens(wallet=actor, count=12)
    (token,) = Token.objects.filter(wallet=actor).order_by("arrival").values_list("pk", flat=True)[:1]
    # In the end it lies with sapling, so that no bundle of alice takes it.
    ways = [("alice", "sapling"), ("sapling", "alice")] * 2 + [("alice", "sapling")]
    for here, there in ways:
        transfers.send_tokens(actor=actor, sender=here, receiver=there, token_ids=[token])
    moved, also_moved, reserved, also_reserved = (
        transfers.send_bundle(actor=actor, sender="alice", receiver=name, size=size)
        for name, size in (("sapling", 4), ("sapling", 1), ("bobby", 4), ("bobby", 1))
    )
    ids = {
        "moved": moved.id, "also moved": also_moved.id, "reserved": reserved.id, "also reserved": also_reserved.id,
        "alice": actor.pk, "sapling": sapling.pk, "token": token,
        "another token": Token.objects.exclude(pk=token).filter(wallet=actor)[0].pk,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM trusts_trust")
        (all_trusts,) = cursor.fetchone()
    of_transfer, of_wallet = "/transfers/{transfer_id}/tokens", "/wallets/{wallet_id}/trust_relationships"
    held = Token.objects.filter(wallet=actor).count()
    return {
        "/wallets": Listed("/wallets", "wallets", 7),
        "/tokens": Listed("/tokens", "tokens", held, narrowed="wallet=sapling"),
        "/transfers": Listed("/transfers", "transfers", 9, narrowed="state=completed"),
        "/events": Listed("/events", "events", 0, narrowed="wallet=alice"),
        "/trust_relationships": Listed("/trust_relationships", "trust_relationships", all_trusts, narrowed="type=send"),
        f"/tokens/{ids['token']}/transactions": Listed(
            "/tokens/{token_id}/transactions", "history", 5, f"/tokens/{ids['another token']}/transactions"
        ),
        f"/transfers/{ids['moved']}/tokens": Listed(of_transfer, "tokens", 4, f"/transfers/{ids['also moved']}/tokens"),
        f"/transfers/{ids['reserved']}/tokens": Listed(
            of_transfer, "tokens", 4, f"/transfers/{ids['also reserved']}/tokens"
        ),
        f"/wallets/{ids['alice']}/statement": Listed(
            "/wallets/{wallet_id}/statement", "lines", 8, f"/wallets/{ids['sapling']}/statement", "from=2020"
        ),
        f"/wallets/{ids['alice']}/trust_relationships": Listed(
            of_wallet, "trust_relationships", all_trusts, f"/wallets/{ids['sapling']}/trust_relationships", "type=send"
        ),
    }


def read(caller: Caller, path: str, name: str) -> Any:
    status, body = answer(caller.get(path))
    assert status == 200, body
    return body[name]


def test_each_row_comes_once_at_any_limit_by_cursor_and_by_start(alice: Caller, lists: dict[str, Listed]) -> None:
    for path, listed in lists.items():
        everything = read(alice, f"{path}?limit=1000", listed.name)
        assert len(everything) == (listed.rows or len(everything)) >= 3, path
        # The rows of a history have no ids, but each its own time.
        assert len({json.dumps(row) for row in everything}) == len(everything), path
        for limit in (1, 2, 3, len(everything) - 1, len(everything)):
            seen, page = [], f"{path}?limit={limit}"
            while page:
                response = alice.get(page)
                rows = answer(response)[1][listed.name]
                assert 0 < len(rows) <= limit, path
                seen += rows
                assert len(seen) <= len(everything), (path, limit)
                page = next_path(response)
            assert seen == everything, (path, limit)
        for start in range(1, len(everything) + 2):
            response = alice.get(f"{path}?limit=2&start={start}")
            assert answer(response)[1][listed.name] == everything[start - 1 :][:2], path
            page = next_path(response)
            assert (page is None) is (start + 2 > len(everything)), path
            # By a cursor from there on.
            assert page is None or "start=" not in page, path
            if page is not None:
                assert read(alice, page, listed.name) == everything[start + 1 :][:2], path


def test_a_cursor_is_good_for_its_own_list_alone(alice: Caller, bob: Caller, lists: dict[str, Listed]) -> None:
    invalid = refusal(422, '"cursor" is not valid')
    cursors = {path: next_path(alice.get(f"{path}?limit=1")).partition("cursor=")[2] for path in lists}

    for path, cursor in cursors.items():
        listed = lists[path]
        assert alice.get(f"{path}?limit=1&cursor={cursor}").status_code == 200
        assert answer(bob.get(f"{path}?limit=1&cursor={cursor}")) == invalid, path
        elsewhere = [f"{each}?limit=1" for each in lists if each != path]
        elsewhere += [f"{listed.other}?limit=1"] if listed.other else []
        elsewhere += [f"{path}?limit=1&{listed.narrowed}"] if listed.narrowed else []
        for other in elsewhere:
            assert answer(alice.get(f"{other}&cursor={cursor}")) == invalid, (path, other)
        assert answer(alice.get(f"{path}?limit=1&start=1&cursor={cursor}")) == refusal(
            422, '"start" is not allowed together with "cursor"'
        )


def test_every_list_of_the_description_is_tried(lists: dict[str, Listed]) -> None:
    paths = json.loads(DESCRIPTION.read_text())["paths"]
    described = set()
    for path, methods in paths.items():
        names = {each.get("name") or each.get("$ref", "") for each in methods.get("get", {}).get("parameters", [])}
        if any("cursor" in name.lower() for name in names) and not path.startswith("/api/"):
            described.add(re.sub(r"^/wallet(?=/)", "", path))

    # Their errors are problem details: see test_sessions, test_restricted_keys and tests/webhooks.
    of_other_format = {"/auth/sessions", "/keys", "/webhooks", "/webhooks/{webhook_id}/deliveries"}
    assert described - of_other_format == {listed.endpoint for listed in lists.values()}


def test_wallets_of_one_moment_are_listed_in_one_order(alice: Caller, lists: dict[str, Listed]) -> None:
    rows = read(alice, "/wallets?limit=9", "wallets")
    ids = {str(wallet_id) for wallet_id in trust_queries.controlled_wallet_ids(actor_id=alice.wallet.pk)}

    assert {row["id"] for row in rows} == ids
    same = [row for row in rows if row["name"].startswith("tree-")]
    assert len({row["created_at"] for row in same}) == 1
    assert same == sorted(same, key=lambda row: row["id"])
    assert rows[-1]["name"] == "alice"
