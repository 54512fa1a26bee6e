"""Request and response bodies of webhooks."""

from collections.abc import Mapping
from typing import Any, Final

from config.api.json_schemas import Named, Nullable, OneOf
from config.api.page_schemas import page
from config.api.treetracker.event_serializers import EVENT, EVENT_TYPE
from config.api.validation import Field, Guid, ListOf, Number, Shape, Text
from wallets.states import EventType
from webhooks.addresses import LONGEST_URL
from webhooks.models import Webhook, WebhookDelivery
from webhooks.states import TEST_TYPE, DeliveryState, DisabledBy, WebhookState

DEFAULT_LIMIT: Final = 100
_ID: Final = "2b7c1f0a-5d6e-4f7a-9b8c-0d1e2f3a4b5c"
_AT: Final = "2024-02-01T00:00:01.000Z"
_SECRET: Final = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="

_PAGE: Final[Mapping[str, Field]] = {
    "limit": Number(1, 2000, from_text=True, required=False),
    "start": Number(1, from_text=True, required=False),
    "cursor": Text(maximum=1000, required=False),
}
WALLET_FILTER: Final[Mapping[str, Field]] = {"wallet": Text(required=False)}
STATE_FILTER: Final[Mapping[str, Field]] = {"state": Text(choices=tuple(DeliveryState), required=False)}
WEBHOOKS_QUERY: Final[Mapping[str, Field]] = {**_PAGE, **WALLET_FILTER}
DELIVERIES_QUERY: Final[Mapping[str, Field]] = {**_PAGE, **STATE_FILTER}
WEBHOOK_PATH: Final[Mapping[str, Field]] = {"webhook_id": Guid()}
DELIVERY_PATH: Final[Mapping[str, Field]] = {**WEBHOOK_PATH, "delivery_id": Guid()}

_TYPES: Final = ListOf(
    Text(choices=tuple(EventType.values)), maximum=len(EventType.values), unique=True, required=False
)
_URL: Final = Text(maximum=LONGEST_URL)
NEW: Final = Shape({"url": _URL, "event_types": _TYPES, "wallet": Text(required=False)})
CHANGES: Final = Shape(
    {
        "url": Text(maximum=LONGEST_URL, required=False),
        "event_types": _TYPES,
        "state": Text(choices=tuple(WebhookState), required=False),
    }
)
EMPTY: Final = Shape({})
_URL_WORDS: Final = (
    "Where to send messages: an https URL on the public internet, without user name, password and fragment."
)
_TYPES_WORDS: Final = "The types of events that are sent. None: all types, those of later versions too."
NEW_BODY: Final = Named(
    "NewWebhook",
    "A webhook to create.",
    NEW,
    words={
        "url": _URL_WORDS,
        "event_types": _TYPES_WORDS,
        "wallet": "The name or the id of the wallet whose events are sent: the caller's by default, or one that it"
        " manages.",
    },
)
NEW_EXAMPLE: Final = {"url": "https://shop.example/hooks/trees", "event_types": ["transfer_completed"]}
CHANGES_BODY: Final = Named(
    "WebhookChanges",
    "What to change of a webhook. What is left out stays as it is.",
    CHANGES,
    words={
        "url": f"{_URL_WORDS} The wallet that sets it gets the secret from then on.",
        "event_types": _TYPES_WORDS,
        "state": "`disabled`: nothing is sent, and what waits is cancelled. `enabled`: what happens from then on is"
        " sent.",
    },
)
CHANGES_EXAMPLE: Final = {"state": "disabled"}

WEBHOOK_STATE: Final = Named(
    "WebhookState",
    "Whether messages are sent.",
    OneOf(*(each.value for each in WebhookState)),
    words={
        WebhookState.ENABLED.value: "Messages are sent.",
        WebhookState.DISABLED.value: "No message is sent. What happens meanwhile is not sent later.",
    },
)
DISABLED_BY: Final = Named(
    "WebhookDisabledBy",
    "Why a webhook is disabled.",
    OneOf(*(each.value for each in DisabledBy)),
    words={
        DisabledBy.REQUEST.value: "A wallet that controls it asked for it.",
        DisabledBy.OPERATOR.value: "An operator disabled it.",
        DisabledBy.GONE.value: "The receiver answered 410.",
        DisabledBy.FAILURES.value: "No delivery succeeded for five days.",
        DisabledBy.CONTROL_LOST.value: "The wallet that set the URL controls the wallet of the events no longer.",
    },
)
_FIELDS: Final[dict[str, Any]] = {
    "id": _ID,
    "wallet_id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
    "wallet": "alice",
    "owner": "alice",
    "url": "https://shop.example/hooks/trees",
    "event_types": [EVENT_TYPE],
    "state": WEBHOOK_STATE,
    "disabled_by": Nullable(DISABLED_BY),
    "disabled_at": Nullable(_AT),
    "failing_since": Nullable(_AT),
    "previous_secret_until": Nullable(_AT),
    "created_at": _AT,
    "changed_at": _AT,
}
_WORDS: Final[dict[str, str | Named]] = {
    "id": "The id of the webhook.",
    "wallet_id": "The id of the wallet whose events are sent.",
    "wallet": "The name of that wallet.",
    "owner": "The name of the wallet that set the URL.",
    "url": "Where messages are sent.",
    "event_types": "The types of events that are sent. None: all types.",
    "state": "Whether messages are sent.",
    "disabled_by": "Why it is disabled; null while it is enabled.",
    "disabled_at": "When it was disabled; null while it is enabled.",
    "failing_since": "The first failed attempt since the last success; null if the last attempt succeeded.",
    "previous_secret_until": "Until when the secret before signs messages too; null if it was never rotated.",
    "created_at": "When it was created.",
    "changed_at": "When it was last changed.",
}
WEBHOOK: Final = Named("Webhook", "A URL to which the events of a wallet are sent.", _FIELDS, words=_WORDS)
WEBHOOK_WITH_SECRET: Final = Named(
    "WebhookWithSecret",
    "A webhook with its new secret, which is shown only in this answer.",
    {**_FIELDS, "secret": _SECRET},
    words={
        **_WORDS,
        "secret": "The key of the signatures, as libraries of Standard Webhooks take it: `whsec_` and base64. Keep it"
        " as you keep a password.",
    },
)
WEBHOOK_PAGE: Final = page("WebhookPage", {"webhooks": [WEBHOOK]})
DELETED: Final = Named(
    "DeletedWebhook",
    "A webhook that was deleted, with its deliveries.",
    {"id": _ID, "deleted": True},
    words={"id": "The id of the webhook.", "deleted": "Always true."},
)

DELIVERY_STATE: Final = Named(
    "WebhookDeliveryState",
    "The state of a delivery.",
    OneOf(*(each.value for each in DeliveryState)),
    words={
        DeliveryState.PENDING.value: "It is sent, or sent again, at `next_attempt_at`.",
        DeliveryState.DELIVERED.value: "The receiver answered with a status of 2xx.",
        DeliveryState.FAILED.value: "The last of ten attempts failed, or the receiver answered 410.",
        DeliveryState.CANCELLED.value: "The webhook was disabled first.",
    },
)
DELIVERY: Final = Named(
    "WebhookDelivery",
    "A message to a webhook, with its last attempt. Kept for some time, 30 days by default.",
    {
        "id": "9b2f4d1e-7c3a-4e5b-8d6f-1a2b3c4d5e6f",
        "message_id": "5a3f0e2c-6a0b-4f0e-8a0b-1d2c3b4a5f60",
        "type": "transfer_completed",
        "state": DELIVERY_STATE,
        "attempts": 2,
        "status": Nullable(503),
        "error": Nullable("timeout"),
        "response": "Service Unavailable",
        "duration_ms": Nullable(120),
        "last_attempt_at": Nullable(_AT),
        "next_attempt_at": Nullable(_AT),
        "created_at": _AT,
    },
    words={
        "id": "The id of the delivery.",
        "message_id": "The header `webhook-id`: the id of the event. It is the same for every attempt.",
        "type": f"The type of the event, or `{TEST_TYPE}`.",
        "state": "The state of the delivery.",
        "attempts": "How often it was sent.",
        "status": "The HTTP status of the last answer; null if there was none.",
        "error": "Why there was no answer: `timeout`, `connection_failed`, `tls_failed`, `no_http_answer`,"
        " `name_unknown`, `address_refused` (an address of a private network) or `secret_unreadable`; null if there"
        " was one.",
        "response": "The first kilobyte of its body; empty if there was none.",
        "duration_ms": "How long the last attempt took; null before the first.",
        "last_attempt_at": "When it was last sent; null before the first attempt.",
        "next_attempt_at": "When it is sent next; null if it is not.",
        "created_at": "When it was created.",
    },
)
DELIVERY_PAGE: Final = page("WebhookDeliveryPage", {"deliveries": [DELIVERY]})
MESSAGE: Final = Named(
    "WebhookMessage",
    "The body of a webhook.",
    {"type": EVENT_TYPE, "timestamp": _AT, "data": EVENT},
    words={
        "type": f"The type of the event. Of a test: `{TEST_TYPE}`.",
        "timestamp": "When it happened.",
        "data": "The event, as `GET /events` has it.",
    },
)


def webhook(row: Webhook, *, secret: str = "") -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": row.pk,
        "wallet_id": row.wallet_id,
        "wallet": row.wallet.name,
        "owner": row.owner.name,
        "url": row.url,
        "event_types": row.event_types,
        "state": row.state,
        "disabled_by": row.disabled_by or None,
        "disabled_at": row.disabled_at,
        "failing_since": row.failing_since,
        "previous_secret_until": row.previous_until,
        "created_at": row.created_at,
        "changed_at": row.changed_at,
    }
    return body | {"secret": secret} if secret else body


def delivery(row: WebhookDelivery) -> dict[str, Any]:
    is_open = row.state == DeliveryState.PENDING
    return {
        "id": row.pk,
        "message_id": row.message_id,
        "type": row.message.type,
        "state": row.state,
        "attempts": row.attempt,
        "status": row.status,
        "error": row.error or None,
        "response": row.response,
        "duration_ms": row.milliseconds,
        "last_attempt_at": row.sent_at,
        "next_attempt_at": row.due_at if is_open else None,
        "created_at": row.created_at,
    }
