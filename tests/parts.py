"""
The two parts of the suite: `make test-systems` runs the test files that start processes, `make test` all others.

A file starts processes if it, or a module of `tests` that it imports, imports a module of `STARTERS`. The line
`OF_SYSTEMS = True` puts a file into the same part: one whose fixtures in a conftest.py start processes, and the one of
all migrations back and forward. `Guard` refuses a process that a test of another file starts.
"""

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
# What starts programs: of the standard library, of the browser, and of the product.
STARTERS: Final = frozenset(
    {
        "multiprocessing", "subprocess", "playwright", "config.dev.private_servers", "config.dev.processes",
        "config.ops.backups",
        "config.ops.postgresql_programs",
    }
)  # fmt: skip
SYSTEMS: Final = "systems"
OTHERS: Final = "others"

# To parse the files takes twenty times as long.
_IMPORT: Final = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|.*)|import[ \t]+(.*))", re.MULTILINE
)
_NAME: Final = re.compile(r"(?<!\bas )\b[\w.]+")


def imported(text: str) -> set[str]:
    """Return the modules that a module imports, and the names that it imports from them, dotted."""
    found = set()
    for module, names, modules in _IMPORT.findall(text):
        if module:
            found |= {module, *(f"{module}.{name}" for name in _NAME.findall(names))}
        else:
            found |= set(_NAME.findall(modules))
    return found


@cache
def is_of_systems(path: Path) -> bool:
    """Return whether a module says so, or imports what starts processes, itself or by other modules of the tests."""
    text = path.read_text(encoding="utf-8")
    if "\nOF_SYSTEMS = True\n" in text:
        return True
    for name in imported(text):
        if any(name == starter or name.startswith(f"{starter}.") for starter in STARTERS):
            return True
        module = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        # The root's conftest.py starts the servers of the run.
        if name.startswith("tests.") and name != "tests.conftest" and module.is_file() and is_of_systems(module):
            return True
    return False


def part_of(path: Path) -> str:
    """Return the part to which a test file belongs."""
    return SYSTEMS if is_of_systems(path) else OTHERS


class ProcessStarted(Exception):
    """A test of a file that does not say so started a process."""


class Guard:
    """Refuses processes that this process starts while a test of the part without them runs."""

    # `subprocess` on all platforms, and what it may use.
    EVENTS: Final = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})

    def __init__(self) -> None:
        # Of the test that is running.
        self.path: Path | None = None
        self._process = os.getpid()
        sys.addaudithook(self._refuse)

    def _refuse(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in self.EVENTS and self.path and os.getpid() == self._process and not is_of_systems(self.path):
            raise ProcessStarted(
                f"{self.path.name} starts a process ({event}), but imports none of {', '.join(sorted(STARTERS))}. "
                "No test of `make test` may: move this one into a file of systems (tests/parts.py)."
            )
