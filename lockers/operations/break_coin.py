"""Break: one coin into ten of the next lower denomination."""

from django.db import transaction

from lockers import errors
from lockers.operations import new_task, reserve
from lockers.operations.new_task import Started
from lockers.raida.coins import LOWEST_DENOMINATION, format_amount, value_of
from lockers.states import TaskKind
from wallets.models import Wallet


def start(*, actor: Wallet, name: str, denomination: int) -> Started:
    """
    Start to break one coin of a denomination into ten of the next lower one.

    :raises WalletNotFound, WalletNotControlled, TooManyTasks: as for `put.start`
    :raises NotEnoughCoins: no free coin of the denomination that no server refuses
    :raises InvalidLockerRequest: the smallest coin cannot be broken
    """
    if denomination == LOWEST_DENOMINATION:
        raise errors.InvalidLockerRequest("The smallest coin cannot be broken")
    with transaction.atomic(savepoint=False):
        wallet = new_task.controlled_wallet(actor, name)
        coin_id = reserve.lock_one_to_break(wallet, denomination)
        if coin_id is None:
            raise errors.NotEnoughCoins(
                f"The wallet has no free coin of {format_amount(value_of(denomination))} that may be broken"
            )
        task = new_task.open_task(TaskKind.BREAK, wallet=wallet, actor=actor, coins=1, amount=value_of(denomination))
        reserve.reserve_to_break(coin_id, task=task)
    return Started(task)
