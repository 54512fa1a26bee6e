"""Find: ask the servers which number of each coin in limbo they hold."""

from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from lockers import errors, retry_schedule
from lockers.coin_breaks import FIRST_BREAK
from lockers.models import Coin, Locker, LockerTask
from lockers.operations import new_task
from lockers.operations.new_task import Started
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import CoinState, Mark, TaskKind
from lockers.worker import task_store
from lockers.worker.task_store import BATCH_COINS
from wallets.models import Wallet


def start(*, actor: Wallet, name: str) -> Started:
    """
    Start to ask the servers about the free coins in limbo of the wallet.

    :raises WalletNotFound, WalletNotControlled, TooManyTasks: as for `put.start`
    :raises NothingToFind: no coin of the wallet is in limbo
    """
    with transaction.atomic(savepoint=False):
        wallet = new_task.controlled_wallet(actor, name)
        task = _reserve_limbo(wallet=wallet, actor=actor, limit=BATCH_COINS * 10, is_bounded=True)
    if task is None:
        raise errors.NothingToFind("No coin of this wallet is in limbo")
    return Started(task)


def start_overdue(*, limit: int = BATCH_COINS) -> list[UUID]:
    """Start a find for each wallet whose retry pause has passed, and return the tasks' ids."""
    started = []
    for wallet_id in retry_schedule.wallets_to_find(limit=limit):
        with transaction.atomic(savepoint=False):
            wallet = Wallet.objects.get(pk=wallet_id)
            task = _reserve_limbo(wallet=wallet, actor=wallet, limit=limit, is_bounded=False)
            if task is not None:
                started.append(task.pk)
    return started


def _reserve_limbo(*, wallet: Wallet, actor: Wallet, limit: int, is_bounded: bool) -> LockerTask | None:
    rows = list(
        Coin.objects.filter(wallet=wallet, state__in=[CoinState.LIMBO, CoinState.ERRORED], task=None)
        .order_by("locker_id", "origin", "id")
        .select_for_update(no_key=True, skip_locked=True, of=("self",))
        .only("id", "locker_id", "origin", "family")[:limit]
    )
    if not rows:
        return None
    # A coin that may have been broken is asked about together with its ten.
    broken = [row.pk for row in rows if row.family == row.pk]
    rows = [row for row in rows if row.family != row.pk]
    # A request carries the key of one locker, so a batch has coins of one locker and one origin.
    groups: list[tuple[UUID | None, str, list[UUID]]] = []
    for row in rows:
        if not groups or groups[-1][:2] != (row.locker_id, row.origin) or len(groups[-1][2]) >= BATCH_COINS:
            groups.append((row.locker_id, row.origin, []))
        groups[-1][2].append(row.pk)
    task = new_task.open_task(
        TaskKind.FIND,
        wallet=wallet,
        actor=actor,
        coins=(len(groups) + len(broken)) * BATCH_COINS,
        is_bounded=is_bounded,
        is_long=task_store.is_long(len(rows)),
        plan={"puts": [number for number, (locker_id, _, _) in enumerate(groups) if locker_id is not None]},
    )
    for number, (_, _, coin_ids) in enumerate(groups):
        Coin.objects.filter(pk__in=coin_ids).update(task=task, batch=number, outcome=Mark.SENT * RAIDA_COUNT)
    for number, coin_id in enumerate(broken):
        members = Q(pk=coin_id) | Q(family=coin_id, state=CoinState.CHANGE, task=None)
        Coin.objects.filter(members).update(task=task, batch=FIRST_BREAK - number, outcome=Mark.SENT * RAIDA_COUNT)
    Locker.objects.filter(pk__in={row.locker_id for row in rows if row.locker_id}).update(changed_at=Now())
    return task
