"""A streaming standby of the PostgreSQL on which the tests run."""

import os
import pwd
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from django.db import connection

from config import tasks
from config.dev.embedded import database_url, runtime_directory, state_directory
from config.dev.private_servers import Postgres
from config.dev.processes import Child, Children

# A standby needs as many as its primary (`config.dev.private_servers`).
_CONNECTIONS = "120"
_PORT = "5432"
_PATIENCE_SECONDS = 60


@dataclass
class Standby:
    """
    A standby with its own data directory and socket, which replays the log of the primary as it arrives.

    `slot` is the replication slot on the primary, which keeps the log that the standby has not received.
    """

    directory: Path
    programs: Path
    account: str | None
    children: Children
    slot: str
    # Settings of the server beside those that it needs.
    settings: dict[str, str] = field(default_factory=dict)
    child: Child | None = None

    def url(self, database: str = "") -> str:
        """Return the URL of a database, by default of the running test's."""
        name = database or connection.settings_dict["NAME"]
        return (
            f"postgresql://{quote(connection.settings_dict['USER'])}@/{quote(name)}?host={self.directory}&port={_PORT}"
        )

    def execute(self, statement: str, parameters: Sequence[Any] = (), *, database: str = "postgres") -> Any:
        """Execute a statement in a session of its own, and return the first row, or None."""
        with psycopg.connect(self.url(database), autocommit=True) as session:
            cursor = session.execute(statement, list(parameters))
            return cursor.fetchone() if cursor.description else None

    def start(self) -> None:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "port": _PORT,
            "max_connections": _CONNECTIONS,
            "hot_standby_feedback": "on",
            "timezone": "UTC",
            "fsync": "off",
            "shared_buffers": "32MB",
            **self.settings,
        }
        arguments: list[str | Path] = [self.programs / "postgres", "-D", self.directory / "data"]
        arguments += [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        self.child = self.children.spawn(
            "standby", arguments, directory=self.directory / "data", account=self.account, stop_signal=signal.SIGINT
        )
        self.children.wait_until(self.answers, self.child, timeout_seconds=_PATIENCE_SECONDS)

    def stop(self) -> None:
        """End the server and all its sessions at once; `start` runs it again."""
        if self.child is not None:
            self.children.stop([self.child])
            self.child = None

    def answers(self) -> bool:
        """Return whether the server answers a query."""
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def pause(self) -> None:
        """
        Stop replaying. The log still arrives.

        A stop between a replayed lock on a table of the catalog, for example of autovacuum, and its release would keep
        new sessions out: then it goes on, and stops later.
        """

        def is_paused_and_open() -> bool:
            self.execute("SELECT pg_wal_replay_pause()")
            _wait_until(lambda: self.execute("SELECT pg_get_wal_replay_pause_state()") == ("paused",))
            # 0 is the database of tables that all databases share.
            locks = (
                "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'"
                " AND database IN (0, (SELECT oid FROM pg_database WHERE datname = %s))"
            )
            if self.execute(locks, [connection.settings_dict["NAME"]]) == (0,):
                return True
            self.resume()
            return False

        _wait_until(is_paused_and_open)

    def resume(self) -> None:
        self.execute("SELECT pg_wal_replay_resume()")

    def delay(self, seconds: float) -> None:
        """Replay each commit this long after its time on the primary."""
        self.execute(f"ALTER SYSTEM SET recovery_min_apply_delay = '{round(seconds * 1000)}ms'")
        self.execute("SELECT pg_reload_conf()")

    def catch_up(self) -> None:
        """Wait until all that the primary has written so far is replayed."""
        with connection.cursor() as cursor:
            # The last bytes of transactions with synchronous_commit = off reach the log within a moment.
            cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
            (position,) = cursor.fetchone()
        self.wait_for(position)

    def wait_for(self, position: str) -> None:
        """Wait until the log is replayed up to this position."""
        _wait_until(lambda: self.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [position]) == (True,))

    def promote(self) -> None:
        """Make it a primary, and wait until it accepts writes."""
        self.execute(f"SELECT pg_promote(true, {_PATIENCE_SECONDS})")
        _wait_until(lambda: self.execute("SELECT pg_is_in_recovery()") == (False,))


@contextmanager
def streaming_standby(**settings: str) -> Iterator[Standby]:
    """
    Copy the server of the running tests, stream from it, and remove the copy at the end. Takes a few seconds.

    `settings` are settings of the standby server.
    """
    state = state_directory()
    if os.environ["DATABASE_URL"] != database_url(state):
        pytest.skip("the server of DATABASE_URL may not be copied")
    primary = Postgres(state)
    programs = primary.binaries().directory
    directory = Path(tempfile.mkdtemp(prefix="coppice-standby-"))
    directory.chmod(0o711)
    account = primary.account
    if account is not None:
        os.chown(directory, pwd.getpwnam(account).pw_uid, pwd.getpwnam(account).pw_gid)
    slot = f"test_{os.getpid()}_{time.monotonic_ns()}"
    user = connection.settings_dict["USER"]
    try:
        with Children(directory) as children:
            children.remove_at_the_end(directory)
            source = f"host={runtime_directory(state) / 'pg'} user={user} application_name={slot}"
            children.run(
                "base backup",
                [
                    programs / "pg_basebackup",
                    *("-D", directory / "data", "-d", source, "-R", "-C", "-S", slot),
                    *("-X", "stream", "--checkpoint=fast", "--no-sync"),
                ],
                timeout_seconds=120,
                account=account,
            )
            standby = Standby(directory, programs, account, children, slot, settings)
            standby.start()
            yield standby
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        _drop(slot)


def _drop(slot: str) -> None:
    """Drop the slot on the primary, which otherwise keeps its log for ever."""
    with psycopg.connect(database_url(state_directory()), autocommit=True) as session:
        # Its sender may not have noticed yet that the standby has ended.
        session.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [slot]
        )

        def dropped() -> bool:
            session.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                " WHERE slot_name = %s AND NOT active",
                [slot],
            )
            found = session.execute("SELECT FROM pg_replication_slots WHERE slot_name = %s", [slot])
            return found.fetchone() is None

        _wait_until(dropped)


def _wait_until(is_so: Any) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "the standby does not follow"
        time.sleep(0.02)


def follow(standby: Standby) -> None:
    """Publish the position, as a worker does each second, and wait until the standby has replayed it."""
    tasks.publish_position()
    standby.catch_up()
