"""Starts of the system that are interrupted, refused or killed: they say why and leave nothing behind."""

import io
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from config.dev import ports
from config.dev.embedded import ROOT
from config.dev.encodings import replace_unencodable
from config.dev.processes import StartError
from config.web import static_files
from tests.config.conftest import left_behind, manage
from tests.ports import silent_ports
from tests.support.launcher import read_until, up

ENTRYPOINT = (ROOT / "docker/entrypoint.sh").read_text()
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()


@pytest.mark.parametrize(
    ("number", "after", "status"),
    [(signal.SIGHUP, "Valkey", 129), (signal.SIGINT, "PostgreSQL", 0)],
    ids=["hang-up during initdb", "Ctrl-C during migrations"],
)
def test_an_interrupted_start_leaves_nothing(
    bare_environment: dict[str, str], state: Path, number: Any, after: str, status: int
) -> None:
    with up(bare_environment) as process:
        read_until(process, f"✓ {after}")

        process.send_signal(number)

        assert "The system has been stopped." in process.stdout.read()
        assert process.wait(timeout=60) == status
    assert left_behind(state) == []


def test_starts_from_one_checkout_collect_its_static_files_one_after_the_other(
    state: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STATIC_ROOT = state / "static"
    at_work = threading.Lock()

    def collect(*arguments: object, **options: object) -> None:
        assert at_work.acquire(blocking=False), "two at once"
        time.sleep(0.2)
        at_work.release()

    monkeypatch.setattr(static_files, "call_command", collect)
    assert not static_files.are_current()
    with ThreadPoolExecutor(3) as threads:
        collected = list(threads.map(lambda _: static_files.collect(), range(3)))

    assert sorted(collected) == [False, False, True]
    assert static_files.are_current()


def test_the_image_has_the_client_programs_of_the_version_that_compose_starts() -> None:
    (server,) = re.findall(r"image: postgres:(\d+)$", (ROOT / "docker/compose.yml").read_text(), re.MULTILINE)

    assert re.findall(r"postgresql-client-(\d+)", DOCKERFILE) == [server]


def test_the_page_of_those_who_host_shows_the_commands_of_the_containers() -> None:
    roles = dict(re.findall(r"^(web|worker|beat|migrate)\)\n(.*?)^    ;;", ENTRYPOINT, re.MULTILINE | re.DOTALL))
    rows = dict(re.findall(r"^\| (web|worker|beat|migrate) \|(?:[^|]*\|)? `([^`]+)`", OPERATIONS, re.MULTILINE))

    assert set(roles) == set(rows) == {"web", "worker", "beat", "migrate"}
    for role, lines in roles.items():
        there = " ".join(
            line.strip().removeprefix("export ").removeprefix("exec ").rstrip("\\")
            for line in lines.splitlines()
            if not line.strip().startswith("#")
        )
        there = re.sub(r'"\$\{\w+:-(\d+)\}"', r"\1", there).replace("python manage.py", "manage.py")
        # In a container a proxy is on another machine, and the database may be starting too.
        there = there.replace("--host ::", "--host 127.0.0.1").replace(" --patience 60", "")
        assert rows[role].split() == there.split(), role


def test_a_database_less_build_collects_static_files_with_the_command_of_the_image(tmp_path: Path) -> None:
    (command,) = re.findall(r"python (manage\.py prepare .*)$", DOCKERFILE, re.MULTILINE)

    built = subprocess.run([sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert built.stdout in {"static files: collected\n", "static files: nothing to collect\n"}, built.stderr
    assert built.returncode == 0
    assert static_files.are_current()


def test_a_low_port_without_the_right_to_it_is_told_apart_from_one_in_use() -> None:
    low = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not low.exists() or int(low.read_text()) < 81:
        pytest.skip("every account of this machine may have port 80")
    script = """
import os
from config.dev import ports
if os.geteuid() == 0:
    os.setuid(65534)
try:
    ports.reserve(80)
except OSError as error:
    print(ports.why_not(80, error))
"""

    told = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True)

    assert told.stdout.startswith("Port 80 needs rights that this account does not have"), told.stderr
    assert "PORT=8080 make run" in told.stdout


def test_raida_ports_that_are_in_use_are_named(bare_environment: dict[str, str], state: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        first = min(other.getsockname()[1], 65511) - 24

        refused = manage("up", "--raida-port", str(first), environment=bare_environment)

    assert refused.returncode == 1
    assert f"The local RAIDA network needs ports {first} to {first + 24}" in refused.stdout
    assert "is in use" in refused.stdout
    assert "--raida-port" in refused.stdout
    assert left_behind(state) == []


def test_raida_ports_that_are_no_ports_are_named(tmp_path: Path) -> None:
    told = r"needs ports 65530 to 65554, and ports are numbers from 1 to 65535\. Choose others with --raida-port"
    with pytest.raises(StartError, match=told):
        ports.choose_raida_port(tmp_path, wanted=65530)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", "ok !! ... -> ? x"), ("latin-1", "ok !! ... -> é ×"), ("utf-8", "✓ ✗ … → é ×")],
)
def test_what_a_command_prints_is_readable_in_every_encoding(encoding: str, expected: str) -> None:
    printed = io.TextIOWrapper(io.BytesIO(), encoding=encoding)

    replace_unencodable(printed)
    printed.write("✓ ✗ … → é ×")
    printed.flush()

    assert printed.buffer.getvalue().decode(encoding) == expected


def test_a_killed_supervisor_leaves_nothing_and_a_start_at_once_waits_for_its_reaper(
    bare_environment: dict[str, str], state: Path
) -> None:
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


def test_a_port_that_was_asked_for_and_is_taken_is_refused(bare_environment: dict[str, str], state: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]

        refused = manage("up", "--port", str(taken), environment=bare_environment)

    assert refused.returncode == 1
    assert f"Port {taken} is in use. Choose another: PORT=… make run" in refused.stdout
    assert left_behind(state) == []


def test_doctor_names_every_part_that_is_down_and_what_to_do(bare_environment: dict[str, str], state: Path) -> None:
    static_files.collect()
    # Not the usual ports: at those another installation may answer.
    # In an encoding that has no sign of what is shown.
    more = {"PYTHONIOENCODING": "ascii"}
    with silent_ports(25) as silent:
        more["COPPICE_RAIDA_HOSTS"] = ",".join(f"127.0.0.1:{port}" for port in silent)
        examined = manage("doctor", environment=bare_environment | more)

    assert re.findall(r"^ok (\S+)", examined.stdout, re.MULTILINE)[0] == "interpreter"
    ill = re.findall(r"^!! (\S+)", examined.stdout, re.MULTILINE)
    assert ill == [
        "database", "settings", "writes", "migrations", "operators", "vault", "pseudonyms", "broker", "worker,",
        "RAIDA",
    ]  # fmt: skip
    assert examined.stdout.count("->") == len(ill)
    assert examined.returncode == 1
    assert "Traceback" not in examined.stdout
    assert examined.stderr == ""
