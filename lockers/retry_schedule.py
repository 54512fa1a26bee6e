"""When finds and fixes begin without a request: each wallet is tried again after a pause that doubles."""

from typing import Final
from uuid import UUID

from django.db import connection

from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import DOUBTFUL, SPENDABLE, TaskKind, TaskState
from wallets.audit import listed

# The pause after a find or fix: it doubles with each, from 10 seconds to an hour. The text names the tables `task`, one
# that has ended, and `coin`.
PAUSE: Final = "least(interval '1 hour', 0.5 * (task.finished_at - coin.created_at) + interval '10 seconds')"
_OVERDUE: Final = f"""
SELECT coin.wallet_id FROM lockers_coin AS coin
 WHERE coin.task_id IS NULL AND {{coins}}
   AND NOT EXISTS (
       SELECT FROM lockers_lockertask AS task
        WHERE task.wallet_id = coin.wallet_id AND task.kind = '{{kind}}'
          AND (task.state = '{TaskState.RUNNING}' OR task.finished_at > now() - {PAUSE}))
 GROUP BY coin.wallet_id ORDER BY coin.wallet_id LIMIT %(limit)s
"""  # noqa: S608 - constants
_TO_FIND: Final = _OVERDUE.format(
    kind=TaskKind.FIND, coins=f"coin.state IN {listed(DOUBTFUL)} AND coin.changed_at < now() - interval '10 seconds'"
)
_TO_FIX: Final = _OVERDUE.format(
    kind=TaskKind.FIX,
    coins=f"""coin.state IN {listed(SPENDABLE)} AND coin.passes < {RAIDA_COUNT}
   AND coin.changed_at < now() - interval '2 seconds'
   AND (SELECT count(*) FROM lockers_serverhealth WHERE rest_until > now()) <= {RAIDA_COUNT - QUORUM}""",  # noqa: S608
)


def wallets_to_find(*, limit: int) -> list[UUID]:
    """Return wallets with free coins in limbo whose last find ended longer ago than the pause."""
    return _overdue(_TO_FIND, limit)


def wallets_to_fix(*, limit: int = 100) -> list[UUID]:
    """
    Return wallets with free coins that some servers do not accept whose last fix ended longer ago than the pause.

    Return an empty list while circuit breakers leave fewer than 13 servers available.
    """
    return _overdue(_TO_FIX, limit)


def _overdue(statement: str, limit: int) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"limit": limit})
        return [wallet_id for (wallet_id,) in cursor.fetchall()]
