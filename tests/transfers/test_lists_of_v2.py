"""
`GET /transfers` with the parameters of the public service's later version: filters, orders, `total` and `query`.

Every page is compared with a model: the rows of the table, filtered and sorted in Python.
"""

import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection

from tests.api.caller import Caller, answer, refusal
from tests.support.pagination import next_path
from tests.support.transfer_requests import STRANGE, bundle
from transfers import operations, transfer_lists
from transfers.models import Transfer
from transfers.states import TransferState
from trusts import operations as trusts
from wallets.models import Wallet
from wallets.queries import wallet_by_name

DAY = datetime(2024, 3, 10, tzinfo=UTC)
# Few times, so that many keys are equal. The last differ by less than answers show.
TIMES = [
    DAY - timedelta(microseconds=1),
    DAY,
    DAY + timedelta(hours=12),
    DAY + timedelta(hours=12, microseconds=1),
    DAY + timedelta(days=1) - timedelta(microseconds=1),
    DAY + timedelta(days=1),
]
_PLANT = """
INSERT INTO transfers_transfer (
       id, number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
       moved_count, created_at, closed_at, closed_event, closed_from)
SELECT gen_random_uuid(), nextval('wallets_event_number'), %(originator)s, %(source)s, %(destination)s,
       '{"bundle": {"bundleSize": 3}}', %(state)s, 3, 0, 0, %(created_at)s, %(closed_at)s, '', ''
"""
CONTROLLED = {"alice": {"alice", "sapling", "seedling"}, "bobby": {"bobby"}, "carol": {"carol"}}


@pytest.fixture
def forest(alice: Caller, bob: Caller, carol: Caller, sapling: Wallet) -> dict[str, Caller]:
    """Transfers at random among alice, two wallets of hers, bob and carol, whose keys are often equal."""
    trusts.open_managed_wallet(actor=alice.wallet, name="seedling")
    chosen = random.Random(5)
    wallets = list(Wallet.objects.order_by("name"))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for _ in range(60):
            source, destination = chosen.sample(wallets, 2)
            created_at, state = chosen.choice(TIMES), chosen.choice(TransferState.values)
            closed_at = None if state in {"pending", "requested"} else max(created_at, chosen.choice(TIMES))
            cursor.execute(
                _PLANT,
                {
                    "originator": chosen.choice([source, destination, alice.wallet]).pk,
                    "source": source.pk,
                    "destination": destination.pk,
                    "state": state,
                    "created_at": created_at,
                    "closed_at": closed_at,
                },
            )
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
    return {"alice": alice, "bobby": bob, "carol": carol}


def names_of(transfer: Transfer) -> set[str]:
    return {transfer.originator.name, transfer.source.name, transfer.destination.name}


def group_of(transfer: Transfer, mine: set[str]) -> int:
    if transfer.state == "pending":
        return 0 if transfer.destination.name in mine else 1
    return {"completed": 2, "cancelled": 3}.get(transfer.state, 4)


KEYS = {
    "id": lambda row: row.pk.int,
    "source_wallet_id": lambda row: row.source_id.int,
    "destination_wallet_id": lambda row: row.destination_id.int,
    "originator_wallet_id": lambda row: row.originator_id.int,
    "created_at": lambda row: row.created_at,
    "closed_at": lambda row: row.closed_at or datetime.max.replace(tzinfo=UTC),
    "state": lambda row: TransferState.values.index(row.state),
}


def model(who: str, query: dict[str, Any], *, is_v2: bool) -> list[str]:
    """Return the ids of the list, from the rows of the table."""
    mine = CONTROLLED[who]
    rows = [
        row
        for row in Transfer.objects.select_related("originator", "source", "destination").order_by("number")
        if names_of(row) & mine
        and query.get("wallet", row.source.name) in names_of(row)
        and query.get("state", row.state) == row.state
        and ("before" not in query or row.created_at.date() <= datetime.fromisoformat(query["before"]).date())
        and ("after" not in query or row.created_at >= datetime.fromisoformat(query["after"]))
    ]
    if not is_v2 and not {"sort_by", "order"} & set(query):
        return [str(row.pk) for row in rows]
    by, is_descending = query.get("sort_by", "created_at"), query.get("order", "desc") == "desc"
    if is_v2 and by == "created_at" and is_descending:
        rows.sort(key=lambda row: (-group_of(row, mine), row.created_at, row.number), reverse=True)
    else:
        rows.sort(key=lambda row: (KEYS[by](row), row.number), reverse=is_descending)
    return [str(row.pk) for row in rows]


def queries_of_all_kinds() -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every order, at both addresses, each with a few filters at random."""
    chosen = random.Random(7)
    orders: list[dict[str, str]] = [{}, {"order": "asc"}, {"order": "desc"}]
    orders += [{"sort_by": by} for by in KEYS]
    orders += [{"sort_by": by, "order": order} for by, order in itertools.product(KEYS, ["asc", "desc"])]
    filters = {
        "state": TransferState.values,
        "wallet": ["alice", "sapling", "seedling", "bobby", "carol"],
        "before": ["2024-03-09T23:59:59Z", "2024-03-10", "2024-03-10T23:00:00Z", "2024-03-11T00:00:00Z"],
        "after": ["2024-03-10T12:00:00Z", "2024-03-10T12:00:00.001Z", "2024-03-10T00:00:00Z", "2024-03-09T00:00:00Z"],
    }
    for order, is_v2 in itertools.product(orders, [False, True]):
        # An order by another field is the same at both addresses.
        if order.get("sort_by", "created_at") != "created_at" and chosen.random() < 0.5:
            continue
        some = chosen.sample(list(filters), chosen.choice([0, 1, 1, 2]))
        yield (
            chosen.choice(["alice", "alice", "bobby"]),
            {**order, **{name: chosen.choice(filters[name]) for name in some}},
            is_v2,
        )


def test_every_order_and_filter_by_cursor_and_by_offset_is_the_model(forest: dict[str, Caller]) -> None:
    chosen = random.Random(11)
    lengths = set()
    for who, query, is_v2 in queries_of_all_kinds():
        expected = model(who, query, is_v2=is_v2)
        path = "/wallet/v2/transfers" if is_v2 else "/transfers"
        limit = chosen.choice([6, 11, 23])
        where = (who, path, query, limit)
        has_total = is_v2 or bool({"sort_by", "order", "before", "after"} & set(query))

        seen: list[str] = []
        page = f"{path}?{urlencode({**query, 'limit': limit})}"
        while page:
            response = forest[who].get(page)
            status, body = answer(response)
            assert status == 200, (where, body)
            assert list(body) == (["transfers", "query", "total"] if has_total else ["transfers"]), where
            assert not has_total or body["total"] == len(expected), where
            assert 0 < len(body["transfers"]) <= limit or not expected, where
            seen += [row["id"] for row in body["transfers"]]
            assert len(seen) <= len(expected), where
            page = next_path(response)
        assert seen == expected, where
        lengths.add(len(expected))

        offset = chosen.randrange(len(expected) + 2)
        _, body = answer(forest[who].get(f"{path}?{urlencode({**query, 'limit': limit, 'offset': offset})}"))
        assert [row["id"] for row in body["transfers"]] == expected[offset:][:limit], (where, offset)
        assert body["total"] == len(expected), (where, offset)
    # The filters leave something, and something out.
    assert len(lengths) > 10


def test_a_wallet_with_many_transfers_is_read_from_the_callers_side(
    forest: dict[str, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer_lists._visible_page.cache_clear()
    monkeypatch.setattr(transfer_lists, "_FEW", 3)
    seen = 0
    for wallet, state, (prefix, is_v2) in itertools.product(
        ["alice", "carol"], [None, "pending", "completed"], [("", False), ("/wallet/v2", True)]
    ):
        query = {"wallet": wallet} | ({} if state is None else {"state": state})
        _, body = answer(forest["bobby"].get(f"{prefix}/transfers?{urlencode({**query, 'limit': 100})}"))
        expected = model("bobby", query, is_v2=is_v2)
        assert [row["id"] for row in body["transfers"]] == expected
        seen += len(expected)
    assert seen > 10
    transfer_lists._visible_page.cache_clear()


def test_row_13_a_wallet_narrows_the_list_whoever_controls_it(alice: Caller, bob: Caller, carol: Caller) -> None:
    operations.issue_tokens(wallet=bob.wallet, count=1)
    sent = answer(alice.post("/transfers", bundle("alice", "carol", 1)))[1]["id"]
    asked = answer(alice.post("/transfers", bundle("bobby", "alice", 1)))[1]["id"]

    for text in ("carol", str(wallet_by_name("carol").pk)):
        _, body = answer(alice.get(f"/transfers?limit=9&wallet={text}"))
        assert [row["id"] for row in body["transfers"]] == [sent]
    _, body = answer(alice.get("/transfers?limit=9&wallet=bobby"))
    assert [row["id"] for row in body["transfers"]] == [asked]
    # bob and carol have no transfer in common.
    assert answer(bob.get("/transfers?limit=9&wallet=carol")) == (200, {"transfers": []})
    assert answer(bob.get("/wallet/v2/transfers?wallet=carol")) == (
        200,
        {"transfers": [], "query": {"wallet": "carol", "limit": 1000, "offset": 0}, "total": 0},
    )
    for prefix in ("", "/wallet/v2"):
        unknown = f"Could not find wallet by id: {STRANGE}"
        assert answer(bob.get(f"{prefix}/transfers?limit=9&wallet={STRANGE}")) == refusal(404, unknown)
        nobody = "Could not find entity by wallet name: nobody"
        assert answer(bob.get(f"{prefix}/transfers?limit=9&wallet=nobody")) == refusal(404, nobody)


def test_the_answers_of_v2_have_token_count_and_those_of_v1_do_not(alice: Caller, carol: Caller) -> None:
    parties = {"sender_wallet": "alice", "receiver_wallet": "carol"}
    token = answer(alice.get("/tokens?limit=1"))[1]["tokens"][0]["id"]
    bodies = [
        {**parties, "tokens": [token], "claim": "false"},
        {**parties, "tokens": []},
        bundle("alice", "carol", "2"),
    ]
    sent = []
    for prefix, body in [("/wallet/v2", bodies[0]), *itertools.product(["", "/wallet/v2"], bodies[1:])]:
        status, created = answer(alice.post(f"{prefix}/transfers", body))
        assert status == 202, created
        sent.append(created)
    assert {each["claim"] for each in sent} == {False}
    assert [each.get("token_count", "none") for each in sent] == [1, "none", "none", 0, 2]
    bundled = sent[2]["id"]
    for prefix, expected in (("", "none"), ("/wallet/v2", 2)):
        assert answer(alice.get(f"{prefix}/transfers/{bundled}"))[1].get("token_count", "none") == expected
    _, listed = answer(alice.get("/wallet/v2/transfers?sort_by=created_at&order=asc"))
    assert [row["token_count"] for row in listed["transfers"]] == [1, 0, 2, 0, 2]
    # The rows of the list are those of the answers to POST, to the byte.
    assert [json.dumps(row) for row in listed["transfers"]][::3] == [json.dumps(row) for row in sent][::3]
    _, listed = answer(alice.get("/transfers?limit=9&sort_by=created_at&order=asc"))
    assert not any("token_count" in row for row in listed["transfers"])
    # Not in the answer to a decision.
    _, deleted = answer(alice.delete(f"/wallet/v2/transfers/{bundled}"))
    assert (deleted["state"], "token_count" in deleted) == ("cancelled", False)


def test_a_repeated_post_at_v2_gets_the_same_bytes(alice: Caller, carol: Caller) -> None:
    first, again = (
        alice.post("/wallet/v2/transfers", bundle("alice", "carol", 2), idempotency_key="once") for _ in range(2)
    )
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert json.loads(first.content)["token_count"] == 2
    assert again["Idempotency-Replayed"] == "true"


def test_query_repeats_what_was_read(alice: Caller) -> None:
    def query(text: str) -> Any:
        status, body = answer(alice.get(f"/wallet/v2/transfers?{text}"))
        assert status == 200, body
        return body["query"]

    assert query("") == {"limit": 1000, "offset": 0}
    assert query("limit=1e1&offset=%205") == {"limit": 10, "offset": 5}
    assert query("before=2024-03&after=2024-01-01T02:00:00%2B02:00&state=failed&sort_by=id") == {
        "before": "2024-03-01T00:00:00.000Z",
        "after": "2024-01-01T00:00:00.000Z",
        "state": "failed",
        "sort_by": "id",
        "limit": 1000,
        "offset": 0,
    }
    assert query("before=9999-12-31&order=desc") == {
        "before": "9999-12-31T00:00:00.000Z", "order": "desc", "limit": 1000, "offset": 0,
    }  # fmt: skip
    _, body = answer(alice.get("/transfers?limit=2&start=3&after=2024"))
    assert body["query"] == {"after": "2024-01-01T00:00:00.000Z", "limit": 2, "offset": 2}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/transfers?offset=0", '"limit" is required'),
        ("/transfers?limit=1&start=1&offset=0", '"start" is not allowed together with "offset"'),
        ("/transfers?limit=1&offset=-1", '"offset" must be greater than or equal to 0'),
        ("/transfers?limit=1&foo=1&sort_by=", '"sort_by" must be one of [{keys}]'),
        ("/wallet/v2/transfers?start=1", '"start" is not allowed'),
        ("/wallet/v2/transfers?search=x", '"search" is not allowed'),
        ("/wallet/v2/transfers?limit=2001", '"limit" must be less than or equal to 2000'),
        ("/wallet/v2/transfers?limit=&offset=x", '"limit" must be a number;"offset" must be a number'),
        ("/wallet/v2/transfers?limit=1.5", '"limit" must be an integer'),
        ("/wallet/v2/transfers?order=ASC", '"order" must be one of [desc, asc]'),
        ("/wallet/v2/transfers?sort_by=token_count", '"sort_by" must be one of [{keys}]'),
        (
            "/wallet/v2/transfers?foo=1&sort_by=",
            '"sort_by" must be one of [{keys}];"sort_by" is not allowed to be empty;"foo" is not allowed',
        ),
        ("/wallet/v2/transfers?wallet=", '"wallet" does not match any of the allowed types'),
        ("/wallet/v2/transfers?before=01/02/2024", '"before" must be in ISO 8601 date format'),
        ("/wallet/v2/transfers?after=2024-02-30", '"after" must be in ISO 8601 date format'),
        ("/wallet/v2/transfers?offset=1&cursor=x", '"offset" is not allowed together with "cursor"'),
    ],
)
def test_a_query_of_the_wrong_shape_is_refused(alice: Caller, path: str, message: str) -> None:
    keys = "id, source_wallet_id, destination_wallet_id, originator_wallet_id, created_at, closed_at, state"
    assert answer(alice.get(path)) == refusal(422, message.replace("{keys}", keys))


def test_a_cursor_is_bound_to_order_and_address(forest: dict[str, Caller]) -> None:
    invalid = refusal(422, '"cursor" is not valid')
    page = next_path(forest["alice"].get("/transfers?limit=3&sort_by=state"))
    assert answer(forest["alice"].get(page))[0] == 200
    for other in (
        page.replace("sort_by=state", "sort_by=id"),
        page.replace("sort_by=state&", ""),
        page + "&order=desc",
        page + "&after=2024",
        "/wallet/v2" + page,
    ):
        assert answer(forest["alice"].get(other)) == invalid, other
    assert answer(forest["bobby"].get(page)) == invalid


def test_a_page_with_cached_credentials_that_ended_is_refused(alice: Caller, carol: Caller) -> None:
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="carol", size=1)
    path = "/wallet/v2/transfers?limit=3"
    assert [answer(alice.get(path))[1]["total"] for _ in range(2)] == [1, 1]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE wallets_bearertoken SET revoked_at = now() WHERE wallet_id = %s", [alice.wallet.pk])
    assert answer(alice.get(path))[0] == 401


def test_v2_names_the_ids_of_movements_in_histories_and_tokens_of_transfers(alice: Caller, sapling: Wallet) -> None:
    (_, *tokens) = answer(alice.get("/tokens?limit=3"))[1]["tokens"]
    ids = [each["id"] for each in tokens]
    body = {"sender_wallet": "alice", "receiver_wallet": "sapling", "tokens": ids}
    sent = answer(alice.post("/transfers", body))[1]
    parties = {"source_wallet_id": str(alice.wallet.pk), "destination_wallet_id": str(sapling.pk)}

    _, v1 = answer(alice.get(f"/transfers/{sent['id']}/tokens?limit=5"))
    status, moved = answer(alice.get(f"/wallet/v2/transfers/{sent['id']}/tokens"))
    assert status == 200
    for old, new in zip(v1["tokens"], moved["tokens"], strict=True):
        del old["links"]
        assert new == {
            **old, "token_id": old["id"], "transfer_id": sent["id"], **parties, "processed_at": sent["closed_at"],
        }  # fmt: skip
    for prefix, query in (("", "limit=1&offset=1"), ("/wallet/v2", "offset=1")):
        _, second = answer(alice.get(f"{prefix}/transfers/{sent['id']}/tokens?{query}"))
        assert [each["id"] for each in second["tokens"]] == [moved["tokens"][1]["id"]]

    path = f"/tokens/{ids[0]}/transactions"
    _, old = answer(alice.get(f"{path}?limit=5"))
    assert [list(each) for each in old["history"]] == [["processed_at", "sender_wallet", "receiver_wallet"]]
    status, new = answer(alice.get(f"/wallet/v2{path}"))
    (row,) = new["history"]
    assert (status, list(new)) == (200, ["history"])
    assert row == {
        "id": row["id"], "token_id": ids[0], "transfer_id": sent["id"], **parties, "processed_at": sent["closed_at"],
        "claim": False, "sender_wallet": "alice", "receiver_wallet": "sapling",
    }  # fmt: skip
    assert answer(alice.get(f"/wallet/v2{path}"))[1] == new
    assert answer(alice.get(f"/wallet/v2{path}?limit=1&offset=1")) == (200, {"history": []})
    assert answer(alice.get(f"{path}?limit=1&offset=1")) == (200, {"history": []})


def test_reserved_tokens_at_v2_have_no_links(alice: Caller, carol: Caller) -> None:
    pending = answer(alice.post("/transfers", bundle("alice", "carol", 2)))[1]["id"]
    _, v1 = answer(alice.get(f"/transfers/{pending}/tokens?limit=5"))
    for each in v1["tokens"]:
        del each["links"]
    assert answer(alice.get(f"/wallet/v2/transfers/{pending}/tokens")) == (200, v1)
    assert len(v1["tokens"]) == 2


@pytest.mark.parametrize("prefix", ["", "/wallet/v2"])
def test_events_take_no_offset_and_need_a_limit(alice: Caller, prefix: str) -> None:
    assert answer(alice.get(f"{prefix}/events?limit=1&offset=1")) == refusal(422, '"offset" is not allowed')
    assert answer(alice.get(f"{prefix}/events")) == refusal(422, '"limit" is required')
    status, body = answer(alice.get(f"{prefix}/events?limit=2000&since=2024-01"))
    assert (status, list(body), body["events"] != []) == (200, ["events"], True)
