"""One id finds a request in the answer, in the row of the task that it began, and in the worker's log."""

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.test import Client

from lockers import dispatch
from lockers.models import LockerTask
from tests.chaos.worker import Worker
from tests.lockers.conftest import alice, network, running_network
from tests.support.local_network import LocalNetwork
from wallets import operations as wallets
from wallets.models import Wallet

__all__ = ["alice", "network", "running_network"]

PATIENCE_SECONDS = 120


@pytest.mark.parametrize("given", ["4f6f2f9c-3d2b-4b52-9d0a-0c5d2f7f7a11", "a", "A" * 64])
def test_a_well_formed_id_is_taken_over(client: Client, given: Any) -> None:
    assert client.get("/livez", headers={"X-Request-Id": given})["X-Request-Id"] == given


@pytest.mark.parametrize("given", [None, "", "A" * 65, "a b", "a_b", "é", 'x"}', "x\ny", "１２"])
def test_any_other_id_is_replaced(client: Client, given: Any) -> None:
    answer = client.get("/livez", headers={} if given is None else {"X-Request-Id": given})

    assert answer["X-Request-Id"] != given
    assert len(answer["X-Request-Id"]) == 16
    assert int(answer["X-Request-Id"], 16) >= 0


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


@pytest.mark.django_db(transaction=True)
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
