"""Request and response bodies of trusts; fields are in the order of the public service."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from config.api.errors import Invalid
from config.api.json_schemas import Named, OneOf, Sometimes
from config.api.openapi import LATER_PAGE
from config.api.page_schemas import page
from config.api.pagination import MAXIMUM_LIMIT, Later, Page, Sorting
from config.api.validation import Field, Flag, Guid, Number, Shape, Text
from trusts.queries import TrustRow
from trusts.states import TrustRequestType, TrustState, TrustType
from trusts.trust_lists import TrustKey, TrustSelection

# The public service lists the first two as well, and fails when one of them is used (the Treetracker contract, row 6).
_NEVER_BUILT: Final = ("deduct", "release")
NEW_TRUST: Final = Shape(
    {
        "trust_request_type": Text(choices=[*TrustRequestType.values, *_NEVER_BUILT]),
        "requestee_wallet": Text(),
        "requester_wallet": Text(required=False),
    }
)
TRUST_FILTERS: Final[Mapping[str, Field]] = {
    "state": Text(choices=TrustState.values, required=False),
    "type": Text(choices=TrustType.values, required=False),
    "request_type": Text(choices=TrustRequestType.values, required=False),
    "search": Text(required=False),
}
# v2 lists values that no trust has.
TRUST_FILTERS_OF_V2: Final[Mapping[str, Field]] = {
    **TRUST_FILTERS,
    "state": Text(
        choices=["requested", "cancelled_by_originator", "cancelled_by_actor", "cancelled_by_target", "trusted"],
        required=False,
    ),
    "type": Text(choices=["send", "manage", "deduct"], required=False),
    "request_type": Text(choices=["send", "receive", "manage", "yield", "deduct", "release"], required=False),
}
EXCLUSION: Final[Mapping[str, Field]] = {"exclude_managed": Flag(from_text=True, required=False)}
DEFAULT_LIMIT: Final = 1000
_SORTING: Final = Sorting(["state", "created_at", "updated_at"])
# The public service counts the trusts of a wallet only.
LATER_TRUSTS: Final = Later(500, sorting=_SORTING, answer=["trust_relationships", "query"])
LATER_TRUSTS_OF_WALLET: Final = Later(
    500, sorting=_SORTING, answer=["trust_relationships", "query", "total"], defaults={"exclude_managed": False}
)
# `limit` is optional in this list only, as in the public service.
TRUSTS_QUERY: Final = {
    **LATER_PAGE,
    "limit": Number(1, MAXIMUM_LIMIT, from_text=True, required=False),
    **TRUST_FILTERS,
    **_SORTING.fields,
}
TRUSTS_OF_WALLET_QUERY: Final = {**TRUSTS_QUERY, **EXCLUSION}
TRUST_PATH: Final = {"trust_relationship_id": Guid()}
EMPTY: Final = Shape({})
DISMISSAL: Final = Shape({"manager_wallet": Text()})

DISMISSAL_EXAMPLE: Final = {"manager_wallet": "mona"}

NEW_TRUST_EXAMPLE: Final = {"trust_request_type": "send", "requestee_wallet": "carol"}
NEW_TRUST_BODY: Final = Named(
    "NewTrust",
    "A trust relationship to be requested.",
    NEW_TRUST,
    words={
        "trust_request_type": "What the requester asks: `send`, `receive`, `manage` or `yield`. `deduct` and `release`"
        " are refused.",
        "requestee_wallet": "The name or the id of the wallet that is asked.",
        "requester_wallet": "The name or the id of the wallet that asks; by default the caller's.",
    },
)
DISMISSAL_BODY: Final = Named(
    "Dismissal",
    "The manager to be dismissed.",
    DISMISSAL,
    words={"manager_wallet": "The name or the id of the manager's wallet."},
)
TRUST_TYPE: Final = Named(
    "TrustType",
    "The power that a trust relationship gives.",
    OneOf(*TrustType.values),
    words={
        TrustType.SEND: "One wallet may send to the other, and the transfer completes at once.",
        TrustType.MANAGE: "One wallet controls the other.",
    },
)
TRUST_REQUEST_TYPE: Final = Named(
    "TrustRequestType",
    "What the requester of a trust relationship asks.",
    OneOf(*TrustRequestType.values),
    words={
        TrustRequestType.SEND: "The requester may send to the requestee.",
        TrustRequestType.RECEIVE: "The requestee may send to the requester.",
        TrustRequestType.MANAGE: "The requester controls the requestee.",
        TrustRequestType.YIELD: "The requestee controls the requester.",
    },
)
TRUST_STATE: Final = Named(
    "TrustState",
    "The state of a trust relationship.",
    OneOf(*TrustState.values),
    words={
        TrustState.REQUESTED: "Waits for the requestee. It gives no power yet.",
        TrustState.TRUSTED: "Accepted: it gives its power.",
        TrustState.CANCELLED_BY_ORIGINATOR: "The requester ended it.",
        TrustState.CANCELLED_BY_TARGET: "The requestee declined or ended it. It may accept it again.",
    },
)
_TRUST: Final[Mapping[str, tuple[Any, str]]] = {
    "id": ("1f2ba6d5-9a3c-4b6e-8f0e-5a4f0d8a9c11", "The id of the trust relationship."),
    "type": (TRUST_TYPE, "The power that it gives."),
    "request_type": (TRUST_REQUEST_TYPE, "What the requester asked."),
    "state": (TRUST_STATE, "Its state."),
    "created_at": ("2024-02-01T00:00:01.000Z", "When it was requested, in UTC with milliseconds."),
    "updated_at": ("2024-02-01T00:00:01.000Z", "When its state last changed, in UTC with milliseconds."),
    "originating_wallet": ("alice", "The name of the wallet that sent the request, for itself or for another."),
    "actor_wallet": ("alice", "The name of the wallet that asks: the requester."),
    "target_wallet": ("carol", "The name of the wallet that is asked: the requestee."),
}
_TRUST_OF_V2: Final[Mapping[str, tuple[Any, str]]] = {
    "actor_wallet_id": ("cd004dcc-7974-4c35-8719-cf8f4e18d1df", "The id of the requester."),
    "target_wallet_id": ("6a45713a-7647-4e4a-85d3-b6092995be6f", "The id of the requestee."),
    "originator_wallet_id": ("cd004dcc-7974-4c35-8719-cf8f4e18d1df", "The id of the wallet that sent the request."),
    "active": (True, "Always true."),
}
TRUST: Final = Named(
    "Trust",
    "A trust relationship between two wallets.",
    {
        **{name: example for name, (example, _) in _TRUST.items()},
        **{name: Sometimes(example) for name, (example, _) in _TRUST_OF_V2.items()},
    },
    words={
        **{name: words for name, (_, words) in _TRUST.items()},
        **{name: f"{words} Below `/wallet/v2` alone." for name, (_, words) in _TRUST_OF_V2.items()},
    },
)
_NAMED_AT_V2: Final = {"originating_wallet": "originator_wallet"}
REQUESTED_TRUST: Final = Named(
    "RequestedTrust",
    "A trust relationship that was requested, as `POST /wallet/v2/trust_relationships` answers it.",
    {_NAMED_AT_V2.get(name, name): example for name, (example, _) in {**_TRUST, **_TRUST_OF_V2}.items()},
    words={_NAMED_AT_V2.get(name, name): words for name, (_, words) in {**_TRUST, **_TRUST_OF_V2}.items()},
)
TRUST_PAGE: Final = page("TrustPage", {"trust_relationships": [TRUST]}, has_total=True, has_query=True)


def read_new_trust(body: Any) -> dict[str, Any]:
    """Read the body of `POST /trust_relationships`."""
    values = NEW_TRUST.read_body(body)
    asked = values["trust_request_type"]
    if asked in _NEVER_BUILT:
        raise Invalid(f'"trust_request_type" {asked} is not supported, use manage or yield')
    return {**values, "trust_request_type": TrustRequestType(asked)}


_IDS: Final = ("actor_wallet_id", "target_wallet_id", "originator_wallet_id")


def trust(row: TrustRow, *, is_v2: bool = False) -> dict[str, Any]:
    """Return the body of a trust: the fields of the row but its position. v2 adds the ids, and `active`."""
    body = row._asdict()
    del body["number"]
    if is_v2:
        return {**body, "active": True}
    for name in _IDS:
        del body[name]
    return body


def selected_trusts(page: Page, *, is_v2: bool, wallet_id: UUID | None = None) -> dict[str, Any]:
    """Return the arguments of `queries.selected_trusts_page` that say which trusts a requested page is about."""
    filters = {name: page.values[name] for name in ("state", "type", "request_type") if name in page.values}
    return {
        "selection": TrustSelection(
            key=TrustKey.NUMBER if page.order is None else TrustKey(page.order.by or "created_at"),
            is_descending=page.order is not None and page.order.is_descending,
            # In v2 the list of a wallet is that of all wallets that the caller controls.
            is_of_wallet=wallet_id is not None and not is_v2,
            filters=tuple(filters),
            has_search="search" in page.values,
            excludes_managed=page.values.get("exclude_managed", False),
            begins_with_requests=wallet_id is not None and is_v2,
        ),
        "wallet_id": wallet_id,
        "limit": page.fetch,
        "offset": page.offset,
        "after": page.position,
        "filters": filters,
        "search": page.values.get("search", ""),
    }
