"""Tasks of the installation itself."""

import logging

from celery import shared_task
from django.conf import settings

from config.broker import record_heartbeat
from wallets import operations as wallets

log = logging.getLogger("coppice.tasks")


@shared_task(name="config.heartbeat")
def heartbeat() -> None:
    """Show that beat rings, the broker carries and a worker answers."""
    record_heartbeat(settings.REDIS_URL)


@shared_task(name="config.purge_expired")
def purge_expired() -> None:
    """Delete what is kept for a limited time only."""
    counts = wallets.purge_expired()
    log.info("%d stored answers and %d bearer tokens deleted", counts["answers"], counts["bearer_tokens"])
