"""
The request log: the requests of the last days as rows, for the page *requests* of the admin.

The rows have the fields of the access log (`config.ops.access_log`), which gives them here: no body, no query, no path.

A request only appends to a queue of this process. One thread, with a separate connection, writes the queue once a
second, with one COPY. While the database does not answer, the queue fills; when it is full, further requests are not
recorded but counted, in the broker's server, for each day. A killed process loses the rows of its last second.

Each day (UTC) has a partition (`config.ops.partitions`). A writer that finds none creates it. When all together are
larger than `COPPICE_REQUEST_LOG_MEGABYTES`, the oldest are dropped; when today's alone is, no more is recorded today.

Decided 2026-11-30 against a row in the transaction of the request, which would cost it a round trip and record nothing
of a request that failed; and against sending the log lines to a separate store, which is one more thing to run.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    connection,
)
from psycopg.errors import CheckViolation, UniqueViolation

from config.ops import partitions, redis_status

log = logging.getLogger("coppice.requests")

TABLE: Final = "desk_request"
# Requests that were not recorded, by day (UTC).
LOST_KEY: Final = "coppice:requests:lost"
WRITE_SECONDS: Final = 1.0
# Rows that wait in one process, about 10 MB; and rows of one COPY.
QUEUE: Final = 10_000
_BATCH: Final = 5_000
# How often a process looks at the size of the log.
_SIZE_SECONDS: Final = 60.0
_BITS: Final = 10
_COLUMNS: Final = (
    "id", "request_id", "method", "route", "status", "milliseconds", "client", "api_key_id", "wallet_id", "user_id",
    "restricted_key_id", "error",
)  # fmt: skip
_COPY: Final = f"COPY {TABLE} ({', '.join(_COLUMNS)}) FROM STDIN"
_INSERT: Final = (
    f"INSERT INTO {TABLE} ({', '.join(_COLUMNS)})"  # noqa: S608 - constants
    f" VALUES ({', '.join(['%s'] * len(_COLUMNS))}) ON CONFLICT DO NOTHING"
)

# (nanoseconds since 1970, the line of the access log)
_Entry = tuple[int, Mapping[str, Any]]


def first_id(at: datetime) -> int:
    """Return the lowest id of a request that was answered at this time or later."""
    return round(at.timestamp() * 1_000_000) << _BITS


def _first_of_day(day: date) -> str:
    return str(first_id(datetime(day.year, day.month, day.day, tzinfo=UTC)))


PARTITIONS: Final = partitions.Table(TABLE, days=1, bound=_first_of_day)


def time_of(row_id: int) -> datetime:
    """Return when the request with this id was answered."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row_id >> _BITS)


# --- writing -----------------------------------------------------------------------------


class Writer:
    """A queue of requests, and the thread that writes it."""

    def __init__(self, *, seconds: float = WRITE_SECONDS, most: int = QUEUE) -> None:
        self._seconds = seconds
        self._most = most
        self._entries: deque[_Entry] = deque()
        self._lost = 0
        self._lock = threading.Lock()
        self._stops = threading.Event()
        # Other processes begin elsewhere, so that two rows of one microsecond differ.
        self._last_id = 0
        self._first_bits = secrets.randbits(_BITS)
        self._has_room = True
        self._looked_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def take(self, line: Mapping[str, Any]) -> None:
        """Enqueue a request, or count it as lost. Never waits."""
        if len(self._entries) >= self._most:
            self._lose(1)
        else:
            self._entries.append((time.time_ns(), line))

    def stop(self, *, patience_seconds: float) -> None:
        """Write what is in the queue and end the thread; count what is left."""
        self._stops.set()
        self._thread.join(patience_seconds)
        self._lose(len(self._entries))
        self._report_lost()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._stops.wait(self._seconds)
            try:
                self.write()
            except Exception:
                log.exception("request_log_failed")
            self._report_lost()
        connection.close()

    def write(self) -> None:
        """Write the queue. What the database does not take now stays in it."""
        if self._entries:
            self._look_at_size()
        while self._entries:
            batch = [self._entries.popleft() for _ in range(min(_BATCH, len(self._entries)))]
            if not self._has_room:
                self._lose(len(batch))
                continue
            rows = [self._row(*entry) for entry in batch]
            try:
                _write(rows)
            except (DataError, IntegrityError, ProgrammingError):
                # They would fail again.
                log.exception("request_log_failed")
                self._lose(len(batch))
            except (DatabaseError, InterfaceError):
                connection.close()
                self._entries.extendleft(reversed(batch))
                while len(self._entries) > self._most:
                    self._entries.popleft()
                    self._lose(1)
                return

    def _row(self, nanoseconds: int, line: Mapping[str, Any]) -> tuple[Any, ...]:
        row_id = (nanoseconds // 1000 << _BITS) + self._first_bits
        # Threads finish in another order by microseconds. More than a second back, the clock was corrected.
        if 0 <= self._last_id - row_id < 1_000_000 << _BITS:
            row_id = self._last_id + 1
        self._last_id = row_id
        return (
            self._last_id,
            _text(line["request_id"]),
            line["method"],
            line["route"][:200],
            line["status"],
            line["ms"],
            _text(line["client"])[:45],
            line.get("api_key"),
            line.get("wallet"),
            line.get("user"),
            line.get("restricted_key"),
            line.get("error") or "",
        )

    def _look_at_size(self) -> None:
        now = time.monotonic()
        if self._looked_at is not None and now < self._looked_at + _SIZE_SECONDS:
            return
        self._looked_at = now
        try:
            self._has_room = _has_room() or tidy()
        except (DatabaseError, InterfaceError):
            connection.close()

    def _lose(self, number: int) -> None:
        with self._lock:
            self._lost += number

    def _report_lost(self) -> None:
        with self._lock:
            lost, self._lost = self._lost, 0
        if not lost:
            return
        try:
            redis_status.add_up(settings.REDIS_URL, LOST_KEY, {datetime.now(UTC).date().isoformat(): lost})
        except redis_status.BrokerSilent:
            self._lose(lost)


def _text(value: object) -> str:
    """Return a text of a client in a form that COPY takes as it is."""
    text = str(value or "")
    return text if text.isprintable() and "\\" not in text else ""


def _write(rows: Sequence[tuple[Any, ...]]) -> None:
    for is_repeated in (False, True):
        try:
            return _copy(rows)
        except IntegrityError as error:
            if isinstance(error.__cause__, CheckViolation) and not is_repeated:
                # No partition: the scheduler is late.
                create_partitions({time_of(row[0]).date() for row in rows})
            elif isinstance(error.__cause__, UniqueViolation):
                # Another process wrote a row in the same microsecond, or the answer to the last COPY was lost.
                with connection.cursor() as cursor:
                    cursor.executemany(_INSERT, rows)
                return None
            else:
                raise
    return None


def _copy(rows: Sequence[tuple[Any, ...]]) -> None:
    # No value has a character that COPY would read otherwise: see `_text`. The other texts are constants.
    lines = "".join("\t".join("\\N" if value is None else str(value) for value in row) + "\n" for row in rows)
    with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.write(lines.encode())


_writer: Writer | None = None


def begin() -> None:
    """Record the requests of this process from now on, if the request log is on."""
    global _writer  # noqa: PLW0603 - one for each process
    if settings.REQUEST_LOG_DAYS and _writer is None:
        _writer = Writer()


def end(*, patience_seconds: float) -> None:
    """Write what is in the queue, and record no more."""
    global _writer
    writer, _writer = _writer, None
    if writer is not None:
        writer.stop(patience_seconds=patience_seconds)


def record(line: Mapping[str, Any]) -> None:
    """Record a request, given as a line of the access log, if this process records requests."""
    if _writer is not None:
        _writer.take(line)


def lost() -> dict[date, int]:
    """
    Return how many requests were not recorded, by day (UTC); days without such requests are omitted.

    :raises config.ops.redis_status.BrokerSilent: no answer
    """
    return {date.fromisoformat(day): number for day, number in redis_status.sums(settings.REDIS_URL, LOST_KEY).items()}


# --- partitions --------------------------------------------------------------------------


def tidy() -> bool:
    """
    Create the partitions of today and the next days, drop those that are too old, and the oldest while all are too
    large. Return whether there is room for more.
    """
    today = partitions.today()
    if settings.REQUEST_LOG_DAYS:
        partitions.create_ahead(PARTITIONS)
    oldest = today - timedelta(days=settings.REQUEST_LOG_DAYS - 1)
    for day in partitions.days(PARTITIONS):
        is_old = day < oldest or not settings.REQUEST_LOG_DAYS
        if not is_old and (day >= today or _has_room()):
            break
        try:
            partitions.drop(PARTITIONS, day)
        except DatabaseError:
            # A backup or a long list reads it. The next run tries again.
            log.warning("request_log_is_read")
            break
    return _has_room()


def create_partitions(days: Iterable[date]) -> None:
    """Create the partitions of these days that do not exist. Readers and writers of the log do not wait for it."""
    for day in sorted(days):
        partitions.create(PARTITIONS, day)


def _has_room() -> bool:
    """Return whether the log, with its indexes, is smaller than `COPPICE_REQUEST_LOG_MEGABYTES`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_partition_tree(%s::regclass) WHERE isleaf",
            [TABLE],
        )
        (size,) = cursor.fetchone()
    return bool(size < settings.REQUEST_LOG_MEGABYTES * 1_000_000)
