"""
After the books were set back to an earlier moment.

What happened on the servers since then is not in them. A task that was under way at that moment may have gone on
afterwards: what its books call "never sent", or "it still holds the old secret", may have been sent since. So it
becomes "unknown", exactly as after a worker was killed in the middle of a command, and the servers are asked before
anything else is done: to send it again would be refused, and a refusal is held against a coin.
"""

from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction

from lockers.coin_breaks import FIRST_BREAK
from lockers.models import LockerTask
from lockers.states import Mark, TaskKind, TaskState


@dataclass(frozen=True, slots=True)
class InFlight:
    """A task that was under way when the books were copied."""

    id: UUID
    kind: str
    coins: int


# A find finishes what others began. A fix repeats nothing that could lose a coin, and the others hold none.
_MOVES_COINS = (TaskKind.PUT, TaskKind.TAKE, TaskKind.IMPORT, TaskKind.FIND)
# What lets a worker send a command that changes coins.
_RELIED_ON = Mark.UNASKED + Mark.UNREACHED + Mark.OLD + Mark.KEPT


def doubt_tasks_in_flight() -> list[InFlight]:
    """Let no open task rely on what it had not done yet, give up every lease, and return these tasks."""
    with transaction.atomic(), connection.cursor() as cursor:
        LockerTask.objects.filter(state=TaskState.RUNNING).update(lease_until=None)
        cursor.execute(
            "UPDATE lockers_coin SET outcome = translate(outcome, %s, %s) FROM lockers_lockertask AS task"
            " WHERE task.id = lockers_coin.task_id AND task.state = %s"
            # Whatever a task is for, what it breaks first has a batch of its own. Change that is in its pool was sent
            # nowhere yet, and nothing is sent with it before it is chosen.
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
