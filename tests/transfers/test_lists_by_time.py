"""
Lists by time, with dates and by id are read by an index of each transfer: right whatever the times are.

They are read whole only where the times are in disorder, or the ids are those of a few among many.
"""

import itertools
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
from transfers.list_models import ListSpan
from transfers.models import Transfer
from transfers.states import TransferState
from trusts import operations as trusts
from wallets.models import Wallet
from wallets.queries import OptimisticPage

KEYS: Final = {
    "id": "pk",
    "source_wallet_id": "source_id",
    "destination_wallet_id": "destination_id",
    "originator_wallet_id": "originator_id",
}
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
    """Few rows are enough to leave the margin and a span, and no caller's list is known to be in disorder."""
    monkeypatch.setattr(list_pages, "MARGIN", 4)
    monkeypatch.setattr(list_pages, "SPAN", 8)
    monkeypatch.setattr(list_counts, "SPAN", 8)
    monkeypatch.setattr(list_pages, "_BY_TIME", OptimisticPage())
    monkeypatch.setattr(list_pages, "_BY_KEY", OptimisticPage())
    monkeypatch.setattr(list_pages, "_BY_CLOSING", OptimisticPage())
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


def expected(
    mine: set[Any],
    *,
    sort_by: str | None = None,
    waiting_first: bool = False,
    is_descending: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[str]:
    rows = [
        row
        for row in Transfer.objects.order_by("number")
        if {row.source_id, row.destination_id} & mine
        and (since is None or row.created_at >= since)
        and (until is None or row.created_at < until)
    ]

    def place(row: Transfer) -> int:
        if sort_by == "state":
            return TransferState.values.index(row.state)
        return -2 if row.state == "completed" else int(row.destination_id in mine) - 1

    if sort_by in KEYS:
        rows.sort(key=lambda row: (getattr(row, KEYS[sort_by]).int, row.number), reverse=is_descending)
        return [str(row.pk) for row in rows]

    def key(row: Transfer) -> tuple[Any, ...]:
        places = (place(row),) if waiting_first or sort_by == "state" else ()
        at = (row.created_at,) if waiting_first or sort_by == "created_at" else ()
        return (*places, *at, row.number)

    rows.sort(key=key, reverse=is_descending)
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
        list_pages._BY_KEY._misses.clear()
        list_pages._BY_CLOSING._misses.clear()
        by_number.append(len(captured) == 1)
        ids += [row["id"] for row in orjson.loads(f"[{page.json}]")]
        assert page.total is not None
        assert len(ids) <= page.total
        after = page.last
        if after is None:
            return ids, by_number, page.total


ORDERS: Final = (
    {"sort_by": "created_at", "is_descending": True},
    {"sort_by": "created_at", "is_descending": False},
    {"waiting_first": True, "is_descending": True},
)
NOT_BY_TIME: Final = (
    {},
    {"sort_by": "state", "is_descending": True},
)


def begin_a_span() -> None:
    """Let the next transfer be the first of a span of numbers: in what order pages are read depends on its place."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval('wallets_event_number', (last_value / %(span)s + 1) * %(span)s - 1)"
            "  FROM wallets_event_number",
            {"span": list_counts.SPAN},
        )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("step", "shuffled", "is_in_order"),
    [(0, 0, True), (2, 0, True), (2, 2, True), (2, 40, False)],
    ids=["all equal", "in order", "in slight disorder", "in great disorder"],
)
def test_each_page_is_the_model(
    alice: Caller, carol: Caller, sapling: Wallet, step: int, shuffled: int, is_in_order: bool
) -> None:
    trusts.open_managed_wallet(actor=carol.wallet, name="seedling")
    chosen = random.Random(7)
    begin_a_span()
    # Two in a row have the same time, unless they are shuffled.
    times = [DAY + timedelta(milliseconds=step * (number // 2) + chosen.randint(0, shuffled)) for number in range(160)]
    plant(alice, carol, times[:100])
    assert list_counts.roll_up()
    plant(alice, carol, times[100:])

    found = []
    for order in ORDERS:
        ids, by_number, total = walked(alice, 7, **order)
        assert total == len(ids)
        assert ids == expected({alice.wallet.pk, sapling.pk}, **order), order
        found += by_number
    assert all(found) == is_in_order


@pytest.mark.django_db
@pytest.mark.parametrize("shuffled", [0, 30], ids=["in order", "in disorder"])
def test_each_page_of_a_list_with_dates_is_the_model(
    alice: Caller, carol: Caller, sapling: Wallet, shuffled: int
) -> None:
    """Pages that are not by time are always read by number."""
    chosen = random.Random(11)
    times = [DAY + timedelta(milliseconds=2 * (number // 2) + chosen.randint(0, shuffled)) for number in range(160)]
    plant(alice, carol, times[:100])
    assert list_counts.roll_up()
    plant(alice, carol, times[100:])
    dates = [
        {"since": DAY + timedelta(milliseconds=50), "until": DAY + timedelta(milliseconds=140)},
        {"since": DAY + timedelta(milliseconds=120)},
        {"until": DAY + timedelta(milliseconds=90)},
    ]
    none = [{"since": DAY + timedelta(days=1)}, {"until": DAY}]
    for order in (*ORDERS, *NOT_BY_TIME):
        for each in dates if order else [*dates, *none]:
            ids, by_number, total = walked(alice, 29, **order, **each)
            assert ids == expected({alice.wallet.pk, sapling.pk}, **order, **each), (order, each)
            assert total == len(ids), (order, each)
            assert all(by_number) or (order in ORDERS and shuffled), (order, each)
            if order == {} and ids:
                # Every row as the first of a page, whose cursor may be of a list with other dates.
                for number in Transfer.objects.order_by("number").values_list("number", flat=True)[::9]:
                    page = transfer_lists.transfers_visible_to(
                        actor_id=alice.wallet.pk,
                        limit=100,
                        selection=transfer_lists.TransferSelection(**each),
                        after=[number],
                    )
                    found = [row["id"] for row in orjson.loads(f"[{page.json}]")]
                    behind = Transfer.objects.filter(number__gt=number).values_list("pk", flat=True)
                    assert found == [each for each in ids if each in set(map(str, behind))]


@pytest.mark.django_db
@pytest.mark.parametrize("counted", [16, 13, 9], ids=["up to the end of a span", "within one", "up to its first row"])
def test_dates_at_the_edges_of_spans_leave_out_no_row_and_add_none(
    alice: Caller, carol: Caller, sapling: Wallet, counted: int
) -> None:
    """Each row in its turn is the first or the last one of the list: of a span, of those counted, of the others."""
    begin_a_span()
    times = [DAY + timedelta(milliseconds=number) for number in range(20)]
    plant(alice, carol, times[:counted])
    assert list_counts.roll_up()
    plant(alice, carol, times[counted:])
    rows = list(Transfer.objects.order_by("number").values_list("number", "id"))
    assert (rows[0][0] % 8, len(rows)) == (0, 20)
    ids = [str(pk) for _, pk in rows]
    for index in (0, 1, 7, 8, 9, 12, 13, 14, 15, 16, 17, 19):
        for dates, expected_ids in (({"since": times[index]}, ids[index:]), ({"until": times[index]}, ids[:index])):
            # The last page has the last row alone.
            found = walked(alice, max(1, len(expected_ids) - 1), **dates)
            assert found[::2] == (expected_ids, len(expected_ids)), (index, dates)


@pytest.mark.django_db
def test_a_transfer_behind_too_many_since_the_checkpoint_may_be_of_any_time(
    alice: Caller, carol: Caller, sapling: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_pages, "SINCE_CHECKPOINT", 2)
    plant(alice, carol, [DAY] * 20)
    assert list_counts.roll_up()
    plant(alice, carol, [DAY + timedelta(days=1)] * 3 + [DAY - timedelta(hours=1)])
    mine, until = {alice.wallet.pk, sapling.pk}, DAY + timedelta(hours=1)
    for order in (*ORDERS, *NOT_BY_TIME):
        ids, _, total = walked(alice, 30, **order, until=until)
        assert (ids, total) == (expected(mine, **order, until=until), 21), order
    assert walked(alice, 7, **ORDERS[1])[0] == expected(mine, **ORDERS[1])


@pytest.mark.django_db
@pytest.mark.parametrize("order", ORDERS[:2], ids=["newest first", "oldest first"])
def test_an_import_of_old_transfers_leaves_the_pages_of_others_as_they_were(
    alice: Caller, carol: Caller, sapling: Wallet, order: dict[str, Any]
) -> None:
    """Transfers of a year before, with higher numbers: the lists of newer ones are still read by number."""
    new = [DAY + timedelta(milliseconds=number) for number in range(160)]
    plant(alice, carol, new[:80])
    plant(alice, carol, [each - timedelta(days=365) for each in new[:80]])
    assert list_counts.roll_up()
    # A span has either of them.
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('wallets_event_number', nextval('wallets_event_number') / 8 * 8 + 7)")
    plant(alice, carol, new[80:120])
    assert list_counts.roll_up()
    plant(alice, carol, new[120:])
    mine = {alice.wallet.pk, sapling.pk}

    assert walked(alice, 7, **order)[0] == expected(mine, **order)
    newest = {**order, "since": new[80]}
    ids, by_number, total = walked(alice, 7, **newest)
    assert (ids, total) == (expected(mine, **newest), len(ids))
    assert all(by_number)
    oldest = {**order, "until": DAY - timedelta(days=1)}
    assert walked(alice, 7, **oldest)[0] == expected(mine, **oldest)


@pytest.mark.django_db
def test_transfers_since_the_checkpoint_may_all_be_older_than_those_before_it(
    alice: Caller, carol: Caller, sapling: Wallet
) -> None:
    """In order among themselves, and more than a page with its margins."""
    plant(alice, carol, [DAY + timedelta(days=1, seconds=number) for number in range(24)])
    assert list_counts.roll_up()
    plant(alice, carol, [DAY + timedelta(seconds=number) for number in range(24)])
    for order in ORDERS[:2]:
        assert walked(alice, 7, **order)[0] == expected({alice.wallet.pk, sapling.pk}, **order), order


@pytest.mark.django_db
def test_the_transfer_at_the_checkpoint_belongs_to_those_before_it(
    alice: Caller, carol: Caller, sapling: Wallet
) -> None:
    """It is the last row that the page and its margin read, and far older than one before it."""
    times = [DAY + timedelta(seconds=number) for number in range(19)]
    times[10] = DAY + timedelta(seconds=105)
    plant(alice, carol, [*times, DAY - timedelta(seconds=1000)])
    assert list_counts.roll_up()
    plant(alice, carol, [DAY + timedelta(seconds=100 + number) for number in range(11)])
    order = {"sort_by": "created_at", "is_descending": True}
    assert walked(alice, 7, **order)[0] == expected({alice.wallet.pk, sapling.pk}, **order)


@pytest.mark.django_db
def test_one_transfer_of_the_next_span_may_be_older_than_the_page(
    alice: Caller, carol: Caller, sapling: Wallet
) -> None:
    begin_a_span()
    times = [DAY + timedelta(seconds=number) for number in range(40)]
    # The first page of seven, with its margin, ends within the span before.
    times[17] = DAY + timedelta(milliseconds=3500)
    plant(alice, carol, times)
    assert list_counts.roll_up()
    order = {"sort_by": "created_at"}
    assert walked(alice, 7, **order)[0] == expected({alice.wallet.pk, sapling.pk}, **order)


@pytest.mark.django_db
def test_what_is_kept_of_times_decides(alice: Caller, carol: Caller, sapling: Wallet) -> None:
    """With any of the kept times wrong, transfers far from their places are lost."""
    times = [DAY + timedelta(seconds=number) for number in range(100)]
    times[70:95] = [DAY] * 25
    plant(alice, carol, times)
    assert list_counts.roll_up()
    spans = list(ListSpan.objects.order_by("span"))
    first, late = spans[0], max(spans, key=lambda span: span.spread)
    assert (spans[-1].newest_at, late.spread, first.oldest_at) == (times[-1], timedelta(seconds=69), DAY)
    assert {span.oldest_at for span in spans if span.span <= late.span} == {DAY}
    mine = {alice.wallet.pk, sapling.pk}
    changes = (
        # The order or dates that read it, and a value that is wrong.
        ({"sort_by": "created_at"}, "oldest_at", times[-1]),
        ({"until": times[20]}, "oldest_at", times[-1]),
        ({"since": times[20]}, "newest_at", DAY),
        ({"sort_by": "created_at", "is_descending": True}, "spread", timedelta(0)),
    )
    for selection, field, wrong in changes:
        whole = expected(mine, **selection)
        assert walked(alice, 7, **selection)[0] == whole
        ListSpan.objects.update(**{field: wrong})
        assert walked(alice, 7, **selection)[0] != whole, (selection, field)
        ListSpan.objects.bulk_update(spans, ["newest_at", "oldest_at", "spread"])


@pytest.mark.django_db
def test_with_too_many_transfers_since_the_checkpoint_the_list_is_read_whole(
    alice: Caller, carol: Caller, sapling: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_pages, "SINCE_CHECKPOINT", 50)
    plant(alice, carol, [DAY + timedelta(seconds=number) for number in range(60)])
    order = {"sort_by": "created_at", "is_descending": True}
    whole = expected({alice.wallet.pk, sapling.pk}, **order)

    ids, by_number, _ = walked(alice, 7, **order)
    assert (ids, any(by_number[:-2])) == (whole, False)
    assert list_counts.roll_up()
    ids, by_number, _ = walked(alice, 7, **order)
    assert (ids, all(by_number)) == (whole, True)


@pytest.mark.django_db
@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("sort_by", KEYS)
def test_each_page_by_a_key_is_the_model(
    alice: Caller, carol: Caller, sapling: Wallet, sort_by: str, is_descending: bool
) -> None:
    """Of a reader with most of the transfers by an index of all; of one with few, and without kept counts, whole."""
    trusts.open_managed_wallet(actor=carol.wallet, name="seedling")
    plant(alice, carol, [DAY] * 100)
    order = {"sort_by": sort_by, "is_descending": is_descending}
    mine = {alice.wallet.pk, sapling.pk}
    whole = expected(mine, **order)

    ids, by_key, total = walked(alice, 7, **order)
    assert (ids, any(by_key), total) == (whole, sort_by == "originator_wallet_id", len(whole))
    assert list_counts.roll_up()
    plant(alice, carol, [DAY] * 60)
    whole = expected(mine, **order)
    ids, by_key, total = walked(alice, 7, **order)
    assert (ids, total) == (whole, len(whole))
    if sort_by == "id":
        assert all(by_key)
        ids, by_key, _ = walked(alice, len(whole) - 1, **order)
        assert (ids, by_key[0]) == (whole, False)
    for state in ("completed", "pending"):
        of_state = {str(pk) for pk in Transfer.objects.filter(state=state).values_list("pk", flat=True)}
        assert walked(alice, 7, **order, state=state)[0] == [each for each in whole if each in of_state]


@pytest.mark.django_db
@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("sort_by", KEYS)
def test_each_page_by_a_key_with_dates_is_the_model(
    alice: Caller, carol: Caller, sapling: Wallet, sort_by: str, is_descending: bool
) -> None:
    times = [DAY + timedelta(hours=index // 4) for index in range(160)]
    plant(alice, carol, times)
    order = {"sort_by": sort_by, "is_descending": is_descending}
    mine = {alice.wallet.pk, sapling.pk}
    early, late = times[30], times[130]

    for is_counted in (False, True):
        if is_counted:
            assert list_counts.roll_up()
            plant(alice, carol, [late, early, times[-1], times[0]] * 5)
        for dates in ({"since": early}, {"until": late}, {"since": early, "until": late}, {"until": times[0]}):
            whole = expected(mine, **order, **dates)
            ids, _, total = walked(alice, 7, **order, **dates)
            assert (ids, total) == (whole, len(whole)), (is_counted, dates)


@pytest.mark.django_db
@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize(("step", "shuffled"), [(0, 0), (2, 0), (2, 5)], ids=["all equal", "in order", "in disorder"])
def test_each_page_by_closing_is_the_model(
    alice: Caller, carol: Caller, sapling: Wallet, is_descending: bool, step: int, shuffled: int
) -> None:
    """Closed when created, later, at the same time as others, or open: each transfer once, merged, with each filter."""
    trusts.open_managed_wallet(actor=carol.wallet, name="seedling")
    chosen = random.Random(13)
    begin_a_span()
    times = [DAY + timedelta(milliseconds=step * (number // 2) + chosen.randint(0, shuffled)) for number in range(160)]
    wallets, rows = list(Wallet.objects.order_by("name")), list[Transfer]()
    for some in (times[:110], times[110:]):
        plant(alice, carol, some)
        rows = list(Transfer.objects.order_by("number"))
        for row in rows[-len(some) :]:
            row.originator = chosen.choice(wallets)
            row.state = chosen.choice(["completed"] * 8 + ["requested", "pending", "cancelled", "failed"])
            is_late = chosen.random() < 0.4 or row.state in {"cancelled", "failed"}
            # Earlier after the clock was set back.
            later = chosen.choice([0, 4, 4, 30, 300, -4, -30]) if is_late else 0
            row.closed_at = row.created_at + timedelta(milliseconds=later)
            if row.state in {"requested", "pending"}:
                row.closed_at = None
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            Transfer.objects.bulk_update(rows[-len(some) :], ["state", "closed_at", "originator"])
            cursor.execute("SET LOCAL session_replication_role = DEFAULT")
        if len(rows) == 110:
            assert list_counts.roll_up()
    never = datetime.max.replace(tzinfo=UTC)
    rows.sort(key=lambda row: (row.closed_at or never, row.number), reverse=is_descending)
    sure = []
    narrowed = list(
        itertools.product([None, "sapling"], [None, *TransferState.values], [None, times[30]], [None, times[130]])
    )
    for wallet, state, since, until in [narrowed[0], *chosen.sample(narrowed[1:], 9)]:
        mine = {sapling.pk} if wallet else {alice.wallet.pk, sapling.pk}
        narrowing = {"wallet": wallet, "state": state, "since": since, "until": until}
        expected = [
            str(row.pk)
            for row in rows
            if {row.source_id, row.destination_id, row.originator_id} & mine
            and state in {None, row.state}
            and (since is None or row.created_at >= since)
            and (until is None or row.created_at < until)
        ]
        ids, by_number, total = walked(alice, 7, sort_by="closed_at", is_descending=is_descending, **narrowing)
        assert ids == expected, narrowing
        assert total == len(ids), narrowing
        # With a wallet, more statements run, which look it up.
        sure += by_number if wallet is None else []
    assert len(sure) > 20
    assert all(sure) or shuffled


def of_spans() -> dict[int, tuple[datetime, datetime, timedelta]]:
    """What `ListSpan` keeps of all transfers (newest, oldest, spread), by the span of their numbers."""
    rows = list(Transfer.objects.order_by("number").values_list("number", "created_at"))
    newest, found = DAY - timedelta(days=1000), dict[int, tuple[datetime, datetime, timedelta]]()
    for number, at in rows:
        newest, span = max(newest, at), number // list_counts.SPAN
        oldest = min(time for other, time in rows if other // list_counts.SPAN >= span)
        found[span] = (newest, oldest, max(newest - at, found[span][2] if span in found else timedelta(0)))
    return found


@pytest.mark.django_db
def test_what_is_kept_of_times_is_that_of_all_transfers(alice: Caller, carol: Caller, sapling: Wallet) -> None:
    """Rolled up after each few, within a span and across spans: in order, in disorder, backwards, and all equal."""
    chosen = random.Random(3)
    milliseconds = [*range(12), *(chosen.randint(0, 99) for _ in range(12)), *range(60, 40, -2), *[50] * 5, -7, -8]
    times = [DAY + timedelta(milliseconds=each) for each in milliseconds]
    while times:
        step = chosen.randint(1, 5)
        plant(alice, carol, times[:step])
        del times[:step]

        assert list_counts.roll_up()

        kept = {span.span: (span.newest_at, span.oldest_at, span.spread) for span in ListSpan.objects.all()}
        assert kept == of_spans()
