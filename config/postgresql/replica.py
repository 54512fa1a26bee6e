"""
Reads from a streaming replica of the database, the standby of `COPPICE_REPLICA_URL`.

`read` and `read_lines` make the replica the default database of their thread while a question is answered: each
statement is executed there, whichever module executes it. PostgreSQL refuses a write on a standby, so a question cannot
change anything, and outside of a question nothing reads from the replica. Code that decides, looks up credentials or
stores the answer to an Idempotency-Key asks no such question (tests/config/test_replica.py lists all of them).

A question is answered by the primary instead if the replica does not answer, is more than `REPLICA_MAX_LAG` seconds
behind, or has not replayed the log up to the position that the reader has seen. If the replica fails while it answers,
for example because replaying the log cancels the statement, the question is asked again on the primary.

The lag is the age of a row that a task of beat writes on the primary each second (`wallets.event_sequence.publish`):
the replica has everything that was committed before the time in the row. So an idle primary causes no lag, and both
machines' clocks must agree. The time of the last replayed transaction would grow old on an idle primary.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import islice
from typing import Any, Final, Generic, NamedTuple, TypeVar

from django import db
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections

from config.ops import request_metrics

ALIAS: Final = "replica"
# After a failure the replica is not contacted for this time, and then by one thread of a process at first.
RETRY_SECONDS: Final = 1.0
# A position that every server has reached, and one that none ever reaches.
BEGINNING: Final = "0/0"
NEVER: Final = "FFFFFFFF/FFFFFFFF"

_POLL_SECONDS: Final = 0.02
_STATEMENT_TIMEOUT: Final = "57014"
_log: Final = logging.getLogger("coppice.replica")
_T = TypeVar("_T")

_STATE: Final = """
SELECT pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn() >= %(after)s::pg_lsn, false),
       published.at, extract(epoch FROM clock_timestamp() - published.at)::float8, coalesce(published.settled, 0)
  FROM (SELECT) AS one LEFT JOIN wallets_eventposition AS published ON true
"""


class Unusable(Exception):
    """The replica does not answer a question; the message says why, and names no address."""


class TooFarBehind(Unusable):
    """The replica is more than `REPLICA_MAX_LAG` seconds behind."""

    def __init__(self, lag_seconds: float) -> None:
        super().__init__(
            f"is {lag_seconds:.0f} s behind, more than COPPICE_REPLICA_MAX_LAG={settings.REPLICA_MAX_LAG:g}"
        )
        self.lag_seconds = lag_seconds


class Reading(NamedTuple):
    """
    The state of the replica as a question is asked: it has all that was committed before `as_of`.

    `settled` is the published number of `wallets.event_sequence`.
    """

    as_of: datetime
    lag_seconds: float
    settled: int


class _Pause:
    """
    Until when this process does not contact the replica, 0 if it answered last; and whether it is a copy of the
    primary, as compared when a connection was opened last.
    """

    until = 0.0
    is_of_same_cluster = False


def is_configured() -> bool:
    return ALIAS in connections.settings


def position() -> str:
    """
    Return the position of the primary's log behind all that has been committed.

    :raises django.db.DatabaseError: no answer
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
        return str(cursor.fetchone()[0])


def state(*, after: str = BEGINNING, patience_seconds: float = 0.0) -> Reading:
    """
    Return the state of the replica if a reader who has seen the log up to `after` may read from it.

    Waits up to `patience_seconds` until it has replayed that much.

    :raises Unusable: it may not, or the replica does not answer
    """
    if not is_configured():
        raise Unusable("is not named by COPPICE_REPLICA_URL")
    deadline = time.monotonic() + patience_seconds
    while True:
        is_standby, has_replayed, as_of, lag, settled = _asked(after)
        if not is_standby:
            raise Unusable("is not a standby server")
        if as_of is None:
            raise Unusable("has no position that beat has published")
        # A lag below zero is the difference of two clocks.
        if abs(lag) > settings.REPLICA_MAX_LAG:
            raise TooFarBehind(lag)
        if has_replayed:
            return Reading(as_of, max(0.0, lag), settled)
        if time.monotonic() > deadline:
            raise Unusable("has not replayed the reader's own writes")
        time.sleep(_POLL_SECONDS)


def _asked(after: str) -> Any:
    now = time.monotonic()
    if now < _Pause.until:
        raise Unusable("does not answer")
    if _Pause.until:
        # This thread tries; the others go on without it meanwhile.
        _Pause.until = now + RETRY_SECONDS
    wrapper = connections[ALIAS]
    try:
        if wrapper.connection is None:
            wrapper.ensure_connection()
            _Pause.is_of_same_cluster = _cluster_of(wrapper) == _cluster_of(connections[DEFAULT_DB_ALIAS])
        if not _Pause.is_of_same_cluster:
            raise Unusable("is the standby of another server than that of DATABASE_URL")
        with wrapper.cursor() as cursor:
            cursor.execute(_STATE, {"after": after})
            row = cursor.fetchone()
    except db.Error as error:
        wrapper.close()
        _pause(error)
        raise Unusable("does not answer") from error
    _Pause.until = 0.0
    return row


def _cluster_of(wrapper: Any) -> tuple[int, str]:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT system_identifier, current_database() FROM pg_control_system()")
        system, name = cursor.fetchone()
        return int(system), str(name)


def _pause(error: Exception) -> None:
    if not _Pause.until:
        _log.warning("replica_away", extra={"error": type(error).__name__})
    _Pause.until = time.monotonic() + RETRY_SECONDS


@contextmanager
def _default_is_replica() -> Iterator[None]:
    """Execute the statements of this thread on the replica, with what wraps them: a restricted key narrows them."""
    primary, wrapper = connections[DEFAULT_DB_ALIAS], connections[ALIAS]
    wrapper.execute_wrappers = primary.execute_wrappers
    connections[DEFAULT_DB_ALIAS] = wrapper
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = primary
        wrapper.execute_wrappers = []


@contextmanager
def reading() -> Iterator[None]:
    """
    Read from the replica in this block, after `state` has allowed it.

    :raises Unusable: a statement failed; it may be repeated on the primary
    """
    try:
        with _default_is_replica():
            yield
    except db.Error as error:
        code = getattr(error.__cause__, "sqlstate", None)
        if code == _STATEMENT_TIMEOUT:
            # It would take as long on the primary.
            raise
        _log.warning("replica_failed", extra={"error": type(error).__name__, "operation": code or ""})
        wrapper = connections[ALIAS]
        if not wrapper.is_usable():
            wrapper.close()
            _pause(error)
        raise Unusable("failed while it answered") from error


def read(
    question: Callable[[Reading | None], _T],
    *,
    after: str = BEGINNING,
    patience_seconds: float = 0.0,
    unless: Callable[[Reading], bool] = lambda reading: False,
) -> _T:
    """
    Ask a question of the replica, or of the primary if the replica cannot answer it.

    `question` gets the state of the replica, or None if the primary answers, and may be called twice. `after` and
    `patience_seconds` are those of `state`. `unless` is asked on the primary whether it must answer nevertheless.
    Inside a transaction the primary answers, and without a replica.
    """
    # Inside another question, or a transaction, whose own rows belong to the answer.
    if not is_configured() or connection.alias == ALIAS or connection.in_atomic_block:
        return question(None)
    with suppress(Unusable):
        found = state(after=after, patience_seconds=patience_seconds)
        if not unless(found):
            with reading():
                answer = question(found)
            request_metrics.count_read("replica")
            return answer
    request_metrics.count_read("primary")
    return question(None)


def read_lines(
    lines: Callable[[], Iterator[_T]], *, after: str = BEGINNING, patience_seconds: float = 0.0
) -> Iterator[_T]:
    """
    Return an iterator that reads from the replica, or from the primary, as with `read`.

    The first two lines are read at once; a replica that fails after them ends the iterator with its error.
    """
    return read(lambda found: _begun(lines(), found), after=after, patience_seconds=patience_seconds)


def _begun(lines: Iterator[_T], found: Reading | None) -> Iterator[_T]:
    return lines if found is None else Begun(lines)


class Begun(Generic[_T]):
    """The rest of an iterator of a question, which is read from the replica after the question has returned."""

    def __init__(self, lines: Iterator[_T]) -> None:
        self._lines = lines
        self._first = list(islice(lines, 2))

    def __iter__(self) -> "Begun[_T]":
        return self

    def __next__(self) -> _T:
        if self._first:
            return self._first.pop(0)
        with _default_is_replica():
            return next(self._lines)

    def close(self) -> None:
        # A generator may be inside a transaction of the replica.
        with _default_is_replica():
            close = getattr(self._lines, "close", None)
            if close is not None:
                close()
