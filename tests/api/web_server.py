"""The product's web server on the test database, in a separate process."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType

from config.dev.embedded import ROOT
from config.web import server
from tests.ports import reserved_port
from tests.support.databases import database_url


def children_of(parent: int) -> set[int]:
    """Return the living child processes that its first thread started."""
    found = set()
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with suppress(OSError):
            if Path(f"/proc/{child}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z":
                found.add(int(child))
    return found


def listeners(port: int) -> set[str]:
    """Return the inodes of the sockets that listen on the port: one for each process that serves."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}


@contextmanager
def web_server(more: Mapping[str, str] = MappingProxyType({}), *, log: Path | None = None) -> Iterator[str]:
    """
    Run the server as in production, but with one process; give its `host:port`.

    `more` joins its environment, and `log` takes what it writes to stderr.
    """
    with started(more, processes=1, log=log) as (process, port):
        wait_for(port, process)
        yield f"127.0.0.1:{port}"


@contextmanager
def started(
    more: Mapping[str, str], *, processes: int, log: Path | None = None
) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Start the server with this number of processes and yield it with its port; stop it afterwards."""
    environment = os.environ | {
        "DATABASE_URL": database_url(),
        "DJANGO_SETTINGS_MODULE": "config.settings.test",
        "COPPICE_SECURE": "false",
        **more,
    }
    with reserved_port() as port, log.open("ab") if log else nullcontext() as stderr:
        command = server.command(port=port, processes=processes, is_reserved=True)
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=stderr)
        try:
            yield process, port
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            finally:
                process.kill()


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Return when the server listens. Raise RuntimeError if it ends."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the web server did not start: exit status {process.poll()}")
