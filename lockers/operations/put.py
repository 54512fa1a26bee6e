"""Put: coins of a wallet into a new locker."""

import secrets
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from lockers import errors, queries, vault
from lockers.models import Locker
from lockers.operations import new_task, reserve
from lockers.operations.new_task import Started
from lockers.raida import codes
from lockers.raida.coins import format_amount, value_of
from lockers.states import TaskKind
from lockers.worker import task_store
from wallets.models import Wallet

# Above this, timeouts of servers could make one task exceed the worker's time limit.
MAXIMUM_PUT_COINS: Final = 20_000

# How far ahead the time is at which the coins are taken back: a receiver needs some minutes to take them, and a
# forgotten locker is not to keep its coins for years.
SHORTEST_EXPIRY: Final = timedelta(minutes=5)
LONGEST_EXPIRY: Final = timedelta(days=366)

WEAK_CODE: Final = (
    "This transmit code is short enough to be guessed, and anyone who has the code can take the coins."
    " Leave transmit_code out to get a safe one."
)


@sensitive_variables("code", "transmit_code")
def start(
    *,
    actor: Wallet,
    name: str,
    units: int,
    tag: str = "",
    transmit_code: str | None = None,
    expires_at: datetime | None = None,
) -> Started:
    """
    Reserve coins worth exactly `units`, create a locker for them, and start the upload.

    Without `transmit_code` a random one is generated. If no set of coins makes the amount exactly, a larger coin is
    reserved too, and the servers break it first. What is still in the locker at `expires_at` is taken back into the
    wallet (`lockers.operations.take_back`); without it the coins stay there.

    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: the actor does not control it
    :raises TooManyTasks: the actor has as many open tasks as it may have
    :raises NotEnoughCoins: the free coins are worth less
    :raises NoExactChange: no set of coins makes the amount, and no larger coin may be broken
    :raises CoinsBusy: other transactions have locked the coins
    :raises InvalidLockerRequest: the text cannot be a code, or the amount needs more than 20,000 coins
    :raises ExpiryOutOfRange: `expires_at` is less than 5 minutes or more than 366 days ahead
    """
    if expires_at is not None:
        check_expiry(expires_at)
    code = codes.generate_code(secrets.token_bytes(codes.RANDOM_SIZE)) if transmit_code is None else transmit_code
    code = new_task.valid_code(code, is_new=True)
    with transaction.atomic(savepoint=False):
        wallet = new_task.controlled_wallet(actor, name)
        coin_ids, to_break = reserve.lock_coins_or_break(wallet, units, at_most=MAXIMUM_PUT_COINS)
        locker = Locker(wallet=wallet, amount=units, tag=tag, expires_at=expires_at, take_back_at=expires_at)
        locker.code = vault.seal_locker_code(code, locker_id=locker.pk)
        locker.save(force_insert=True)
        task = new_task.open_task(
            TaskKind.PUT,
            wallet=wallet,
            actor=actor,
            coins=len(coin_ids) + reserve.COINS_FOR_BREAKS * (to_break is not None),
            is_long=task_store.is_long(len(coin_ids)),
            tag=tag,
            amount=units,
            locker=locker,
            plan={} if to_break is None else {"breaks": True},
        )
        reserve.reserve_coins(coin_ids, task=task, locker=locker)
        if to_break is not None:
            reserve.reserve_to_break(to_break, task=task)
    return Started(task, WEAK_CODE if transmit_code is not None and codes.is_weak(code) else "")


def check_expiry(expires_at: datetime) -> None:
    """:raises ExpiryOutOfRange: as for `start`"""
    if not SHORTEST_EXPIRY <= expires_at - timezone.now() <= LONGEST_EXPIRY:
        raise errors.ExpiryOutOfRange(
            f'"expires_at" must be at least {SHORTEST_EXPIRY // timedelta(minutes=1)} minutes and at most'
            f" {LONGEST_EXPIRY.days} days ahead"
        )


def start_one_coin(
    *, actor: Wallet, name: str, denomination: int, tag: str = "", transmit_code: str | None = None
) -> Started:
    """Start the upload of one coin of a denomination; raises as `start`."""
    counts = queries.free_counts(wallet_id=queries.wallet_of(actor=actor, name=name).pk)
    if not counts.get(denomination):
        raise errors.NotEnoughCoins(f"The wallet has no free coin of {format_amount(value_of(denomination))}")
    return start(actor=actor, name=name, units=value_of(denomination), tag=tag, transmit_code=transmit_code)
