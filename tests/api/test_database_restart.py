"""PostgreSQL is ended without a word and started again, between two requests and under load. Nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from config.dev.embedded import ROOT, database_url, state_directory
from config.dev.private_servers import Postgres
from config.dev.processes import Children
from tests.api.caller import PASSWORD
from tests.api.web_server import web_server
from tests.support.databases import database_url as a_test_database

API_KEY = "a-key-of-a-partner-for-tests"
SEED = f"""
import django
django.setup()
from transfers import operations as transfers
from wallets import operations as wallets
wallets.create_api_key(name="partner", key="{API_KEY}")
wallets.create_wallet(name="bobby", password="{PASSWORD}")
transfers.issue_tokens(wallet=wallets.create_wallet(name="alice", password="{PASSWORD}"), count=2000)
# A server that is not durable yet may forget what it acknowledged last.
from django.db import connection
connection.cursor().execute("CHECKPOINT")
"""


class Cluster:
    """A PostgreSQL of this test alone, which may be killed."""

    def __init__(self, state: Path, children: Children) -> None:
        self.children = children
        self.server = Postgres(state, durable=False)
        self.environment = {"DATABASE_URL": database_url(state)}
        self.server.start(children)
        self._make_tables()
        subprocess.run([sys.executable, "-c", SEED], env=os.environ | self.environment, check=True)
        # Filled in a hurry; from here on what was acknowledged must be there after a crash.
        self.server.durable = True
        self.restart_immediately()

    def _make_tables(self) -> None:
        """Copy those of the tests, or migrate if the tests run on the server of DATABASE_URL, of any version."""
        if os.environ["DATABASE_URL"] != database_url(state_directory()):
            command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
            subprocess.run(command, env=os.environ | self.environment, cwd=ROOT, check=True)
            return
        programs = self.server.binaries().directory
        dump = subprocess.run(
            [programs / "pg_dump", "--no-owner", f"--dbname={a_test_database()}"], capture_output=True, check=True
        )
        subprocess.run(
            [programs / "psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={self.environment['DATABASE_URL']}"],
            input=dump.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def restart_immediately(self) -> None:
        """What `pg_ctl restart -m immediate` does: every connection is cut, and recovery replays the log."""
        child = self.server.child
        assert child is not None
        child.process.send_signal(signal.SIGQUIT)
        child.process.wait(timeout=60)
        self.server.start(self.children)


@pytest.fixture(scope="module")
def cluster(django_db_setup: None) -> Iterator[Cluster]:
    state = Path(tempfile.mkdtemp(prefix="coppice-tests-"))
    state.chmod(0o711)
    try:
        with Children(state) as children:
            yield Cluster(state, children)
    finally:
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="module")
def address(cluster: Cluster) -> Iterator[str]:
    """The web server of all tests here."""
    with web_server(cluster.environment) as address:
        yield address


def test_no_client_notices_a_restart_between_two_requests(cluster: Cluster, address: str) -> None:
    with httpx.Client(base_url=f"http://{address}", timeout=60) as client:
        client.headers["TREETRACKER-API-KEY"] = API_KEY
        token = client.post("/auth", json={"wallet": "alice", "password": PASSWORD}).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        send = {"bundle": {"bundle_size": 1}, "sender_wallet": "alice", "receiver_wallet": "bobby"}

        def both(number: int) -> set[int]:
            read = client.get("/tokens?limit=1").status_code
            # One in two asks for everything in one transaction, which opens its connection elsewhere.
            headers = {"Idempotency-Key": f"{number}"} if number % 2 else {}
            return {read, client.post("/transfers", json=send, headers=headers).status_code}

        with ThreadPoolExecutor(8) as threads:
            before = set().union(*threads.map(both, range(16)))
            cluster.restart_immediately()
            after = set().union(*threads.map(both, range(100, 116)))
        pending = client.get("/transfers?limit=100&state=pending").json()["transfers"]

    assert before == {200, 202}
    assert after == {200, 202}
    assert len(pending) == 32


CLIENTS = 6
AUDIT = """
import django
django.setup()
import json
from transfers import audit
from transfers.models import Transfer
from wallets.models import Token
print(json.dumps({
    "findings": [str(finding) for finding in audit.audit_findings()],
    "transfers": [str(pk) for pk in Transfer.objects.values_list("pk", flat=True)],
    "tokens": Token.objects.count(),
}))
"""


def look(cluster: Cluster) -> dict[str, Any]:
    """Audit the ledger in a separate process; return the findings, the ids of transfers and the number of tokens."""
    command = [sys.executable, "-c", AUDIT]
    shown = subprocess.run(command, env=os.environ | cluster.environment, check=True, capture_output=True, text=True)
    books: dict[str, Any] = json.loads(shown.stdout.splitlines()[-1])
    return books


class Client:
    """Sends one transfer after the other, each with a key, and repeats it until it is acknowledged."""

    def __init__(self, name: str, address: str, bearer: str) -> None:
        self.name, self.acknowledged, self.unanswered = name, list[str](), 0
        self.http = httpx.Client(base_url=f"http://{address}", timeout=60)
        self.http.headers.update({"TREETRACKER-API-KEY": API_KEY, "Authorization": f"Bearer {bearer}"})

    def run(self, until: threading.Event) -> None:
        number = 0
        while not until.is_set():
            number += 1
            self.acknowledged.append(self.transfer(f"{self.name}-{number}"))

    def transfer(self, key: str) -> str:
        send = {"bundle": {"bundle_size": 1}, "sender_wallet": "alice", "receiver_wallet": "bobby"}
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            answer = self.http.post("/transfers", json=send, headers={"Idempotency-Key": key})
            if answer.status_code == 202:
                return str(answer.json()["id"])
            # While PostgreSQL is away, and while the first attempt may still be at it.
            assert answer.status_code in {503, 409}, answer.text
            self.unanswered += 1
            time.sleep(0.05)
        raise AssertionError(f"{key} was never acknowledged")


def test_under_load_every_acknowledged_transfer_is_there_exactly_once(cluster: Cluster, address: str) -> None:
    with psycopg.connect(cluster.environment["DATABASE_URL"]) as session:
        before = {str(transfer) for (transfer,) in session.execute("SELECT id FROM transfers_transfer")}
        (tokens,) = session.execute("SELECT count(*) FROM wallets_token").fetchone()
    until = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as threads:
        credentials = {"wallet": "alice", "password": PASSWORD}
        headers = {"TREETRACKER-API-KEY": API_KEY}
        bearer = httpx.post(f"http://{address}/auth", json=credentials, headers=headers, timeout=60).json()["token"]
        clients = [Client(f"client-{number}", address, bearer) for number in range(CLIENTS)]
        running = [threads.submit(client.run, until) for client in clients]
        try:
            for _ in range(2):
                so_far = sum(len(client.acknowledged) for client in clients)
                wait_until(lambda so_far=so_far: sum(len(client.acknowledged) for client in clients) > so_far + 40)
                cluster.restart_immediately()
        finally:
            until.set()
        for each in running:
            each.result(timeout=90)
        for client in clients:
            client.http.close()
    after = look(cluster)

    acknowledged = [transfer for client in clients for transfer in client.acknowledged]
    assert len(set(acknowledged)) == len(acknowledged) > 80
    assert sorted(set(after["transfers"]) - before) == sorted(acknowledged)
    assert sum(client.unanswered for client in clients) > 0, "no client noticed the restarts"
    assert after["findings"] == []
    assert after["tokens"] == tokens


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
