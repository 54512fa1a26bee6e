"""
Webhooks as in the Standard Webhooks specification (https://www.standardwebhooks.com): checking and signing them.

A message has the header fields `webhook-id`, `webhook-timestamp` and `webhook-signature`. The signature is an
HMAC-SHA256 of `id.timestamp.body`; while a secret is rotated there may be several.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from coppice_client.errors import InvalidWebhook
from coppice_client.types import Event

_PREFIX: Final = "whsec_"


def verify_webhook(body: bytes | str, headers: Mapping[str, str], secret: str | Sequence[str]) -> dict[str, Any]:
    """
    Return the decoded body of a webhook.

    `body` is the body as it was received, before any decoding. `headers` are those of the request, in any case, and
    `secret` is the `whsec_…` of the webhook, or several of them. A message that was sent more than five minutes ago, or
    ahead, is refused. The same message may come again: keep its `webhook-id`, and pass over those that you know.

    :raises InvalidWebhook: the message is not genuine, or not recent
    :raises ValueError: the secret is none
    """
    webhooks = [_webhook(each) for each in ([secret] if isinstance(secret, str) else secret)]
    if not webhooks:
        raise ValueError("A secret is required")
    reason = "The webhook is malformed"
    for webhook in webhooks:
        try:
            webhook.verify(body, dict(headers), json_parse=False)
            message = json.loads(body)
        except WebhookVerificationError as error:
            reason = str(error)
        except (ValueError, binascii.Error):
            # Of the library too, for a header that it cannot read.
            continue
        else:
            if isinstance(message, dict):
                return message
    raise InvalidWebhook(reason)


def _webhook(secret: str) -> Webhook:
    text = secret.removeprefix(_PREFIX)
    try:
        return Webhook(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (ValueError, EmptyWebhookSecretError):
        raise ValueError("A webhook secret is `whsec_` and base64") from None


def new_secret() -> str:
    """Return a new secret of 24 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(24)).decode()


def message_of(event: Event) -> bytes:
    """Return the body of the webhook that reports an event."""
    message = {"type": event["type"], "timestamp": event["created_at"], "data": event}
    return json.dumps(message, separators=(",", ":")).encode()


def signed_headers(message_id: str, body: bytes, secret: str, *, at: datetime | None = None) -> dict[str, str]:
    """Return the header fields of a webhook that is sent at a time, by default now."""
    moment = (at or datetime.now(UTC)).replace(microsecond=0)
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": _webhook(secret).sign(message_id, moment, body.decode()),
    }
