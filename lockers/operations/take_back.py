"""
Taking back what is still in lockers that have expired.

A task takes the coins like any other holder of the code: it looks into the locker first, and 13 servers decide a race
(`lockers.worker.take`). A locker is due again after a pause until each of its coins is known to have left it, because
servers may be silent and a claim of another wallet may be open.
"""

from typing import Final
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models.functions import Now

from lockers import vault
from lockers.models import Locker, LockerTask
from lockers.operations import new_task
from lockers.states import LockerState, TaskKind, TaskState

# Such tasks that are open at once: the tasks of those who wait go first.
MOST_OPEN: Final = 100

# Until the next task of the same locker: it doubles from ten seconds to six hours. A locker that cannot be taken back
# now is looked at again after a minute.
_BEGUN: Final = """
UPDATE lockers_locker
   SET take_backs = take_backs + 1,
       take_back_at = now() + least(interval '6 hours', interval '10 seconds' * 2 ^ least(take_backs, 12))
 WHERE id = %s
"""
_PUT_OFF: Final = "UPDATE lockers_locker SET take_back_at = now() + interval '1 minute' WHERE id = %s"


def start_due(*, limit: int = MOST_OPEN) -> list[UUID]:
    """
    Begin to take the coins of lockers that have expired back, the earliest first, and return the tasks' ids.

    At most `limit` such tasks are open afterwards. A locker that is being filled, or has coins in limbo, is put off.
    """
    open_tasks = LockerTask.objects.filter(kind=TaskKind.TAKE, state=TaskState.RUNNING, locker__isnull=False)
    due = Locker.objects.filter(take_back_at__lte=Now()).order_by("take_back_at", "pk")
    started = []
    for locker_id in list(due.values_list("pk", flat=True)[: max(0, limit - open_tasks.count())]):
        task_id = _start(locker_id)
        if task_id is not None:
            started.append(task_id)
    return started


def _start(locker_id: UUID) -> UUID | None:
    with transaction.atomic(savepoint=False):
        locker = _lock_due(locker_id)
        if locker is None:
            return None
        task = _open(locker) if locker.state == LockerState.FILLED and not _is_under_way(locker) else None
        with connection.cursor() as cursor:
            cursor.execute(_PUT_OFF if task is None else _BEGUN, [locker.pk])
        return None if task is None else task.pk


def _lock_due(locker_id: UUID) -> Locker | None:
    """Lock a locker that is due. Of two processes one begins the task: the other skips the row, or finds it put off."""
    rows = Locker.objects.select_for_update(no_key=True, skip_locked=True, of=("self",)).select_related("wallet")
    return rows.filter(pk=locker_id, take_back_at__lte=Now()).first()


def _is_under_way(locker: Locker) -> bool:
    return LockerTask.objects.filter(locker=locker, state=TaskState.RUNNING).exists()


def _open(locker: Locker) -> LockerTask | None:
    """Open the task, unless no configured key opens the locker's code, which `manage.py doctor` reports."""
    task_id = uuid4()
    try:
        code = vault.seal_task_code(vault.locker_code(locker), task_id=task_id)
    except vault.SealBroken:
        return None
    return new_task.open_task(
        TaskKind.TAKE,
        wallet=locker.wallet,
        actor=locker.wallet,
        is_bounded=False,
        id=task_id,
        tag=locker.tag,
        locker=locker,
        code=code,
    )
