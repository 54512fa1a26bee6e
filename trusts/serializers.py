"""Trusts as bytes: the shapes of requests, and the fields of answers in the order of the public service."""

from typing import Any, Final

from config.api.errors import Invalid
from config.api.validation import Shape, Text
from trusts.queries import TrustRow
from trusts.states import TrustRequestType, TrustState, TrustType

# The public service lists the first two as well, and fails when one of them is used (the Treetracker contract, row 6).
_NEVER_BUILT: Final = ("deduct", "release")
NEW_TRUST: Final = Shape(
    {
        "trust_request_type": Text(choices=[*TrustRequestType.values, *_NEVER_BUILT]),
        "requestee_wallet": Text(),
        "requester_wallet": Text(required=False),
    }
)
TRUST_FILTERS: Final = {
    "state": Text(choices=TrustState.values, required=False),
    "type": Text(choices=TrustType.values, required=False),
    "request_type": Text(choices=TrustRequestType.values, required=False),
}
EMPTY: Final = Shape({})


def read_new_trust(body: Any) -> dict[str, Any]:
    """Read the body of `POST /trust_relationships`."""
    values = NEW_TRUST.read_body(body)
    asked = values["trust_request_type"]
    if asked in _NEVER_BUILT:
        raise Invalid(f'"trust_request_type" {asked} is not supported, use manage or yield')
    return {**values, "trust_request_type": TrustRequestType(asked)}


def trust(row: TrustRow) -> dict[str, Any]:
    """Write a trust."""
    return {
        "id": row.id,
        "type": row.type,
        "request_type": row.request_type,
        "state": row.state,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "originating_wallet": row.originating_wallet,
        "actor_wallet": row.actor_wallet,
        "target_wallet": row.target_wallet,
    }
