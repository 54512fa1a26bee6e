"""
One question to the servers about coins of a task, and what the answers make of the coins' marks.

Each exchange first commits what is about to be sent. Before a command that changes anything
leaves, the marks of its coins say SENT: a worker that dies finds them so on the next attempt,
asks what became of the coins, and never sends the same thing again without having asked.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

from django.conf import settings

from lockers import conversation, health, network, privacy, secrecy, settlement
from lockers.conversation import Chosen, Piece, Reader, Reply
from lockers.models import LockerTask
from lockers.network import Answer, Call, Silence
from lockers.raida.commands import Command
from lockers.raida.encryption import Encryption
from lockers.raida.statuses import QUORUM
from lockers.settlement import Claim
from lockers.states import Mark, Step, TaskKind

# While a call is out its answers are shown this often, and the lease renewed at least this often. The first
# is shorter than an eye needs to see a cell turn, and longer than a healthy call on a local network.
_SHOW_SECONDS: Final = 0.1
_RENEW_SECONDS: Final = 0.5
# Once 13 servers have settled a matter the others get this share of the time that it took. Whoever looks needs
# no more than an answer, and whether a put reaches the others too is the taker's affair; a coin that is ours is
# better off the more servers are known to have it.
LINGER_LOOKING: Final = 0.15
LINGER_PUTTING: Final = 0.25
LINGER_MOVING: Final = 1.0

Table = Mapping[tuple[str, Reply], str]


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


def servers() -> tuple[network.Server, ...]:
    return network.servers_from_settings(settings.RAIDA_HOSTS)


class Work:
    """One claimed task: what its steps need, and the exchange that all of them are made of."""

    def __init__(self, held: Claim, task: LockerTask) -> None:
        self.held = held
        self.task = task
        self.servers = servers()
        self.health = health.Board.load()
        # A find has several lockers: its coins carry their keys themselves.
        self.keys = secrecy.keys_of(task) if task.kind == TaskKind.PUT else None

    def pieces(self, batch: int) -> list[Piece]:
        return settlement.pieces(task_id=self.task.id, batch=batch, keys=self.keys)

    def awake(self, chosen: Chosen) -> Chosen:
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
        pieces: Sequence[Piece],
        chosen: Chosen,
        table: Table,
        *,
        call: Call | None = None,
        reads: Reader | None = None,
        back: bool = False,
        sent: bool = False,
        early: float | None = None,
        patience: float = 1.0,
        progress: tuple[int, int] = (0, 0),
        step: Step | None = None,
    ) -> dict[int, tuple[Reply, ...]]:
        """
        Put one command about the chosen coins to their servers, and commit what each said.

        With `sent` the chosen marks are SENT from before the first byte on. With `early`, a share of the
        time that it took, servers are given up which are still silent so long after each coin has
        passed on 13. With more
        than one `patience` the call may outlast the lease, so only one that does no harm twice. The
        pieces carry the new marks afterwards. `call` is composed and the answers are read as the
        command's always are, unless something else is given. `step` is where the task stands from now on.

        :raises TaskSuperseded: another worker has the task
        """
        if not chosen:
            return {}
        call = conversation.compose(command, pieces, chosen, back=back) if call is None else call
        touched = (
            _remark(pieces, [(raida, index, Mark.SENT) for raida in chosen for index in chosen[raida]]) if sent else {}
        )
        until = network.within(settings.RAIDA_TIMEOUT_SECONDS * patience)
        attempt_id = settlement.open_attempt(
            held=self.held,
            command=command,
            batch=batch,
            asked=chosen,
            marks=touched,
            step=step,
            progress=progress[0],
        )
        results = self._ask(
            privacy.hidden(call, self._ciphers(command, pieces, chosen, back=back)),
            until=until,
            attempt_id=attempt_id,
            progress=progress,
            enough=None if early is None else _thirteen_passed(command, pieces, chosen, reads),
            linger=early or 0.0,
        )
        replies = conversation.replies(command, chosen, results, reads=reads)
        news: list[tuple[int, int, str]] = []
        for raida, told in replies.items():
            for index, reply in zip(chosen[raida], told, strict=True):
                new = table.get((pieces[index].marks[raida], reply))
                if new is not None:
                    news.append((raida, index, new))
        settlement.settle_attempt(
            held=self.held,
            attempt_id=attempt_id,
            answers={raida: conversation.answer_code(result) for raida, result in results.items()},
            marks=_remark(pieces, news),
        )
        self.health.note(results)
        return replies

    def question(
        self, call: Call, batch: int, *, enough: Callable[[network.Results], bool] | None = None
    ) -> network.Results:
        """
        Ask something that changes no coin, and return the answers as they came.

        :raises TaskSuperseded: another worker has the task
        """
        until = network.within(settings.RAIDA_TIMEOUT_SECONDS)
        attempt_id = settlement.open_attempt(
            held=self.held, command=call.command, batch=batch, asked=call.payloads, marks={}
        )
        results = self._ask(
            call, until=until, attempt_id=attempt_id, progress=(0, 0), enough=enough, linger=LINGER_MOVING
        )
        answers = {raida: conversation.answer_code(result) for raida, result in results.items()}
        settlement.settle_attempt(held=self.held, attempt_id=attempt_id, answers=answers, marks={})
        self.health.note(results)
        return results

    def _ciphers(
        self, command: Command, pieces: Sequence[Piece], chosen: Chosen, *, back: bool
    ) -> dict[int, Encryption]:
        spare = privacy.spare_coin(self.task) if command in privacy.WITH_A_COIN else None
        return privacy.ciphers(command, pieces, chosen, spare=spare, back=back)

    def _ask(
        self,
        call: Call,
        *,
        until: float,
        attempt_id: int,
        progress: tuple[int, int],
        enough: Callable[[network.Results], bool] | None,
        linger: float,
    ) -> dict[int, Answer | Silence]:
        """
        Ask all servers at once, until a moment of the monotonic clock.

        Another thread talks, so that this one can show answers and renew the lease. A process that
        was stopped between committing and sending does not send later: others may have taken over.
        """
        arrived: queue.SimpleQueue[Answer | Silence | None] = queue.SimpleQueue()
        outcome: dict[int, Answer | Silence] = {}
        failure: list[BaseException] = []

        def talk() -> None:
            try:
                outcome.update(
                    network.ask(self.servers, call, until=until, on_result=arrived.put, enough=enough, linger=linger)
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


def _remark(pieces: Sequence[Piece], news: Sequence[tuple[int, int, str]]) -> dict[UUID, str]:
    """Give pieces new marks, each (server, position, mark), and return all marks of those that changed."""
    letters: dict[int, list[str]] = {}
    for raida, index, mark in news:
        if index not in letters:
            letters[index] = list(pieces[index].marks)
        letters[index][raida] = mark
    changed: dict[UUID, str] = {}
    for index, each in letters.items():
        piece = pieces[index]
        marks = "".join(each)
        if marks != piece.marks:
            piece.marks = changed[piece.coin_id] = marks
    return changed


def _thirteen_passed(
    command: Command, pieces: Sequence[Piece], chosen: Chosen, reads: Reader | None
) -> Callable[[network.Results], bool]:
    """Whether each of the chosen coins is known to have passed on 13 servers, counted as the answers come."""
    asked = {index for indices in chosen.values() for index in indices}
    passes = {index: pieces[index].marks.count(Mark.NEW) for index in asked}
    counted: set[int] = set()

    def enough(results: network.Results) -> bool:
        new = {raida: chosen[raida] for raida in results if raida in chosen and raida not in counted}
        counted.update(new)
        for raida, told in conversation.replies(command, new, results, reads=reads).items():
            for index, reply in zip(chosen[raida], told, strict=True):
                passes[index] += reply in (Reply.PASS, Reply.HAS_NEW)
        return all(count >= QUORUM for count in passes.values())

    return enough
