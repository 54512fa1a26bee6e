"""
The account ledger: one statement line for each change of a wallet's balance, in the transaction of the change.

A transaction that makes coins spendable, or ends that, calls `post` last: the rows of accounts are locked after all
others, several of them in the order of the wallets' ids. The lines of a wallet are therefore numbered without a gap in
the order of commits, and each stores the balance after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection

from lockers import task_events
from lockers.states import LineType, TaskKind
from wallets.sql_files import load

TYPE_OF: Final = {
    TaskKind.PUT: LineType.PUT_TO_LOCKER,
    TaskKind.TAKE: LineType.GET_FROM_LOCKER,
    TaskKind.IMPORT: LineType.IMPORTED,
}


@dataclass(frozen=True, slots=True)
class Posting:
    """A change of one wallet's balance by `units` of 10^-8, negative if they left."""

    wallet_id: UUID
    units: int
    type: LineType
    other_wallet_id: UUID | None = None


def post(*, task_id: UUID, postings: Sequence[Posting]) -> None:
    """
    Append one line to the statement of each wallet, change its balance, and write the events of those that grow.

    The caller has a transaction. The wallets differ. A posting of 0 units is skipped. The database refuses a negative
    balance.
    """
    changes = [posting for posting in postings if posting.units]
    if not changes:
        return
    values: dict[str, Any] = {
        "task": task_id,
        "wallets": [posting.wallet_id for posting in changes],
        "units": [posting.units for posting in changes],
        "types": [str(posting.type) for posting in changes],
        "others": [posting.other_wallet_id for posting in changes],
    }
    with connection.cursor() as cursor:
        cursor.execute(_OPEN, values)
        cursor.execute(_POST, values)
        balances = {wallet_id: int(balance) for wallet_id, balance in cursor.fetchall()}
    if len(balances) != len(changes):
        raise AssertionError("a statement was not written")
    task_events.record_received(
        task_id=task_id,
        received=[
            (change.wallet_id, change.units, balances[change.wallet_id], str(change.type), change.other_wallet_id)
            for change in changes
            if change.units > 0
        ],
    )


# A separate statement: with INSERT … ON CONFLICT UPDATE the check would refuse a negative change of an existing row.
_OPEN: Final = """
INSERT INTO lockers_account (wallet_id, balance, lines)
SELECT wallet_id, 0, 0 FROM unnest(%(wallets)s::uuid[]) AS change (wallet_id) ORDER BY wallet_id
ON CONFLICT DO NOTHING
"""
_POST: Final = load("lockers", "post_lines")
