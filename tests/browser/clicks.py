"""Clicks that wait for the page they lead to; a click or a `goto` before it is there would cut the navigation off."""

from playwright.sync_api import Page


def follow(page: Page, link: str, *, exact: bool = True) -> None:
    with page.expect_navigation():
        page.get_by_role("link", name=link, exact=exact).click()


def press(page: Page, button: str, *, exact: bool = True) -> None:
    with page.expect_navigation():
        page.get_by_role("button", name=button, exact=exact).click()
