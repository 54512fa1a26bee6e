"""Reads of webhooks and deliveries, restricted to what the actor may see."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from django.db.models import Q
from django.db.models.expressions import RawSQL

from trusts import queries as trusts
from wallets import queries as wallets
from wallets.errors import WalletNotControlled
from webhooks.errors import WebhookNotFound
from webhooks.models import Webhook, WebhookDelivery
from webhooks.states import DeliveryState

Position = tuple[datetime, UUID]
_AFTER_ALL: Final[Position] = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=0))


def webhooks_visible_to(
    *, actor_id: UUID, wallet: str | None, limit: int, offset: int = 0, after: Position | None = None
) -> list[Webhook]:
    """
    Return a page of the webhooks of the actor and of the wallets that it manages, or of the one named `wallet`.

    :raises InvalidWalletName, WalletNotFound, WalletNotControlled: `wallet` is no wallet that the actor controls
    """
    if wallet is None:
        wallet_ids = trusts.controlled_wallet_ids(actor_id=actor_id)
    else:
        found = wallets.wallet_in_query(wallet).pk
        if not trusts.controls(actor_id=actor_id, wallet_id=found):
            raise WalletNotControlled("Wallet do not belongs to wallet logged in")
        wallet_ids = [found]
    rows = Webhook.objects.filter(wallet_id__in=wallet_ids).select_related("wallet", "owner")
    if after is not None:
        created_at, webhook_id = after
        rows = rows.filter(Q(created_at__gt=created_at) | Q(created_at=created_at, id__gt=webhook_id))
    return list(rows.order_by("created_at", "id")[offset : offset + limit])


def webhook_visible_to(*, actor_id: UUID, webhook_id: UUID) -> Webhook:
    """:raises WebhookNotFound: no such webhook, or of a wallet that the actor does not control"""
    row = Webhook.objects.select_related("wallet", "owner").filter(pk=webhook_id).first()
    if row is None or not trusts.controls(actor_id=actor_id, wallet_id=row.wallet_id):
        raise WebhookNotFound
    return row


def deliveries_of(
    *, webhook: Webhook, state: str | None, limit: int, offset: int = 0, before: Position | None = None
) -> list[WebhookDelivery]:
    """Return a page of the deliveries of a webhook, the newest first."""
    rows = WebhookDelivery.objects.filter(webhook=webhook).select_related("message")
    if state is not None:
        # A constant: PostgreSQL uses an index of some states only for a statement that names one of them.
        rows = rows.filter(state=RawSQL(f"'{DeliveryState(state).value}'", ()))  # noqa: S611 - a constant
    # The bound is a condition of the index, and without one PostgreSQL may sort all deliveries of the webhook.
    created_at, delivery_id = before or _AFTER_ALL
    rows = rows.filter(created_at__lte=created_at).filter(Q(created_at__lt=created_at) | Q(id__lt=delivery_id))
    return list(rows.order_by("-created_at", "-id")[offset : offset + limit])
