"""What Celery runs for the webhooks app."""

import logging

from celery import shared_task

from webhooks import operations
from webhooks.sender import session

_log = logging.getLogger(__name__)


@shared_task(name="webhooks.send")
def send() -> None:
    """Send what is due, unless another worker is doing so. A missed run only delays deliveries."""
    session.run()


@shared_task(name="webhooks.purge")
def purge() -> None:
    """Delete deliveries after `COPPICE_DELIVERY_DAYS`."""
    _log.info("%d messages of webhooks were deleted", operations.purge())
