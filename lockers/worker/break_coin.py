"""
Break: replace a coin by ten of the next lower denomination on the servers (the RAIDA protocol, section 6.3).

The worker asks for free serial numbers, commits the ten coins with their numbers, and only then sends the break. A
server that does not answer is asked whether it holds the ten or the one. If fewer than 13 servers have broken the coin,
they join the ten again. Puts, transfers and exports break coins this way to make change.
"""

import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from django.db import transaction
from django.db.models import Count, Max, Min

from lockers import account_ledger, coin_breaks, vault
from lockers.account_ledger import Posting
from lockers.coin_breaks import FIRST_BREAK, POOL
from lockers.models import Coin, LockerTask
from lockers.raida import payloads
from lockers.raida.coins import format_amount, total_value, value_of
from lockers.raida.commands import Command
from lockers.raida.errors import WireError
from lockers.raida.payloads import CHANGE_COUNT, SerialsOperation
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import SPENDABLE, CoinState, LineType, Mark, Step
from lockers.transport import Answer, Call, NoResponse, Results
from lockers.worker import task_store
from lockers.worker.broadcast import GRACE_MOVE, Request, TaskRun
from lockers.worker.messages import ASKED, FOUND, MOVED, CoinWork, Reply, Table, Targets, every, read
from lockers.worker.task_store import Claim

# The session of requests without a reservation (section 6.3).
_SESSION: Final = 0

# Attempts to choose ten numbers: another task may take one before they are committed.
_CHOICES: Final = 3

_EVERYTHING: Final = tuple(range(1 + payloads.CHANGE_COUNT))

_JOINED: Final[Table] = {(Mark.NEW, Reply.PASS): Mark.KEPT}

_ASKED_ABOUT_JOIN: Final[Table] = {(Mark.NEW, Reply.HAS_OLD): Mark.KEPT, (Mark.NEW, Reply.HAS_NEITHER): Mark.GONE}

_AT_REST: Final = Mark.UNASKED + Mark.UNREACHED + Mark.UNREADABLE + Mark.REFUSED + Mark.KEPT + Mark.ERROR

_CHECKED: Final[Table] = every(_AT_REST, {Reply.HAS_OLD: Mark.KEPT, Reply.HAS_NEITHER: Mark.NEITHER})

_UNASKED: Final = Mark.UNASKED * RAIDA_COUNT

# States of coins whose serial numbers are in use, in this ledger or by a valid code or file.
_TAKEN: Final = (
    CoinState.INCOMING,
    CoinState.BANK,
    CoinState.FRACKED,
    CoinState.LIMBO,
    CoinState.ERRORED,
    CoinState.CHANGE,
    CoinState.LOCKED,
    CoinState.EXPORTED,
)


def run(task_run: TaskRun) -> None:
    """Break the coins of a task, and end it."""
    reason = ""
    for batch in task_store.batches(task_id=task_run.task.id):
        reason = break_coin(task_run, batch)
    task_run.conclude(reason=reason)


def make_change(task_run: TaskRun) -> str:
    """Break coins until those of a task make its amount. Returns why this failed, or ""."""
    while (needed := assemble(held=task_run.held)) is Next.BREAK:
        batch = open_break(task_run.held)
        assert batch is not None
        reason = break_coin(task_run, batch)
        if not finish_break(held=task_run.held, batch=batch):
            return reason or "The coin that had to be broken first was not broken by 13 servers."
    if needed is Next.IMPOSSIBLE:
        return "The change is not confirmed by enough servers to be broken further; it is in the wallet."
    task_store.advance(held=task_run.held, message="")
    return ""


class Next(Enum):
    """What a task needs before its coins can be sent."""

    NOTHING = "nothing"  # the coins make the amount
    BREAK = "break"  # a coin was reserved to be broken
    IMPOSSIBLE = "impossible"  # no coin that is left may be broken


def assemble(*, held: Claim) -> Next:
    """Add all change that fits into the task's amount to it; if some is missing, reserve the coin to break next."""
    with transaction.atomic():
        task_store.fence(held)
        if open_break(held) is not None:
            return Next.BREAK
        task = LockerTask.objects.get(pk=held.task_id)
        coins = Coin.objects.filter(task=task)
        chosen = _counts(coins.filter(batch__gte=0).values_list("denomination").annotate(number=Count("id")))
        missing = (task.amount or 0) - total_value(chosen)
        if missing == 0:
            return Next.NOTHING
        pool = list(
            coins.filter(batch=POOL, state__in=SPENDABLE).select_for_update(no_key=True, of=("self",)).order_by("id")
        )
        last = coins.filter(batch__gte=0).aggregate(last=Max("batch"))["last"]
        for row in sorted(pool, key=lambda one: -one.denomination):
            if value_of(row.denomination) <= missing:
                missing -= value_of(row.denomination)
                pool.remove(row)
                # A few coins more than the size of a batch: a separate batch would cost a round trip.
                Coin.objects.filter(pk=row.pk, task=task).update(batch=last or 0, locker=task.locker)
        if missing == 0:
            return Next.NOTHING
        for row in sorted(pool, key=lambda one: one.denomination):
            if row.state == CoinState.BANK and value_of(row.denomination) > missing:
                lowest = coins.aggregate(lowest=Min("batch"))["lowest"]
                Coin.objects.filter(pk=row.pk, task=task).update(
                    batch=min(FIRST_BREAK, lowest - 1), family=row.pk, outcome=_UNASKED
                )
                return Next.BREAK
    return Next.IMPOSSIBLE


def _counts(rows: Collection[tuple[int, int]]) -> Mapping[int, int]:
    return dict(rows)


def open_break(held: Claim) -> int | None:
    """Return the batch of a break that is not settled, or None."""
    batch: int | None = Coin.objects.filter(task_id=held.task_id, batch__lte=FIRST_BREAK).aggregate(last=Max("batch"))[
        "last"
    ]
    return batch


def finish_break(*, held: Claim, batch: int) -> bool:
    """Settle a break that was made for change; its ten stay reserved. Returns whether the coin is broken."""
    with transaction.atomic():
        task_store.fence(held)
        task = LockerTask.objects.get(pk=held.task_id)
        settled = coin_breaks.settle(task=task, batch=batch, keep=True)
        broken = [denomination for state, denomination in settled.coins if state is CoinState.BROKEN]
        if broken:
            done = [*task.result.get("broken", []), *broken]
            LockerTask.objects.filter(pk=task.pk).update(result=task.result | {"broken": done})
        account_ledger.post(task_id=task.pk, postings=[Posting(task.wallet_id, settled.units, LineType.ADJUSTMENT)])
    return bool(broken)


def break_coin(task_run: TaskRun, batch: int) -> str:
    """
    Break the coin of a batch, or continue a break that was interrupted; the marks have the outcome.

    Returns why nothing was sent, or "".
    """
    members = family(held=task_run.held, batch=batch)
    coin = members.broken.coin
    small = format_amount(coin.value // payloads.CHANGE_COUNT)
    task_store.advance(
        held=task_run.held,
        step=Step.BREAKING,
        progress=3,
        message=f"Breaking a {format_amount(coin.value)} into ten {small}s",
    )
    if not members.change:
        for _ in range(_CHOICES):
            if propose(
                held=task_run.held, batch=batch, broken=members.broken, votes=_free_numbers(task_run, batch, members)
            ):
                break
        else:
            return "Fewer than 13 servers name the same ten free serial numbers for the change."
        members = family(held=task_run.held, batch=batch)
    for chosen in (task_run.without_open_circuits(_good(members)), _good(members)):
        # Servers with an open circuit get the break only if they could decide.
        if _passes(members) < QUORUM:
            left = {raida: each for raida, each in chosen.items() if members.broken.marks[raida] == Mark.UNASKED}
            call = _call(Command.BREAK, members, left)
            task_run.broadcast(
                Request(
                    Command.BREAK,
                    batch,
                    members.pieces,
                    targets=left,
                    table=MOVED,
                    call=call,
                    intends=True,
                    grace=GRACE_MOVE,
                )
            )
    if _passes(members) < QUORUM:
        _ask(task_run, batch, members, Mark.SENT + Mark.ERROR, ASKED)
    _join_again(task_run, batch, members)
    return ""


@dataclass(frozen=True, slots=True)
class Family:
    """A coin to break, and its ten coins; none before serial numbers are chosen."""

    broken: CoinWork
    change: Sequence[CoinWork]

    @property
    def pieces(self) -> list[CoinWork]:
        """Return the coin, followed by its ten."""
        return [self.broken, *self.change]

    @property
    def coins(self) -> list[bytes]:
        return [piece.coin.to_bytes() for piece in self.pieces]

    def numbers(self, raida: int) -> list[bytes]:
        """Return the old number of the coin on a server, followed by the new ones of its ten."""
        return [self.broken.old[raida], *(each.new[raida] for each in self.change)]


def family(*, held: Claim, batch: int) -> Family:
    pieces: dict[bool, list[CoinWork]] = {True: [], False: []}
    for row in Coin.objects.filter(task_id=held.task_id, batch=batch).order_by("serial_number"):
        pieces[row.state == CoinState.CHANGE].append(task_store.coin_of_row(row, marks=row.outcome))
    (broken,) = pieces[False]
    return Family(broken, pieces[True])


def _free_numbers(task_run: TaskRun, batch: int, members: Family) -> Counter[int]:
    """Ask all servers for free serial numbers, and return how many servers name each."""
    denomination = members.broken.coin.denomination
    request = payloads.encode_get_available_sns(_SESSION, SerialsOperation.BREAK, denomination)
    call = Call(Command.GET_AVAILABLE_SNS, dict.fromkeys(range(RAIDA_COUNT), request))
    return _votes(task_run.question(call, batch, enough=_ten_are_free), denomination - 1)


def _ten_are_free(results: Results) -> bool:
    answers = [result for result in results.values() if isinstance(result, Answer)]
    return len(answers) >= QUORUM and sum(count >= QUORUM for count in _votes(results, None).values()) >= (
        payloads.CHANGE_COUNT
    )


def _votes(results: Results, denomination: int | None) -> Counter[int]:
    votes: Counter[int] = Counter()
    for result in results.values():
        if not isinstance(result, Answer):
            continue
        try:
            reply = payloads.decode_get_available_sns_reply(result.status, result.payload)
        except WireError:
            continue
        if denomination is None or reply.denomination == denomination:
            votes.update(set(reply.serial_numbers))
    return votes


def propose(*, held: Claim, batch: int, broken: CoinWork, votes: Mapping[int, int]) -> bool:
    """
    Commit the intent: ten coins with fresh numbers that replace a coin.

    `votes` is the number of servers that name each serial number as free. Numbers with most votes come first, in random
    order among equals, so that concurrent breaks rarely choose the same. Returns False if 13 servers do not agree on
    ten, or a concurrent task took one.
    """
    denomination = broken.coin.denomination - 1
    with transaction.atomic():
        task_store.fence(held)
        free = [number for number, count in votes.items() if count >= QUORUM]
        taken = set(
            Coin.objects.filter(denomination=denomination, serial_number__in=free, state__in=_TAKEN).values_list(
                "serial_number", flat=True
            )
        )
        free = [number for number in free if number not in taken]
        free.sort(key=lambda number: (-votes[number], secrets.randbits(32)))
        if len(free) < CHANGE_COUNT:
            return False
        task = LockerTask.objects.get(pk=held.task_id)
        rows = [
            Coin(
                wallet_id=task.wallet_id,
                denomination=denomination,
                serial_number=number,
                state=CoinState.CHANGE,
                origin="break",
                task=task,
                batch=batch,
                outcome=_UNASKED,
                family=broken.coin_id,
            )
            for number in sorted(free[:CHANGE_COUNT])
        ]
        for row in rows:
            row.secrets = vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk)
        Coin.objects.bulk_create(rows, ignore_conflicts=True)
        kept = Coin.objects.filter(pk__in=[row.pk for row in rows])
        if kept.count() < CHANGE_COUNT:
            kept.delete()
            return False
    return True


def _good(members: Family) -> Targets:
    return {
        raida: _EVERYTHING
        for raida in range(RAIDA_COUNT)
        if members.broken.marks[raida] == Mark.UNASKED and members.broken.pown[raida] == "p"
    }


def _passes(members: Family) -> int:
    return members.broken.marks.count(Mark.NEW)


def _call(command: Command, members: Family, chosen: Targets) -> Call:
    """Return a break or a join: the coin and its ten, with the number that each server holds or is to hold."""
    return Call(
        command,
        {raida: payloads.encode_change(_SESSION, members.coins, members.numbers(raida)) for raida in chosen},
    )


def _ask(task_run: TaskRun, batch: int, members: Family, marks: str, table: Table) -> None:
    """Ask the servers with these marks whether they hold the coin, its ten, or neither."""
    chosen = _with_marks(members, marks)
    call = Call(
        Command.DETECT,
        {raida: payloads.encode_records(members.coins, members.numbers(raida)) for raida in chosen},
    )
    task_run.broadcast(
        Request(
            Command.DETECT,
            batch,
            members.pieces,
            targets=chosen,
            table=table,
            call=call,
            reads=_one_or_ten,
            grace=GRACE_MOVE,
        )
    )


def _with_marks(members: Family, marks: str) -> Targets:
    return {raida: _EVERYTHING for raida in range(RAIDA_COUNT) if members.broken.marks[raida] in marks}


def _one_or_ten(command: Command, result: Answer | NoResponse | None, count: int) -> tuple[Reply, ...]:
    told = read(command, result, count)
    if set(told) <= {Reply.PASS, Reply.FAIL}:
        the_one, *the_ten = (reply is Reply.PASS for reply in told)
        if the_one and not any(the_ten):
            return (Reply.HAS_OLD,) * count
        return ((Reply.HAS_NEW if all(the_ten) and not the_one else Reply.HAS_NEITHER),) * count
    return told


def look_again(task_run: TaskRun, batch: int, *, is_quiet: bool) -> None:
    """Ask the servers about a break whose outcome is unknown, and join the coin again if 13 cannot have broken it."""
    members = family(held=task_run.held, batch=batch)
    _ask(task_run, batch, members, Mark.SENT + Mark.OLD, FOUND if is_quiet else ASKED)
    _join_again(task_run, batch, members)


def _join_again(task_run: TaskRun, batch: int, members: Family) -> None:
    """Join the coin on the servers that have broken it, if 13 cannot break it any more."""
    if not _cannot_be_broken(members):
        return
    if _passes(members):
        # A worker that died may have sent the join already.
        _ask(task_run, batch, members, Mark.NEW, _ASKED_ABOUT_JOIN)
        chosen = dict.fromkeys(_with_marks(members, Mark.NEW), (*_EVERYTHING[1:], 0))
        call = _call(Command.JOIN, members, chosen)
        task_run.broadcast(
            Request(Command.JOIN, batch, members.pieces, targets=chosen, table=_JOINED, call=call, back=True)
        )
        _ask(task_run, batch, members, Mark.NEW, _ASKED_ABOUT_JOIN)
    _ask(task_run, batch, members, _AT_REST, _CHECKED)


def _cannot_be_broken(members: Family) -> bool:
    marks = members.broken.marks
    may_have = sum(mark in Mark.NEW + Mark.SENT + Mark.OLD for mark in marks)
    return may_have < QUORUM and not set(marks) <= {Mark.UNASKED, Mark.UNREACHED}
