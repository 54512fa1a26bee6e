"""Transfers and histories as bytes: the shapes of requests, and the fields of answers in the order of the peer."""

from typing import Any, Final

from config.api.errors import Invalid
from config.api.validation import Flag, Guid, ListOf, Number, Shape, Text
from transfers.queries import MovementRow, TransferRow
from transfers.states import TransferState

MAXIMUM_TOKENS: Final = 10_000

_TOKENS: Final = ListOf(Guid(), maximum=MAXIMUM_TOKENS, unique=True)
_PARTIES: Final = {"sender_wallet": Text(), "receiver_wallet": Text()}
_BUNDLE: Final = Shape(
    {
        "bundle": Shape({"bundle_size": Number(minimum=1, maximum=MAXIMUM_TOKENS, from_text=True)}),
        **_PARTIES,
    }
)
_LIST: Final = Shape({"tokens": _TOKENS, **_PARTIES})
_IMPLICIT: Final = Shape({"implicit": Flag(from_text=True)})
_EXPLICIT: Final = Shape({"tokens": _TOKENS})
EMPTY: Final = Shape({})

TRANSFER_FILTERS: Final = {
    "state": Text(choices=TransferState.values, required=False),
    "wallet": Text(required=False),
}


def read_transfer(body: Any) -> dict[str, Any]:
    """Read the body of `POST /transfers`: the result holds `tokens` or `bundle`, never both."""
    return (_LIST if isinstance(body, dict) and "tokens" in body else _BUNDLE).read_body(body)


def read_fulfillment(body: Any) -> dict[str, Any]:
    """Read the body of a fulfilment: the result holds `implicit` or `tokens`, never both."""
    if isinstance(body, dict) and "tokens" in body:
        return _EXPLICIT.read_body(body)
    values = _IMPLICIT.read_body(body)
    if not values["implicit"]:
        raise Invalid('"implicit" must be [true]')
    return values


def transfer(row: TransferRow) -> dict[str, Any]:
    """Write a transfer."""
    return {
        "id": row.id,
        "type": "send",
        "parameters": row.parameters,
        "state": row.state,
        "created_at": row.created_at,
        "closed_at": row.closed_at,
        "active": True,
        "claim": False,
        "originating_wallet": row.originating_wallet,
        "source_wallet": row.source_wallet,
        "destination_wallet": row.destination_wallet,
    }


def movement(row: MovementRow) -> dict[str, Any]:
    """Write one element of a token's history."""
    return {
        "processed_at": row.processed_at,
        "sender_wallet": row.sender_wallet,
        "receiver_wallet": row.receiver_wallet,
    }
