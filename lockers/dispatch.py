"""
Enqueue Celery messages that wake workers.

A message names no task: `lockers.fair_queue` decides which task the worker takes. A lost message costs seconds: the
work is the task's row, and the periodic sweep enqueues again.
"""

import logging
from uuid import UUID

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

RUN_TASK = "lockers.run"

_log = logging.getLogger(__name__)


def enqueue(task_id: UUID) -> None:
    """Enqueue one message for the workers. A broker that is down or refuses writes is no error: the sweep retries."""
    try:
        current_app.send_task(RUN_TASK, retry=False, ignore_result=True)
    except OperationalError:
        _log.warning("The broker took no message; the sweep will enqueue task %s again", task_id)


def enqueue_on_commit(task_id: UUID) -> None:
    transaction.on_commit(lambda: enqueue(task_id), robust=True)
