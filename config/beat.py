"""
The scheduler of Celery beat, of which several may run: only the leader publishes.

The leader holds a transaction-level advisory lock in a transaction that it keeps open, which works behind a pooler in
transaction mode too. A dead process loses the lock with its connection. For one that hangs, or whose machine is gone,
`idle_in_transaction_session_timeout` makes the lock a lease: PostgreSQL ends the session when nothing was heard from it
for `LEASE_SECONDS`. The transaction has no id, and keeps no snapshot between its statements, so it delays neither
VACUUM nor CREATE INDEX CONCURRENTLY.

The lock saves messages, and nothing depends on it: each scheduled task may run twice at once. Two leaders are possible
for a moment, for example if the leader is suspended between its check and the message.
"""

import logging
import signal
import time
from typing import Any, Final, NoReturn

from celery import beat
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

# The key of the advisory lock of the leader.
_LEADING: Final = 20261201
LEASE_SECONDS: Final = 5
# How often the leader renews the lease, and another beat tries to take it.
RENEW_SECONDS: Final = 1.0

_log: Final = logging.getLogger("coppice.beat")


class Leadership:
    """The advisory lock, on a connection that serves for nothing else. Not thread-safe."""

    def __init__(self) -> None:
        self._connection: BaseDatabaseWrapper | None = None
        self._asked_at: float | None = None
        self._is_held = False

    def renew(self) -> bool:
        """Return whether this process is the leader, after asking the database if it was not asked within a second."""
        if self._asked_at is not None and time.monotonic() - self._asked_at < RENEW_SECONDS:
            return self._is_held
        is_first, was_held = self._asked_at is None, self._is_held
        try:
            self._is_held = self._ask()
        except Error as error:
            self.release()
            if is_first or was_held:
                _log.warning("beat_lost_the_database", extra={"error": type(error).__name__})
        self._asked_at = time.monotonic()
        if is_first or self._is_held != was_held:
            if self._is_held:
                _log.info("beat_leads")
            else:
                _log.info("beat_stands_by")
        return self._is_held

    def _ask(self) -> bool:
        if self._connection is None:
            self._connection = connections.create_connection("default")
            self._connection.set_autocommit(False)
            # What is prepared, or has parameters, keeps its snapshot until the next statement, and CREATE INDEX
            # CONCURRENTLY waits for the end of each transaction with an older snapshot.
            self._connection.connection.prepare_threshold = None
        with self._connection.cursor() as cursor:
            if self._is_held:
                cursor.execute("SELECT 1")
                return True
            cursor.execute(
                f"SELECT pg_try_advisory_xact_lock({_LEADING}),"
                f" set_config('idle_in_transaction_session_timeout', '{LEASE_SECONDS}s', true)"
            )
            is_held = bool(cursor.fetchone()[0])
        if not is_held:
            self._connection.rollback()
        return is_held

    def release(self) -> None:
        """Close the connection, and so release the lock."""
        self._is_held = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Scheduler(beat.Scheduler):
    """Celery's scheduler, without a file, which publishes only while it is the leader."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._leadership = Leadership()
        self._is_stopping = False
        super().__init__(*args, **options)

    def stop_on_signals(self) -> None:
        """
        End the process on SIGTERM and SIGINT, in place of Celery's handler.

        Celery's closes the connection to the broker. If the signal arrives while redis reads from that connection, the
        error about the closed buffer replaces `SystemExit`, and beat goes on. This handler closes nothing, and if the
        code that it interrupts does not pass `SystemExit` on, the next `tick` raises it again.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, *_: object) -> NoReturn:
        self._is_stopping = True
        raise SystemExit

    def tick(self, *args: Any, **options: Any) -> float:
        """
        Publish what is due, if this process is the leader; return the seconds until the next call.

        :raises SystemExit: a signal has asked the process to end
        """
        if self._is_stopping:
            raise SystemExit
        if not self._leadership.renew():
            return RENEW_SECONDS
        return float(super().tick(*args, **options))

    def close(self) -> None:
        """Let another beat lead."""
        self._leadership.release()
        super().close()
