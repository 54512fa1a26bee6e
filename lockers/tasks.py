"""Celery tasks. A message only wakes a worker; the work is in `LockerTask` rows."""

import logging
from uuid import UUID

from celery import shared_task
from django.conf import settings

from lockers import competing_claims, dispatch, fair_queue
from lockers.errors import TaskSuperseded
from lockers.operations import find, fix, lookups, payment_requests, take_back
from lockers.worker import circuit_breaker, echo, health_check, repair, runner, task_store
from wallets.request_id import request_id

_log = logging.getLogger(__name__)


def _lockers_are_off() -> bool:
    return not settings.RAIDA_HOSTS


@shared_task(name=dispatch.RUN_TASK)
def run(task_id: str | None = None) -> None:
    """
    Process the next task, or the named one, unless it has ended or another worker holds it.

    Only messages of an earlier version name a task. Open tasks wait while lockers are off.
    """
    if _lockers_are_off():
        return
    held = fair_queue.claim_next() if task_id is None else task_store.claim(task_id=UUID(task_id))
    if held is None:
        return
    task_id = str(held.task_id)
    # The request that created the task, whichever process enqueued the message.
    request_id.set(held.request_id or task_id)
    _log.info("Task %s begins its attempt %d", task_id, held.attempt)
    try:
        runner.run(held)
    except TaskSuperseded:
        _log.info("Task %s was taken over by another worker", task_id)
    except Exception as error:
        # A worker that has lost its lease reads rows that another worker is changing, which may raise anything.
        if task_store.holds(held):
            raise
        _log.info("Task %s was taken over by another worker: %s", task_id, type(error).__name__)
    if fair_queue.was_bounded(held.task_id):
        # A message for another such task of its wallet may have found that task not allowed yet.
        dispatch.enqueue(held.task_id)


@shared_task(name="lockers.sweep")
def sweep() -> None:
    """Enqueue tasks without a worker again, start overdue finds and fixes, and probe failing servers."""
    if _lockers_are_off():
        return
    find.start_overdue()
    fix.start_overdue()
    for task_id in (*competing_claims.unpark(limit=100), *task_store.overdue_tasks()):
        dispatch.enqueue(task_id)
    circuit_breaker.probe()


@shared_task(name="lockers.take_back")
def take_back_expired() -> None:
    """Begin to take back what is still in lockers that have expired."""
    if not _lockers_are_off() and (started := take_back.start_due()):
        _log.info("Coins of %d expired lockers are being taken back", len(started))


@shared_task(name="lockers.purge")
def purge() -> None:
    """Delete peeks and echoes a day after they ended."""
    _log.info("%d peeks and echoes were deleted", lookups.purge())


@shared_task(name="lockers.follow_up")
def follow_up() -> None:
    """Start repairs of lockers on servers that lack their coins, and ask again for answers lost with a process."""
    if not _lockers_are_off():
        repair.follow_up()


@shared_task(name="lockers.check_coins")
def check_coins() -> None:
    """Check coins at rest whose last check is a week old."""
    checked = health_check.check_due()
    if checked.refused or checked.doubtful:
        _log.warning(
            "Of %d coins that were checked %d are accepted by fewer servers than before, and %d by too few",
            checked.coins,
            checked.refused,
            checked.doubtful,
        )


@shared_task(name="lockers.expire_payment_requests")
def expire_payment_requests() -> None:
    """Expire payment requests whose time has passed. Without it they cannot be paid either, but are announced late."""
    payment_requests.expire_due()


@shared_task(name="lockers.read_servers")
def read_servers() -> None:
    """Ask all 25 servers for an echo, to show operators which answer and how fast."""
    if not _lockers_are_off():
        echo.read_servers()
