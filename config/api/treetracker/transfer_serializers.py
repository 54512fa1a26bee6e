"""Request and response bodies of transfers and token histories; fields are in the order of the public service."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import orjson
from django.http import QueryDict
from rest_framework.request import Request

from config.api.errors import Invalid
from config.api.json_schemas import Either, Example, Keyed, Named, Nullable, OneOf, Sometimes
from config.api.openapi import LATER_PAGE
from config.api.page_schemas import page
from config.api.pagination import Later, Sorting
from config.api.treetracker.wallet_serializers import TOKEN
from config.api.validation import Field, Flag, Guid, ListOf, Moment, Number, Shape, Text, Unset, shortened
from transfers.ledger import Terms
from transfers.models import LONGEST_REFERENCE
from transfers.queries import PendingSums, TransferRow
from transfers.states import TransferState
from transfers.token_lists import MovementRow
from transfers.transfer_lists import SORT_KEYS

MAXIMUM_TOKENS: Final = 10_000


class NameOrId(Text):
    """The name or the id of a wallet, with v2's message for an empty one."""

    def read(self, path: str, value: Any) -> str:
        if value == "":
            raise Invalid(f'"{path}" does not match any of the allowed types')
        return super().read(path, value)


_TOKENS: Final = ListOf(Guid(), maximum=MAXIMUM_TOKENS, unique=True)
# A filter by one key of the metadata.
_KEYED: Final = re.compile(r"metadata\[(.+)\]", re.DOTALL)
MAXIMUM_KEYS: Final = 20
MAXIMUM_METADATA_BYTES: Final = 2048


@dataclass(frozen=True)
class Metadata:
    """
    Strings by key: up to 20, of 2,048 bytes in all as JSON in UTF-8.

    In a query each key is a parameter, so that `metadata` without one is none.
    """

    in_query: bool = False
    required: bool = False
    schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "maxProperties": MAXIMUM_KEYS,
    }

    def read(self, path: str, value: Any) -> dict[str, str]:
        if self.in_query:
            raise Invalid(f'"{path}" must name a key: {path}[key]')
        if not isinstance(value, Mapping):
            raise Invalid(f'"{path}" must be of type object')
        if len(value) > MAXIMUM_KEYS:
            raise Invalid(f'"{path}" must have less than or equal to {MAXIMUM_KEYS} keys')
        if "" in value:
            raise Invalid(f'"{path}" must not have an empty key')
        read = {
            Text().read(path, key): Text(may_be_empty=True).read(f"{path}.{shortened(key)}", text)
            for key, text in value.items()
        }
        if len(orjson.dumps(read)) > MAXIMUM_METADATA_BYTES:
            raise Invalid(f'"{path}" must have less than or equal to {MAXIMUM_METADATA_BYTES} bytes')
        return read


_TERMS: Final[Mapping[str, Field]] = {
    "reference": Text(maximum=LONGEST_REFERENCE, required=False),
    "unique_reference": Flag(required=False),
    "metadata": Metadata(),
    "expires_at": Moment(required=False),
}
# Clients of the service's later version always send `"claim": false`.
_PARTIES: Final[Mapping[str, Field]] = {"sender_wallet": Text(), "receiver_wallet": Text(), "claim": Unset()}
BUNDLE: Final = Shape(
    {
        "bundle": Shape({"bundle_size": Number(minimum=1, maximum=MAXIMUM_TOKENS, from_text=True)}),
        **_PARTIES,
        **_TERMS,
    }
)
LIST: Final = Shape({"tokens": _TOKENS, **_PARTIES, **_TERMS})


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
    "created_since": Moment(required=False),
    "reference": Text(maximum=LONGEST_REFERENCE, required=False),
    # Sent as `metadata[key]=value`: see `filters`.
    "metadata": Metadata(in_query=True),
    "awaiting_approval": Text(choices=["true"], required=False),
}
TRANSFER_FILTERS_V2: Final[Mapping[str, Field]] = {**TRANSFER_FILTERS, "wallet": NameOrId(required=False)}
_SORTING: Final = Sorting(list(SORT_KEYS), orders=["desc", "asc"], is_default=False)
TRANSFERS_PAGE: Final = {**LATER_PAGE, **_SORTING.fields}
TRANSFERS_LATER: Final = Later(
    1000,
    sorting=_SORTING,
    answer=["transfers", "query", "total"],
)
# A transfer with terms shows the actions without being asked.
INCLUDING: Final[Mapping[str, Field]] = {"include": Text(choices=["available_actions"], required=False)}
TRANSFER_PATH: Final = {"transfer_id": Guid()}

_ONE_OF_THEM: Final = "0acf8c3d-3008-4b55-877b-241d984721d2"
BUNDLE_EXAMPLE: Final = {"bundle": {"bundle_size": 2}, "sender_wallet": "alice", "receiver_wallet": "carol"}
LIST_EXAMPLE: Final = {"tokens": [_ONE_OF_THEM], "sender_wallet": "alice", "receiver_wallet": "carol"}
TERMED_EXAMPLE: Final = {
    **BUNDLE_EXAMPLE,
    "reference": "order 1007",
    "unique_reference": True,
    "metadata": {"shop": "north"},
    "expires_at": "2040-01-01T00:00:00Z",
}
IMPLICIT_EXAMPLE: Final = {"implicit": True}
EXPLICIT_EXAMPLE: Final = {"tokens": [_ONE_OF_THEM]}
_TOKENS_WORDS: Final = f"The ids of up to {MAXIMUM_TOKENS:,} tokens, each once."
_PARTIES_WORDS: Final = {
    "sender_wallet": "The name or the id of the wallet that sends.",
    "receiver_wallet": "The name or the id of the wallet that receives.",
    "claim": "False, if it is sent: tokens are never claimed.",
}
_TERMS_WORDS: Final = {
    "reference": f"A text of the caller, such as an order number, of up to {LONGEST_REFERENCE} characters.",
    "unique_reference": (
        "True to refuse the transfer with 409 if the reference belongs to another one that the caller asked for with"
        " it."
    ),
    "metadata": (
        f"Texts of the caller by key: up to {MAXIMUM_KEYS}, of {MAXIMUM_METADATA_BYTES:,} bytes in all as JSON in"
        " UTF-8."
    ),
    "expires_at": "In the future: when the transfer fails if it is still open.",
}
BUNDLE_SIZE: Final = Named(
    "BundleSize",
    "How many tokens a bundle is of.",
    BUNDLE.fields["bundle"],
    words={"bundle_size": f"The number of tokens, 1 to {MAXIMUM_TOKENS:,}."},
)
NEW_BUNDLE: Final = Named(
    "NewBundleTransfer",
    "A transfer of a number of tokens. Which ones, is decided here.",
    BUNDLE,
    words={"bundle": BUNDLE_SIZE, **_PARTIES_WORDS, **_TERMS_WORDS},
)
NEW_LIST: Final = Named(
    "NewTokenTransfer",
    "A transfer of named tokens.",
    LIST,
    words={"tokens": _TOKENS_WORDS, **_PARTIES_WORDS, **_TERMS_WORDS},
)
FULFILLMENT: Final = Named(
    "ImplicitFulfillment",
    "Gives as many tokens as the transfer asks for. Which ones, is decided here.",
    IMPLICIT,
    words={"implicit": "Must be true."},
)
FULFILLMENT_WITH: Final = Named(
    "ExplicitFulfillment",
    "Gives named tokens: as many as the transfer asks for.",
    EXPLICIT,
    words={"tokens": _TOKENS_WORDS},
)
TRANSFER_STATE: Final = Named(
    "TransferState",
    "The state of a transfer.",
    OneOf("completed", *(state for state in TransferState.values if state != "completed")),
    words={
        TransferState.REQUESTED: "Waits for the sender, who fulfils or declines. No token is reserved.",
        TransferState.PENDING: (
            "Waits for the receiver, who accepts or declines; with `awaiting_approval`, for the sender first. Its"
            " tokens are reserved."
        ),
        TransferState.COMPLETED: "The tokens have moved. Final.",
        TransferState.CANCELLED: "One side declined or cancelled it. No token moved. Final.",
        TransferState.FAILED: "It ended without an answer of either side. No token moved. Final.",
    },
)
BUNDLE_PARAMETERS: Final = Named(
    "BundleParameters",
    "What a transfer of a bundle moves.",
    {
        "bundle": Named(
            "Bundle",
            "A number of tokens.",
            {"bundleSize": 2},
            words={"bundleSize": "The number of tokens."},
        )
    },
    words={"bundle": "How many tokens."},
)
TOKEN_PARAMETERS: Final = Named(
    "TokenParameters",
    "What a transfer of named tokens moves.",
    {"tokens": [_ONE_OF_THEM]},
    words={"tokens": "The ids of the tokens."},
)
TRANSFER_ACTION: Final = Named(
    "TransferAction",
    "What can be done with an open transfer.",
    OneOf("accept", "fulfill", "decline", "delete", "approve", "refuse"),
    words={
        "accept": "Accept a pending transfer: `POST /transfers/{transfer_id}/accept`.",
        "fulfill": "Fulfil a requested transfer: `POST /transfers/{transfer_id}/fulfill`.",
        "decline": "Decline it, for the side that was asked: `POST /transfers/{transfer_id}/decline`.",
        "delete": "Cancel it, for the side that asked: `DELETE /transfers/{transfer_id}`.",
        "approve": "Approve it, with another login: `POST /transfers/{transfer_id}/approve`.",
        "refuse": "Refuse the approval: `POST /transfers/{transfer_id}/refuse`.",
    },
)
TRANSFER: Final = Named(
    "Transfer",
    "A transfer of tokens from one wallet to another.",
    {
        "id": "8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1",
        "type": OneOf("send"),
        "parameters": Either(BUNDLE_PARAMETERS, TOKEN_PARAMETERS),
        "state": TRANSFER_STATE,
        "created_at": "2024-02-01T00:00:01.000Z",
        "closed_at": Nullable("2024-02-01T00:00:01.000Z"),
        "active": True,
        "claim": False,
        "originating_wallet": "alice",
        "source_wallet": "alice",
        "destination_wallet": "carol",
        "awaiting_approval": Sometimes(True),
        "reference": Sometimes("order 1007"),
        "metadata": Sometimes(Keyed({"shop": "north"})),
        "expires_at": Sometimes("2040-01-01T00:00:00.000Z"),
        "token_count": Sometimes(2),
        "available_actions": Sometimes([TRANSFER_ACTION]),
    },
    words={
        "id": "The id of the transfer.",
        "type": "Always `send`.",
        "parameters": "What it moves: a number of tokens, or named ones.",
        "state": "Its state.",
        "created_at": "When it was begun, in UTC with milliseconds.",
        "closed_at": "When it reached a final state, in UTC with milliseconds; null while it is open.",
        "active": "Always true.",
        "claim": "Always false.",
        "originating_wallet": "The name of the wallet that began it.",
        "source_wallet": "The name of the wallet that sends.",
        "destination_wallet": "The name of the wallet that receives.",
        "awaiting_approval": (
            "True if it awaits the approval of its sender, who requires one for such transfers. Absent otherwise."
        ),
        "reference": "The reference that the request gave it. Absent without one.",
        "metadata": "The metadata that the request gave it. Absent without any.",
        "expires_at": (
            "When it fails, or would have failed, if it is still open, in UTC with milliseconds. Absent if it never"
            " expires, or completed at once."
        ),
        "token_count": "The number of tokens. Below `/wallet/v2` alone.",
        "available_actions": (
            "What the caller may do with it now. In responses about one transfer alone: if it has a reference, metadata"
            " or an expiry, or the request asks for it."
        ),
    },
)
CLOSED: Final = Example(TRANSFER, {"available_actions": []})
CLAIMED: Final = Example(TRANSFER, {"parameters": {"tokens": [_ONE_OF_THEM]}})
PENDING: Final = Example(TRANSFER, {"state": "pending", "closed_at": None, "available_actions": ["delete"]})
TRANSFER_PAGE: Final = page("TransferPage", {"transfers": [TRANSFER]}, has_total=True, has_query=True)
_PENDING_SUM: Final = Named(
    "PendingSum",
    "The pending transfers of a wallet in one direction.",
    {"total_amount": 5, "count": 2},
    words={"total_amount": "The number of tokens.", "count": "The number of transfers."},
)
PENDING_SUMS: Final = Named(
    "PendingTransfers",
    "The sums of the pending transfers of a wallet.",
    {
        "wallet_id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
        "wallet_name": "alice",
        "pending_outgoing": _PENDING_SUM,
        "pending_incoming": Example(_PENDING_SUM, {"total_amount": 3, "count": 1}),
        "net_pending": -2,
    },
    words={
        "wallet_id": "The id of the wallet.",
        "wallet_name": "Its name.",
        "pending_outgoing": "Transfers that it sends. They reserve its tokens.",
        "pending_incoming": "Transfers that it receives.",
        "net_pending": "The tokens that come in, less those that go out. May be negative.",
    },
)
# Lists that only have other pages at v2.
LATER: Final = Later(1000)
# What v2 adds.
_MOVEMENT_OF_V2: Final[Mapping[str, tuple[Any, str]]] = {
    "id": ("2f6b3b0a-54f0-4d0c-9d39-1d2c3b4a5f60", "The id of the movement."),
    "token_id": (_ONE_OF_THEM, "The id of the token."),
    "transfer_id": ("8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1", "The id of the transfer."),
    "source_wallet_id": ("cd004dcc-7974-4c35-8719-cf8f4e18d1df", "The id of the wallet that had the token."),
    "destination_wallet_id": ("6a45713a-7647-4e4a-85d3-b6092995be6f", "The id of the wallet that got it."),
    "claim": (False, "Always false."),
}
_MOVEMENT_FIELDS: Final = ("processed_at", "sender_wallet", "receiver_wallet")
MOVEMENT: Final = Named(
    "Movement",
    "A token went from one wallet to another.",
    {
        "processed_at": "2024-02-01T00:00:01.000Z",
        "sender_wallet": "alice",
        "receiver_wallet": "carol",
        **{name: Sometimes(example) for name, (example, _) in _MOVEMENT_OF_V2.items()},
    },
    words={
        "processed_at": "When it happened, in UTC with milliseconds.",
        "sender_wallet": "The name of the wallet that had the token.",
        "receiver_wallet": "The name of the wallet that got it.",
        **{name: f"{words} Below `/wallet/v2` alone." for name, (_, words) in _MOVEMENT_OF_V2.items()},
    },
)
MOVEMENT_PAGE: Final = page("MovementPage", {"history": [MOVEMENT]})
# Of a token of a completed transfer.
_MOVED: Final = ("token_id", "transfer_id", "source_wallet_id", "destination_wallet_id")
TRANSFER_TOKEN: Final = Named(
    "TransferToken",
    "A token of a transfer, as it is shown below `/wallet/v2`.",
    {
        **{name: example for name, example in TOKEN.of.items() if name != "links"},
        **{name: Sometimes(_MOVEMENT_OF_V2[name][0]) for name in _MOVED},
        "processed_at": Sometimes("2024-02-01T00:00:01.000Z"),
    },
    words={
        **{name: words for name, words in TOKEN.words.items() if name != "links"},
        **{name: f"{_MOVEMENT_OF_V2[name][1]} Absent while the transfer is pending." for name in _MOVED},
        "processed_at": "When the transfer moved it, in UTC with milliseconds. Absent while it is pending.",
    },
)
TOKENS_OF_TRANSFER: Final = page("TransferTokenPage", {"tokens": [Either(TOKEN, TRANSFER_TOKEN)]})


def read_transfer(body: Any, *, is_v2: bool = False) -> dict[str, Any]:
    """Read the body of `POST /transfers`: the result holds `tokens` or `bundle`, never both."""
    bundle, listed = (BUNDLE_OF_V2, LIST_OF_V2) if is_v2 else (BUNDLE, LIST)
    return (listed if isinstance(body, dict) and "tokens" in body else bundle).read_body(body)


def filters(query: QueryDict, *, is_v2: bool) -> dict[str, Field]:
    """Return the parameters of a list of transfers, among them those of metadata that the query has."""
    keyed: dict[str, Field] = {
        name: Text(may_be_empty=True, required=False) for name in query if _KEYED.fullmatch(name)
    }
    return {**(TRANSFER_FILTERS_V2 if is_v2 else TRANSFER_FILTERS), **keyed}


def metadata_in(values: Mapping[str, Any]) -> dict[str, str]:
    """
    Return the metadata that a list of transfers is narrowed to.

    :raises Invalid: there are too many
    """
    return Metadata().read("metadata", {found[1]: values[name] for name in values if (found := _KEYED.fullmatch(name))})


def repeated(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the query of a list as answers repeat it: the filters by metadata are one object."""
    metadata = metadata_in(query)
    others = {name: value for name, value in query.items() if not _KEYED.fullmatch(name)}
    return {**others, "metadata": metadata} if metadata else others


def terms(values: Mapping[str, Any]) -> Terms | None:
    """
    Return the terms in a body that was read, or None if it has none.

    :raises Invalid: the unique reference is missing
    """
    if _TERMS.keys().isdisjoint(values):
        return None
    is_unique = values.get("unique_reference", False)
    if is_unique and "reference" not in values:
        raise Invalid('"unique_reference" missing required peer "reference"')
    return Terms(values.get("reference", ""), is_unique, values.get("metadata"), values.get("expires_at"))


def read_fulfillment(body: Any) -> dict[str, Any]:
    """Read the body of a fulfilment: the result holds `implicit` or `tokens`, never both."""
    if isinstance(body, dict) and "tokens" in body:
        return EXPLICIT.read_body(body)
    values = IMPLICIT.read_body(body)
    if not values["implicit"]:
        raise Invalid('"implicit" must be [true]')
    return values


def transfer(row: TransferRow, *, actions: Sequence[str] | None = None) -> orjson.Fragment:
    """Return the body of a transfer; `actions`, if not None, are those that the caller may take."""
    if actions is None:
        return orjson.Fragment(row.json)
    return orjson.Fragment(row.json.removesuffix("}") + f',"available_actions":{orjson.dumps(actions).decode()}}}')


def counted_transfer(row: TransferRow, *, actions: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the body of a transfer, as above, with the field that v2 adds: how many tokens it is about."""
    body: dict[str, Any] = orjson.loads(row.json)
    parameters = body["parameters"]
    count = len(parameters["tokens"]) if "tokens" in parameters else parameters["bundle"]["bundleSize"]
    return {**body, "token_count": count, **({} if actions is None else {"available_actions": actions})}


def asks_for_actions(request: Request) -> bool:
    """Read the query of a request about one transfer: whether the caller asks what it may do."""
    # Django takes as long to parse an empty query as to parse one.
    return bool(request.META.get("QUERY_STRING")) and "include" in Shape(INCLUDING).read_query(request.query_params)


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
    return {name: getattr(row, name) for name in _MOVEMENT_FIELDS}


def movement_with_ids(row: MovementRow) -> dict[str, Any]:
    """Return one element of a token's history as v2 has it. No movement is a claim."""
    body = row._asdict()
    names = body.pop("sender_wallet"), body.pop("receiver_wallet")
    del body["number"]
    return {**body, "claim": False, "sender_wallet": names[0], "receiver_wallet": names[1]}
