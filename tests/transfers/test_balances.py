"""What a wallet held at a moment, and its statement, against its movements."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction

from config.postgresql.base import numbered
from tests.api.caller import Caller
from tests.support.statement_work import forget_statistics, measured
from tests.transfers.books import assert_sound
from transfers import action_tokens, balances, bulk, counters, list_counts, operations
from transfers.models import Movement, Transfer, WalletDay
from wallets.models import Wallet

TICK = timedelta(microseconds=1)
pytestmark = pytest.mark.django_db(transaction=True)


def told(wallet: Wallet, at: datetime) -> int:
    """The balance before a moment, by counting movements."""
    before = Movement.objects.filter(processed_at__lt=at)
    return before.filter(destination=wallet).count() - before.filter(source=wallet).count()


def whole(wallet: Wallet, start: datetime | None, end: datetime | None, *, limit: int) -> list[balances.Statement]:
    """Every page of a statement."""
    pages = [balances.statement(wallet_id=wallet.pk, start=start, end=end, limit=limit)]
    while len(pages[-1].lines) == limit:
        after = pages[-1].lines[-1].position
        pages.append(balances.statement(wallet_id=wallet.pk, start=start, end=end, limit=limit, after=after))
    return pages


def told_of(wallet: Wallet, line: balances.Line) -> tuple[str, UUID | None, int]:
    """What a line says of its transfer: the word, the other wallet and the tokens."""
    if line.transfer_id is None:
        return "issued", None, line.tokens
    transfer = Transfer.objects.get(pk=line.transfer_id)
    if transfer.source_id == wallet.pk:
        return "sent", transfer.destination_id, -transfer.moved_count
    return "received", transfer.source_id, transfer.moved_count


def check(wallet: Wallet, moments: Sequence[datetime]) -> None:
    for at in moments:
        assert balances.balance(wallet_id=wallet.pk, at=at) == (at, told(wallet, at))
    for pair in zip(moments[::3], moments[2::5], strict=False):
        start, end = sorted(pair)
        for limit in (3, 100):
            pages = whole(wallet, start, end, limit=limit)
            lines = [line for page in pages for line in page.lines]
            for page in pages:
                assert page[:4] == (start, end, told(wallet, start), told(wallet, end))
            for offset in {1, len(lines) // 2}:
                page = balances.statement(wallet_id=wallet.pk, start=start, end=end, limit=limit, offset=offset)
                assert page.lines == lines[offset : offset + limit]
            running = told(wallet, start)
            for line in lines:
                running += line.tokens
                assert line.balance == running
                assert start <= line.at < end
                assert told_of(wallet, line) == (line.word, line.other_id, line.tokens)
            assert running == told(wallet, end)
            assert [line.position for line in lines] == sorted({line.position for line in lines})


def history(random: Random, actor: Wallet, other: Wallet, managed: Wallet, *, steps: int) -> None:
    """Steps of all kinds that move tokens, or nearly do."""
    names = {each.pk: each.name for each in (actor, other, managed)}

    def send(by: Wallet, source: Wallet, destination: Wallet) -> Any:
        return operations.send_bundle(
            actor=by, sender=names[source.pk], receiver=names[destination.pk], size=random.randint(1, 2)
        )

    def claimed() -> None:
        [link] = action_tokens.offer_bundles(actor=actor, sender=None, size=1)
        action_tokens.redeem(actor=other, code=link.code)

    acts: Sequence[Callable[[], object]] = (
        lambda: operations.issue_tokens(wallet=random.choice([actor, other, managed]), count=random.randint(1, 4)),
        lambda: send(actor, actor, managed),
        lambda: send(actor, managed, actor),
        lambda: operations.accept(actor=other, transfer_id=send(actor, actor, other).id),
        lambda: operations.decline(actor=other, transfer_id=send(actor, actor, other).id),
        lambda: operations.fulfill(actor=actor, transfer_id=send(other, actor, other).id),
        lambda: send(other, actor, other),
        claimed,
        lambda: bulk.transfer_batch(
            actor=actor, sender=actor.name, rows=[bulk.Row(2, managed.name, 1), bulk.Row(3, other.name, 1)]
        ),
        counters.roll_up,
    )
    for _ in range(steps):
        operations.issue_tokens(wallet=actor, count=5)
        operations.issue_tokens(wallet=managed, count=2)
        random.choice(acts)()


# The rows of the ledger that have times, moved by days that their numbers choose: not in the order of the numbers.
_PLACE = "({number} - %(first)s + %(seed)s)"
_DAYS = f"(({_PLACE} * 7 %% 5) * interval '1 day' + ({_PLACE} * 5 %% 7) * interval '3 hours')"
_SPREAD = (
    f"UPDATE transfers_transfer SET created_at = created_at - {_DAYS.format(number='number')},"
    f" closed_at = closed_at - {_DAYS.format(number='number')}",
    f"UPDATE transfers_movement SET processed_at = processed_at - {_DAYS.format(number='transfer_number')}"
    " WHERE transfer_number IS NOT NULL",
    "UPDATE transfers_actiontoken AS link SET created_at = transfer.created_at, closed_at = transfer.created_at"
    "  FROM transfers_transfer AS transfer WHERE transfer.id = link.id",
)


def spread(seed: int) -> None:
    """Let what happened now have happened on five days, in another order than that of the numbers."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("SELECT min(number) FROM transfers_transfer")
        (first,) = cursor.fetchone()
        for statement in _SPREAD:
            cursor.execute(statement, {"seed": seed, "first": first})


# What is in no day yet, moved to the day before.
_PUT_BACK = (
    "UPDATE transfers_issue SET issued_at = issued_at - interval '1 day'"
    " WHERE issued_at IN (SELECT at FROM transfers_tallydelta)",
    "UPDATE transfers_movement SET processed_at = processed_at - interval '1 day'"
    " WHERE processed_at IN (SELECT at FROM transfers_tallydelta)"
    "    OR transfer_number > (SELECT coalesce(max(number), 0) FROM transfers_tallymark)",
    "UPDATE transfers_transfer SET created_at = created_at - interval '1 day', closed_at = closed_at - interval '1 day'"
    " WHERE closed_at IN (SELECT at FROM transfers_tallydelta)"
    "    OR number > (SELECT coalesce(max(number), 0) FROM transfers_tallymark)",
    "UPDATE transfers_actiontoken AS link SET created_at = transfer.created_at, closed_at = transfer.created_at"
    "  FROM transfers_transfer AS transfer WHERE transfer.id = link.id",
    "UPDATE transfers_tallydelta SET at = at - interval '1 day'",
)


def put_back() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for statement in _PUT_BACK:
            cursor.execute(statement)


_COUNTED = ("wallet_id", "day", "received", "sent", "issued", "lines", "first_number", "last_number")


def counted_days() -> list[Any]:
    return list(WalletDay.objects.order_by("wallet_id", "day").values_list(*_COUNTED))


def days_that_the_migration_counts() -> list[Any]:
    with transaction.atomic(), connection.cursor() as cursor:
        WalletDay.objects.all().delete()
        cursor.execute(importlib.import_module("transfers.migrations.0009_reports")._FILL)
        found = counted_days()
        transaction.set_rollback(True)
    return found


def test_a_transfer_that_moved_nothing_is_no_line_of_a_statement(alice: Caller, sapling: Wallet) -> None:
    """An import may bring some. Neither since the checkpoint nor before it, whether completed at once or later."""
    before = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for event in ("", "accept"):
            cursor.execute(
                "INSERT INTO transfers_transfer (id, number, originator_id, source_id, destination_id, parameters,"
                " state, token_count, reserved_count, moved_count, created_at, closed_at, closed_event, closed_from)"
                " SELECT gen_random_uuid(), nextval('wallets_event_number'), originator_id, source_id, destination_id,"
                "        '{\"tokens\": []}', 'completed', 0, 0, 0, created_at, closed_at, %s, ''"
                "   FROM transfers_transfer WHERE id = %s",
                [event, before.id],
            )
    for rolls_up in (False, True):
        assert not rolls_up or counters.roll_up()
        for wallet, tokens in ((alice.wallet, -1), (sapling, 1)):
            ((_, _, _, _, lines),) = whole(wallet, None, None, limit=100)
            moved = [line for line in lines if line.transfer_id is not None]
            assert [(line.tokens, line.transfer_id) for line in moved] == [(tokens, before.id)]


@pytest.mark.parametrize("seed", range(2))
def test_balance_and_statement_agree_with_the_movements_whatever_happened(
    alice: Caller, bob: Caller, sapling: Wallet, seed: int
) -> None:
    random = Random(seed)
    history(random, alice.wallet, bob.wallet, sapling, steps=14)
    now = datetime.now(UTC) + timedelta(minutes=1)
    times = sorted(set(Movement.objects.values_list("processed_at", flat=True)))
    moments = [each for at in times for each in (at, at + TICK)]
    random.shuffle(moments)
    for wallet in (alice.wallet, bob.wallet, sapling):
        check(wallet, moments[:12])
    assert_sound()
    if seed % 2:
        assert counters.roll_up()
        for wallet in (alice.wallet, bob.wallet, sapling):
            check(wallet, moments[:12])
    assert_sound()
    # On several days.
    spread(seed)
    counters.recount()
    # Not counted yet.
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    assert days_that_the_migration_counts() == counted_days() != []
    history(random, alice.wallet, bob.wallet, sapling, steps=4)
    operations.issue_tokens(wallet=alice.wallet, count=2)
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=1)
    put_back()
    times = sorted(set(Movement.objects.values_list("processed_at", flat=True)))
    days = sorted({at.replace(hour=0, minute=0, second=0, microsecond=0) for at in times})
    moments = [*(each for at in times[:: len(times) // 8] for each in (at, at + TICK)), *days, days[0] - TICK]
    random.shuffle(moments)
    for wallet in (alice.wallet, bob.wallet, sapling):
        check(wallet, moments)
        assert balances.balance(wallet_id=wallet.pk).tokens == told(wallet, now)
        ((start, end, opening, closing, lines),) = whole(wallet, None, None, limit=1000)
        assert (opening, closing, sum(line.tokens for line in lines)) == (0, told(wallet, end), told(wallet, now))
        assert told(wallet, start) == 0
        assert times[-1] < end
    assert counters.roll_up()
    for wallet in (alice.wallet, bob.wallet, sapling):
        check(wallet, moments[:6])
    assert WalletDay.objects.filter(wallet=alice.wallet).count() >= 3
    assert_sound()


_PLANT_MOVED = """
WITH planted AS (
    INSERT INTO transfers_transfer (
           id, number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
           moved_count, created_at, closed_at, closed_event, closed_from)
    SELECT gen_random_uuid(), nextval('wallets_event_number'), %(source)s, %(source)s, %(destination)s,
           '{"bundle": {"bundleSize": 1}}', 'completed', 1, 0, 1, at, at, '', ''
      FROM unnest(%(times)s::timestamptz[]) WITH ORDINALITY AS planted (at, place) ORDER BY place
 RETURNING number, source_id, destination_id, created_at
)
INSERT INTO transfers_movement (id, token_id, number, transfer_number, source_id, destination_id, processed_at)
SELECT nextval('transfers_arrival'), gen_random_uuid(), 1, number, source_id, destination_id, created_at FROM planted
"""


def plant(source: Wallet, destination: Wallet, times: Sequence[datetime]) -> None:
    """Transfers of one token that completed at once at these times, in this order of their numbers."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(_PLANT_MOVED, {"source": source.pk, "destination": destination.pk, "times": list(times)})


@pytest.fixture
def short_spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Four numbers are a span."""
    monkeypatch.setattr(list_counts, "SPAN", 4)
    monkeypatch.setattr(balances, "SPAN", 4)
    caches = (balances._balance_statement, balances._page_statement)
    for each in caches:
        each.cache_clear()
    yield
    for each in caches:
        each.cache_clear()


def rows_of_a_balance(wallet: Wallet, at: datetime) -> int:
    with transaction.atomic(), measured() as work:
        assert balances.balance(wallet_id=wallet.pk, at=at).tokens == told(wallet, at)
    return max(each.rows for each in work if "transfers_walletday" in each.sql)


@pytest.mark.usefixtures("short_spans")
def test_a_balance_reads_the_transfers_of_its_day_up_to_its_moment(alice: Caller, bob: Caller) -> None:
    """Also with times in another order than that of the numbers, which the kept times know of or not yet."""
    midnight = datetime(2026, 5, 1, tzinfo=UTC)
    times = [midnight + timedelta(minutes=30 * number) for number in range(47)]
    plant(alice.wallet, bob.wallet, times)
    moments = [times[3], times[3] + TICK, times[20], times[46] + TICK, midnight + timedelta(days=1), midnight]
    sides = (alice.wallet, bob.wallet)

    # Neither is counted; then the days alone are.
    for counts in ((), (counters.roll_up,)):
        assert all(count() for count in counts)
        for wallet in sides:
            check(wallet, moments)
    whole_day = rows_of_a_balance(alice.wallet, times[3])
    assert list_counts.roll_up()
    for wallet in sides:
        check(wallet, moments)
    early, late = (rows_of_a_balance(alice.wallet, times[number]) for number in (3, 45))
    # Of 47 transfers the first balance needs four, and reads to the end of a span.
    assert early + 30 < late
    assert early + 35 < whole_day

    # Older ones with higher numbers, as of an import: since the checkpoint, then in the days, then in the kept times.
    for older in (times[2] - TICK, midnight + timedelta(hours=4, seconds=1)):
        plant(alice.wallet, bob.wallet, [older, older + TICK])
        for count in (None, counters.roll_up, list_counts.roll_up):
            assert count is None or count()
            for wallet in sides:
                check(wallet, [*moments, older, older + TICK, older + 2 * TICK])


_PLANT_ENDED = """
INSERT INTO transfers_transfer (
       id, number, originator_id, source_id, destination_id, parameters, state, token_count, reserved_count,
       moved_count, created_at, closed_at, closed_event, closed_from)
SELECT gen_random_uuid(), nextval('wallets_event_number'), source, source, destination,
       '{"bundle": {"bundleSize": 1}}', 'completed', 1, 0, 1, at, at + interval '1 hour', 'accept', 'pending'
  FROM generate_series(%(since)s::timestamptz, %(until)s, '1 hour') AS at,
       (VALUES (%(one)s::uuid, %(other)s::uuid), (%(other)s, %(one)s), (%(other)s, %(third)s)
       ) AS side (source, destination)
"""
_DAYS = 60
# The lines of the day from transfers that completed late, up to the moment: those of both directions.
_LATE = 2 * 12


def steps(plan: Any) -> Iterator[tuple[str, int]]:
    """Each step of a plan that reads transfers, with the rows that it returned, filtered out, or took from an index."""
    if "transfer" in plan.get("Relation Name", "") or plan.get("Index Name", "").startswith("transfer_"):
        rows = plan["Actual Rows"] + sum(value for name, value in plan.items() if name.startswith("Rows Removed by"))
        yield plan.get("Index Name") or plan["Node Type"], rows * plan["Actual Loops"]
    for child in plan.get("Plans", ()):
        yield from steps(child)


@pytest.mark.parametrize("statistics", ["kept", "new", "of empty tables"])
@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_a_balance_reads_the_transfers_of_its_wallet_that_completed_late_in_its_day_alone(
    alice: Caller, bob: Caller, carol: Caller, statistics: str, mode: str
) -> None:
    """Neither the late ones of its other days, nor those of all wallets, nor what it has that completed at once."""
    day = datetime(2026, 5, 1, tzinfo=UTC)
    at = day + timedelta(days=_DAYS // 2, hours=12, minutes=30)
    plant(alice.wallet, bob.wallet, [day + timedelta(hours=number) for number in range(24 * _DAYS)])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            _PLANT_ENDED,
            {
                "since": day,
                "until": day + timedelta(days=_DAYS),
                "one": alice.wallet.pk,
                "other": bob.wallet.pk,
                "third": carol.wallet.pk,
            },
        )
    assert counters.roll_up()
    with transaction.atomic(), connection.cursor() as cursor:
        if statistics == "new":
            cursor.execute("ANALYZE transfers_transfer")
        elif statistics == "of empty tables":
            forget_statistics()
        cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
        text, names = numbered(balances._balance_statement())
        values = {"wallet": alice.wallet.pk, "at": at}
        cursor.execute(f"PREPARE balance (timestamptz, uuid) AS {text.decode()}")
        given = psycopg.ClientCursor(connection.connection).mogrify("%s, %s", [values[name] for name in names])
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE balance ({given})")
        (plan,) = cursor.fetchone()[0]
        cursor.execute("DEALLOCATE balance")

    # Without statistics those of the day of all wallets may be read for one direction.
    late = [(step, rows) for step, rows in steps(plan["Plan"]) if step.startswith(("transfer_ended", "transfer_slow"))]
    assert sum(rows for step, rows in late) in range(_LATE, 3 * _LATE), late
    assert [(step, rows) for step, rows in steps(plan["Plan"]) if rows > 24 * _DAYS // 2] == []
