"""What Celery runs. A message is a doorbell: which work there is stands in `LockerTask` rows."""

import logging
from uuid import UUID

from celery import shared_task

from lockers import doorbell, engine, health, operations, settlement
from lockers.errors import TaskSuperseded

_log = logging.getLogger(__name__)


@shared_task(name=doorbell.RUN_TASK)
def run(task_id: str) -> None:
    """Work on one task, unless it is finished or another worker has it."""
    held = settlement.claim(task_id=UUID(task_id))
    if held is None:
        return
    try:
        engine.run(held)
    except TaskSuperseded:
        _log.info("Task %s was taken over by another worker", task_id)


@shared_task(name="lockers.sweep")
def sweep() -> None:
    """Ring again for tasks that nobody works on, begin finds and fixes, and try silent servers."""
    operations.start_overdue_finds()
    operations.start_overdue_fixes()
    for task_id in settlement.overdue_tasks():
        doorbell.ring(task_id)
    health.probe()
