"""
How many transfers ended in which way since the beginning, without counting them all.

As for the tallies of tokens, a mark says up to which number all is counted (`wallets.event_sequence`). What came after
it is read from the index on the number: a transfer that completed at once, from its own row; one that was decided
later, from the two events, one for each party, that its end was announced by.
"""

from typing import Any, Final

from django.db import connection, transaction

from transfers.states import TransferState
from wallets import event_sequence
from wallets.states import EventType

# The key of the advisory lock under which one process folds.
_FOLDING: Final = 20261125

_ENDED: Final = {
    EventType.TRANSFER_COMPLETED: TransferState.COMPLETED,
    EventType.TRANSFER_REQUEST_CANCELLED_BY_DESTINATION: TransferState.CANCELLED,
    EventType.TRANSFER_PENDING_CANCELLED_BY_REQUESTOR: TransferState.CANCELLED,
    EventType.TRANSFER_FAILED: TransferState.FAILED,
}

_MARK: Final = "(SELECT coalesce(max(number), 0) FROM transfers_outcometally)"
_SINCE: Final = f"""
SELECT 'completed' AS outcome, count(*) AS transfers FROM transfers_transfer
 WHERE number > {_MARK} AND number <= %(until)s AND state = 'completed' AND closed_event = ''
 UNION ALL
SELECT ending.outcome, count(*) / 2
  FROM wallets_event AS event
  JOIN unnest(%(types)s::text[], %(outcomes)s::text[]) AS ending (type, outcome) ON ending.type = event.type
 WHERE event.number > {_MARK} AND event.number <= %(until)s
 GROUP BY ending.outcome
"""  # noqa: S608 - constants

_TOTALS: Final = f"""
SELECT outcome, sum(transfers)::bigint FROM (
    SELECT outcome, transfers FROM transfers_outcometally UNION ALL ({_SINCE})) AS part GROUP BY outcome
"""  # noqa: S608 - constants

# Every outcome gets a row, so that all have the same mark.
_FOLD: Final = f"""
WITH since AS ({_SINCE})
INSERT INTO transfers_outcometally AS tally (outcome, transfers, number)
SELECT known.outcome, coalesce(sum(since.transfers), 0), %(until)s
  FROM unnest(%(all)s::text[]) AS known (outcome) LEFT JOIN since ON since.outcome = known.outcome
 GROUP BY known.outcome
    ON CONFLICT (outcome) DO UPDATE
   SET transfers = tally.transfers + EXCLUDED.transfers, number = EXCLUDED.number
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


def fold() -> bool:
    """Move the mark up to all that is final. Returns False if another process is at it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_FOLDING])
        if not cursor.fetchone()[0]:
            return False
        # The first time reads everything.
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(event_sequence.SETTLED)
        cursor.execute(_FOLD, _parameters(cursor.fetchone()[0]))
    return True
