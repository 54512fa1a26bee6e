"""Tasks of the installation itself."""

import logging

from celery import shared_task
from django.conf import settings

from config.admin import alerts, notices
from config.ops import audits, event_retention, partitions, pseudonyms, request_log
from config.ops.redis_status import record_heartbeat
from config.seals import sealing
from wallets import errors, event_sequence
from wallets import operations as wallets

log = logging.getLogger("coppice.tasks")


@shared_task(name="config.heartbeat")
def heartbeat() -> None:
    """Record that beat, the broker and a worker work together."""
    record_heartbeat(settings.REDIS_URL)


@shared_task(name="config.publish_position")
def publish_position() -> None:
    """Store up to which event the order is final, and the time. Without it replicas answer nothing."""
    event_sequence.publish()


@shared_task(name="config.purge_expired")
def purge_expired() -> None:
    """Delete expired rows."""
    deleted = wallets.purge_expired()
    log.info("%d bearer tokens deleted", deleted)
    log.info("%d alerts deleted", alerts.purge())


@shared_task(name="config.tidy_partitions")
def tidy_partitions() -> None:
    """Create the next partitions of the tables whose rows expire, and drop the oldest."""
    partitions.tidy()
    event_retention.tidy()
    request_log.tidy()


# It reads all events.
@shared_task(name="config.finish_pseudonyms", soft_time_limit=500, time_limit=540)
def finish_pseudonyms() -> None:
    """Erase what requests in flight wrote about wallets while these were pseudonymised."""
    if finished := pseudonyms.finish():
        log.info("erased %d pseudonymised wallets a second time", finished)


# Longer limits than those of other tasks, below the visibility timeout of the broker.
@shared_task(name="config.audit", soft_time_limit=500, time_limit=540)
def audit() -> None:
    """Audit what is new in the ledger if an audit is due. The findings are stored in the row of the audit."""
    if audits.is_due():
        _audit(is_of_all=False)


# Reads all history. Its message is acknowledged when it begins, so no broker delivers it again.
@shared_task(name="config.audit_all", soft_time_limit=20_000, time_limit=20_400)
def audit_all() -> None:
    """Audit all of the ledger if the daily audit is due."""
    if audits.is_of_all_due():
        _audit(is_of_all=True)


def _audit(*, is_of_all: bool) -> None:
    try:
        done = audits.run(is_of_all=is_of_all)
    except errors.AuditIsRunning:
        return
    log.info("audit: %s, %d findings", done.result, done.findings_count)


@shared_task(name="config.seal", soft_time_limit=90, time_limit=120)
def seal() -> None:
    """Seal what is settled. A missed run only leaves more for the next."""
    if settings.SEAL_EVERY_MINUTES == 0:
        return
    try:
        sealing.seal()
    except sealing.ChainRefused:
        # The audit and `manage.py verify` say why, and how long ago the last seal was is an alert.
        log.error("the chain of seals is not continued: see manage.py verify")  # noqa: TRY400 - refused, not failed


@shared_task(name="config.check_alerts")
def check_alerts() -> None:
    """Open and close alerts as the tiles of the admin's home page are now."""
    changes = alerts.check()
    if changes is not None and any(changes):
        log.info("%d alerts opened, %d reported again, %d closed", *changes)


# Ends before the leases of `config.admin.notices`, whatever a mail server does.
@shared_task(name="config.send_notices", soft_time_limit=50, time_limit=70)
def send_notices() -> None:
    """Send notifications of alerts. A missed run only delays them."""
    if sent := notices.send():
        log.info("%d notices of alerts sent", sent)
