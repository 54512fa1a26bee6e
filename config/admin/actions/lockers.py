"""What operators do with coins and tasks: the operations, each with its entry in the log (see `.wallets`)."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count
from django.db.models.functions import Now
from django.utils import timezone

from config.admin.actions.wallets import WALLET
from lockers import coin_secrets, coin_selection, dispatch, errors, reports, retry_plan
from lockers import queries as locker_queries
from lockers.models import Coin, LockerTask
from lockers.operations import break_coin, echo, export, find, fix, health, new_task, peek, put, take
from lockers.raida.coins import HIGHEST_DENOMINATION, LOWEST_DENOMINATION
from lockers.states import DOUBTFUL, CoinState, LockerState, TaskKind, TaskState
from lockers.worker import health_check
from wallets import operator_log, queries
from wallets.errors import NotPossible
from wallets.operator_log import Operator
from wallets.states import OperatorVerb

TASK: Final = "task"
LOCKER: Final = "locker"

Shown = Mapping[str, Any]


# --- coins of a wallet --------------------------------------------------------------------


def about_to_find(*, wallet_id: UUID) -> Shown:
    return {"coins_in_doubt": _in_doubt(wallet_id)}


def _in_doubt(wallet_id: UUID) -> int:
    return Coin.objects.filter(wallet_id=wallet_id, state__in=DOUBTFUL, task=None).count()


def start_find(*, operator: Operator, shown: Shown, wallet_id: UUID) -> LockerTask:
    """
    Begin to ask the servers about every coin in doubt of a wallet.

    :raises wallets.errors.WalletNotFound, NothingToFind: as their names say
    :raises wallets.errors.AlreadyDone, wallets.errors.ChangedMeanwhile: see `wallets.operator_log`
    """
    return _start(operator, OperatorVerb.STARTED_FIND, wallet_id, shown, about_to_find, find.start)


def about_to_fix(*, wallet_id: UUID) -> Shown:
    """Return how many free coins some servers do not accept, and of how many that is to be asked first."""
    return {
        "coins_to_fix": retry_plan.coins_to_fix(wallet_id=wallet_id),
        "coins_to_check": health_check.not_checked_lately(health_check.at_rest(wallet_id)).count(),
    }


def start_fix(*, operator: Operator, shown: Shown, wallet_id: UUID) -> LockerTask:
    """
    Begin to heal the coins of a wallet that some servers do not accept.

    :raises wallets.errors.WalletNotFound, NothingToFix: as their names say
    :raises wallets.errors.AlreadyDone, wallets.errors.ChangedMeanwhile: see `wallets.operator_log`
    """
    return _start(operator, OperatorVerb.STARTED_FIX, wallet_id, shown, about_to_fix, fix.start)


def about_to_check(*, wallet_id: UUID) -> Shown:
    return {"coins_to_check": health_check.at_rest(wallet_id).count()}


def start_health(*, operator: Operator, shown: Shown, wallet_id: UUID) -> LockerTask:
    """
    Begin to ask the servers which free coins of a wallet they accept.

    :raises wallets.errors.WalletNotFound: as its name says
    :raises wallets.errors.AlreadyDone, wallets.errors.ChangedMeanwhile: see `wallets.operator_log`
    """
    return _start(operator, OperatorVerb.CHECKED_COINS, wallet_id, shown, about_to_check, health.start)


def _start(
    operator: Operator,
    verb: OperatorVerb,
    wallet_id: UUID,
    shown: Shown,
    about_to: Callable[..., Shown],
    start: Callable[..., new_task.Started],
) -> LockerTask:
    """Begin a task for a wallet if `about_to` still finds what the operator confirmed, and record the act."""
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        operator_log.hold(verb, kind=WALLET, object_id=wallet_id)
        wallet = queries.wallet_by_id(wallet_id)
        operator_log.compare(shown, about_to(wallet_id=wallet_id))
        task = start(actor=wallet, name=str(wallet.pk)).task
        # A check of coins reserves none.
        reserved = {} if task.kind == TaskKind.HEALTH else {"coins": task.coins.count()}
        operator_log.record(
            operator,
            verb,
            kind=WALLET,
            object_id=wallet_id,
            label=wallet.name,
            before=shown,
            after={"task": str(task.pk), **reserved},
            concerns=[(TASK, task.pk)],
        )
    return task


# --- tasks --------------------------------------------------------------------------------


def about_to_act_on(*, task_id: UUID) -> Shown:
    """
    What is shown before a task is begun again, or rolled back.

    :raises TaskNotFound: no such task
    """
    task = _task(task_id)
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
        "begun_again_by_operators": operator_log.earlier(OperatorVerb.RETRIED_TASK, kind=TASK, object_id=task_id),
        "rolled_back_by_operators": operator_log.earlier(OperatorVerb.ROLLED_BACK_TASK, kind=TASK, object_id=task_id),
    }


def _task(task_id: UUID) -> LockerTask:
    task = LockerTask.objects.select_related("wallet", "locker").filter(pk=task_id).first()
    if task is None:
        raise errors.TaskNotFound
    return task


def _units_in_locker(task: LockerTask) -> int:
    """What the locker of a task still holds, as far as is known."""
    if task.locker_id is None:
        return 0
    held = Coin.objects.filter(locker_id=task.locker_id, state=CoinState.LOCKED).values_list("denomination")
    return coin_selection.total(dict(held.annotate(number=Count("id"))))


def _coins_in_file(task: LockerTask) -> int:
    if task.kind != TaskKind.EXPORT or task.state != TaskState.COMPLETED:
        return 0
    return len(locker_queries.coins_in_file(export=task.export))


def _is_held(task: LockerTask) -> bool:
    return task.lease_until is not None and task.lease_until > timezone.now()


def _hold(task_id: UUID) -> None:
    """Lock a task's row. `lockers.current_results` takes it too, to settle coins that the task left open."""
    LockerTask.objects.select_for_update(no_key=True).filter(pk=task_id).first()


def retry(*, operator: Operator, shown: Shown, task_id: UUID) -> LockerTask:
    """
    Ring for an open task that no worker has, or begin what is left of an ended one as a new task, and return that.

    What is left is computed here, with the task's row locked. A put that is begun again fills a new locker with a new
    code, with what was not stored and is back in the wallet; while any coin is unknown it is refused.

    :raises TaskNotFound, wallets.errors.NotPossible: as their names say
    :raises wallets.errors.DomainError: whatever the operation refuses that begins such a task
    :raises wallets.errors.AlreadyDone, wallets.errors.ChangedMeanwhile: see `wallets.operator_log`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        operator_log.hold(OperatorVerb.RETRIED_TASK, kind=TASK, object_id=task_id)
        _hold(task_id)
        operator_log.compare(shown, about_to_act_on(task_id=task_id))
        task = _task(task_id)
        if reason := retry_plan.why_not_retry(task):
            raise NotPossible(f"It cannot be begun again: {reason}.")
        again = task if task.state == TaskState.RUNNING else _begin_again(task)
        if again is task:
            dispatch.ring_on_commit(task.pk)
        operator_log.record(
            operator,
            OperatorVerb.RETRIED_TASK,
            kind=TASK,
            object_id=task_id,
            label=f"{task.kind} of {task.wallet.name}",
            before=shown,
            after={"task": str(again.pk), "coins": again.coins.count()},
            concerns=_concerned(task, again),
        )
    return again


def _concerned(*tasks: LockerTask) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = [(TASK, task.pk) for task in tasks]
    found += [(LOCKER, task.locker_id) for task in tasks if task.locker_id is not None]
    return [*found, *((WALLET, task.wallet_id) for task in tasks)]


def _begin_again(task: LockerTask) -> LockerTask:
    wallet = task.wallet
    match task.kind:
        case TaskKind.PUT:
            units = retry_plan.of(task).units
            return put.start(actor=wallet, name=str(wallet.pk), units=units, tag=task.tag).task
        case TaskKind.TAKE:
            return take.start(actor=wallet, name=str(wallet.pk), code=coin_secrets.task_code(task), tag=task.tag).task
        case TaskKind.PEEK:
            return peek.start(actor=wallet, code=coin_secrets.task_code(task)).task
        case TaskKind.BREAK:
            denominations = range(LOWEST_DENOMINATION, HIGHEST_DENOMINATION + 1)
            found = next(each for each in denominations if coin_selection.value_of(each) == task.amount)
            return break_coin.start(actor=wallet, name=str(wallet.pk), denomination=found).task
        case TaskKind.FIND:
            return find.start(actor=wallet, name=str(wallet.pk)).task
        case TaskKind.FIX:
            return fix.start(actor=wallet, name=str(wallet.pk)).task
        case TaskKind.HEALTH:
            return health.start(actor=wallet, name=str(wallet.pk)).task
        case TaskKind.ECHO:
            return echo.start(actor=wallet).task
        case _:
            raise NotPossible(f"A task of the kind {task.kind} is done when it begins.")


def why_not_roll_back(task: LockerTask) -> str:
    """Return why what a task did cannot be undone, or "" if it can."""
    if task.state == TaskState.RUNNING:
        return "a worker is at it" if _is_held(task) else ""
    if task.kind == TaskKind.EXPORT and task.state == TaskState.COMPLETED:
        if task.export.confirmed_at is not None:
            return "its file has arrived"
        return "" if _coins_in_file(task) else "no coin of its file is out any more"
    if task.kind != TaskKind.PUT:
        return "it left nothing behind that could be undone"
    if task.locker is not None and task.locker.state == LockerState.UNKNOWN:
        return "it is unknown what is in its locker: find first"
    if task.locker is None or task.locker.state != LockerState.FILLED:
        return "nothing of it is in a locker"
    return ""


def roll_back(*, operator: Operator, shown: Shown, task_id: UUID) -> LockerTask:
    """
    Undo a task, and return the task that does it.

    An open one that no worker has is ended from what is known: coins with which nothing was sent go back, others go
    to limbo and are found. The coins of a filled locker are taken out of it, those of a file that has not
    arrived are recalled; what somebody else took first is theirs.

    :raises TaskNotFound, wallets.errors.NotPossible: as their names say
    :raises wallets.errors.DomainError: whatever the operation refuses that takes the coins back
    :raises wallets.errors.AlreadyDone, wallets.errors.ChangedMeanwhile: see `wallets.operator_log`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        operator_log.hold(OperatorVerb.ROLLED_BACK_TASK, kind=TASK, object_id=task_id)
        _hold(task_id)
        operator_log.compare(shown, about_to_act_on(task_id=task_id))
        task = _task(task_id)
        if reason := why_not_roll_back(task):
            raise NotPossible(f"It cannot be rolled back: {reason}.")
        undoing = _undo(task)
        operator_log.record(
            operator,
            OperatorVerb.ROLLED_BACK_TASK,
            kind=TASK,
            object_id=task_id,
            label=f"{task.kind} of {task.wallet.name}",
            before=shown,
            after={"task": str(undoing.pk)},
            concerns=_concerned(task, undoing),
        )
    return undoing


def _undo(task: LockerTask) -> LockerTask:
    wallet = task.wallet
    if task.state == TaskState.RUNNING:
        LockerTask.objects.filter(pk=task.pk).update(deadline=Now())
        dispatch.ring_on_commit(task.pk)
        return task
    if task.kind == TaskKind.EXPORT:
        return export.recall(actor=wallet, export_id=task.pk).task
    assert task.locker is not None
    code = coin_secrets.locker_code(task.locker)
    return take.start(actor=wallet, name=str(wallet.pk), code=code, tag=task.tag).task


def why_not_mark_seen(task: LockerTask) -> str:
    """Return why a task cannot be marked as seen, or "" if it can."""
    if task.seen_at is not None:
        return "it is marked already"
    if not reports.tasks_in_need(LockerTask.objects.filter(pk=task.pk)).exists():
        return "it needs no human: no coin of it is unknown, and its time is not over"
    return ""


def mark_seen(*, operator: Operator, shown: Shown, task_id: UUID) -> LockerTask:
    """
    Take a task out of those that need a human, until something about it changes.

    :raises TaskNotFound, wallets.errors.NotPossible: as their names say
    :raises wallets.errors.AlreadyDone, wallets.errors.ChangedMeanwhile: see `wallets.operator_log`
    """
    with transaction.atomic(savepoint=False):
        operator_log.begin(operator)
        operator_log.hold(OperatorVerb.SAW_TASK, kind=TASK, object_id=task_id)
        _hold(task_id)
        operator_log.compare(shown, about_to_act_on(task_id=task_id))
        task = _task(task_id)
        if reason := why_not_mark_seen(task):
            raise NotPossible(f"It cannot be marked as seen: {reason}.")
        LockerTask.objects.filter(pk=task_id).update(seen_at=Now())
        operator_log.record(
            operator,
            OperatorVerb.SAW_TASK,
            kind=TASK,
            object_id=task_id,
            label=f"{task.kind} of {task.wallet.name}",
            before=shown,
            after={"seen": True},
        )
    return task
