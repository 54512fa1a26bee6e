"""Debian's PgBouncer, in transaction mode, between a test and its database."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.db import connection

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None, reason="PgBouncer is not here (Debian: apt-get install pgbouncer)"
)
# No other program listens in the directory of its socket.
_PORT = "6432"


@dataclass
class Pooler:
    """A running PgBouncer. `url` is that of the running test's database."""

    url: str
    directory: Path
    process: "subprocess.Popen[bytes]"

    def point_at(self, server: str) -> None:
        """Send new sessions to another server, named as in libpq's `host=… port=…`, as RELOAD does."""
        ini = self.directory / "ini"
        _, _, rest = ini.read_text().partition("[pgbouncer]")
        ini.write_text(f"[databases]\n* = {server}\n[pgbouncer]{rest}")
        self.process.send_signal(signal.SIGHUP)


@contextmanager
def pgbouncer(*, sessions: int, **options: str) -> Iterator[str]:
    """Run it in front of the running test's database, with this number of sessions to lend; give its URL."""
    where = connection.settings_dict
    server = f"host={where['HOST']}" + (f" port={where['PORT']}" if where["PORT"] else "")
    with pooler(server, sessions=sessions, **options) as running:
        yield running.url


@contextmanager
def pooler(server: str, *, sessions: int, **options: str) -> Iterator[Pooler]:
    """Run it in front of a server, named as in libpq's `host=… port=…`, that has the running test's database."""
    assert PROGRAM is not None
    where = connection.settings_dict
    directory = Path(tempfile.mkdtemp(prefix="coppice-pooler-"))
    settings = {
        "listen_addr": "",
        "listen_port": _PORT,
        "unix_socket_dir": str(directory),
        "auth_type": "trust",
        "auth_file": str(directory / "users"),
        "pool_mode": "transaction",
        "default_pool_size": str(sessions),
        "max_client_conn": "200",
        **options,
    }
    written = "\n".join(f"{name} = {value}" for name, value in settings.items())
    (directory / "ini").write_text(f"[databases]\n* = {server}\n[pgbouncer]\n{written}\n")
    (directory / "users").write_text(f'"{where["USER"]}" "{where["PASSWORD"]}"\n')
    # It refuses to run as root, and the private PostgreSQL lets in the user whom root runs it as.
    account = "nobody" if os.geteuid() == 0 else None
    if account is not None:
        for path in (directory, *directory.iterdir()):
            os.chown(path, pwd.getpwnam(account).pw_uid, pwd.getpwnam(account).pw_gid)
    log = (directory / "log").open("wb")
    process = subprocess.Popen(
        [PROGRAM, str(directory / "ini")],
        stdout=log, stderr=log, cwd="/", user=account, extra_groups=[] if account else None,
    )  # fmt: skip
    url = f"postgresql://{where['USER']}@/{quote(where['NAME'])}?host={directory}&port={_PORT}"
    try:
        _wait_for(url, process, directory / "log")
        yield Pooler(url, directory, process)
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()
        shutil.rmtree(directory)


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.05)
        else:
            return
