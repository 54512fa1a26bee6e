"""Rows of tasks, and of coins in each state."""

import secrets
from itertools import count

from lockers import vault
from lockers.models import Coin, Export, Locker, LockerTask
from lockers.operations import new_task
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.coins import Coin as WireCoin
from lockers.states import CoinState, TaskKind
from wallets.models import Wallet

_numbers = count(700_000)


def units(coins: int) -> int:
    return coins * UNITS_PER_COIN


def a_task(wallet: Wallet, kind: TaskKind) -> LockerTask:
    return LockerTask.objects.create(
        kind=kind, wallet=wallet, actor=wallet, receipt_id=secrets.token_hex(16), deadline="2099-01-01T00:00Z"
    )


def a_coin(wallet: Wallet, state: CoinState, *, on_its_way_into_a_locker: bool = False) -> WireCoin:
    """A coin of the wallet in this state, as far as its constraints want it whole."""
    coin = WireCoin(0, next(_numbers))
    row = Coin(
        wallet=wallet,
        denomination=0,
        serial_number=coin.serial_number,
        state=state,
        origin=TaskKind.IMPORT,
        pown="p" * 25,
    )
    row.secrets = row.proposed = vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk)
    if state in (CoinState.INCOMING, CoinState.WAITING) or on_its_way_into_a_locker:
        row.task = a_task(wallet, TaskKind.IMPORT)
        row.batch, row.outcome = 0, "-" * 25
    if state == CoinState.LOCKED or on_its_way_into_a_locker:
        row.locker = Locker.objects.create(wallet=wallet, amount=1, code=b"")
    if state == CoinState.EXPORTED:
        task = new_task.create_finished(TaskKind.EXPORT, wallet=wallet, actor=wallet, message="", amount=units(1))
        row.export = Export.objects.create(task=task, wallet=wallet, type="bin", file_name="f.bin", coin_count=1)
    if state in (CoinState.CHANGE, CoinState.BROKEN, CoinState.VOID):
        row.family = row.pk
    row.save(force_insert=True)
    return coin
