"""What processes write to their logs, and to the request log when they end."""

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from django.db.models import F
from django.test import Client

from config.admin.models import Request
from config.dev.embedded import ROOT
from lockers import dispatch
from lockers.models import LockerTask
from tests.api.web_server import web_server
from tests.chaos.worker import Worker
from tests.lockers.conftest import alice, network, running_network
from tests.support.local_network import LocalNetwork
from wallets import operations as wallets
from wallets.models import Wallet

__all__ = ["alice", "network", "running_network"]

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE_SECONDS = 120
# Each printable character of ASCII, between words that can be found in any form of it.
SECRET = "HUSH " + "".join(map(chr, range(0x20, 0x7F))) + " HUSH"


def test_what_python_would_print_of_threads_and_of_logging_itself_is_not_printed() -> None:
    script = """
import asyncio, logging, logging.config, sys, threading
from config.ops import logs
logging.config.dictConfig(logs.settings(level="INFO"))
logs.log_uncaught_exceptions()
def fail(): raise ValueError(sys.argv[1])
thread = threading.Thread(target=fail); thread.start(); thread.join()
class Broken:
    def __del__(self): fail()
Broken()
logging.getLogger("coppice.x").info("%d", sys.argv[1])
logging.getLogger("a.library").info("%d", sys.argv[1])
async def main():
    asyncio.get_running_loop().call_soon(fail)
    asyncio.create_task(asyncio.sleep(0)).add_done_callback(lambda _: fail())
    await asyncio.sleep(0.01)
asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", script, SECRET], capture_output=True, text=True, cwd=ROOT, timeout=60)

    assert ran.returncode == 0, ran.stderr
    assert "HUSH" not in ran.stderr
    told = [json.loads(line) for line in ran.stderr.splitlines()]
    assert sum(line["event"] == "uncaught" for line in told) == 2
    assert sum("ValueError" in line.get("exception", "") for line in told) == 4


def lines_of(worker: Worker, task_id: str) -> list[dict[str, object]]:
    """What the worker logged of a task, once it has told of its end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        lines = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
        found = [line for line in lines if task_id in str(line["event"])]
        if any("ended" in str(line["event"]) for line in found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"the worker said nothing of {task_id}:\n{worker.log.read_text()}")


def test_the_id_of_a_request_is_in_the_lines_of_a_real_worker(
    client: Client, network: LocalNetwork, alice: Wallet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bearer = wallets.authenticate(name_or_id="alice", password="correct horse")

    def echo(request_id: str) -> str:
        answer = client.get("/api/v1/echo", headers={"Authorization": f"Bearer {bearer}", "X-Request-Id": request_id})
        assert answer.status_code == 200, answer.content
        return str(LockerTask.objects.get(request_id=request_id).pk)

    rung = echo("rung-by-the-request")
    monkeypatch.setattr(dispatch.current_app, "send_task", lambda *_, **__: None)
    lost = echo("rung-by-the-sweep")
    LockerTask.objects.update(rung_at=F("rung_at") - timedelta(seconds=10))
    worker = Worker(network, tmp_path / "worker")
    try:
        rung_lines, lost_lines = lines_of(worker, rung), lines_of(worker, lost)
    finally:
        worker.stop()

    assert {line["request_id"] for line in rung_lines} == {"rung-by-the-request"}
    assert {line["request_id"] for line in lost_lines} == {"rung-by-the-sweep"}


def test_a_web_process_writes_its_last_rows_when_it_ends() -> None:
    with web_server() as address:
        answer = httpx.get(f"http://{address}/wallets", headers={"X-Request-Id": "the-last"})
        assert answer.status_code == 401
    row = Request.objects.get(request_id="the-last")
    assert (row.route, row.status, row.error) == ("/wallets", 401, "api_key_missing")
