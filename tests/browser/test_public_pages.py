"""
The public pages in a browser, light and dark, with the widths of a desktop and of a phone.

`/claim`: with scripts and without, and a race. `/pay`: it fits, can be read by all, and pays by a login.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from django.core.management import call_command
from playwright.sync_api import Browser, Page, expect

from lockers.operations import payment_requests
from lockers.raida.coins import UNITS_PER_COIN
from lockers.states import PaymentMode
from tests.api.web_server import web_server
from tests.browser.pictures import picture
from tests.browser.watched import Watched
from tests.lockers.stock import stock
from tests.support.desk_in_chromium import looked_at
from transfers import action_tokens, operations
from transfers.action_tokens import Wish
from wallets import operations as wallets

PASSWORD = "correct horse"


class Site(NamedTuple):
    """The addresses of the pages on a running server, and the codes of links that are not claimed yet."""

    page: str
    codes: list[str]
    pay: str


@pytest.fixture(scope="module")
def site(django_db_setup: None, django_db_blocker: Any) -> Iterator[Site]:
    with django_db_blocker.unblock():
        try:
            names = ("alice", "bobby", "carol")
            alice, bobby, _ = (wallets.create_wallet(name=name, password=PASSWORD) for name in names)
            operations.issue_tokens(wallet=alice, count=20)
            wish = Wish("ann@example.org", email_must_match=False, message="Thank you for your help this spring!")
            links = action_tokens.offer_bundles(actor=alice, sender=None, size=3, count=4, wish=wish)
            stock(bobby, *[0] * 9)
            asked = payment_requests.create(
                actor=alice,
                name=None,
                units=5 * UNITS_PER_COIN,
                description="Two seedlings of Grevillea robusta, planted in Makueni",
                mode=PaymentMode.PARTIAL,
            )
            with web_server({"COPPICE_RAIDA_HOSTS": ",".join(["127.0.0.1:1"] * 25)}) as address:
                codes = [link.code for link in links]
                yield Site(f"http://{address}/claim", codes, f"http://{address}/pay/{asked.pk}")
        finally:
            call_command("flush", interactive=False, verbosity=0)


@pytest.fixture
def watched(site: Site, browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield Watched(context.new_page())
    context.close()


def fill_in(page: Page, wallet: str) -> None:
    form = page.locator("form", has=page.get_by_role("heading", name="I have a wallet"))
    form.get_by_label("Name of the wallet").fill(wallet)
    form.get_by_label("Password").fill(PASSWORD)


def test_a_link_opens_by_itself_and_its_code_is_in_no_address(site: Site, watched: Watched) -> None:
    page, code = watched.page, site.codes[0]
    page.goto(site.page)
    assert looked_at(page, "form for the code") == []
    page.goto("about:blank")
    page.goto(f"{site.page}#{code}")

    expect(page.get_by_text("gives you")).to_contain_text("3 trees")
    assert page.url == site.page
    assert looked_at(page, "link") == []
    form = page.locator("form", has=page.get_by_role("heading", name="I need a new wallet"))
    form.get_by_label("Name of the new wallet").fill("newcomer")
    form.get_by_label("Password", exact=True).fill("my password")
    form.get_by_label("Repeat the password").fill("my passwort")
    form.get_by_role("button").click()
    expect(page.get_by_role("alert")).to_have_text("The two passwords differ.")
    expect(form.get_by_label("Name of the new wallet")).to_have_value("newcomer")
    assert looked_at(page, "refusal") == []
    form.get_by_label("Password", exact=True).fill("my password")
    form.get_by_label("Repeat the password").fill("my password")
    form.get_by_role("button").click()
    expect(page.get_by_role("status")).to_have_text("3 trees from alice are now in the wallet newcomer.")
    assert looked_at(page, "claimed") == []
    page.goto(f"{site.page}#{code}")
    expect(page.get_by_role("alert")).to_have_text("These trees have been claimed already.")
    assert looked_at(page, "used link") == []

    # The first request for the page is written with the fragment, which is not sent.
    assert [url for url in watched.asked if code in url.partition("#")[0]] == []
    # A refusal has an error status, which the browser logs.
    assert [each for each in watched.complaints if "the server responded with a status of 422" not in each] == []


def test_without_scripts_the_link_is_pasted(site: Site, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.page}#{site.codes[1]}")
    page.get_by_label("Code of the link").fill(f"{site.page}#{site.codes[1]}")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text("gives you")).to_contain_text("3 trees")
    fill_in(page, "bobby")
    page.get_by_role("button", name="Claim them", exact=True).click()

    expect(page.get_by_role("status")).to_have_text("3 trees from alice are now in the wallet bobby.")
    assert context.cookies()[0]["name"] == "csrftoken"
    assert len(context.cookies()) == 1
    context.close()


def test_of_two_browsers_one_claims_and_the_other_is_told(site: Site, browser: Browser) -> None:
    contexts = [browser.new_context() for _ in range(2)]
    pages = [context.new_page() for context in contexts]
    for page, wallet in zip(pages, ("bobby", "carol"), strict=True):
        page.goto(f"{site.page}#{site.codes[2]}")
        fill_in(page, wallet)
    for page in pages:
        # Without waiting for the answer.
        page.evaluate("() => { document.querySelector('form[action$=\"/wallet\"]').requestSubmit(); }")
    told = []
    for page in pages:
        answer = page.locator(".verdict")
        expect(answer).to_be_visible()
        told.append("won" if "now in the wallet" in answer.inner_text() else answer.inner_text())

    assert sorted(told) == ["These trees have been claimed already.", "won"]
    for context in contexts:
        context.close()


def test_the_page_of_a_payment_request_fits_and_pays(site: Site, watched: Watched) -> None:
    page, wrong = watched.page, list[str]()

    def look(name: str) -> None:
        wrong.extend(looked_at(page, name))
        picture(page, f"pay-{name}")

    page.goto(site.pay)
    look("open")
    page.get_by_label("Name of the wallet").fill("bobby")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Pay", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("is wrong")
    look("refused")
    page.get_by_label("Amount").fill("2")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Pay", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Your payment of 2 CloudCoin has arrived.")
    look("partly-paid")
    page.get_by_label("Name of the wallet").fill("bobby")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Pay", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Your payment of 3 CloudCoin has arrived.")
    look("paid")
    page.goto(site.pay.rpartition("/")[0])
    look("find")

    assert wrong == []
    watched.complaints[:] = [each for each in watched.complaints if "403" not in each]
    assert watched.complaints == []
