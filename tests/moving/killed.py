"""
Imports that are killed: `python -m tests.moving.killed DSN STEP …`.

Imports once for each step, in a process that kills itself with SIGKILL as soon as that step is done. The exit status is
0 if each did.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import django
from django.db import connection
from rich.console import Console

django.setup()

from config.treetracker_import import importing  # noqa: E402 - imports models
from config.treetracker_import.progress import Display  # noqa: E402


class Killed(Display):
    """Ends its process when the step is done."""

    def __init__(self, last: str) -> None:
        super().__init__(Console(stderr=True))
        self.last = last

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        with super().step(name, total) as advance:
            yield advance
        if name == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def main(dsn: str, *steps: str) -> None:
    for step in steps:
        child = os.fork()
        if child == 0:
            # The session of the process that was killed before may still be ending.
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '60s'")
            importing.run(importing.Options(dsn=dsn), Killed(step))
            os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"the import was not killed after {step}: {status}")


if __name__ == "__main__":
    main(*sys.argv[1:])
