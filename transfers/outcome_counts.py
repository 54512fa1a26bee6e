"""
How many transfers ended in which way since the beginning, without counting them all.

As for the tallies of tokens, a checkpoint says up to which number all is counted (`wallets.event_sequence`). Later ones
are read by the index on the number: a transfer that completed at once from its own row, one that was decided later from
the event for its source that announced its end.
"""

from typing import Any, Final

from django.db import connection, transaction

from transfers.states import TransferState
from wallets import event_sequence
from wallets.sql_files import load
from wallets.states import EventType

# The key of the advisory lock of the process that rolls up.
_LOCK: Final = 20261125

_ENDED: Final = {
    EventType.TRANSFER_COMPLETED: TransferState.COMPLETED,
    EventType.TRANSFER_REQUEST_CANCELLED_BY_DESTINATION: TransferState.CANCELLED,
    EventType.TRANSFER_PENDING_CANCELLED_BY_REQUESTOR: TransferState.CANCELLED,
    EventType.TRANSFER_FAILED: TransferState.FAILED,
}

_SINCE: Final = load("transfers", "parts/outcomes_since")
_TOTALS: Final = f"""
SELECT outcome, sum(transfers)::bigint FROM (
    SELECT outcome, transfers FROM transfers_outcometally UNION ALL ({_SINCE})) AS part GROUP BY outcome
"""  # noqa: S608 - constants

OUTCOMES: Final = (TransferState.COMPLETED, TransferState.CANCELLED, TransferState.FAILED)


def _parameters(until: int) -> dict[str, Any]:
    return {
        "until": until,
        "types": [type_.value for type_ in _ENDED],
        "outcomes": [outcome.value for outcome in _ENDED.values()],
        "all": [outcome.value for outcome in OUTCOMES],
    }


def totals() -> dict[str, int]:
    """Return how many transfers were completed, cancelled and failed, as of all that is final."""
    with connection.cursor() as cursor:
        cursor.execute(event_sequence.SETTLED)
        cursor.execute(_TOTALS, _parameters(cursor.fetchone()[0]))
        return dict.fromkeys((outcome.value for outcome in OUTCOMES), 0) | dict(cursor.fetchall())


def roll_up() -> bool:
    """Move the checkpoint up to all that is final. Returns False if another process is doing so."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return False
        # The first run reads all transfers.
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(event_sequence.SETTLED)
        cursor.execute(load("transfers", "roll_up_outcomes", since=_SINCE), _parameters(cursor.fetchone()[0]))
    return True
