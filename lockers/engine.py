"""
Driving a task through its steps against the 25 servers.

Each step first looks at the marks that are in the database, so that a step which ran once, or
half, does only what is left of it. Before a command that changes anything leaves, the marks of
its coins say SENT: a worker that dies finds them so on the next attempt, asks what became of
the coins, and never sends the same thing again without having asked.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now

from lockers import conversation, network, secrecy, settlement
from lockers.conversation import Chosen, Piece, Reply
from lockers.errors import InvalidLockerRequest, PeekFailed, TaskSuperseded
from lockers.models import LockerTask
from lockers.network import Answer, Call, Silence
from lockers.raida import codes
from lockers.raida.authenticity import is_locker_key
from lockers.raida.commands import Command
from lockers.raida.errors import InvalidCode
from lockers.raida.payloads import encode_empty, encode_peek
from lockers.raida.statuses import QUORUM, RAIDA_COUNT, Status
from lockers.settlement import Claim
from lockers.states import Mark, Step, TaskKind, TaskState

_log = logging.getLogger(__name__)

# While a call is out its answers are shown this often, and the lease renewed at least this often. The first
# is shorter than an eye needs to see a cell turn, and longer than a healthy call on a local network.
_SHOW_SECONDS: Final = 0.1
_RENEW_SECONDS: Final = 0.5

Table = Mapping[tuple[str, Reply], str]


def _every(marks: str, replies: Mapping[Reply, str]) -> dict[tuple[str, Reply], str]:
    return {(mark, reply): new for mark in marks for reply, new in replies.items()}


# What a reply makes of a mark; a pair that is not here leaves the mark as it is.
_MOVED: Final[Table] = _every(
    Mark.UNASKED + Mark.SENT + Mark.OLD + Mark.UNREACHED,
    {
        Reply.PASS: Mark.NEW,
        Reply.FAIL: Mark.REFUSED,
        Reply.ERROR: Mark.ERROR,
        Reply.SILENT: Mark.SENT,
        Reply.UNREACHED: Mark.UNREACHED,
    },
)
# A second try is made only where the server said that it holds the old number. If that try
# never leaves, the packet of the first may still be under way.
_MOVED_AGAIN: Final[Table] = {**_MOVED, (Mark.SENT, Reply.UNREACHED): Mark.OLD}
_ASKED: Final[Table] = {
    (Mark.SENT, Reply.HAS_OLD): Mark.OLD,
    (Mark.SENT, Reply.HAS_NEW): Mark.NEW,
    (Mark.SENT, Reply.HAS_NEITHER): Mark.GONE,
    (Mark.OLD, Reply.HAS_NEW): Mark.NEW,
    # Whoever answered with an error is done with the command.
    (Mark.ERROR, Reply.HAS_OLD): Mark.KEPT,
    (Mark.ERROR, Reply.HAS_NEW): Mark.NEW,
    (Mark.ERROR, Reply.HAS_NEITHER): Mark.GONE,
}
# Long after the last command that could have changed anything.
_FOUND: Final[Table] = {**_ASKED, (Mark.SENT, Reply.HAS_OLD): Mark.KEPT, (Mark.OLD, Reply.HAS_OLD): Mark.KEPT}
_RETURNED: Final[Table] = {(Mark.NEW, Reply.PASS): Mark.KEPT}
_ASKED_ABOUT_RETURN: Final[Table] = {
    (Mark.NEW, Reply.HAS_OLD): Mark.KEPT,
    (Mark.NEW, Reply.HAS_NEITHER): Mark.GONE,
}
_CHECKED: Final[Table] = _every(
    Mark.UNASKED + Mark.UNREACHED + Mark.REFUSED + Mark.KEPT + Mark.ERROR,
    {Reply.PASS: Mark.KEPT, Reply.FAIL: Mark.NEITHER},
)


def servers() -> tuple[network.Server, ...]:
    return network.servers_from_settings(settings.RAIDA_HOSTS)


class Work:
    """One claimed task: what the steps need, and the exchange that all of them are made of."""

    def __init__(self, held: Claim, task: LockerTask) -> None:
        self.held = held
        self.task = task
        self.servers = servers()
        # A find has several lockers: its coins carry their keys themselves.
        self.keys = secrecy.keys_of(task) if task.kind == TaskKind.PUT else None

    def pieces(self, batch: int) -> list[Piece]:
        return settlement.pieces(task_id=self.task.id, batch=batch, keys=self.keys)

    def exchange(
        self,
        command: Command,
        batch: int,
        pieces: Sequence[Piece],
        chosen: Chosen,
        table: Table,
        *,
        back: bool = False,
        sent: bool = False,
        progress: tuple[int, int] = (0, 0),
    ) -> dict[int, tuple[Reply, ...]]:
        """
        Put one command about the chosen coins to their servers, and commit what each said.

        With `sent` the chosen marks are SENT from before the first byte on. The pieces carry
        the new marks afterwards.

        :raises TaskSuperseded: another worker has the task
        """
        if not chosen:
            return {}
        call = conversation.compose(command, pieces, chosen, back=back)
        touched: dict[UUID, str] = {}
        if sent:
            for raida, indices in chosen.items():
                for index in indices:
                    pieces[index].mark(raida, Mark.SENT)
                    touched[pieces[index].coin_id] = ""
            touched = {piece.coin_id: piece.marks for piece in pieces if piece.coin_id in touched}
        begun = time.monotonic()
        attempt_id = settlement.open_attempt(held=self.held, command=command, batch=batch, asked=chosen, marks=touched)
        results = self._ask(
            call, until=begun + settings.RAIDA_TIMEOUT_SECONDS, attempt_id=attempt_id, progress=progress
        )
        replies = conversation.replies(command, chosen, results)
        changed: dict[UUID, str] = {}
        for raida, told in replies.items():
            for index, reply in zip(chosen[raida], told, strict=True):
                piece = pieces[index]
                new = table.get((piece.marks[raida], reply), piece.marks[raida])
                if new != piece.marks[raida]:
                    piece.mark(raida, new)
                    changed[piece.coin_id] = ""
        settlement.settle_attempt(
            held=self.held,
            attempt_id=attempt_id,
            answers={raida: conversation.answer_code(result) for raida, result in results.items()},
            marks={piece.coin_id: piece.marks for piece in pieces if piece.coin_id in changed},
        )
        return replies

    def _ask(
        self, call: Call, *, until: float, attempt_id: int, progress: tuple[int, int]
    ) -> dict[int, Answer | Silence]:
        """
        Ask all servers at once, until a moment of the monotonic clock.

        Another thread talks, so that this one can show answers and renew the lease. A process that
        was stopped between committing and sending must not send later: others may have taken over.
        """
        arrived: queue.SimpleQueue[Answer | Silence | None] = queue.SimpleQueue()
        outcome: dict[int, Answer | Silence] = {}
        failure: list[BaseException] = []

        def talk() -> None:
            try:
                remaining = until - time.monotonic()
                if remaining <= 0:
                    raise TaskSuperseded
                outcome.update(
                    network.ask(
                        self.servers,
                        call,
                        deadline_seconds=remaining,
                        on_result=arrived.put,
                    )
                )
            except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
                failure.append(error)
            finally:
                arrived.put(None)

        thread = threading.Thread(target=talk, name="raida", daemon=True)
        thread.start()
        self._show(arrived, attempt_id, len(call.payloads), progress)
        thread.join()
        if failure:
            raise failure[0]
        return outcome

    def _show(
        self,
        arrived: "queue.SimpleQueue[Answer | Silence | None]",
        attempt_id: int,
        asked: int,
        progress: tuple[int, int],
    ) -> None:
        answers: dict[int, int] = {}
        shown, written_at = 0, time.monotonic()
        while True:
            due_at = written_at + (_SHOW_SECONDS if len(answers) > shown else _RENEW_SECONDS)
            try:
                result = arrived.get(timeout=max(0.0, due_at - time.monotonic()))
            except queue.Empty:
                begin, end = progress
                if len(answers) > shown:
                    now = begin + (end - begin) * len(answers) // asked
                    settlement.note_answers(held=self.held, attempt_id=attempt_id, answers=answers, progress=now)
                    shown = len(answers)
                else:
                    settlement.advance(held=self.held)
                written_at = time.monotonic()
                continue
            if result is None:
                return
            answers[result.raida] = conversation.answer_code(result)


def run(held: Claim) -> None:
    """
    Bring a claimed task to its final state.

    :raises TaskSuperseded: another worker has the task
    """
    task = LockerTask.objects.select_related("locker").get(pk=held.task_id)
    if LockerTask.objects.filter(pk=task.pk, deadline__lt=Now()).exists():
        settle_overdue(held)
        return
    work = Work(held, task)
    match task.kind:
        case TaskKind.PUT:
            _put(work)
        case TaskKind.IMPORT:
            _import(work)
        case TaskKind.TAKE:
            _take(work)
        case TaskKind.FIND:
            _find(work)
        case TaskKind.PEEK:
            _peek(work)
        case TaskKind.ECHO:
            _echo(work)


def settle_overdue(held: Claim) -> None:
    """
    End a task whose deadline has passed, from what is known.

    :raises TaskSuperseded: another worker has the task
    """
    settlement.conclude(held=held, reason="The deadline passed before all steps were done.")


# Putting coins into a locker.


def _put(work: Work) -> None:
    numbers = settlement.batches(task_id=work.task.id)
    settlement.advance(held=work.held, step=Step.SENDING, progress=5)
    for position, batch in enumerate(numbers):
        begin, end = _share(5, 70, position, len(numbers))
        pieces = work.pieces(batch)
        chosen = conversation.choose(pieces, Mark.UNASKED, known_good=True)
        work.exchange(Command.PUT, batch, pieces, chosen, _MOVED, sent=True, progress=(begin, end))
        settlement.advance(held=work.held, progress=end)
    _ask_until_decided(work, numbers)
    _bring_back(work, numbers)
    settlement.conclude(held=work.held)


def _ask_until_decided(work: Work, numbers: Sequence[int]) -> None:
    """Ask the silent servers what they hold, for batches in which a coin is not stored on 13 servers yet."""
    settlement.advance(held=work.held, step=Step.ASKING, progress=70)
    for batch in numbers:
        pieces = work.pieces(batch)
        undecided = [piece for piece in pieces if piece.marks.count(Mark.NEW) < QUORUM]
        chosen = conversation.choose(undecided, Mark.SENT + Mark.ERROR)
        work.exchange(Command.FIND, batch, undecided, chosen, _ASKED)


def _bring_back(work: Work, numbers: Sequence[int]) -> None:
    """
    Take coins back out of the locker that can no longer be stored on 13 servers.

    While silent servers could still make 13 nothing is done: the coin goes to limbo, and a find
    decides when they answer.
    """
    settlement.advance(held=work.held, step=Step.RETURNING, progress=85)
    for batch in numbers:
        pieces = [piece for piece in work.pieces(batch) if _cannot_be_stored(piece.marks)]
        if not pieces:
            continue
        # A worker that died may have sent the remove already.
        in_locker = conversation.choose(pieces, Mark.NEW)
        work.exchange(Command.FIND, batch, pieces, in_locker, _ASKED_ABOUT_RETURN)
        in_locker = conversation.choose(pieces, Mark.NEW)
        told = work.exchange(Command.REMOVE, batch, pieces, in_locker, _RETURNED, back=True)
        unsure = conversation.choose(pieces, Mark.NEW)
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
        unsure = conversation.choose(pieces, Mark.NEW)
        work.exchange(Command.FIND, batch, pieces, unsure, _ASKED_ABOUT_RETURN)
    settlement.advance(held=work.held, step=Step.CHECKING, progress=92)
    for batch in numbers:
        pieces = [piece for piece in work.pieces(batch) if _was_touched(piece.marks) and _cannot_be_stored(piece.marks)]
        chosen = conversation.choose(pieces, Mark.UNASKED + Mark.UNREACHED + Mark.REFUSED + Mark.KEPT + Mark.ERROR)
        work.exchange(Command.DETECT, batch, pieces, chosen, _CHECKED)


def _cannot_be_stored(marks: str) -> bool:
    return marks.count(Mark.NEW) < QUORUM and sum(mark in Mark.NEW + Mark.SENT + Mark.OLD for mark in marks) < QUORUM


def _was_touched(marks: str) -> bool:
    return not set(marks) <= {Mark.UNASKED, Mark.UNREACHED}


# Coins that come in.


def _import(work: Work) -> None:
    numbers = settlement.batches(task_id=work.task.id)
    _sort_out_two_secrets(work, numbers)
    settlement.advance(held=work.held, step=Step.SENDING, progress=10)
    sorted_out = [number for number in numbers if number not in work.task.plan.get("two_secrets", [])]
    _move_in(work, sorted_out, Command.POWN)
    settlement.conclude(held=work.held)


def _sort_out_two_secrets(work: Work, numbers: Sequence[int]) -> None:
    """
    Learn which of a file's two numbers each server holds.

    Files with proposed numbers come from a transfer that was cut off. The batches named in the
    plan have the file's two numbers in their two columns; afterwards they have the one that each
    server holds, and fresh ones.
    """
    unsorted = list(work.task.plan.get("two_secrets", []))
    if not unsorted:
        return
    settlement.advance(held=work.held, step=Step.FINDING, progress=5)
    for batch in [number for number in numbers if number in unsorted]:
        pieces = work.pieces(batch)
        everywhere = conversation.choose(pieces, Mark.UNASKED)
        found = work.exchange(Command.FIND, batch, pieces, everywhere, {})
        if not _enough_told(found):
            # Left as it is, to be imported again: powning now could take the wrong number for the right one.
            continue
        holders: dict[UUID, list[bytes]] = {piece.coin_id: list(piece.old) for piece in pieces}
        for raida, replies in found.items():
            for index, reply in zip(everywhere[raida], replies, strict=True):
                if reply is Reply.HAS_NEW:
                    holders[pieces[index].coin_id][raida] = pieces[index].new[raida]
        unsorted.remove(batch)
        settlement.place_fresh_numbers(
            held=work.held, holders=holders, plan={**work.task.plan, "two_secrets": unsorted}
        )
        work.task.plan["two_secrets"] = unsorted


def _enough_told(found: Mapping[int, tuple[Reply, ...]]) -> bool:
    told = (Reply.HAS_OLD, Reply.HAS_NEW, Reply.HAS_NEITHER)
    return sum(all(reply in told for reply in replies) for replies in found.values()) >= QUORUM


def _move_in(work: Work, numbers: Sequence[int], command: Command) -> None:
    """Give coins their new numbers on every server, ask the silent ones, and finish what was not done."""
    for position, batch in enumerate(numbers):
        begin, end = _share(10, 90, position, len(numbers))
        pieces = work.pieces(batch)
        chosen = conversation.choose(pieces, Mark.UNASKED)
        work.exchange(command, batch, pieces, chosen, _MOVED, sent=True, progress=(begin, end))
        unsure = conversation.choose(pieces, Mark.SENT + Mark.ERROR)
        work.exchange(Command.FIND, batch, pieces, unsure, _ASKED)
        if command is Command.REMOVE:
            _pown_forgotten(work, batch, pieces)
        # Not blindly: each of these servers has just said that it holds the old number.
        undone = conversation.choose(pieces, Mark.OLD)
        work.exchange(command, batch, pieces, undone, _MOVED_AGAIN, sent=True)
        unsure = conversation.choose(pieces, Mark.SENT)
        work.exchange(Command.FIND, batch, pieces, unsure, _ASKED)
        settlement.advance(held=work.held, progress=end)


def _pown_forgotten(work: Work, batch: int, pieces: Sequence[Piece]) -> None:
    """
    Take coins from servers that restarted: they forgot the locker, while the coins carry its key.

    Where a remove was refused the servers are asked; only those that hold the key get a pown.
    """
    refused = conversation.choose(pieces, Mark.REFUSED)
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
        _MOVED,
        sent=True,
    )


def _take(work: Work) -> None:
    if not settlement.batches(task_id=work.task.id):
        settlement.advance(held=work.held, step=Step.PEEKING, progress=2)
        listing, keys, _ = look_into(secrecy.task_code(work.task), work.servers)
        if not listing.coins:
            settlement.finish(
                held=work.held, state=TaskState.ERROR, message=_why_nothing(listing), result=_peek_board(listing)
            )
            return
        saved = settlement.reserve_listed(
            held=work.held, wallet_id=work.task.wallet_id, coins=sorted(listing.coins), keys=keys
        )
        if not saved:
            settlement.finish(
                held=work.held,
                state=TaskState.ERROR,
                message="The coins of this locker are being moved by another task of this service; nothing was taken.",
                result=_peek_board(listing),
            )
            return
    settlement.advance(held=work.held, step=Step.SENDING, progress=10)
    _move_in(work, settlement.batches(task_id=work.task.id), Command.REMOVE)
    settlement.conclude(held=work.held)


def _find(work: Work) -> None:
    """
    Ask about coins in limbo, and finish what was begun with them.

    Their batches hold either coins of one locker that a put could not settle, or coins that came in.
    """
    numbers = settlement.batches(task_id=work.task.id)
    settlement.advance(held=work.held, step=Step.FINDING, progress=5)
    for position, batch in enumerate(numbers):
        pieces = work.pieces(batch)
        chosen = conversation.choose(pieces, Mark.SENT + Mark.OLD)
        table = _FOUND if settlement.is_quiet(task_id=work.task.id, batch=batch) else _ASKED
        work.exchange(Command.FIND, batch, pieces, chosen, table, progress=_share(5, 60, position, len(numbers)))
    puts = [batch for batch in numbers if batch in work.task.plan.get("puts", [])]
    _bring_back(work, puts)
    for batch in numbers:
        if batch not in puts:
            _finish_arrival(work, batch)
    settlement.conclude(held=work.held)


def _finish_arrival(work: Work, batch: int) -> None:
    """Carry out what was asked for when the coins came in, where a server has said that it was not done."""
    by_key: dict[bytes | None, list[Piece]] = {}
    for piece in work.pieces(batch):
        # Out of a locker only by a remove, whose request has that locker's key.
        by_key.setdefault(piece.old[0] if is_locker_key(piece.old[0]) else None, []).append(piece)
    for key, pieces in by_key.items():
        command = Command.POWN if key is None else Command.REMOVE
        undone = conversation.choose(pieces, Mark.KEPT)
        work.exchange(command, batch, pieces, undone, _MOVED_AGAIN, sent=True)
        if command is Command.REMOVE:
            _pown_forgotten(work, batch, pieces)
        unsure = conversation.choose(pieces, Mark.SENT + Mark.ERROR)
        work.exchange(Command.FIND, batch, pieces, unsure, _ASKED)


# Looking.


def look_into(
    code: str, asked: Sequence[network.Server], *, on_result: Callable[[Answer | Silence], None] | None = None
) -> tuple[conversation.Listing, tuple[bytes, ...], str]:
    """
    Peek at the locker that a code opens: what 13 servers list, the keys, and the text that opened it.

    A three-part code is tried as its two-part prefix first, then as it stands: peeks only, which
    change nothing. Other spellings are not guessed.
    """
    found: tuple[conversation.Listing, tuple[bytes, ...], str] | None = None
    for candidate in codes.candidates(code):
        keys = tuple(codes.locker_keys(candidate))
        call = Call(command=Command.PEEK, payloads={raida: encode_peek(keys[raida]) for raida in range(RAIDA_COUNT)})
        results = network.ask(asked, call, deadline_seconds=settings.RAIDA_TIMEOUT_SECONDS, on_result=on_result)
        found = conversation.listing(results, quorum=QUORUM), keys, candidate
        if found[0].coins:
            return found
    if found is None:
        raise AssertionError("a code has at least itself as a candidate")
    return found


def peek(*, code: str) -> conversation.Listing:
    """
    Look into the locker that the code opens, at once and without a task.

    :raises InvalidLockerRequest: the text can never be a code
    :raises PeekFailed: no 13 servers list the same coins; that is all that is known (seed 001)
    """
    try:
        listing, _, _ = look_into(code, servers())
    except InvalidCode:
        raise InvalidLockerRequest("A transmit code is printable ASCII text, and not empty") from None
    if not listing.coins:
        answered = [status for status in listing.statuses if status is not None and status >= 0]
        status = max(set(answered), key=answered.count) if answered else int(Status.NETWORK)
        raise PeekFailed(
            locker_key=code,
            successes=listing.listed,
            status=status,
            detail=Status(status).name if status in set(Status) else str(status),
        )
    return listing


def _why_nothing(listing: conversation.Listing) -> str:
    answered = listing.listed + listing.empty
    if answered < QUORUM:
        return (
            f"Only {answered} of {RAIDA_COUNT} servers answered; {QUORUM} are needed to know what is in the locker."
            " Nothing was changed."
        )
    if listing.listed:
        return f"Fewer than {QUORUM} servers list the same coins for this code. Nothing was changed."
    return "No locker with this code, or it was emptied already: the servers do not say which."


def _peek_board(listing: conversation.Listing) -> dict[str, object]:
    letters = {None: "u", 241: "p", 242: "f", 179: "f"}
    return {
        "raida": "".join(letters.get(code, "n" if code is not None and code < 0 else "e") for code in listing.statuses)
    }


def _peek(work: Work) -> None:
    settlement.advance(held=work.held, step=Step.PEEKING, progress=5)
    listing, _, _ = look_into(secrecy.task_code(work.task), work.servers)
    if not listing.coins:
        settlement.finish(
            held=work.held, state=TaskState.ERROR, message=_why_nothing(listing), result=_peek_board(listing)
        )
        return
    coins = sorted(listing.coins, reverse=True)
    settlement.finish(
        held=work.held,
        state=TaskState.COMPLETED,
        message="",
        result={
            "total": sum(coin.value for coin in coins),
            "coins": [{"sn": coin.serial_number, "denomination": coin.denomination} for coin in coins],
            **_peek_board(listing),
        },
    )


def _echo(work: Work) -> None:
    call = Call(command=Command.ECHO, payloads=dict.fromkeys(range(RAIDA_COUNT), encode_empty()))
    results = network.ask(work.servers, call, deadline_seconds=settings.RAIDA_TIMEOUT_SECONDS)
    online = [isinstance(results.get(raida), Answer) for raida in range(RAIDA_COUNT)]
    letters = "".join("p" if one else "n" for one in online)
    latencies = [
        round(result.elapsed_seconds * 1000) if isinstance(result := results.get(raida), Answer) else None
        for raida in range(RAIDA_COUNT)
    ]
    settlement.finish(
        held=work.held,
        state=TaskState.COMPLETED,
        message="",
        result={
            "online": sum(online),
            "pownstring": letters,
            "pownarray": [int(one) for one in online],
            "latencies": latencies,
            "raida": letters,
        },
    )


def _share(begin: int, end: int, position: int, count: int) -> tuple[int, int]:
    width = end - begin
    return begin + width * position // count, begin + width * (position + 1) // count
