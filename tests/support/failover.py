"""
A primary that may be killed, and its synchronous standby: copies of the server of the tests.

A way leads to the one that accepts writes: PgBouncer, or a connection URL with both hosts.
"""

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection

from config.dev.private_servers import Postgres, any_works_in, works_in
from config.dev.processes import Children
from config.postgresql import sessions
from tests.pooler import Pooler, pooler
from tests.support.redis_processes import wait_until
from tests.support.standby import Standby

# Without the first, PgBouncer refuses clients for 15 s after a failed connection.
POOLER = {"server_login_retry": "1", "query_wait_timeout": "5"}


@dataclass
class Cluster:
    """The servers, and PgBouncer unless the clients know both hosts."""

    primary: Standby
    standby: Standby
    pooler: Pooler | None

    def kill_primary(self) -> None:
        """End the primary as a machine that loses power does: all its processes at once."""
        data = self.primary.directory / "data"
        assert self.primary.child is not None
        # The parent first, so that it restarts nothing.
        os.kill(self.primary.child.pid, signal.SIGKILL)
        while any_works_in(data):
            for entry in os.listdir("/proc"):
                if entry.isdecimal() and works_in(int(entry), data):
                    os.kill(int(entry), signal.SIGKILL)
        self.primary.child.process.wait(timeout=60)

    def promote(self) -> None:
        """Make the standby the primary, without a standby, and point the pooler at it."""
        self.standby.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        self.standby.execute("SELECT pg_reload_conf()")
        self.standby.promote()
        if self.pooler is not None:
            self.pooler.point_at(_server(self.standby))


def _server(standby: Standby) -> str:
    return f"host={standby.directory} port=5432"


@contextmanager
def cluster(*, is_pooled: bool) -> Iterator[Cluster]:
    """
    Copy the server of Django's connection, start the copy as a primary, and stream from it.

    Inside, Django's connections and `tests.support.databases.database_url` lead to the server that accepts writes.
    Processes need the environment variable `COPPICE_DATABASE_POOLED`.
    """
    where = connection.settings_dict
    postgres = Postgres(Path("/nonexistent"))
    programs, account = postgres.binaries().directory, postgres.account
    with ExitStack() as stack:

        def copy(name: str, source: str, settings: dict[str, str], *options: str) -> Standby:
            directory = Path(tempfile.mkdtemp(prefix=f"coppice-{name}-"))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            directory.chmod(0o711)
            if account is not None:
                os.chown(directory, pwd.getpwnam(account).pw_uid, pwd.getpwnam(account).pw_gid)
            children = stack.enter_context(Children(directory))
            command = [programs / "pg_basebackup", "-D", directory / "data", "-d", source, "-X", "stream"]
            children.run(
                "base backup", [*command, "--checkpoint=fast", "--no-sync", *options],
                timeout_seconds=120, account=account,
            )  # fmt: skip
            server = Standby(directory, programs, account, children, "", settings)
            server.start()
            return server

        source = f"host={where['HOST']} user={where['USER']}" + (f" port={where['PORT']}" if where["PORT"] else "")
        primary = copy("primary", source, {"hot_standby_feedback": "off"})
        standby = copy("standby", f"{_server(primary)} user={where['USER']}", {"hot_standby_feedback": "off"}, "-R")
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        wait_until(lambda: primary.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'") is not None)
        between = stack.enter_context(pooler(_server(primary), sessions=8, **POOLER)) if is_pooled else None
        hosts = f"{primary.directory},{standby.directory}&port=5432,5432&target_session_attrs=read-write"
        url = between.url if between else f"postgresql://{where['USER']}@/{where['NAME']}?host={hosts}"
        stack.enter_context(_connected(url, sessions.Pooled.YES if is_pooled else sessions.Pooled.NO))
        yield Cluster(primary, standby, between)


@contextmanager
def _connected(url: str, pooled: sessions.Pooled) -> Iterator[None]:
    """Lead Django's connections to another URL; those that other threads have open stay."""
    found = sessions.database(url, pooled)
    names = ("USER", "HOST", "PORT", "OPTIONS", "DISABLE_SERVER_SIDE_CURSORS")
    before: dict[str, Any] = {name: connection.settings_dict[name] for name in names}
    connection.close()
    connection.settings_dict.update({name: found[name] for name in names})
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)
