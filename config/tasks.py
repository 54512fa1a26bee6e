"""Tasks of the installation itself."""

import logging

from celery import shared_task
from django.conf import settings

from config.ops import audits
from config.ops.redis_status import record_heartbeat
from wallets import errors
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


# Longer than other tasks may take, and shorter than the time after which the broker would give it to another worker.
@shared_task(name="config.audit", soft_time_limit=500, time_limit=540)
def audit() -> None:
    """Audit the books if the last audit is long ago. What it found is in its row."""
    if not audits.is_due():
        return
    try:
        done = audits.run()
    except errors.AuditIsRunning:
        return
    log.info("audit: %s, %d findings", done.result, done.findings_count)
