"""
Fix: repair fracked coins, which some servers do not accept, by tickets of those that do (the RAIDA protocol, section
6.1).

A server to which 13 others confirm a coin gives it a number computed from a generator of the caller. The generators are
sealed in the task before the first request, one for each server, so that no server can compute the number of another.
The resulting numbers are committed as proposed ones before a fix is sent. A repeated fix gives the same numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from lockers import vault
from lockers.models import Coin, LockerTask
from lockers.raida import payloads
from lockers.raida.authenticity import fix_an, is_locker_key
from lockers.raida.commands import Command
from lockers.raida.errors import WireError
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import SPENDABLE, Mark, Step, TaskKind
from lockers.transport import Answer, Call
from lockers.worker import finalize, health_check, request_encryption, task_store
from lockers.worker.broadcast import Request, TaskRun
from lockers.worker.messages import MOVED, CoinWork, Reply, Table, Targets
from lockers.worker.task_store import Claim

# One ticket covers all coins of a batch; a server keeps few tickets, with a few thousand coins in all.
FIX_COINS: Final = 500
_FIX_BATCHES: Final = 10

# The factor on the timeout: a server asks all others about their tickets before it answers.
_PATIENCE: Final = 4.0

# Servers that did not answer a fix are asked; only its new number proves that it was done.
_ASKED: Final[Table] = {(Mark.SENT, Reply.HAS_NEW): Mark.NEW}


def run(task_run: TaskRun) -> None:
    """Fix the coins of a task, and end it; a task that a caller started checks the wallet for fracked coins first."""
    further: dict[str, Any] = {}
    if task_run.task.plan.get("looks"):
        task_store.advance(held=task_run.held, step=Step.CHECKING, progress=2)
        checked = health_check.check_wallet(task_run, of_task=True)
        further = {"coins_checked": checked.coins, "coins_refused": checked.refused}
        reserve_more_for_fix(held=task_run.held)
    numbers = task_store.batches(task_id=task_run.task.id)
    if further and not numbers:
        message, state = health_check.summary(checked)
        finalize.finish(
            held=task_run.held,
            state=state,
            message=message,
            result={"coins_processed": 0, "coins_healed": 0, "coins_fracked": 0, "raida": checked.board, **further},
        )
        return
    for batch in numbers:
        fix_batch(task_run, batch)
    finalize.conclude(held=task_run.held, further=further)


def fix_batch(task_run: TaskRun, batch: int) -> None:
    """
    Ask the servers that do not accept the coins of a batch what they hold, and send a fix to those that answer.

    May be repeated at any time: the first request finds what took effect before.
    """
    fracked = _load(task_run.held, batch)
    task_store.advance(held=task_run.held, step=Step.FINDING)
    _examine(task_run, batch, fracked)
    generators = vault.generators(task_run.task)
    _commit(task_run.held, fracked, generators)
    fracked = [coin for coin in fracked if coin.to_fix]
    if not fracked:
        return
    task_store.advance(held=task_run.held, step=Step.HEALING, progress=40)
    tickets, votes = _get_tickets(task_run, batch, fracked)
    pieces = [coin.piece for coin in fracked]
    chosen: Targets = {
        raida: indices
        for raida in range(RAIDA_COUNT)
        if (
            indices := tuple(
                index for index, coin in enumerate(fracked) if raida in coin.to_fix and votes[index] >= QUORUM
            )
        )
    }
    call = Call(
        Command.FIX,
        {
            raida: payloads.encode_fix([pieces[index].coin for index in indices], generators[raida], tickets)
            for raida, indices in chosen.items()
        },
    )
    task_run.broadcast(
        Request(
            Command.FIX,
            batch,
            pieces,
            targets=chosen,
            table=MOVED,
            call=call,
            intends=True,
            patience=_PATIENCE,
            progress=(50, 90),
        )
    )
    task_run.broadcast(Request(Command.FIND, batch, pieces, Mark.SENT, _ASKED))


@dataclass(slots=True)
class _FrackedCoin:
    """A coin: `piece.old` are the numbers that servers hold, `piece.new` those proposed, or the same."""

    piece: CoinWork
    has_proposal: bool
    is_of_a_break: bool
    adopted: set[int] = field(default_factory=set)
    # Servers that have just answered, and will get the fix.
    to_fix: set[int] = field(default_factory=set)


def _load(held: Claim, batch: int) -> list[_FrackedCoin]:
    fracked = []
    for row in Coin.objects.filter(task_id=held.task_id, batch=batch).order_by("id"):
        proposed = None if row.proposed is None else vault.open_numbers(row.proposed, coin_id=row.pk)
        piece = task_store.coin_of_row(row, new=proposed, marks=row.outcome)
        fracked.append(_FrackedCoin(piece, proposed is not None, row.origin == TaskKind.BREAK))
    return fracked


def _examine(task_run: TaskRun, batch: int, fracked: Sequence[_FrackedCoin]) -> None:
    """Ask the servers that are not known to accept a coin what they hold, and note which answer."""
    pieces = [coin.piece for coin in fracked]
    chosen = {
        raida: indices
        for raida in range(RAIDA_COUNT)
        if (indices := tuple(index for index, piece in enumerate(pieces) if piece.pown[raida] != "p"))
    }
    found = task_run.broadcast(Request(Command.FIND, batch, pieces, targets=chosen))
    for raida, told in found.items():
        for index, reply in told.items():
            coin = fracked[index]
            if _is_ours(coin, raida, reply):
                coin.adopted.add(raida)
            elif reply in (Reply.HAS_OLD, Reply.HAS_NEW, Reply.HAS_NEITHER):
                coin.to_fix.add(raida)


def _is_ours(coin: _FrackedCoin, raida: int, reply: Reply) -> bool:
    """Return whether the server holds a number that only this service knows."""
    if not coin.has_proposal:
        # The ten of a break have no other numbers; the number of another coin was known to its giver.
        return coin.is_of_a_break and reply in (Reply.HAS_OLD, Reply.HAS_NEW)
    return reply is Reply.HAS_NEW and not is_locker_key(coin.piece.new[raida])


def _commit(held: Claim, fracked: Sequence[_FrackedCoin], generators: Sequence[bytes]) -> None:
    """Commit what was found, and the numbers that the fixes will give, before any is sent."""
    with transaction.atomic():
        task_store.fence(held)
        for coin in fracked:
            piece = coin.piece
            if not coin.adopted and not coin.to_fix:
                continue
            piece.old = tuple(
                piece.new[raida] if raida in coin.adopted else number for raida, number in enumerate(piece.old)
            )
            piece.new = tuple(
                fix_an(raida=raida, coin=piece.coin, pg=generators[raida]) if raida in coin.to_fix else number
                for raida, number in enumerate(piece.new)
            )
            piece.pown = "".join("p" if raida in coin.adopted else letter for raida, letter in enumerate(piece.pown))
            piece.marks = Mark.UNASKED * RAIDA_COUNT
            Coin.objects.filter(pk=piece.coin_id, task_id=held.task_id).update(
                secrets=vault.seal_numbers(piece.old, coin_id=piece.coin_id),
                proposed=None
                if piece.pown == "p" * RAIDA_COUNT
                else vault.seal_numbers(piece.new, coin_id=piece.coin_id),
                pown=piece.pown,
                outcome=piece.marks,
            )


def _get_tickets(
    task_run: TaskRun, batch: int, fracked: Sequence[_FrackedCoin]
) -> tuple[tuple[int, ...], Mapping[int, int]]:
    """Return the ticket of each server, or 0, and how many servers confirm each coin."""
    pieces = [coin.piece for coin in fracked]
    chosen = {
        raida: indices
        for raida in range(RAIDA_COUNT)
        if (indices := tuple(index for index, piece in enumerate(pieces) if piece.pown[raida] == "p"))
    }
    call = Call(
        command=Command.GET_TICKET,
        payloads={
            raida: payloads.encode_records(
                [pieces[index].coin.to_bytes() for index in each], [pieces[index].old[raida] for index in each]
            )
            for raida, each in chosen.items()
        },
    )
    call = request_encryption.encrypted_for(call, pieces, chosen, wallet_id=task_run.task.wallet_id)
    results = task_run.question(call, batch)
    tickets = [0] * RAIDA_COUNT
    votes = dict.fromkeys(range(len(pieces)), 0)
    for raida, indices in chosen.items():
        result = results.get(raida)
        if not isinstance(result, Answer):
            continue
        try:
            reply = payloads.decode_get_ticket_reply(result.status, result.payload, count=len(indices))
        except WireError:
            continue
        tickets[raida] = reply.ticket or 0
        for index, passed in zip(indices, reply.passed, strict=True):
            votes[index] += passed
    return tuple(tickets), votes


def fixable_coins(*, wallet_id: UUID) -> list[UUID]:
    """Lock free fracked coins of a wallet, at most as many as one task fixes, and return their ids."""
    return list(
        Coin.objects.filter(wallet_id=wallet_id, state__in=SPENDABLE, task=None, passes__lt=RAIDA_COUNT)
        .order_by("changed_at", "id")
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .values_list("id", flat=True)[: FIX_COINS * _FIX_BATCHES]
    )


def reserve_for_fix(*, task_id: UUID, coin_ids: Sequence[UUID], first_batch: int = 0) -> None:
    """Reserve locked coins for a fix, in batches."""
    for start in range(0, len(coin_ids), FIX_COINS):
        Coin.objects.filter(pk__in=coin_ids[start : start + FIX_COINS]).update(
            task=task_id, batch=first_batch + start // FIX_COINS, outcome=Mark.UNASKED * RAIDA_COUNT
        )


def reserve_more_for_fix(*, held: Claim) -> None:
    """Reserve also the free coins of the wallet that a check has found fracked."""
    with transaction.atomic():
        task_store.fence(held)
        task = LockerTask.objects.get(pk=held.task_id)
        known = task_store.batches(task_id=task.pk)
        room = FIX_COINS * _FIX_BATCHES - Coin.objects.filter(task=task).count()
        coin_ids = fixable_coins(wallet_id=task.wallet_id)[: max(room, 0)]
        reserve_for_fix(task_id=task.pk, coin_ids=coin_ids, first_batch=known[-1] + 1 if known else 0)
        # A worker that takes the task over does not repeat the check.
        LockerTask.objects.filter(pk=task.pk).update(plan=task.plan | {"looks": False})
