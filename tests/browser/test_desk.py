"""The operators' desk as a browser sees it: every page, in light and dark, on a desk and on a phone."""

import hashlib
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, expect

from lockers.models import Attempt, LockerTask, ServerReading
from tests.browser.clicks import follow, press
from tests.browser.pictures import picture
from tests.browser.watched import Watched
from tests.support.admin_lists import LISTS
from tests.support.desk_in_chromium import AXE, Desk, assert_clean, desk, looked_at, signed_in, tab, watched
from transfers import counters

# Fixtures.
__all__ = ["desk", "signed_in", "tab", "watched"]

AXE_DIGEST = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
# The declarations of style sheets for the dark scheme: property, value, and whether it is a variable whose value is a
# colour.
DECLARED_FOR_DARK = """sheets => {
  const declared = [];
  const walk = (rules, isDark) => {
    for (const rule of rules) {
      const dark = isDark || Boolean(rule.conditionText?.includes("prefers-color-scheme"));
      for (const name of dark && rule.style ? rule.style : []) {
        const value = rule.style.getPropertyValue(name).trim();
        declared.push([name, value, name.startsWith("--") && CSS.supports("color", value)]);
      }
      walk(rule.cssRules ?? [], dark);
    }
  };
  for (const text of sheets) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    walk(sheet.cssRules, false);
  }
  return declared;
}"""
REPORTS = ("wallets", "managers", "months", "coins")


def test_axe_is_the_one_that_was_published() -> None:
    assert hashlib.sha256(AXE.read_bytes()).hexdigest() == AXE_DIGEST


def test_the_schemes_differ_in_colours_alone(desk: Desk, browser: Browser) -> None:
    sheets = [*Path(finders.find("admin/css")).glob("*.css"), *Path(finders.find("desk")).glob("*.css")]
    page = browser.new_page()

    of_dark = page.evaluate(DECLARED_FOR_DARK, [sheet.read_text(encoding="utf-8") for sheet in sheets])
    page.close()

    assert {"--body-fg", "--primary", "--edge", "color-scheme"} <= {name for name, _, _ in of_dark}
    others = {name: value for name, value, is_colour in of_dark if not is_colour}
    assert others.pop("color-scheme") == "dark"
    # Django 6.1 has icons of other colours.
    assert all(name.endswith("-icon") and value.startswith("url(") for name, value in others.items())


def test_a_stranger_sees_the_login_and_it_is_in_order(desk: Desk, browser: Browser) -> None:
    context = browser.new_context()
    watched = Watched(context.new_page())

    response = watched.page.goto(f"{desk.home}wallets/wallet/")

    assert response is not None
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]
    expect(watched.page.get_by_label("Password")).to_be_visible()
    assert looked_at(watched.page, "login") == []
    assert_clean(watched, desk)
    context.close()


def test_the_home_is_in_order_and_its_numbers_lead_to_lists(desk: Desk, watched: Watched) -> None:
    page = watched.page
    page.goto(desk.home)

    assert looked_at(page, "home") == []
    page.set_viewport_size({"width": 1280, "height": 900})
    assert page.locator(".bars g").count() == 30
    assert page.locator(".servers .cell").count() == 25
    # One number leads to the list behind it, with the same number of rows.
    tile = page.locator("a.tile", has_text="tasks that need action")
    counted = int(tile.locator(".value").inner_text().split()[-1])
    tile.click()
    expect(page.locator("#result_list tbody tr")).to_have_count(counted)
    follow(page, "home")
    follow(page, "90 days", exact=False)
    expect(page.locator(".bars g")).to_have_count(90)
    assert_clean(watched, desk)


# As Django 6.1 has it.
ALL_UNDERLINED = """a:not([role="button"], #header a, #nav-sidebar a, #content-main.app-list a, .object-tools a) {
  text-decoration: underline; }"""
LINES_OF_LINKS = """(text) => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(text);
  document.adoptedStyleSheets = [sheet];
  return [...document.querySelectorAll("a")].map((link) => [
    link.innerText.trim(), link.className, getComputedStyle(link).textDecorationLine]);
}"""


def test_the_same_links_are_underlined_with_any_django(desk: Desk, watched: Watched) -> None:
    page, found = watched.page, {}
    for path in ("", "wallets/wallet/", "wallets/auditrun/", f"wallets/wallet/{desk.ledger.alice.pk}/change/"):
        page.goto(f"{desk.home}{path}")

        lines = page.evaluate(LINES_OF_LINKS, "")
        assert page.evaluate(LINES_OF_LINKS, ALL_UNDERLINED) == lines
        found |= {(path, words): line for words, _, line in lines}
        by_class = {name: line for _, names, line in lines for name in names.split()}
        assert {by_class.get(name, "none") for name in ("button", "tile", "what-is")} == {"none"}

    assert found["", "Wallets"] == "none"
    assert "underline" in found.values()


@pytest.mark.parametrize("name", LISTS)
def test_each_list_and_the_page_of_a_row_are_in_order(desk: Desk, watched: Watched, name: str) -> None:
    page, path = watched.page, name.replace("_", "/")
    page.goto(f"{desk.home}{path}/")

    wrong = looked_at(page, path)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("#result_list tbody th a").first.click()
    expect(page.locator("table.facts").first).to_be_visible()
    wrong += looked_at(page, f"a row of {path}")

    assert wrong == []
    assert_clean(watched, desk)


def test_on_a_phone_the_current_page_the_days_of_a_filter_and_the_labels_are_whole(
    desk: Desk, watched: Watched
) -> None:
    page = watched.page
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(f"{desk.home}lockers/locker/")

    here = page.locator(".around a[aria-current]").bounding_box()
    days = page.locator("form:has([type=date])").bounding_box()
    fields = [each.bounding_box() for each in page.locator("[type=date]").all()]

    assert here is not None
    assert 0 <= here["x"] <= 390 - here["width"]
    assert days is not None
    assert days["width"] > 350
    assert len({field["y"] for field in fields if field}) == 1
    labels = "() => [...document.querySelectorAll('.rows td')].map((td) => getComputedStyle(td, '::before').whiteSpace)"
    assert set(page.evaluate(labels)) == {"nowrap"}
    assert_clean(watched, desk)


def test_a_key_leads_to_the_search_which_is_in_order(desk: Desk, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{desk.home}wallets/token/")
    page.keyboard.press("/")
    page.keyboard.type("a/b")
    expect(page.get_by_label("Search everything")).to_have_value("a/b")
    page.get_by_label("Search everything").fill("lic")
    page.keyboard.press("Enter")
    # "alice" is the only name with it.
    expect(page.get_by_role("heading", name="Wallet alice What is")).to_be_visible()

    page.goto(f"{desk.home}find/?q=a&all=1")
    expect(page.get_by_role("heading", name="Results for “a”")).to_be_visible()
    wrong = looked_at(page, "search")
    page.goto(f"{desk.home}find/")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_label("Search everything").fill("7KQ4-M2XW-9TRD-HB6P")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("This is a transmit code.")
    assert page.url == f"{desk.home}find/"
    wrong += looked_at(page, "search for a secret")

    assert wrong == []
    assert_clean(watched, desk)


@pytest.mark.parametrize("kind", REPORTS)
def test_each_report_is_in_order(desk: Desk, watched: Watched, kind: str) -> None:
    desk.meanwhile(counters.roll_up)
    page = watched.page
    page.goto(f"{desk.home}reports/{kind}/")

    wrong = looked_at(page, f"report by {kind}")
    picture(page, f"report-{kind}")

    assert wrong == []
    assert_clean(watched, desk)


def test_a_report_leads_to_the_statement_of_a_wallet_between_two_days(desk: Desk, watched: Watched) -> None:
    desk.meanwhile(counters.roll_up)
    page = watched.page
    page.goto(desk.home)
    follow(page, "reports")
    page.locator("tbody th a", has_text="alice").click()
    expect(page.locator(".rows tbody tr")).not_to_have_count(0)
    wrong = looked_at(page, "statement")
    picture(page, "statement")
    page.get_by_label("from").fill("2020-01-01")
    page.get_by_label("to", exact=True).fill("2020-01-31")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Nothing moved in this period.")).to_be_visible()
    wrong += looked_at(page, "empty statement")

    assert wrong == []
    assert_clean(watched, desk)


def test_a_filter_narrows_and_the_file_has_the_same_rows(desk: Desk, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{desk.home}transfers/transfer/")
    page.locator("summary", has_text="state").click()
    follow(page, "pending")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)

    with page.expect_download() as download:
        page.get_by_role("link", name="CSV of these").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()
    page.get_by_label("wallet").fill("nobody here")
    page.keyboard.press("Enter")

    expect(page.get_by_text("No results.")).to_be_visible()
    assert [line.split(",")[0] for line in lines] == ["id", str(desk.ledger.transfers["pending"].id)]
    assert_clean(watched, desk)


def test_several_rows_are_selected_and_counted_and_the_report_names_the_rest(desk: Desk, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{desk.home}transfers/transfer/?sort=made")
    page.get_by_label("Select all rows of this page").check()
    rows = page.locator("input[name=row]:checked").count()
    press(page, "Cancel the selected")
    expect(page.get_by_text(f"{rows} rows selected.")).to_be_visible()
    wrong = looked_at(page, "several rows")
    page.get_by_label("which requested it", exact=False).check()
    press(page, "Review what will happen")
    expect(page.locator(".consequences")).to_contain_text("2 transfers of 3 tokens are cancelled")
    expect(page.get_by_role("heading", name=f"Left out: {rows - 2} rows")).to_be_visible()
    wrong += looked_at(page, "the preview of several rows")
    follow(page, "Back, without changes")

    expect(page).to_have_url(f"{desk.home}transfers/transfer/?sort=made")
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("made ↑")
    assert wrong == []
    assert_clean(watched, desk)


@pytest.mark.parametrize("path", ["nowhere/", "transfers/transfer/?since=2026-01-01&until=2026-01-02"])
def test_a_page_without_rows_is_in_order(desk: Desk, watched: Watched, path: str) -> None:
    watched.page.goto(f"{desk.home}{path}")

    expect(watched.page.get_by_role("navigation", name="Admin")).to_be_visible()
    assert looked_at(watched.page, path) == []


def test_a_term_opens_the_glossary_where_it_stands(desk: Desk, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{desk.home}lockers/coin/")
    with page.expect_navigation():
        page.locator("h1 .what-is").click()

    expect(page.locator("tr:target")).to_contain_text("A CloudCoin")


def test_bars_and_cells_move_by_themselves_and_stop_at_the_end(desk: Desk, signed_in: BrowserContext) -> None:
    # A separate page with a fixed clock.
    watched, task = Watched(signed_in.new_page()), desk.ledger.running
    page = watched.page
    page.clock.install()
    page.goto(f"{desk.home}lockers/lockertask/{task.pk}/change/")
    row = page.locator(f"[data-task='{task.pk}']")
    expect(row.locator("[data-show=percent]")).to_have_text("40 %")
    refused = row.locator(".cell").nth(12)
    expect(refused).to_have_class("cell c-fail")

    def asked() -> list[int]:
        return [status for url, status in watched.answers if "/admin/live/" in url]

    def poll() -> None:
        with page.expect_response(lambda response: "/admin/live/" in response.url):
            page.clock.run_for(2100)

    poll()
    poll()
    desk.meanwhile(lambda: LockerTask.objects.filter(pk=task.pk).update(progress=70))
    desk.meanwhile(lambda: Attempt.objects.filter(task=task).update(answers=[241] * 25))
    poll()
    expect(row.locator("[data-show=percent]")).to_have_text("70 %")
    expect(refused).to_have_class("cell c-pass")
    expect(refused).to_have_attribute("title", "RAIDA 12: accepted")
    desk.meanwhile(
        lambda: LockerTask.objects.filter(pk=task.pk).update(
            state="completed", progress=100, finished_at=timezone.now(), lease_until=None, message="Stored."
        )
    )
    poll()
    expect(row.get_by_text("The task has ended.")).to_be_visible()
    polls = asked()
    page.clock.run_for(60_000)
    follow(page, "The task has ended.", exact=False)
    expect(page.get_by_text("Stored.", exact=True).first).to_be_visible()

    assert asked() == polls == [200, 304, 200, 200]
    assert_clean(watched, desk)
    page.close()


def test_tiles_refresh_while_the_page_is_seen_and_not_paused(desk: Desk, signed_in: BrowserContext) -> None:
    # A separate page with a fixed clock.
    watched = Watched(signed_in.new_page())
    page = watched.page
    page.clock.install()
    page.goto(desk.home)
    tile = page.locator("[data-tile=servers]")
    expect(tile.locator(".value")).to_contain_text("24 of 25")
    expect(page.locator("[data-said]")).to_have_text("")

    def asked() -> int:
        return sum("/admin/tiles/" in url for url in watched.asked)

    def refreshed() -> None:
        with page.expect_response(lambda response: "/admin/tiles/" in response.url):
            page.clock.run_for(31_000)

    tile.focus()
    desk.meanwhile(lambda: ServerReading.objects.filter(raida__lt=8).update(outcome="timeout"))
    refreshed()
    expect(tile.locator(".value")).to_contain_text("16 of 25")
    expect(tile).to_have_class("tile bad")
    expect(tile).to_be_focused()
    expect(page.locator("[data-said]")).to_contain_text("servers ! 16 of 25 fewer than 17; the quorum is 13")
    expect(page.locator("[data-said]")).to_have_attribute("aria-live", "polite")

    # Paused, or not seen: nothing is asked.
    page.get_by_role("button", name="Pause updates").click()
    page.clock.run_for(120_000)
    before = asked()
    with page.expect_response(lambda response: "/admin/tiles/" in response.url):
        page.get_by_role("button", name="Resume updates").click()
    page.evaluate("() => Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})")
    page.clock.run_for(120_000)
    assert (before, asked()) == (1, 2)
    desk.meanwhile(lambda: ServerReading.objects.update(outcome="answered"))
    page.evaluate("() => Object.defineProperty(document, 'hidden', {get: () => false, configurable: true})")
    refreshed()
    expect(tile.locator(".value")).to_contain_text("24 of 25")
    assert_clean(watched, desk)
    page.close()


def test_without_scripts_the_tiles_are_there_and_nothing_to_pause(desk: Desk, signed_in: BrowserContext) -> None:
    context = signed_in.browser.new_context(java_script_enabled=False, storage_state=signed_in.storage_state())  # type: ignore[union-attr]
    page = context.new_page()
    page.goto(desk.home)

    expect(page.locator("[data-tile=servers] .value")).to_contain_text("24 of 25")
    expect(page.locator("[data-pause]")).to_be_hidden()
    context.close()


def test_the_pages_of_the_own_account_are_in_order(desk: Desk, watched: Watched) -> None:
    wrong = []
    for path in ("sessions/", "second-factor/", "password_change/"):
        watched.page.goto(desk.home + path)
        expect(watched.page.locator("h1").first).to_be_visible()
        wrong += looked_at(watched.page, path)

    assert wrong == []
    assert_clean(watched, desk)


def test_the_way_around_is_open_to_the_keyboard(desk: Desk, watched: Watched) -> None:
    page = watched.page
    page.goto(desk.home)

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    # Open alerts are above the tiles.
    expect(page.locator(".alerts a").first).to_be_focused()
    assert_clean(watched, desk)
