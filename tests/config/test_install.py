"""`make setup` on machines that are not ready for it: one clear sentence, and nothing half made."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from config.dev.embedded import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Any:
    """A checkout with a space in its path, and nothing but `python3` as the test wants it."""
    top = tmp_path / "a check out"
    (top / "config").mkdir(parents=True)
    shutil.copy(ROOT / "config/install.sh", top / "config")
    for name in ("requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, top)
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "grep", "cat", "cksum", "sed", "awk", "date", "mkdir"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return top


def install(checkout: Any, **environment: Any) -> Any:
    path = str(checkout.parent / "bin")
    command = ["sh", "config/install.sh", "requirements.txt"]
    environment = {"PATH": path, "HOME": str(checkout), **environment}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60)


def put_python(checkout: Any, name: Any, script: Any) -> None:
    program = checkout.parent / "bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_no_python_at_all(checkout: Any) -> None:
    refused = install(checkout)

    assert refused.returncode == 1
    assert refused.stderr.startswith("Coppice needs Python 3.11 or newer, and none was found.")
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_told_what_to_install(checkout: Any) -> None:
    put_python(checkout, "python3", 'case "$2" in *ensurepip*) exit 1;; *print*) echo 3.12;; esac')

    refused = install(checkout)

    assert refused.returncode == 1
    assert refused.stderr == (
        "Python 3.12 is here, but its venv module is not. Debian, Ubuntu: apt-get install -y python3.12-venv\n"
    )


def test_an_old_python_that_was_asked_for_is_refused(checkout: Any) -> None:
    put_python(checkout, "python2", "exit 1")

    refused = install(checkout, PYTHON="python2")

    assert (refused.returncode, refused.stderr) == (
        1,
        "PYTHON=python2 does not run, or is older than Python 3.11.\n",
    )


def test_an_index_that_cannot_be_reached_is_said_in_one_sentence(checkout: Any) -> None:
    # In place of a new environment, which would take longer to create than all other steps here.
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/.place").write_text(f"{os.path.realpath(checkout)}\n")
    put_python(checkout, "python3", "exit 0")
    shutil.copy(checkout.parent / "bin/python3", checkout / ".venv/bin/python")
    (checkout / ".venv/bin/python").write_text(
        '#!/bin/sh\ncase "$*" in *"pip install"*) echo "Failed to establish a new connection: refused"; exit 1;; esac\n'
    )

    refused = install(checkout)

    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("The package index could not be reached, or lacks a package.")
    assert "Failed to establish" in (checkout / ".state/log/pip.log").read_text()
    assert not (checkout / ".venv/.installed").exists()
