"""The pages at `/docs/`, under its own Content-Security-Policy, at `/docs/errors` and at `/`, in a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.api.web_server import web_server
from tests.browser.watched import Watched
from tests.support.desk_in_chromium import VIEWS, beyond_the_edge, looked_at, serious, show, violations


@pytest.fixture(scope="module")
def address(django_db_setup: None) -> Iterator[str]:
    with web_server() as running:
        yield running


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield Watched(context.new_page())
    context.close()


def test_the_page_shows_every_endpoint_without_a_complaint_or_a_foreign_request(watched: Watched, address: str) -> None:
    page = watched.page

    response = page.goto(f"http://{address}/docs/try/")
    expect(page.locator("[id^=operations-authentication-auth][id$=login]")).to_be_visible()
    endpoints = page.locator(".opblock").count()
    transfer = page.locator("[id^=operations-transfers-transfers][id$=create]")
    transfer.locator("button.opblock-summary-control").click()
    expect(transfer.locator(".responses-table").first).to_contain_text("Do not have enough tokens to send")

    described = page.request.get(f"http://{address}/openapi.json").json()
    assert response is not None
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert endpoints == sum(len(methods) for part in ("paths", "webhooks") for methods in described[part].values())
    assert watched.complaints == []
    assert [url for url in watched.asked if not url.startswith((f"http://{address}/", "data:", "blob:"))] == []


def test_the_pages_fit_and_can_be_read_by_all(watched: Watched, address: str) -> None:
    page, wrong = watched.page, []
    for path in ("docs/partners/", "docs/glossary/"):
        page.goto(f"http://{address}/{path}")
        wrong += looked_at(page, path)

    assert wrong == []
    assert watched.complaints == []


def test_the_reference_fits_and_a_link_opens_an_operation(watched: Watched, address: str) -> None:
    page = watched.page
    page.goto(f"http://{address}/docs/#transfers.create")
    expect(page.get_by_text("Too few free tokens, and tokens that are elsewhere or reserved")).to_be_visible()
    assert page.locator("details[open]").count() == 1

    for scheme, width, _ in VIEWS:
        show(page, scheme, width)
        assert beyond_the_edge(page) == 0, width
        assert serious(page, "color-contrast") == [], scheme

    assert watched.complaints == []


def test_what_a_page_still_asked_for_when_it_was_left_is_no_complaint(watched: Watched, address: str) -> None:
    page, held = watched.page, list[Route]()
    page.route("**/held", lambda route: held.append(route))  # noqa: PLW0108 - a method of a list is refused there
    page.route("**/refused", lambda route: route.abort("connectionrefused"))
    page.goto(f"http://{address}/docs/")
    with page.expect_request("**/held"):
        page.evaluate("() => { fetch('/held').catch(() => {}); }")

    with page.expect_event("requestfailed"):
        page.goto(f"http://{address}/livez")

    assert len(held) == 1
    assert watched.complaints == []
    page.goto(f"http://{address}/docs/")
    page.evaluate("() => fetch('/refused').catch(() => {})")
    assert [each for each in watched.complaints if each.startswith("failed: ")] == [
        f"failed: http://{address}/refused net::ERR_CONNECTION_REFUSED"
    ]


def test_the_page_at_the_root_is_whole(watched: Watched, address: str) -> None:
    page = watched.page
    page.goto(f"http://{address}/")

    links = page.locator("main a").evaluate_all("each => each.map(link => link.getAttribute('href'))")
    assert links == ["/docs/", "/openapi.json", "/admin/", "/livez", "/readyz"]
    assert looked_at(page, "root") == []
    assert watched.complaints == []


def test_the_page_of_errors_shows_the_entry_that_a_link_names(watched: Watched, address: str) -> None:
    page = watched.page
    for scheme, width, rules in VIEWS:
        show(page, scheme, width)
        page.goto(f"http://{address}/docs/errors#transfer_not_pending")

        expect(page.locator("#transfer_not_pending dd").first).to_be_in_viewport()
        assert beyond_the_edge(page) == 0, width
        assert [(each["id"], each["nodes"][0]["html"]) for each in violations(page, *rules)] == []
    assert watched.complaints == []
