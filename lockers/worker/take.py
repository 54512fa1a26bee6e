"""
Take: move the coins of a locker into a wallet.

The worker peeks at the locker, saves what 13 servers list with the locker's keys and fresh numbers, and only then
removes the coins.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from lockers import competing_claims, fair_queue, payment_ledger, vault, wrong_code_limits
from lockers.competing_claims import Arrivals
from lockers.models import LockerTask
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import Mark, Step, TaskKind, TaskState
from lockers.worker import finalize, incoming, late_answers, listening, peek, take_back, task_store
from lockers.worker.broadcast import TaskRun
from lockers.worker.messages import CoinWork
from lockers.worker.task_store import BATCH_COINS, Claim


def run(task_run: TaskRun) -> None:
    """Take the coins of a locker, and end the task; it may be parked or put back instead."""
    first: dict[int, list[CoinWork]] = {}
    if not incoming.can_start(task_run):
        return
    if not task_store.batches(task_id=task_run.task.id):
        task_store.advance(held=task_run.held, step=Step.PEEKING, progress=2)
        late = listening.LastOf(task_run.task.id, partial(late_answers.write_peeked, task_run.task.id))
        try:
            first = _reserve_what_is_there(task_run, late)
            if not first:
                return
        finally:
            late.drop()
    incoming.move_in(task_run, task_store.batches(task_id=task_run.task.id), Command.REMOVE, known=first)
    if task_run.task.locker is None:
        task_run.conclude()
    else:
        take_back.conclude(task_run, task_run.task.locker)


def _reserve_what_is_there(task_run: TaskRun, late: listening.LastOf) -> dict[int, list[CoinWork]]:
    """
    Save the coins that the locker holds, and return the first batch.

    It is empty if this worker is done with the task: it has ended, was parked, or was put back for its turn.
    """
    code = vault.task_code(task_run.task)
    seen = peek.look(
        code, task_run.servers, wallet_id=task_run.task.wallet_id, question=task_run.question, listen=late.begin
    )
    listing, keys, coins = seen.listing, seen.keys, seen.coins
    spelling = peek.spelling_of(code, seen.code)
    if not coins and task_run.task.locker is not None:
        take_back.conclude(task_run, task_run.task.locker, further=peek.board(listing))
        late.task_has_ended()
        return {}
    if not coins:
        # A payment without a login has no wallet to count the code for.
        guesser = None if task_run.task.plan.get("anonymous") else task_run.task.actor_id
        peek.note_if_wrong(listing, guesser, task_run.task.plan.get("from", ""))
        finalize.finish(
            held=task_run.held, state=TaskState.ERROR, message=peek.why_nothing(listing), result=peek.board(listing)
        )
        late.task_has_ended()
        return {}
    try:
        first, arrivals = reserve_listed(
            held=task_run.held,
            wallet_id=task_run.task.wallet_id,
            coins=sorted(coins),
            keys=keys,
            spelling=spelling,
            pays="payment_request" in task_run.task.plan,
        )
    except payment_ledger.Refused as refused:
        if task_run.task.plan.get("anonymous"):
            # The locker can be sent again and again, and each look into it asks all servers.
            wrong_code_limits.note_wrong_code(wallet_id=None, address=task_run.task.plan.get("from", ""))
        # Before the first remove: the coins are still in the locker.
        finalize.finish(held=task_run.held, state=TaskState.ERROR, message=str(refused), result=peek.board(listing))
        late.task_has_ended()
        return {}
    if not arrivals.saved and arrivals.waiting:
        return {}
    if fair_queue.give_way(task_run.held):
        return {}
    if not first and task_run.task.locker is not None:
        take_back.conclude(task_run, task_run.task.locker, further=peek.board(listing))
        late.task_has_ended()
        return {}
    if not first:
        finalize.finish(
            held=task_run.held,
            state=TaskState.ERROR,
            message="The coins of this locker are being moved by another task of this service; nothing was taken.",
            result=peek.board(listing),
        )
        late.task_has_ended()
    return first


def reserve_listed(
    *,
    held: Claim,
    wallet_id: UUID,
    coins: Sequence[WireCoin],
    keys: Sequence[bytes],
    spelling: int | None = None,
    pays: bool = False,
) -> tuple[dict[int, list[CoinWork]], Arrivals]:
    """
    Save coins that a peek listed, with the locker's keys and fresh numbers, before the first remove.

    Coins that a wallet of this ledger holds are left out: a server's list may be stale, and a remove would take them
    from their owner. Coins with another open claim wait. Returns the first batch of which any were saved, under its
    number, and what became of all coins. A task whose coins all wait is parked. `spelling` is the number of the
    candidate code that opened the locker, if it is not the code as typed. `pays` says that the coins are to pay a
    payment request.

    :raises payment_ledger.Refused: the request is closed, or asks for another amount; nothing was saved
    """
    first: dict[int, list[CoinWork]] = {}
    arrivals = Arrivals()
    listed = sorted(coins)
    with transaction.atomic():
        with connection.cursor() as cursor:
            # The commit of the attempt before the first remove flushes this one too.
            cursor.execute(task_store.NEED_NOT_LAST)
        # The number of coins, and so the deadline, is known only now.
        task_store.fence(
            held,
            step=Step.SENDING,
            deadline=Now() + task_store.time_for(len(listed)),
            is_long=task_store.is_long(len(listed)),
        )
        for start in range(0, len(listed), BATCH_COINS):
            batch = start // BATCH_COINS
            incoming = [(coin, tuple(keys), vault.fresh_numbers()) for coin in listed[start : start + BATCH_COINS]]
            came = competing_claims.insert_incoming(
                task_id=held.task_id, wallet_id=wallet_id, origin=TaskKind.TAKE, coins=incoming, first_batch=batch
            )
            arrivals.add(came)
            if came.saved and not first:
                first[batch] = [
                    CoinWork(came.saved[coin], coin, "u" * RAIDA_COUNT, Mark.UNASKED * RAIDA_COUNT, old, new)
                    for coin, old, new in incoming
                    if coin in came.saved
                ]
        left = sum(coin.value for coin in arrivals.held | arrivals.busy)
        if left:
            competing_claims.note_left(held.task_id, left)
        if pays and arrivals:
            units = sum(coin.value for coin in arrivals.waiting.union(arrivals.saved))
            payment_ledger.admit(task_id=held.task_id, units=units)
        if spelling is not None:
            LockerTask.objects.filter(pk=held.task_id).update(result={"spelling": spelling})
        competing_claims.park_if_all_wait(held.task_id, arrivals)
    return first, arrivals
