"""Query parameters and response bodies of balances and statements of tokens."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from config.api.json_schemas import Named, Nullable, OneOf
from config.api.validation import Field, Moment
from transfers.balances import KINDS, Balance, Line, Statement

DEFAULT_LIMIT: Final = 100
AT: Final[Mapping[str, Field]] = {"at": Moment(required=False)}
PERIOD: Final[Mapping[str, Field]] = {"from": Moment(required=False), "to": Moment(required=False)}

_WALLET_ID: Final = "cd004dcc-7974-4c35-8719-cf8f4e18d1df"
BALANCE: Final = Named(
    "TokenBalance",
    "How many tokens a wallet held at a moment.",
    {"wallet_id": _WALLET_ID, "at": "2024-02-01T00:00:00.000000Z", "balance": 98},
    words={
        "wallet_id": "The id of the wallet.",
        "at": "The moment, in UTC with microseconds: that of the request, or now if that is earlier.",
        "balance": "The tokens that it held, by all movements before this moment.",
    },
)
LINE_TYPE: Final = Named(
    "TokenLineType",
    "How tokens came into a wallet or left it.",
    OneOf(*KINDS),
    words={
        "issued": "The installation issued them to the wallet, or they were imported with it.",
        "received": "A transfer brought them.",
        "sent": "A transfer took them.",
    },
)
LINE: Final = Named(
    "TokenLine",
    "One movement of tokens into a wallet or out of it.",
    {
        "at": "2024-02-01T00:00:01.250000Z",
        "type": LINE_TYPE,
        "amount": 2,
        "balance": 100,
        "transfer_id": Nullable("8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1"),
        "counterparty": Nullable("carol"),
    },
    words={
        "at": "When the tokens moved, in UTC with microseconds.",
        "type": "How they came or left.",
        "amount": "The number of tokens; negative if they left the wallet.",
        "balance": "The balance after this line.",
        "transfer_id": "The id of the transfer; null for tokens that were issued.",
        "counterparty": "The name of the other wallet; null for tokens that were issued.",
    },
)
STATEMENT: Final = Named(
    "TokenStatement",
    "A page of what moved the tokens of a wallet in a period, the oldest first. The opening balance and the amounts of"
    " all lines of all pages add up to the closing balance.",
    {
        "wallet_id": _WALLET_ID,
        "from": "2024-02-01T00:00:00.000000Z",
        "to": "2024-03-01T00:00:00.000000Z",
        "opening_balance": 98,
        "closing_balance": 100,
        "lines": [LINE],
    },
    words={
        "wallet_id": "The id of the wallet.",
        "from": "The beginning of the period, in UTC with microseconds: lines of this moment are in it.",
        "to": "Its end: lines of this moment are not in it. That of the request, or now if that is earlier.",
        "opening_balance": "The balance at the beginning, of the whole period and not of the page.",
        "closing_balance": "The balance at the end.",
        "lines": "The rows of the page, no more than `limit`.",
    },
)


def microseconds(value: datetime) -> str:
    """Return a time in ISO 8601, in UTC with microseconds and `Z`."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def balance(wallet_id: object, found: Balance) -> dict[str, Any]:
    return {"wallet_id": wallet_id, "at": microseconds(found.at), "balance": found.tokens}


def head(wallet_id: object, found: Statement) -> dict[str, Any]:
    """Return the body of a page without its lines."""
    return {
        "wallet_id": wallet_id,
        "from": microseconds(found.start),
        "to": microseconds(found.end),
        "opening_balance": found.opening,
        "closing_balance": found.closing,
    }


def line(row: Line) -> dict[str, Any]:
    return {
        "at": microseconds(row.at),
        "type": row.word,
        "amount": row.tokens,
        "balance": row.balance,
        "transfer_id": row.transfer_id,
        "counterparty": row.other,
    }
