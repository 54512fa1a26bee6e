"""
Enqueue Celery messages that wake workers.

A message names no task: `lockers.fair_queue` decides which task the worker takes. A lost message costs seconds: the
work is the task's row, and the periodic sweep enqueues again.
"""

import logging
from uuid import UUID

from celery import current_app
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError

from wallets import redis_servers

RUN_TASK = "lockers.run"

_log = logging.getLogger(__name__)


def enqueue(task_id: UUID) -> None:
    """
    Enqueue one message for the workers, unless the broker has just failed.

    A broker that is down, hangs or refuses writes is no error: the sweep retries. After a failure no message is
    published for `redis_servers.PAUSE_SECONDS`, so that not every request waits for a timeout.
    """
    try:
        redis_servers.unless_away(settings.BROKER_URL or settings.REDIS_URL, _publish)
    except redis_servers.Away:
        _log.warning("The broker took no message; the sweep will enqueue task %s again", task_id)


def _publish() -> None:
    try:
        current_app.send_task(RUN_TASK, retry=False, ignore_result=True)
    except OperationalError as error:
        # The type by which `unless_away` knows that the server failed.
        raise ConnectionError from error


def enqueue_on_commit(task_id: UUID) -> None:
    transaction.on_commit(lambda: enqueue(task_id), robust=True)
