"""Hosts, schemes, addresses and prefixes as proxies pass them on. Against the real server."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.hashers import ScryptPasswordHasher
from django.contrib.auth.models import User
from django.test import Client

from config.admin.models import Session
from config.api import throttles
from tests.api.caller import PASSWORD, Caller, logged_in
from tests.api.web_server import web_server
from tests.support.counts import forget_failures
from wallets import operations
from wallets.errors import InvalidCredentials

pytestmark = pytest.mark.usefixtures("transactional_db")
NOT_SERVED = "The host in the URL or in the Host header is not served here"


@pytest.fixture(autouse=True)
def _nobody_failed_to_log_in_yet() -> None:
    forget_failures()


@pytest.fixture
def api_key(db: None) -> str:
    return operations.create_api_key(name="partner")[1]


@pytest.fixture
def alice(api_key: str) -> Caller:
    return logged_in("alice", api_key)


def credentials(caller: Caller) -> dict[str, str]:
    return {"treetracker-api-key": str(caller.api_key), "authorization": f"Bearer {caller.bearer}"}


def client_of(address: str, **headers: str) -> httpx.Client:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Client(base_url=f"http://{address}", timeout=60, headers=given)


def lines_of(captured: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in captured.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("behind") / "log"


@pytest.fixture(scope="module")
def behind(django_db_setup: None, log: Path) -> Iterator[str]:
    """A server that believes this machine."""
    with web_server({"COPPICE_TRUSTED_PROXIES": "10.0.0.0/8, 127.0.0.1, ::1"}, log=log) as address:
        yield address


@pytest.fixture
def logged(behind: str, log: Path) -> Callable[[], list[dict[str, Any]]]:
    """Gives the lines that this server has logged in this test."""
    seen = log.stat().st_size
    return lambda: lines_of(log.read_bytes()[seen:].decode())


# --- hosts ---------------------------------------------------------------------------------------


def test_a_host_that_is_not_served_is_one_line_that_says_what_to_set(
    behind: str, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    with client_of(behind, host="evil.example") as client:
        refused = [client.get(path) for path in ("/wallets", "/api/v1/wallets", "/admin/", "/docs/", "/nope")]
        refused.append(client.post("/auth", json={}))
        probes = [client.get(path) for path in ("/livez", "/readyz", "/metrics", "/livez/")]
        probes.append(client.get("/livez", headers={"host": "a b"}))
        lines = logged()

    assert [each.json()["message"] for each in refused] == [NOT_SERVED] * 6
    assert {each.status_code for each in refused} == {400}
    assert refused[1].json()["status"] == "error"
    # Whether it is ready depends on workers that an earlier test may have had.
    assert probes.pop(1).json()["database"] == "ok"
    assert [each.status_code for each in probes] == [200] * 4
    warnings = [line for line in lines if "COPPICE_" in line["event"]]
    assert [line["error"] for line in warnings] == ["host_not_served"] * len(refused)
    assert {line["level"] for line in warnings} == {"warning"}
    assert all("COPPICE_PUBLIC_URL" in line["event"] and "COPPICE_ALLOWED_HOSTS" in line["event"] for line in warnings)
    assert not any("exception" in line or "evil" in json.dumps(line) for line in lines)
    assert {line["error"] for line in lines if line["event"] == "request" and line["status"] == 400} == {
        "host_not_served"
    }


# --- addresses -----------------------------------------------------------------------------------


def _wrong_login(client: httpx.Client, alice: Caller) -> int:
    body = {"wallet": "nobody", "password": "wrong"}
    return client.post("/auth", json=body, headers={"treetracker-api-key": str(alice.api_key)}).status_code


def _login(client: httpx.Client, alice: Caller) -> int:
    body = {"wallet": "alice", "password": PASSWORD}
    return client.post("/auth", json=body, headers={"treetracker-api-key": str(alice.api_key)}).status_code


def test_wrong_logins_behind_a_proxy_count_for_the_client_that_sent_them(behind: str, alice: Caller) -> None:
    # All but one, at once: they count for a minute, in which a busy machine may not answer a hundred requests.
    for number in range(throttles.FAILURES_PER_ADDRESS - 1):
        guess = throttles.login(kind="wallet", account=f"nobody{number}", address="203.0.113.7")
        with suppress(InvalidCredentials), guess:
            raise InvalidCredentials
    with client_of(behind, x_forwarded_for="203.0.113.7") as wrong, client_of(behind) as others:
        statuses = [_wrong_login(wrong, alice) for _ in range(2)]
        others.headers["x-forwarded-for"] = "198.51.100.9"
        right = _login(others, alice)
        # What a client writes in front of its address changes nothing.
        wrong.headers["x-forwarded-for"] = "198.51.100.9, 203.0.113.7"
        still = _wrong_login(wrong, alice)

    assert statuses == [404, 429]
    assert (right, still) == (200, 429)


def test_each_line_about_a_request_has_the_clients_address(
    behind: str, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    with client_of(behind) as client:
        client.headers["forwarded"] = 'for="[2001:db8::9]:4711"'
        client.get("/wallets")
        # Refused before any thread has them.
        client.post("/wallets", content=b"x", headers={"content-encoding": "br"})
        client.post("/wallets", headers=httpx.Headers([("idempotency-key", "a"), ("idempotency-key", "b")]))
        client.get("/wallets", headers={"host": "evil.example"})
        lines = logged()

    assert [line["client"] for line in lines] == ["2001:db8::9"] * 5
    assert [line["status"] for line in lines if "status" in line] == [401, 415, 400, 400]


def test_garbage_of_a_trusted_proxy_is_no_fault(behind: str) -> None:
    with client_of(behind) as client:
        for name in ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"):
            for value in (
                "",
                ",",
                "unknown",
                "_x",
                '"',
                "[",
                "[::",
                "%00",
                "1" * 9000,
                "for=",
                "a=b;;c",
                ":",
                "/",
                "é",
            ):
                status = client.get("/wallets", headers={name: value.encode()}).status_code
                # A host that is well-formed and another is refused.
                assert status == 401 or (status == 400 and name in {"x-forwarded-host", "forwarded"}), (name, value)


def test_metrics_answer_this_machine_and_not_the_clients_of_a_proxy_on_it(behind: str) -> None:
    with client_of(behind) as client:
        direct = client.get("/metrics").status_code
        passed_on = [
            client.get("/metrics", headers={"x-forwarded-for": who}).status_code
            for who in ("198.51.100.9", "127.0.0.1")
        ]

    assert (direct, passed_on) == (200, [403, 403])


# --- HTTPS -----------------------------------------------------------------------------------------

PUBLIC = "https://example.org:8443"


@pytest.fixture(scope="module")
def secure(django_db_setup: None) -> Iterator[str]:
    """With the settings of production."""
    more = {
        "DJANGO_SETTINGS_MODULE": "config.settings.base",
        "COPPICE_PUBLIC_URL": PUBLIC,
        "COPPICE_TRUSTED_PROXIES": "127.0.0.1",
    }
    with web_server(more) as address:
        yield address


def test_plain_http_is_refused_or_sent_elsewhere_and_no_post_becomes_a_get(secure: str, alice: Caller) -> None:
    with client_of(secure, x_forwarded_proto="http", host="example.org") as client:
        refused = [
            client.request(method, path, json={}, headers=credentials(alice))
            for method in ("POST", "PATCH", "DELETE", "PUT", "OPTIONS")
            for path in ("/auth", "/api/v1/wallets", "/admin/login/")
        ]
        elsewhere = [client.request(method, "/wallets?limit=1") for method in ("GET", "HEAD")]
        probes = [client.get(path).status_code for path in ("/livez", "/metrics")]

    assert {each.status_code for each in refused} == {403}
    message = f"HTTPS is required: send this request to {PUBLIC}"
    assert refused[0].json() == {"code": 403, "message": message}
    assert refused[1].json() == {"status": "error", "error": True, "code": 403, "message": message}
    assert [(each.status_code, each.headers["location"]) for each in elsewhere] == [
        (308, f"{PUBLIC}/wallets?limit=1")
    ] * 2
    # A proxy's request for figures is refused for that reason alone.
    assert probes == [200, 403]


def test_https_at_the_proxy_is_https_here(secure: str, alice: Caller) -> None:
    with client_of(secure, x_forwarded_proto="https", host="example.org") as client:
        listed = client.get("/wallets?limit=1", headers=credentials(alice))

    assert listed.status_code == 200
    # What reaches beyond this installation is not claimed unasked.
    assert listed.headers["strict-transport-security"] == "max-age=31536000"


def test_what_hsts_claims_is_chosen() -> None:
    more = {
        "COPPICE_PUBLIC_URL": "https://localhost", "COPPICE_TRUSTED_PROXIES": "127.0.0.1",
        "COPPICE_HSTS_INCLUDE_SUBDOMAINS": "true", "COPPICE_HSTS_PRELOAD": "true",
    }  # fmt: skip
    with web_server(more) as address, client_of(address, x_forwarded_proto="https", host="localhost") as client:
        claimed = client.get("/livez").headers["strict-transport-security"]

    assert claimed == "max-age=31536000; includeSubDomains; preload"


def test_hsts_claims_subdomains_without_the_list_of_browsers(settings: Any) -> None:
    settings.SECURE_HSTS_SECONDS, settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = 31_536_000, True

    answer = Client().get("/livez", secure=True, headers={"host": "localhost"})

    assert answer["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"


def test_a_proxy_that_is_not_trusted_is_named_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    more = {"DJANGO_SETTINGS_MODULE": "config.settings.base", "COPPICE_SECURE": "true"}
    with web_server(more) as address, client_of(address, x_forwarded_proto="https") as client:
        client.headers["x-forwarded-for"] = "198.51.100.9"
        capfd.readouterr()
        refused = client.post("/auth", json={})
        client.headers.pop("x-forwarded-proto")
        client.post("/auth", json={})
        warnings = [line for line in lines_of(capfd.readouterr().err) if line["level"] == "warning"]

    assert refused.status_code == 403
    assert len(warnings) == 1
    assert "COPPICE_TRUSTED_PROXIES" in warnings[0]["event"]
    assert warnings[0]["client"] == "127.0.0.1"


def _token(page: str) -> str:
    match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert match is not None
    return match[1]


@pytest.mark.parametrize(
    ("host", "more", "origin", "status"),
    [
        # A proxy that passes the host on without its port, with it, in another header, or not at all.
        ("example.org", {}, PUBLIC, 302),
        ("example.org:8443", {}, PUBLIC, 302),
        ("127.0.0.1:8000", {"x-forwarded-host": "example.org", "x-forwarded-port": "8443"}, PUBLIC, 302),
        ("127.0.0.1:8000", {}, PUBLIC, 302),
        ("example.org", {}, "https://evil.example", 403),
        ("example.org", {}, "https://example.org:9443", 403),
        ("example.org:8443", {}, "http://example.org:8443", 403),
    ],
)
def test_forms_of_the_desk_know_the_public_origin_with_its_port(
    secure: str, host: str, more: Any, origin: Any, status: int
) -> None:
    # That of the tests is unknown to the settings of production.
    password = ScryptPasswordHasher().encode("a long password", "salt")
    User.objects.create(username="root", password=password, is_staff=True, is_superuser=True)
    proxied = {"x-forwarded-proto": "https", "x-forwarded-for": "198.51.100.9", "host": host, **more}
    with httpx.Client(base_url=f"http://{secure}", timeout=60, headers=proxied) as client:
        page = client.get("/admin/login/")
        cookie = page.headers["set-cookie"]
        csrf = cookie.partition("csrftoken=")[2].partition(";")[0]
        answer = client.post(
            "/admin/login/",
            data={"username": "root", "password": "a long password", "csrfmiddlewaretoken": _token(page.text)},
            headers={"origin": origin, "referer": f"{origin}/admin/login/", "cookie": f"csrftoken={csrf}"},
        )

    assert answer.status_code == status
    assert "Secure" in cookie
    sessions = [each.address for each in Session.objects.all()]
    assert sessions == (["198.51.100.9"] if status == 302 else [])


# --- a path prefix -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prefixed(django_db_setup: None) -> Iterator[str]:
    with web_server({"COPPICE_PUBLIC_URL": "http://localhost/coppice"}) as address:
        yield address


@pytest.mark.parametrize("sent", ["/coppice", ""], ids=["kept by the proxy", "removed by the proxy"])
def test_everything_works_under_a_prefix(prefixed: str, alice: Caller, sent: str) -> None:
    operations.create_wallet(name="sapling", password=PASSWORD)
    with client_of(prefixed, host="localhost") as client:

        def get(path: str, **more: Any) -> httpx.Response:
            return client.get(f"{sent}{path}", headers=credentials(alice), **more)

        unknown = [get(path).json() for path in ("/nope", "/api/nope")]
        refused = [client.get(f"{sent}{path}").status_code for path in ("/wallets", "/api/v1/wallets")]
        page = get("/wallets?limit=1")
        issued = [get(path).status_code for path in ("/wallet/WALLETS?limit=1", "/wallet/auth", "/livez", "/readyz")]
        described = get("/openapi.json").json()
        docs = get("/docs/try/")
        script = re.search(r'src="([^"]+docs/try/\?script[^"]*)"', docs.text)
        linked = re.findall(r'(?:href|src)="([^"]+)"', docs.text)
        desk = get("/admin/")
        login = get("/admin/login/")
        static = get("/static/desk/desk.css")
        large = [
            client.post(f"{sent}{path}", content=b"x" * 6_000_000, headers={"content-type": "application/json"})
            for path in ("/api/v1/wallets", "/api/v1/import")
        ]
        followed = [client.get(url.replace("&amp;", "&")).status_code for url in linked]

    assert [each["message"] for each in unknown] == ["Cannot GET /coppice/nope", "Cannot GET /coppice/api/nope"]
    assert ["status" in each for each in unknown] == [False, True]
    assert refused == [401, 401]
    assert page.json()["wallets"]
    assert issued == [200, 405, 200, 503]
    address = "http://localhost/coppice"
    assert [each["url"] for each in described["servers"]] == [address, f"{address}/wallet", f"{address}/wallet/v2"]
    assert "/wallets" in described["paths"]
    assert script is not None
    assert all(url.startswith("/coppice/") for url in linked)
    assert set(followed) == {200}
    assert (desk.status_code, desk.headers["location"]) == (302, "/coppice/admin/login/?next=/coppice/admin/")
    urls = re.findall(r'(?:href|src|action)="(/[^"]*)"', login.text)
    assert len(urls) > 5
    assert [url for url in urls if not url.startswith("/coppice/")] == []
    assert "Path=/coppice;" in login.headers["set-cookie"] + ";"
    assert login.headers["content-security-policy"].endswith("form-action 'self'")
    assert static.status_code == 200
    # Only an import may be larger than 3 MiB: it came as far as its view.
    assert [(each.status_code, each.headers.get("connection")) for each in large] == [(413, "close"), (413, None)]


def test_the_link_to_the_next_page_is_under_the_public_url(prefixed: str, alice: Caller) -> None:
    carol = logged_in("carol", str(alice.api_key))
    for name in ("sapling", "acorn"):
        carol.post("/wallets", {"wallet": name})
    with client_of(prefixed, host="127.0.0.1") as client:
        first = client.get("/coppice/wallets?limit=1", headers=credentials(carol))
        url = first.headers["link"].partition("<")[2].partition(">")[0]
        second = client.get(url.replace("http://localhost", ""), headers=credentials(carol))

    assert url.startswith("http://localhost/coppice/wallets?limit=1&cursor=")
    assert second.status_code == 200
    assert first.json() != second.json()


@pytest.mark.parametrize("path", ["/coppicewallets", "/coppice2/wallets", "/Coppice/nope", "/coppice/coppice/wallets"])
def test_another_prefix_is_none(prefixed: str, alice: Caller, path: str) -> None:
    with client_of(prefixed, host="localhost") as client:
        assert client.get(path, headers=credentials(alice)).status_code == 404
