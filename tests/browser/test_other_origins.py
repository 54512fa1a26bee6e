"""A page on another origin calls the API with fetch, in a real browser."""

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import get_resolver
from playwright.sync_api import expect

from config.web import cors
from tests.api.caller import PASSWORD, logged_in
from tests.api.endpoints import endpoints
from tests.api.web_server import web_server
from tests.browser.watched import Watched
from tests.support.chromium import chromium
from transfers.operations import issue_tokens
from wallets import operations


class Empty(http.server.BaseHTTPRequestHandler):
    """An empty page, as any site may be."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>app</title>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def origins() -> Iterator[tuple[str, str]]:
    """Two origins of other sites: one that may call the API, and one that may not."""
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{servers[0].server_port}", f"http://localhost:{servers[1].server_port}"
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def server(django_db_setup: None, origins: tuple[str, str]) -> Iterator[str]:
    with web_server({"COPPICE_CORS_ORIGINS": f"{origins[0]},https://app.example.org"}) as address:
        yield f"http://{address}"


CALLS = """async ([base, key, password]) => {
  const headers = {"Content-Type": "application/json", "TREETRACKER-API-KEY": key};
  const call = async (method, path, body, more = {}) => {
    const answer = await fetch(base + path, {
      method, headers: {...headers, ...more}, ...(body === undefined ? {} : {body: JSON.stringify(body)}),
    });
    const text = await answer.text();
    const told = Object.fromEntries(["link", "retry-after", "x-request-id", "idempotency-replayed"].map(
      (name) => [name, answer.headers.get(name)]));
    return {status: answer.status, body: text && JSON.parse(text), ...told};
  };
  const result = {};
  result.login = await call("POST", "/auth", {wallet: "alice", password});
  headers.Authorization = "Bearer " + result.login.body.token;
  result.created = await call("POST", "/wallets", {wallet: "sapling"}, {"Idempotency-Key": "k-1"});
  result.again = await call("POST", "/wallets", {wallet: "sapling"}, {"Idempotency-Key": "k-1"});
  result.page = await call("GET", "/wallets?limit=1", undefined, {"X-Request-Id": "mine-1"});
  const transfer = {sender_wallet: "alice", receiver_wallet: "bobby", bundle: {bundle_size: 1}};
  result.sent = await call("POST", "/transfers", transfer);
  result.cancelled = await call("DELETE", "/transfers/" + result.sent.body.id);
  result.coins = await call("GET", "/api/v1/wallets");
  // The examples of seed 000, which polls until `status` ends, and of seed 001.
  result.put = await call("POST", "/api/v1/locker", {name: "Default", amount: 20, tag: "Payment for invoice #1234"});
  result.task = await call("GET", "/api/v1/task/" + result.put.body.id);
  result.peek = await call("GET", "/api/transactions/locker/peek?locker_key=AAA-BBBB");
  result.unknown = await call("GET", "/nope");
  headers["Content-Encoding"] = "br";
  result.coding = await call("POST", "/wallets", {wallet: "oak"});
  return result;
}"""
ONE = """async (url) => {
  try { return (await fetch(url, {headers: {"TREETRACKER-API-KEY": "x"}})).status; }
  catch (error) { return String(error); }
}"""


def test_a_page_of_a_named_origin_calls_the_api_and_no_other_does(
    transactional_db: None, server: str, origins: tuple[str, str]
) -> None:
    key = operations.create_api_key(name="partner")[1]
    alice = logged_in("alice", key)
    logged_in("bobby", key)
    assert alice.wallet is not None
    issue_tokens(wallet=alice.wallet, count=2)

    # Closed before the database is emptied: while it is open, an event loop runs in this thread.
    with chromium() as browser:
        page = browser.new_page()
        page.goto(origins[0])
        told = page.evaluate(CALLS, [server, key, PASSWORD])
        desk = page.evaluate(ONE, f"{server}/admin/login/")
        page.goto(origins[1])
        foreign = page.evaluate(ONE, f"{server}/wallets")

    assert {name: each["status"] for name, each in told.items()} == {
        "login": 200, "created": 200, "again": 200, "page": 200, "sent": 202, "cancelled": 200, "coins": 200,
        "put": 422, "task": 404, "peek": 500, "unknown": 404, "coding": 415,
    }  # fmt: skip
    # There are no coins, and no servers answer. What these programs look at is there all the same.
    assert [told[name]["body"]["status"] for name in ("put", "task", "peek")] == ["error"] * 3
    assert told["again"]["idempotency-replayed"] == "true"
    assert told["page"]["x-request-id"] == "mine-1"
    assert 'rel="next"' in told["page"]["link"]
    assert "Failed to fetch" in desk
    assert "Failed to fetch" in foreign


def test_a_preflight_permits_every_method_and_header_of_the_api_and_no_cookies(
    server: str, origins: tuple[str, str]
) -> None:
    methods = {method for method, _, _ in endpoints(get_resolver())}
    assert methods <= set(cors.METHODS)
    with httpx.Client(base_url=server, timeout=60, headers={"origin": origins[0]}) as client:
        asked = {"access-control-request-method": "PATCH", "access-control-request-headers": ",".join(cors.HEADERS)}
        permitted = [
            client.options(path, headers=asked) for path in ("/wallets", "/api/v1/import", "/wallet/AUTH", "/no")
        ]
        kept = [
            client.options(path, headers=asked).headers for path in ("/admin/", "/docs/", "/static/x", "/", "/livez")
        ]
        # Refused before a thread has them, by the host, and by an unknown path.
        refused = [
            client.post("/wallets", content=b"x", headers={"content-encoding": "br"}),
            client.post("/api/v1/wallets", content=b"x" * 6_000_000),
            client.get("/wallets", headers={"host": "evil.example"}),
            client.get("/nope"),
        ]
        other = client.post("/wallets", content=b"x", headers={"content-encoding": "br", "origin": origins[1]})

    for each in permitted:
        assert each.status_code == 200
        assert each.headers["access-control-allow-origin"] == origins[0]
        assert set(each.headers["access-control-allow-methods"].split(", ")) == set(cors.METHODS)
        assert set(each.headers["access-control-allow-headers"].split(", ")) == set(cors.HEADERS)
    assert not any("access-control-allow-credentials" in each.headers for each in [*permitted, *refused])
    assert not any("access-control-allow-origin" in headers for headers in kept)
    assert [each.status_code for each in refused] == [415, 413, 400, 404]
    for answered in refused:
        assert answered.headers["access-control-allow-origin"] == origins[0]
        assert "Retry-After" in answered.headers["access-control-expose-headers"]
        assert "origin" in answered.headers["vary"].lower()
    assert "access-control-allow-origin" not in other.headers


def test_without_such_origins_nothing_is_said_about_them(db: None, client: Client) -> None:
    answered = client.get("/nope", headers={"origin": "https://app.example.org"})

    assert not [name for name in answered.headers if name.lower().startswith("access-control")]


def test_the_desk_and_the_documentation_work_under_a_prefix(transactional_db: None) -> None:
    User.objects.create_superuser("root", "", "a long password")
    prefix = "/coppice"
    with web_server({"COPPICE_PUBLIC_URL": f"http://localhost{prefix}"}) as address, chromium() as browser:
        watched = Watched(browser.new_page())
        page, base = watched.page, f"http://{address}{prefix}"
        page.goto(f"{base}/admin/")
        page.fill("#id_username", "root")
        page.fill("#id_password", "a long password")
        page.click("#login-form button")
        expect(page.locator("#logout-form")).to_be_visible()
        home = page.url
        links = page.locator(".around a").evaluate_all("each => each.map(link => link.pathname)")
        for link in links:
            page.goto(f"http://{address}{link}")
        page.goto(f"{base}/docs/")
        expect(page.locator("main h1")).to_have_text("API reference")
        page.goto(f"{base}/docs/try/")
        expect(page.locator("text=Create a wallet").first).to_be_visible()
        page.goto(f"{base}/")
        page.click("text=Operators' admin")
        expect(page.locator("#logout-form")).to_be_visible()

    assert home == f"{base}/admin/"
    assert len(links) > 5
    assert watched.complaints == []
    assert [url for url in watched.asked if not url.startswith((f"{base}/", "data:", "blob:"))] == []
    assert {status for _, status in watched.answers} <= {200, 302, 304}
