"""
Writing wallets' statements: one line for each change of a balance, in the transaction of the change.

Whoever makes coins spendable, or ceases to, calls `post` as the last thing in its transaction:
the rows of accounts are the last that anybody locks, two of them in the order of the wallets' ids.
So the lines of a wallet are numbered in the order of commits, without a gap, and each knows the
balance after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection

from lockers.states import LineType, TaskKind

TYPE_OF: Final = {
    TaskKind.PUT: LineType.PUT_TO_LOCKER,
    TaskKind.TAKE: LineType.GET_FROM_LOCKER,
    TaskKind.IMPORT: LineType.IMPORTED,
}


@dataclass(frozen=True, slots=True)
class Posting:
    """A change of one wallet's balance by `units`, below zero if they left."""

    wallet_id: UUID
    units: int
    type: LineType
    other_wallet_id: UUID | None = None


def post(*, task_id: UUID, postings: Sequence[Posting]) -> None:
    """
    Append lines to the statements of different wallets and change their balances; the caller has a transaction.

    Changes by nothing leave no line. The database refuses a balance below zero.
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
        if cursor.rowcount != len(changes):
            raise AssertionError("a statement was not written")


# Apart from the change, because the database would refuse a first row that is below zero even where one is there.
_OPEN: Final = """
INSERT INTO lockers_account (wallet_id, balance, lines)
SELECT wallet_id, 0, 0 FROM unnest(%(wallets)s::uuid[]) AS change (wallet_id) ORDER BY wallet_id
ON CONFLICT DO NOTHING
"""
_POST: Final = """
WITH change AS MATERIALIZED (
    SELECT * FROM unnest(%(wallets)s::uuid[], %(units)s::numeric[], %(types)s::text[], %(others)s::uuid[])
        AS change (wallet_id, units, type, other_wallet_id)
), locked AS MATERIALIZED (
    SELECT wallet_id FROM lockers_account WHERE wallet_id = ANY(%(wallets)s) ORDER BY wallet_id FOR NO KEY UPDATE
), account AS (
    UPDATE lockers_account AS account SET balance = account.balance + change.units, lines = account.lines + 1
      FROM change JOIN locked USING (wallet_id) WHERE account.wallet_id = change.wallet_id
    RETURNING account.wallet_id, account.balance, account.lines
)
INSERT INTO lockers_statementline (wallet_id, number, task_id, type, amount, running_balance, other_wallet_id)
SELECT wallet_id, account.lines, %(task)s, change.type, change.units, account.balance, change.other_wallet_id
  FROM change JOIN account USING (wallet_id)
"""
