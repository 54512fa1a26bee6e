"""
Tables whose rows expire are partitioned by time: a partition is dropped as a whole, and no row is deleted.

A task of beat creates the partitions of the next days and drops those that have expired, as `manage.py prepare` does.
It waits for a lock no longer than `_LOCK_TIMEOUT`, and the next run tries again: users of the table wait behind the
lock for no longer than that. The timeout is below `deadlock_timeout`, so in a deadlock it is always this task that
gives up.

* `desk_request`, the request log: by day. `config.ops.request_log` also drops days while the log is too large.
* `wallets_idempotentanswer`, stored answers to requests with an Idempotency-Key: by week.
* `wallets_event`, events: by four weeks if they expire, otherwise all are in the default partition
  (`config.ops.event_retention`).
* `webhooks_webhookmessage` and `webhooks_webhookdelivery`, what is sent to webhooks: by week. A week is kept while one
  of its deliveries is pending: `_drop_deliveries`.

A row of a week without a partition goes to the default partition, so that no request is refused while beat does not
run. That week then gets no partition; the default partition is emptied when all its rows have expired.

Decided 2026-11-30: stored answers by week and not by day. A request with an Idempotency-Key looks into each partition
that may hold its key: 8 by day, 2 by week. Processor time of the look-up in the database, medians of 2,400 interleaved
executions, with 8 M rows in one table or 1 M rows in each partition: one table 77 µs, 8 partitions 148 µs, 2 partitions
68 µs. The price: an answer is dropped 7 to 14 days after it was written. Deliveries by week for the same reason: a
claim looks for due ones in each partition, 6 by week and 31 by day.

A pending delivery is not moved to the partition of another week: lists of deliveries are sorted by its time, and moving
a row makes the write of its result fail. It ends within `webhooks.states.RETRY_DELAYS`, or when its webhook is
disabled, so a later run drops its week.
"""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.backends.utils import CursorWrapper

from config.ops import redis_status

log = logging.getLogger("coppice.partitions")

# Rows that were dropped with their partitions, by table.
DROPPED_KEY: Final = "coppice:partitions:dropped"
_LOCK_TIMEOUT: Final = "200ms"
_ADVISORY_LOCK: Final = 0x1F0E_5704
# How many days before their first row partitions are created.
_DAYS_AHEAD: Final = 2


class Table(NamedTuple):
    """
    A table that is partitioned by time.

    Partitions have `days` days; with 7 they begin on Mondays. `bound` is the lowest value, as SQL, of a row of that day
    (UTC) or later. `unique` has the unique indexes of each partition: the beginning of the name, and the columns.
    `needed`, for a table with a default partition, is the SQL condition of rows that have not expired; `since` is the
    first day that is kept.
    """

    name: str
    days: int
    bound: Callable[[date], str]
    unique: tuple[tuple[str, str], ...] = ()
    needed: str | None = None

    def first_day(self, day: date) -> date:
        """Return the first day of the partition with this day."""
        # Day 1 was a Monday.
        return date.fromordinal(1 + (day.toordinal() - 1) // self.days * self.days)

    def partition(self, day: date) -> str:
        """Return the name of the partition with this day."""
        return f"{self.name}_{self.first_day(day):%Y%m%d}"


def midnight(day: date) -> str:
    """Return the SQL of the time at which a day (UTC) begins."""
    return f"'{day} 00:00+00'"


ANSWERS: Final = Table(
    "wallets_idempotentanswer",
    days=7,
    bound=lambda day: f"'{day}'",
    unique=(("idempotency_key_is_used_once", "wallet_id, key"),),
    needed="week > %(since)s::date - 7",
)
DELIVERIES: Final = Table(
    "webhooks_webhookdelivery",
    days=7,
    bound=midnight,
    unique=(("webhooks_delivery_id", "id"), ("delivery_of_a_message_is_one", "webhook_id, message_id")),
    needed="created_at >= %(since)s OR state = 'pending'",
)
MESSAGES: Final = Table(
    "webhooks_webhookmessage",
    days=7,
    bound=midnight,
    unique=(("webhooks_message_id", "id"),),
    needed="created_at >= %(since)s OR id IN (SELECT message_id FROM webhooks_webhookdelivery WHERE state = 'pending')",
)
WITH_DEFAULT: Final = (ANSWERS, MESSAGES, DELIVERIES)


def limit_waiting(cursor: CursorWrapper) -> None:
    """Let the transaction wait for each lock no longer than `_LOCK_TIMEOUT`."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [_LOCK_TIMEOUT])


def today() -> date:
    """
    Return the day (UTC) of the database's clock, which wrote the rows: a worker whose clock is ahead drops none early.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT (statement_timestamp() AT TIME ZONE 'UTC')::date")
        day: date = cursor.fetchone()[0]
        return day


def days(table: Table) -> list[date]:
    """Return the first days of the partitions, the oldest first, without the default partition."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(relid::text, 8) FROM pg_partition_tree(%s::regclass)"
            " WHERE isleaf AND level = 1 AND relid::text ~ '_[0-9]{8}$' ORDER BY 1",
            [table.name],
        )
        return [datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date() for (day,) in cursor.fetchall()]


def create(table: Table, day: date) -> None:
    """
    Create the partition with this day if there is none. Readers and writers of the table do not wait, except for the
    moment in which a default partition is found to hold no row of it.

    :raises django.db.IntegrityError: the default partition holds rows of it
    :raises django.db.OperationalError: the default partition was in use for too long
    """
    part, first = table.partition(day), table.first_day(day)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
        cursor.execute("SELECT to_regclass(%s)", [part])
        if cursor.fetchone() != (None,):
            return
        # Unlike `CREATE TABLE … PARTITION OF`, this does not lock the table against writers.
        cursor.execute(f"CREATE TABLE {part} (LIKE {table.name} INCLUDING ALL)")
        for prefix, columns in table.unique:
            cursor.execute(f"CREATE UNIQUE INDEX {prefix}_{first:%Y%m%d} ON {part} ({columns})")
        limit_waiting(cursor)
        cursor.execute(
            f"ALTER TABLE {table.name} ATTACH PARTITION {part} FOR VALUES FROM ({table.bound(first)})"
            f" TO ({table.bound(first + timedelta(days=table.days))})"
        )


def create_ahead(table: Table) -> None:
    """
    Create the partitions of today and of the next days, except those whose rows the default partition holds.

    :raises django.db.OperationalError: see `create`
    """
    for day in sorted({table.first_day(today() + timedelta(days=ahead)) for ahead in range(_DAYS_AHEAD + 1)}):
        try:
            create(table, day)
        except IntegrityError:
            # Beat did not run for days. Look-ups read the default partition too.
            log.warning("rows_in_default_partition")


def drop(table: Table, day: date, *, unless: str = "") -> None:
    """
    Drop the partition with this day, unless it has a row with the condition `unless`, as SQL, "" for none.

    :raises django.db.OperationalError: it was in use for too long
    """
    with transaction.atomic():
        if unless and _has(table, day, unless):
            return
        rows = _drop(table, day)
    _count(table, rows)


def _has(table: Table, day: date, condition: str) -> bool:
    """Lock the partition until the end of the transaction, and return whether it has a row with the condition."""
    part = table.partition(day)
    with connection.cursor() as cursor:
        limit_waiting(cursor)
        # In the order of a writer.
        cursor.execute(f"LOCK TABLE ONLY {table.name}, ONLY {part} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"SELECT EXISTS (SELECT FROM {part} WHERE {condition})")  # noqa: S608 - constants
        return bool(cursor.fetchone()[0])


def _drop(table: Table, day: date) -> int:
    """Drop the partition in the transaction of the caller, and return about how many rows it had."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(max(greatest(reltuples, 0)), 0) FROM pg_class WHERE oid = to_regclass(%s)",
            [table.partition(day)],
        )
        (rows,) = cursor.fetchone()
        limit_waiting(cursor)
        cursor.execute(f"DROP TABLE IF EXISTS {table.partition(day)}")
    return int(rows)


def _count(table: Table, rows: int) -> None:
    try:
        redis_status.add_up(settings.REDIS_URL, DROPPED_KEY, {table.name: rows})
    except redis_status.BrokerSilent:
        log.warning("dropped_rows_not_counted")


def tidy() -> None:
    """
    Create the next partitions of stored answers, and of messages and deliveries of webhooks. Drop those whose rows are
    all older than `COPPICE_ANSWER_DAYS`, or `COPPICE_DELIVERY_DAYS`.
    """
    for run in (tidy_answers, tidy_deliveries):
        try:
            run()
        except DatabaseError:
            # A backup or a long query reads it.
            log.warning("partition_is_used")


def tidy_answers() -> None:
    """
    Create the next partitions of stored answers, and drop those whose answers have all expired.

    :raises django.db.DatabaseError: another session uses one for long
    """
    kept_since = today() - timedelta(days=settings.ANSWER_DAYS)
    create_ahead(ANSWERS)
    for day in expired(ANSWERS, kept_since):
        drop(ANSWERS, day)
    empty_default(ANSWERS, kept_since)


def tidy_deliveries() -> None:
    """
    Create the next partitions of messages and deliveries, and drop those whose deliveries have all expired and ended.

    :raises django.db.DatabaseError: another session uses one for long
    """
    kept_since = today() - timedelta(days=settings.DELIVERY_DAYS)
    create_ahead(MESSAGES)
    create_ahead(DELIVERIES)
    for day in sorted({*expired(MESSAGES, kept_since), *expired(DELIVERIES, kept_since)}):
        if not _drop_deliveries(day):
            log.warning("old_deliveries_are_pending")
    empty_default(DELIVERIES, kept_since)
    empty_default(MESSAGES, kept_since)


def expired(table: Table, kept_since: date) -> list[date]:
    """Return the first days of the partitions whose rows are all older than a day, the oldest first."""
    return [day for day in days(table) if day + timedelta(days=table.days) <= kept_since]


def _drop_deliveries(day: date) -> bool:
    """
    Drop the messages and deliveries of a week, and return True. Return False, with no effect, if one is pending.

    :raises django.db.OperationalError: one is in use for too long
    """
    # First without the locks, which would stop the senders for a moment in each minute while one is pending.
    if _is_pending_before(day + timedelta(days=DELIVERIES.days)):
        return False
    with transaction.atomic(), connection.cursor() as cursor:
        limit_waiting(cursor)
        # Until the commit no worker claims a delivery, and no request sends one again.
        cursor.execute(f"LOCK TABLE {DELIVERIES.name}, {MESSAGES.name} IN ACCESS EXCLUSIVE MODE")
        if _is_pending_before(day + timedelta(days=DELIVERIES.days)):
            return False
        rows = {table: _drop(table, day) for table in (DELIVERIES, MESSAGES)}
    for table, number in rows.items():
        _count(table, number)
    return True


def _is_pending_before(end: date) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            # Two statements write a test message and its delivery, so the delivery may be of the next week.
            f"SELECT EXISTS (SELECT FROM {DELIVERIES.name} WHERE state = 'pending'"  # noqa: S608 - constants
            f" AND created_at < {midnight(end)}::timestamptz + interval '1 hour')"
        )
        return bool(cursor.fetchone()[0])


def empty_default(table: Table, kept_since: date) -> None:
    """Empty the default partition of a table if all its rows have expired."""
    # Otherwise it may get a row of this week at any moment.
    if table.first_day(today()) not in days(table):
        return
    part = f"{table.name}_default"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {part})")  # noqa: S608 - a constant
        if cursor.fetchone() == (False,):
            return
    with transaction.atomic(), connection.cursor() as cursor:
        limit_waiting(cursor)
        cursor.execute(f"LOCK TABLE {part} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"SELECT EXISTS (SELECT FROM {part} WHERE {table.needed})", {"since": kept_since})  # noqa: S608
        if cursor.fetchone() == (False,):
            cursor.execute(f"TRUNCATE {part}")


def is_default_used(table: Table) -> bool:
    """Return whether the default partition of a table has rows: beat does not run, or did not run lately."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {table.name}_default)")  # noqa: S608 - a constant
        return bool(cursor.fetchone()[0])


def dropped() -> dict[str, int]:
    """
    Return how many rows were dropped with their partitions, by table; rows that no ANALYZE has counted are not in it.

    :raises config.ops.redis_status.BrokerSilent: no answer
    """
    return redis_status.sums(settings.REDIS_URL, DROPPED_KEY)
