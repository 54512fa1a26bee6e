"""Transfer: coins from one wallet of this ledger to another."""

from collections.abc import Mapping
from typing import Any, Final

from django.db import transaction

from lockers import delivery, errors, queries
from lockers.operations import new_task, reserve
from lockers.operations.new_task import Started
from lockers.states import TaskKind
from trusts import queries as trusts
from wallets.models import Wallet

# A transfer is one statement however many coins move; this bounds its time and the memory of their ids.
MAXIMUM_TRANSFER_COINS: Final = 100_000


def start(*, actor: Wallet, source: str, destination: str, units: int, tag: str = "") -> Started:
    """
    Move coins worth exactly `units` from one wallet to another, at once unless a coin must be broken.

    If a coin must be broken, the rights at the time of the call count, and the task completes some seconds later.

    Control and trust decide as for tokens. Where tokens would wait for the receiver's consent, the call is refused.
    Decided 2026-11-21: waiting coins would stay reserved until the receiver decides, and a locker serves the same
    purpose without consent; any holder of its code can take the coins back.

    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: the actor does not control the source
    :raises SameWallets: source and destination are the same wallet
    :raises ReceiverNotTrusting: the actor does not control the destination, and no trust lets the source push to it
    :raises NotEnoughCoins, NoExactChange, CoinsBusy, InvalidLockerRequest: as for `put.start`
    """
    with transaction.atomic(savepoint=False):
        giver = new_task.controlled_wallet(actor, source)
        receiver = queries.wallet_named(actor=actor, name=destination)
        if giver.pk == receiver.pk:
            raise errors.SameWallets
        if not (
            trusts.controls_until_commit(actor_id=actor.pk, wallet_id=receiver.pk)
            or trusts.may_push_until_commit(sender_id=giver.pk, receiver_id=receiver.pk)
        ):
            raise errors.ReceiverNotTrusting(giver.name, receiver.name)
        return move(actor=actor, giver=giver, receiver=receiver, units=units, tag=tag, plan={})


def move(*, actor: Wallet, giver: Wallet, receiver: Wallet, units: int, tag: str, plan: Mapping[str, str]) -> Started:
    """
    Move coins in the caller's transaction, which has checked the rights of both sides.

    :raises NotEnoughCoins, NoExactChange, CoinsBusy, InvalidLockerRequest: as for `put.start`
    """
    coin_ids, to_break = reserve.lock_coins_or_break(giver, units, at_most=MAXIMUM_TRANSFER_COINS)
    asked: dict[str, Any] = {"wallet": giver, "actor": actor, "tag": tag, "amount": units}
    if to_break is not None:
        plan = {**plan, "receiver": str(receiver.pk)}
        return reserve.open_after_break(TaskKind.TRANSFER, coin_ids, to_break, plan=plan, **asked)
    task = new_task.create_finished(TaskKind.TRANSFER, message="Transferred.", plan=plan, **asked)
    new_task.store_result(task, delivery.hand_over(task=task, receiver=receiver, coin_ids=coin_ids))
    return Started(task)
