"""What an operator may do with a task: begin what is left of it again, undo it, or mark it as seen."""

from typing import Any

from django.db.models import Count
from django.db.models.functions import Now
from django.utils import timezone

from lockers import dispatch, export_queries, reports, retry_plan, vault
from lockers.models import Coin, LockerTask
from lockers.operations import break_coin, echo, export, find, fix, health, peek, put, take
from lockers.raida.coins import HIGHEST_DENOMINATION, LOWEST_DENOMINATION, total_value, value_of
from lockers.states import CoinState, LockerState, TaskKind, TaskState
from wallets.errors import NotPossible


def state_of(task: LockerTask) -> dict[str, Any]:
    """Return what an operator's decision on a task rests on, as JSON can hold it."""
    left = retry_plan.Remaining() if task.state == TaskState.RUNNING else retry_plan.of(task)
    return {
        "state": task.state,
        "left_to_do": left.todo,
        "units_left": left.units,
        "unknown_coins": left.unknown_coins,
        "later_puts": left.later_puts,
        "units_in_locker": _units_in_locker(task),
        "coins_in_file": _coins_in_file(task),
        "attempt": task.attempt,
        "coins": task.coins.count(),
        "locker": task.locker.state if task.locker else None,
    }


def _units_in_locker(task: LockerTask) -> int:
    """Return what the locker of a task still holds, as far as is known."""
    if task.locker_id is None:
        return 0
    held = Coin.objects.filter(locker_id=task.locker_id, state=CoinState.LOCKED).values_list("denomination")
    return total_value(dict(held.annotate(number=Count("id"))))


def _coins_in_file(task: LockerTask) -> int:
    if task.kind != TaskKind.EXPORT or task.state != TaskState.COMPLETED:
        return 0
    return len(export_queries.coins_in_file(export=task.export))


def retry(task: LockerTask) -> LockerTask:
    """
    Enqueue an open task that no worker has, or begin what is left of an ended one as a new task; return that.

    The caller has locked the task's row and asked `retry_plan.why_not_retry`. A put that is begun again fills a new
    locker with a new code, with the coins that were not stored and are back in the wallet; the locker expires when the
    first one would have, and the put is refused if that is too soon.

    :raises wallets.errors.NotPossible: a task of this kind ends when it begins
    :raises wallets.errors.DomainError: the operation that begins such a task refuses it
    """
    if task.state == TaskState.RUNNING:
        dispatch.enqueue_on_commit(task.pk)
        return task
    wallet = task.wallet
    name = str(wallet.pk)
    match task.kind:
        case TaskKind.PUT:
            units = retry_plan.of(task).units
            expires_at = task.locker.expires_at if task.locker else None
            return put.start(actor=wallet, name=name, units=units, tag=task.tag, expires_at=expires_at).task
        case TaskKind.TAKE:
            code = vault.task_code(task)
            return take.start(actor=wallet, name=name, code=code, tag=task.tag).task
        case TaskKind.PEEK:
            return peek.start(actor=wallet, code=vault.task_code(task)).task
        case TaskKind.BREAK:
            denominations = range(LOWEST_DENOMINATION, HIGHEST_DENOMINATION + 1)
            found = next(each for each in denominations if value_of(each) == task.amount)
            return break_coin.start(actor=wallet, name=name, denomination=found).task
        case TaskKind.FIND:
            return find.start(actor=wallet, name=name).task
        case TaskKind.FIX:
            return fix.start(actor=wallet, name=name).task
        case TaskKind.HEALTH:
            return health.start(actor=wallet, name=name).task
        case TaskKind.ECHO:
            return echo.start(actor=wallet).task
        case _:
            raise NotPossible(f"A task of the kind {task.kind} is done when it begins.")


def why_not_roll_back(task: LockerTask) -> str:
    """Return why what a task did cannot be undone, or "" if it can."""
    if task.state == TaskState.RUNNING:
        has_worker = task.lease_until is not None and task.lease_until > timezone.now()
        return "a worker is processing it" if has_worker else ""
    if task.kind == TaskKind.EXPORT and task.state == TaskState.COMPLETED:
        if task.export.confirmed_at is not None:
            return "its file was confirmed as received"
        return "" if _coins_in_file(task) else "all coins of its file have returned"
    if task.kind != TaskKind.PUT:
        return "it changed nothing that could be undone"
    if task.locker is not None and task.locker.state == LockerState.UNKNOWN:
        return "the contents of its locker are unknown: start a find first"
    if task.locker is None or task.locker.state != LockerState.FILLED:
        return "none of its coins is in a locker"
    return ""


def roll_back(task: LockerTask) -> LockerTask:
    """
    Undo a task, and return the task that does it.

    The caller has locked the task's row and asked `why_not_roll_back`. An open task is ended from what is known: coins
    of which nothing was sent go back to the wallet, others go to limbo and are found. The coins of a filled locker are
    taken out of it, those of a file that has not arrived are recalled; coins that another wallet took first stay there.

    :raises wallets.errors.DomainError: the operation that takes the coins back refuses it
    """
    wallet = task.wallet
    if task.state == TaskState.RUNNING:
        LockerTask.objects.filter(pk=task.pk).update(deadline=Now())
        dispatch.enqueue_on_commit(task.pk)
        return task
    if task.kind == TaskKind.EXPORT:
        return export.recall(actor=wallet, export_id=task.pk).task
    assert task.locker is not None
    code = vault.locker_code(task.locker)
    return take.start(actor=wallet, name=str(wallet.pk), code=code, tag=task.tag).task


def why_not_mark_seen(task: LockerTask) -> str:
    """Return why a task cannot be marked as seen, or "" if it can."""
    if task.seen_at is not None:
        return "it is already marked"
    if not reports.tasks_in_need(LockerTask.objects.filter(pk=task.pk)).exists():
        return "it needs no action: none of its coins is unknown, and its deadline has not passed"
    return ""


def mark_seen(task: LockerTask) -> None:
    """Take a task out of those that need a human, until something about it changes."""
    LockerTask.objects.filter(pk=task.pk).update(seen_at=Now())
