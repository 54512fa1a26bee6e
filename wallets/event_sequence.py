"""
The sequence that orders events, and its high-water mark: the number below which that order is final.

Every event has a number of one sequence: rows of `wallets_event`, and the creation of a transfer, whose number is that
of its row. A reader that follows a cursor must have read all events up to a number. Numbers are taken before a
transaction commits, so 51 may be visible while 50 is uncommitted, or was rolled back, and a reader cannot tell which.

Therefore a writer first takes a shared advisory lock whose key is less than any number that it takes from then on
(`ANNOUNCED`). The lock ends with the transaction, after its rows are visible. A reader reads the newest number, then
the lowest announcement, and then, in a separate statement with a newer snapshot, reads no further than that
(`SETTLED`). A writer that announces after the reader looked takes numbers above the newest.

On a standby server no lock of the primary is visible, and a number that is not committed cannot be told from one that
will never be. There the mark is the newest one that `publish` has stored on the primary in a row: the row is replayed
after everything that its mark covers.

Decided 2026-11-21, against
* a horizon on `pg_snapshot_xmin` over stored transaction ids: a transaction may take its id early and its number late,
  so events would have to be ordered, and indexed, by transaction id, which restarts in a restored database;
* a horizon on the clock and on `pg_stat_activity`: what starts between two reads is missed, and a role sees only its
  own sessions;
* one row per event and party on the hot path: it costs 28 % of the transfers (see `transfers/events.py`).
The lock costs the statement of an immediate transfer less than the noise of the measurement.
"""

from typing import Final

from django.db import connection

# The first half of a key of two 32-bit numbers; idempotency keys take locks with keys of 64 bits.
_KIND: Final = 20261121
_BITS: Final = 2**31 - 1

# A condition that is always true and must be evaluated before the first number is taken: put it into the WHERE of the
# query that takes the number, or of a CTE on which that query depends. It is evaluated for each row, so the query has
# one. NULL: the sequence was never used. A query of the sequence takes 1 % more of the instructions of a transfer.
_BELOW_THE_NEXT: Final = f"((coalesce(pg_sequence_last_value('wallets_event_number'), 1) - 1) & {_BITS})::int"
ANNOUNCED: Final = f"pg_try_advisory_xact_lock_shared({_KIND}, {_BELOW_THE_NEXT})"
NEXT: Final = "nextval('wallets_event_number')"

# The number up to which everything is committed and visible, or never will be. To be executed before, and not within,
# the statement that reads. Announcements of the own transaction do not count: it sees its own rows. A sequence
# that was never called names the number that it will give first.
SETTLED: Final = f"""
SELECT CASE WHEN pg_is_in_recovery() THEN coalesce((SELECT settled FROM wallets_eventposition), 0)
       ELSE least(newest.number, (
           SELECT min(newest.number - ((newest.number - objid::bigint) & {_BITS}))
             FROM pg_locks
            WHERE locktype = 'advisory' AND classid = {_KIND} AND objsubid = 2 AND pid <> pg_backend_pid()
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))) END AS number
  FROM (SELECT last_value - (NOT is_called)::integer AS number FROM wallets_event_number OFFSET 0) AS newest
"""  # noqa: S608 - constants

# Events with a number below are no longer kept (`config.ops.event_retention`).
KEPT_FROM: Final = "coalesce((SELECT kept_from FROM wallets_eventposition), 0)"

# A mark stays true, so the higher one of two that overtake each other is stored.
_PUBLISH: Final = """
INSERT INTO wallets_eventposition (id, settled, at) VALUES (1, %(settled)s, now())
    ON CONFLICT (id) DO UPDATE
   SET settled = greatest(wallets_eventposition.settled, excluded.settled), at = excluded.at
"""


def publish() -> None:
    """
    Store the mark for standby servers, and the time: a standby with this row has all that was committed before it.

    Must not run inside a transaction: the time is that of its begin, and its rows count as final.
    """
    with connection.cursor() as cursor:
        cursor.execute(SETTLED)
        cursor.execute(_PUBLISH, {"settled": cursor.fetchone()[0]})
