"""What operators see of webhooks."""

from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import Count, Q
from django.utils import timezone

from webhooks.models import Webhook
from webhooks.states import DisabledBy, WebhookState

# Why a webhook is disabled without a request: its partner may not know.
WITHOUT_REQUEST: Final = (DisabledBy.FAILURES, DisabledBy.GONE, DisabledBy.CONTROL_LOST)
# How long it is then pointed out.
POINTED_OUT: Final = timedelta(days=7)


class Trouble(NamedTuple):
    """Numbers of webhooks: all, those whose last delivery failed, and those lately disabled without a request."""

    total: int
    failing: int
    given_up: int


def trouble() -> Trouble:
    return Trouble(
        **Webhook.objects.aggregate(
            total=Count("id"),
            failing=Count("id", filter=Q(state=WebhookState.ENABLED, failing_since__isnull=False)),
            given_up=Count("id", filter=are_given_up()),
        )
    )


def given_up(*, limit: int) -> list[UUID]:
    """Return the webhooks that were lately disabled without a request, the latest first."""
    return list(
        Webhook.objects.filter(are_given_up()).order_by("-disabled_at", "-pk").values_list("pk", flat=True)[:limit]
    )


def are_given_up() -> Q:
    """Return the condition of webhooks that were lately disabled for a reason of `WITHOUT_REQUEST`."""
    since = timezone.now() - POINTED_OUT
    return Q(state=WebhookState.DISABLED, disabled_by__in=WITHOUT_REQUEST, disabled_at__gt=since)
