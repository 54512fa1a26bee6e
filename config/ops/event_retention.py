"""
Events are kept for `COPPICE_EVENT_DAYS`, or for good.

Events are partitioned by time, four weeks each (`config.ops.partitions`). Without the setting all events are in the
default partition, and each look-up reads that one.

A partition is dropped in two steps. The first stores, in the row of `wallets.models.EventPosition`, the number from
which events are kept: from then on a cursor below it is refused (`transfers.errors.EventsExpired`), and a first page
begins there. Two minutes later, when each request that read the earlier number has ended, the partition is dropped.

The creation of a transfer is not stored as an event, but read from the transfer. It is left out below the same number:
a list with the creation of a transfer and without its end would be wrong. The ledger and the seals do not read events.

A partition is kept until the fan-out to webhooks and the count of outcomes have read all of its events.
"""

import logging
from datetime import date, timedelta
from typing import Final

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from config.ops import partitions
from transfers import events

_IS_KEPT: Final = "number >= (SELECT kept_from FROM wallets_eventposition)"
EVENTS: Final = partitions.Table(
    "wallets_event",
    days=28,
    bound=partitions.midnight,
    unique=(("wallets_event_id", "id"), ("wallets_event_number", "number")),
    needed=_IS_KEPT,
)
# Longer than a request takes.
_ANNOUNCED: Final = "2 minutes"
_DAYS_AHEAD: Final = 14
_LATER: Final = "events_of_later"
_DEFAULT: Final = f"{EVENTS.name}_default"

log = logging.getLogger("coppice.partitions")


def tidy() -> None:
    """Create the next partition of events, and drop those that have expired, if `COPPICE_EVENT_DAYS` is set."""
    try:
        _drop_constraint()
        if not settings.EVENT_DAYS:
            return
        kept_since = partitions.today() - timedelta(days=settings.EVENT_DAYS)
        _create_ahead()
        for day in partitions.expired(EVENTS, kept_since):
            if not _may_drop(EVENTS.partition(day), end=day + timedelta(days=EVENTS.days)):
                return
            # An import may have written old events since.
            partitions.drop(EVENTS, day, unless=_IS_KEPT)
        if _is_default_expired(kept_since) and _may_drop(_DEFAULT, end=kept_since):
            partitions.empty_default(EVENTS, kept_since)
    except DatabaseError:
        # A backup or a long query reads a partition.
        log.warning("partition_is_used")


def _create_ahead() -> None:
    """
    Create the next partition if it begins within `_DAYS_AHEAD` and there is none.

    Creating it reads the default partition, which may have many rows, under a lock, unless a validated constraint says
    that none of its rows is of that time. Validating the constraint reads the rows without that lock.

    If the process is killed meanwhile the constraint stays, and until the next run or `manage.py prepare` drops it, it
    would refuse events of that time, and with them transfers. So it is made long before: beat would have to be down
    for the days that are left. It is not made on the day before.
    """
    today = partitions.today()
    first = EVENTS.first_day(today + timedelta(days=_DAYS_AHEAD))
    if first <= today + timedelta(days=1) or first in partitions.days(EVENTS):
        return
    bound = f"CHECK (created_at < {EVENTS.bound(first)}::timestamptz)"
    _run(f"ALTER TABLE {_DEFAULT} ADD CONSTRAINT {_LATER} {bound} NOT VALID")
    try:
        _run("SET LOCAL statement_timeout = 0", f"ALTER TABLE {_DEFAULT} VALIDATE CONSTRAINT {_LATER}")
        partitions.create(EVENTS, first)
    finally:
        # Left, it refuses events of that time if there is no partition for them.
        _drop_constraint()


def _drop_constraint() -> None:
    """Drop the constraint if there is one. A process that was killed, or a session that reads events, can leave it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = %s)", [_LATER])
        is_there = cursor.fetchone() == (True,)
    if is_there:
        _run(f"ALTER TABLE {_DEFAULT} DROP CONSTRAINT IF EXISTS {_LATER}")


def _run(*statements: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        partitions.limit_waiting(cursor)
        for statement in statements:
            cursor.execute(statement)


def _may_drop(part: str, *, end: date) -> bool:
    """
    Return whether a partition, whose events are from before `end`, may be dropped: it is empty, or the number from
    which events are kept has been above its events for two minutes.

    Otherwise store that number, unless webhooks or the count of outcomes have not read the events, or younger events
    have lower numbers: an import writes old events with new numbers.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT max(number) FROM {part}")  # noqa: S608 - of the catalog
        (newest,) = cursor.fetchone()
        if newest is None:
            return True
        cursor.execute(
            "SELECT kept_from, kept_from_at < now() - %s::interval FROM wallets_eventposition ORDER BY id"
            " FOR NO KEY UPDATE",
            [_ANNOUNCED],
        )
        row = cursor.fetchone()
        if row is None:
            # No worker has run yet.
            return False
        kept_from, is_known = row
        if newest < kept_from:
            return bool(is_known)
        cursor.execute(_IS_YOUNGER_BEFORE, [newest, f"{end} 01:00+00"])
        if cursor.fetchone() == (True,):
            log.warning("old_events_have_new_numbers")
            return False
        cursor.execute(_READ_BY_ALL)
        (read,) = cursor.fetchone()
        if newest > min(read, events.settled_number()):
            log.warning("old_events_are_not_read")
            return False
        cursor.execute("UPDATE wallets_eventposition SET kept_from = %s, kept_from_at = now()", [newest + 1])
        return False


# Events of the hour after the end are not compared: concurrent transactions write theirs out of the order of numbers.
_IS_YOUNGER_BEFORE: Final = "SELECT EXISTS (SELECT FROM wallets_event WHERE number <= %s AND created_at >= %s)"
# Up to which number webhooks, if there ever were any, and the count of outcomes have read all events.
_READ_BY_ALL: Final = """
SELECT least((SELECT number FROM webhooks_fanout),
             (SELECT coalesce(max(number), 0) FROM transfers_outcometally))
"""


def _is_default_expired(kept_since: date) -> bool:
    """Return whether the newest event of the default partition is from before a day. False if it has none."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT created_at < %s FROM {_DEFAULT} ORDER BY number DESC LIMIT 1",  # noqa: S608 - a constant
            [f"{kept_since} 00:00+00"],
        )
        return bool(cursor.fetchone() == (True,))
