"""Request and response bodies of restricted keys."""

from collections.abc import Mapping
from typing import Any, Final

from config.api.json_schemas import Named, Nullable, OneOf
from config.api.page_schemas import page
from config.api.validation import Field, Guid, ListOf, Moment, Number, Shape, Text
from wallets.models import RestrictedKey
from wallets.restricted_keys import PREFIX, checksum
from wallets.states import KeyScope

DEFAULT_LIMIT: Final = 100
_WALLETS: Final = 100
_NETWORKS: Final = 20
_LONGEST_NAME: Final = 64
# A day of a key is counted in a bigint, and a transfer in an integer.
_MOST_TOKENS: Final = 2**31 - 1
_AT: Final = "2024-02-01T00:00:01.000Z"
# Not a key: its checksum is that of other characters.
_SECRET: Final = PREFIX + "0" * 32 + checksum("1" * 32)

PAGE_QUERY: Final[Mapping[str, Field]] = {
    "limit": Number(1, 2000, from_text=True, required=False),
    "start": Number(1, from_text=True, required=False),
    "cursor": Text(maximum=1000, required=False),
}
KEY_PATH: Final[Mapping[str, Field]] = {"key_id": Guid()}
_NAME: Final = Text(maximum=_LONGEST_NAME)
NEW: Final = Shape(
    {
        "name": _NAME,
        "scopes": ListOf(Text(choices=tuple(KeyScope.values)), minimum=1, unique=True),
        "wallets": ListOf(Text(), maximum=_WALLETS, required=False),
        "networks": ListOf(Text(maximum=43), maximum=_NETWORKS, required=False),
        "expires_at": Moment(required=False),
        "tokens_per_transfer": Number(1, _MOST_TOKENS, required=False),
        "tokens_per_day": Number(1, _MOST_TOKENS, required=False),
    }
)
CHANGES: Final = Shape({"name": _NAME})
KEY_SCOPE: Final = Named(
    "KeyScope",
    "What a restricted key may do. A scope to write does not include one to read.",
    OneOf(*KeyScope.values),
    words={
        KeyScope.WALLETS_READ: "Show wallets with the numbers of their tokens.",
        KeyScope.TOKENS_READ: "Show tokens and their movements.",
        KeyScope.TRANSFERS_READ: "Show transfers and claim links.",
        KeyScope.TRANSFERS_WRITE: "Create, accept, fulfil, decline and cancel transfers; create, claim and cancel claim"
        " links.",
        KeyScope.TRANSFERS_PENDING_ONLY: "Create transfers that wait for their receiver, or for a login of the owner,"
        " even where a transfer would complete at once; and cancel transfers. Not together with `transfers:write`.",
        KeyScope.TRUSTS_READ: "Show trust relationships.",
        KeyScope.TRUSTS_WRITE: "Request, accept and end trust relationships of the types `send` and `receive`.",
        KeyScope.EVENTS_READ: "Read events.",
        KeyScope.WEBHOOKS_WRITE: "Show, create, change and delete webhooks. A program with the key can have the"
        " events of its wallets sent to a URL.",
        KeyScope.COINS_READ: "Show coins, lockers without their codes, tasks, receipts, exports and payment requests.",
        KeyScope.COINS_MOVE: "Move coins: put, take, import, export, transfer and pay; and begin the tasks that repair"
        " coins. Not together with limits.",
        KeyScope.LOCKERS_PEEK: "Peek into lockers whose code is known, and `echo`. The wallet that creates the key must"
        " be one of its wallets.",
    },
)
_LIMIT_WORDS: Final = (
    " Transfers and claim links that the key creates are counted when they move or reserve tokens, and those that it"
    " accepts, fulfils or claims; what is cancelled later stays counted."
)
NEW_BODY: Final = Named(
    "NewKey",
    "A restricted key to create. What it may do never changes; only its name does.",
    NEW,
    words={
        "name": "What the key is for: up to 64 characters.",
        "scopes": "What it may do.",
        "wallets": "The names or ids of the wallets that it can be used for: the caller's own, and those that it"
        " manages. By default the caller's own only.",
        "networks": "The addresses and networks, in CIDR notation, from which it can be used. By default all.",
        "expires_at": "When it expires. Without it, the key is valid until it is ended.",
        "tokens_per_transfer": "The most tokens of one transfer." + _LIMIT_WORDS,
        "tokens_per_day": "The most tokens of all its transfers of a day (UTC)." + _LIMIT_WORDS,
    },
)
NEW_EXAMPLE: Final = {
    "name": "the shop",
    "scopes": [KeyScope.TRANSFERS_WRITE.value, KeyScope.TRANSFERS_READ.value],
    "networks": ["203.0.113.0/24"],
    "tokens_per_day": 500,
}
CHANGES_BODY: Final = Named(
    "KeyChanges", "Another name for a restricted key.", CHANGES, words={"name": "What the key is for."}
)
_EXAMPLE: Final[dict[str, Any]] = {
    "id": "7d0c8f1a-3b5e-4f60-9a2d-6c1e8b4f2a90",
    "name": "the shop",
    "prefix": _SECRET[:11],
    "scopes": [KEY_SCOPE],
    "wallets": ["cd004dcc-7974-4c35-8719-cf8f4e18d1df"],
    "networks": ["203.0.113.0/24"],
    "tokens_per_transfer": Nullable(50),
    "tokens_per_day": Nullable(500),
    "created_at": _AT,
    "last_used_at": Nullable(_AT),
    "expires_at": Nullable(_AT),
    "ended_at": Nullable(_AT),
}
_WORDS: Final[dict[str, str]] = {
    "id": "The id of the key, which is not secret.",
    "name": "What the key is for.",
    "prefix": "Its first characters.",
    "scopes": "What it may do.",
    "wallets": "The ids of the wallets that it can be used for, as long as the wallet that created it controls them.",
    "networks": "The networks from which it can be used; empty: all.",
    "tokens_per_transfer": "The most tokens of one transfer; null if there is no such limit.",
    "tokens_per_day": "The most tokens of a day (UTC); null if there is no such limit.",
    "created_at": "When it was created.",
    "last_used_at": "When it was last used, recorded at most once an hour; null if never.",
    "expires_at": "When it expires; null if it does not.",
    "ended_at": "When it was ended; null if it was not.",
}
KEY: Final = Named("RestrictedKey", "A restricted key, without its secret.", _EXAMPLE, words=_WORDS)
KEY_WITH_SECRET: Final = Named(
    "NewRestrictedKey",
    "A restricted key with its secret.",
    {**_EXAMPLE, "key": _SECRET},
    words={
        **_WORDS,
        "key": f"The secret, to be sent as `Authorization: Bearer …`: `{PREFIX}`, 32 random characters and six of a"
        " checksum. No later answer has it.",
    },
)
KEY_PAGE: Final = page("RestrictedKeyPage", {"keys": [KEY]})


def key(row: RestrictedKey, *, secret: str = "") -> dict[str, Any]:
    """Return the body of a key, with the secret if one is given."""
    body: dict[str, Any] = {
        "id": row.pk,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "wallets": row.wallet_ids,
        "networks": row.networks,
        "tokens_per_transfer": row.tokens_per_transfer,
        "tokens_per_day": row.tokens_per_day,
        "created_at": row.created_at,
        "last_used_at": row.last_used_at,
        "expires_at": row.expires_at,
        "ended_at": row.ended_at,
    }
    return body | {"key": secret} if secret else body
