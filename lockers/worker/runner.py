"""
Run a claimed task: load it, call the function of its kind, and end it.

Each kind has a module, to be read from top to bottom. Each step reads the marks of the coins in the database first, so
that a step that was interrupted does only what is left of it.
"""

import logging

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from lockers.models import LockerTask
from lockers.states import TaskKind
from lockers.worker import (
    break_coin,
    echo,
    finalize,
    find,
    fix,
    health_check,
    import_,
    peek,
    put,
    take,
    task_store,
)
from lockers.worker.broadcast import TaskRun
from lockers.worker.task_store import Claim

_log = logging.getLogger(__name__)


def run(held: Claim) -> None:
    """
    Bring a claimed task to its final state.

    :raises TaskSuperseded: another worker has the task
    """
    is_overdue = ExpressionWrapper(Q(deadline__lt=Now()), output_field=BooleanField())
    task = LockerTask.objects.select_related("locker").annotate(is_overdue=is_overdue).get(pk=held.task_id)
    if task.is_overdue:
        settle_overdue(held)
        return
    if held.attempt > 1:
        # The previous worker may have recorded marks in attempts alone.
        task_store.write_marks(held=held)
    task_run = TaskRun(held, task)
    try:
        _do(task_run)
    finally:
        task_run.stop_listening()


def _do(task_run: TaskRun) -> None:
    match task_run.task.kind:
        case TaskKind.PUT:
            put.run(task_run)
        case TaskKind.IMPORT:
            import_.run(task_run)
        case TaskKind.TAKE:
            take.run(task_run)
        case TaskKind.FIND:
            find.run(task_run)
        case TaskKind.BREAK:
            break_coin.run(task_run)
        case TaskKind.FIX:
            fix.run(task_run)
        case TaskKind.TRANSFER | TaskKind.EXPORT:
            break_coin.deliver(task_run)
        case TaskKind.HEALTH:
            health_check.run(task_run)
        case TaskKind.PEEK:
            peek.run(task_run)
        case TaskKind.ECHO:
            echo.run(task_run)


def settle_overdue(held: Claim) -> None:
    """
    End a task whose deadline has passed, from the marks as they are.

    :raises TaskSuperseded: another worker has the task
    """
    finalize.conclude(held=held, reason="The deadline passed before all steps were done.", waits_on=False)
