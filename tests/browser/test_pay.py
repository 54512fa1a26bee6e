"""The page of a payment request in a browser: it fits, can be read by all, and pays by a login."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import Browser, expect

from lockers.models import PaymentRequest
from lockers.operations import payment_requests
from lockers.raida.coins import UNITS_PER_COIN
from lockers.states import PaymentMode
from tests.api.web_server import web_server
from tests.browser.pictures import picture
from tests.browser.watched import Watched
from tests.lockers.stock import stock
from tests.support.desk_in_chromium import looked_at
from wallets import operations as wallets

PASSWORD = "battery staple"


@pytest.fixture(scope="module")
def page_of(django_db_setup: None, django_db_blocker: Any) -> Iterator[tuple[str, PaymentRequest]]:
    with django_db_blocker.unblock():
        alice = wallets.create_wallet(name="alice", password="correct horse")
        stock(wallets.create_wallet(name="bobby", password=PASSWORD), *[0] * 9)
        asked = payment_requests.create(
            actor=alice,
            name=None,
            units=5 * UNITS_PER_COIN,
            description="Two seedlings of Grevillea robusta, planted in Makueni",
            mode=PaymentMode.PARTIAL,
        )
        try:
            with web_server({"COPPICE_RAIDA_HOSTS": ",".join(["127.0.0.1:1"] * 25)}) as address:
                yield f"http://{address}/pay/{asked.pk}", asked
        finally:
            call_command("flush", interactive=False, verbosity=0)


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield Watched(context.new_page())
    context.close()


def test_the_page_fits_and_pays(page_of: tuple[str, PaymentRequest], watched: Watched) -> None:
    address, _ = page_of
    page, wrong = watched.page, list[str]()

    def look(name: str) -> None:
        wrong.extend(looked_at(page, name))
        picture(page, f"pay-{name}")

    page.goto(address)
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
    page.goto(address.rpartition("/")[0])
    look("find")

    assert wrong == []
    watched.complaints[:] = [each for each in watched.complaints if "403" not in each]
    assert watched.complaints == []
