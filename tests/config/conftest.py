"""A state directory for a system of the test's own, and the environment of a machine that names no server."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.dev.embedded import ROOT, runtime_directory
from tests.ports import silent_port

# What a shell may have for another PostgreSQL: a private one must not obey it.
OF_ANOTHER_SERVER = {
    "PGHOST": "elsewhere", "PGPORT": "1", "PGOPTIONS": "-c default_transaction_read_only=on",
    "PGSSLMODE": "verify-full",
    "PGSERVICE": "nowhere", "PGTARGETSESSIONATTRS": "standby", "PGTZ": "Asia/Tokyo",
}  # fmt: skip
SET_BY_TESTS = ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE")


@contextlib.contextmanager
def state_of_a_system() -> Iterator[Path]:
    # Not `tmp_path`: where root runs the tests, `nobody` runs PostgreSQL and must reach it.
    directory = Path(tempfile.mkdtemp(prefix="coppice test ")).resolve()
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


def bare_environment_of(state: Path) -> dict[str, str]:
    """Return the environment of a machine that names no server, for a system in this directory."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key == "COPPICE_EMBEDDED_PREFER" or (key not in SET_BY_TESTS and not key.startswith("COPPICE_"))
    }
    return {**kept, **OF_ANOTHER_SERVER, "COPPICE_STATE_DIR": str(state)}


@pytest.fixture
def state() -> Iterator[Path]:
    with state_of_a_system() as directory:
        yield directory


@pytest.fixture
def bare_environment(state: Path) -> dict[str, str]:
    return bare_environment_of(state)


@pytest.fixture
def silent_broker() -> Iterator[str]:
    """The URL of a broker that is not there."""
    with silent_port() as port:
        yield f"redis://:hush@127.0.0.1:{port}/0"


@dataclass(frozen=True)
class Process:
    pid: int
    group: int
    command: str


def processes() -> list[Process]:
    """Every process that has not ended. Without `ps` where there is /proc: a small machine has no `ps`."""
    found = []
    if Path("/proc/self/stat").exists():
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, _, group = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if state not in "ZX":
                    found.append(Process(int(entry.name), int(group), command))
        return found
    listed = subprocess.run(["ps", "-eo", "pid=,pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        pid, group, state, command = line.split(maxsplit=3)
        if not state.startswith("Z"):
            found.append(Process(int(pid), int(group), command))
    return found


def processes_of(state: Path) -> list[Process]:
    """Every process that was started with this state directory in its environment."""
    found = []
    for process in processes():
        with contextlib.suppress(OSError):
            if f"COPPICE_STATE_DIR={state}\0".encode() in Path(f"/proc/{process.pid}/environ").read_bytes():
                found.append(process)
    return found


def left_behind(state: Path) -> list[str]:
    """What a system left that it should not have: processes that know its directory, sockets, records."""
    known = (str(state), str(runtime_directory(state)))
    found = [str(process) for process in processes() if any(path in process.command for path in known)]
    found += [str(process) for process in processes_of(state)]
    leftovers = [runtime_directory(state), state / "running.json"]
    return found + [str(path) for path in (*leftovers, *state.glob("pg*/postmaster.pid")) if path.exists()]


def manage(*arguments: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, cwd=ROOT)
