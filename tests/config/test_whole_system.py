"""
The whole system, started once: it is ready when it says so, logs no secret, and ends when one of its parts dies.

It runs at the log level DEBUG, and clients send secrets wherever they may put text: no log holds a word of them.
Each printable ASCII character that is no letter or digit is followed by a word, so that whatever is cut out of a text
at any of them leaves one behind.
"""

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import string
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import httpx
import pytest

from config.dev.embedded import read_running
from tests.config.conftest import bare_environment_of, left_behind, manage, processes_of, state_of_a_system
from tests.support.api_description import api_description
from tests.support.launcher import read_until, up

# As long as the whole system needs on a busy machine.
pytestmark = pytest.mark.timeout(900)

WORD: Final = "HUSHED"
MARKS: Final = " " + string.punctuation
# All letters and digits, and each other character with a word behind it.
CANARY: Final = WORD + string.ascii_letters + string.digits + "".join(f"{mark}{WORD}" for mark in MARKS)
# As long as a password may be.
PASSWORDS: Final = [
    "".join(f"{mark}{WORD}" for mark in MARKS[start : start + 4]) for start in range(0, len(MARKS), 4)
] + [WORD + string.ascii_letters[start : start + 26] for start in (0, 26)]
DOCUMENT: Final = api_description()
HEADERS: Final = (
    "Authorization", "Treetracker-Api-Key", "Idempotency-Key", "X-Request-Id", "Host", "Referer", "Origin",
    "User-Agent", "Cookie",
    "Accept", "Accept-Language", "Content-Type", "X-Forwarded-For", "X-Forwarded-Proto", "X-Csrftoken", "If-None-Match",
    "If-Modified-Since", "Range", "Expect", "Content-Length", "Transfer-Encoding", "Content-Encoding", "Connection",
    "Upgrade",
    f"{WORD}-Header",
)  # fmt: skip
PATIENCE_SECONDS: Final = 60


class Client:
    """Sends requests, whole and broken ones, and counts them."""

    def __init__(self, base: str, logins: dict[str, Any]) -> None:
        self.http = httpx.Client(base_url=base, timeout=60)
        self.address = ("127.0.0.1", int(base.rpartition(":")[2]))
        self.logins = logins
        bearer = self.log_in("alice", logins["passwords"]["alice"]).json()["token"]
        self.credentials = {"Authorization": f"Bearer {bearer}", "Treetracker-Api-Key": logins["api_key"]}
        self.secrets = [bearer, logins["api_key"], logins["operator_password"], *logins["passwords"].values()]

    def log_in(self, wallet: Any, password: Any) -> httpx.Response:
        headers = {"Treetracker-Api-Key": self.logins["api_key"]}
        return self.http.post("/auth", json={"wallet": wallet, "password": password}, headers=headers)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        headers = {**self.credentials, **more.pop("headers", {})}
        return self.http.request(method, path, json=body, headers=headers, **more)

    def raw(self, start: str, *lines: str, body: str = "") -> None:
        """Send what no library would; any answer, or none, will do."""
        with socket.create_connection(self.address, timeout=60) as connection:
            named = {line.partition(":")[0] for line in lines}
            host = [] if "Host" in named else ["Host: localhost"]
            head = "\r\n".join([start, *host, *lines, "Connection: close", "", ""])
            connection.sendall((head + body).encode("latin-1"))
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(65536):
                    pass
            except OSError:
                return

    def done(self, started: httpx.Response) -> dict[str, Any]:
        assert started.status_code == 200, started.text
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            task = dict(self.call("GET", f"/api/v1/task/{started.json()['id']}").json())
            if task["status"] != "running":
                return task
            time.sleep(0.05)
        raise AssertionError(task)


def with_canary(schema: dict[str, Any]) -> Any:
    schema = schema.get("oneOf", [schema])[0]
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        return {name: with_canary(each) for name, each in fields.items()} | {f"{CANARY} field": CANARY}
    return [with_canary(schema["items"])] if schema.get("type") == "array" else CANARY


def every_endpoint(client: Client) -> None:
    """Each with the canary as every parameter, and as every field of the body, with and without credentials."""
    # A slash would make another path; those come below.
    quoted = quote(CANARY.replace("/", ""), safe="")
    for path, methods in DOCUMENT["paths"].items():
        url = re.sub(r"\{\w+\}", lambda _: quoted, path)
        for method, description in methods.items():
            named = [each["name"] for each in description.get("parameters", []) if each["in"] == "query"]
            query = "&".join(f"{name}={quoted}" for name in [*named, quoted])
            schemas = [each["schema"] for each in (description.get("requestBody") or {}).get("content", {}).values()]
            body = with_canary(schemas[0]) if schemas else None
            client.call(method.upper(), url, body)
            client.call(method.upper(), f"{url}?{query}", body, headers={"Idempotency-Key": secrets.token_hex(8)})
            client.http.request(method.upper(), f"{url}?{query}", json=body)
        client.call("DELETE" if "delete" not in methods else "PUT", url)
        client.call("OPTIONS", f"{url}/{quoted}")


def requests_that_are_wrong(client: Client) -> None:
    quoted = quote(CANARY, safe="")
    pieces = [
        quoted,
        quote_plus(CANARY),
        quote(CANARY),
        *(f"{WORD}{mark}{WORD}" for mark in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ]
    for piece in pieces:
        for place in (
            "/",
            "/api/v1/locker/",
            "/api/v1//locker/",
            "/wallets/",
            "/admin/",
            "/static/",
            "/docs/",
            "/livez?",
            "/?",
        ):
            client.raw(f"GET {place}{piece} HTTP/1.1")
    client.raw(f"GET /api/v1/locker/{CANARY} HTTP/1.1")
    client.raw(f"GET http://{WORD}.example/{quoted} HTTP/1.1")
    client.raw(f"{WORD} /wallets HTTP/1.1")
    client.raw(f"{CANARY}")
    client.raw(f"GET / {WORD}/1.1")
    client.raw("GET /wallets HTTP/1.1", f"{WORD} no colon {CANARY}")
    for name in HEADERS:
        client.raw("GET /wallets?limit=1 HTTP/1.1", f"{name}: {CANARY}")
        # An id that is well-formed is taken over: it is there for finding its request in the logs.
        if name != "X-Request-Id":
            client.raw("POST /admin/login/ HTTP/1.1", f"{name}: {WORD}", body=CANARY)
        client.raw("POST /wallets HTTP/1.1", f"{name}: Bearer {CANARY}", "Content-Type: application/json")
    for body in (f'{{"wallet": "{WORD}', f'{{"{WORD}": 1, "{WORD}": 2}}', f'["{WORD}"', WORD, f'"{WORD}\\u0000"'):
        client.http.post(
            "/wallets", content=body.encode(), headers={**client.credentials, "Content-Type": "application/json"}
        )
    for path in ("/api/v1/import", "/wallets/batch-create-wallet", "/wallets/batch-transfer"):
        for field in ("csv", "file", quote(CANARY)):
            files = {field: (f"{CANARY}.csv", f"wallet_name,{CANARY}\n{CANARY},1\n".encode(), f"text/{WORD}")}
            client.http.post(
                path, data={"name": CANARY, "sender_wallet": CANARY}, files=files, headers=client.credentials
            )


def codes_passwords_and_names(client: Client, coins: bytes) -> None:
    """What is right, with secrets that are in use."""
    inline = {
        "name": "alice",
        "items": [{"type": "inline", "name": f"{CANARY[:200]}", "data": base64.b64encode(coins).decode()}],
    }
    assert client.done(client.call("POST", "/api/v1/import", inline))["status"] == "completed"
    put = {"name": "alice", "amount": 1, "transmit_code": CANARY, "tag": CANARY[:250]}
    assert client.done(client.call("POST", "/api/v1/locker", put))["status"] == "completed"
    weak = {"wallet": "alice", "locker_key": WORD, "amount": 1, "memo": CANARY[:250]}
    assert client.call("POST", "/api/transactions/locker/upload", weak).status_code == 200
    for code in (CANARY, CANARY[::-1].replace(WORD[::-1], WORD)):
        quoted = quote(code, safe="")
        # A slash in it makes another path.
        client.call("GET", f"/api/v1/locker/{quoted}")
        client.done(client.call("GET", f"/api/v1/locker/{quote(code.replace('/', ''), safe='')}"))
        client.call("GET", f"/api/transactions/locker/peek?locker_key={quoted}")
        client.call("POST", "/api/transactions/locker/download", {"locker_key": f"{code} and no locker"})
        client.done(client.call("POST", "/api/v1/locker/take", {"name": "alice", "transmit_code": code}))
    client.call("POST", "/wallets", {"wallet": f"{WORD}-managed"})
    for name in (f"{WORD}-managed", CANARY, f"{WORD} {WORD}", f"{WORD}é"):
        client.call("POST", "/wallets", {"wallet": name})
        client.call(
            "POST", "/transfers", {"sender_wallet": name, "receiver_wallet": name, "bundle": {"bundle_size": 1}}
        )
        client.call("GET", f"/api/v1/wallets/{quote(name, safe='')}/statement")
        client.log_in(name, CANARY[:32])
    for password in PASSWORDS:
        client.log_in(f"{WORD}{password}", password)
    exported = client.call("POST", "/api/v1/export", {"name": "alice", "amount": 1, "type": "stack"}).json()
    file = client.call("GET", exported["data"]["url"]).json()
    client.secrets += [number for coin in file["cloudcoin"] for number in coin["an"]]
    for locker in client.call("GET", "/api/v1/lockers").json()["lockers"]:
        client.call("POST", f"/api/v1/lockers/{locker['id']}/code")


def the_desk(client: Client) -> None:
    with httpx.Client(base_url=client.http.base_url, timeout=60, follow_redirects=True) as desk:
        desk.get("/admin/login/")
        form = {
            "csrfmiddlewaretoken": desk.cookies["csrftoken"],
            "username": CANARY,
            "password": CANARY,
            "next": f"/{CANARY}",
        }
        desk.post("/admin/login/", data=form)
        desk.post("/admin/login/", data={**form, "csrfmiddlewaretoken": CANARY}, headers={"Referer": f"http://{WORD}/"})
        operator = {"username": client.logins["operator"], "password": client.logins["operator_password"]}
        assert desk.post("/admin/login/", data={**form, **operator, "next": "/admin/"}).status_code == 200
        client.secrets.append(desk.cookies["sessionid"])
        for page in ("wallets/wallet", "wallets/token", "lockers/lockertask", "lockers/locker", CANARY):
            for query in (
                f"q={quote(CANARY, safe='')}",
                f"{quote(CANARY, safe='')}=1",
                f"o={WORD}",
                f"id__exact={WORD}",
            ):
                desk.get(f"/admin/{quote(page)}/?{query}")
            desk.get(f"/admin/{quote(page)}/{quote(CANARY, safe='')}/change/")
        desk.post("/admin/logout/", data={**form, "csrfmiddlewaretoken": desk.cookies["csrftoken"]})


def shapes_of(secret: str) -> set[str]:
    raw = secret.encode()
    core = base64.b64encode(raw).decode().rstrip("=")[:-1]
    return {secret, quote(secret, safe=""), raw.hex(), core, json.dumps(secret)[1:-1], repr(raw)[2:-1]}


@dataclass
class System:
    """The system that runs, its directory, its environment, and what it printed while it started."""

    process: "subprocess.Popen[str]"
    state: Path
    environment: dict[str, str]
    printed: str

    @property
    def base(self) -> str:
        base = re.search(r"http://127\.0\.0\.1:\d+", self.printed)
        assert base is not None
        return base.group()

    @cached_property
    def ended(self) -> tuple[int, str]:
        """Kill beat, once; return the exit status of the launcher and what it printed at the end."""
        beat = next(process for process in processes_of(self.state) if "beat" in process.command.split())
        os.kill(beat.pid, signal.SIGKILL)
        assert self.process.stdout is not None
        rest = self.process.stdout.read()
        return self.process.wait(timeout=60), rest


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with state_of_a_system() as state:
        environment = {
            **bare_environment_of(state), "COPPICE_LOG_LEVEL": "DEBUG", "COPPICE_RAIDA_TIMEOUT_SECONDS": "2",
        }  # fmt: skip
        with up(environment) as process:
            yield System(process, state, environment, read_until(process, "Ctrl-C stops the system"))


def test_the_system_is_ready_when_it_says_so(system: System) -> None:
    with urllib.request.urlopen(f"{system.base}/readyz", timeout=60) as answer:
        assert set(json.load(answer).values()) == {"ok"}
    lines = [line for line in system.printed.splitlines() if line.startswith(("export ", "curl "))]
    names = [line.split("=")[0] for line in lines]
    assert names[:-1] == [
        f"export {name}" for name in ("COPPICE", "API_KEY", "ALICE_PASSWORD", "BOB_PASSWORD", "CAROL_PASSWORD")
    ]
    if shutil.which("curl"):
        pasted = subprocess.run(["/bin/sh", "-euc", "\n".join(lines)], capture_output=True, text=True, timeout=60)
        assert list(json.loads(pasted.stdout)) == ["token"]

    second = manage("up", environment=system.environment)
    assert second.returncode == 1
    assert f"Coppice already runs from {system.state} at {system.base}" in second.stdout

    examined = manage("doctor", environment=system.environment)
    assert "All checks passed." in examined.stdout
    assert examined.returncode == 0


def test_no_log_of_any_process_holds_a_word_that_a_client_sent(system: System) -> None:
    running = read_running(system.state)
    assert running is not None
    coins = system.state / "coins.bin"
    minted = manage(
        "mint_coins", "--out", str(coins), "--coins", "1x8", "--base-port", str(running.raida_port),
        environment=system.environment,
    )  # fmt: skip
    assert minted.returncode == 0, minted.stderr
    client = Client(system.base, json.loads((system.state / "demo.json").read_text()))
    with contextlib.closing(client.http):
        codes_passwords_and_names(client, coins.read_bytes())
        every_endpoint(client)
        requests_that_are_wrong(client)
        the_desk(client)
    _, ended = system.ended
    logs = {path.name: path.read_text(errors="replace") for path in (system.state / "log").iterdir()}
    logs["launcher"] = ended

    client.secrets += [coins.read_bytes()[start : start + 16].hex() for start in range(39, 439, 16)]
    words = {
        WORD,
        WORD.encode().hex(),
        quote(WORD + " ", safe=""),
        *(shape for each in client.secrets for shape in shapes_of(each)),
    }
    found = {
        (name, line[:300]) for name, text in logs.items() for line in text.splitlines()
        if any(word.lower() in line.lower() for word in words)
    }  # fmt: skip
    assert found == set()
    # That they were written at all.
    assert {"web.log", "worker.log", "beat.log", "postgresql.log", "valkey.log", "raida.log"} <= logs.keys()
    accesses = [json.loads(line) for line in logs["web.log"].splitlines() if '"coppice.access"' in line]
    # Seed 000 has the singular in a path, which may be written with an s.
    routes = {line["route"].replace("/tasks/", "/task/") for line in accesses}
    assert {re.sub(r"^/wallet(?=/)", "", path) for path in DOCUMENT["paths"]} - routes == set()
    assert {200, 400, 401, 403, 404, 405, 422, 500} <= {line["status"] for line in accesses}
    assert any(line.get("refused") for line in accesses)
    assert [line for line in accesses if line["status"] >= 500 and not line.get("refused")] == []
    assert '"level":"debug"' in logs["web.log"] + logs["worker.log"]
    assert "lockers.run" in logs["worker.log"] or "begins its attempt" in logs["worker.log"]


def test_a_part_that_dies_ends_the_system_with_a_sentence(system: System) -> None:
    status, rest = system.ended

    assert status == 1
    assert f"beat was killed by SIGKILL. Its log: {system.state}/log/beat.log" in rest
    assert left_behind(system.state) == []
