"""A Coppice of its own to measure: durable PostgreSQL, Valkey, and the web server as `make run` starts it."""

import contextlib
import http.client
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from config.dev.embedded import ROOT, database_url, make_directory, redis_url, stored_secret
from config.dev.ports import port_is_free
from config.dev.private_servers import Postgres, Valkey
from config.dev.processes import Child, Children
from config.web import server

SETTINGS = "tests.benchmarks.settings"


@dataclass
class Machine:
    """The running parts. `environment` is what their processes read, and this one from `running` on."""

    state: Path
    port: int
    postgres: Postgres
    valkey: Valkey
    children: Children
    versions: list[str]
    environment: dict[str, str]
    web: Child | None = None

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        """Open a connection that no time limit of the product ends."""
        return psycopg.connect(database_url(self.state), autocommit=True)

    def pgbench(self, *arguments: str) -> str:
        """Run pgbench on the database and return what it printed."""
        program = self.postgres.binaries().directory / "pgbench"
        shown = subprocess.run(
            [program, "-h", self.postgres.sockets, "-U", "coppice", "-n", *arguments, "coppice"],
            capture_output=True,
            text=True,
            check=False,
        )
        if shown.returncode != 0:
            raise RuntimeError(shown.stderr)
        return shown.stdout

    def web_and_database_cpu(self) -> tuple[float, float]:
        """Return the processor time that the web server and PostgreSQL have used, in seconds."""
        assert self.web is not None
        assert self.postgres.child is not None
        return cpu_seconds(self.web.pid), cpu_seconds(self.postgres.child.pid)

    def restart_postgres(self) -> None:
        """What `pg_ctl restart -m immediate` does: every connection is cut, and recovery replays the log."""
        child = self.postgres.child
        assert child is not None
        child.process.send_signal(signal.SIGQUIT)
        child.process.wait(timeout=30)
        self.postgres.start(self.children)

    def configure_postgres(self, values: Mapping[str, str]) -> None:
        """Restart PostgreSQL with these settings, and its own defaults for all others."""
        child = self.postgres.child
        assert child is not None
        with self.connect() as connection:
            connection.execute("ALTER SYSTEM RESET ALL")
            for name, value in values.items():
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.children.stop([child])
        os.sync()
        self.postgres.start(self.children)

    def start_web(self) -> None:
        """Start the web server and wait until it says that it is ready."""
        command = server.command(port=self.port)
        self.web = self.children.spawn("web", command, environ=self.environment, directory=ROOT)
        self.children.wait_until(self._is_ready, self.web, timeout_seconds=60)

    def start_control(self, command: Callable[..., list[str]], directory: Path) -> tuple[tuple[str, int], Child]:
        """Start a second web server over the same database, and return its address."""
        port = next(port for port in range(self.port + 1, 8600) if port_is_free(port))
        child = self.children.spawn("control", command(port=port), environ=self.environment, directory=directory)
        self.children.wait_until(lambda: _answers(port), child, timeout_seconds=60)
        return ("127.0.0.1", port), child

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        try:
            connection.request("GET", "/readyz?without=worker", headers={"Host": "localhost"})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@contextlib.contextmanager
def running(kept: Path | None = None) -> Iterator[Machine]:
    """
    Start everything but the web server in a new directory, and remove it at the end.

    With `kept`, in that directory, which stays: the next run has the same data and keys.
    """
    state = kept or Path(tempfile.mkdtemp(prefix="coppice-bench-", dir="/tmp"))
    make_directory(state)
    state.chmod(0o711)
    try:
        with Children(state) as children:
            postgres, valkey = Postgres(state), Valkey(state)
            versions = [f"PostgreSQL {postgres.start(children)}", f"Valkey {valkey.start(children)}"]
            ours = {
                "COPPICE_STATE_DIR": str(state),
                "COPPICE_SECRET_KEY": stored_secret(state / "secret_key"),
                "COPPICE_VAULT_KEY": stored_secret(state / "vault_key"),
                "COPPICE_SECURE": "false",
                "DATABASE_URL": database_url(state),
                "REDIS_URL": redis_url(state),
                "DJANGO_SETTINGS_MODULE": SETTINGS,
            }
            os.environ.update(ours)
            children.run(
                "migrate",
                [ROOT / ".venv/bin/python", ROOT / "manage.py", "migrate", "--no-input", "--verbosity", "0"],
                timeout_seconds=300,
                environ=os.environ,
                directory=ROOT,
            )
            port = next(port for port in range(8300, 8500) if port_is_free(port))
            yield Machine(state, port, postgres, valkey, children, versions, dict(os.environ))
    finally:
        if kept is None:
            shutil.rmtree(state, ignore_errors=True)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/livez", headers={"Host": "localhost"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def cpu_seconds(root: int) -> float:
    """Return the processor time that the process and its descendants, also those that ended, have used so far."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
                used[int(entry.name)] = sum(map(int, fields[11:15]))
    family = {root}
    while True:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        if not more:
            return sum(used.get(pid, 0) for pid in family) / os.sysconf("SC_CLK_TCK")
        family |= more


def load_average() -> float:
    return os.getloadavg()[0]


def wait_for_quiet(*, below: float, patience_seconds: float) -> None:
    """Wait until the machine does little else, but not for ever: the table says how busy it was."""
    deadline = time.monotonic() + patience_seconds
    while load_average() > below and time.monotonic() < deadline:
        time.sleep(2)


def described() -> str:
    """Return processor, cores and memory in one line."""
    model, memory = platform.machine(), ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
        kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
        memory = f", {round(kilobytes / 1024**2)} GB"
    return f"{model}, {os.cpu_count()} cores{memory}, {platform.system()} {platform.release()}"


def commit() -> str:
    """Return the commit that was measured, and whether anything was changed since."""
    shown = subprocess.run(
        ["git", "describe", "--always", "--abbrev=10", "--dirty=, with changes"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip() or "unknown"
