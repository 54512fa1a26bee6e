"""Request and response bodies of passwords and sessions."""

from typing import Any, Final

from config.api.json_schemas import Named, Nullable, Sometimes
from config.api.page_schemas import page
from config.api.treetracker.wallet_serializers import Password
from config.api.validation import Flag, Guid, Shape
from wallets import passwords
from wallets.models import BearerToken

PASSWORD_CHANGE: Final = Shape(
    {"old_password": Password(), "new_password": Password(), "end_keys": Flag(required=False)}
)
PASSWORD_CHANGE_BODY: Final = Named(
    "PasswordChange",
    "The present password of the caller's wallet and its new one.",
    PASSWORD_CHANGE,
    words={
        "old_password": "The present password.",
        "new_password": f"The new one: {passwords.MINIMUM_CHOSEN_LENGTH} to {passwords.MAXIMUM_LENGTH} characters,"
        " neither the present one nor the name of the wallet.",
        "end_keys": "Whether the restricted keys of the wallet end too; false if absent.",
    },
)
ENDED_SESSIONS: Final = Named(
    "EndedSessions",
    "How many sessions a request ended.",
    {"sessions_ended": 1, "keys_ended": Sometimes(1)},
    words={
        "sessions_ended": "The number of bearer tokens that were valid and are not any more.",
        "keys_ended": "The number of restricted keys that ended. Present if the request ended them.",
    },
)
SESSION_PATH: Final = {"session_id": Guid()}
SESSION: Final = Named(
    "Session",
    "A login of the caller's wallet that is valid.",
    {
        "id": "0b2f6f0e-52ab-4f3c-8f9e-3a3c1d8a4d55",
        "created_at": "2024-02-01T00:00:00.000Z",
        "expires_at": "2025-01-31T00:00:00.000Z",
        "last_used_at": Nullable("2024-02-01T00:00:01.000Z"),
        "address": Nullable("203.0.113.7"),
        "api_key": Nullable("the planting app"),
        "is_current": True,
    },
    words={
        "id": "The id of the session, which is not secret.",
        "created_at": "When the wallet logged in, in UTC with milliseconds.",
        "expires_at": "When the session ends, if nothing ends it before.",
        "last_used_at": "When it was last used, recorded at most once an hour; null if never.",
        "address": "The network address of the client that logged in; null if it was not recorded.",
        "api_key": "The name of the API key of the application that logged in; null if it was not recorded.",
        "is_current": "Whether the bearer token of this request is the session's.",
    },
)
SESSION_PAGE: Final = page("SessionPage", {"sessions": [SESSION]})


def session(row: BearerToken, *, is_current: bool) -> dict[str, Any]:
    """Return the body of a session."""
    return {
        "id": row.pk,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
        "address": row.address,
        "api_key": row.api_key and row.api_key.name,
        "is_current": is_current,
    }


def ended(sessions: int, keys: int | None = None) -> dict[str, int]:
    """Return the body of how many sessions ended, and how many restricted keys if the request ended them."""
    return {"sessions_ended": sessions, **({} if keys is None else {"keys_ended": keys})}
