"""Fix: repair fracked coins, which some servers do not accept: give these servers a new number."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from django.db import transaction

from lockers import errors, retry_schedule, vault
from lockers.models import LockerTask
from lockers.operations import new_task
from lockers.operations.new_task import Started
from lockers.states import TaskKind
from lockers.worker import fix as fixing
from lockers.worker import health_check, task_store
from lockers.worker.task_store import BATCH_COINS
from wallets.models import Wallet


def start(*, actor: Wallet, name: str) -> Started:
    """
    Start to fix the free coins of the wallet that some servers do not accept, after a health check of the others.

    :raises WalletNotFound, WalletNotControlled, TooManyTasks: as for `put.start`
    :raises NothingToFix: there is no such coin, and all were checked within the last minutes
    """
    with transaction.atomic(savepoint=False):
        wallet = new_task.controlled_wallet(actor, name)
        coin_ids = fixing.fixable_coins(wallet_id=wallet.pk)
        unchecked = health_check.not_checked_lately(health_check.at_rest(wallet.pk)).count()
        if not coin_ids and not unchecked:
            raise errors.NothingToFix("Every free coin of this wallet is accepted by all servers")
        task = _begin_fix(coin_ids, looks_at=unchecked, wallet=wallet, actor=actor, is_bounded=True)
    return Started(task)


def start_overdue() -> list[UUID]:
    """Start a fix for each wallet whose retry pause has passed, while 13 servers are up, and return the tasks' ids."""
    started = []
    for wallet_id in retry_schedule.wallets_to_fix():
        with transaction.atomic(savepoint=False):
            wallet = Wallet.objects.get(pk=wallet_id)
            coin_ids = fixing.fixable_coins(wallet_id=wallet_id)
            if coin_ids:
                started.append(_begin_fix(coin_ids, wallet=wallet, actor=wallet, is_bounded=False).pk)
    return started


def _begin_fix(
    coin_ids: Sequence[UUID], *, wallet: Wallet, actor: Wallet, is_bounded: bool, looks_at: int = 0
) -> LockerTask:
    task_id = uuid4()
    looked_at = min(looks_at, health_check.MOST)
    task = new_task.open_task(
        TaskKind.FIX,
        wallet=wallet,
        actor=actor,
        id=task_id,
        coins=(len(coin_ids) + looked_at) * BATCH_COINS // fixing.FIX_COINS,
        is_bounded=is_bounded,
        is_long=task_store.is_long(max(len(coin_ids), looked_at)),
        code=vault.fresh_generators(task_id=task_id),
        plan={"looks": True} if looks_at else {},
    )
    fixing.reserve_for_fix(task_id=task_id, coin_ids=coin_ids)
    return task
