"""The whole system, started for real: it is ready when it says so, and leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import supervisor
from config.embedded import ROOT
from tests.config.conftest import left_behind, manage
from tests.ports import silent_ports


@contextmanager
def up(environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, str(ROOT / "manage.py"), "up"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """Read what it prints up to the line with these words; its end without them is a failure."""
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} was never printed:\n{seen}")


def pid_of(name: str, state: Path) -> int:
    return next(pid for child, pid, _, _ in json.loads((state / "children.json").read_text()) if child == name)


def test_the_system_is_ready_when_it_says_so_and_a_part_that_dies_ends_it_with_a_sentence(bare_environment, state):
    with up(bare_environment) as process:
        printed = read_until(process, "Ctrl-C stops everything")

        base = re.search(r"http://127\.0\.0\.1:\d+", printed).group()
        with urllib.request.urlopen(f"{base}/readyz", timeout=60) as answer:
            assert set(json.load(answer).values()) == {"ok"}
        (curl,) = [line.strip() for line in printed.splitlines() if line.strip().startswith("curl ")]
        if shutil.which("curl"):
            pasted = subprocess.run(["/bin/sh", "-c", curl], capture_output=True, text=True, timeout=60)
            assert list(json.loads(pasted.stdout)) == ["token"]

        second = manage("up", environment=bare_environment)
        assert second.returncode == 1
        assert f"Coppice already runs from {state} at {base}" in second.stdout

        examined = manage("doctor", environment=bare_environment)
        assert "Everything is well." in examined.stdout
        assert examined.returncode == 0

        os.kill(pid_of("beat", state), signal.SIGKILL)
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 1

    assert f"beat was killed by SIGKILL. Its log: {state}/log/beat.log" in rest
    assert left_behind(state) == []


@pytest.mark.parametrize(
    ("number", "after", "status"),
    [(signal.SIGHUP, "Valkey", 129), (signal.SIGINT, "PostgreSQL", 0)],
    ids=["hang-up during initdb", "Ctrl-C during migrations"],
)
def test_an_interrupted_start_leaves_nothing(bare_environment, state, number, after, status):
    with up(bare_environment) as process:
        read_until(process, f"✓ {after}")

        process.send_signal(number)

        assert "Everything has been stopped." in process.stdout.read()
        assert process.wait(timeout=60) == status
    assert left_behind(state) == []


def test_starts_from_one_checkout_collect_its_static_files_one_after_the_other(state, settings, monkeypatch):
    settings.STATIC_ROOT = state / "static"
    at_work = threading.Lock()

    def collect(*arguments: object, **options: object) -> None:
        assert at_work.acquire(blocking=False), "two at once"
        time.sleep(0.2)
        at_work.release()

    monkeypatch.setattr(supervisor, "call_command", collect)
    with ThreadPoolExecutor(3) as threads:
        said = list(threads.map(lambda _: supervisor.System(state)._collect_static_files(), range(3)))

    assert sorted(said) == ["collected", "collected by another start", "collected by another start"]


def test_a_killed_supervisor_leaves_nothing_and_a_start_at_once_waits_for_its_guard(bare_environment, state):
    with up(bare_environment) as process:
        read_until(process, "✓ PostgreSQL")
        process.kill()
        process.wait()
    with up(bare_environment) as process:
        read_until(process, "✓ PostgreSQL")
        process.kill()
        process.wait()

    deadline = time.monotonic() + 60
    while (left := left_behind(state)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def test_a_port_that_was_asked_for_and_is_taken_is_refused(bare_environment, state):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]

        refused = manage("up", "--port", str(taken), environment=bare_environment)

    assert refused.returncode == 1
    assert f"Port {taken} is in use. Choose another: PORT=… make run" in refused.stdout
    assert left_behind(state) == []


def test_doctor_names_every_part_that_is_down_and_what_to_do(bare_environment, state):
    # Not the usual ports: at those another installation may answer.
    with silent_ports(25) as ports:
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        examined = manage("doctor", environment={**bare_environment, "COPPICE_RAIDA_HOSTS": hosts})

    ill = re.findall(r"^✗ (\S+)", examined.stdout, re.MULTILINE)
    assert ill == ["database", "migrations", "operators", "vault", "broker", "worker,", "RAIDA"]
    assert examined.stdout.count("→") == len(ill)
    assert examined.returncode == 1
    assert "Traceback" not in examined.stdout + examined.stderr
