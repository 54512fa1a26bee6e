"""Stored answers in partitions by week: one effect at a week's end, with late partitions, and while one is dropped."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import DatabaseError, connection
from prometheus_client.utils import floatToGoString
from psycopg.errors import LockNotAvailable

from config import tasks
from config.ops import metrics, partitions
from tests.api.caller import Caller, answer, refusal
from tests.concurrency.races import assert_sound, locked, race, wait_until_waiting
from tests.support.migrated_apps import migrated_back
from tests.support.transfer_requests import bundle
from transfers import ledger, operations
from transfers.models import Transfer
from wallets import operations as wallets
from wallets import queries, redis_servers
from wallets.errors import KeyInUse
from wallets.models import IdempotentAnswer, Wallet

pytestmark = pytest.mark.django_db(transaction=True)
RUNNING = refusal(409, "A request with this Idempotency-Key is still running")
TABLE = partitions.ANSWERS.name
MONDAY = partitions.ANSWERS.first_day(datetime.now(UTC).date())
MIDNIGHT = datetime(MONDAY.year, MONDAY.month, MONDAY.day, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


def sql(statement: str, *values: object) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else None


@pytest.fixture(autouse=True)
def clock(settings: LazySettings) -> Iterator[None]:
    """
    `at` sets the time of a session; without it the time is the real one. The partitions of four weeks exist, and those
    that a test creates are dropped.
    """
    redis_servers.client(settings.REDIS_URL).delete(partitions.DROPPED_KEY)
    before = set(partitions.days(partitions.ANSWERS))
    sql(
        "CREATE SCHEMA clock; CREATE FUNCTION clock.statement_timestamp() RETURNS timestamptz STABLE LANGUAGE sql AS $$"
        " SELECT coalesce(nullif(current_setting('clock.now', true), '')::timestamptz,"
        " pg_catalog.statement_timestamp()) $$"
    )
    set_defaults("clock.statement_timestamp()")
    for weeks in (-2, -1, 0, 1):
        partitions.create(partitions.ANSWERS, MONDAY + weeks * 7 * DAY)
    yield
    at(None)
    set_defaults("statement_timestamp()")
    sql("DROP SCHEMA clock CASCADE")
    sql(f"TRUNCATE {TABLE}")
    for day in set(partitions.days(partitions.ANSWERS)) - before:
        sql(f"DROP TABLE {partitions.ANSWERS.partition(day)}")
    for day in before:
        partitions.create(partitions.ANSWERS, day)


def set_defaults(now: str) -> None:
    sql(
        f"ALTER TABLE {TABLE} ALTER COLUMN created_at SET DEFAULT {now},"
        f" ALTER COLUMN week SET DEFAULT date_trunc('week', {now} AT TIME ZONE 'UTC')::date"
    )


def at(moment: datetime | None) -> None:
    """Set the time of this thread's session."""
    if moment is None:
        sql("RESET search_path")
    else:
        sql("SET search_path = clock, public, pg_catalog")
    sql("SELECT set_config('clock.now', %s, false)", "" if moment is None else moment.isoformat())


def send(alice: Caller, key: str = "k-1") -> Any:
    return operations.send_bundle(
        actor=alice.wallet, sender="alice", receiver="bobby", size=1, claim=queries.IdempotencyClaim(key, b"0" * 32)
    )


@contextmanager
def causes() -> Iterator[None]:
    """Raise the error of psycopg in place of Django's."""
    try:
        yield
    except DatabaseError as error:
        raise (error.__cause__ or error) from None


def weeks_of_rows() -> list[Any]:
    return sql(f"SELECT tableoid::regclass::text, key FROM {TABLE} ORDER BY created_at")


# --- the end of a week -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/transfers", "/wallets"])
@pytest.mark.parametrize("later", [2 * SECOND, HOUR, 7 * DAY - SECOND])
def test_a_key_has_one_effect_for_seven_days_over_the_end_of_a_week(
    alice: Caller, bob: Caller, path: str, later: timedelta
) -> None:
    body = bundle("alice", "bobby", 1) if path == "/transfers" else {"wallet": "sapling"}
    at(MIDNIGHT - SECOND)
    first = alice.post(path, body, idempotency_key="k-1")
    at(MIDNIGHT - SECOND + later)
    count = (Transfer.objects.count(), Wallet.objects.count())
    again = alice.post(path, body, idempotency_key="k-1")

    assert first.status_code < 300
    assert "Idempotency-Replayed" not in first
    assert (again.content, again.status_code) == (first.content, first.status_code)
    assert again["Idempotency-Replayed"] == "true"
    assert (Transfer.objects.count(), Wallet.objects.count()) == count
    assert weeks_of_rows() == [(partitions.ANSWERS.partition(MONDAY - DAY), "k-1")]


def test_a_key_of_a_week_that_has_expired_is_new_even_if_its_partition_was_not_dropped(
    alice: Caller, bob: Caller
) -> None:
    at(MIDNIGHT - 7 * DAY - SECOND)
    first = alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")
    at(MIDNIGHT)
    again = alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")

    assert (first.status_code, again.status_code) == (202, 202)
    assert "Idempotency-Replayed" not in again
    assert Transfer.objects.count() == 2
    assert weeks_of_rows() == [(partitions.ANSWERS.partition(MONDAY + weeks * 7 * DAY), "k-1") for weeks in (-2, 0)]


@pytest.mark.parametrize("path", ["/transfers", "/wallets"])
def test_a_key_has_one_effect_when_the_clock_is_set_back_to_the_week_before(
    alice: Caller, bob: Caller, path: str
) -> None:
    body = bundle("alice", "bobby", 1) if path == "/transfers" else {"wallet": "sapling"}
    at(MIDNIGHT + 5 * HOUR)
    first = alice.post(path, body, idempotency_key="k-1")
    at(MIDNIGHT - 5 * HOUR)
    count = (Transfer.objects.count(), Wallet.objects.count())
    again = alice.post(path, body, idempotency_key="k-1")

    assert first.status_code < 300
    assert (again.content, again.status_code) == (first.content, first.status_code)
    assert again["Idempotency-Replayed"] == "true"
    assert (Transfer.objects.count(), Wallet.objects.count()) == count
    assert weeks_of_rows() == [(partitions.ANSWERS.partition(MONDAY), "k-1")]


def disable_guard() -> None:
    sql(f"ALTER TABLE {TABLE} DISABLE TRIGGER idempotentanswer_once")


@pytest.fixture
def guard() -> Iterator[None]:
    """The trigger is there again after a test that disables it."""
    yield
    sql(f"ALTER TABLE {TABLE} ENABLE TRIGGER idempotentanswer_once")


@pytest.mark.parametrize(
    ("first_at", "second_at", "is_guarded", "effects"),
    [
        (-SECOND, SECOND, True, 1),
        (-SECOND, HOUR, True, 1),
        # The clock was set back.
        (SECOND, -SECOND, True, 1),
        # The control: without the trigger the second has an effect too.
        (-SECOND, SECOND, False, 2),
        (SECOND, -SECOND, False, 2),
        # Within a week the unique index decides.
        (5 * HOUR, 5 * HOUR + SECOND, False, 1),
        (-HOUR, -SECOND, False, 1),
    ],
)
def test_of_two_requests_at_the_end_of_a_week_one_has_an_effect(
    alice: Caller, bob: Caller, guard: None, monkeypatch: pytest.MonkeyPatch,
    first_at: timedelta, second_at: timedelta, is_guarded: bool, effects: int,
) -> None:  # fmt: skip
    """The second has its snapshot before the first commits, and asks for the lock of the key after that."""
    if not is_guarded:
        disable_guard()
    waits = f"((SELECT count(*) FROM pg_advisory_xact_lock_shared(4711)) < 0 OR {ledger._IS_DUPLICATE})"

    def second() -> Any:
        at(MIDNIGHT + second_at)
        return send(alice)

    outcome: list[Any] = []
    at(MIDNIGHT + first_at)
    with locked("SELECT pg_advisory_xact_lock(4711)", []):
        with monkeypatch.context() as patched:
            patched.setitem(ledger._KEYED, "is_duplicate", waits)
            ledger._send_statement.cache_clear()
            thread = threading.Thread(target=lambda: outcome.extend(race([second])))
            thread.start()
            wait_until_waiting(1)
        ledger._send_statement.cache_clear()
        first = send(alice)
    thread.join(60)

    assert Transfer.objects.count() == effects
    assert sql(f"SELECT count(*) FROM {TABLE}") == [(effects,)]
    if effects == 1:
        assert type(outcome[0]) is KeyInUse
        assert Transfer.objects.get().pk == first.id
    assert_sound()


@pytest.mark.parametrize("is_guarded", [True, False])
def test_of_two_requests_that_store_a_body_at_the_end_of_a_week_one_has_an_effect(
    alice: Caller, guard: None, monkeypatch: pytest.MonkeyPatch, is_guarded: bool
) -> None:
    """The other commits after the look-up of this one."""
    if not is_guarded:
        disable_guard()
    store = wallets.store_response

    def store_after_the_other(**arguments: Any) -> Any:
        def other() -> None:
            at(MIDNIGHT - SECOND)
            store(**arguments)

        assert race([other]) == [None]
        return store(**arguments)

    at(MIDNIGHT + SECOND)
    with monkeypatch.context() as patched:
        patched.setattr(wallets, "store_response", store_after_the_other)
        # The other, in another session, would wait for the lock of this one.
        sql("CREATE FUNCTION clock.pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE sql AS ''")
        response = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")

    assert Wallet.objects.filter(name="sapling").count() == (0 if is_guarded else 1)
    assert sql(f"SELECT count(*) FROM {TABLE}") == [(1 if is_guarded else 2,)]
    if is_guarded:
        assert answer(response) == RUNNING


# --- partitions that come late, and that leave -------------------------------------------


def test_without_a_partition_a_request_has_one_effect_and_the_default_partition_is_emptied_when_it_expires(
    alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions.drop(partitions.ANSWERS, MONDAY)

    first = alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")
    again = alice.post("/transfers", bundle("alice", "bobby", 1), idempotency_key="k-1")
    assert (first.status_code, again.content, again["Idempotency-Replayed"]) == (202, first.content, "true")
    assert weeks_of_rows() == [(f"{TABLE}_default", "k-1")]
    assert f'\ncoppice_partition_default_used{{table="{TABLE}"}} 1.0\n' in metrics.exposition().decode()

    # This week has none any more, and the next ones have.
    for weeks, is_kept in ((0, True), (1, True), (2, False)):
        day = MONDAY + timedelta(weeks=weeks)
        monkeypatch.setattr(partitions, "today", lambda day=day: day)
        tasks.tidy_partitions()
        assert (MONDAY in partitions.days(partitions.ANSWERS)) is False
        assert (day in partitions.days(partitions.ANSWERS)) is (weeks > 0)
        assert weeks_of_rows() == ([(f"{TABLE}_default", "k-1")] if is_kept else [])
    assert f'\ncoppice_partition_default_used{{table="{TABLE}"}} 0.0\n' in metrics.exposition().decode()


def test_the_default_partition_is_not_emptied_while_rows_of_this_week_go_to_it(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions.drop(partitions.ANSWERS, MONDAY)
    wallets.store_response(wallet_id=alice.wallet.pk, key="k-1", fingerprint=b"", status=200, body=b"")
    long_after = MONDAY + timedelta(weeks=5)
    monkeypatch.setattr(partitions, "today", lambda: long_after)

    partitions.empty_default(partitions.ANSWERS, long_after)
    assert weeks_of_rows() == [(f"{TABLE}_default", "k-1")]

    partitions.create(partitions.ANSWERS, long_after)
    partitions.empty_default(partitions.ANSWERS, long_after)
    assert weeks_of_rows() == []


@pytest.mark.parametrize("answer_days", [7, 10])
def test_partitions_leave_when_their_last_answer_has_expired(
    alice: Caller, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, answer_days: int
) -> None:
    settings.ANSWER_DAYS = answer_days
    at(MIDNIGHT - SECOND)
    wallets.store_response(wallet_id=alice.wallet.pk, key="last", fingerprint=b"", status=200, body=b"")
    at(None)
    sql(f"ANALYZE {TABLE}")

    def tidied(day: date) -> list[date]:
        monkeypatch.setattr(partitions, "today", lambda: day)
        partitions.tidy()
        return partitions.days(partitions.ANSWERS)

    last_week = MONDAY - 7 * DAY
    assert tidied(MONDAY + (answer_days - 1) * DAY)[0] == last_week
    assert IdempotentAnswer.objects.filter(key="last").exists()
    assert f'coppice_partition_rows_dropped_total{{table="{TABLE}"}} 0.0' in metrics.exposition().decode()
    assert tidied(MONDAY + answer_days * DAY)[0] == MONDAY
    assert not IdempotentAnswer.objects.exists()
    shown = metrics.exposition().decode()
    assert f'coppice_partition_rows_dropped_total{{table="{TABLE}"}} 1.0' in shown
    assert (
        f'coppice_partition_oldest_timestamp_seconds{{table="{TABLE}"}} {floatToGoString(MIDNIGHT.timestamp())}'
        in shown
    )
    # Two days ahead.
    assert tidied(MONDAY + 18 * DAY)[-1] == MONDAY + 14 * DAY
    assert tidied(MONDAY + 19 * DAY)[-1] == MONDAY + 21 * DAY


def test_a_worker_whose_clock_is_ahead_drops_no_answer(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + 30 * DAY

    wallets.store_response(wallet_id=alice.wallet.pk, key="k-1", fingerprint=b"", status=200, body=b"")
    monkeypatch.setattr(partitions, "datetime", Ahead)

    partitions.tidy()

    assert weeks_of_rows() == [(partitions.ANSWERS.partition(MONDAY), "k-1")]


def test_partitions_come_and_leave_while_requests_are_answered(alice: Caller, bob: Caller) -> None:
    operations.issue_tokens(wallet=alice.wallet, count=500)
    is_over = threading.Event()
    dropped = 0

    def write(name: str) -> Callable[[], int]:
        def run() -> int:
            made = 0
            while not is_over.is_set() and made < 200:
                send(alice, f"{name} {made}")
                made += 1
            return made

        return run

    def change() -> int:
        nonlocal dropped
        try:
            for number in range(20):
                day = MONDAY + timedelta(weeks=-10 - number)
                for act in (partitions.create, partitions.drop):
                    is_done = False
                    for _ in range(20):
                        # The lock was not free within its timeout. A deadlock is another error.
                        with suppress(LockNotAvailable):
                            with causes():
                                act(partitions.ANSWERS, day)
                            is_done = True
                            break
                    dropped += is_done and act is partitions.drop
        finally:
            is_over.set()
        return dropped

    outcomes = race([write("a"), write("b"), change])

    assert outcomes[2] == 20, outcomes
    assert Transfer.objects.count() == outcomes[0] + outcomes[1] > 0
    assert sql(f"SELECT count(*) FROM {TABLE}") == [(outcomes[0] + outcomes[1],)]
    assert_sound()


def test_a_partition_that_is_read_stays_until_the_next_run_and_requests_go_on(
    alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "today", lambda: MONDAY + 10 * DAY)
    with locked(f"SELECT count(*) FROM {TABLE}", []):
        partitions.tidy()
        assert partitions.days(partitions.ANSWERS)[0] == MONDAY - 14 * DAY
        assert send(alice).state == "pending"
    partitions.tidy()
    assert partitions.days(partitions.ANSWERS)[0] == MONDAY


# --- the migration -----------------------------------------------------------------------


def test_the_migration_keeps_all_answers_and_begins_again_where_it_was_interrupted(alice: Caller, bob: Caller) -> None:
    made = send(alice, "first")
    set_defaults("statement_timestamp()")
    # An expired answer to the same key, which the version before cannot store beside the other.
    sql(f"INSERT INTO {TABLE} (wallet_id, key, fingerprint, status, body, created_at, week) VALUES (%s, 'first', '',"
        " 200, '', %s, %s)", alice.wallet.pk, MIDNIGHT - 8 * DAY, MONDAY - 14 * DAY)  # fmt: skip
    module = __import__("wallets.migrations.0017_kept_answers", fromlist=["_mark"])
    with migrated_back("wallets", "0016_acts_and_events"):
        assert sql(f"SELECT key, result_id FROM {TABLE}") == [("first", made.id)]
        sql(f"INSERT INTO {TABLE} (wallet_id, key, fingerprint, status, body, created_at)"
            " VALUES (%s, 'old', '', 200, '', now() - interval '6 days')", alice.wallet.pk)  # fmt: skip
        with connection.cursor() as cursor:
            module._mark(cursor)
            # Another week has begun since.
            assert not module._exchange(cursor, MONDAY - 7 * DAY)
        assert sql("SELECT count(*) FROM pg_inherits WHERE inhparent = %s::regclass", TABLE) == [(0,)]
        # What the version before writes meanwhile.
        wallets.store_response(wallet_id=alice.wallet.pk, key="meanwhile", fingerprint=b"", status=200, body=b"")
    this_week = partitions.ANSWERS.partition(MONDAY)
    assert sorted(weeks_of_rows()) == [(this_week, "first"), (this_week, "meanwhile"), (this_week, "old")]
    for key in ("first", "meanwhile", "old"):
        assert not wallets.store_response(wallet_id=alice.wallet.pk, key=key, fingerprint=b"", status=200, body=b"")
    with pytest.raises(KeyInUse):
        send(alice, "old")
    assert sql("SELECT conname FROM pg_constraint WHERE conname = 'answer_is_of_week'") == []
    assert sql("SHOW statement_timeout") == [("30s",)]
    set_defaults("clock.statement_timestamp()")
