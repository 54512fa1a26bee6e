"""Lockers that expire: filling one, letting its time come, and taking its coins as a stranger would."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.contrib.postgres.functions import TransactionNow
from django.utils import timezone

from lockers import transport as wire
from lockers import vault
from lockers.models import Coin, Locker, LockerTask
from lockers.operations import put, take_back
from lockers.operations.new_task import Started
from lockers.raida import codes
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from tests.localnet import requests
from tests.localnet.requests import CoinPan
from tests.lockers.books import finish
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet


def fill(wallet: Wallet, amount: int, code: str | None = None) -> Locker:
    """Put coins into a locker that expires in an hour."""
    at = timezone.now() + timedelta(hours=1)
    started = put.start(
        actor=wallet,
        name=wallet.name,
        units=amount * UNITS_PER_COIN,
        tag="rent",
        transmit_code=code,
        expires_at=at,
    )
    task = finish(started)
    assert (task.state, task.message) == ("completed", "Stored.")
    assert task.locker is not None
    return Locker.objects.get(pk=task.locker.pk)


def let_expire(locker: Locker) -> None:
    """Let the time of the locker, or of its next task, come."""
    # Before all that the transaction of a test writes: its `now()` is the time at which it began.
    past = TransactionNow() - timedelta(seconds=1)
    Locker.objects.filter(pk=locker.pk, take_back_at__isnull=False).update(expires_at=past, take_back_at=past)


def begin(locker: Locker) -> LockerTask:
    """Let the locker expire, and return the task that takes its coins back."""
    let_expire(locker)
    (task_id,) = take_back.start_due()
    return LockerTask.objects.get(pk=task_id)


def taken_back(locker: Locker) -> LockerTask:
    """Let the locker expire, and take its coins back; return the task."""
    return finish(Started(begin(locker)))


def steal_from(
    network: LocalNetwork, locker: Locker, raidas: Iterable[int], coins: Sequence[WireCoin] | None = None
) -> None:
    """Take coins out of the locker on some servers, as a holder of its code with another program."""
    if coins is None:
        rows = Coin.objects.filter(locker=locker, state="locked")
        coins = [WireCoin(row.denomination, row.serial_number) for row in rows]
    keys = codes.locker_keys(vault.locker_code(locker))
    payloads = {
        raida: requests.remove(keys[raida], [CoinPan(coin, bytes([9]) * 16) for coin in coins]) for raida in raidas
    }
    wire.ask(network.servers, wire.Call(Command.REMOVE, payloads), until=wire.within(60))
