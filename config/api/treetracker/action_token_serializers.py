"""Request and response bodies of claim links, as the public service's next edition has them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from config.api.errors import Invalid
from config.api.json_schemas import Named, Nullable, OneOf, Sometimes
from config.api.renderers import milliseconds
from config.api.treetracker.transfer_serializers import BUNDLE_SIZE, MAXIMUM_TOKENS
from config.api.validation import Field, Flag, Guid, ListOf, Moment, Number, Shape, Text
from transfers.action_token_lists import ActionTokenPage, ActionTokenRow
from transfers.action_tokens import MAXIMUM_LINKS, NewLink, Wish
from transfers.models import LONGEST_EMAIL, LONGEST_MESSAGE
from transfers.states import ActionTokenState

LONGEST_CODE: Final = 1_000
MAXIMUM_LIMIT: Final = 2_000
DEFAULT_LIMIT: Final = 1_000
FORMATS: Final = ("csv", "pdf")


@dataclass(frozen=True)
class Email(Text):
    """An e-mail address."""

    maximum: int | None = LONGEST_EMAIL

    def read(self, path: str, value: Any) -> str:
        text = super().read(path, value)
        try:
            validate_email(text)
        except ValidationError:
            raise Invalid(f'"{path}" must be a valid email') from None
        return text


_WISH: Final[Mapping[str, Field]] = {
    "recipient_email": Email(required=False),
    "sender_wallet": Text(required=False),
    "email_must_match": Flag(required=False),
    "message": Text(maximum=LONGEST_MESSAGE, required=False),
    "expires_at": Moment(required=False),
}
_BUNDLE: Final = Shape({"bundle_size": Number(minimum=1, maximum=MAXIMUM_TOKENS)})
OF_TOKENS: Final = Shape({**_WISH, "tokens": ListOf(Guid(), minimum=1, maximum=MAXIMUM_TOKENS, unique=True)})
OF_BUNDLE: Final = Shape({**_WISH, "bundle": _BUNDLE})
BATCH: Final = Shape(
    {
        **_WISH,
        "bundle": _BUNDLE,
        "count": Number(minimum=1, maximum=MAXIMUM_LINKS),
        "format": Text(choices=FORMATS, required=False),
    }
)
REDEMPTION: Final = Shape(
    {
        "action_token": Text(maximum=LONGEST_CODE),
        "wallet": Text(required=False),
        "email": Text(maximum=LONGEST_EMAIL, required=False),
    }
)
QUESTION: Final = Shape({"action_token": Text(maximum=LONGEST_CODE)})
LIST_QUERY: Final[Mapping[str, Field]] = {
    "state": Text(choices=["active", "redeemed", "cancelled"], required=False),
    "limit": Number(minimum=1, maximum=MAXIMUM_LIMIT, from_text=True, required=False),
    "offset": Number(minimum=0, from_text=True, required=False),
}
_LISTED: Final = Shape(LIST_QUERY)
PATH: Final = {"action_token_id": Guid()}

_WISH_WORDS: Final = {
    "recipient_email": "The e-mail address of the person for whom the link is. No mail is sent.",
    "sender_wallet": "The name or the id of the wallet that gives the tokens: by default the caller's.",
    "email_must_match": (
        "True if the claimant must type `recipient_email`. It shows that the claimant knows the address, not"
        " that the address is theirs."
    ),
    "message": f"A text for the receiver, of up to {LONGEST_MESSAGE} characters. The page of the link shows it.",
    "expires_at": "In the future: when the link expires. By default 7 days later, or as the operator set.",
}
_ONE_OF_THEM: Final = "0acf8c3d-3008-4b55-877b-241d984721d2"
_CODE: Final = "3q2-7wAAAAAAAAAAAAAAAAAA"
BUNDLE_EXAMPLE: Final = {"bundle": {"bundle_size": 2}, "message": "Thank you for your help", "sender_wallet": "alice"}
LIST_EXAMPLE: Final = {"tokens": [_ONE_OF_THEM], "recipient_email": "ann@example.org", "email_must_match": True}
NEW_OF_BUNDLE: Final = Named(
    "NewBundleActionToken",
    "A claim link of a number of tokens. Which ones, is decided here.",
    OF_BUNDLE,
    words={**_WISH_WORDS, "bundle": BUNDLE_SIZE},
)
NEW_OF_TOKENS: Final = Named(
    "NewTokenActionToken",
    "A claim link of named tokens.",
    OF_TOKENS,
    words={**_WISH_WORDS, "tokens": f"The ids of up to {MAXIMUM_TOKENS:,} tokens, each once."},
)
NEW_BATCH: Final = Named(
    "NewActionTokenBatch",
    "Many claim links of equally many tokens.",
    BATCH,
    words={
        **_WISH_WORDS,
        "bundle": BUNDLE_SIZE,
        "count": f"The number of links, up to {MAXIMUM_LINKS:,}.",
        "format": "`csv` (the default), or `pdf` for a sheet of QR codes to print.",
    },
)
REDEEMED: Final = Named(
    "ActionTokenRedemption",
    "A claim.",
    REDEMPTION,
    words={
        "action_token": "The code of the link.",
        "wallet": "The name or the id of the wallet that receives the tokens: by default the caller's.",
        "email": "The e-mail address of the claimant, if the link asks for it.",
    },
)
ASKED: Final = Named(
    "ActionTokenQuestion", "The code of a claim link.", QUESTION, words={"action_token": "The code of the link."}
)
STATE: Final = Named(
    "ActionTokenState",
    "The state of a claim link.",
    OneOf(*ActionTokenState.values),
    words={
        ActionTokenState.ACTIVE: "It can be claimed. Its tokens are reserved.",
        ActionTokenState.REDEEMED: "It was claimed: the tokens have moved. Final.",
        ActionTokenState.CANCELLED: "The sender cancelled it. Its tokens are free. Final.",
        ActionTokenState.EXPIRED: "Its time has passed. Its tokens are free a few seconds later. Final.",
    },
)
CREATED: Final = Named(
    "CreatedActionToken",
    "A claim link that was created, with its code, which is in no other response.",
    {
        "id": "8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1",
        "action_token": _CODE,
        "expires_at": "2040-01-01T00:00:00.000Z",
        "token_count": 2,
        "url": f"https://coppice.example.org/claim#{_CODE}",
    },
    words={
        "id": "The id of the link, and of the transfer when it is claimed.",
        "action_token": "The code of the link. Anyone who has it may claim the tokens, once. It is stored as a digest.",
        "expires_at": "When it expires, in UTC with milliseconds.",
        "token_count": "The number of tokens.",
        "url": "The link: a page that opens it. The code is behind the `#`, which browsers do not send.",
    },
)
_SHARED: Final[dict[str, tuple[Any, str]]] = {
    "token_count": (2, "The number of tokens."),
    "state": (STATE, "Its state."),
    "expires_at": ("2040-01-01T00:00:00.000Z", "When it expires, in UTC with milliseconds."),
}
ACTION_TOKEN: Final = Named(
    "ActionToken",
    "A claim link. Neither its code nor its tokens are shown.",
    {
        "id": "8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1",
        "sender_wallet_id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
        "recipient_email": Nullable("ann@example.org"),
        **{name: example for name, (example, _) in _SHARED.items()},
        "created_at": "2024-02-01T00:00:01.000Z",
        "redeemed_at": Nullable("2024-02-01T00:00:01.000Z"),
        "message": Nullable("Thank you for your help"),
        "email_must_match": False,
    },
    words={
        "id": "The id of the link, and of the transfer when it is claimed.",
        "sender_wallet_id": "The id of the wallet that gives the tokens.",
        "recipient_email": "The e-mail address that the request named; null without one.",
        **{name: words for name, (_, words) in _SHARED.items()},
        "created_at": "When it was created, in UTC with milliseconds.",
        "redeemed_at": "When it was claimed, in UTC with milliseconds; null if it was not.",
        "message": "The message; null without one.",
        "email_must_match": "Whether a claim must name the e-mail address.",
    },
)
_QUERY: Final = Named(
    "ActionTokensQuery",
    "What was asked.",
    {"limit": DEFAULT_LIMIT, "offset": 0, "state": Sometimes("active")},
    words={
        "limit": "The maximum number of rows.",
        "offset": "The number of rows that were skipped.",
        "state": "The state, if one was asked for.",
    },
)
ACTION_TOKEN_PAGE: Final = Named(
    "ActionTokenPage",
    "A page of claim links, the newest first.",
    {"action_tokens": [ACTION_TOKEN], "query": _QUERY, "total": 1},
    words={
        "action_tokens": "The rows of the page.",
        "query": "What was asked.",
        "total": "The number of rows of all pages.",
    },
)
DESCRIBED: Final = Named(
    "ActionTokenDescription",
    "What a claim link is, for a person who has its code.",
    {
        "sender_wallet": "alice",
        "message": Nullable("Thank you for your help"),
        **{name: example for name, (example, _) in _SHARED.items()},
        "email_must_match": False,
    },
    words={
        "sender_wallet": "The name of the wallet that gives the tokens.",
        "message": "The message; null without one.",
        **{name: words for name, (_, words) in _SHARED.items()},
        "email_must_match": "Whether a claim must name an e-mail address.",
    },
)


def read_new(value: Any) -> dict[str, Any]:
    """Read the body of a new link: with `tokens` the one shape, else the other."""
    return (OF_TOKENS if isinstance(value, Mapping) and "tokens" in value else OF_BUNDLE).read_body(_checked(value))


def read_batch(value: Any) -> dict[str, Any]:
    """Read the body of a batch of links."""
    return {"format": "csv", **BATCH.read_body(_checked(value))}


def _checked(value: Any) -> Any:
    """Refuse a link that must match no address."""
    if isinstance(value, Mapping) and value.get("email_must_match") is True and "recipient_email" not in value:
        raise Invalid('"recipient_email" is required')
    return value


def wish(values: Mapping[str, Any]) -> Wish:
    return Wish(
        recipient_email=values.get("recipient_email", ""),
        email_must_match=values.get("email_must_match", False),
        message=values.get("message", ""),
        expires_at=values.get("expires_at"),
    )


def read_list(query: Any) -> dict[str, Any]:
    """Read the query of the list: `limit` and `offset`, and `state` if it is sent."""
    values = _LISTED.read_query(query)
    return {"limit": DEFAULT_LIMIT, "offset": 0, **values}


def created(link: NewLink, *, page: str) -> dict[str, Any]:
    """Return the body of a new link. `page` is the URL of the page `/claim`."""
    return {
        "id": str(link.id),
        "action_token": link.code,
        "expires_at": milliseconds(link.expires_at),
        "token_count": link.token_count,
        "url": f"{page}#{link.code}",
    }


def action_token(row: ActionTokenRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "sender_wallet_id": str(row.sender_id),
        "recipient_email": row.recipient_email or None,
        "token_count": row.token_count,
        "state": row.state,
        "expires_at": milliseconds(row.expires_at),
        "created_at": milliseconds(row.created_at),
        "redeemed_at": None if row.redeemed_at is None else milliseconds(row.redeemed_at),
        "message": row.message or None,
        "email_must_match": row.email_must_match,
    }


def action_tokens(page: ActionTokenPage, query: Mapping[str, Any]) -> dict[str, Any]:
    return {"action_tokens": [action_token(row) for row in page.rows], "query": dict(query), "total": page.total}


def described(row: ActionTokenRow) -> dict[str, Any]:
    return {
        "sender_wallet": row.sender,
        "message": row.message or None,
        "token_count": row.token_count,
        "state": row.state,
        "expires_at": milliseconds(row.expires_at),
        "email_must_match": row.email_must_match,
    }
