"""
Up to which key the rows of a table are final: each is committed and visible, or never will be.

A writer takes a key from a sequence before it commits, so a higher key may be visible while a lower one is not. It
takes the key within a statement that writes the table, or after `LOCK TABLE`, and so holds a lock of the table from
before that until its transaction ends. Therefore: read the sequence, then look up which transactions hold such a lock,
and wait until these have ended. Later ones take higher keys. Writers do nothing for this, and do not wait.

`wallets.event_sequence`, which serves readers of events, does not wait; but only writers of events announce themselves
to it.
"""

import time
from collections.abc import Iterable
from typing import Any, Final

from django.db import connection

from config.seals.tables import Keyed

# How long a run waits for writers; the next run tries again.
WAIT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.01
# The lock that a statement takes that writes a table, and stronger ones. Of a partition, which a statement that names
# it locks alone, the first: who moves an old partition to another tablespace holds the strongest for long.
_WRITERS: Final = """
SELECT relation.relname, lock.virtualtransaction
  FROM pg_locks AS lock
  LEFT JOIN pg_inherits AS part ON part.inhrelid = lock.relation
  JOIN pg_class AS relation ON relation.oid = coalesce(part.inhparent, lock.relation)
 WHERE lock.locktype = 'relation' AND lock.granted AND lock.pid IS DISTINCT FROM pg_backend_pid()
   AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND relation.oid = ANY (%s::regclass[]::oid[])
   AND (lock.mode = 'RowExclusiveLock' OR part.inhparent IS NULL
        AND lock.mode IN ('ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
"""


def settled(sequences: Iterable[Keyed]) -> dict[str, int]:
    """
    Return by position the key up to which each sequence of rows is final.

    Sequences whose writers do not end in time are left out. The caller reads the rows in a later statement, in READ
    COMMITTED. Rows that the caller's transaction wrote count as final.
    """
    with connection.cursor() as cursor:
        newest = {}
        for rows in sequences:
            # A sequence that was never called names the key that it will give first.
            cursor.execute(f"SELECT last_value - (NOT is_called)::integer FROM {rows.sequence}")  # noqa: S608
            newest[rows] = int(cursor.fetchone()[0])
        writing = _writers(cursor, newest)
        deadline = time.monotonic() + WAIT_SECONDS
        while writing and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
            writing &= _writers(cursor, newest)
    held = {table for table, _ in writing}
    return {rows.position: key for rows, key in newest.items() if rows.source not in held}


def _writers(cursor: Any, sequences: Iterable[Keyed]) -> set[tuple[str, str]]:
    """Return the tables that transactions are writing, with the transactions."""
    cursor.execute(_WRITERS, [[rows.source for rows in sequences]])
    return set(cursor.fetchall())
