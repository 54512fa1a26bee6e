"""What operators see of webhooks."""

from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import Count, Q
from django.utils import timezone

from webhooks.models import Webhook
from webhooks.states import DisabledBy, WebhookState

# How long a webhook that was disabled for its failures is pointed out.
POINTED_OUT: Final = timedelta(days=7)


class Trouble(NamedTuple):
    """Numbers of webhooks: all, those whose last delivery failed, and those lately disabled for their failures."""

    total: int
    failing: int
    given_up: int


def trouble() -> Trouble:
    return Trouble(
        **Webhook.objects.aggregate(
            total=Count("id"),
            failing=Count("id", filter=Q(state=WebhookState.ENABLED, failing_since__isnull=False)),
            given_up=Count("id", filter=_given_up()),
        )
    )


def given_up(*, limit: int) -> list[UUID]:
    """Return the webhooks that were lately disabled for their failures, the latest first."""
    return list(
        Webhook.objects.filter(_given_up()).order_by("-disabled_at", "-pk").values_list("pk", flat=True)[:limit]
    )


def _given_up() -> Q:
    since = timezone.now() - POINTED_OUT
    return Q(state=WebhookState.DISABLED, disabled_by=DisabledBy.FAILURES, disabled_at__gt=since)
