"""The product behind Debian's nginx and Caddy, with TLS, with and without a path prefix."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from django.contrib.auth.models import User

from tests.api.caller import PASSWORD
from tests.api.web_server import web_server
from tests.config import proxies
from tests.config.proxies import Certificate, Ports
from tests.ports import reserved_port
from tests.support.partners_page import blocks
from transfers import audit as transfer_audit
from transfers import operations as transfers
from transfers.models import Transfer
from wallets import operations as wallets
from wallets.models import Token, Wallet

pytestmark = pytest.mark.django_db(transaction=True)

PROXIES: dict[str, Callable[..., Any]] = {
    "nginx": proxies.nginx,
    "nginx, buffering off": lambda *args, **options: proxies.nginx(*args, **options, buffering=False),
    "caddy": proxies.caddy,
}
STAFF_PASSWORD = "quite a long password"


@dataclass(frozen=True)
class Installation:
    """A web server that knows its public URL, and the ports that a proxy is to listen on for it."""

    upstream: str
    ports: Ports
    prefix: str

    @property
    def public(self) -> str:
        return f"https://localhost:{self.ports.https}{self.prefix}"


# One for all proxies: it is the same server behind each.
@pytest.fixture(scope="module", params=["", "/coppice"])
def installation(request: pytest.FixtureRequest, django_db_setup: None) -> Iterator[Installation]:
    with reserved_port() as http, reserved_port() as https:
        public = f"https://localhost:{https}{request.param}"
        variables = {"COPPICE_SECURE": "true", "COPPICE_PUBLIC_URL": public, "COPPICE_TRUSTED_PROXIES": "127.0.0.1"}
        with web_server(variables) as upstream:
            yield Installation(upstream, Ports(http, https), request.param)


@pytest.mark.parametrize("name", PROXIES)
def test_a_slice_of_everything_works(name: str, installation: Installation, tmp_path: Path) -> None:
    program = name.split(",", maxsplit=1)[0]
    if not proxies.is_here(program):
        pytest.skip(f"NO PROXY: install {program} to test the product behind it")
    certificate = proxies.make_certificate(tmp_path)
    key = wallets.create_api_key(name="partner")[1]
    alice = wallets.create_wallet(name="alice", password=PASSWORD)
    wallets.create_wallet(name="bob", password=PASSWORD)
    transfers.issue_tokens(wallet=alice, count=100)
    User.objects.create_superuser("olivia", password=STAFF_PASSWORD)

    ports, prefix, public = installation.ports, installation.prefix, installation.public
    with (
        PROXIES[name](tmp_path, certificate, ports, installation.upstream, prefix=prefix),
        httpx.Client(base_url=public, verify=certificate.context(), headers={"treetracker-api-key": key}) as api,
    ):
        is_sent_to_https(ports.http, ports.https, prefix)
        bearer = {"authorization": f"Bearer {token_of(api, 'alice')}"}
        a_list_leads_on(api, public, bearer)
        chunked_bodies_count(api, bearer)
        refusals_are_in_each_dialect(api, bearer)
        pages_and_their_files_are_there(api, public)
        the_desk_lets_an_operator_in(certificate, public)
        forged_addresses_are_not_believed(api, bearer)
        the_pages_commands_work(public, key, certificate)

    assert list(transfer_audit.audit_findings()) == []
    if log := next(tmp_path.glob("access.log"), None):
        assert "/transfers" not in log.read_text()


def token_of(api: httpx.Client, wallet: str) -> str:
    token: str = api.post("/auth", json={"wallet": wallet, "password": PASSWORD}).raise_for_status().json()["token"]
    return token


def is_sent_to_https(http: int, https: int, prefix: str) -> None:
    answer = httpx.post(f"http://localhost:{http}{prefix}/auth?x=1", json={"wallet": "alice", "password": PASSWORD})
    assert answer.status_code == 308
    # Caddy counts a port of `https_port` as one that a firewall leads 443 to.
    assert re.sub(f":{https}", "", answer.headers["location"]) == f"https://localhost{prefix}/auth?x=1"


def a_list_leads_on(api: httpx.Client, public: str, bearer: dict[str, str]) -> None:
    first = api.get("/tokens", params={"limit": 2}, headers=bearer)
    assert first.status_code == 200
    link = re.fullmatch(r'<(.*)>; rel="next"', first.headers["link"])
    assert link is not None
    assert link[1].startswith(f"{public}/tokens?")
    second = api.get(link[1], headers=bearer)
    assert [len(page.json()["tokens"]) for page in (first, second)] == [2, 2]
    assert first.json() != second.json()


def chunked_bodies_count(api: httpx.Client, bearer: dict[str, str]) -> None:
    def pieces(*parts: bytes) -> Iterator[bytes]:
        yield from parts

    sent = b'{"bundle": {"bundle_size": 1}, "sender_wallet": "alice", "receiver_wallet": "bob"}'
    headers = bearer | {"idempotency-key": "one-transfer", "content-type": "application/json"}
    first = api.post("/transfers", content=pieces(sent[:20], sent[20:]), headers=headers)
    again = api.post("/transfers", content=sent, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202), first.text
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert Transfer.objects.filter(state="pending").count() == 1

    table = b'--frame\r\nContent-Disposition: form-data; name="csv"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n'
    table += b"wallet_name\nsapling\n\r\n--frame--\r\n"
    made = api.post(
        "/wallets/batch-create-wallet",
        content=pieces(table[:50], table[50:]),
        headers=bearer | {"content-type": "multipart/form-data; boundary=frame"},
    )
    assert made.status_code == 200, made.text
    assert Wallet.objects.filter(name="sapling").count() == 1


def refusals_are_in_each_dialect(api: httpx.Client, bearer: dict[str, str]) -> None:
    unknown = api.get("/transfers/nothing", headers=bearer)
    assert (unknown.status_code, sorted(unknown.json())) == (422, ["code", "message"])
    without = api.get("/api/v1/wallets")
    assert without.status_code == 401
    assert "status" in without.json()
    large = api.post(
        "/transfers", content=b" " * (6 * 1024 * 1024), headers=bearer | {"content-type": "application/json"}
    )
    assert (large.status_code, large.json()["code"]) == (413, 413)


def pages_and_their_files_are_there(api: httpx.Client, public: str) -> None:
    for path in ("/", "/docs/", "/admin/login/"):
        page = api.get(path)
        assert page.status_code == 200, path
        named = re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="([^"]+)"', page.text)
        files = [urljoin(str(page.url), each) for each in named if not each.startswith("data:")]
        assert files, path
        for file in files:
            assert file.startswith(f"{public}/"), f"{path} names {file}"
            assert api.get(file).status_code == 200, file


def the_desk_lets_an_operator_in(certificate: Certificate, public: str) -> None:
    with httpx.Client(verify=certificate.context(), follow_redirects=True) as browser:
        page = browser.get(f"{public}/admin/")
        form = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert form is not None
        parts = urlsplit(public)
        signed_in = browser.post(
            str(page.url),
            data={
                "csrfmiddlewaretoken": form[1],
                "username": "olivia",
                "password": STAFF_PASSWORD,
                "next": f"{parts.path}/admin/",
            },
            headers={"origin": f"{parts.scheme}://{parts.netloc}", "referer": str(page.url)},
        )
        assert signed_in.status_code == 200
        assert str(signed_in.url) == f"{public}/admin/"
        cookies = {cookie.name: cookie for cookie in browser.cookies.jar}
        assert {"sessionid", "csrftoken"} <= set(cookies)
        assert {(cookie.secure, cookie.path) for cookie in cookies.values()} == {(True, parts.path or "/")}


def forged_addresses_are_not_believed(api: httpx.Client, bearer: dict[str, str]) -> None:
    forged = {"x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1;proto=http", "x-forwarded-proto": "http"}
    assert api.get("/metrics", headers=forged).status_code in (401, 403, 404)
    assert api.get("/wallets?limit=1", headers=bearer | forged).status_code == 200


def the_pages_commands_work(public: str, key: str, certificate: Certificate) -> None:
    for command in (["bash", "-euo", "pipefail", "-c", blocks("sh")], [sys.executable, "-c", blocks("python")]):
        if shutil.which(command[0]) is None or (command[0] == "bash" and shutil.which("curl") is None):
            continue
        before = Token.objects.filter(wallet__name="bob").count()
        done = subprocess.run(
            command,
            env=os.environ
            | {
                "COPPICE": public,
                "API_KEY": key,
                "ALICE_PASSWORD": PASSWORD,
                "BOB_PASSWORD": PASSWORD,
                "CURL_CA_BUNDLE": str(certificate.path),
                "SSL_CERT_FILE": str(certificate.path),
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert Token.objects.filter(wallet__name="bob").count() == before + 2
