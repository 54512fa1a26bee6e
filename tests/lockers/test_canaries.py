"""
Sends secrets of every kind through the whole system, and searches everything that is stored or logged for them.

The product's web server, a Celery worker, the broker under watch, and the database: all real.
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from django.db import connection

from config.web import server
from lockers import vault
from lockers.models import Coin
from lockers.raida import codes
from lockers.raida.files import write_bin
from tests.lockers.conftest import Mint
from tests.ports import reserved_port
from tests.support.databases import database_url
from tests.support.local_network import LocalNetwork
from wallets import operations as wallets

CODE, WEAK_CODE, WRONG_CODE = "CANARY-Of-A-Transmit-Code-7", "CANARY-wk", "CANARY-Of-An-Empty-Locker"
PASSWORD = "canary-password-7f3a"
PATIENCE_SECONDS = 120


@pytest.fixture
def diary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@contextlib.contextmanager
def running(diary: Path, name: str, command: list[str], environment: dict[str, str]) -> Iterator[None]:
    with (diary / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


@contextlib.contextmanager
def watched(url: str, seen: list[str]) -> Iterator[None]:
    """Collect every command that the broker gets, with its arguments."""
    stop = threading.Event()
    client = redis.Redis.from_url(url)

    def watch(monitor: Any) -> None:
        while not stop.is_set():
            if monitor.connection.can_read(timeout=0.1):
                seen.append(str(monitor.next_command()["command"]))

    with client, client.monitor() as monitor:
        thread = threading.Thread(target=watch, args=(monitor,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class Client:
    def __init__(self, port: int) -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self.secrets: list[str] = []

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        return self.http.request(method, path, json=body, **more)

    def done(self, started: httpx.Response) -> dict[str, Any]:
        assert started.status_code == 200, started.text
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            task = dict(self.call("GET", f"/api/v1/task/{started.json()['id']}").json())
            if task["status"] != "running":
                return task
            time.sleep(0.05)
        raise AssertionError(f"still running: {task}")


def stored_everywhere() -> str:
    """Every row of every table as text; sealed columns are hexadecimal in it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        texts = []
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT row_to_json(found)::text FROM "{table}" AS found')
            texts += [row[0] for row in cursor.fetchall()]
    return "\n".join(texts)


def kept_by(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        return "\n".join(repr((key, client.dump(key))) for key in client.scan_iter("*"))


def shapes_of(secret: str | bytes) -> set[str]:
    """The forms in which a secret may be stored: as it is, in hexadecimal, base64, a URL, or as Python shows bytes."""
    raw = secret.encode() if isinstance(secret, str) else secret
    shapes = {raw.hex(), base64.b64encode(raw).decode().rstrip("=")[:-1], repr(raw)[2:-1]}
    return shapes | ({secret} if isinstance(secret, str) else set())


def test_no_secret_is_written_down_anywhere(
    network: LocalNetwork, mint: Mint, transactional_db: None, diary: Path
) -> None:
    for name in ("alice", "bobby"):
        wallets.create_wallet(name=name, password=PASSWORD)
    _, api_key = wallets.create_api_key(name="canary")
    records = mint(1, 0, 0, 0)
    broker = os.environ["REDIS_URL"]
    seen = list[str]()
    environment = os.environ | {
        "DATABASE_URL": database_url(),
        "DJANGO_SETTINGS_MODULE": "config.settings.test",
        "COPPICE_SECURE": "false",
        "COPPICE_LOG_LEVEL": "DEBUG",
        "COPPICE_RAIDA_HOSTS": ",".join(network.hosts),
        "COPPICE_RAIDA_TIMEOUT_SECONDS": "5",
    }
    environment.pop("PYTEST_XDIST_WORKER", None)
    worker = ["celery", "-A", "config", "worker", "-c", "1", "-l", "DEBUG", "--without-gossip", "--without-mingle"]
    with (
        reserved_port() as port,
        watched(broker, seen),
        running(diary, "web", server.command(port=port, is_reserved=True)[2:], environment),
        running(diary, "worker", worker, environment),
    ):
        client = Client(port)
        with client.http:
            _wait_for(client)
            secrets = _play(client, api_key, records)

    secrets += [number for record in records for number in record.ans]
    secrets += [key for code in (CODE, WEAK_CODE, WRONG_CODE) for key in codes.locker_keys(code)]
    secrets += [number for row in Coin.objects.all() for number in vault.open_numbers(row.secrets, coin_id=row.pk)]
    written = {
        "broker's traffic": "\n".join(seen),
        "broker": kept_by(broker),
        "database": stored_everywhere(),
        **{path.name: path.read_text(errors="replace") for path in diary.iterdir()},
    }
    assert "lockers.run" in written["broker's traffic"]
    assert '"route":"/api/v1/export"' in written["web.log"]
    assert '"route":"/api/transactions/locker/peek"' in written["web.log"]
    found = [
        (place, shape)
        for place, text in written.items()
        for secret in secrets
        for shape in shapes_of(secret)
        if shape in text
    ]
    assert found == []


def _wait_for(client: Client) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            client.call("GET", "/api/v1/echo")
            return
        time.sleep(0.1)
    raise AssertionError("the web server did not start")


def _play(client: Client, api_key: str, records: Any) -> list[str | bytes]:
    """Send every secret to every endpoint that takes one, valid or not; return them and those in the responses."""
    login = client.call(
        "POST", "/auth", {"wallet": "alice", "password": PASSWORD}, headers={"treetracker-api-key": api_key}
    )
    bearer = login.json()["token"]
    client.http.headers["authorization"] = f"Bearer {bearer}"
    content = write_bin(records)
    inline = {"name": "alice", "items": [{"type": "inline", "data": base64.b64encode(content).decode()}]}
    assert client.done(client.call("POST", "/api/v1/import", inline))["status"] == "completed"
    again = client.http.post("/api/v1/import", data={"name": "alice"}, files={"file": ("c.bin", content)})
    assert again.status_code == 422
    put = {"name": "alice", "amount": 10, "transmit_code": CODE}
    assert client.done(client.call("POST", "/api/v1/locker", put))["status"] == "completed"
    drawn = client.done(client.call("POST", "/api/v1/locker", {"name": "alice", "amount": 1}))["data"]["transmit_code"]
    weak = {"wallet": "alice", "locker_key": WEAK_CODE, "amount": 1}
    assert client.call("POST", "/api/transactions/locker/upload", weak).status_code == 200
    assert client.call("GET", f"/api/transactions/locker/peek?locker_key={CODE}").status_code == 200
    assert client.call("GET", f"/api/transactions/locker/peek?locker_key={WRONG_CODE}").status_code == 500
    assert client.call("POST", "/api/transactions/locker/peek", {"locker_key": WRONG_CODE}).status_code == 500
    client.done(client.call("GET", f"/api/v1/locker/{CODE}"))
    client.done(client.call("GET", f"/api/v1/locker/{WRONG_CODE}"))
    # What a client may get wrong: the method, the body, the path, the credentials.
    client.call("DELETE", f"/api/v1/locker/{CODE}")
    client.call("POST", f"/api/v1/locker/{CODE}", {"name": "nobody"})
    client.call("POST", f"/api/v1/locker/{CODE}/")
    client.call("GET", f"/api/v1/locker/{CODE}/x")
    client.call("GET", f"/api/v1//locker/{CODE}")
    client.call("GET", f"/api/v1/locker/{CODE}?x=1", headers={"authorization": f"Bearer {bearer}x"})
    client.call("GET", f"/api/transactions/locker/upload?locker_key={CODE}")
    client.call("POST", f"/api/transactions/locker/peek?locker_key={CODE}")
    client.http.post("/api/v1/locker", content=f'{{"transmit_code": "{CODE}", "amount": '.encode())
    client.call("POST", "/api/v1/locker", {**put, "amount": "1", "transmit_code": CODE + "\n"})
    taken = client.call("POST", "/api/v1/locker/take", {"name": "alice", "transmit_code": CODE})
    assert client.done(taken)["status"] == "completed"
    assert client.done(client.call("POST", f"/api/v1/locker/{WEAK_CODE}", {"name": "alice"}))["status"] == "completed"
    exported = client.call("POST", "/api/v1/export", {"name": "alice", "amount": 1, "type": "stack"}).json()
    file = client.call("GET", exported["data"]["url"])
    assert file.status_code == 200
    lockers = client.call("GET", "/api/v1/lockers").json()["lockers"]
    for locker in lockers:
        client.call("POST", f"/api/v1/lockers/{locker['id']}/code")
    numbers = [bytes.fromhex(number) for coin in json.loads(file.content)["cloudcoin"] for number in coin["an"]]
    return [CODE, WEAK_CODE, WRONG_CODE, PASSWORD, api_key, bearer, bearer.rpartition(".")[2], drawn, *numbers]
