"""
Asking what became of coins in limbo, and finishing what was begun with them.
"""

from lockers import coin_breaks
from lockers.raida.authenticity import is_locker_key
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM
from lockers.states import Mark, Step
from lockers.worker import (
    break_coin,
    broadcast,
    incoming,
    messages,
    put,
    task_store,
)
from lockers.worker.broadcast import ASKED, FOUND, MOVED_AGAIN, Work
from lockers.worker.messages import CoinWork


def run(work: Work) -> None:
    """
    Ask about coins in limbo, and finish what was begun with them.

    Their batches hold either coins of one locker that a put could not settle, or coins that came in.
    """
    everything = task_store.batches(task_id=work.task.id)
    numbers = [batch for batch in everything if batch >= 0]
    task_store.advance(held=work.held, step=Step.FINDING, progress=5)
    for position, batch in enumerate(numbers):
        pieces = task_store.pieces(task_id=work.task.id, batch=batch, keys=None, releasing=False)
        chosen = messages.choose(pieces, Mark.SENT + Mark.OLD)
        table = FOUND if task_store.is_quiet(task_id=work.task.id, batch=batch) else ASKED
        work.exchange(
            Command.FIND, batch, pieces, chosen, table, progress=broadcast.share(5, 60, position, len(numbers))
        )
    puts = [batch for batch in numbers if batch in work.task.plan.get("puts", [])]
    put.bring_back(work, puts)
    for batch in numbers:
        if batch in puts:
            _release(work, batch)
        else:
            _finish_arrival(work, batch)
    for batch in everything:
        if batch <= coin_breaks.FIRST_BREAK:
            if not break_coin.family(held=work.held, batch=batch).broken.releasing:
                is_quiet = task_store.is_quiet(task_id=work.task.id, batch=batch)
                break_coin.look_again(work, batch, is_quiet=is_quiet)
            _release(work, batch)
    work.conclude()


def _release(work: Work, batch: int) -> None:
    """
    Give coins fresh numbers that 13 servers still hold after a silence, before anybody may spend them.

    The request that was never answered may still be under way. Once a coin's numbers are others it can
    do nothing any more; as long as fewer than 13 servers have taken those, the coin stays in limbo.
    """
    kept = [
        piece.coin_id
        for piece in _returning(work, batch)
        if put.cannot_be_stored(piece.marks) and piece.marks.count(Mark.KEPT) >= QUORUM
    ]
    if kept:
        task_store.begin_release(held=work.held, coin_ids=kept)
    pieces = task_store.pieces(task_id=work.task.id, batch=batch, keys=None, releasing=True)
    if not pieces:
        return
    task_store.advance(held=work.held, step=Step.RELEASING, progress=95)
    work.exchange(Command.FIND, batch, pieces, messages.choose(pieces, Mark.SENT), ASKED)
    undone = messages.choose(pieces, Mark.UNASKED + Mark.OLD)
    work.exchange(Command.POWN, batch, pieces, undone, MOVED_AGAIN, sent=True, early=broadcast.LINGER_MOVING)
    incoming.learn(work, batch, pieces)


def _returning(work: Work, batch: int) -> list[CoinWork]:
    """The coins of a batch that are not being released: of a break only the one."""
    if batch <= coin_breaks.FIRST_BREAK:
        broken = break_coin.family(held=work.held, batch=batch).broken
        return [] if broken.releasing else [broken]
    return task_store.pieces(task_id=work.task.id, batch=batch, keys=None, releasing=False)


def _finish_arrival(work: Work, batch: int) -> None:
    """Carry out what was asked for when the coins came in, where a server has said that it was not done."""
    by_key: dict[bytes | None, list[CoinWork]] = {}
    for piece in work.pieces(batch):
        # Out of a locker only by a remove, whose request has that locker's key.
        by_key.setdefault(piece.old[0] if is_locker_key(piece.old[0]) else None, []).append(piece)
    for key, pieces in by_key.items():
        command = Command.POWN if key is None else Command.REMOVE
        undone = messages.choose(pieces, Mark.KEPT)
        work.exchange(command, batch, pieces, undone, MOVED_AGAIN, sent=True)
        if command is Command.REMOVE:
            incoming.pown_forgotten(work, batch, pieces)
        unsure = messages.choose(pieces, Mark.SENT + Mark.ERROR)
        work.exchange(Command.FIND, batch, pieces, unsure, ASKED)
