"""The body of a webhook: what reports an event, in the form of `GET /events`."""

import uuid
from datetime import UTC, datetime

import orjson

from transfers.events import EventRow
from webhooks.models import Webhook
from webhooks.states import TEST_TYPE


def body_of(event: EventRow) -> str:
    """Return the JSON text `{"type", "timestamp", "data": event}`; `data` is as in `GET /events`."""
    created_at = event.created_at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    data = {
        "id": event.id,
        "wallet_id": event.wallet_id,
        "type": event.type,
        "created_at": created_at,
        "payload": event.payload,
    }
    return orjson.dumps({"type": event.type, "timestamp": created_at, "data": data}).decode()


def test_event(webhook: Webhook) -> EventRow:
    """Return what a test of a webhook reports. It is not in the event feed."""
    payload = {"webhookId": str(webhook.pk), "wallet": webhook.wallet.name}
    return EventRow(0, 0, uuid.uuid4(), webhook.wallet_id, TEST_TYPE, datetime.now(UTC), payload)
