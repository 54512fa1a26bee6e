"""
What the sender writes: claims and results. Each function is one short transaction, and none makes a network call.

The fence: a result is written only if the delivery is pending, and has a lease and the attempt number of the claim. A
worker that was overtaken, or whose delivery was sent again or cancelled, changes nothing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from wallets.sql_files import load
from webhooks import operations
from webhooks.models import Webhook
from webhooks.sender.http import Answer
from webhooks.states import (
    AT_ONCE_PER_WEBHOOK,
    GIVEN_UP_AFTER,
    JITTER,
    LEASE,
    DeliveryState,
    DisabledBy,
    WebhookState,
    delay_after,
)

_GONE: Final = 410
SENDER_LEASE: Final = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this worker may send, until its lease ends."""

    delivery_id: UUID
    # When the delivery was created, which selects the partition.
    created_at: datetime
    attempt: int
    failures: int
    webhook_id: UUID
    # Whether the last attempt to reach the webhook failed.
    is_failing: bool
    url: str = field(repr=False)
    secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(repr=False)
    message_id: UUID
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt."""

    claim: Claim
    answer: Answer
    sent_at: datetime
    milliseconds: int


class _Next(NamedTuple):
    state: DeliveryState
    failures: int
    delay: float | None


def be_the_sender(*, holder: datetime | None) -> datetime | None:
    """
    Take or keep the lease of the one sender, and return its end; None if another worker has it.

    `holder` is what the last call returned, None at first. Two senders would do no harm: each delivery has its own
    lease. One is enough, and leaves the other workers to other tasks.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE webhooks_fanout SET sender_until = now() + make_interval(secs => %s)"
            " WHERE id = 1 AND (sender_until < now() OR sender_until > now() + make_interval(secs => %s)"
            "                   OR sender_until = %s) RETURNING sender_until",
            # Of a lease that ends later the clock was ahead: all webhooks would wait until it is reached again.
            [SENDER_LEASE.total_seconds(), 2 * SENDER_LEASE.total_seconds(), holder],
        )
        row = cursor.fetchone()
    return None if row is None else row[0]


def stop_sending(*, holder: datetime) -> None:
    """End the lease of `be_the_sender`, so that the next sender need not wait for it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE webhooks_fanout SET sender_until = now() - interval '1 second' WHERE id = 1 AND sender_until = %s",
            [holder],
        )


def claim(*, healthy: int, failing: int) -> list[Claim]:
    """Claim due deliveries: up to `healthy`, and up to `failing` of webhooks whose last attempt failed."""
    with connection.cursor() as cursor:
        cursor.execute(
            load("webhooks", "claim", waiting=load("webhooks", "parts/waiting")),
            {
                "healthy": healthy,
                "failing": failing,
                "at_once": AT_ONCE_PER_WEBHOOK,
                "lease": LEASE.total_seconds(),
            },
        )
        rows = cursor.fetchall()
    return [
        Claim(
            delivery_id=row[0],
            created_at=row[1],
            attempt=row[2],
            failures=row[3],
            webhook_id=row[4],
            is_failing=row[5],
            url=row[6],
            secret=bytes(row[7]),
            previous_secret=None if row[8] is None else bytes(row[8]),
            message_id=row[9],
            body=row[10],
        )
        for row in rows
    ]


def settle(results: Sequence[Result]) -> set[UUID]:
    """
    Write the results whose claim is still valid, and return the ids of these deliveries.

    A webhook that answered 410, or that no attempt has reached for five days, is disabled with an event.
    """
    if not results:
        return set()
    nexts = [_next(result) for result in results]
    with transaction.atomic(), connection.cursor() as cursor:
        # Before the deliveries, as everywhere.
        webhook_ids = {result.claim.webhook_id for result in results}
        rows = Webhook.objects.select_for_update(no_key=True, of=("self",)).filter(pk__in=webhook_ids).order_by("pk")
        webhooks = {webhook.pk: webhook for webhook in rows}
        cursor.execute(
            load("webhooks", "settle"),
            {
                "ids": [result.claim.delivery_id for result in results],
                "created_at": [result.claim.created_at for result in results],
                "attempts": [result.claim.attempt for result in results],
                "states": [each.state.value for each in nexts],
                "failures": [each.failures for each in nexts],
                "delays": [each.delay for each in nexts],
                "sent_at": [result.sent_at for result in results],
                "milliseconds": [result.milliseconds for result in results],
                "statuses": [result.answer.status for result in results],
                "errors": [result.answer.error for result in results],
                "responses": [result.answer.response for result in results],
            },
        )
        written = {row[0] for row in cursor.fetchall()}
        for result in results:
            webhook = webhooks.get(result.claim.webhook_id)
            if webhook is not None and result.claim.delivery_id in written:
                _note(webhook, result)
    return written


def _next(result: Result) -> _Next:
    """Return the next state of a delivery, its number of failures, and the seconds until it is due."""
    if result.answer.is_success:
        return _Next(DeliveryState.DELIVERED, result.claim.failures, None)
    failures = result.claim.failures + 1
    delay = delay_after(failures)
    if delay is None or result.answer.status == _GONE:
        return _Next(DeliveryState.FAILED, failures, None)
    wanted = max(delay * (1 + random.random() * JITTER), result.answer.retry_after or timedelta())  # noqa: S311
    return _Next(DeliveryState.PENDING, failures, wanted.total_seconds())


def _note(webhook: Webhook, result: Result) -> None:
    """Note on a webhook, whose row is locked, whether an attempt reached it."""
    if webhook.state == WebhookState.DISABLED:
        return
    if result.answer.is_success:
        if webhook.failing_since is not None:
            webhook.failing_since = None
            webhook.save(update_fields=["failing_since"])
        return
    if webhook.failing_since is None:
        webhook.failing_since = result.sent_at
        webhook.save(update_fields=["failing_since"])
    if result.answer.status == _GONE:
        operations.disable(webhook, by=DisabledBy.GONE)
    elif timezone.now() - webhook.failing_since >= GIVEN_UP_AFTER:
        operations.disable(webhook, by=DisabledBy.FAILURES)
