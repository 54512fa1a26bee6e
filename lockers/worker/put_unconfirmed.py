"""
Putting coins also where it is not known which number a server holds.

An import or a take ends when 13 servers have the new numbers, and does not wait for the others. If some
of the 13 are gone when the coins are put, those others can make up for them: they are asked first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from lockers.raida.authenticity import is_locker_key
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import Mark
from lockers.worker import broadcast, messages, task_store
from lockers.worker.broadcast import MOVED, MOVED_AGAIN, Table, Work
from lockers.worker.messages import CoinWork, Reply, Targets


def put_where_unsure(work: Work, batch: int, pieces: Sequence[CoinWork]) -> None:
    """
    Put coins that fewer than 13 servers have stored on servers that say which of a coin's numbers they hold.

    Has nothing to do for coins that every server is known to accept, or that could not be stored even so.

    :raises TaskSuperseded: another worker has the task
    """
    undecided = [piece for piece in pieces if _could_be_stored(piece.marks)]
    if not any(Mark.UNASKED in piece.marks for piece in undecided):
        return
    proposed = task_store.proposed_numbers(task_id=work.task.id, batch=batch)
    asked = [replace(piece, new=tuple(proposed.get(piece.coin_id, piece.old))) for piece in undecided]
    unsure = messages.choose(asked, Mark.UNASKED)
    found = work.exchange(Command.FIND, batch, asked, unsure, {}, early=broadcast.LINGER_MOVING)
    adopted: dict[int, set[int]] = {}
    holding: dict[int, list[int]] = {}
    for raida, told in found.items():
        for index, reply in zip(unsure[raida], told, strict=True):
            # A key is another locker's, into which the coin was once to go.
            is_ours = reply is Reply.HAS_NEW and not is_locker_key(asked[index].new[raida])
            if is_ours:
                adopted.setdefault(index, set()).add(raida)
            if is_ours or reply is Reply.HAS_OLD:
                holding.setdefault(raida, []).append(index)
    _adopt(work, undecided, asked, adopted)
    chosen: Targets = {raida: tuple(indices) for raida, indices in holding.items()}
    work.exchange(Command.PUT, batch, undecided, chosen, MOVED, sent=True, early=broadcast.LINGER_PUTTING)


def put_where_refused(work: Work, batch: int, pieces: Sequence[CoinWork]) -> None:
    """
    Find out which coins of a batch the servers do not know that refused it as a whole, and put the others there.

    Has nothing to do where 13 servers have stored each coin: afterwards `lockers.worker.repair` asks about each coin. A
    server that knows all coins refused for another reason, and is not told again.

    :raises TaskSuperseded: another worker has the task
    """
    whole = Mark.REFUSED + Mark.ERROR
    if not any(piece.marks.count(Mark.NEW) < QUORUM and set(whole) & set(piece.marks) for piece in pieces):
        return
    refused = messages.choose(pieces, whole)
    told = work.exchange(Command.DETECT, batch, pieces, refused, _DENIED)
    chosen: Targets = {
        raida: known
        for raida, replies in told.items()
        if Reply.FAIL in replies or Reply.ERROR in replies
        if (known := tuple(index for index, reply in zip(refused[raida], replies, strict=True) if reply is Reply.PASS))
    }
    work.exchange(Command.PUT, batch, pieces, chosen, MOVED_AGAIN, sent=True, early=broadcast.LINGER_PUTTING)


_DENIED: Final[Table] = {(Mark.REFUSED, Reply.FAIL): Mark.NEITHER}


def _could_be_stored(marks: str) -> bool:
    perhaps = Mark.NEW + Mark.SENT + Mark.ERROR + Mark.UNASKED
    return marks.count(Mark.NEW) < QUORUM <= sum(mark in perhaps for mark in marks)


def _adopt(work: Work, pieces: Sequence[CoinWork], asked: Sequence[CoinWork], adopted: Mapping[int, set[int]]) -> None:
    """Have rows say what servers hold before a put changes it: whoever goes on must know which numbers were old."""
    for index, raidas in adopted.items():
        piece, numbers = pieces[index], asked[index].new
        piece.old = tuple(numbers[raida] if raida in raidas else piece.old[raida] for raida in range(RAIDA_COUNT))
        piece.pown = "".join("p" if raida in raidas else piece.pown[raida] for raida in range(RAIDA_COUNT))
    if adopted:
        task_store.adopt(held=work.held, pieces=[pieces[index] for index in adopted])
