"""`GET /transfers`: who sees which transfers, in which order, page by page."""

import itertools
import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.caller import Caller, answer, refusal
from tests.support.transfer_requests import STRANGE, bundle
from transfers import operations, token_lists, transfer_lists
from transfers.models import Transfer
from transfers.states import TransferState
from trusts import operations as trusts
from wallets.models import Token, Wallet
from wallets.queries import JsonPage, wallet_by_name


@pytest.fixture
def forest(alice: Caller, bob: Caller, carol: Caller, sapling: Wallet) -> Any:
    """Transfers among alice, bob, carol, two wallets of alice's and one of bob's, in every state."""
    bonsai = trusts.open_managed_wallet(actor=bob.wallet, name="bonsai")
    trusts.open_managed_wallet(actor=alice.wallet, name="seedling")
    for wallet in (alice.wallet, bob.wallet, carol.wallet, bonsai):
        operations.issue_tokens(wallet=wallet, count=20)
    for _ in range(3):
        operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
        operations.send_bundle(actor=alice.wallet, sender="sapling", receiver="bobby", size=1)
        operations.send_bundle(actor=bob.wallet, sender="bonsai", receiver="alice", size=1)
        operations.send_bundle(actor=bob.wallet, sender="carol", receiver="bobby", size=1)
        operations.send_bundle(actor=carol.wallet, sender="carol", receiver="bonsai", size=1)
        operations.send_bundle(actor=alice.wallet, sender="alice", receiver="seedling", size=1)
        cancelled = operations.send_bundle(actor=carol.wallet, sender="carol", receiver="bobby", size=1)
        operations.delete(actor=carol.wallet, transfer_id=cancelled.id)
    return {"alice": alice, "bobby": bob, "carol": carol}


def seen_by(wallet_names: Any, state: Any = None) -> Any:
    """Work the list out row by row."""
    return [
        str(transfer.pk)
        for transfer in Transfer.objects.order_by("number").select_related("originator", "source", "destination")
        if {transfer.originator.name, transfer.source.name, transfer.destination.name} & wallet_names
        and state in (None, transfer.state)
    ]


CONTROLLED = {"alice": {"alice", "sapling", "seedling"}, "bobby": {"bobby", "bonsai"}, "carol": {"carol"}}


def test_row_13_the_list_holds_all_transfers_of_the_caller_and_its_wallets(forest: Any) -> None:
    for who, state in itertools.product(CONTROLLED, [None, *TransferState]):
        suffix = "" if state is None else f"&state={state}"

        status, body = answer(forest[who].get(f"/transfers?limit=1000{suffix}"))

        assert status == 200
        assert [row["id"] for row in body["transfers"]] == seen_by(CONTROLLED[who], state)


def test_a_list_may_be_narrowed_to_one_wallet_by_name_or_id(forest: Any) -> None:
    for who, wallet in [("alice", "sapling"), ("alice", "alice"), ("bobby", "bonsai")]:
        for text in (wallet, str(wallet_by_name(wallet).pk)):
            _, body = answer(forest[who].get(f"/transfers?limit=1000&wallet={text}"))
            assert [row["id"] for row in body["transfers"]] == seen_by({wallet})


def test_row_13_a_foreign_wallet_narrows_the_list_to_common_transfers(forest: Any) -> None:
    # bonsai belongs to bob. What it has with carol is not alice's to see.
    for who, wallet in [("alice", "bobby"), ("alice", "bonsai"), ("alice", "carol"), ("carol", "bobby")]:
        _, body = answer(forest[who].get(f"/transfers?limit=1000&wallet={wallet}"))
        common = [each for each in seen_by({wallet}) if each in seen_by(CONTROLLED[who])]
        assert [row["id"] for row in body["transfers"]] == common, (who, wallet)
    assert answer(forest["alice"].get("/transfers?limit=10&wallet=carol")) == (200, {"transfers": []})
    # What a managed wallet's manager holds is not the managed wallet's to see.
    assert answer(forest["carol"].get("/transfers?limit=10&wallet=alice")) == (200, {"transfers": []})


def test_row_24_the_cursor_visits_every_transfer_once(forest: Any) -> None:
    for who, limit in itertools.product(CONTROLLED, [1, 3, 7]):
        path, seen = f"/transfers?limit={limit}", []
        while path:
            response = forest[who].get(path)
            status, body = answer(response)
            assert status == 200
            assert len(body["transfers"]) <= limit
            seen += [row["id"] for row in body["transfers"]]
            link = re.fullmatch(r'<(.*)>; rel="next"', response.get("Link", ""))
            path = link and f"/transfers?{urlsplit(link[1]).query}"
        assert seen == seen_by(CONTROLLED[who])


def test_start_counts_from_one_at_any_depth(forest: Any) -> None:
    for start in (1, 2, 5, 17, 1000):
        _, body = answer(forest["alice"].get(f"/transfers?limit=4&start={start}"))
        assert [row["id"] for row in body["transfers"]] == seen_by(CONTROLLED["alice"])[start - 1 :][:4]


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 422, '"limit" is required'),
        ("limit=abc", 422, '"limit" must be a number'),
        ("limit=0", 422, '"limit" must be greater than or equal to 1'),
        ("limit=2001", 422, '"limit" must be less than or equal to 2000'),
        ("limit=1&start=0", 422, '"start" must be greater than or equal to 1'),
        ("limit=1&state=foo", 422, '"state" must be one of [requested, pending, completed, cancelled, failed]'),
        ("limit=1&wallet=", 422, '"wallet" is not allowed to be empty'),
        ("limit=1&wallet=nobody", 404, "Could not find entity by wallet name: nobody"),
        (f"limit=1&wallet={STRANGE}", 404, f"Could not find wallet by id: {STRANGE}"),
        ("limit=1&search=x", 422, '"search" is not allowed'),
        ("limit=1&cursor=abc", 422, '"cursor" is not valid'),
    ],
)
def test_a_query_of_the_wrong_shape_is_refused(alice: Caller, query: str, status: int, message: str) -> None:
    assert answer(alice.get(f"/transfers?{query}")) == refusal(status, message)


def on(page: JsonPage) -> list[str]:
    """Return the ids on the page."""
    return [each["id"] for each in json.loads(f"[{page.json}]")]


@pytest.mark.parametrize("of_others", [0, 1, 4])
def test_a_manager_of_many_wallets_sees_their_transfers_in_order(
    alice: Caller, bob: Caller, carol: Caller, of_others: int
) -> None:
    """
    More wallets than a page has rows, so that the reach of a page matters.

    Whether the next rows are a page already, or wallets are asked one by one, depends on how many are of others.
    """
    operations.issue_tokens(wallet=bob.wallet, count=36 * of_others)
    for index in range(12):
        wallet = trusts.open_managed_wallet(actor=alice.wallet, name=f"tree{index}")
        operations.issue_tokens(wallet=wallet, count=3)
    for round_ in range(3):
        for index in range(12):
            sender = f"tree{(index * 5 + round_) % 12}"
            assert bob.post("/transfers", bundle(sender, "bobby", 1)).status_code == 202
            for _ in range(of_others):
                operations.send_bundle(actor=bob.wallet, sender="bobby", receiver="carol", size=1)
    mine = Transfer.objects.exclude(destination=carol.wallet).order_by("number")
    expected = [str(pk) for pk in mine.values_list("pk", flat=True)]
    assert len(expected) == 36

    for limit in (1, 2, 5, 12, 13, 36, 40):
        seen, last = [], [0]
        while last is not None:
            page = transfer_lists.transfers_page(actor_id=alice.wallet.pk, limit=limit, after=last[0])
            last = page.last
            assert len(on(page)) == limit or last is None
            seen += on(page)
        assert seen == expected
    for offset in (0, 1, 11, 12, 35, 36):
        page = transfer_lists.transfers_page(actor_id=alice.wallet.pk, limit=4, offset=offset)
        assert on(page) == expected[offset : offset + 4]


@pytest.mark.parametrize("receiver", ["sapling", "bobby"])
def test_the_tokens_of_a_transfer_are_each_on_one_page(
    receiver: str, alice: Caller, bob: Caller, sapling: Wallet
) -> None:
    """Reserved ones the newest first, moved ones in the order in which they moved; none of another transfer."""
    operations.issue_tokens(wallet=alice.wallet, count=12)
    rows = [operations.send_bundle(actor=alice.wallet, sender="alice", receiver=receiver, size=5) for _ in range(2)]
    pages = {}

    for row in rows:
        whole = token_lists.tokens_of_transfer(actor_id=alice.wallet.pk, transfer_id=row.id, limit=9)
        seen, after = [], None
        while (after is not None or not seen) and len(seen) < 9:
            page = token_lists.tokens_of_transfer(
                actor_id=alice.wallet.pk, transfer_id=row.id, limit=2, after=None if after is None else after[0]
            )
            seen.append(page.json)
            after = page.last
        assert (",".join(seen), len(seen)) == (whole.json, 3)
        pages[row.id] = {each["id"] for each in json.loads(f"[{whole.json}]")}

    assert {str(token) for token in Token.objects.exclude(transfer_pending_id=None).values_list("pk", flat=True)} == (
        set() if receiver == "sapling" else set.union(*pages.values())
    )
    assert [len(each) for each in pages.values()] == [5, 5]
    assert not set.intersection(*pages.values())


@pytest.mark.parametrize("wallets", [1, 3])
def test_the_number_of_statements_of_a_list_is_fixed(
    alice: Caller, wallets: int, django_assert_num_queries: Any
) -> None:
    for index in range(wallets):
        trusts.open_managed_wallet(actor=alice.wallet, name=f"tree{index}")
        operations.send_bundle(actor=alice.wallet, sender="alice", receiver=f"tree{index}", size=1)

    with django_assert_num_queries(1):
        rows = transfer_lists.transfers_visible_to(actor_id=alice.wallet.pk, limit=10)
    assert len(on(rows)) == wallets


@pytest.mark.parametrize("of_others", range(7))
@pytest.mark.parametrize("of_mine", [0, 1, 2, 3])
def test_a_page_is_whole_however_many_of_others_come_first(
    alice: Caller, bob: Caller, carol: Caller, of_others: Any, of_mine: int
) -> None:
    """One row and one more are picked out of the next four, if that suffices."""
    operations.issue_tokens(wallet=bob.wallet, count=10)
    for _ in range(of_others):
        operations.send_bundle(actor=bob.wallet, sender="bobby", receiver="carol", size=1)
    expected = [
        str(operations.send_bundle(actor=alice.wallet, sender="alice", receiver="carol", size=1).id)
        for _ in range(of_mine)
    ]

    page = transfer_lists.transfers_page(actor_id=alice.wallet.pk, limit=1)

    assert (on(page), page.last is not None) == (expected[:1], of_mine > 1)


def test_whose_transfers_lie_far_apart_is_remembered(
    alice: Caller, bob: Caller, carol: Caller, django_assert_num_queries: Any
) -> None:
    operations.issue_tokens(wallet=bob.wallet, count=5)
    for _ in range(5):
        operations.send_bundle(actor=bob.wallet, sender="bobby", receiver="carol", size=1)
    mine = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="carol", size=1)

    for statements in (2, 1):
        with django_assert_num_queries(statements):
            assert on(transfer_lists.transfers_page(actor_id=alice.wallet.pk, limit=1)) == [str(mine.id)]


_MANY = """
WITH wallet AS (
    INSERT INTO wallets_wallet (id, name, name_key, password, about, display_name)
    SELECT gen_random_uuid(), 'w' || i, 'w' || i, '', '', '' FROM generate_series(1, 200) AS i
    RETURNING id, created_at, name
)
INSERT INTO trusts_trust (
       id, number, actor_id, target_id, originator_id, request_type, state, withdrawn,
       type, holder_id, subject_id, managed_created_at, managed_name, managed_name_key, managed_has_password)
SELECT gen_random_uuid(), nextval('trusts_trust_number'), %(alice)s, id, %(alice)s, 'manage', 'trusted', false,
       'manage', %(alice)s, id, created_at, name, name, false
  FROM wallet
"""
_ELSEWHERE = """
INSERT INTO transfers_transfer (
       id, number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
       moved_count, created_at, closed_at, closed_event, closed_from)
SELECT gen_random_uuid(), nextval('wallets_event_number'), %(bob)s, %(bob)s, %(carol)s, '{"bundle": {"bundleSize": 1}}',
       state, 1, (state = 'pending')::int, (state = 'completed')::int, now(),
       CASE state WHEN 'completed' THEN now() END, '', ''
  FROM generate_series(1, 20000) AS i
 CROSS JOIN LATERAL (
           SELECT CASE i %% 100 WHEN 0 THEN 'requested' WHEN 1 THEN 'pending' ELSE 'completed' END
       ) AS each (state)
"""


def test_what_is_open_between_others_costs_the_manager_of_many_wallets_nothing(
    alice: Caller, bob: Caller, carol: Caller
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(_MANY, {"alice": alice.wallet.pk})
        cursor.execute(_ELSEWHERE, {"bob": bob.wallet.pk, "carol": carol.wallet.pk})
        cursor.execute("ANALYZE")
    read = {}
    for state in TransferState:
        with CaptureQueriesContext(connection) as captured:
            assert transfer_lists.transfers_page(actor_id=alice.wallet.pk, limit=100, state=state).json == ""
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + captured[-1]["sql"])
            plan = cursor.fetchone()[0][0]["Plan"]
        read[state.value] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

    # 201 wallets, of which each is looked up once, and three times in an index of transfers.
    assert {state: blocks for state, blocks in read.items() if blocks > 201 * 15} == {}
