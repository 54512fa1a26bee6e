"""
The Celery application.

A message is only a doorbell: what must be done is a row in PostgreSQL with a lease, and a
periodic sweep rings again for rows whose lease ran out, so the broker may lose everything.
"""

import contextlib
import os
import sys
from typing import Any

from celery import Celery
from celery.signals import (
    beat_init,
    before_task_publish,
    heartbeat_sent,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_init,
)
from django.conf import settings

from config.dev.embedded import fill_environment
from config.ops import logs, redis_status
from wallets.request_id import current_request_id
from wallets.request_id import request_id as current

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.base")
fill_environment()

app = Celery("coppice")
# "Current" holds for one thread only; the threads of the web server ring too, and must not ring elsewhere.
app.set_default()
app.config_from_object("config.celery_settings")
app.autodiscover_tasks()


@setup_logging.connect
def keep_djangos_logging(**_: object) -> None:
    """Celery configures logging itself unless something is connected here; Django's settings have done it."""
    logs.keep_quiet()


@worker_init.connect
@beat_init.connect
def refuse_what_cannot_work(**_: object) -> None:
    """Before the first message."""
    try:
        redis_status.refuse_cluster(settings.REDIS_URL)
    except redis_status.IsCluster as error:
        sys.exit(f"Coppice cannot start. {error}")


@before_task_publish.connect
def send_the_request_id_along(headers: dict[str, Any] | None = None, **_: object) -> None:
    if headers is not None and (request_id := current_request_id()):
        headers["request_id"] = request_id


@before_task_publish.connect(sender="config.heartbeat")
def show_that_beat_rings(**_: object) -> None:
    """Nobody else rings for this task."""
    with contextlib.suppress(redis_status.BrokerSilent):
        redis_status.record_ring(settings.REDIS_URL)


@task_prerun.connect
def log_with_the_request_id(task_id: str, task: Any, **_: object) -> None:
    """What beat rings for belongs to no request; then the id of the message stands for it."""
    headers = task.request.headers or {}
    current.set(getattr(task.request, "request_id", None) or headers.get("request_id") or task_id)


@task_postrun.connect
def log_without_it(**_: object) -> None:
    current.set("")


@heartbeat_sent.connect
def show_a_sign_of_life(sender: Any, **_: object) -> None:
    """By the worker's main process every two seconds, however busy its children are."""
    # A broker that is silent shows by itself that no sign of life comes.
    with contextlib.suppress(redis_status.BrokerSilent):
        redis_status.record_worker(settings.REDIS_URL, sender.eventer.hostname)
