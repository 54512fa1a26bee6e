"""Transfer: coins from one wallet of this ledger to another."""

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
    Move coins worth exactly `units` from one wallet to another, for good, and at once if no coin must be broken.

    If one must, what control and trust allow at the time of the call is carried out some seconds later.

    The same control and trust as for tokens decide. Where tokens would wait for the receiver's consent,
    this is refused. Decided 2026-11-21: coins that wait would be reserved for as long as a stranger likes,
    while a locker does the same without anybody's consent and can be taken back by whoever has its code.

    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: the source is somebody else's
    :raises SameWallets: source and destination are one
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
        coin_ids, to_break = reserve.lock_coins_or_break(giver, units, at_most=MAXIMUM_TRANSFER_COINS)
        asked: dict[str, Any] = {"wallet": giver, "actor": actor, "tag": tag, "amount": units}
        if to_break is not None:
            plan = {"receiver": str(receiver.pk)}
            return reserve.open_after_break(TaskKind.TRANSFER, coin_ids, to_break, plan=plan, **asked)
        task = new_task.create_finished(TaskKind.TRANSFER, message="Transferred.", **asked)
        new_task.store_result(task, delivery.hand_over(task=task, receiver=receiver, coin_ids=coin_ids))
    return Started(task)
