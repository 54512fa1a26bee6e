"""
Driving a task through its steps against the 25 servers.

Each step first looks at the marks that are in the database, so that a step which ran once, or
half, does only what is left of it. How a question is put to the servers, and why a worker that
died repeats none blindly, stands in `lockers.worker.broadcast`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now
from django.views.decorators.debug import sensitive_variables

from lockers import coin_breaks, coin_import, coin_secrets, fair_queue, guess_limits, server_letters, transport
from lockers.errors import NO_CODE, InvalidLockerRequest, PeekFailed
from lockers.models import LockerTask
from lockers.raida import codes
from lockers.raida.authenticity import is_locker_key
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.encryption import with_locker_key
from lockers.raida.errors import InvalidCode
from lockers.raida.payloads import encode_empty, encode_peek
from lockers.raida.statuses import QUORUM, RAIDA_COUNT, Status
from lockers.states import Mark, Step, TaskKind, TaskState
from lockers.transport import Answer, Call, GraceWindow
from lockers.worker import (
    break_coin,
    broadcast,
    circuit_breaker,
    fix,
    health_check,
    late_answers,
    listening,
    make_change,
    messages,
    put_unconfirmed,
    request_encryption,
    task_store,
)
from lockers.worker import lost_lockers as forgotten
from lockers.worker.broadcast import ASKED, FOUND, MOVED, MOVED_AGAIN, Table, Work, every
from lockers.worker.messages import CoinWork, Numbers, Reply
from lockers.worker.task_store import Claim
from wallets.wording import counted, verb

_log = logging.getLogger(__name__)

_RETURNED: Final[Table] = {(Mark.NEW, Reply.PASS): Mark.KEPT}
_ASKED_ABOUT_RETURN: Final[Table] = {
    (Mark.NEW, Reply.HAS_OLD): Mark.KEPT,
    (Mark.NEW, Reply.HAS_NEITHER): Mark.GONE,
}
# What may still hold the old number, and is known to be at rest.
_OLD_PERHAPS: Final = Mark.UNASKED + Mark.UNREACHED + Mark.REFUSED + Mark.KEPT + Mark.ERROR + Mark.UNREADABLE
_CHECKED: Final[Table] = every(_OLD_PERHAPS, {Reply.PASS: Mark.KEPT, Reply.FAIL: Mark.NEITHER})


def run(held: Claim) -> None:
    """
    Bring a claimed task to its final state.

    :raises TaskSuperseded: another worker has the task
    """
    is_overdue = ExpressionWrapper(Q(deadline__lt=Now()), output_field=BooleanField())
    task = LockerTask.objects.select_related("locker").annotate(is_overdue=is_overdue).get(pk=held.task_id)
    if task.is_overdue:
        settle_overdue(held)
        return
    if held.attempt > 1:
        # Whoever had it before may have left that to the end.
        task_store.write_down(held=held)
    work = Work(held, task)
    try:
        _do(work)
    finally:
        work.stop_listening()


def _do(work: Work) -> None:
    match work.task.kind:
        case TaskKind.PUT:
            _put(work)
        case TaskKind.IMPORT:
            _import(work)
        case TaskKind.TAKE:
            _take(work)
        case TaskKind.FIND:
            _find(work)
        case TaskKind.BREAK:
            _break(work)
        case TaskKind.FIX:
            _fix(work)
        case TaskKind.TRANSFER | TaskKind.EXPORT:
            _deliver(work)
        case TaskKind.HEALTH:
            _check(work)
        case TaskKind.PEEK:
            _peek(work)
        case TaskKind.ECHO:
            _echo(work)


def settle_overdue(held: Claim) -> None:
    """
    End a task whose deadline has passed, from what is known.

    :raises TaskSuperseded: another worker has the task
    """
    task_store.conclude(held=held, reason="The deadline passed before all steps were done.", waits_on=False)


# Putting coins into a locker.


def _put(work: Work) -> None:
    reason = break_coin.make_change(work) if work.task.plan.get("breaks") else ""
    if reason:
        work.conclude(reason=reason)
        return
    numbers = [batch for batch in task_store.batches(task_id=work.task.id) if batch >= 0]
    undecided = []
    for position, batch in enumerate(numbers):
        pieces = work.fresh_pieces(batch)
        _tell(
            work,
            Command.PUT,
            batch,
            pieces,
            known_good=True,
            early=broadcast.LINGER_PUTTING,
            progress=_share(5, 70, position, len(numbers)),
        )
        put_unconfirmed.put_where_refused(work, batch, pieces)
        put_unconfirmed.put_where_unsure(work, batch, pieces)
        if not _all_stored(pieces):
            undecided.append(batch)
    if undecided:
        _ask_until_decided(work, undecided)
        _bring_back(work, undecided)
    work.conclude()


def _break(work: Work) -> None:
    reason = ""
    for batch in task_store.batches(task_id=work.task.id):
        reason = break_coin.break_coin(work, batch)
    work.conclude(reason=reason)


def _deliver(work: Work) -> None:
    """Make the change that a transfer or an export lacks; then it needs the servers no more."""
    reason = break_coin.make_change(work)
    work.conclude(reason=reason, delivers=not reason)


def _fix(work: Work) -> None:
    """Heal the coins of the task; one that a caller began looks first which coins there are to heal."""
    further: dict[str, Any] = {}
    if work.task.plan.get("looks"):
        task_store.advance(held=work.held, step=Step.CHECKING, progress=2)
        checked = health_check.check_wallet(work, of_task=True)
        further = {"coins_checked": checked.coins, "coins_refused": checked.refused}
        task_store.reserve_to_heal(held=work.held)
    numbers = task_store.batches(task_id=work.task.id)
    if further and not numbers:
        message, state = _health_of(checked)
        task_store.finish(
            held=work.held,
            state=state,
            message=message,
            result={"coins_processed": 0, "coins_healed": 0, "coins_fracked": 0, "raida": checked.board, **further},
        )
        return
    for batch in numbers:
        fix.heal(work, batch)
    task_store.conclude(held=work.held, further=further)


def _check(work: Work) -> None:
    task_store.advance(held=work.held, step=Step.CHECKING, progress=5)
    checked = health_check.check_wallet(work)
    message, state = _health_of(checked)
    task_store.finish(
        held=work.held,
        state=state,
        message=message,
        result={
            "coins_checked": checked.coins,
            "coins_refused": checked.refused,
            "coins_doubtful": checked.doubtful,
            **({} if checked.servers is None else {"servers": checked.servers}),
            "raida": checked.board,
        },
    )


def _health_of(checked: health_check.Checked) -> tuple[str, TaskState]:
    """What is said of a check of coins, from counts of answers, and how its task ends."""
    if not checked.coins:
        return "The wallet has no free coin to check.", TaskState.COMPLETED
    answered = checked.coins - checked.unanswered
    if not answered:
        return (
            f"Fewer than {QUORUM} servers answered, so nothing is known that the books did not say before.",
            TaskState.ERROR,
        )
    parts = []
    if checked.doubtful:
        parts.append(
            f"{_of(checked.doubtful, checked.coins)} refused by so many servers that fewer than {QUORUM} would be left;"
            " the books were not changed"
        )
    if checked.refused:
        parts.append(
            f"{_of(checked.refused, checked.coins)} accepted by fewer servers than before; a fix heals what it can"
        )
    if not parts:
        parts.append(
            "Every coin is accepted by all servers"
            if checked.passes.keys() == {RAIDA_COUNT} and not checked.silent
            else "No server refuses a coin that it accepted before"
        )
    if checked.silent:
        parts.append(f"{checked.silent} of {RAIDA_COUNT} servers gave no answer")
    return "; ".join(parts) + ".", TaskState.COMPLETED


def _of(number: int, coins: int) -> str:
    return f"{number} of {coins} coins {'is' if number == 1 else 'are'}"


def _tell(
    work: Work,
    command: Command,
    batch: int,
    pieces: Sequence[CoinWork],
    *,
    early: GraceWindow,
    progress: tuple[int, int],
    known_good: bool = False,
) -> None:
    """Have a whole batch moved on all servers; on those that rest only if they could make the difference."""
    for is_last in (False, True):
        if not _all_stored(pieces):
            chosen = messages.choose(pieces, Mark.UNASKED, known_good=known_good)
            work.exchange(
                command,
                batch,
                pieces,
                chosen if is_last else work.awake(chosen),
                MOVED,
                sent=True,
                covers=True,
                early=early,
                progress=progress,
                step=Step.SENDING,
            )


def _all_stored(pieces: Sequence[CoinWork]) -> bool:
    return all(piece.marks.count(Mark.NEW) >= QUORUM for piece in pieces)


def _ask_until_decided(work: Work, numbers: Sequence[int]) -> None:
    """Ask the silent servers what they hold, for batches in which a coin is not stored on 13 servers yet."""
    task_store.advance(held=work.held, step=Step.ASKING, progress=70)
    for batch in numbers:
        pieces = work.pieces(batch)
        undecided = [piece for piece in pieces if piece.marks.count(Mark.NEW) < QUORUM]
        chosen = messages.choose(undecided, Mark.SENT + Mark.ERROR)
        work.exchange(Command.FIND, batch, undecided, chosen, ASKED, early=broadcast.LINGER_MOVING)


def _bring_back(work: Work, numbers: Sequence[int]) -> None:
    """
    Take coins back out of the locker that can no longer be stored on 13 servers.

    While silent servers could still make 13 nothing is done: the coin goes to limbo, and a find
    decides when they answer.
    """
    task_store.advance(held=work.held, step=Step.RETURNING, progress=85)
    for batch in numbers:
        pieces = [piece for piece in work.pieces(batch) if not piece.releasing and _cannot_be_stored(piece.marks)]
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
            if not piece.releasing and _was_touched(piece.marks) and _cannot_be_stored(piece.marks)
        ]
        chosen = messages.choose(pieces, _OLD_PERHAPS)
        work.exchange(Command.DETECT, batch, pieces, chosen, _CHECKED)


def _cannot_be_stored(marks: str) -> bool:
    return marks.count(Mark.NEW) < QUORUM and sum(mark in Mark.NEW + Mark.SENT + Mark.OLD for mark in marks) < QUORUM


def _was_touched(marks: str) -> bool:
    return not set(marks) <= {Mark.UNASKED, Mark.UNREACHED}


# Coins that come in.


def _goes_on(work: Work) -> bool:
    """
    Begin with coins that waited for other claims, and tell whether there is anything to do for this worker now.

    A task whose coins all wait still is parked; one that has none left ends.
    """
    if task_store.batches(task_id=work.task.id) or not task_store.has_waiting_claims(task_id=work.task.id):
        return True
    if task_store.promote_waiting(held=work.held):
        work.task.refresh_from_db()
        return True
    if not task_store.has_waiting_claims(task_id=work.task.id):
        work.conclude(reason="Every coin turned out to be held in this service.")
    return False


def _import(work: Work) -> None:
    if work.task.plan.get("uploaded") and not _read_upload(work):
        return
    if not _goes_on(work):
        return
    numbers = task_store.batches(task_id=work.task.id)
    _sort_out_two_secrets(work, numbers)
    sorted_out = [number for number in numbers if number not in work.task.plan.get("two_secrets", [])]
    _move_in(work, sorted_out, Command.POWN)
    unsorted = work.task.plan.get("two_secrets", [])
    number, left_out = task_store.left_out(task_id=work.task.id, batches=unsorted) if sorted_out else (0, [])
    reason = ""
    if number:
        reason = (
            f"{counted(number, 'coin')} {verb(number, 'was left as it is', 'were left as they are')}:"
            f" fewer than {QUORUM} of {RAIDA_COUNT} servers said which number they hold."
        )
    work.conclude(reason=reason, further={"left_out": left_out} if left_out else {})


@sensitive_variables("sealed", "uploads", "found")
def _read_upload(work: Work) -> bool:
    """Read files that were too large for a request, and tell whether there is anything to do for this worker now."""
    sealed = task_store.begin_reading(held=work.held)
    assert sealed is not None, "the files are deleted with the word that they are there"
    try:
        found = coin_import.read(coin_secrets.open_upload(sealed, task_id=work.task.id))
    except InvalidLockerRequest as error:
        task_store.finish(held=work.held, state=TaskState.ERROR, message=str(error), result={"files": []})
        return False
    arrivals = task_store.end_reading(
        held=work.held,
        save=lambda: coin_import.save(found, task_id=work.task.id, wallet_id=work.task.wallet_id),
        two_secrets=found.two_secrets,
        files=lambda: [coin_import.outcome_as_json(outcome) for outcome in found.outcomes],
    )
    if not arrivals:
        task_store.finish(held=work.held, state=TaskState.ERROR, message=coin_import.why_nothing(found), result={})
        return False
    work.task.refresh_from_db()
    return bool(arrivals.saved)


def _sort_out_two_secrets(work: Work, numbers: list[int]) -> None:
    """
    Learn which of a file's two numbers each server holds.

    Files with proposed numbers come from a transfer that was cut off. The batches named in the
    plan have the file's two numbers in their two columns; afterwards they have the one that each
    server holds, and fresh ones.
    """
    unsorted = list(work.task.plan.get("two_secrets", []))
    if not unsorted:
        return
    task_store.advance(held=work.held, step=Step.FINDING, progress=5)
    for batch in [number for number in numbers if number in unsorted]:
        pieces = work.pieces(batch)
        told = _holders(work, batch, pieces)
        if not told:
            # Left as it is, to be imported again: powning now could take the wrong number for the right one.
            continue
        unsorted.remove(batch)
        aside = [piece.coin_id for piece in pieces if piece.coin_id not in told]
        if aside:
            numbers.append(max(numbers) + 1)
            unsorted.append(numbers[-1])
        task_store.place_fresh_numbers(
            held=work.held,
            holders=told,
            plan={**work.task.plan, "two_secrets": unsorted},
            aside=aside,
            aside_batch=numbers[-1],
        )
        work.task.plan["two_secrets"] = unsorted


def _holders(work: Work, batch: int, pieces: Sequence[CoinWork]) -> dict[UUID, Sequence[bytes]]:
    """
    Return which of its two numbers each server holds, for the coins of which 13 servers tell it.
    """
    everywhere = messages.choose(pieces, Mark.UNASKED)
    found = work.exchange(Command.FIND, batch, pieces, everywhere, {})
    holders: dict[UUID, list[bytes]] = {piece.coin_id: list(piece.old) for piece in pieces}
    told: dict[UUID, list[Reply]] = {coin_id: [] for coin_id in holders}
    for raida, replies in found.items():
        for index, reply in zip(everywhere[raida], replies, strict=True):
            coin_id = pieces[index].coin_id
            told[coin_id].append(reply)
            if reply is Reply.HAS_NEW:
                holders[coin_id][raida] = pieces[index].new[raida]
    return {coin_id: numbers for coin_id, numbers in holders.items() if _enough_told(told[coin_id])}


def _enough_told(replies: Sequence[Reply]) -> bool:
    """Whether 13 servers have said which number of a coin they hold."""
    told = (Reply.HAS_OLD, Reply.HAS_NEW, Reply.HAS_NEITHER)
    return sum(reply in told for reply in replies) >= QUORUM


def _move_in(
    work: Work, numbers: Sequence[int], command: Command, *, known: Mapping[int, list[CoinWork]] | None = None
) -> None:
    """
    Give coins their new numbers on every server, ask the silent ones, and finish what was not done.

    `known` batches have not to be read again.
    """
    for position, batch in enumerate(numbers):
        pieces = (known or {}).get(batch) or work.fresh_pieces(batch)
        _tell(
            work,
            command,
            batch,
            pieces,
            early=broadcast.LINGER_MOVING,
            progress=_share(10, 90, position, len(numbers)),
        )
        _learn(work, batch, pieces)
        if command is Command.REMOVE:
            _pown_forgotten(work, batch, pieces)
        # Not blindly: each of these servers has just said that it holds the old number.
        undone = messages.choose(pieces, Mark.OLD)
        work.exchange(command, batch, pieces, undone, MOVED_AGAIN, sent=True)
        _learn(work, batch, pieces)


def _learn(work: Work, batch: int, pieces: Sequence[CoinWork]) -> None:
    """
    Ask the silent servers about coins that 13 have not confirmed yet.

    About the others nobody has to wait for an answer: they are healed later.
    """
    undecided = [piece for piece in pieces if piece.marks.count(Mark.NEW) < QUORUM]
    unsure = messages.choose(undecided, Mark.SENT + Mark.ERROR)
    work.exchange(Command.FIND, batch, undecided, unsure, ASKED, early=broadcast.LINGER_MOVING)


def _pown_forgotten(work: Work, batch: int, pieces: Sequence[CoinWork]) -> None:
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


def _take(work: Work) -> None:
    first: dict[int, list[CoinWork]] = {}
    if not _goes_on(work):
        return
    if not task_store.batches(task_id=work.task.id):
        task_store.advance(held=work.held, step=Step.PEEKING, progress=2)
        late = listening.LastOf(work.task.id, partial(late_answers.write_peeked, work.task.id))
        try:
            first = _reserve_what_is_there(work, late)
            if not first:
                return
        finally:
            late.drop()
    _move_in(work, task_store.batches(task_id=work.task.id), Command.REMOVE, known=first)
    work.conclude()


def _reserve_what_is_there(work: Work, late: listening.LastOf) -> dict[int, list[CoinWork]]:
    """
    Save the coins that the locker holds, and return the first batch of them.

    It is empty if this worker is done with the task: it has ended, its coins wait for other claims, or it gives way.
    """
    code = coin_secrets.task_code(work.task)
    seen = look(code, work.servers, wallet_id=work.task.wallet_id, question=work.question, listen=late.begin)
    listing, keys, coins = seen.listing, seen.keys, seen.coins
    spelling = _spelling(code, seen.code)
    if not coins:
        _note_if_wrong(listing, work.task.actor_id, work.task.plan.get("from", ""))
        task_store.finish(
            held=work.held, state=TaskState.ERROR, message=_why_nothing(listing), result=_peek_board(listing)
        )
        late.task_has_ended()
        return {}
    first, arrivals = task_store.reserve_listed(
        held=work.held, wallet_id=work.task.wallet_id, coins=sorted(coins), keys=keys, spelling=spelling
    )
    if not arrivals.saved and arrivals.waiting:
        return {}
    if fair_queue.give_way(work.held):
        return {}
    if not first:
        task_store.finish(
            held=work.held,
            state=TaskState.ERROR,
            message="The coins of this locker are being moved by another task of this service; nothing was taken.",
            result=_peek_board(listing),
        )
        late.task_has_ended()
    return first


def _find(work: Work) -> None:
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
        work.exchange(Command.FIND, batch, pieces, chosen, table, progress=_share(5, 60, position, len(numbers)))
    puts = [batch for batch in numbers if batch in work.task.plan.get("puts", [])]
    _bring_back(work, puts)
    for batch in numbers:
        if batch in puts:
            _release(work, batch)
        else:
            _finish_arrival(work, batch)
    for batch in everything:
        if batch <= coin_breaks.FIRST_BREAK:
            if not make_change.family(held=work.held, batch=batch).broken.releasing:
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
        if _cannot_be_stored(piece.marks) and piece.marks.count(Mark.KEPT) >= QUORUM
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
    _learn(work, batch, pieces)


def _returning(work: Work, batch: int) -> list[CoinWork]:
    """The coins of a batch that are not being released: of a break only the one."""
    if batch <= coin_breaks.FIRST_BREAK:
        broken = make_change.family(held=work.held, batch=batch).broken
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
            _pown_forgotten(work, batch, pieces)
        unsure = messages.choose(pieces, Mark.SENT + Mark.ERROR)
        work.exchange(Command.FIND, batch, pieces, unsure, ASKED)


# Looking.


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What is in a locker: `listing` is what the servers list, `coins` also those that they forgot to list.

    `keys` open the locker; `code` is the text that they are made of.
    """

    listing: messages.Listing
    coins: frozenset[Coin]
    keys: Numbers = field(repr=False)
    code: str = field(repr=False)


@sensitive_variables("code")
def look(
    code: str,
    asked: Sequence[transport.Server],
    *,
    wallet_id: UUID,
    question: forgotten.Question,
    listen: Callable[[], listening.Hearing | None] = lambda: None,
) -> Seen:
    """
    Return what is in the locker that a code opens: the one answer on which peeks and takes rely.

    Where too few servers list a locker that was filled here, its coins are asked about by `question`. A coin of
    `wallet_id` may hide that question. `listen` is asked for where late answers to a peek go.

    :raises TaskSuperseded: another worker has the task, where `question` is one of a task
    """
    listing, keys, used = look_into(code, asked, listen=listen)
    coins = listing.coins
    if listing.is_partial or not coins:
        found = forgotten.look_for(code, wallet_id=wallet_id, question=question)
        if found is not None and (found.keys == keys or not coins):
            coins, keys, used = coins | found.coins, found.keys, found.code
    return Seen(listing, coins, keys, used)


def look_into(
    code: str, asked: Sequence[transport.Server], *, listen: Callable[[], listening.Hearing | None] = lambda: None
) -> tuple[messages.Listing, tuple[bytes, ...], str]:
    """
    Peek at the locker that a code opens: what 13 servers list, the keys, and the text that opened it.

    The candidates of `codes` are tried in turn, the next one only if 13 servers say that the one before opens nothing:
    peeks only, which change nothing. `listen` is asked for where late answers to a peek go.

    :raises InvalidCode: the text can never be a code
    """
    missed: list[tuple[messages.Listing, tuple[bytes, ...], str]] = []
    for candidate in codes.candidates(code):
        keys = tuple(codes.locker_keys(candidate))
        call = Call(command=Command.PEEK, payloads={raida: encode_peek(keys[raida]) for raida in range(RAIDA_COUNT)})
        results = listening.ask(
            asked,
            request_encryption.hidden(call, {raida: with_locker_key(key) for raida, key in enumerate(keys)}),
            hearing=listen(),
            until=transport.within(settings.RAIDA_TIMEOUT_SECONDS),
            enough=lambda results: messages.is_decided(results, quorum=QUORUM),
            grace=broadcast.LINGER_LOOKING,
        )
        circuit_breaker.Board.load().note(results)
        found = messages.listing(results, quorum=QUORUM), keys, candidate
        if found[0].coins or found[0].empty < QUORUM:
            return found
        missed.append(found)
    # What fewer than 13 servers list is more than nothing.
    return max(missed, key=lambda each: each[0].listed)


def _spelling(code: str, used: str) -> int | None:
    """Which candidate opened the locker, if it is not the text as it was typed: not the code, which is a secret."""
    return None if used == codes.verbatim(code) else codes.candidates(code).index(used)


def peek(*, actor_id: UUID, code: str, address: str = "") -> messages.Listing:
    """
    Look into the locker that the code opens, at once and without a task. `address` is the caller's.

    :raises InvalidLockerRequest: the text can never be a code
    :raises TooManyWrongCodes: the wallet or the address has sent too many
    :raises PeekFailed: no 13 servers list the same coins; that is all that is known (seed 001)
    """
    asked_from = guess_limits.fingerprint(address)
    guess_limits.refuse_guesser(wallet_id=actor_id, address=asked_from)
    try:
        seen = look(code, broadcast.servers(), wallet_id=actor_id, question=broadcast.ask_at_once)
    except InvalidCode:
        raise InvalidLockerRequest(NO_CODE) from None
    listing = seen.listing
    if not seen.coins:
        _note_if_wrong(listing, actor_id, asked_from)
        answered = [status for status in listing.statuses if status is not None and status >= 0]
        status = max(set(answered), key=answered.count) if answered else int(Status.NETWORK)
        raise PeekFailed(
            locker_key=code,
            successes=listing.listed,
            status=status,
            detail=Status(status).name if status in set(Status) else str(status),
            is_refusal=listing.empty >= QUORUM,
        )
    return replace(listing, coins=seen.coins, code_used=None if seen.code == codes.verbatim(code) else seen.code)


def _note_if_wrong(listing: messages.Listing, wallet_id: UUID, address: str) -> None:
    """Count a code of which 13 servers say that it opens nothing; `address` is a fingerprint."""
    if listing.empty >= QUORUM:
        guess_limits.note_wrong_code(wallet_id=wallet_id, address=address)


def _why_nothing(listing: messages.Listing) -> str:
    answered = listing.listed + listing.empty
    if answered < QUORUM:
        return (
            f"Only {answered} of {RAIDA_COUNT} servers answered; {QUORUM} are needed to know what is in the locker."
            " Nothing was changed."
        )
    if listing.listed:
        return f"Fewer than {QUORUM} servers list the same coins for this code. Nothing was changed."
    return "No locker with this code, or it was emptied already: the servers do not say which."


def _peek_board(listing: messages.Listing) -> dict[str, object]:
    return {"raida": "".join(server_letters.of_peek(code) for code in listing.statuses)}


def _peek(work: Work) -> None:
    task_store.advance(held=work.held, step=Step.PEEKING, progress=5)
    late = listening.LastOf(work.task.id, partial(late_answers.write_peeked, work.task.id))
    try:
        code = coin_secrets.task_code(work.task)
        seen = look(code, work.servers, wallet_id=work.task.wallet_id, question=work.question, listen=late.begin)
        _tell_what_was_seen(work, seen, spelling=_spelling(code, seen.code))
        late.task_has_ended()
    finally:
        late.drop()


def _tell_what_was_seen(work: Work, seen: Seen, *, spelling: int | None) -> None:
    listing = seen.listing
    if not seen.coins:
        _note_if_wrong(listing, work.task.actor_id, work.task.plan.get("from", ""))
        task_store.finish(
            held=work.held, state=TaskState.ERROR, message=_why_nothing(listing), result=_peek_board(listing)
        )
        return
    coins = sorted(seen.coins, reverse=True)
    is_listed = seen.coins == listing.coins
    task_store.finish(
        held=work.held,
        state=TaskState.COMPLETED,
        message="" if is_listed else "Too few servers list this locker; its coins were found one by one.",
        result={
            "total": sum(coin.value for coin in coins),
            "coins": [{"sn": coin.serial_number, "denomination": coin.denomination} for coin in coins],
            **({} if spelling is None else {"spelling": spelling}),
            **_peek_board(listing),
        },
    )


def _echo(work: Work) -> None:
    call = Call(command=Command.ECHO, payloads=dict.fromkeys(range(RAIDA_COUNT), encode_empty()))
    results = transport.ask(work.servers, call, until=transport.within(settings.RAIDA_TIMEOUT_SECONDS))
    work.health.note(results)
    online = [isinstance(results.get(raida), Answer) for raida in range(RAIDA_COUNT)]
    board = "".join("p" if one else "n" for one in online)
    latencies = [
        round(result.elapsed_seconds * 1000) if isinstance(result := results.get(raida), Answer) else None
        for raida in range(RAIDA_COUNT)
    ]
    task_store.finish(
        held=work.held,
        state=TaskState.COMPLETED,
        message="",
        result={
            "online": sum(online),
            "pownstring": board,
            "pownarray": [int(one) for one in online],
            "latencies": latencies,
            "raida": board,
            # Servers that keep failing, and are asked less often until they answer again.
            "ailing": [
                {
                    "raida": each.raida,
                    "silences": each.silences,
                    "silent_since": int(each.silent_since.timestamp()),
                    "rests_until": None if each.rest_until is None else int(each.rest_until.timestamp()),
                }
                for each in circuit_breaker.ailing()
            ],
        },
    )


def _share(begin: int, end: int, position: int, count: int) -> tuple[int, int]:
    width = end - begin
    return begin + width * position // count, begin + width * (position + 1) // count
