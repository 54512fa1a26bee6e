"""A real Chromium, as the machine has it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.chromium import chromium

# What a page shows at last it may show late, on a busy machine.
expect.set_options(timeout=60_000)


# Not for the session: while it is open, an event loop runs in this thread, and Django and asyncio.run refuse to work.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running
