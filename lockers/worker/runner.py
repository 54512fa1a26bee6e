"""
Run a claimed task: load it, break coins for change where needed, and call the module of its kind, which ends it.

Each module is to be read from top to bottom. Each step first reads the coins' marks (`states.Mark`: what each server is
known to hold), so that an interrupted step resumes with what is left.
"""

from typing import Final

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from lockers import delivery
from lockers.models import LockerTask
from lockers.states import TaskKind
from lockers.worker import break_coin, echo, finalize, find, fix, health_check, import_, peek, put, take, task_store
from lockers.worker.broadcast import TaskRun
from lockers.worker.task_store import Claim


def run(held: Claim) -> None:
    """
    Bring a claimed task to its final state.

    If its coins do not make its amount, larger coins are broken first.
    """
    is_overdue = ExpressionWrapper(Q(deadline__lt=Now()), output_field=BooleanField())
    task = LockerTask.objects.select_related("locker").annotate(is_overdue=is_overdue).get(pk=held.task_id)
    if task.is_overdue:
        settle_overdue(held)
        return
    if held.attempt > 1:
        # The previous worker may have written marks to attempts only, and not yet to the coins.
        task_store.write_marks(held=held)
    task_run = TaskRun(held, task)
    try:
        if reason := break_coin.make_change(task_run) if task.plan.get("breaks") else "":
            task_run.conclude(reason=reason)
        elif task.kind in (TaskKind.TRANSFER, TaskKind.EXPORT):
            task_run.conclude(deliver=delivery.deliver)
        else:
            _KINDS[TaskKind(task.kind)].run(task_run)
    finally:
        task_run.stop_listening()


_KINDS: Final = {
    TaskKind.PUT: put,
    TaskKind.TAKE: take,
    TaskKind.IMPORT: import_,
    TaskKind.FIND: find,
    TaskKind.FIX: fix,
    TaskKind.BREAK: break_coin,
    TaskKind.PEEK: peek,
    TaskKind.HEALTH: health_check,
    TaskKind.ECHO: echo,
}


def settle_overdue(held: Claim) -> None:
    """End a task whose deadline has passed, with the marks recorded so far."""
    finalize.conclude(held=held, reason="The deadline of the task passed before it could finish.", waits_on=False)
