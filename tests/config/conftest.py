"""A state directory for a system of the test's own, and the environment of a machine that names no server."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded import ROOT, runtime_directory

SET_BY_TESTS = ("DATABASE_URL", "REDIS_URL", "PORT", "DJANGO_SETTINGS_MODULE")


@pytest.fixture
def state() -> Iterator[Path]:
    # Not `tmp_path`: where root runs the tests, `nobody` runs PostgreSQL and must reach it.
    directory = Path(tempfile.mkdtemp(prefix="coppice test ")).resolve()
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def bare_environment(state: Path) -> dict[str, str]:
    kept = {
        key: value for key, value in os.environ.items() if key not in SET_BY_TESTS and not key.startswith("COPPICE_")
    }
    return {**kept, "COPPICE_STATE_DIR": str(state)}


def left_behind(state: Path) -> list[str]:
    """What a system left that it should not have: processes that know its directory, sockets, records."""
    listed = subprocess.run(["ps", "-eo", "pid,stat,args"], capture_output=True, text=True, check=True).stdout
    known = (str(state), str(runtime_directory(state)))
    found = [line for line in listed.splitlines() if any(path in line for path in known) and " Z" not in line]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            started_with = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"COPPICE_STATE_DIR={state}\0".encode() in started_with:
            found.append(f"process {entry.name}: {(entry / 'cmdline').read_bytes()!r}")
    leftovers = [runtime_directory(state), state / "children.json", state / "running.json"]
    return found + [str(path) for path in (*leftovers, *state.glob("pg*/postmaster.pid")) if path.exists()]


def manage(*arguments: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, cwd=ROOT)
