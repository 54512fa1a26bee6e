"""
Online rotation of the vault key: sealing the values of earlier keys with the current one.

The first byte of a sealed value identifies its key, so the rows themselves record the progress, and an interrupted run
can be started again. Values are opened and sealed without a lock. The write skips rows that were changed since they
were read or are locked: a later pass takes them.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from lockers import vault

_PAGE: Final = 500
# Locks of rows last milliseconds.
_PASSES: Final = 5


@dataclass(frozen=True, slots=True)
class _Place:
    """A column of sealed values. Their context is derived from the row's id and, for tasks, from the kind."""

    name: str
    table: str
    column: str
    context: Callable[[UUID, str], str]
    kind: str = "''"


_PLACES: Final = (
    _Place("coins", "lockers_coin", "secrets", lambda row_id, _: vault.context_of_coin(row_id)),
    _Place("coins in doubt", "lockers_coin", "proposed", lambda row_id, _: vault.context_of_coin(row_id)),
    _Place("lockers", "lockers_locker", "code", lambda row_id, _: vault.context_of_locker(row_id)),
    # Uploads are left out: they are large, and deleted within the hour in which their task ends.
    _Place("tasks", "lockers_lockertask", "code", vault.context_of_task, kind="kind"),
    # Tables of other parts, which this app does not import: `webhooks.secrets` and `config.admin.second_factor` seal
    # their values.
    _Place("webhooks", "webhooks_webhook", "secret", lambda row_id, _: f"webhook/{row_id}"),
    _Place("webhooks before rotation", "webhooks_webhook", "previous_secret", lambda row_id, _: f"webhook/{row_id}"),
    _Place("second factors", "desk_secondfactor", "secret", lambda row_id, _: f"second factor/{row_id}"),
    _Place("proposals", "desk_proposal", "given", lambda row_id, _: f"proposal/{row_id}"),
)


@dataclass(frozen=True, slots=True)
class Count:
    """The number of values in a place sealed with other keys than the current one, and of those with unknown keys."""

    name: str
    old: int
    unknown: int


def counts() -> list[Count]:
    """Return the counts of all places, in a scan of every value."""
    found = []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        for place in _PLACES:
            cursor.execute(_COUNT.format(place), _keys())
            found.append(Count(place.name, *cursor.fetchone()))
    return found


# Not `get_byte`, which fails on empty values.
_COUNT: Final = """
SELECT count(*), count(*) FILTER (WHERE substring({0.column} FOR 1) <> ALL(%(known)s)) FROM {0.table}
 WHERE substring({0.column} FOR 1) <> %(current)s
"""
_OLD: Final = """
SELECT id, {0.kind}, {0.column} FROM {0.table}
 WHERE id > %(after)s AND substring({0.column} FOR 1) <> %(current)s ORDER BY id LIMIT %(limit)s
"""
# Rows are locked without waiting, which rules out a deadlock, and found by their ids, whatever the statistics say.
_WRITE: Final = """
UPDATE {0.table} AS row SET {0.column} = change.fresh
  FROM unnest(%s::uuid[], %s::bytea[], %s::bytea[]) AS change(id, known, fresh)
 CROSS JOIN LATERAL (
     SELECT id FROM {0.table} AS held WHERE held.id = change.id AND held.{0.column} = change.known
        FOR NO KEY UPDATE SKIP LOCKED) AS mine
 WHERE row.id = ANY (ARRAY[mine.id])
"""


def _keys() -> Mapping[str, Any]:
    known = [bytes([each]) for each in vault.known_keys()]
    return {"current": known[0], "known": known}


def reseal() -> Iterator[tuple[str, int]]:
    """
    Seal all values with the current key; yield the name of the place and the number of values written for each page.

    Values of unknown keys are left unchanged.
    """
    for place in _PLACES:
        for _ in range(_PASSES):
            written = 0
            for number in _pages(place):
                written += number
                yield place.name, number
            if not written:
                break


def _pages(place: _Place) -> Iterator[int]:
    after = UUID(int=0)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_OLD.format(place), {**_keys(), "after": after, "limit": _PAGE})
            rows = cursor.fetchall()
        if not rows:
            return
        after = rows[-1][0]
        yield _write(place, list(_resealed(place, rows)))


def _resealed(place: _Place, rows: Sequence[tuple[UUID, str, bytes]]) -> Iterator[tuple[UUID, bytes, bytes]]:
    for row_id, kind, sealed in rows:
        with contextlib.suppress(vault.SealBroken):
            yield row_id, sealed, vault.reseal(sealed, context=place.context(row_id, kind))


def _write(place: _Place, rows: Sequence[tuple[UUID, bytes, bytes]]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_WRITE.format(place), [[row[each] for row in rows] for each in range(3)])
        return int(cursor.rowcount)
