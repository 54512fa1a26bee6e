"""The errors of webhooks (`config/api/error_codes.py`)."""

from collections.abc import Mapping
from typing import Final

from config.api.error_codes import ErrorCode, Where, code
from wallets.errors import DomainError
from webhooks import errors

BY_CLASS: Final[Mapping[type[DomainError], ErrorCode]] = {
    errors.WebhookNotFound: code(
        "webhook_not_found",
        404,
        "There is no such webhook",
        "No webhook has this id, or it is of a wallet that the caller does not control.",
        "Read `GET /webhooks`.",
        where=Where.TREETRACKER,
    ),
    errors.DeliveryNotFound: code(
        "webhook_delivery_not_found",
        404,
        "There is no such delivery",
        "The webhook has no delivery with this id. Deliveries are deleted after some time, 30 days by default.",
        "Read `GET /webhooks/{webhook_id}/deliveries`.",
        where=Where.TREETRACKER,
    ),
    errors.InvalidWebhookUrl: code(
        "webhook_url_invalid",
        422,
        "Webhooks cannot be sent to the URL",
        "The URL is no https URL, holds a password or a fragment, or names an address of a private network. The message"
        " says which.",
        "Give a URL on the public internet, over HTTPS.",
        where=Where.TREETRACKER,
    ),
    errors.TooManyWebhooks: code(
        "too_many_webhooks",
        409,
        "The wallet has as many webhooks as it may have",
        "A wallet has at most ten webhooks, those that its managers created among them.",
        "Delete one, or send several types of events to one.",
        where=Where.TREETRACKER,
    ),
    errors.WebhookIsDisabled: code(
        "webhook_disabled",
        409,
        "The webhook is disabled",
        "Nothing is sent to a disabled webhook.",
        "Enable it: `PATCH /webhooks/{webhook_id}` with `state`.",
        where=Where.TREETRACKER,
    ),
    errors.SecretOfAnotherWallet: code(
        "webhook_secret_of_another_wallet",
        403,
        "Another wallet set the URL of the webhook",
        "Only the wallet that set the URL gets the secret of its messages.",
        "Log in as that wallet, or set a URL first.",
        where=Where.TREETRACKER,
    ),
    errors.UrlOfAnotherWallet: code(
        "webhook_control_lost",
        409,
        "The wallet that set the URL controls this wallet no longer",
        "Events are sent to a URL only while the wallet that set it controls the wallet of the events.",
        "Set a URL together with the state.",
        where=Where.TREETRACKER,
    ),
}
