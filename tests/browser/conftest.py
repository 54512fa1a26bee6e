"""A real Chromium, as the machine has it."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

# What a page shows at last it may show late, on a busy machine.
expect.set_options(timeout=60_000)
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


# Not for the session: while it is open, an event loop runs in this thread, and Django and asyncio.run refuse to work.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("NO BROWSER: install chromium (apt-get install -y chromium) to test the pages that people see")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=SWITCHES)
        yield running
        running.close()
