"""
Incoming coins of a take or an import: give them new numbers on the servers.
"""

from collections.abc import Mapping, Sequence

from lockers import competing_claims
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM
from lockers.states import Mark
from lockers.worker import broadcast, messages, task_store
from lockers.worker.broadcast import GRACE_MOVE, Request, TaskRun
from lockers.worker.messages import ASKED, MOVED, MOVED_AGAIN, CoinWork, Reply


def can_start(task_run: TaskRun) -> bool:
    """
    Promote claims that waited for others, and return whether this worker has coins to work on now.

    A task whose coins all still wait is parked; one that has no coins left ends.
    """
    task_id = task_run.task.id
    if task_store.batches(task_id=task_id) or not competing_claims.has_waiting_claims(task_id=task_id):
        return True
    if competing_claims.promote_waiting(held=task_run.held):
        task_run.task.refresh_from_db()
        return True
    if not competing_claims.has_waiting_claims(task_id=task_id):
        task_run.conclude(reason="Every coin turned out to be held in this service.")
    return False


def move_in(
    task_run: TaskRun, numbers: Sequence[int], command: Command, *, known: Mapping[int, list[CoinWork]] | None = None
) -> None:
    """
    Give the coins of batches their new numbers on every server, ask silent servers, and repeat what was not done.

    The coins of `known` batches are not read again.
    """
    for position, batch in enumerate(numbers):
        coins = (known or {}).get(batch) or task_run.fresh_coins(batch)
        progress = broadcast.share(10, 90, position, len(numbers))
        task_run.send_batch(Request(command, batch, coins, grace=GRACE_MOVE, progress=progress))
        ask_unconfirmed(task_run, batch, coins)
        if command is Command.REMOVE:
            pown_forgotten(task_run, batch, coins)
        # Each of these servers has just reported that it holds the old number.
        task_run.broadcast(Request(command, batch, coins, Mark.OLD, MOVED_AGAIN, intends=True))
        ask_unconfirmed(task_run, batch, coins)


def ask_unconfirmed(task_run: TaskRun, batch: int, coins: Sequence[CoinWork]) -> None:
    """Ask the silent servers about coins that fewer than 13 have confirmed; a fix repairs the others later."""
    undecided = [coin for coin in coins if coin.marks.count(Mark.NEW) < QUORUM]
    task_run.broadcast(Request(Command.FIND, batch, undecided, Mark.SENT + Mark.ERROR, ASKED, grace=GRACE_MOVE))


def pown_forgotten(task_run: TaskRun, batch: int, coins: Sequence[CoinWork]) -> None:
    """
    Take coins from servers that restarted: they have forgotten the locker, while the coins still carry its key.

    Servers that refused a remove are asked; only those that hold the key get a pown.
    """
    found = task_run.broadcast(Request(Command.FIND, batch, coins, Mark.REFUSED))
    forgotten = messages.where(found, Reply.HAS_OLD)
    task_run.broadcast(Request(Command.POWN, batch, coins, targets=forgotten, table=MOVED, intends=True))
