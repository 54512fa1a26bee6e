"""
Fair scheduling of tasks between wallets, and the limit of open tasks per wallet.

A message wakes a worker and names no task. The worker takes the oldest task of the wallet with the fewest running
tasks; among equals, of the wallet that was served longest ago. A wallet here is the caller: wallets that it manages
share its turns. A long task cannot be interrupted, so long tasks of one wallet occupy at most all workers but one; and
so do peeks, which cost no coins and may be begun without end.
"""

from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from lockers import errors
from lockers.models import LockerTask
from lockers.states import TaskKind, TaskState
from lockers.worker.task_store import Claim, lease
from wallets.sql_files import load

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('lockers.fair_queue', 0))"
_CLAIM_NEXT: Final = load("lockers", "claim_next_task")


def _all_but_one() -> int:
    return max(1, settings.WORKERS - 1)


def claim_next() -> Claim | None:
    """Take the next task and return the claim to it; None if no open task may be taken."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Serialises workers, which would otherwise see the same counts and serve the same wallet. The snapshot of the
        # next statement includes what was committed while this one waited.
        cursor.execute(_LOCK)
        cursor.execute(_CLAIM_NEXT, {"lease": lease().total_seconds(), "at_most": _all_but_one()})
        row = cursor.fetchone()
    return None if row is None else Claim(*row)


def give_way(held: Claim) -> bool:
    """
    Return a task that turned out to be long to the queue if its wallet has the maximum of long tasks running.

    Return whether it was put back; the worker must not continue it then.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_lockertask AS task SET lease_until = NULL WHERE id = %s AND attempt = %s AND is_long"
            " AND state = 'running' AND %s <= (SELECT count(*) FROM lockers_lockertask AS other"
            "  WHERE other.state = 'running' AND other.actor_id = task.actor_id AND other.id <> task.id"
            "    AND other.is_long AND other.lease_until > now())",
            [held.task_id, held.attempt, _all_but_one()],
        )
        return bool(cursor.rowcount == 1)


def was_bounded(task_id: UUID) -> bool:
    """Return whether another task of the wallet may have waited for the end of this one: it is long, or a peek."""
    return LockerTask.objects.filter(Q(is_long=True) | Q(kind=TaskKind.PEEK), pk=task_id).exists()


def admit(*, actor_id: UUID) -> None:
    """
    Check the limit of open tasks of a wallet.

    Tasks that others begin in its name do not count: payments by payers without a login, and the taking back of what
    is in expired lockers. Those have limits of their own. Nothing is locked: concurrent requests may exceed the limit
    by a few tasks.

    :raises TooManyTasks: the wallet has reached the limit
    """
    open_tasks = LockerTask.objects.filter(actor_id=actor_id, state=TaskState.RUNNING).exclude(
        Q(kind=TaskKind.TAKE) & (Q(locker__isnull=False) | Q(plan__has_key="anonymous"))
    )
    if open_tasks.count() >= settings.OPEN_TASKS_PER_WALLET:
        raise errors.TooManyTasks(settings.OPEN_TASKS_PER_WALLET)
