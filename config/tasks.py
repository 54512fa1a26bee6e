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
    """Record that beat, the broker and a worker work together."""
    record_heartbeat(settings.REDIS_URL)


@shared_task(name="config.purge_expired")
def purge_expired() -> None:
    """Delete expired rows."""
    counts = wallets.purge_expired()
    log.info("%d stored responses and %d bearer tokens deleted", counts["answers"], counts["bearer_tokens"])


# Longer limits than those of other tasks, below the visibility timeout of the broker.
@shared_task(name="config.audit", soft_time_limit=500, time_limit=540)
def audit() -> None:
    """Audit the ledger if an audit is due. The findings are stored in the row of the audit."""
    if not audits.is_due():
        return
    try:
        done = audits.run()
    except errors.AuditIsRunning:
        return
    log.info("audit: %s, %d findings", done.result, done.findings_count)
