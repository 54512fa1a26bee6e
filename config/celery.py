"""
The Celery application.

A message is only a doorbell: what must be done is a row in PostgreSQL with a lease, and a
periodic sweep rings again for rows whose lease ran out, so the broker may lose everything.
"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.base")

app = Celery("coppice")
app.config_from_object("config.celery_settings")
app.autodiscover_tasks()
