"""
End tasks: the state of each coin, the receipt, the account and the result, in one transaction.

Lock order: the task, its coins, coins of other wallets that the task proves gone, earlier tasks that left some of its
coins open, lockers, payment requests, accounts.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime
from secrets import token_hex
from typing import Any, Final
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from lockers import (
    account_ledger,
    coin_breaks,
    coin_outcomes,
    competing_claims,
    current_results,
    payment_ledger,
    queries,
    server_letters,
    task_events,
    task_results,
    vault,
)
from lockers.models import Coin, LockerTask
from lockers.raida.coins import total_value, value_of
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import DOUBTFUL, SPENDABLE, CoinState, LineType, Step, TaskKind, TaskState
from lockers.task_results import Tally
from lockers.worker import late_answers, settle_coins, task_store
from lockers.worker.task_store import Claim, Settled

_log = logging.getLogger(__name__)

# Kinds that claim coins from outside.
_CLAIMING: Final = (TaskKind.TAKE, TaskKind.IMPORT)


# Hands the reserved coins of a task over, and returns what is added to its result.
Deliver = Callable[[LockerTask], Mapping[str, Any]]


def conclude(
    *,
    held: Claim,
    task: LockerTask | None = None,
    reason: str = "",
    further: Mapping[str, Any] | None = None,
    deliver: Deliver | None = None,
    settled: Callable[[], Sequence[Settled]] = list,
    waits_on: bool = True,
    gone: Sequence[UUID] = (),
) -> TaskState:
    """
    Bring the task to its final state from the marks of its coins, and return that state.

    May be called at any step: a coin for which nothing was sent goes back as it was, one whose servers may hold either
    secret goes to limbo with both. `task` is its row, if this attempt has read it: only the claim's owner changes it.
    `reason` is shown to the user if the task did not succeed, and `further` is added to the result. With
    `deliver` the coins that a transfer or an export has reserved leave the wallet first. `settled` returns
    the attempts to settle with it; called again, those to which answers have come since. Waiting claims are handed to a
    new task; without `waits_on` they are deleted. `gone` are coins in the task's locker that 13 servers have handed to
    another holder of its code.
    """
    with transaction.atomic():
        task_store.settle(held=held, settled=settled(), marks={}, is_durable=True)
        task = task or LockerTask.objects.get(pk=held.task_id)
        delivered = None
        if deliver is not None:
            try:
                delivered = deliver(task)
            except payment_ledger.Refused as refused:
                # Nothing has changed yet: the coins are released below.
                reason = str(refused)
        kinds_of_batches = settle_coins.kinds_of_batches(task.id)
        # Answers of the last moments cost little here; after the end of the task each changes the rows of its coins.
        if heard := settled():
            task_store.settle(held=held, settled=heard, marks={}, is_durable=True)
        coins = settle_coins.CoinsOfTask(task)
        for batch, kinds in kinds_of_batches.items():
            if batch <= coin_breaks.FIRST_BREAK:
                coins.settle_break(batch)
            else:
                coins.settle_batch(batch, kinds)
        taken = _note_taken(gone)
        tally, passes = coins.tally, coins.passes
        followed = current_results.follow(later=task) if tally.had_doubtful else []
        _settle_lockers(coins.lockers)
        _note_returned(coins.returned)
        if coins.to_repair:
            _schedule_repair(coins.to_repair)
        left = leave_waiting(task, waits_on=waits_on) if task.kind in _CLAIMING else task_results.Left()
        is_taken_back = task.kind == TaskKind.TAKE and task.locker is not None
        rest = _rest(task, tally, taken) if is_taken_back else task_results.Rest()
        # The number of servers that answered matters only if no coin arrived.
        answered = RAIDA_COUNT if tally.count else task_results.servers_that_answered(task.id)
        state, message, result = task_results.verdict(task, tally, reason, delivered, left, rest, answered=answered)
        if any(coins.letters):
            result["raida"] = coin_outcomes.commonest(coins.letters)
        if passes:
            result["servers"] = {"fewest": min(passes), "most": max(passes)}
        if task.kind == TaskKind.PUT and len(passes) > 1:
            result["fewer"] = current_results.coins_on_fewer_servers(task_id=task.id)
        is_payment = _end(held, state, message, result | dict(further or {}), listens=bool(coins.awaited))
        if is_payment or followed:
            payment_ledger.settle(task_ids=[task.id, *followed], is_admitted=delivered is not None)
        account_ledger.post(
            task_id=task.id,
            postings=[
                account_ledger.Posting(
                    task.wallet_id,
                    tally.units_of(*SPENDABLE) - tally.spendable_before,
                    account_ledger.TYPE_OF.get(TaskKind(task.kind), LineType.ADJUSTMENT),
                )
            ],
        )
    # Neither codes nor serial numbers: this line is for operators.
    _log.info("Task %s (%s) ended: %s", task.id, task.kind, state)
    return state


def _hand_on(task: LockerTask) -> UUID:
    """Hand the waiting claims of a task to a new parked task of the same kind, and return its id."""
    successor_id = uuid4()
    begun = datetime.fromisoformat(task.plan["waits_since"]) if "waits_since" in task.plan else timezone.now()
    number = Coin.objects.filter(task=task, state=CoinState.WAITING).count()
    LockerTask.objects.create(
        id=successor_id,
        kind=task.kind,
        wallet_id=task.wallet_id,
        actor_id=task.actor_id,
        step=Step.WAITING,
        is_parked=True,
        tag=task.tag,
        locker_id=task.locker_id,
        code=None if task.code is None else vault.seal_task_code(vault.task_code(task), task_id=successor_id),
        receipt_id=token_hex(16),
        deadline=begun + competing_claims.PATIENCE + task_store.time_for(number),
        plan={
            "waits_since": begun.isoformat(),
            **{name: task.plan[name] for name in ("payment_request", "anonymous") if name in task.plan},
        },
        result={"files": []}
        if task.kind == TaskKind.IMPORT
        else {name: task.result[name] for name in ("spelling",) if name in task.result},
        request_id=task.request_id,
    )
    competing_claims.hand_on(task_id=task.pk, successor_id=successor_id)
    if "payment_request" in task.plan:
        payment_ledger.hand_on(task_id=task.pk, successor_id=successor_id)
    return successor_id


def leave_waiting(task: LockerTask, *, waits_on: bool) -> task_results.Left:
    """Hand the claims for which an ending task waits on to a new task, or delete them, and return what it leaves."""
    known, waiting = competing_claims.left_of(task_id=task.pk)
    if not waiting:
        return task_results.Left(units=known)
    if waits_on:
        return task_results.Left(known, waiting, _hand_on(task))
    competing_claims.give_up(task_id=task.pk)
    return task_results.Left(known, waiting)


def _note_taken(coin_ids: Sequence[UUID]) -> int:
    """Mark coins that another holder of the code took out of their locker as sent, and return their units."""
    if not coin_ids:
        return 0
    # Rows that have a claim by now are left out: it was committed before its first request, and its task decides.
    rows = competing_claims.unclaimed(Coin.objects.filter(pk__in=coin_ids, state=CoinState.LOCKED)).order_by("id")
    taken = list(rows.select_for_update(no_key=True, of=("self",)).values_list("pk", "denomination"))
    Coin.objects.filter(pk__in=[coin_id for coin_id, _ in taken]).update(state=CoinState.SENT, changed_at=Now())
    return sum(value_of(denomination) for _, denomination in taken)


def _rest(task: LockerTask, tally: Tally, taken: int) -> task_results.Rest:
    """Return what a task that takes an expired locker's coins back did not get."""
    left = queries.count_by_denomination(Coin.objects.filter(locker=task.locker, state=CoinState.LOCKED))
    # A coin in limbo is reported as such.
    return task_results.Rest(taken, max(0, total_value(left) - tally.units_of(*DOUBTFUL)))


def _settle_lockers(locker_ids: set[UUID]) -> None:
    """Set the states of lockers from the states of their coins."""
    with connection.cursor() as cursor:
        # A separate statement counts, and sees what was committed while this one waited for locks.
        cursor.execute(
            "SELECT id FROM lockers_locker WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [list(locker_ids)]
        )
        cursor.execute(
            "UPDATE lockers_locker SET state = known.state, changed_at = now(),"
            "       take_back_at = CASE WHEN known.state NOT IN ('emptied', 'failed') THEN take_back_at END"
            "  FROM (SELECT locker.id,"
            "               CASE WHEN bool_or(coin.state = 'locked') THEN 'filled'"
            "                    WHEN bool_or(coin.state IN ('limbo', 'bank', 'fracked')) THEN 'unknown'"
            "                    WHEN bool_or(coin.state = 'sent') THEN 'emptied' ELSE 'failed' END AS state"
            "          FROM lockers_locker AS locker LEFT JOIN lockers_coin AS coin ON coin.locker_id = locker.id"
            "         WHERE locker.id = ANY(%s) GROUP BY locker.id) AS known"
            " WHERE lockers_locker.id = known.id AND lockers_locker.state <> known.state",
            [list(locker_ids)],
        )


def _note_returned(returned: Mapping[UUID, int]) -> None:
    """Record the units that came back into the wallets that filled lockers, whose rows are locked."""
    if not returned:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_locker SET returned = returned + new.units, returned_at = now()"
            "  FROM unnest(%s::uuid[], %s::bigint[]) AS new(id, units) WHERE lockers_locker.id = new.id",
            [list(returned), list(returned.values())],
        )


def _schedule_repair(locker_ids: Set[UUID]) -> None:
    """Schedule the repair of lockers that some servers lack, after late answers may have arrived."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_locker SET mend_at = now() + interval '0.5 seconds', mends = 0 WHERE id = ANY(%s)",
            [list(locker_ids)],
        )


def finish(*, held: Claim, state: TaskState, message: str, result: dict[str, Any]) -> None:
    """End a task that holds no coins, such as a peek."""
    with transaction.atomic():
        task_store.fence(held)
        listens = server_letters.NOT_WAITED_FOR in result.get("raida", "")
        if _end(held, state, message, result, listens=listens):
            payment_ledger.settle(task_ids=[held.task_id])
    _log.info("Task %s ended: %s", held.task_id, state)


def _end(held: Claim, state: TaskState, message: str, result: Mapping[str, Any], *, listens: bool = False) -> bool:
    """Write the end of a task, and return whether it was to pay a payment request."""
    with connection.cursor() as cursor:
        cursor.execute(
            # An import whose deadline passed before its files were read still has them.
            "WITH read AS (DELETE FROM lockers_upload WHERE id = %s)"
            " UPDATE lockers_lockertask SET state = %s, step = %s, message = %s, result = result || %s::jsonb,"
            " lease_until = NULL, finished_at = now(), seen_at = NULL,"
            " progress = CASE WHEN %s THEN 100 ELSE progress END,"
            " listens_until = CASE WHEN %s THEN now() + make_interval(secs => %s) END,"
            # The payer's: the payee may begin the task again with it.
            " code = CASE WHEN plan ? 'payment_request' THEN NULL ELSE code END"
            " WHERE id = %s RETURNING kind, wallet_id, locker_id, result, plan ? 'payment_request'",
            [
                held.task_id,
                state,
                Step.DONE,
                message,
                json.dumps(result),
                state is TaskState.COMPLETED,
                listens,
                late_answers.listening_time().total_seconds(),
                held.task_id,
            ],
        )
        kind, wallet_id, locker_id, stored, is_payment = cursor.fetchone()
    task_events.record_settled(
        task_id=held.task_id,
        kind=kind,
        wallet_id=wallet_id,
        locker_id=locker_id,
        state=state,
        result=json.loads(stored),
    )
    return bool(is_payment)
