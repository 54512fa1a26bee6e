"""
The public clients of the Treetracker wallet API: their calls, in their order, with their headers and bodies.

Browser clients call from a page on another origin in Chromium, the others over sockets. What a client reads from an
answer is compared here, with its type; `docs/clients.md` says to its operator what works.
"""

import http.client
import http.server
import io
import re
import shlex
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
from django.core.management import call_command
from playwright.sync_api import Browser

from tests.api.caller import PASSWORD
from tests.api.web_server import web_server
from tests.browser.conftest import browser
from tests.support import recorded_exchanges
from transfers import operations as transfers
from transfers.states import TransferState
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Wallet

# A fixture.
__all__ = ["browser"]

HERE: Final = Path(__file__).parent
PAGE: Final = (HERE.parents[1] / "docs" / "clients.md").read_text(encoding="utf-8")


def variables(client: str) -> dict[str, str]:
    """Return the variables that the page shows for a client and for its installation."""
    section = PAGE.partition(f"\n## {client}\n")[2].partition("\n## ")[0]
    lines = "".join(re.findall(r"^```env\n(.*?)^```$", section, re.M | re.S)).splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def path_in(client: str, name: str) -> str:
    """Return the path of the base URL that the page shows."""
    return urlsplit(variables(client)[name]).path


class Installation(NamedTuple):
    """A running server, and pages on two other origins; the second one's calls get the API key from a proxy."""

    address: str
    key: str
    panel: str
    app: str
    proxy: str


class Site(http.server.BaseHTTPRequestHandler):
    """An empty page on any name of this machine; on its address, a proxy that adds the API key."""

    protocol_version = "HTTP/1.1"
    address = ""
    key = ""

    def forward(self) -> None:
        if self.command == "GET" and not self.headers["Host"].startswith("127."):
            self._answer(200, [("Content-Type", "text/html")], b"<!DOCTYPE html><title>app</title>")
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
        if self.command != "OPTIONS":
            headers["TREETRACKER-API-KEY"] = self.key
        connection = http.client.HTTPConnection(self.address, timeout=60)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        kept = [each for each in answer.getheaders() if each[0].lower() not in {"content-length", "connection"}]
        self._answer(answer.status, kept, answer.read())
        connection.close()

    do_GET = do_POST = do_PATCH = do_DELETE = do_OPTIONS = forward

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def furnish() -> str:
    """
    Write the wallets that the clients log in with, what is in them, and what others ask of them; return an API key.

    The key and a wallet come from the commands of the page.
    """
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_WALLET_PASSWORD", PASSWORD)
        for line in commands.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "manage.py"
            output = io.StringIO()
            call_command(*arguments, stdout=output)
            printed.append(output.getvalue().strip())
    made = {
        name: wallets.create_wallet(name=name, password=PASSWORD) for name in ("panel", "walker", "phone", "stranger")
    } | {"shops": Wallet.objects.get(name="shops")}
    for name in ("panel", "walker", "shops", "phone", "stranger"):
        transfers.issue_tokens(wallet=made[name], count=10)
    trusts.request_trust(
        actor=made["stranger"], request_type=TrustRequestType.MANAGE, requestee="panel", requester=None
    )
    for _ in range(2):
        transfers.send_bundle(actor=made["stranger"], sender="stranger", receiver="walker", size=1)
    return printed[0]


@pytest.fixture(scope="module")
def installation(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: Any) -> Iterator[Installation]:
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    panel, app = (f"http://{name}.localhost:{site.server_port}" for name in ("panel", "app"))
    threading.Thread(target=site.serve_forever, daemon=True).start()
    (permitting,) = {
        name
        for client in ("wallet-admin-client", "wallet-app")
        for name in variables(client)
        if name.startswith("COPPICE_")
    }
    settings = {
        permitting: f"{panel},{app}",
        "COPPICE_MEDIA": str(tmp_path_factory.mktemp("media")),
    }
    with django_db_blocker.unblock():
        try:
            key = furnish()
            with web_server(settings) as address:
                Site.address, Site.key = address, key
                yield Installation(f"http://{address}", key, panel, app, f"http://127.0.0.1:{site.server_port}")
        finally:
            site.shutdown()
            site.server_close()
            # The rows are committed, and all later tests would find them.
            call_command("flush", interactive=False, verbosity=0)


def run(browser: Browser, origin: str, client: str, arguments: dict[str, Any]) -> Any:
    """Run the calls of a client in a page of this origin, and return what it was told."""
    page = browser.new_page()
    try:
        page.goto(origin)
        return page.evaluate((HERE / client).read_text(encoding="utf-8"), arguments)
    finally:
        page.close()


def statuses(told: dict[str, Any]) -> dict[str, int]:
    return {name: each["status"] for name, each in told.items() if isinstance(each, dict) and "status" in each}


def typed(value: Any, like: Any) -> Any:
    """Return of an answer the fields that a client reads, after a check of their types. A tuple names several."""
    if isinstance(like, dict):
        return {name: typed(value[name], each) for name, each in like.items()}
    kinds = like if isinstance(like, tuple) else (like,)
    if value is None:
        assert None in kinds
    elif UUID in kinds:
        assert str(UUID(value)) == value
    elif datetime in kinds:
        assert recorded_exchanges.TIME.fullmatch(value)
    else:
        assert type(value) in kinds, (value, like)
    return value


def each(rows: Any, like: Any) -> Any:
    assert isinstance(rows, list)
    return [typed(row, like) for row in rows]


WALLET: Final = {
    "id": UUID, "name": str, "about": (str, None), "logo_url": (str, None), "created_at": datetime,
    "tokens_in_wallet": int, "cover_url": (str, None), "display_name": (str, None),
}  # fmt: skip
TRANSFER: Final = {
    "id": UUID, "state": str, "source_wallet": str, "destination_wallet": str, "originating_wallet": str,
    "token_count": int, "parameters": dict, "created_at": datetime, "closed_at": (datetime, None),
}  # fmt: skip
TRUST: Final = {
    "id": UUID, "type": str, "request_type": str, "state": str, "created_at": datetime, "updated_at": datetime,
    "originating_wallet": str, "actor_wallet": str, "target_wallet": str,
}  # fmt: skip


def test_the_wallet_admin_client_finds_what_it_reads(installation: Installation, browser: Browser) -> None:
    base = installation.address + path_in("wallet-admin-client", "REACT_APP_WALLET_API_ROOT")
    arguments = {
        "base": base, "key": installation.key, "wallet": "panel",
        "password": PASSWORD, "stranger": "stranger", "friend": "phone",
    }  # fmt: skip
    told = run(browser, installation.panel, "wallet_admin_client.js", arguments)

    # The errors among them: it treats 401 as the end of the session, and shows or tests the messages of the others.
    assert statuses(told) == {
        "refused_login": 401, "login": 200, "own": 200, "pending": 200, "badge": 200, "created": 201, "duplicate": 409,
        "managed": 200, "found": 200, "second_page": 200, "sent": 201, "offered": 202, "to_itself": 422,
        "transfers": 200, "all_transfers": 200, "asked": 201, "trusts": 200, "waiting": 200, "accepted": 200,
        "declined": 200, "deleted": 200, "not_its_own": 404, "patched": 200, "too_large": 413, "described": 200,
        "form": 415, "ended": 401,
    }  # fmt: skip
    assert told["duplicate"]["data"]["message"] == 'The wallet "grove" already exists'
    assert told["to_itself"]["data"]["message"] == "Cannot transfer to the same wallet as the originating one!"
    assert "File too large" in told["too_large"]["data"]["message"]
    assert [told[name]["ok"] for name in ("accepted", "declined", "deleted", "not_its_own")] == [True] * 3 + [False]

    claims = typed(told["claims"], {"id": UUID, "name": str, "created_at": datetime})
    own = typed(told["own"]["data"], {name: WALLET[name] for name in WALLET if name not in {"name", "created_at"}})
    assert (claims["name"], own["id"], told["own"]["data"]["wallet"]) == ("panel", claims["id"], "panel")

    managed, found, second = (told[name]["data"] for name in ("managed", "found", "second_page"))
    # A search also has the own wallet, which the client filters out.
    assert [row["name"] for row in each(found["wallets"], WALLET)] == ["grove", "panel"]
    assert [row["name"] for row in each(managed["wallets"], WALLET)] == ["grove", "panel"]
    assert [row["name"] for row in each(second["wallets"], WALLET)] == ["panel"]
    assert [typed(one["total"], int) for one in (managed, found, second)] == [2, 2, 2]

    assert told["pending"]["data"]["total"] == 0
    assert told["badge"]["data"]["total"] == 1
    assert [told[name]["data"]["state"] for name in ("sent", "offered")] == ["completed", "pending"]
    (offered,) = each(told["transfers"]["data"]["transfers"], TRANSFER)
    assert (told["transfers"]["data"]["total"], offered["destination_wallet"], offered["token_count"]) == (
        1,
        "stranger",
        2,
    )
    rows = each(told["all_transfers"]["data"]["transfers"], TRANSFER)
    assert (told["all_transfers"]["data"]["total"], len(rows)) == (2, 2)
    assert {row["state"] for row in rows} <= set(TransferState.values)

    (asked,) = each(told["trusts"]["data"]["trust_relationships"], TRUST)
    assert (told["trusts"]["data"]["total"], asked["target_wallet"], asked["state"]) == (1, "phone", "requested")
    (waiting,) = each(told["waiting"]["data"]["trust_relationships"], TRUST)
    assert (waiting["originating_wallet"], waiting["target_wallet"]) == ("stranger", "panel")
    assert [told[name]["data"]["state"] for name in ("accepted", "declined", "deleted")] == [
        "trusted",
        "cancelled_by_target",
        "cancelled_by_originator",
    ]

    described = told["described"]["data"]
    assert (described["display_name"], described["about"]) == ("Grüne Bäume", "<p>Trees &amp; <b>people</b></p>")
    assert (told["cover"], told["logo"]) == ([64, 32], [32, 32])
    assert {described["cover_url"], described["logo_url"]} == {
        told["patched"]["data"][name] for name in ("cover_url", "logo_url")
    }


def test_the_wallet_app_finds_what_it_reads(installation: Installation, browser: Browser) -> None:
    base = installation.proxy + path_in("wallet-app", "NEXT_PUBLIC_WALLET_APP_API")
    login = httpx.post(f"{base}/auth", json={"wallet": "walker", "password": PASSWORD}, timeout=60).raise_for_status()
    arguments = {
        "base": base, "bearer": login.json()["token"], "wallet": "walker", "receiver": "stranger",
        "manager": "stranger",
    }  # fmt: skip
    told = run(browser, installation.app, "wallet_app.js", arguments)

    assert statuses(told) == {
        "wallets": 200, "created": 201, "tokens": 200, "token": 200, "sent": 201, "history": 200, "offered": 202,
        "bundle": 202, "too_many": 409, "claimed": 422, "recent": 200, "pending": 200, "requested": 200,
        "filtered": 200, "one": 200, "its_tokens": 200, "cancelled": 200, "again": 409, "accepted": 200,
        "declined": 200, "patched": 200, "link": 201, "links": 200,
    }  # fmt: skip
    # Every refusal has the message that it shows.
    for name, status in statuses(told).items():
        if status >= 400:
            typed(told[name]["data"], {"message": str})
    assert told["too_many"]["data"]["message"] == "Do not have enough tokens to send"

    (own,) = each(told["wallets"]["data"]["wallets"], WALLET | {"tokens_available": int, "tokens_pending": int})
    assert (own["name"], own["tokens_in_wallet"], own["tokens_available"], own["tokens_pending"]) == (
        "walker", 10, 10, 0,
    )  # fmt: skip
    assert len(each(told["tokens"]["data"]["tokens"], {"id": UUID, "transfer_pending": bool})) == 10

    assert told["token"]["data"]["id"] == told["tokens"]["data"]["tokens"][0]["id"]
    (moved,) = each(
        told["history"]["data"]["history"],
        {"source_wallet_id": UUID, "destination_wallet_id": UUID, "processed_at": datetime},
    )
    assert moved["source_wallet_id"] == own["id"]

    assert [told[name]["data"]["token_count"] for name in ("sent", "offered", "bundle")] == [1, 1, 2]
    recent, pending, filtered = (
        each(told[name]["data"]["transfers"], TRANSFER) for name in ("recent", "pending", "filtered")
    )
    # What waits for the caller's answer comes first, as in the later version.
    assert [row["source_wallet"] for row in recent] == ["stranger", "stranger", "walker", "walker", "walker"]
    assert told["requested"]["data"]["transfers"] == []
    assert {row["id"] for row in filtered} == {row["id"] for row in pending}
    assert typed(told["one"]["data"], TRANSFER)["id"] == told["offered"]["data"]["id"]
    assert [row["id"] for row in told["its_tokens"]["data"]["tokens"]] == [told["tokens"]["data"]["tokens"][1]["id"]]
    assert [typed(told[name]["data"], {"state": str})["state"] for name in ("cancelled", "accepted", "declined")] == [
        "cancelled", "completed", "cancelled",
    ]  # fmt: skip
    assert told["patched"]["data"]["display_name"] == "Walker"


def test_the_shopify_extension_finds_what_it_reads(installation: Installation) -> None:
    shown = variables("POS-Shopify-Extension")
    base = installation.address + path_in("POS-Shopify-Extension", "TREETRACKER_WALLET_API_ROOT")
    name = shown["TREETRACKER_WALLET_NAME"]
    with httpx.Client(base_url=base, timeout=60) as shop:
        # Its second key has underscores, and is another header.
        shop.headers.update({"TREETRACKER-API-KEY": installation.key, "TREETRACKER_API_KEY": "of another service"})
        login = shop.post("/auth", json={"wallet": name, "password": PASSWORD})
        shop.headers["Authorization"] = f"Bearer {login.json()['token']}"
        opened = shop.post("/wallets", json={"wallet": "corner-shop"}).json()
        before = shop.get(f"/wallets/{opened['id']}").json()
        held = shop.get("/tokens?limit=100").json()["tokens"]
        parties = {"sender_wallet": name, "receiver_wallet": "corner-shop", "claim": False}
        sent = shop.post("/transfers", json={"tokens": [held[0]["id"]], **parties})
        bundle = shop.post("/transfers", json={"bundle": {"bundle": 2}, **parties})
        offered = shop.post(
            "/transfers", json={"tokens": [held[1]["id"]], **parties, "receiver_wallet": "stranger"}
        ).json()
        headers = {"Content-Type": "application/json"}
        accepted = shop.post(f"/transfers/{offered['id']}/accept", headers=headers)
        after = shop.get(f"/wallets/{opened['id']}").json()

    assert typed(opened, {"id": UUID, "wallet": str})["wallet"] == "corner-shop"
    assert len(each(held, {"id": UUID})) == 10
    assert [typed(one, {"wallet": str, "tokens_in_wallet": int}) for one in (before, after)] == [
        {"wallet": "corner-shop", "tokens_in_wallet": 0},
        {"wallet": "corner-shop", "tokens_in_wallet": 1},
    ]
    assert (sent.status_code, sent.json()["state"]) == (201, "completed")
    # It asks for bundles with a field that no version knows.
    assert (bundle.status_code, bundle.json()["message"]) == (422, '"bundle.bundle_size" is required')
    # Only the receiver may accept.
    assert accepted.json()["message"] == "Current account has no permission to accept this transfer"


def test_the_ios_sdk_finds_what_it_decodes_but_in_what_only_v1_10_25_writes(installation: Installation) -> None:
    token = {
        "id": UUID, "capture_id": UUID, "wallet_id": UUID, "transfer_pending": bool, "claim": bool,
        "transfer_pending_id": (UUID, None), "updated_at": (datetime, None),
    }  # fmt: skip
    base = f"{installation.address}{path_in('wallet-ios-sdk', 'rootURL')}wallet/"
    with httpx.Client(base_url=base, timeout=60) as phone:
        phone.headers["TREETRACKER-API-KEY"] = installation.key
        login = phone.post("auth", json={"wallet": "phone", "password": PASSWORD}).json()
        phone.headers["Authorization"] = f"Bearer {typed(login, {'token': str})['token']}"
        created = phone.post("wallets", json={"wallet": "watch"})
        taken = phone.post("wallets", json={"wallet": "watch"})
        listed = phone.get("wallets?limit=100").json()["wallets"]
        held = phone.get("tokens?wallet=phone&limit=100").json()["tokens"]
        parties = {"sender_wallet": "phone", "receiver_wallet": "watch"}
        sent = phone.post("transfers", json={"bundle": {"bundle_size": 1}, **parties})
        completed = phone.get("transfers?wallet=phone&limit=10").json()["transfers"]
        offered = phone.post(
            "transfers", json={"bundle": {"bundle_size": 1}, **parties, "receiver_wallet": "stranger"}
        ).json()

    assert (created.status_code, typed(created.json(), {"wallet": str})["wallet"]) == (200, "watch")
    # It takes any 403 for this one.
    assert taken.status_code == 403
    # Strings there; as in v1.10.3 and the later version they are numbers, and it cannot decode the list.
    assert [row["name"] for row in each(listed, {"name": str, "id": UUID, "tokens_in_wallet": int})] == [
        "watch",
        "phone",
    ]
    assert len(each(held, token)) == 10
    assert sent.status_code == 201
    names = {"originating_wallet": str, "source_wallet": str, "destination_wallet": str}
    like = {"id": UUID, "type": str, "state": str, "created_at": datetime, "active": bool, "claim": bool, **names}
    (row,) = each(completed, {**like, "closed_at": datetime})
    assert row["state"] == "completed"
    # A string there.
    assert completed[0]["parameters"] == {"bundle": {"bundleSize": 1}}
    # A time there; here an open transfer has none.
    assert offered["closed_at"] is None


def test_the_page_has_a_section_for_each_client_and_is_led_to() -> None:
    clients = re.findall(r"^\| \[([\w-]+)\]\(#([\w-]+)\)", PAGE, re.M)

    assert len(clients) == 4
    for name, anchor in clients:
        assert anchor == name.lower()
        assert variables(name), name
    for page in ("partners.md", "operations.md"):
        assert "](clients.md)" in (HERE.parents[1] / "docs" / page).read_text(encoding="utf-8"), page
