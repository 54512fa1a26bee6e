"""The systemd units start what the page for operators names, and systemd accepts them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.dev.embedded import ROOT

UNITS = ROOT / "docker/systemd"
PAGE = (ROOT / "docs/operations.md").read_text()
ROLES = {"prepare": "migrate", "web": "web", "worker": "worker", "beat": "beat"}


def unit(name: str) -> str:
    return (UNITS / f"coppice-{name}.service").read_text()


def test_there_is_a_unit_for_each_process() -> None:
    others = {"coppice.target", "coppice-backup.service", "coppice-backup.timer"}
    assert {path.name for path in UNITS.iterdir()} == {f"coppice-{name}.service" for name in ROLES} | others
    assert set(re.findall(r"coppice-\w+\.service", (UNITS / "coppice.target").read_text())) == {
        f"coppice-{name}.service" for name in ROLES if name != "prepare"
    }


@pytest.mark.parametrize(("name", "role"), ROLES.items())
def test_a_unit_has_the_command_and_the_variables_of_the_page(name: Any, role: Any) -> None:
    (row,) = re.findall(rf"^\| {role} \| `([^`]+)`", PAGE, re.MULTILINE)
    (command,) = re.findall(r"^ExecStart=(.*)$", unit(name), re.MULTILINE)
    variables = re.findall(r"^Environment=(.*)$", unit(name), re.MULTILINE)
    assigned = [word for line in variables[1:] for word in line.split()]

    shown = " ".join([*assigned, command.removesuffix(" --patience 60")])

    assert shown.replace("/opt/coppice/.venv/bin/", "").replace("python manage.py", "manage.py") == row
    assert variables[0].split()[:2] == ["DJANGO_SETTINGS_MODULE=config.settings.base", "COPPICE_EMBEDDED=off"]


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NO SYSTEMD: systemd-analyze is not here")
    for path in UNITS.iterdir():
        text = re.sub(r"/opt/coppice/\.venv/bin/\w+", "/bin/true", path.read_text())
        text = text.replace("/opt/coppice", "/").replace("User=coppice\nGroup=coppice\n", "")
        (tmp_path / path.name).write_text(text)

    command = ["systemd-analyze", "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert [line for line in said.stderr.splitlines() if "coppice" in line] == []
    assert said.returncode == 0


def test_a_unit_with_a_slip_is_refused(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NO SYSTEMD: systemd-analyze is not here")
    slip = tmp_path / "coppice-slip.service"
    slip.write_text(f"[Service]\nExecStart={sys.executable}\nKillMode=mixt\n")

    said = subprocess.run(["systemd-analyze", "verify", "--man=no", str(slip)], capture_output=True, text=True)

    assert "coppice-slip.service:3:" in said.stderr
