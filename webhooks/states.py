"""States of webhooks and deliveries, and the schedule of retries."""

from datetime import timedelta
from enum import StrEnum
from typing import Final


class WebhookState(StrEnum):
    ENABLED = "enabled"
    # No event is delivered. What happens meanwhile is not delivered later.
    DISABLED = "disabled"


class DisabledBy(StrEnum):
    """Why a webhook is disabled."""

    REQUEST = "request"  # a wallet that controls it asked for it
    OPERATOR = "operator"
    GONE = "gone"  # the receiver answered 410
    FAILURES = "failures"  # no delivery succeeded for `GIVEN_UP_AFTER`
    CONTROL_LOST = "control_lost"  # the wallet that set the URL no longer controls the wallet of the events


class DeliveryState(StrEnum):
    PENDING = "pending"  # is sent, or sent again, when it is due
    DELIVERED = "delivered"  # the receiver answered 2xx
    FAILED = "failed"  # the last retry failed
    CANCELLED = "cancelled"  # the webhook was disabled first


# Delays before the second and further attempts, as the Standard Webhooks specification recommends: three days in all.
RETRY_DELAYS: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
# Each delay is longer by up to this part, so that receivers that were down are not called by all senders at once.
JITTER: Final = 0.2
LONGEST_RETRY_AFTER: Final = timedelta(hours=24)
# From the first byte of the name look-up to the last byte that is read of the answer.
DEADLINE: Final = timedelta(seconds=15)
# A worker that claimed a delivery and died has it no longer than this. Longer than the deadline and the write after it.
LEASE: Final = timedelta(seconds=45)
GIVEN_UP_AFTER: Final = timedelta(days=5)
OLD_SECRET_IS_VALID: Final = timedelta(hours=24)
RESPONSE_BYTES: Final = 1024
WEBHOOKS_PER_WALLET: Final = 10
# Deliveries to one webhook at once; to one whose last attempt failed: 1.
AT_ONCE_PER_WEBHOOK: Final = 5
# The type of a message that is no event: `POST /webhooks/{webhook_id}/test`.
TEST_TYPE: Final = "webhook.test"


def delay_after(attempts: int) -> timedelta | None:
    """Return the delay after this number of failed attempts without jitter, or None if that was the last."""
    return RETRY_DELAYS[attempts - 1] if attempts <= len(RETRY_DELAYS) else None
