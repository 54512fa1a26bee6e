"""A 500 that seed 001 has for a code that opens nothing is no fault: it is counted and logged apart."""

import json
from typing import Any

import pytest

from config.ops import redis_status, request_metrics
from tests.api.caller import Caller, logged_in
from tests.chaos.worker import Worker
from tests.support.local_network import LocalNetwork
from wallets import operations

PEEK = "/api/transactions/locker/peek"
DOWNLOAD = "/api/transactions/locker/download"


@pytest.fixture
def caller(transactional_db: None, settings: Any) -> Caller:
    request_metrics.flush()
    with redis_status.redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete(request_metrics.KEY)
    return logged_in("alice", operations.create_api_key(name="partner")[1])


def counted() -> dict[tuple[str, str], dict[str, int]]:
    return {(kind.method, kind.route): kind.by_status for kind in request_metrics.traffic()}


def test_a_wrong_code_is_counted_apart_and_silent_servers_are_not(
    caller: Caller, network: LocalNetwork, settings: Any, capfd: Any, code: str, tmp_path: Any
) -> None:
    worker = Worker(network, tmp_path / "worker", has_beat=False)
    try:
        wrong = [
            caller.get(f"{PEEK}?locker_key={code}"),
            caller.post(PEEK, {"locker_key": code}),
            caller.post(DOWNLOAD, {"locker_key": code}),
            caller.post(DOWNLOAD, {"locker_key": code}, idempotency_key="k"),
        ]
    finally:
        worker.stop()
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    silent = caller.get(f"{PEEK}?locker_key={code}")

    assert [each.status_code for each in (*wrong, silent)] == [500] * 5
    assert counted() == {
        ("GET", PEEK): {"500-refused": 1, "500": 1},
        ("POST", PEEK): {"500-refused": 1},
        ("POST", DOWNLOAD): {"500-refused": 2},
    }
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"coppice.access"' in line]
    assert [(line["status"], line["error"], line.get("refused", False)) for line in lines] == [
        (500, "locker_code_refused", True),
        (500, "locker_code_refused", True),
        (500, "locker_code_refused", True),
        (500, "locker_code_refused", True),
        (500, "locker_peek_failed", False),
    ]
