"""Tasks that have ended."""

import secrets
from datetime import timedelta

from django.utils import timezone

from lockers import current_results, task_results
from lockers.models import Coin, LockerTask, ReceiptLine
from lockers.states import TaskState
from wallets.models import Wallet

COIN = 10**8


def a_task(wallet: Wallet, kind: str, *ended_as: str, amount: int | None = 2 * COIN, numbers: int = 1000) -> LockerTask:
    """A task that has ended with coins of 1 in these states, told as the worker tells it."""
    now = timezone.now()
    task = LockerTask.objects.create(
        kind=kind, wallet=wallet, actor=wallet, state=TaskState.ERROR, step="done", amount=amount,
        receipt_id=secrets.token_hex(16), deadline=now + timedelta(minutes=1), finished_at=now,
    )  # fmt: skip
    for number, state in enumerate(ended_as, start=numbers):
        ReceiptLine.objects.create(task=task, denomination=0, serial_number=number, pown="n" * 25, state=state)
        if state in ("limbo", "errored"):
            Coin.objects.get_or_create(
                denomination=0, serial_number=number,
                defaults={"wallet": wallet, "state": state, "origin": "import", "secrets": b"x", "proposed": b"x"},
            )  # fmt: skip
    tally, _, _ = current_results.as_it_is_now(task)
    state, message, result = task_results.verdict(task, tally, answered=25)
    LockerTask.objects.filter(pk=task.pk).update(
        state=state, message=message, result=result, progress=100 if state == TaskState.COMPLETED else 99
    )
    return LockerTask.objects.get(pk=task.pk)
