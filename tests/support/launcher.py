"""Start the whole system as `make run` does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from config.dev.embedded import ROOT


@contextmanager
def up(environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Run `manage.py up` in a separate session; kill it at the end."""
    command = [sys.executable, str(ROOT / "manage.py"), "up"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """Return the output up to the line with these words. Raise AssertionError if the output ends without them."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} was never printed:\n{seen}")
