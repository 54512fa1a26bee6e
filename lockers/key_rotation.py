"""
Sealing anew what earlier vault keys sealed, while everything goes on.

The first byte of a sealed value says which key sealed it, so what is left to do stands in the rows, and a run that was
interrupted is simply begun again. Values are opened and sealed without a lock. The write compares each row with what
was read and passes over those that somebody is just changing: they come in a later pass.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from lockers import coin_secrets, vault

_PAGE: Final = 500
# A row that is locked is free again in milliseconds.
_PASSES: Final = 5


@dataclass(frozen=True, slots=True)
class _Place:
    """A column of sealed values. The context of each follows from its row's id and, of tasks, from their kind."""

    name: str
    table: str
    column: str
    context: Callable[[UUID, str], str]
    kind: str = "''"


_PLACES: Final = (
    _Place("coins", "lockers_coin", "secrets", lambda row_id, _: coin_secrets.context_of_coin(row_id)),
    _Place("coins in doubt", "lockers_coin", "proposed", lambda row_id, _: coin_secrets.context_of_coin(row_id)),
    _Place("lockers", "lockers_locker", "code", lambda row_id, _: coin_secrets.context_of_locker(row_id)),
    # Not uploads: they are large, and gone within the hour in which their task ends.
    _Place("tasks", "lockers_lockertask", "code", coin_secrets.context_of_task, kind="kind"),
    # The desk's, which this app does not know: `config.admin.second_factor` seals them.
    _Place("second factors", "desk_secondfactor", "secret", lambda row_id, _: f"second factor/{row_id}"),
)


@dataclass(frozen=True, slots=True)
class Count:
    """How many values of a place another key sealed than the current one, and how many of these no key opens."""

    name: str
    old: int
    unknown: int


def counts() -> list[Count]:
    """Look at every value."""
    found = []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        for place in _PLACES:
            cursor.execute(_COUNT.format(place), _keys())
            found.append(Count(place.name, *cursor.fetchone()))
    return found


# Not `get_byte`, which refuses values of no length.
_COUNT: Final = """
SELECT count(*), count(*) FILTER (WHERE substring({0.column} FOR 1) <> ALL(%(known)s)) FROM {0.table}
 WHERE substring({0.column} FOR 1) <> %(current)s
"""
_OLD: Final = """
SELECT id, {0.kind}, {0.column} FROM {0.table}
 WHERE id > %(after)s AND substring({0.column} FOR 1) <> %(current)s ORDER BY id LIMIT %(limit)s
"""
# Locked in order and without waiting, so that nobody who locks several rows can wait for this in a circle.
_WRITE: Final = """
WITH news AS (SELECT * FROM unnest(%s::uuid[], %s::bytea[], %s::bytea[]) AS news(id, known, fresh)),
     mine AS (SELECT row.id FROM {0.table} AS row JOIN news USING (id) WHERE row.{0.column} = news.known
               ORDER BY row.id FOR NO KEY UPDATE OF row SKIP LOCKED)
UPDATE {0.table} AS row SET {0.column} = news.fresh FROM news JOIN mine USING (id) WHERE row.id = news.id
"""


def _keys() -> Mapping[str, Any]:
    known = [bytes([each]) for each in vault.known_keys()]
    return {"current": known[0], "known": known}


def reseal() -> Iterator[tuple[str, int]]:
    """
    Seal everything with the current key; give, page by page, the name of the place and how many values were written.

    Values that no configured key opens are left as they are.
    """
    for place in _PLACES:
        for _ in range(_PASSES):
            written = 0
            for number in _go_through(place):
                written += number
                yield place.name, number
            if not written:
                break


def _go_through(place: _Place) -> Iterator[int]:
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
