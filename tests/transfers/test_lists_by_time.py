"""Lists by time are read by number: right whatever the times are, and read whole only where these are in disorder."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.caller import Caller
from transfers import list_counts, list_pages, transfer_lists
from transfers.models import ListMark, Transfer
from trusts import operations as trusts
from wallets.models import Wallet
from wallets.queries import OptimisticPage

DAY: Final = datetime(2024, 3, 10, tzinfo=UTC)
_PLANT: Final = """
INSERT INTO transfers_transfer (
       id, number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
       moved_count, created_at, closed_at, closed_event, closed_from)
SELECT gen_random_uuid(), nextval('wallets_event_number'), source, source, destination, '{"bundle": {"bundleSize": 3}}',
       state, 3, 0, 0, created_at, CASE WHEN state = 'completed' THEN created_at END, '', ''
  FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::timestamptz[]) AS planted (source, destination, state, created_at)
"""


@pytest.fixture(autouse=True)
def small_margin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few rows are enough to leave the margin, and no caller's list is known to be in disorder."""
    monkeypatch.setattr(list_pages, "MARGIN", 4)
    monkeypatch.setattr(list_pages, "_BY_TIME", OptimisticPage())
    list_pages._page.cache_clear()
    yield
    list_pages._page.cache_clear()


def plant(alice: Caller, carol: Caller, times: list[datetime]) -> None:
    """Transfers at these times among two wallets of alice and carol, with a few pending ones."""
    chosen = random.Random(5)
    wallets = [wallet.pk for wallet in Wallet.objects.order_by("name")]
    pairs = [chosen.sample(wallets, 2) for _ in times]
    states = [chosen.choice(["completed"] * 6 + ["pending"]) for _ in times]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(_PLANT, [[pair[0] for pair in pairs], [pair[1] for pair in pairs], states, times])
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def expected(mine: set[Any], *, waiting_first: bool, is_descending: bool) -> list[str]:
    rows = [row for row in Transfer.objects.all() if {row.source_id, row.destination_id} & mine]

    def place(row: Transfer) -> int:
        if not waiting_first:
            return 0
        return -2 if row.state == "completed" else int(row.destination_id in mine) - 1

    rows.sort(key=lambda row: (place(row), row.created_at, row.number), reverse=is_descending)
    return [str(row.pk) for row in rows]


def walked(caller: Caller, limit: int, **selection: Any) -> tuple[list[str], list[bool], int]:
    """Return the ids of all pages, by their cursors, for each page whether it was read by number, and the total."""
    ids, by_number, after = [], [], None
    while True:
        with CaptureQueriesContext(connection) as captured:
            page = transfer_lists.transfers_visible_to(
                actor_id=caller.wallet.pk,
                limit=limit,
                selection=transfer_lists.TransferSelection(**selection),
                after=after,
                counts=True,
            )
        list_pages._BY_TIME._misses.clear()
        by_number.append(len(captured) == 1)
        ids += [row["id"] for row in orjson.loads(f"[{page.json}]")]
        assert page.total is not None
        after = page.last
        if after is None:
            return ids, by_number, page.total


ORDERS: Final = (
    {"sort_by": "created_at", "is_descending": True},
    {"sort_by": "created_at", "is_descending": False},
    {"waiting_first": True, "is_descending": True},
)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("step", "shuffled", "share"),
    [(0, 0, 1.0), (2, 0, 1.0), (2, 2, 0.6), (2, 40, 0.0)],
    ids=["all equal", "in order", "in slight disorder", "in great disorder"],
)
def test_each_page_is_the_model(
    alice: Caller, carol: Caller, sapling: Wallet, step: int, shuffled: int, share: float
) -> None:
    """`share` of the pages and more are read by number alone."""
    trusts.open_managed_wallet(actor=carol.wallet, name="seedling")
    chosen = random.Random(7)
    # Two in a row have the same time, unless they are shuffled.
    times = [DAY + timedelta(milliseconds=step * (number // 2) + chosen.randint(0, shuffled)) for number in range(160)]
    plant(alice, carol, times[:100])
    assert list_counts.roll_up()
    plant(alice, carol, times[100:])

    found = []
    for order in ORDERS:
        ids, by_number, total = walked(alice, 7, **order)
        assert total == len(ids)
        is_descending, waiting_first = order["is_descending"], order.get("waiting_first", False)
        mine = {alice.wallet.pk, sapling.pk}
        assert ids == expected(mine, waiting_first=waiting_first, is_descending=is_descending), order
        found += by_number
    assert sum(found) >= share * len(found)
    assert all(found) == (shuffled == 0)


@pytest.mark.django_db
def test_the_spread_is_what_decides(alice: Caller, carol: Caller, sapling: Wallet) -> None:
    """With a kept spread that is too small, a transfer far from its place is lost."""
    times = [DAY + timedelta(seconds=number) for number in range(100)]
    times[90] = DAY
    plant(alice, carol, times)
    assert list_counts.roll_up()
    mark = ListMark.objects.get()
    assert (mark.newest_at, mark.spread) == (times[-1], timedelta(seconds=89))
    order = {"sort_by": "created_at", "is_descending": False}
    whole = expected({alice.wallet.pk, sapling.pk}, waiting_first=False, is_descending=False)

    assert walked(alice, 7, **order)[0] == whole
    ListMark.objects.update(spread=timedelta(0))
    assert walked(alice, 7, **order)[0] != whole


@pytest.mark.django_db
def test_with_too_many_transfers_since_the_checkpoint_the_list_is_read_whole(
    alice: Caller, carol: Caller, sapling: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_pages, "SINCE_CHECKPOINT", 50)
    plant(alice, carol, [DAY + timedelta(seconds=number) for number in range(60)])
    order = {"sort_by": "created_at", "is_descending": True}
    whole = expected({alice.wallet.pk, sapling.pk}, waiting_first=False, is_descending=True)

    ids, by_number, _ = walked(alice, 7, **order)
    assert (ids, any(by_number[:-2])) == (whole, False)
    assert list_counts.roll_up()
    ids, by_number, _ = walked(alice, 7, **order)
    assert (ids, all(by_number)) == (whole, True)
