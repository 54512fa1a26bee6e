"""Each test file is in one part of the suite, which the imports decide, and what a command line chooses runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from config.dev.embedded import ROOT
from tests import conftest, parts

TESTS = ROOT / "tests"
FILES = sorted(path for path in TESTS.rglob("test_*.py") if "node_modules" not in path.parts)


def test_each_file_is_left_out_of_one_part(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def left_out(part: str | None) -> set[Path]:
        monkeypatch.setattr(pytestconfig.option, "part", part)
        return {path for path in FILES if conftest.pytest_ignore_collect(path, pytestconfig)}

    systems, others, without_part = left_out(parts.OTHERS), left_out(parts.SYSTEMS), left_out(None)

    assert without_part == set()
    assert (systems | others, systems & others) == (set(FILES), set())
    assert {TESTS / "config/test_supervisor.py", TESTS / "browser/test_desk.py"} <= systems
    assert {TESTS / "transfers/test_send.py", TESTS / "lockers/test_put.py"} <= others


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import os, subprocess\n", {"os", "subprocess"}),
        ("import subprocess as processes\n", {"subprocess"}),
        ("def run():\n    import subprocess\n", {"subprocess"}),
        (
            "from tests.chaos import (\n    blows,  # and\n    worker as w,\n)\n",
            {"tests.chaos.blows", "tests.chaos.worker"},
        ),
        ("from tests.api.web_server import web_server\n", {"tests.api.web_server"}),
    ],
)
def test_every_form_of_an_import_is_read(text: str, names: set[str]) -> None:
    assert names <= parts.imported(text)


def test_a_helper_that_starts_processes_puts_its_users_into_the_part_of_systems(tmp_path: Path) -> None:
    user, other = tmp_path / "test_user.py", tmp_path / "test_other.py"
    user.write_text("from tests.chaos import failover\n")
    other.write_text("from tests.support import waiting\nfrom tests import conftest\n# subprocess\n")

    assert (parts.part_of(user), parts.part_of(other)) == (parts.SYSTEMS, parts.OTHERS)


def test_a_test_of_the_other_part_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert subprocess.run(["true"]).returncode == 0

    monkeypatch.setattr(conftest.guard, "path", TESTS / "transfers/test_send.py")
    with pytest.raises(parts.ProcessStarted, match=r"test_send\.py starts a process"):
        subprocess.run(["true"])


@pytest.mark.parametrize(
    "chosen", [["tests/config/test_parts.py::test_each_file_is_left_out_of_one_part"], ["-k", "left_out_of_one_part"]]
)
def test_a_test_that_is_named_runs_whichever_part_it_is_in(chosen: list[str]) -> None:
    # The second has no path, so the configuration names one in place of the whole suite.
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-o", "testpaths=tests/config/test_parts.py"]
    ran = subprocess.run(
        [*command, "--collect-only", "--part", parts.OTHERS, *chosen],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "test_each_file_is_left_out_of_one_part" in ran.stdout
