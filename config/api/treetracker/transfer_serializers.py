"""Request and response bodies of transfers and token histories; fields are in the order of the public service."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from config.api.errors import Invalid
from config.api.json_schemas import Either, Nullable, OneOf
from config.api.openapi import LATER_PAGE
from config.api.pagination import Later, Sorting
from config.api.validation import Field, Flag, Guid, ListOf, Moment, Number, Shape, Text, Unset
from transfers.queries import SORT_KEYS, MovementRow, PendingSums, TransferRow
from transfers.states import TransferState

MAXIMUM_TOKENS: Final = 10_000


class NameOrId(Text):
    """The name or the id of a wallet, with v2's message for an empty one."""

    def read(self, path: str, value: Any) -> str:
        if value == "":
            raise Invalid(f'"{path}" does not match any of the allowed types')
        return super().read(path, value)


_TOKENS: Final = ListOf(Guid(), maximum=MAXIMUM_TOKENS, unique=True)
# Clients of the service's later version always send `"claim": false`.
_PARTIES: Final[Mapping[str, Field]] = {"sender_wallet": Text(), "receiver_wallet": Text(), "claim": Unset()}
BUNDLE: Final = Shape(
    {
        "bundle": Shape({"bundle_size": Number(minimum=1, maximum=MAXIMUM_TOKENS, from_text=True)}),
        **_PARTIES,
    }
)
LIST: Final = Shape({"tokens": _TOKENS, **_PARTIES})


class PartyOfV2(Text):
    """The name or the id of a wallet, with v2's message for another type."""

    def read(self, path: str, value: Any) -> str:
        if not isinstance(value, str):
            raise Invalid(f'"{path}" must be one of [string]')
        return super().read(path, value)


class ClaimOfV2(Unset):
    """As `Unset`, with v2's message for another type."""

    def read(self, path: str, value: Any) -> bool:
        Flag(from_text=True).read(path, value)
        return super().read(path, value.lower() if isinstance(value, str) else value)


_PARTIES_OF_V2: Final[Mapping[str, Field]] = {
    "sender_wallet": PartyOfV2(),
    "receiver_wallet": PartyOfV2(),
    "claim": ClaimOfV2(),
}
BUNDLE_OF_V2: Final = Shape({**BUNDLE.fields, **_PARTIES_OF_V2})
LIST_OF_V2: Final = Shape({**LIST.fields, **_PARTIES_OF_V2})
IMPLICIT: Final = Shape({"implicit": Flag(from_text=True)})
EXPLICIT: Final = Shape({"tokens": _TOKENS})
EMPTY: Final = Shape({})

TRANSFER_FILTERS: Final[Mapping[str, Field]] = {
    "state": Text(choices=TransferState.values, required=False),
    "wallet": Text(required=False),
    "before": Moment(required=False),
    "after": Moment(required=False),
}
TRANSFER_FILTERS_V2: Final[Mapping[str, Field]] = {**TRANSFER_FILTERS, "wallet": NameOrId(required=False)}
_SORTING: Final = Sorting(list(SORT_KEYS), orders=["desc", "asc"], is_default=False)
TRANSFERS_PAGE: Final = {**LATER_PAGE, **_SORTING.fields}
TRANSFERS_LATER: Final = Later(
    1000,
    sorting=_SORTING,
    answer=["transfers", "query", "total"],
)
TRANSFER_PATH: Final = {"transfer_id": Guid()}

_ONE_OF_THEM: Final = "0acf8c3d-3008-4b55-877b-241d984721d2"
BUNDLE_EXAMPLE: Final = {"bundle": {"bundle_size": 2}, "sender_wallet": "alice", "receiver_wallet": "carol"}
LIST_EXAMPLE: Final = {"tokens": [_ONE_OF_THEM], "sender_wallet": "alice", "receiver_wallet": "carol"}
IMPLICIT_EXAMPLE: Final = {"implicit": True}
EXPLICIT_EXAMPLE: Final = {"tokens": [_ONE_OF_THEM]}
TRANSFER_EXAMPLE: Final = {
    "id": "8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1",
    "type": OneOf("send"),
    "parameters": Either({"bundle": {"bundleSize": 2}}, {"tokens": [_ONE_OF_THEM]}),
    "state": OneOf("completed", *(state for state in TransferState.values if state != "completed")),
    "created_at": "2024-02-01T00:00:01.000Z",
    "closed_at": Nullable("2024-02-01T00:00:01.000Z"),
    "active": True,
    "claim": False,
    "originating_wallet": "alice",
    "source_wallet": "alice",
    "destination_wallet": "carol",
}
PENDING_EXAMPLE: Final = {
    **TRANSFER_EXAMPLE,
    "state": OneOf("pending", "requested"),
    "closed_at": Nullable(None),
}
PENDING_SUMS_EXAMPLE: Final = {
    "wallet_id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
    "wallet_name": "alice",
    "pending_outgoing": {"total_amount": 5, "count": 2},
    "pending_incoming": {"total_amount": 3, "count": 1},
    "net_pending": -2,
}
# Lists that only have other pages at v2.
LATER: Final = Later(1000)
MOVEMENT_EXAMPLE: Final = {
    "processed_at": "2024-02-01T00:00:01.000Z",
    "sender_wallet": "alice",
    "receiver_wallet": "carol",
}


def read_transfer(body: Any, *, is_v2: bool = False) -> dict[str, Any]:
    """Read the body of `POST /transfers`: the result holds `tokens` or `bundle`, never both."""
    bundle, listed = (BUNDLE_OF_V2, LIST_OF_V2) if is_v2 else (BUNDLE, LIST)
    return (listed if isinstance(body, dict) and "tokens" in body else bundle).read_body(body)


def read_fulfillment(body: Any) -> dict[str, Any]:
    """Read the body of a fulfilment: the result holds `implicit` or `tokens`, never both."""
    if isinstance(body, dict) and "tokens" in body:
        return EXPLICIT.read_body(body)
    values = IMPLICIT.read_body(body)
    if not values["implicit"]:
        raise Invalid('"implicit" must be [true]')
    return values


def transfer(row: TransferRow) -> orjson.Fragment:
    """Return the body of a transfer."""
    return orjson.Fragment(row.json)


def counted_transfer(row: TransferRow) -> dict[str, Any]:
    """Return the body of a transfer with the field that v2 adds: how many tokens it is about."""
    body: dict[str, Any] = orjson.loads(row.json)
    parameters = body["parameters"]
    count = len(parameters["tokens"]) if "tokens" in parameters else parameters["bundle"]["bundleSize"]
    return {**body, "token_count": count}


def pending_sums(sums: PendingSums) -> dict[str, Any]:
    """Return the body of pending sums. `net` is incoming minus outgoing."""
    return {
        "wallet_id": sums.wallet_id,
        "wallet_name": sums.wallet_name,
        "pending_outgoing": {"total_amount": sums.tokens_out, "count": sums.transfers_out},
        "pending_incoming": {"total_amount": sums.tokens_in, "count": sums.transfers_in},
        "net_pending": sums.tokens_in - sums.tokens_out,
    }


def movement(row: MovementRow) -> dict[str, Any]:
    """Return one element of a token's history."""
    return {name: getattr(row, name) for name in MOVEMENT_EXAMPLE}


def movement_with_ids(row: MovementRow) -> dict[str, Any]:
    """Return one element of a token's history as v2 has it. No movement is a claim."""
    body = row._asdict()
    names = body.pop("sender_wallet"), body.pop("receiver_wallet")
    del body["number"]
    return {**body, "claim": False, "sender_wallet": names[0], "receiver_wallet": names[1]}
