"""
The Celery application.

A message only wakes a worker. The work itself is a row in PostgreSQL with a lease, and a periodic sweep publishes a new
message for each row whose lease has expired, so no work is lost if the broker loses its messages.
"""

# Imported first, so that the other modules load faster, also if `celery -A config.celery` is the entry point.
from config import loading  # noqa: F401

# isort: split
import contextlib
import os
import sys
from typing import Any

from celery import Celery
from celery.signals import (
    beat_init,
    before_task_publish,
    celeryd_init,
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
# A worker would import all URLs, with every page and view, to check them; `make lint` and the tests do.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("coppice")
# `set_current` applies to one thread only; all threads of the web server publish messages.
app.set_default()
app.config_from_object("config.celery_settings")
app.autodiscover_tasks()


@setup_logging.connect
def keep_django_logging(**_: object) -> None:
    """Keep the logging of Django's settings: Celery configures its own unless this signal has a receiver."""
    logs.log_uncaught_exceptions()


@celeryd_init.connect
def refuse_embedded_beat(options: dict[str, Any] | None = None, **_: object) -> None:
    """
    Exit if the worker is asked to run beat inside (`-B`).

    Celery closes the descriptors of the worker's connections in the forked beat, but not their objects. When the broker
    fails over, these objects close descriptors of the same numbers again, which belong to beat's connection to
    PostgreSQL by then: beat waits without end, and no task is scheduled.
    """
    if options and options.get("beat"):
        sys.exit(
            "Coppice cannot start. Run beat as a process, `celery -A config.celery beat`, in place of the option -B."
        )


# Before the receiver below, which asks the broker: receivers are called in this order.
@beat_init.connect
def stop_beat_on_signals(sender: Any, **_: object) -> None:
    sender.scheduler.stop_on_signals()


@worker_init.connect
@beat_init.connect
def refuse_cluster(**_: object) -> None:
    """Exit before the first message if the broker is a cluster."""
    try:
        redis_status.refuse_cluster(settings.REDIS_URL)
    except redis_status.IsCluster as error:
        sys.exit(f"Coppice cannot start. {error}")


@before_task_publish.connect
def add_request_id(headers: dict[str, Any] | None = None, **_: object) -> None:
    if headers is not None and (request_id := current_request_id()):
        headers["request_id"] = request_id


@before_task_publish.connect(sender="config.heartbeat")
def record_published(**_: object) -> None:
    """Record the heartbeat of beat, which alone publishes this task."""
    with contextlib.suppress(redis_status.BrokerSilent):
        redis_status.record_published(settings.REDIS_URL)


@task_prerun.connect
def set_request_id(task_id: str, task: Any, **_: object) -> None:
    """Log with the id of the request, or with the id of the message for a task of beat."""
    headers = task.request.headers or {}
    current.set(getattr(task.request, "request_id", None) or headers.get("request_id") or task_id)


@task_postrun.connect
def reset_request_id(**_: object) -> None:
    current.set("")


@heartbeat_sent.connect
def record_worker(sender: Any, **_: object) -> None:
    """Record the heartbeat that the worker's main process sends every two seconds, however busy its children are."""
    with contextlib.suppress(redis_status.BrokerSilent):
        redis_status.record_worker(settings.REDIS_URL, sender.eventer.hostname)
