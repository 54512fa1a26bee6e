"""
One question to the servers about coins of a task, and what the answers make of the coins' marks.

Each exchange first commits what is about to be sent. Before a command that changes anything
leaves, the marks of its coins say SENT: a worker that dies finds them so on the next attempt,
asks what became of the coins, and never sends the same thing again without having asked.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from django.conf import settings

from lockers import coin_secrets, transport
from lockers.models import Attempt, LockerTask
from lockers.raida.commands import Command
from lockers.raida.encryption import Encryption
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import Mark, Step, TaskKind
from lockers.transport import NO_GRACE, Answer, Call, GraceWindow, NoResponse
from lockers.worker import (
    circuit_breaker,
    finalize,
    late_answers,
    listening,
    messages,
    request_encryption,
    split_batches,
    task_store,
)
from lockers.worker.messages import CoinWork, Reader, Reply, Targets
from lockers.worker.task_store import Claim, Settled

# While a call is out its answers are shown this often, and the lease renewed at least this often. The first
# is shorter than an eye needs to see a cell turn, and longer than a healthy call on a local network.
_SHOW_SECONDS: Final = 0.1
_RENEW_SECONDS: Final = 0.5
# Once 13 servers have settled a matter the others get a share of the time that it took. Whoever looks needs no more
# than an answer, and whether a put reaches the others too is the taker's affair; a coin that is ours is better off the
# more servers are known to have it. On a busy machine answers that came together are read some milliseconds apart.
LINGER_LOOKING: Final = GraceWindow(share=0.0, seconds=0.0)
LINGER_PUTTING: Final = GraceWindow(share=0.05, seconds=0.004, most=3)
LINGER_MOVING: Final = GraceWindow(share=0.5, seconds=0.01)

# About commands that move no coins nobody has to know later what a server said.
_LISTENED_TO: Final = frozenset({Command.PUT, Command.POWN, Command.REMOVE})

Table = Mapping[tuple[str, Reply], str]
T = TypeVar("T")


def every(marks: str, replies: Mapping[Reply, str]) -> dict[tuple[str, Reply], str]:
    """A table in which each of the marks becomes the same by each reply."""
    return {(mark, reply): new for mark in marks for reply, new in replies.items()}


# What a reply makes of a mark; a pair that is not here leaves the mark as it is.
MOVED: Final[Table] = every(
    Mark.UNASKED + Mark.SENT + Mark.OLD + Mark.UNREACHED,
    {
        Reply.PASS: Mark.NEW,
        Reply.FAIL: Mark.REFUSED,
        Reply.ERROR: Mark.ERROR,
        Reply.UNREADABLE: Mark.UNREADABLE,
        Reply.SILENT: Mark.SENT,
        Reply.UNREACHED: Mark.UNREACHED,
    },
)
# A second try is made only where the server said that it holds the old number. If that try
# never leaves, the packet of the first may still be under way.
MOVED_AGAIN: Final[Table] = {**MOVED, (Mark.SENT, Reply.UNREACHED): Mark.OLD, (Mark.SENT, Reply.UNREADABLE): Mark.OLD}
ASKED: Final[Table] = {
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
FOUND: Final[Table] = {**ASKED, (Mark.SENT, Reply.HAS_OLD): Mark.KEPT, (Mark.OLD, Reply.HAS_OLD): Mark.KEPT}


def servers() -> tuple[transport.Server, ...]:
    return transport.servers_from_settings(settings.RAIDA_HOSTS)


def ask_at_once(call: Call, batch: int) -> transport.Results:
    """Put a call that changes nothing to the servers for which there is no task; `batch` means nothing here."""
    results = transport.ask(servers(), call, until=transport.within(settings.RAIDA_TIMEOUT_SECONDS))
    circuit_breaker.Board.load().note(results)
    return results


class Work:
    """One claimed task: what its steps need, and the exchange that all of them are made of."""

    def __init__(self, held: Claim, task: LockerTask) -> None:
        self.held = held
        self.task = task
        self.servers = servers()
        self.health = circuit_breaker.Board.load()
        # Attempts that are settled with whatever is written next, and whether marks stand with attempts alone.
        self._answered: list[Settled] = []
        self._must_write_down = False
        # Of the attempts whose answers are not all there although there was a verdict.
        self._hearings: list[_Heard] = []
        # A find has several lockers: its coins carry their keys themselves.
        self.keys = coin_secrets.keys_of(task) if task.kind == TaskKind.PUT else None

    def pieces(self, batch: int) -> list[CoinWork]:
        self._write_down()
        return self.fresh_pieces(batch)

    def fresh_pieces(self, batch: int) -> list[CoinWork]:
        """The coins of a batch about which this worker has not asked anything yet."""
        return task_store.pieces(task_id=self.task.id, batch=batch, keys=self.keys)

    def awake(self, chosen: Targets) -> Targets:
        """
        Leave out servers that have been silent again and again, for what can do without them.

        Their coins keep the mark UNASKED there, which is a certainty; a packet to a server that is
        down would make it a doubt.
        """
        resting = self.health.resting
        return {raida: indices for raida, indices in chosen.items() if raida not in resting}

    def exchange(
        self,
        command: Command,
        batch: int,
        pieces: Sequence[CoinWork],
        chosen: Targets,
        table: Table,
        *,
        call: Call | None = None,
        reads: Reader | None = None,
        back: bool = False,
        sent: bool = False,
        covers: bool = False,
        early: GraceWindow | None = None,
        patience: float = 1.0,
        progress: tuple[int, int] = (0, 0),
        step: Step | None = None,
    ) -> dict[int, tuple[Reply, ...]]:
        """
        Put one command about the chosen coins to their servers, and commit what each said.

        With `sent` the chosen marks are SENT from before the first byte on. `covers` tells that the pieces are a whole
        batch, of which the servers are asked about every coin that they were not asked about before (by a put: and
        that they are known to accept), so that the attempt can say so of all at once. With `early` servers are
        given up which are still silent so long after each coin has passed on 13. With more than one `patience` the
        call may outlast the lease, so only one that does no harm twice. The pieces carry the new marks afterwards.
        `call` is composed and the answers are read as the command's always are, unless something else is given.
        `step` is where the task stands from now on. A question that most servers refuse as a whole because of a coin in
        it is asked again in halves (`lockers.worker.split_batches`).

        :raises TaskSuperseded: another worker has the task
        """
        if not chosen:
            return {}

        def once(chosen: Targets) -> tuple[split_batches.Replies, set[int]]:
            return self._exchange(
                command,
                batch,
                pieces,
                chosen,
                table,
                call=call,
                reads=reads,
                back=back,
                sent=sent,
                covers=covers,
                early=early,
                patience=patience,
                progress=progress,
                step=step,
            )

        return split_batches.ask(chosen, once) if command in split_batches.HALVED and call is None else once(chosen)[0]

    def _exchange(
        self,
        command: Command,
        batch: int,
        pieces: Sequence[CoinWork],
        chosen: Targets,
        table: Table,
        *,
        call: Call | None,
        reads: Reader | None,
        back: bool,
        sent: bool,
        covers: bool,
        early: GraceWindow | None,
        patience: float,
        progress: tuple[int, int],
        step: Step | None,
    ) -> tuple[split_batches.Replies, set[int]]:
        """Do it once; return also which servers refused because of some coin."""
        if not covers:
            self._write_down()
        call = messages.compose(command, pieces, chosen, back=back) if call is None else call
        unknown = {raida: Mark.SENT * len(indices) for raida, indices in chosen.items()}
        touched = _remark(pieces, chosen, unknown, lambda mark, sent: sent) if sent else {}
        until = transport.within(settings.RAIDA_TIMEOUT_SECONDS * patience)
        attempt_id = task_store.open_attempt(
            held=self.held,
            command=command,
            batch=batch,
            asked=chosen,
            marks={} if covers else touched,
            covering=_everywhere(chosen, dict.fromkeys(chosen, Mark.SENT)) if covers else "",
            settled=self._answered,
            step=step,
            progress=progress[0],
        )
        self._answered = []
        self._must_write_down |= covers
        hidden = request_encryption.hidden(call, self._ciphers(command, pieces, chosen, back=back))
        hearing = None
        if early is not None and not back and command in _LISTENED_TO:
            write = partial(
                late_answers.write,
                task_id=self.task.id,
                attempt_id=attempt_id,
                command=command,
                coin_ids=[piece.coin_id for piece in pieces],
                chosen=chosen,
            )
            hearing = listening.begin(self.task.id, lambda late: write(results=late))
        results = self._ask(
            hidden,
            until=until,
            attempt_id=attempt_id,
            progress=progress,
            enough=None if early is None else _thirteen_passed(command, pieces, chosen, reads),
            grace=early or NO_GRACE,
            hearing=hearing,
        )
        replies = messages.replies(command, chosen, results, reads=reads)
        changed = _remark(pieces, chosen, replies, lambda mark, reply: table.get((mark, reply), mark))
        answers = {raida: messages.answer_code(result) for raida, result in results.items()}
        if command in _LISTENED_TO:
            answers |= dict.fromkeys(_given_up(results), int(Attempt.Unanswered.AWAITED))
        if covers and (alike := _alike(pieces, chosen)):
            self._answered.append(Settled(attempt_id, answers, _everywhere(chosen, alike)))
        else:
            task_store.settle(
                held=self.held,
                settled=[Settled(attempt_id, answers, "")],
                marks=touched | changed if covers else changed,
            )
        is_listened_to = hearing is not None and hearing.is_open
        self.health.note(listening.without_given_up(results) if is_listened_to else results)
        if hearing is not None and is_listened_to:
            self._hearings.append(_Heard(hearing, attempt_id, command, chosen))
        return replies, split_batches.refusing(results)

    def conclude(
        self, *, reason: str = "", delivers: bool = False, further: Mapping[str, object] | None = None
    ) -> None:
        """
        End the task from what is known.

        :raises TaskSuperseded: another worker has the task
        """
        # Which servers this task was spared is a part of the answer about it.
        spared = {"resting": sorted(self.health.resting)} if self.health.resting else {}
        for heard in self._hearings:
            self._add_what_came_since(heard)
        finalize.conclude(
            held=self.held,
            task=self.task,
            reason=reason,
            further=spared | dict(further or {}),
            delivers=delivers,
            settled=self._answered,
        )
        while self._hearings:
            self._hearings.pop().hearing.task_has_ended()

    def stop_listening(self) -> None:
        """Let go of answers that may still come, unless the task has ended here."""
        while self._hearings:
            self._hearings.pop().hearing.drop()

    def _add_what_came_since(self, heard: "_Heard") -> None:
        """Write late answers with the end of the task, where that costs nothing."""
        settled = next((one for one in self._answered if one.attempt_id == heard.attempt_id and one.covering), None)
        if settled is None:
            return
        late = heard.hearing.taken()
        told = messages.replies(heard.command, {raida: heard.chosen[raida] for raida in late}, late)
        # A put has one answer for all coins. Of others each may have its own: then nothing is certain of all.
        alike = {raida: replies[0] for raida, replies in told.items() if len(set(replies)) == 1}
        covering = "".join(
            MOVED.get((mark, alike[raida]), mark) if raida in alike and mark == Mark.SENT else mark
            for raida, mark in enumerate(settled.covering)
        )
        answers = {**settled.answers} | {raida: messages.answer_code(late[raida]) for raida in alike}
        self._answered[self._answered.index(settled)] = replace(settled, answers=answers, covering=covering)
        self.health.note({raida: late[raida] for raida in alike})
        heard.hearing.keep({raida: result for raida, result in late.items() if raida not in alike})

    def _write_down(self) -> None:
        if self._answered:
            task_store.settle(held=self.held, settled=self._answered, marks={})
            self._answered = []
        if self._must_write_down:
            task_store.write_down(held=self.held)
            self._must_write_down = False

    def question(
        self, call: Call, batch: int, *, enough: Callable[[transport.Results], bool] | None = None
    ) -> transport.Results:
        """
        Ask something that changes no coin, and return the answers as they came.

        :raises TaskSuperseded: another worker has the task
        """
        until = transport.within(settings.RAIDA_TIMEOUT_SECONDS)
        attempt_id = task_store.open_attempt(
            held=self.held, command=call.command, batch=batch, asked=call.payloads, marks={}
        )
        results = self._ask(
            call, until=until, attempt_id=attempt_id, progress=(0, 0), enough=enough, grace=LINGER_MOVING
        )
        answers = {raida: messages.answer_code(result) for raida, result in results.items()}
        task_store.settle(held=self.held, settled=[Settled(attempt_id, answers, "")], marks={})
        self.health.note(results)
        return results

    def _ciphers(
        self, command: Command, pieces: Sequence[CoinWork], chosen: Targets, *, back: bool
    ) -> dict[int, Encryption]:
        spare = (
            request_encryption.spare_coin(self.task.wallet_id) if command in request_encryption.WITH_A_COIN else None
        )
        return request_encryption.ciphers(command, pieces, chosen, spare=spare, back=back)

    def _ask(
        self,
        call: Call,
        *,
        until: float,
        attempt_id: int,
        progress: tuple[int, int],
        enough: Callable[[transport.Results], bool] | None,
        grace: GraceWindow,
        hearing: listening.Hearing | None = None,
    ) -> dict[int, Answer | NoResponse]:
        """
        Ask all servers at once, until a moment of the monotonic clock.

        With a `hearing` those that would be given up are listened to, and it gets what they say later.
        Another thread talks, so that this one can show answers and renew the lease. A process that
        was stopped between committing and sending does not send later: others may have taken over.
        """
        arrived: dict[int, int] = {}

        def note(result: Answer | NoResponse) -> None:
            arrived[result.raida] = messages.answer_code(result)

        asking = listening.Asking(
            self.servers, call, hearing=hearing, until=until, on_result=note, enough=enough, grace=grace
        )
        self._show(arrived, asking.is_over, attempt_id, len(call.payloads), progress)
        return asking.results()

    def _show(
        self,
        arrived: Mapping[int, int],
        is_over: threading.Event,
        attempt_id: int,
        asked: int,
        progress: tuple[int, int],
    ) -> None:
        """Write down what has arrived, and renew the lease, until it is over."""
        shown, written_at = 0, time.monotonic()
        while not is_over.wait(_SHOW_SECONDS):
            answers = dict(arrived)
            if len(answers) > shown:
                begin, end = progress
                now = begin + (end - begin) * len(answers) // asked
                task_store.note_answers(held=self.held, attempt_id=attempt_id, answers=answers, progress=now)
            elif time.monotonic() - written_at >= _RENEW_SECONDS:
                task_store.advance(held=self.held)
            else:
                continue
            shown, written_at = len(answers), time.monotonic()


@dataclass(frozen=True, slots=True)
class _Heard:
    """Where late answers to an attempt come together, and what it asked."""

    hearing: listening.Hearing
    attempt_id: int
    command: Command
    chosen: Targets


def _remark(
    pieces: Sequence[CoinWork], chosen: Targets, told: Mapping[int, Sequence[T]], become: Callable[[str, T], str]
) -> dict[UUID, str]:
    """
    Give chosen pieces the marks that theirs become by what was told of each; return all marks of those that changed.
    """
    everyone = tuple(range(len(pieces)))
    columns: list[Sequence[T | None]] = []
    for raida in range(RAIDA_COUNT):
        indices, words = chosen.get(raida, ()), told.get(raida, ())
        if indices == everyone:
            columns.append(words)
            continue
        column: list[T | None] = [None] * len(pieces)
        for index, word in zip(indices, words, strict=True):
            column[index] = word
        columns.append(column)
    # Most pieces are alike.
    known: dict[tuple[str, tuple[T | None, ...]], str] = {}
    changed: dict[UUID, str] = {}
    for piece, heard in zip(pieces, zip(*columns, strict=True), strict=True):
        if (piece.marks, heard) not in known:
            known[piece.marks, heard] = "".join(
                mark if word is None else become(mark, word) for mark, word in zip(piece.marks, heard, strict=True)
            )
        marks = known[piece.marks, heard]
        if marks != piece.marks:
            piece.marks = changed[piece.coin_id] = marks
    return changed


def _given_up(results: transport.Results) -> list[int]:
    return [
        raida for raida, result in results.items() if isinstance(result, NoResponse) and result.reason == "cancelled"
    ]


def _everywhere(chosen: Targets, marks: Mapping[int, str]) -> str:
    return "".join(marks[raida] if raida in chosen else Mark.UNASKED for raida in range(RAIDA_COUNT))


def _alike(pieces: Sequence[CoinWork], chosen: Targets) -> dict[int, str] | None:
    """The one mark that all chosen pieces have at each server, if they do."""
    if len({piece.marks for piece in pieces}) == 1:
        return {raida: pieces[0].marks[raida] for raida in chosen}
    marks = {raida: {pieces[index].marks[raida] for index in indices} for raida, indices in chosen.items()}
    if any(len(each) > 1 for each in marks.values()):
        return None
    return {raida: each.pop() for raida, each in marks.items()}


def _thirteen_passed(
    command: Command, pieces: Sequence[CoinWork], chosen: Targets, reads: Reader | None
) -> Callable[[transport.Results], bool]:
    """Whether each of the chosen coins is known to have passed on 13 servers, counted as the answers come."""
    asked = {index for indices in chosen.values() for index in indices}
    passes = {index: pieces[index].marks.count(Mark.NEW) for index in asked}
    counted: set[int] = set()

    def enough(results: transport.Results) -> bool:
        new = {raida: chosen[raida] for raida in results if raida in chosen and raida not in counted}
        counted.update(new)
        for raida, told in messages.replies(command, new, results, reads=reads).items():
            for index, reply in zip(chosen[raida], told, strict=True):
                passes[index] += reply in (Reply.PASS, Reply.HAS_NEW)
        return all(count >= QUORUM for count in passes.values())

    return enough


def tell(
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
        if not all_stored(pieces):
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


def all_stored(pieces: Sequence[CoinWork]) -> bool:
    return all(piece.marks.count(Mark.NEW) >= QUORUM for piece in pieces)


def share(begin: int, end: int, position: int, count: int) -> tuple[int, int]:
    width = end - begin
    return begin + width * position // count, begin + width * (position + 1) // count
