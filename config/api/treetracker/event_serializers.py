"""Response bodies of events."""

from collections.abc import Mapping
from typing import Any, Final

from config.api.json_schemas import OneOf, Sometimes
from config.api.validation import Field, Moment, Text
from transfers.events import EventRow
from wallets.states import EventType

FILTERS: Final[Mapping[str, Field]] = {"since": Moment(required=False), "wallet": Text(required=False)}
EVENT_EXAMPLE: Final = {
    "id": "5a3f0e2c-6a0b-4f0e-8a0b-1d2c3b4a5f60",
    "wallet_id": "cd004dcc-7974-4c35-8719-cf8f4e18d1df",
    "type": OneOf("transfer_completed", *(kind for kind in EventType.values if kind != "transfer_completed")),
    "created_at": "2024-02-01T00:00:01.000Z",
    "payload": {
        "transferId": Sometimes("8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1"),
        "walletSender": Sometimes("alice"),
        "walletReceiver": Sometimes("carol"),
        "bundle": Sometimes(2),
        "transferState": Sometimes("completed"),
        "claim": Sometimes(False),
        "managerWallet": Sometimes("mona"),
        "trustRelationshipsLeft": Sometimes(1),
        "trustRelationshipIds": Sometimes(["1f2ba6d5-9a3c-4b6e-8f0e-5a4f0d8a9c11"]),
        "transfersLeft": Sometimes(0),
        "transferIds": Sometimes([]),
        "operator": Sometimes(True),
    },
}


def event(row: EventRow) -> dict[str, Any]:
    """Return the body of an event: the fields of the row but its position."""
    body = row._asdict()
    del body["number"], body["party"]
    return body
