"""Requests of the CloudCoin API, and the answers to them."""

import base64
from typing import Any

from lockers import tasks
from lockers.raida.files import write_bin
from tests.api.caller import Caller, answer
from tests.lockers.conftest import Mint
from tests.support.api_description import misfits
from wallets.models import Wallet

CODE = "AAC-WS5I"
# The component of a task's result, by its type.
RESULTS = {"transfer": "CoinTransferResult"} | {
    kind: f"{kind.capitalize()}Result"
    for kind in ("put", "take", "peek", "import", "find", "break", "fix", "health", "echo", "export")
}


def work(started: tuple[int, Any]) -> str:
    """Check the beginning of a task as seed 000 shows it, work on it, and return its id."""
    status, body = started
    assert status == 200, body
    assert {name: body[name] for name in ("status", "progress")} == {"status": "running", "progress": 0}
    assert misfits("StartedTask", body) == []
    tasks.run(body["id"])
    return str(body["id"])


def ended(caller: Caller, task_id: str) -> dict[str, Any]:
    status, body = answer(caller.get(f"/api/v1/task/{task_id}"))
    assert status == 200
    assert answer(caller.get(f"/api/v1/tasks/{task_id}")) == (200, body)
    assert misfits("LockerTask", body) == []
    for result in [body[name] for name in ("data", "details") if name in body]:
        assert misfits(RESULTS[body["type"]], result) == [] or misfits("ReceiptResult", result) == []
    return dict(body)


def refused(status: int, message: str, **extra: Any) -> tuple[int, dict[str, Any]]:
    return status, {"status": "error", "error": True, "message": message, "code": status, **extra}


def give(caller: Caller, mint: Mint, *denominations: int) -> None:
    data = base64.b64encode(write_bin(mint(*denominations))).decode()
    assert caller.wallet is not None
    body = {"name": caller.wallet.name, "items": [{"type": "inline", "data": data}]}
    assert ended(caller, work(answer(caller.post("/api/v1/import", body))))["status"] == "completed"


def wallet_of(caller: Caller) -> Wallet:
    assert caller.wallet is not None
    return caller.wallet


def assert_refused(got: tuple[int, Any], status: int, message: str) -> None:
    assert got == (status, {"status": "error", "error": True, "message": message, "code": status})
