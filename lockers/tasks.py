"""What Celery runs. A message is a doorbell: which work there is stands in `LockerTask` rows."""

import logging
from uuid import UUID

from celery import shared_task
from django.conf import settings

from lockers import competing_claims, dispatch, fair_queue
from lockers.errors import TaskSuperseded
from lockers.operations import find, fix, lookups
from lockers.worker import circuit_breaker, echo, health_check, repair, runner, task_store
from wallets.request_id import request_id

_log = logging.getLogger(__name__)


def _lockers_are_off() -> bool:
    return not settings.RAIDA_HOSTS


@shared_task(name=dispatch.RUN_TASK)
def run(task_id: str | None = None) -> None:
    """
    Work on the task whose turn it is, or on one that is named, unless it is finished or another worker has it.

    Messages that an earlier version sent name one. Open tasks wait while lockers are off.
    """
    if _lockers_are_off():
        return
    held = fair_queue.claim_next() if task_id is None else task_store.claim(task_id=UUID(task_id))
    if held is None:
        return
    task_id = str(held.task_id)
    # Whoever rang, a request or the sweep: the task belongs to the request that began it.
    request_id.set(held.request_id or task_id)
    _log.info("Task %s begins its attempt %d", task_id, held.attempt)
    try:
        runner.run(held)
    except TaskSuperseded:
        _log.info("Task %s was taken over by another worker", task_id)
    except Exception as error:
        # Whoever has lost a task without knowing it reads rows that another is changing, and may stumble over them.
        if task_store.holds(held):
            raise
        _log.info("Task %s was taken over by another worker: %s", task_id, type(error).__name__)
    if fair_queue.was_long(held.task_id):
        # The message of another long task of its wallet may have found no turn for it.
        dispatch.ring(held.task_id)


@shared_task(name="lockers.sweep")
def sweep() -> None:
    """Ring again for tasks that nobody works on, begin finds and fixes, and try silent servers."""
    if _lockers_are_off():
        return
    find.start_overdue()
    fix.start_overdue()
    for task_id in (*competing_claims.unpark(limit=100), *task_store.overdue_tasks()):
        dispatch.ring(task_id)
    circuit_breaker.probe()


@shared_task(name="lockers.purge")
def purge() -> None:
    """Delete tasks that only looked, a day after they ended."""
    _log.info("%d tasks that only looked were deleted", lookups.purge())


@shared_task(name="lockers.follow_up")
def follow_up() -> None:
    """Begin to bring lockers to the servers that lack their coins, and to ask for answers that a process took along."""
    if not _lockers_are_off():
        repair.follow_up()


@shared_task(name="lockers.check_coins")
def check_coins() -> None:
    """Ask the servers about coins at rest that were not checked for a week."""
    checked = health_check.check_due()
    if checked.refused or checked.doubtful:
        _log.warning(
            "Of %d coins that were checked %d are accepted by fewer servers than before, and %d by too few",
            checked.coins,
            checked.refused,
            checked.doubtful,
        )


@shared_task(name="lockers.read_servers")
def read_servers() -> None:
    """Ask all 25 servers for an echo, so that operators see who is there and how far away."""
    if not _lockers_are_off():
        echo.read_servers()
