"""A coin that makes servers refuse a whole request does not affect the other coins of the request."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from lockers import coin_import, vault
from lockers.models import Coin, LockerTask
from lockers.operations import fix, health, import_files
from lockers.raida import coins as wire_coins
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.files import CoinRecord, write_bin
from lockers.worker import messages
from tests.lockers.books import finish, states
from tests.lockers.conftest import Mint
from tests.lockers.stock import post
from tests.support.coin_commands import give, put
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet

# No server keeps a coin of this number: all answer status 40 for a request that names it.
NOT_KEPT = 1_050_485


def plant(wallet: Wallet, *, pown: str = "p" * 25) -> Coin:
    """Give the wallet a coin whose serial number no server has."""
    coin = Coin(
        wallet=wallet, denomination=0, serial_number=NOT_KEPT, state="fracked" if "f" in pown else "bank",
        origin="import", pown=pown,
    )  # fmt: skip
    coin.secrets = vault.seal_numbers(vault.fresh_numbers(), coin_id=coin.pk)
    coin.save()
    post(wallet, UNITS_PER_COIN)
    return coin


def others() -> Any:
    return Coin.objects.exclude(serial_number=NOT_KEPT)


def by_import(alice: Wallet, mint: Mint) -> LockerTask:
    records = mint(*[0] * 9)
    foreign = CoinRecord(wire_coins.Coin(0, NOT_KEPT), records[0].ans)
    task = finish(import_files.start(actor=alice, name="alice", uploads=[("ten.bin", write_bin([*records, foreign]))]))
    assert others().filter(state="bank", passes=25).count() == 9
    return task


def by_put(alice: Wallet, mint: Mint) -> LockerTask:
    give(alice, mint(*[0] * 9))
    plant(alice)
    task = put(alice, 10)
    assert others().filter(state="locked").count() == 9
    assert task.result["total_stored"] == 9 * UNITS_PER_COIN
    return task


def by_fix(alice: Wallet, mint: Mint) -> LockerTask:
    give(alice, mint(*[0] * 9))
    plant(alice, pown="p" * 20 + "f" * 5)
    # As if five servers were not known to accept any.
    others().update(pown="p" * 20 + "f" * 5, state="fracked")
    task = finish(fix.start(actor=alice, name="alice"))
    assert others().filter(state="bank", passes=25).count() == 9
    return task


def by_health(alice: Wallet, mint: Mint) -> LockerTask:
    give(alice, mint(*[0] * 9))
    plant(alice)
    task = finish(health.start(actor=alice, name="alice"))
    assert others().filter(checked_at__gt=Now() - timedelta(minutes=1)).count() == 9
    assert task.result["coins_doubtful"] == 1
    return task


@pytest.mark.parametrize("way", [by_import, by_put, by_fix, by_health])
def test_one_coin_decides_about_itself_alone(
    way: Callable[[Wallet, Mint], LockerTask],
    network: LocalNetwork,
    mint: Mint,
    alice: Wallet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if it were not known here which numbers the servers keep.
    monkeypatch.setattr(coin_import, "SERIAL_NUMBERS", 2**32)

    task = way(alice, mint)

    assert task.state == "completed"
    assert task.attempts.count() <= 4 + messages.MOST_HALVES
    assert sum(states(alice).values()) == 10
