"""PostgreSQL is ended without a word and started again between two requests, and no client notices."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from config.children import Children
from config.embedded import Postgres, database_url
from tests.api.caller import PASSWORD
from tests.api.web_server import web_server

API_KEY = "a-key-of-a-partner-for-tests"
SEED = f"""
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from transfers import operations as transfers
from wallets import operations as wallets
wallets.create_api_key(name="partner", key="{API_KEY}")
wallets.create_wallet(name="bobby", password="{PASSWORD}")
transfers.issue_tokens(wallet=wallets.create_wallet(name="alice", password="{PASSWORD}"), count=100)
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
        subprocess.run([sys.executable, "-c", SEED], env=os.environ | self.environment, check=True)
        # Filled in a hurry; from here on what was acknowledged must be there after a crash.
        self.server.durable = True
        self.restart_immediately()

    def restart_immediately(self) -> None:
        """What `pg_ctl restart -m immediate` does: every connection is cut, and recovery replays the log."""
        child = self.server.child
        assert child is not None
        child.process.send_signal(signal.SIGQUIT)
        child.process.wait(timeout=30)
        self.server.start(self.children)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    state = Path(tempfile.mkdtemp(prefix="coppice-tests-"))
    state.chmod(0o711)
    try:
        with Children(state) as children:
            yield Cluster(state, children)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def test_no_client_notices_a_restart_between_two_requests(cluster: Cluster) -> None:
    with web_server(cluster.environment) as address, httpx.Client(base_url=f"http://{address}", timeout=30) as client:
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
