"""Health: ask the servers which coins of a wallet they accept."""

from django.db import transaction

from lockers.operations import new_task
from lockers.operations.new_task import Started
from lockers.states import TaskKind
from lockers.worker import health_check, task_store
from wallets.models import Wallet


def start(*, actor: Wallet, name: str) -> Started:
    """
    Start to ask the servers which free coins of the wallet they accept, and to record refusals. Reserves no coin.

    :raises WalletNotFound, WalletNotControlled, TooManyTasks: as for `put.start`
    """
    with transaction.atomic(savepoint=False):
        wallet = new_task.controlled_wallet(actor, name)
        coins = min(health_check.at_rest(wallet.pk).count(), health_check.MOST)
        task = new_task.open_task(
            TaskKind.HEALTH, wallet=wallet, actor=actor, coins=coins, is_long=task_store.is_long(coins)
        )
    return Started(task)
