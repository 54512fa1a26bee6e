"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 60


def until(is_so: Callable[[], bool]) -> None:
    """Return when the condition holds. Raise AssertionError if it does not within a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
