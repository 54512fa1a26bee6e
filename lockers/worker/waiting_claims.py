"""
Claims to coins that wait for other claims, and the tasks that are parked with them.
"""

from collections.abc import Sequence
from datetime import datetime
from secrets import token_hex
from uuid import UUID, uuid4

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from lockers import competing_claims, task_results, vault
from lockers.competing_claims import Arrivals
from lockers.models import Coin, LockerTask
from lockers.states import CoinState, Step, TaskKind
from lockers.worker.task_store import BATCH_COINS, Claim, fence, is_long, time_for


def insert_incoming(
    *,
    task_id: UUID,
    wallet_id: UUID,
    origin: TaskKind,
    coins: Sequence[competing_claims.Claimed],
    first_batch: int = 0,
    waiting_batch: int = competing_claims.WAITING_BATCH,
) -> Arrivals:
    """
    Save claims to coins (identity, old numbers, new numbers) for a task, in the caller's transaction.

    A coin that this ledger already holds is left out; one with another open claim waits (`lockers.competing_claims`).
    """
    # Sorted, so that two imports that share coins cannot deadlock.
    coins = sorted(coins, key=lambda one: one[0])
    arrivals = Arrivals()
    for start in range(0, len(coins), BATCH_COINS):
        arrivals.add(
            competing_claims.claim(
                task_id=task_id,
                wallet_id=wallet_id,
                origin=origin,
                coins=coins[start : start + BATCH_COINS],
                batch=first_batch + start // BATCH_COINS,
                waiting_batch=waiting_batch,
            )
        )
    return arrivals


def park_if_all_wait(task_id: UUID, arrivals: Arrivals) -> None:
    """Park a task all of whose claims wait: no worker takes it until the sweep finds that one can proceed."""
    if arrivals.waiting and not arrivals.saved:
        LockerTask.objects.filter(pk=task_id).update(
            is_parked=True,
            lease_until=None,
            step=Step.WAITING,
            deadline=Now() + competing_claims.PATIENCE + time_for(len(arrivals.waiting)),
        )


def has_waiting_claims(*, task_id: UUID) -> bool:
    return Coin.objects.filter(task_id=task_id, state=CoinState.WAITING).exists()


def promote_waiting(*, held: Claim) -> bool:
    """
    Promote those of a task's waiting claims that are first now, and return whether there are any.

    If there are none and some still wait, the task is parked again with the same deadline.

    :raises TaskSuperseded: another worker has the task
    """
    with transaction.atomic():
        fence(held)
        dropped = competing_claims.drop_settled(task_id=held.task_id)
        if dropped:
            note_left(held.task_id, dropped)
        try:
            with transaction.atomic():
                promoted = competing_claims.promote(task_id=held.task_id, batch_coins=BATCH_COINS)
        except IntegrityError:
            # A concurrent claim to one of these coins has just been committed.
            promoted = competing_claims.Promoted(0, ())
        mine = LockerTask.objects.filter(pk=held.task_id)
        if promoted.coins:
            mine.update(
                deadline=Greatest(F("deadline"), Now() + time_for(promoted.coins)), is_long=is_long(promoted.coins)
            )
            if promoted.two_secrets:
                plan = mine.values_list("plan", flat=True).get()
                mine.update(plan=plan | {"two_secrets": list(promoted.two_secrets)})
        elif has_waiting_claims(task_id=held.task_id):
            mine.update(is_parked=True, lease_until=None, step=Step.WAITING)
    return bool(promoted.coins)


def note_left(task_id: UUID, units: int) -> None:
    """Add to what a task leaves, because a wallet holds it or another task of its wallet claims it, in units."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_lockertask SET plan = plan || jsonb_build_object("
            " 'left', coalesce((plan->>'left')::bigint, 0) + %s) WHERE id = %s",
            [units, task_id],
        )


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
        code=None if task.code is None else vault.seal_task_code(vault.task_code(task), task_id=successor_id),
        receipt_id=token_hex(16),
        deadline=begun + competing_claims.PATIENCE + time_for(number),
        plan={"waits_since": begun.isoformat()},
        result={"files": []}
        if task.kind == TaskKind.IMPORT
        else {name: task.result[name] for name in ("spelling",) if name in task.result},
        request_id=task.request_id,
    )
    competing_claims.hand_on(task_id=task.pk, successor_id=successor_id)
    return successor_id


def leave(task: LockerTask, *, waits_on: bool) -> task_results.Left:
    """Hand the claims for which an ending task waits on to a new task, or delete them, and return what it leaves."""
    known, waiting = competing_claims.left_of(task_id=task.pk)
    if not waiting:
        return task_results.Left(units=known)
    if waits_on:
        return task_results.Left(known, waiting, _hand_on(task))
    competing_claims.give_up(task_id=task.pk)
    return task_results.Left(known, waiting)
