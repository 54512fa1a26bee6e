"""
How many transfers and wallets the lists of a wallet have, without counting them all, and between which times the
transfers of some numbers are, for `transfers.list_pages`.

A transfer's parties never change and it is never deleted, so the number of a wallet's transfers up to a checkpoint is
final. `ListTally` keeps it, in two ways: transfers in which the wallet is a party (`own`), and in which it or a wallet
that it manages is one (`visible`), each transfer once. A total is the kept count and the transfers after the
checkpoint, which are found by wallet and number. A transfer writes nothing for it.

Who manages whom does change. A trigger of the trusts notes each such change (`ControlChange`) in its transaction. Until
`roll_up` has counted anew for the managers concerned, their totals are counted; for transfers, a wallet that had none
up to the checkpoint, as a new one, does not matter. So a total is exact in every snapshot; it takes longer while
changes are noted or the checkpoint is old.

States do change. How many transfers are not completed is counted in a small index of these, and the number of completed
ones is the rest.
"""

from typing import Final

from django.db import connection, transaction

from wallets import event_sequence
from wallets.sql_files import load

# The key of the advisory lock of the process that rolls up.
_LOCK: Final = 20261130

# How many numbers one row of `ListSpan` stands for. Lists with dates read up to as many on either side.
SPAN: Final = 1024

HAS_TRANSFERS: Final = load("transfers", "parts/control_has_transfers")
_VISIBLE: Final = load("transfers", "parts/visible_up_to")


# How many transfers are counted at once, so that the first run over a large table is not ended by a time limit.
_AT_ONCE: Final = 100_000
# All up to the checkpoint remains final, even where what is settled ends earlier than before.
_UNTIL: Final = """
SELECT greatest(checkpoint.number, coalesce(
           (SELECT number FROM transfers_transfer
             WHERE number > checkpoint.number AND number <= %(settled)s ORDER BY number OFFSET %(most)s - 1 LIMIT 1),
           %(settled)s))
  FROM (SELECT coalesce(max(number), 0) AS number FROM transfers_listmark) AS checkpoint
"""


def roll_up() -> bool:
    """
    Count the next transfers that are final, and anew where control changed.

    Returns False if another process is doing so.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return False
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL work_mem = '64MB'")
        # Separate statements, so that the last one sees all that is below the number.
        cursor.execute(event_sequence.SETTLED)
        cursor.execute(_UNTIL, {"settled": cursor.fetchone()[0], "most": _AT_ONCE})
        statement = load("transfers", "roll_up_lists", has_transfers=HAS_TRANSFERS, visible=_VISIBLE, span=str(SPAN))
        cursor.execute(statement, {"settled": cursor.fetchone()[0]})
    return True
