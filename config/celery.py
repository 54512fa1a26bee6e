"""
The Celery application.

A message is only a doorbell: what must be done is a row in PostgreSQL with a lease, and a
periodic sweep rings again for rows whose lease ran out, so the broker may lose everything.
"""

import os

from celery import Celery
from celery.signals import setup_logging

from config.embedded import fill_environment

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
