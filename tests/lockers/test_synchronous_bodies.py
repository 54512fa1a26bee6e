"""The body of a task in the form of the second product, field by field."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from config.api.cloudcoin import synchronous_serializers as bodies
from lockers.models import LockerTask
from lockers.queries import TaskView
from lockers.states import Step, TaskKind, TaskState
from wallets.models import Wallet

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FINISHED = BEGUN + timedelta(milliseconds=61_250)


@pytest.mark.parametrize(
    ("state", "finished_at", "status", "is_ended"),
    [
        (TaskState.RUNNING, None, "running", False),
        (TaskState.COMPLETED, FINISHED, "success", True),
        (TaskState.ERROR, FINISHED, "failed", True),
    ],
)
def test_a_task_tells_its_times_and_the_servers_that_answered(
    state: TaskState, finished_at: datetime | None, status: str, is_ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies.timezone, "now", lambda: BEGUN + timedelta(milliseconds=1_500))
    task = LockerTask(
        id=uuid4(),
        kind=TaskKind.PUT,
        state=state,
        step=Step.SENDING,
        progress=45,
        wallet=Wallet(name="alice"),
        receipt_id="ab" * 16,
        created_at=BEGUN,
        finished_at=finished_at,
        deadline=BEGUN + timedelta(seconds=80),
        # Silent, unreached and unasked servers have not answered.
        result={"raida": "ppppffebb" + "n" * 10 + "d" * 3 + "u" * 3},
    )

    body: dict[str, Any] = bodies.core_task(TaskView(task, [], None))

    assert body["status"] == "success"
    payload, data = body["payload"], body["payload"].pop("data")
    assert payload == {
        "id": str(task.pk),
        "status": status,
        "progress": 45,
        "message": bodies.DOING[Step.SENDING],
        "raida_responded": 9,
        "elapsed_ms": 61_250 if is_ended else 1_500,
        "timeout_ms": 80_000,
        "raida_total": 25,
    }
    head = {"phase": "sending", "wallet_path": "alice", "receipt_id": "ab" * 16}
    assert head.items() <= data.items()
    assert (len(data) > len(head)) is is_ended
