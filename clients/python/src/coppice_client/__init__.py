"""Client of Coppice: see `Client`, `AsyncClient` and `verify_webhook`."""

from coppice_client.client import AsyncClient, Client
from coppice_client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    CoppiceError,
    EventsExpired,
    Forbidden,
    InvalidRequest,
    InvalidWebhook,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    ServerError,
    TaskFailed,
    TaskTimeout,
    Unauthorized,
    Unavailable,
)
from coppice_client.exchange import Retries
from coppice_client.types import decimal_of, token_count
from coppice_client.webhooks import verify_webhook

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadRequest",
    "Client",
    "Conflict",
    "CoppiceError",
    "EventsExpired",
    "Forbidden",
    "InvalidRequest",
    "InvalidWebhook",
    "NotFound",
    "OutcomeUnknown",
    "RateLimited",
    "Retries",
    "ServerError",
    "TaskFailed",
    "TaskTimeout",
    "Unauthorized",
    "Unavailable",
    "decimal_of",
    "token_count",
    "verify_webhook",
]
