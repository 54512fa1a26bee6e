"""
Putting coins into a locker.

An import or a take ends when 13 servers have the new numbers, and does not wait for the others. If some
of the 13 are gone when the coins are put, those others can make up for them: they are asked first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from lockers import (
    coin_secrets,
)
from lockers.models import Coin
from lockers.raida.authenticity import is_locker_key
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import Mark, Step
from lockers.worker import (
    break_coin,
    broadcast,
    messages,
    task_store,
)
from lockers.worker.broadcast import ASKED, MOVED, MOVED_AGAIN, Table, Work, every
from lockers.worker.messages import CoinWork, Reply, Targets
from lockers.worker.task_store import Claim

_RETURNED: Final[Table] = {(Mark.NEW, Reply.PASS): Mark.KEPT}

_ASKED_ABOUT_RETURN: Final[Table] = {
    (Mark.NEW, Reply.HAS_OLD): Mark.KEPT,
    (Mark.NEW, Reply.HAS_NEITHER): Mark.GONE,
}

# What may still hold the old number, and is known to be at rest.
_OLD_PERHAPS: Final = Mark.UNASKED + Mark.UNREACHED + Mark.REFUSED + Mark.KEPT + Mark.ERROR + Mark.UNREADABLE

_CHECKED: Final[Table] = every(_OLD_PERHAPS, {Reply.PASS: Mark.KEPT, Reply.FAIL: Mark.NEITHER})

_DENIED: Final[Table] = {(Mark.REFUSED, Reply.FAIL): Mark.NEITHER}


def run(work: Work) -> None:
    reason = break_coin.make_change(work) if work.task.plan.get("breaks") else ""
    if reason:
        work.conclude(reason=reason)
        return
    numbers = [batch for batch in task_store.batches(task_id=work.task.id) if batch >= 0]
    undecided = []
    for position, batch in enumerate(numbers):
        pieces = work.fresh_pieces(batch)
        broadcast.tell(
            work,
            Command.PUT,
            batch,
            pieces,
            known_good=True,
            early=broadcast.LINGER_PUTTING,
            progress=broadcast.share(5, 70, position, len(numbers)),
        )
        put_where_refused(work, batch, pieces)
        put_where_unsure(work, batch, pieces)
        if not broadcast.all_stored(pieces):
            undecided.append(batch)
    if undecided:
        _ask_until_decided(work, undecided)
        bring_back(work, undecided)
    work.conclude()


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


def put_where_unsure(work: Work, batch: int, pieces: Sequence[CoinWork]) -> None:
    """
    Put coins that fewer than 13 servers have stored on servers that say which of a coin's numbers they hold.

    Has nothing to do for coins that every server is known to accept, or that could not be stored even so.

    :raises TaskSuperseded: another worker has the task
    """
    undecided = [piece for piece in pieces if _could_be_stored(piece.marks)]
    if not any(Mark.UNASKED in piece.marks for piece in undecided):
        return
    proposed = proposed_numbers(task_id=work.task.id, batch=batch)
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
        adopt(held=work.held, pieces=[pieces[index] for index in adopted])


def _ask_until_decided(work: Work, numbers: Sequence[int]) -> None:
    """Ask the silent servers what they hold, for batches in which a coin is not stored on 13 servers yet."""
    task_store.advance(held=work.held, step=Step.ASKING, progress=70)
    for batch in numbers:
        pieces = work.pieces(batch)
        undecided = [piece for piece in pieces if piece.marks.count(Mark.NEW) < QUORUM]
        chosen = messages.choose(undecided, Mark.SENT + Mark.ERROR)
        work.exchange(Command.FIND, batch, undecided, chosen, ASKED, early=broadcast.LINGER_MOVING)


def bring_back(work: Work, numbers: Sequence[int]) -> None:
    """
    Take coins back out of the locker that can no longer be stored on 13 servers.

    While silent servers could still make 13 nothing is done: the coin goes to limbo, and a find
    decides when they answer.
    """
    task_store.advance(held=work.held, step=Step.RETURNING, progress=85)
    for batch in numbers:
        pieces = [piece for piece in work.pieces(batch) if not piece.releasing and cannot_be_stored(piece.marks)]
        if not pieces:
            continue
        # A worker that died may have sent the remove already.
        in_locker = messages.choose(pieces, Mark.NEW)
        work.exchange(Command.FIND, batch, pieces, in_locker, _ASKED_ABOUT_RETURN)
        in_locker = messages.choose(pieces, Mark.NEW)
        told = work.exchange(Command.REMOVE, batch, pieces, in_locker, _RETURNED, back=True)
        unsure = messages.choose(pieces, Mark.NEW)
        held = work.exchange(Command.FIND, batch, pieces, unsure, _ASKED_ABOUT_RETURN)
        # A server that restarted has forgotten its lockers while the coins still carry the key:
        # there a pown is the way out. Only where it said both, that the coin is not in its list
        # and that it holds the key.
        not_listed = {
            raida: {index for index, reply in zip(in_locker[raida], replies, strict=True) if reply is Reply.FAIL}
            for raida, replies in told.items()
        }
        forgotten = {
            raida: tuple(
                index
                for index, reply in zip(unsure[raida], replies, strict=True)
                if reply is Reply.HAS_NEW and index in not_listed[raida]
            )
            for raida, replies in held.items()
        }
        work.exchange(
            Command.POWN,
            batch,
            pieces,
            {raida: indices for raida, indices in forgotten.items() if indices},
            _RETURNED,
            back=True,
        )
        unsure = messages.choose(pieces, Mark.NEW)
        work.exchange(Command.FIND, batch, pieces, unsure, _ASKED_ABOUT_RETURN)
    task_store.advance(held=work.held, step=Step.CHECKING, progress=92)
    for batch in numbers:
        pieces = [
            piece
            for piece in work.pieces(batch)
            if not piece.releasing and _was_touched(piece.marks) and cannot_be_stored(piece.marks)
        ]
        chosen = messages.choose(pieces, _OLD_PERHAPS)
        work.exchange(Command.DETECT, batch, pieces, chosen, _CHECKED)


def cannot_be_stored(marks: str) -> bool:
    return marks.count(Mark.NEW) < QUORUM and sum(mark in Mark.NEW + Mark.SENT + Mark.OLD for mark in marks) < QUORUM


def _was_touched(marks: str) -> bool:
    return not set(marks) <= {Mark.UNASKED, Mark.UNREACHED}


def proposed_numbers(*, task_id: UUID, batch: int) -> dict[UUID, Sequence[bytes]]:
    """Return the numbers that were once proposed for coins of a batch, for those that have any."""
    rows = Coin.objects.filter(task_id=task_id, batch=batch, proposed__isnull=False).values_list("id", "proposed")
    return {coin_id: coin_secrets.open_numbers(proposed or b"", coin_id=coin_id) for coin_id, proposed in rows}


def adopt(*, held: Claim, pieces: Sequence[CoinWork]) -> None:
    """
    Commit that servers hold the old numbers that the pieces have now, as their `pown` says.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        task_store.fence(held)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE lockers_coin SET secrets = new.secrets, pown = new.pown,"
                # What was proposed is of use as long as it is not known of some server which number it holds.
                "       proposed = CASE WHEN strpos(new.pown, 'n') > 0 THEN proposed END"
                "  FROM unnest(%s::uuid[], %s::bytea[], %s::text[]) AS new(id, secrets, pown)"
                " WHERE lockers_coin.id = new.id AND lockers_coin.task_id = %s",
                [
                    [piece.coin_id for piece in pieces],
                    [coin_secrets.seal_numbers(piece.old, coin_id=piece.coin_id) for piece in pieces],
                    [piece.pown for piece in pieces],
                    held.task_id,
                ],
            )
