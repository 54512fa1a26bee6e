"""Lists: `limit`, `start` and cursors."""

from typing import Any

import pytest
from django.db import connection

from config.api import cached_credentials
from tests.api.caller import Caller, answer, logged_in, refusal
from tests.support.pagination import next_path
from transfers import operations as transfers
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations
from wallets.models import Wallet


def follow(caller: Any, path: Any, name: Any) -> Any:
    rows = []
    while path:
        response = caller.get(path)
        rows += answer(response)[1][name]
        path = next_path(response)
    return rows


@pytest.mark.parametrize("path", ["/wallets", "/tokens"])
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", '"limit" is required'),
        ("limit=", '"limit" must be a number'),
        ("limit=abc", '"limit" must be a number'),
        ("limit=%EF%BC%91", '"limit" must be a number'),
        ("limit=1_0", '"limit" must be a number'),
        ("limit=%201", '"limit" must be a number'),
        ("limit=1&limit=2", '"limit" must be a number'),
        ("limit=0", '"limit" must be greater than or equal to 1'),
        ("limit=-1", '"limit" must be greater than or equal to 1'),
        ("limit=1.5", '"limit" must be an integer'),
        ("limit=2001", '"limit" must be less than or equal to 2000'),
        ("limit=1&start=0", '"start" must be greater than or equal to 1'),
        ("limit=1&start=abc", '"start" must be a number'),
        ("limit=1&start=9007199254740992", '"start" must be a safe number'),
        ("limit=1&start=" + "9" * 400, '"start" must be a number'),
        ("limit=1&foo=1", '"foo" is not allowed'),
        ("limit=1&cursor=abc", '"cursor" is not valid'),
        ("limit=1&cursor=%00", '"cursor" must not hold a NUL character'),
        ("limit=1&cursor=ü", '"cursor" is not valid'),
    ],
)
def test_row_24_a_page_that_cannot_be_is_422(alice: Caller, path: str, query: Any, message: str) -> None:
    assert answer(alice.get(f"{path}?{query}")) == refusal(422, message)


def test_row_12_tokens_come_newest_arrival_first_by_cursor_and_by_start_alike(alice: Caller) -> None:
    transfers.issue_tokens(wallet=alice.wallet, count=25)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM wallets_token ORDER BY arrival DESC")
        expected = [str(row[0]) for row in cursor.fetchall()]

    by_cursor = [row["id"] for row in follow(alice, "/tokens?limit=10", "tokens")]
    by_start = [
        row["id"] for start in (1, 11, 21) for row in answer(alice.get(f"/tokens?limit=10&start={start}"))[1]["tokens"]
    ]

    assert by_cursor == by_start == expected


def test_a_full_last_page_has_no_next(alice: Caller) -> None:
    transfers.issue_tokens(wallet=alice.wallet, count=10)

    assert "Link" in alice.get("/tokens?limit=9")
    assert "Link" not in alice.get("/tokens?limit=10")
    assert "Link" not in alice.get("/tokens?limit=11")
    assert answer(alice.get("/tokens?limit=10&start=1000000")) == (200, {"tokens": []})


def test_the_next_page_keeps_the_filter_and_the_prefix(alice: Caller) -> None:
    alice.post("/wallets", {"wallet": "sapling"})
    transfers.issue_tokens(wallet=operations.queries.wallet_by_name("sapling"), count=3)

    path = next_path(alice.get("/wallet/tokens/?limit=2&wallet=sapling"))

    assert path.startswith("/wallet/tokens/?limit=2&wallet=sapling&cursor=")
    assert len(answer(alice.get(path))[1]["tokens"]) == 1


def test_a_cursor_is_good_for_its_caller_its_list_and_its_filter_only(alice: Caller, bob: Caller) -> None:
    alice.post("/wallets", {"wallet": "sapling"})
    for caller in (alice, bob):
        transfers.issue_tokens(wallet=caller.wallet, count=3)
    path = next_path(alice.get("/tokens?limit=1"))
    cursor = path.partition("cursor=")[2]
    invalid = refusal(422, '"cursor" is not valid')

    assert answer(bob.get(path)) == invalid
    assert answer(alice.get(path + "&wallet=alice")) == invalid
    assert answer(alice.get(f"/wallets?limit=1&cursor={cursor}")) == invalid
    assert answer(alice.get(path[:-1] + ("A" if path[-1] != "A" else "B"))) == invalid
    assert answer(alice.get(path + "&start=2")) == refusal(422, '"start" is not allowed together with "cursor"')
    assert alice.get(path.replace("limit=1", "limit=2")).status_code == 200


def test_tokens_that_arrive_while_somebody_pages_move_nothing(alice: Caller) -> None:
    transfers.issue_tokens(wallet=alice.wallet, count=4)
    first = alice.get("/tokens?limit=2")
    transfers.issue_tokens(wallet=alice.wallet, count=5)

    second = alice.get(next_path(first))

    ids = [row["id"] for page in (first, second) for row in answer(page)[1]["tokens"]]
    assert len(set(ids)) == 4


def test_wallets_by_cursor_and_by_start_are_all_of_them_with_the_own_one_last(alice: Caller) -> None:
    for number in range(7):
        alice.post("/wallets", {"wallet": f"sapling{number}"})
    expected = [f"sapling{number}" for number in range(7)] + ["alice"]

    by_cursor = [row["name"] for row in follow(alice, "/wallets?limit=3", "wallets")]
    by_start = [
        row["name"] for start in (1, 4, 7) for row in answer(alice.get(f"/wallets?limit=3&start={start}"))[1]["wallets"]
    ]

    assert by_cursor == by_start == expected


def test_wallets_come_in_the_order_of_their_creation_however_they_came_to_be_managed(
    alice: Caller, bob: Caller, api_key: str
) -> None:
    others = [logged_in(name, api_key) for name in ("carol", "dave", "erin", "frank", "grace")]
    carol, dave, erin, frank, grace = (other.wallet for other in others)
    for number in range(3):
        alice.post("/wallets", {"wallet": f"sapling{number}"})

    def trust(asking: Any, kind: Any, answering: Any, *, accepted: bool = True) -> Any:
        asked = trusts.request_trust(
            actor=asking, request_type=TrustRequestType(kind), requestee=answering.name, requester=None
        )
        if accepted:
            trusts.accept_trust(actor=answering, trust_id=asked.id)
        return asked

    # By either kind of trust, the later wallet first; by one that was only asked for; and no more.
    trust(frank, "yield", alice.wallet)
    trust(alice.wallet, "manage", dave)
    trust(carol, "yield", alice.wallet)
    trust(alice.wallet, "manage", erin, accepted=False)
    trusts.decline_trust(actor=grace, trust_id=trust(alice.wallet, "manage", grace).id)
    listed = Wallet.objects.filter(name__in=["carol", "dave", "frank", "sapling0", "sapling1", "sapling2"])
    expected = [*listed.order_by("created_at", "id").values_list("name", flat=True), "alice"]

    for limit in (1, 2, 3, 7, 8):
        assert [row["name"] for row in follow(alice, f"/wallets?limit={limit}", "wallets")] == expected
        for start in range(1, 10):
            shown = answer(alice.get(f"/wallets?limit={limit}&start={start}"))[1]["wallets"]
            assert [row["name"] for row in shown] == expected[start - 1 :][:limit]
    assert [row["name"] for row in follow(bob, "/wallets?limit=1", "wallets")] == ["bobby"]


@pytest.mark.parametrize(("path", "name"), [("/wallets", "wallets"), ("/tokens", "tokens")])
def test_the_number_of_statements_does_not_grow_with_the_rows(alice: Caller, path: str, name: str) -> None:
    def statements(limit: Any) -> Any:
        count = 0

        def counting(execute: Any, *arguments: Any) -> Any:
            nonlocal count
            count += 1
            return execute(*arguments)

        with connection.execute_wrapper(counting):
            assert len(answer(alice.get(f"{path}?limit={limit}"))[1][name]) == limit
        return count

    for number in range(19):
        alice.post("/wallets", {"wallet": f"sapling{number}"})
    transfers.issue_tokens(wallet=alice.wallet, count=20)

    cached_credentials.clear()
    few = statements(1)
    cached_credentials.clear()

    assert (few, statements(20)) == (2, 2)


def test_a_page_at_any_depth_reads_its_own_rows_only(alice: Caller) -> None:
    transfers.issue_tokens(wallet=alice.wallet, count=5000)
    path = "/tokens?limit=100"
    for _ in range(40):
        path = next_path(alice.get(path))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE wallets_token")
        cursor.execute("SELECT max(arrival) - 4000 FROM wallets_token")
        cursor.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) SELECT id FROM wallets_token WHERE wallet_id = %s AND arrival < %s"
            " ORDER BY arrival DESC LIMIT 101 OFFSET 0",
            [alice.wallet.pk, cursor.fetchone()[0]],
        )
        scan = cursor.fetchone()[0][0]["Plan"]["Plans"][0]

    assert scan["Index Name"] == "token_by_arrival"
    assert scan["Actual Rows"] == 101
    assert answer(alice.get(path))[0] == 200
