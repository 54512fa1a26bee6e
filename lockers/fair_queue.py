"""
Which task a worker takes next, and how many a wallet may have open: so that no wallet keeps the others waiting.

A message wakes a worker and names no task. The worker takes the oldest task of the wallet that has the fewest at work,
and among these of the one that was served longest ago. A wallet here is the one that called: what it manages shares its
turns. A long task cannot be interrupted, so one wallet has at most all workers but one busy with such.
"""

from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from lockers import errors
from lockers.models import LockerTask
from lockers.states import TaskState
from lockers.worker.task_store import Claim, lease
from wallets.sql_files import load

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('lockers.fair_queue', 0))"
_CLAIM_NEXT: Final = load("lockers", "claim_next_task")


def _long_ones() -> int:
    return max(1, settings.WORKERS - 1)


def claim_next() -> Claim | None:
    """Take the task over whose turn it is; None if none is open that this wallet's or other workers do not have."""
    with transaction.atomic(), connection.cursor() as cursor:
        # One after the other, or two workers would see the same wallets at work and serve the same one. The statement
        # after this one sees what was committed while it waited.
        cursor.execute(_LOCK)
        cursor.execute(_CLAIM_NEXT, {"lease": lease().total_seconds(), "long_ones": _long_ones()})
        row = cursor.fetchone()
    return None if row is None else Claim(*row)


def give_way(held: Claim) -> bool:
    """
    Put a task back that turned out to be long if its wallet has as many such at work as it may have.

    Tells whether it was put back; then this worker must not go on with it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_lockertask AS task SET lease_until = NULL WHERE id = %s AND attempt = %s AND is_long"
            " AND state = 'running' AND %s <= (SELECT count(*) FROM lockers_lockertask AS other"
            "  WHERE other.state = 'running' AND other.actor_id = task.actor_id AND other.id <> task.id"
            "    AND other.is_long AND other.lease_until > now())",
            [held.task_id, held.attempt, _long_ones()],
        )
        return bool(cursor.rowcount == 1)


def was_long(task_id: UUID) -> bool:
    """Whether another long task of its wallet may have waited for the end of this one."""
    return LockerTask.objects.filter(pk=task_id, is_long=True).exists()


def admit(*, actor_id: UUID) -> None:
    """
    Refuse to open another task for a wallet that has as many as it may have.

    Requests side by side may each find room for one, so a wallet may have a few more.

    :raises TooManyTasks: see above
    """
    open_tasks = LockerTask.objects.filter(actor_id=actor_id, state=TaskState.RUNNING)
    if open_tasks.count() >= settings.OPEN_TASKS_PER_WALLET:
        raise errors.TooManyTasks(settings.OPEN_TASKS_PER_WALLET)
