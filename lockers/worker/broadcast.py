"""
Send commands about the coins of a task to the RAIDA servers, and record what each server answered.

A broadcast first commits an attempt: what is about to be sent. Before the first byte of a command that changes
anything leaves, the marks of its coins are SENT. A worker that takes the task over finds these marks, asks the servers
what became of the coins, and never repeats a command without having asked.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from typing import Final
from uuid import UUID

from django.conf import settings

from lockers import transport, vault
from lockers.models import Attempt, LockerTask
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM
from lockers.states import Mark, Step, TaskKind
from lockers.transport import NO_GRACE, Answer, Call, GraceWindow, NoResponse, Results
from lockers.worker import circuit_breaker, finalize, late_answers, listening, messages, request_encryption, task_store
from lockers.worker.messages import MOVED, CoinWork, Reader, Reply, Table, Targets
from lockers.worker.task_store import Claim, Intent, Settled

# While a call is in flight, new answers are written every 0.1 s, and the lease is renewed at least every 0.5 s.
_SHOW_SECONDS: Final = 0.1
_RENEW_SECONDS: Final = 0.5
# Once 13 servers have decided, the others get a grace window, a share of the time that the 13 took. A peek needs no
# more answers. After a put, the server's copy matters only to the taker. An incoming coin is safer the more servers
# are known to have it.
GRACE_PEEK: Final = GraceWindow(share=0.0, seconds=0.0)
GRACE_PUT: Final = GraceWindow(share=0.05, seconds=0.004, most=3)
GRACE_MOVE: Final = GraceWindow(share=0.5, seconds=0.01)

# Only late answers to commands that move coins are recorded.
_LISTENED_TO: Final = frozenset({Command.PUT, Command.POWN, Command.REMOVE})


def servers() -> tuple[transport.Server, ...]:
    return transport.servers_from_settings(settings.RAIDA_HOSTS)


def ask_at_once(call: Call, batch: int) -> Results:
    """Send a call that changes nothing and belongs to no task; `batch` is ignored."""
    results = transport.ask(servers(), call, until=transport.within(settings.RAIDA_TIMEOUT_SECONDS))
    circuit_breaker.Circuits.load().record(results)
    return results


@dataclass(frozen=True, slots=True)
class Request:
    """
    One command about coins of a batch, and what its answers mean.

    Each server is asked about the coins that have one of `marks` there, or about `targets` if they are given. `table`
    says what a reply makes of a mark.

    `intends` sets the marks of these coins to SENT before the first byte leaves. `whole_batch` says that the coins are
    a whole batch, and that each server is asked about all of them that it was not asked about before (by a put: that it
    is known to accept), so that the attempt can record one mark for all. `grace` ends the call early: that long after
    each coin has passed on 13 servers. `patience` is a factor on the timeout; above 1 the call may outlast the lease,
    so only a command that may be repeated has it. `back` moves coins from the new number to the old one. `call` and
    `reads` replace the command's usual message and the reading of its answers. `step` and `progress` (from, to) are
    what the task shows meanwhile.
    """

    command: Command
    batch: int
    coins: Sequence[CoinWork]
    marks: str = ""
    table: Table = field(default_factory=dict)
    _: KW_ONLY
    targets: Targets | None = None
    call: Call | None = None
    reads: Reader | None = None
    back: bool = False
    intends: bool = False
    whole_batch: bool = False
    grace: GraceWindow | None = None
    patience: float = 1.0
    progress: tuple[int, int] = (0, 0)
    step: Step | None = None

    def chosen(self) -> Targets:
        return messages.choose(self.coins, self.marks) if self.targets is None else self.targets


class TaskRun:
    """A claimed task while a worker runs it: its row, the servers, and what is still to be written."""

    def __init__(self, held: Claim, task: LockerTask) -> None:
        self.held = held
        self.task = task
        self.servers = servers()
        self.circuits = circuit_breaker.Circuits.load()
        # Attempts that are settled with whatever is written next, and whether marks are recorded in attempts alone.
        self._answered: list[Settled] = []
        self._has_unwritten_marks = False
        # Attempts that ended at a quorum while answers were outstanding.
        self._hearings: list[_Heard] = []
        # Late answers that are written with the end of the task, and counted after it.
        self._late: list[Results] = []
        # A find has several lockers: its coins carry their keys themselves.
        self.keys = vault.locker_keys(task.locker) if task.kind == TaskKind.PUT and task.locker else None

    def coins(self, batch: int) -> list[CoinWork]:
        self._flush()
        return self.fresh_coins(batch)

    def fresh_coins(self, batch: int) -> list[CoinWork]:
        """Return the coins of a batch about which this worker has not asked anything yet."""
        return task_store.coins(task_id=self.task.id, batch=batch, keys=self.keys)

    def without_open_circuits(self, chosen: Targets) -> Targets:
        """
        Leave out servers whose circuit is open, for commands that can do without them.

        Their coins keep the mark UNASKED there, which is certain; a request to a server that is down would make it
        SENT, which is not.
        """
        return {raida: indices for raida, indices in chosen.items() if raida not in self.circuits.open}

    def send_batch(self, request: Request, *, known_good: bool = False) -> None:
        """
        Send a command that moves a whole batch to all servers; to those with an open circuit only if they could decide.

        With `known_good` each server gets only the coins that it is known to accept.
        """
        for is_last in (False, True):
            if not all_stored(request.coins):
                chosen = messages.choose(request.coins, Mark.UNASKED, known_good=known_good)
                targets = chosen if is_last else self.without_open_circuits(chosen)
                self.broadcast(
                    replace(request, targets=targets, table=MOVED, intends=True, whole_batch=True, step=Step.SENDING)
                )

    def broadcast(self, request: Request) -> dict[int, dict[int, Reply]]:
        """
        Send a command to the servers, commit what each said, and return it: per server, per position of a coin.

        The coins carry their new marks afterwards. A request that changes nothing and that most servers refuse as a
        whole, because of a coin in it, is repeated in halves (`messages.ask_in_halves`).
        """
        chosen = request.chosen()
        if not chosen:
            return {}
        is_halved = request.command in messages.HALVED and request.call is None
        if is_halved:
            told = messages.ask_in_halves(chosen, lambda part: self._send(request, part))
        else:
            told, _ = self._send(request, chosen)
        return {raida: dict(zip(chosen[raida], replies, strict=True)) for raida, replies in told.items()}

    def _send(self, request: Request, chosen: Targets) -> tuple[messages.Replies, set[int]]:
        """Send the request once; return the replies, and the servers that refused it because of some coin in it."""
        command, coins, whole_batch = request.command, request.coins, request.whole_batch
        # Intent: what may change from here on is committed before the first byte leaves.
        if not whole_batch:
            self._flush()
        call = messages.compose(command, coins, chosen, back=request.back) if request.call is None else request.call
        touched = messages.remark_sent(coins, chosen) if request.intends else set()
        until = transport.within(settings.RAIDA_TIMEOUT_SECONDS * request.patience)
        intent = Intent(
            command,
            request.batch,
            asked=chosen,
            marks={} if whole_batch else _marks_of(coins, touched),
            covering=messages.batch_marks(chosen, dict.fromkeys(chosen, Mark.SENT)) if whole_batch else "",
        )
        attempt_id = task_store.open_attempt(
            held=self.held, intent=intent, settled=self._answered, step=request.step, progress=request.progress[0]
        )
        self._answered = []
        self._has_unwritten_marks |= whole_batch
        # Network.
        call = request_encryption.encrypted_for(call, coins, chosen, wallet_id=self.task.wallet_id, back=request.back)
        hearing = self._listen(request, chosen, attempt_id)
        results = self._ask(
            call,
            attempt_id=attempt_id,
            progress=request.progress,
            hearing=hearing,
            until=until,
            enough=None if request.grace is None else messages.quorum_passed(command, coins, chosen, request.reads),
            grace=request.grace or NO_GRACE,
        )
        # Outcome: what each server said, and what follows for each coin.
        replies = messages.replies(command, chosen, results, reads=request.reads)
        changed = messages.remark(coins, chosen, replies, lambda mark, reply: request.table.get((mark, reply), mark))
        answers = {raida: messages.answer_code(result) for raida, result in results.items()}
        if command in _LISTENED_TO:
            answers |= dict.fromkeys(_given_up(results), int(Attempt.Unanswered.AWAITED))
        settled = None
        if whole_batch and (common := messages.common_marks(coins, chosen)):
            settled = Settled(attempt_id, answers, messages.batch_marks(chosen, common))
            self._answered.append(settled)
        else:
            self._note_written_marks()
            task_store.settle(
                held=self.held,
                settled=[Settled(attempt_id, answers, "")],
                marks=_marks_of(coins, touched | changed if whole_batch else changed),
            )
        is_listened_to = hearing is not None and hearing.is_open
        self.circuits.record(_without(_given_up(results), results) if is_listened_to else results)
        if hearing is not None and is_listened_to:
            self._hearings.append(_Heard(hearing, attempt_id, command, chosen, settled))
        return replies, messages.refusing(results)

    def conclude(
        self,
        *,
        reason: str = "",
        deliver: finalize.Deliver | None = None,
        further: Mapping[str, object] | None = None,
        gone: Sequence[UUID] = (),
    ) -> None:
        """End the task from what is known; the arguments are those of `finalize.conclude`."""
        # The result names the servers that were left out because their circuit was open.
        skipped = {"resting": sorted(self.circuits.open)} if self.circuits.open else {}
        finalize.conclude(
            held=self.held,
            task=self.task,
            reason=reason,
            further=skipped | dict(further or {}),
            deliver=deliver,
            settled=self._to_settle,
            gone=gone,
        )
        for late in self._late:
            self.circuits.record(late)
        while self._hearings:
            self._hearings.pop().hearing.task_has_ended()

    def stop_listening(self) -> None:
        """Discard answers that are still to come, unless the task has ended here."""
        while self._hearings:
            self._hearings.pop().hearing.drop()

    def _to_settle(self) -> list[Settled]:
        """
        Return the attempts to settle with the end of the task; called again, those to which answers have come since.

        Late answers are added to attempts in which one mark holds for all coins.
        """
        answered = {one.attempt_id: one for one in self._answered}
        self._answered = []
        for heard in self._hearings:
            if heard.settled is not None and (late := heard.hearing.taken()):
                heard.settled = answered[heard.attempt_id] = self._with_late_answers(heard, heard.settled, late)
        return list(answered.values())

    def _with_late_answers(self, heard: "_Heard", settled: Settled, late: Results) -> Settled:
        told = messages.replies(heard.command, {raida: heard.chosen[raida] for raida in late}, late)
        # A put has one answer for all coins. Other commands have one for each coin, and these may differ.
        alike = {raida: replies[0] for raida, replies in told.items() if len(set(replies)) == 1}
        covering = "".join(
            MOVED.get((mark, alike[raida]), mark) if raida in alike and mark == Mark.SENT else mark
            for raida, mark in enumerate(settled.covering)
        )
        answers = {**settled.answers} | {raida: messages.answer_code(late[raida]) for raida in alike}
        if alike:
            self._late.append({raida: late[raida] for raida in alike})
        heard.hearing.keep({raida: result for raida, result in late.items() if raida not in alike})
        return replace(settled, answers=answers, covering=covering)

    def _flush(self) -> None:
        if self._answered:
            task_store.settle(held=self.held, settled=self._answered, marks={})
            self._answered = []
        if self._has_unwritten_marks:
            task_store.write_marks(held=self.held)
            self._has_unwritten_marks = False
            self._note_written_marks()

    def _note_written_marks(self) -> None:
        """Leave late answers to be written after the task: marks in rows of coins are not changed by attempts."""
        for heard in self._hearings:
            heard.settled = None

    def question(self, call: Call, batch: int, *, enough: Callable[[Results], bool] | None = None) -> Results:
        """Send a call that changes no coin, and return the answers as they came."""
        until = transport.within(settings.RAIDA_TIMEOUT_SECONDS)
        attempt_id = task_store.open_attempt(held=self.held, intent=Intent(call.command, batch, asked=call.payloads))
        results = self._ask(call, attempt_id=attempt_id, until=until, enough=enough, grace=GRACE_MOVE)
        answers = {raida: messages.answer_code(result) for raida, result in results.items()}
        task_store.settle(held=self.held, settled=[Settled(attempt_id, answers, "")], marks={})
        self.circuits.record(results)
        return results

    def _listen(self, request: Request, chosen: Targets, attempt_id: int) -> listening.Hearing | None:
        """Return where answers that come after the quorum go; None if they are not recorded."""
        if request.grace is None or request.back or request.command not in _LISTENED_TO:
            return None
        write = partial(
            late_answers.write,
            task_id=self.task.id,
            attempt_id=attempt_id,
            command=request.command,
            coin_ids=[coin.coin_id for coin in request.coins],
            chosen=chosen,
        )
        return listening.begin(self.task.id, lambda late: write(results=late))

    def _ask(
        self,
        call: Call,
        *,
        attempt_id: int,
        until: float,
        enough: Callable[[Results], bool] | None,
        grace: GraceWindow,
        progress: tuple[int, int] = (0, 0),
        hearing: listening.Hearing | None = None,
    ) -> Results:
        """
        Send a call to all its servers at once, until a moment of the monotonic clock.

        Another thread talks to the servers, so that this one can show answers and renew the lease. A process that was
        stopped between the commit and the sending does not send later: another worker may have taken the task over.
        With a `hearing`, servers that would be cancelled are listened to, and it gets their answers later.
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
        """Write the answers that have arrived, and renew the lease, until the call is over."""
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


@dataclass(slots=True)
class _Heard:
    """
    Where late answers to an attempt are collected, and what it asked.

    `settled` is its outcome while the attempt alone records the marks of its coins, and None otherwise.
    """

    hearing: listening.Hearing
    attempt_id: int
    command: Command
    chosen: Targets
    settled: Settled | None


def _marks_of(coins: Sequence[CoinWork], positions: Collection[int]) -> dict[UUID, str]:
    return {coins[index].coin_id: coins[index].marks for index in sorted(positions)}


def _without(raidas: Collection[int], results: Results) -> Results:
    return {raida: result for raida, result in results.items() if raida not in raidas}


def _given_up(results: Results) -> list[int]:
    return [
        raida for raida, result in results.items() if isinstance(result, NoResponse) and result.reason == "cancelled"
    ]


def all_stored(coins: Sequence[CoinWork]) -> bool:
    """Whether 13 servers hold the new number of each coin."""
    return all(marks.count(Mark.NEW) >= QUORUM for marks in {coin.marks for coin in coins})


def share(begin: int, end: int, position: int, count: int) -> tuple[int, int]:
    width = end - begin
    return begin + width * position // count, begin + width * (position + 1) // count
