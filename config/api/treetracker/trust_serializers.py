"""Request and response bodies of trusts; fields are in the order of the public service."""

from typing import Any, Final

from config.api.errors import Invalid
from config.api.json_schemas import OneOf
from config.api.openapi import PAGE
from config.api.pagination import MAXIMUM_LIMIT
from config.api.validation import Guid, Number, Shape, Text
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
DEFAULT_LIMIT: Final = 1000
# `limit` is optional in this list only, as in the public service.
TRUST_PAGE: Final = {**PAGE, "limit": Number(1, MAXIMUM_LIMIT, from_text=True, required=False)}
TRUST_PATH: Final = {"trust_relationship_id": Guid()}
EMPTY: Final = Shape({})
DISMISSAL: Final = Shape({"manager_wallet": Text()})

DISMISSAL_EXAMPLE: Final = {"manager_wallet": "mona"}

NEW_TRUST_EXAMPLE: Final = {"trust_request_type": "send", "requestee_wallet": "carol"}
TRUST_EXAMPLE: Final = {
    "id": "1f2ba6d5-9a3c-4b6e-8f0e-5a4f0d8a9c11",
    "type": OneOf(*TrustType.values),
    "request_type": OneOf(*TrustRequestType.values),
    "state": OneOf(*TrustState.values),
    "created_at": "2024-02-01T00:00:01.000Z",
    "updated_at": "2024-02-01T00:00:01.000Z",
    "originating_wallet": "alice",
    "actor_wallet": "alice",
    "target_wallet": "carol",
}


def read_new_trust(body: Any) -> dict[str, Any]:
    """Read the body of `POST /trust_relationships`."""
    values = NEW_TRUST.read_body(body)
    asked = values["trust_request_type"]
    if asked in _NEVER_BUILT:
        raise Invalid(f'"trust_request_type" {asked} is not supported, use manage or yield')
    return {**values, "trust_request_type": TrustRequestType(asked)}


def trust(row: TrustRow) -> dict[str, Any]:
    """Return the body of a trust: the fields of the row but its position."""
    body = row._asdict()
    del body["number"]
    return body
