"""
The end of a task that takes an expired locker's coins back: which of the others have left the locker.

A coin that the task did not get may have been taken by another holder of the code, or servers may be silent. Only 13
servers that hold neither the locker's key nor the number from before the put prove that it was taken. A coin that a
wallet here claims is left out: its servers may hold the number of that claim, and the claim's own task decides.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from lockers import competing_claims
from lockers.models import Coin, Locker
from lockers.raida.statuses import QUORUM
from lockers.states import CoinState
from lockers.worker import health_check
from lockers.worker.broadcast import TaskRun
from lockers.worker.messages import Reply
from lockers.worker.task_store import BATCH_COINS


def conclude(task_run: TaskRun, locker: Locker, *, further: Mapping[str, Any] | None = None) -> None:
    """
    Ask the servers about the coins that are left in the locker that the task empties, and end the task.

    `further` is added to the result.
    """
    locked = Coin.objects.filter(locker=locker, state=CoinState.LOCKED)
    rows = list(competing_claims.unclaimed(locked).order_by("id"))
    gone: list[UUID] = []
    for start in range(0, len(rows), BATCH_COINS):
        page = rows[start : start + BATCH_COINS]
        told = health_check.ask_locked(page, wallet_id=task_run.task.wallet_id, question=task_run.question)
        gone += [
            row.pk
            for row, each in zip(page, told, strict=True)
            if sum(reply is Reply.HAS_NEITHER for reply in each.values()) >= QUORUM
        ]
    task_run.conclude(gone=gone, further=further)
