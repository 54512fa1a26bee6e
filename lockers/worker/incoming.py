"""
Coins that come in, by a take or an import.
"""

from collections.abc import Mapping, Sequence

from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM
from lockers.states import Mark
from lockers.worker import (
    broadcast,
    messages,
    task_store,
    waiting_claims,
)
from lockers.worker.broadcast import ASKED, MOVED, MOVED_AGAIN, Work
from lockers.worker.messages import CoinWork, Reply


def goes_on(work: Work) -> bool:
    """
    Begin with coins that waited for other claims, and tell whether there is anything to do for this worker now.

    A task whose coins all wait still is parked; one that has none left ends.
    """
    if task_store.batches(task_id=work.task.id) or not waiting_claims.has_waiting_claims(task_id=work.task.id):
        return True
    if waiting_claims.promote_waiting(held=work.held):
        work.task.refresh_from_db()
        return True
    if not waiting_claims.has_waiting_claims(task_id=work.task.id):
        work.conclude(reason="Every coin turned out to be held in this service.")
    return False


def move_in(
    work: Work, numbers: Sequence[int], command: Command, *, known: Mapping[int, list[CoinWork]] | None = None
) -> None:
    """
    Give coins their new numbers on every server, ask the silent ones, and finish what was not done.

    `known` batches have not to be read again.
    """
    for position, batch in enumerate(numbers):
        pieces = (known or {}).get(batch) or work.fresh_pieces(batch)
        broadcast.tell(
            work,
            command,
            batch,
            pieces,
            early=broadcast.LINGER_MOVING,
            progress=broadcast.share(10, 90, position, len(numbers)),
        )
        learn(work, batch, pieces)
        if command is Command.REMOVE:
            pown_forgotten(work, batch, pieces)
        # Not blindly: each of these servers has just said that it holds the old number.
        undone = messages.choose(pieces, Mark.OLD)
        work.exchange(command, batch, pieces, undone, MOVED_AGAIN, sent=True)
        learn(work, batch, pieces)


def learn(work: Work, batch: int, pieces: Sequence[CoinWork]) -> None:
    """
    Ask the silent servers about coins that 13 have not confirmed yet.

    About the others nobody has to wait for an answer: they are healed later.
    """
    undecided = [piece for piece in pieces if piece.marks.count(Mark.NEW) < QUORUM]
    unsure = messages.choose(undecided, Mark.SENT + Mark.ERROR)
    work.exchange(Command.FIND, batch, undecided, unsure, ASKED, early=broadcast.LINGER_MOVING)


def pown_forgotten(work: Work, batch: int, pieces: Sequence[CoinWork]) -> None:
    """
    Take coins from servers that restarted: they forgot the locker, while the coins carry its key.

    Where a remove was refused the servers are asked; only those that hold the key get a pown.
    """
    refused = messages.choose(pieces, Mark.REFUSED)
    found = work.exchange(Command.FIND, batch, pieces, refused, {})
    forgotten = {
        raida: tuple(index for index, reply in zip(refused[raida], replies, strict=True) if reply is Reply.HAS_OLD)
        for raida, replies in found.items()
    }
    work.exchange(
        Command.POWN,
        batch,
        pieces,
        {raida: indices for raida, indices in forgotten.items() if indices},
        MOVED,
        sent=True,
    )
