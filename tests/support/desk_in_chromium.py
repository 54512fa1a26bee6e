"""The desk in Chromium: a server, an operator who is logged in, and the checks of each page."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.admin.conftest import a_link_of, furnish
from tests.api.web_server import web_server
from tests.browser.clicks import press
from tests.browser.watched import Watched

AXE = Path(__file__).parents[1] / "browser" / "vendor" / "axe.min.js"


PASSWORD = "a long password"


class Desk:
    """A running desk: its address, what is in it, and a way to change rows while a page is open."""

    def __init__(self, address: str, ledger: Any) -> None:
        self.home = f"http://{address}/admin/"
        self.ledger = ledger

    def meanwhile(self, change: Callable[[], object]) -> None:
        """Change something in the database; in a thread, because the browser's driver runs a loop in this one."""

        def in_thread() -> None:
            try:
                change()
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(in_thread).result(timeout=60)


@pytest.fixture(scope="module")
def desk(django_db_setup: None, django_db_blocker: Any) -> Iterator[Desk]:
    with django_db_blocker.unblock():
        try:
            staff = User.objects.create_superuser("olivia", password=PASSWORD)
            ledger = furnish(staff)
            a_link_of(ledger.alice)
            with web_server() as address:
                yield Desk(address, ledger)
        finally:
            # If the server does not start, too: the rows are committed, and all later tests would find them.
            call_command("flush", interactive=False, verbosity=0)


@pytest.fixture(scope="module")
def signed_in(desk: Desk, browser: Browser) -> Iterator[BrowserContext]:
    """A browser in which a staff member has typed name and password and clicked."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    watched = Watched(context.new_page())
    page = watched.page
    page.goto(desk.home)
    page.get_by_label("Username").fill("olivia")
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Log in", exact=False)
    expect(page.get_by_role("heading", name="Home", exact=True)).to_be_visible()
    assert_clean(watched, desk)
    page.close()
    yield context
    context.close()


@pytest.fixture(scope="module")
def tab(signed_in: BrowserContext) -> Page:
    """One for all tests, in a process of the browser that has compiled its scripts, and axe above all, but once."""
    return signed_in.new_page()


@pytest.fixture
def watched(tab: Page) -> Iterator[Watched]:
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.emulate_media(color_scheme="null", reduced_motion="null")
    watched = Watched(tab)
    yield watched
    # What was begun is not left to the next test.
    tab.wait_for_load_state("load")
    watched.look_away()


def assert_clean(watched: Watched, desk: Desk) -> None:
    assert watched.complaints == []
    assert [url for url in watched.asked if not url.startswith((desk.home.removesuffix("admin/"), "data:"))] == []


def serious(page: Page, *rules: str) -> list[str]:
    """What axe reports against the accessibility of the page, by all of its rules or by some."""
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary'][:200]}"
        for violation in violations(page, *rules)
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"][:3]
    ]


def violations(page: Page, *rules: str) -> list[Any]:
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    # Without `resultTypes`, the thousands of nodes that pass are sent here too.
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found: list[Any] = page.evaluate("options => axe.run(document, options).then(found => found.violations)", options)
    return found


def show(page: Page, scheme: Any, width: int) -> None:
    # With reduced motion colours change at once, so none is measured during a transition.
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})


def beyond_the_edge(page: Page) -> int:
    """Return the pixels by which the page is wider than its window."""
    found: int = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found


# What a card shows without a name, other than what is selected or clicked; and tables of more than three columns that
# are no cards, except in prose, where tables scroll.
_UNNAMED = """() => [
  ...[...document.querySelectorAll(".rows td:not([data-label], .pick)")].filter(
    (cell) => cell.textContent.trim() !== (cell.querySelector("a")?.textContent.trim() ?? "")),
  ...[...document.querySelectorAll(".desk:not(.prose) table:not(.rows)")].filter(
    (table) => table.rows[0]?.cells.length > 3),
].filter((each) => each.checkVisibility()).map((each) => each.textContent.trim().slice(0, 60))"""


# The schemes differ in nothing but colours (`test_the_schemes_differ_in_colours_alone`), so these two views show all
# that four would show. In the second one, axe applies only the rules whose result may differ from the first.
VIEWS: Final[tuple[tuple[Any, int, tuple[str, ...]], ...]] = (
    ("light", 1280, ()),
    ("dark", 390, ("color-contrast", "link-in-text-block", "scrollable-region-focusable")),
)


def looked_at(page: Page, name: str) -> list[str]:
    """Look at the page that is open, in light on a desk and in dark on a phone, and return what is wrong with it."""
    wrong = []
    for scheme, width, rules in VIEWS:
        show(page, scheme, width)
        if beyond := beyond_the_edge(page):
            wrong.append(f"{name}, {width}: {beyond} pixels beyond the edge")
        if width < 768:
            wrong += [f"{name}, {width}: no name in “{each}”" for each in page.evaluate(_UNNAMED)]
        wrong += [f"{name}, {scheme}, {width}: {each}" for each in serious(page, *rules)]
    return wrong
