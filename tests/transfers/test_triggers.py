"""A transfer moves all or nothing: what the trigger refuses of each state, in a new row and in a changed one."""

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from tests.api.caller import Caller
from transfers import operations
from transfers.models import Transfer
from wallets.models import Wallet

Row = Mapping[str, Any]
CLOSED: Final = {"closed_at": "2026-01-01T00:00Z"}
OPEN: Final[Row] = {"closed_at": None}
# What each state requires of a transfer of two tokens, and values that it does not allow beside them.
RIGHT: Final[dict[str, Row]] = {
    "requested": {"moved_count": 0, "reserved_count": 0, **OPEN},
    "pending": {"moved_count": 0, "reserved_count": 2, **OPEN},
    "completed": {"moved_count": 2, "reserved_count": 0, **CLOSED},
    "cancelled": {"moved_count": 0, "reserved_count": 0, **CLOSED},
    "failed": {"moved_count": 0, "reserved_count": 0, **CLOSED},
}


def wrong(state: str) -> list[Row]:
    right = RIGHT[state]
    return [
        *(
            {column: value}
            for column in ("moved_count", "reserved_count")
            for value in range(3)
            if value != right[column]
        ),
        CLOSED if right["closed_at"] is None else OPEN,
        {"token_count": 0, "moved_count": 0, "reserved_count": 0},
        {"state": "unknown"},
        {"destination_id": "its source"},
    ]


def written(transfer: Transfer, *, is_new: bool, **changes: Any) -> None:
    """Write a row with the changes: a new one, or that of the transfer."""
    with connection.cursor() as cursor, transaction.atomic():
        if is_new:
            changes |= {"id": str(uuid4()), "number": transfer.number + 1}
            cursor.execute(
                "INSERT INTO transfers_transfer SELECT (jsonb_populate_record(transfer, %s)).*"
                "  FROM transfers_transfer AS transfer WHERE id = %s",
                [json.dumps(changes), transfer.pk],
            )
        else:
            columns = ", ".join(f"{column} = changed.{column}" for column in changes)
            cursor.execute(
                f"UPDATE transfers_transfer AS transfer SET {columns} FROM ("
                "  SELECT (jsonb_populate_record(each, %s)).* FROM transfers_transfer AS each WHERE id = %s) AS changed"
                " WHERE transfer.id = changed.id",
                [json.dumps(changes), transfer.pk],
            )


@pytest.mark.parametrize(
    ("state", "is_new"),
    # An open transfer is changed only by closing it.
    [*((state, True) for state in RIGHT), ("completed", False), ("cancelled", False), ("failed", False)],
)
def test_a_transfer_is_written_with_the_counts_of_its_state_alone(
    state: str, is_new: bool, alice: Caller, bob: Caller, sapling: Wallet
) -> None:
    asked = operations.send_bundle(actor=bob.wallet, sender="alice", receiver="bobby", size=2)
    transfer = Transfer.objects.get(pk=asked.id)

    for changes in wrong(state):
        row = {"state": state, **RIGHT[state], **changes}
        if "destination_id" in changes:
            row["destination_id"] = str(transfer.source_id)
        with pytest.raises(IntegrityError, match="moves what was asked or nothing"):
            written(transfer, is_new=is_new, **row)

    written(transfer, is_new=is_new, state=state, **RIGHT[state])


MOVEMENTS: Final = [
    # number, whether it has a transfer, and a source, and whether it may be
    (0, False, False, True),
    (1, True, True, True),
    (2, True, True, True),
    (0, True, False, False),
    (0, False, True, False),
    (0, True, True, False),
    (1, False, True, False),
    (1, True, False, False),
    (1, False, False, False),
    (-1, True, True, False),
    (-1, False, False, False),
]


def test_a_movement_is_an_issue_or_has_a_transfer_and_a_source(alice: Caller, bob: Caller) -> None:
    for number, has_transfer, has_source, may_be in MOVEMENTS:
        source = alice.wallet.pk if has_source else None
        values = [number, 1 if has_transfer else None, source, bob.wallet.pk]
        point = connection.savepoint()
        refused = ""
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO transfers_movement"
                    " (id, token_id, number, transfer_number, source_id, destination_id, processed_at)"
                    " VALUES (nextval('transfers_arrival'), gen_random_uuid(), %s, %s, %s, %s, now())",
                    values,
                )
        except IntegrityError as error:
            refused = str(error)
        connection.savepoint_rollback(point)
        assert ("a movement is an issue, or belongs to a transfer" in refused) == (not may_be), (values, refused)
