"""Tasks of the installation itself."""

from celery import shared_task
from django.conf import settings

from config.broker import record_heartbeat


@shared_task(name="config.heartbeat")
def heartbeat() -> None:
    """Show that beat rings, the broker carries and a worker answers."""
    record_heartbeat(settings.REDIS_URL)
