"""Events and webhooks."""

from collections.abc import Callable, Sequence
from datetime import datetime

from coppice_client.calls.describing import get, given, path_of, write
from coppice_client.errors import CoppiceError
from coppice_client.exchange import Call, Following, Listing
from coppice_client.types import (
    DeletedWebhook,
    Delivery,
    DeliveryState,
    Event,
    Webhook,
    WebhookState,
    WebhookWithSecret,
)


def events(*, wallet: str | None = None, since: datetime | None = None, page_size: int = 100) -> Listing[Event]:
    """Events of the caller and of the wallets that it manages, the oldest first."""
    return Listing("/events", "events", limit=page_size, wallet=wallet, since=since)


def webhooks(*, wallet: str | None = None, page_size: int = 100) -> Listing[Webhook]:
    """Webhooks of the caller and of the wallets that it manages, or of one wallet."""
    return Listing("/webhooks", "webhooks", limit=page_size, wallet=wallet)


def webhook(webhook_id: str) -> Call[Webhook]:
    return get("/webhooks", webhook_id)


def create_webhook(
    url: str,
    *,
    event_types: Sequence[str] | None = None,
    wallet: str | None = None,
    idempotency_key: str | None = None,
) -> Call[WebhookWithSecret]:
    """Have events of a wallet sent to a URL: those of some types, or all. Keep the `secret` of the answer."""
    body = given(url=url, event_types=event_types, wallet=wallet)
    return write("POST", "/webhooks", key=idempotency_key, body=body)


def change_webhook(
    webhook_id: str,
    *,
    url: str | None = None,
    event_types: Sequence[str] | None = None,
    state: WebhookState | None = None,
    idempotency_key: str | None = None,
) -> Call[Webhook]:
    """Change what is given. A webhook that is enabled gets what happens from then on."""
    body = given(url=url, event_types=event_types, state=state)
    return write("PATCH", "/webhooks", webhook_id, key=idempotency_key, body=body)


def delete_webhook(webhook_id: str, *, idempotency_key: str | None = None) -> Call[DeletedWebhook]:
    return write("DELETE", "/webhooks", webhook_id, key=idempotency_key)


def rotate_webhook_secret(webhook_id: str, *, idempotency_key: str | None = None) -> Call[WebhookWithSecret]:
    """Replace the secret. For 24 hours messages are signed with both: verify with either."""
    return write("POST", "/webhooks", webhook_id, "/rotate-secret", key=idempotency_key, body={})


def try_webhook(webhook_id: str, *, idempotency_key: str | None = None) -> Call[Delivery]:
    """Send a message of the type `webhook.test`."""
    return write("POST", "/webhooks", webhook_id, "/test", key=idempotency_key, body={})


def webhook_deliveries(
    webhook_id: str, *, state: DeliveryState | None = None, page_size: int = 100
) -> Listing[Delivery]:
    """The deliveries of the last 30 days, the newest first."""
    return Listing(path_of("/webhooks", webhook_id, "/deliveries"), "deliveries", limit=page_size, state=state)


def resend_delivery(webhook_id: str, delivery_id: str, *, idempotency_key: str | None = None) -> Call[Delivery]:
    """Send a message again, under the same id."""
    path = ("/webhooks", webhook_id, "/deliveries", delivery_id, "/resend")
    return write("POST", *path, key=idempotency_key, body={})


def follow_events(
    *,
    wallet: str | None = None,
    since: datetime | None = None,
    page_size: int = 100,
    interval: float = 2.0,
    on_trouble: Callable[[CoppiceError], object] | None = None,
) -> Following:
    """
    Events as they happen, without end; those since a time first, or from now on.

    `interval` is the number of seconds between two questions. While the server cannot be reached, `on_trouble` is
    called with the error, and the server is asked again.

    :raises coppice_client.EventsExpired: while nothing was read, the server removed events that come next, so some are
        missing. Follow again with a `since` before them: it begins with the oldest event that is kept
    """
    return Following(wallet=wallet, since=since, page_size=page_size, interval=interval, on_trouble=on_trouble)
