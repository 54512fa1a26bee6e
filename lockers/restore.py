"""
Correcting open tasks after the database was restored to an earlier moment.

The restored database lacks what the servers did since. A task that was open at that moment may have continued: requests
that its rows call "never sent" may have been sent. Their marks become SENT ("unknown"), as after a worker was killed
in the middle of a command, so that workers ask the servers first. Sending again would be refused, and a refusal counts
against a coin.
"""

from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction

from lockers.coin_breaks import FIRST_BREAK
from lockers.models import LockerTask
from lockers.states import Mark, TaskKind, TaskState


@dataclass(frozen=True, slots=True)
class InFlight:
    """A task that was open when the backup was made."""

    id: UUID
    kind: str
    coins: int


# Repeating a fix cannot lose a coin, and tasks of the other kinds hold none.
_MOVES_COINS = (TaskKind.PUT, TaskKind.TAKE, TaskKind.IMPORT, TaskKind.FIND)
# The marks after which a worker sends a command that changes coins.
_RELIED_ON = Mark.UNASKED + Mark.UNREACHED + Mark.OLD + Mark.KEPT


def doubt_tasks_in_flight() -> list[InFlight]:
    """Mark the coins of open tasks as possibly sent, end all leases, and return the tasks."""
    with transaction.atomic(), connection.cursor() as cursor:
        LockerTask.objects.filter(state=TaskState.RUNNING).update(lease_until=None)
        cursor.execute(
            "UPDATE lockers_coin SET outcome = translate(outcome, %s, %s) FROM lockers_lockertask AS task"
            " WHERE task.id = lockers_coin.task_id AND task.state = %s"
            # Breaks have separate batches in tasks of any kind. Change in the pool is never sent before it is selected.
            "   AND (task.kind = ANY(%s) AND lockers_coin.batch >= 0 OR lockers_coin.batch <= %s)",
            [
                _RELIED_ON,
                Mark.SENT * len(_RELIED_ON),
                TaskState.RUNNING,
                [kind.value for kind in _MOVES_COINS],
                FIRST_BREAK,
            ],
        )
        cursor.execute(
            "SELECT task.id, task.kind, count(coin.id) FROM lockers_lockertask AS task"
            "  LEFT JOIN lockers_coin AS coin ON coin.task_id = task.id"
            " WHERE task.state = %s GROUP BY task.id, task.kind ORDER BY task.created_at, task.id",
            [TaskState.RUNNING],
        )
        return [InFlight(*row) for row in cursor.fetchall()]
