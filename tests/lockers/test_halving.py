"""A coin that makes servers refuse a whole request does not affect the other coins of the request."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from lockers import coin_import, coin_secrets
from lockers.localnet.fleet import LocalNetwork
from lockers.models import Coin, LockerTask
from lockers.operations import fix, health, import_files
from lockers.raida import coins as wire_coins
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.files import CoinRecord, write_bin
from lockers.worker import messages
from lockers.worker.messages import Reply, Targets
from tests.lockers.books import finish, states
from tests.lockers.conftest import Mint
from tests.lockers.stock import post
from tests.support.coin_commands import give, put
from wallets.models import Wallet

# No server keeps a coin of this number: all answer status 40 for a request that names it.
NOT_KEPT = 1_050_485


def plant(wallet: Wallet, *, pown: str = "p" * 25) -> Coin:
    """Give the wallet a coin whose serial number no server has."""
    coin = Coin(
        wallet=wallet, denomination=0, serial_number=NOT_KEPT, state="fracked" if "f" in pown else "bank",
        origin="import", pown=pown,
    )  # fmt: skip
    coin.secrets = coin_secrets.seal_numbers(coin_secrets.fresh_numbers(), coin_id=coin.pk)
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


@pytest.mark.parametrize(("coins", "bad"), [(1, {0}), (1000, {0}), (1000, {17, 900}), (50, {1, 2, 30, 49})])
def test_the_coins_that_are_refused_are_found(coins: int, bad: set[int]) -> None:
    asked: list[int] = []

    def question(chosen: Targets) -> tuple[messages.Replies, set[int]]:
        asked.append(1)
        refused = {raida for raida, indices in chosen.items() if raida < 20 and bad & set(indices)}
        return {
            raida: (Reply.ERROR if raida in refused else Reply.PASS,) * len(indices)
            for raida, indices in chosen.items()
        }, refused

    told = messages.ask_in_halves({raida: tuple(range(coins)) for raida in range(25)}, question)

    for raida, replies in told.items():
        assert {index for index, reply in enumerate(replies) if reply is Reply.ERROR} == (bad if raida < 20 else set())
    assert len(asked) <= 1 + messages.MOST_HALVES + 1


def test_what_is_refused_altogether_is_asked_about_so_often_and_no_more() -> None:
    asked: list[int] = []

    def question(chosen: Targets) -> tuple[messages.Replies, set[int]]:
        asked.append(1)
        return {raida: (Reply.ERROR,) * len(indices) for raida, indices in chosen.items()}, set(chosen)

    told = messages.ask_in_halves({raida: tuple(range(1000)) for raida in range(25)}, question)

    assert set(told[0]) == {Reply.ERROR}
    assert len(asked) == 1 + messages.MOST_HALVES


@pytest.mark.parametrize(("refusing", "is_halved"), [(12, False), (13, True)])
def test_most_servers_that_were_asked_must_refuse_and_only_those_are_asked_again(
    refusing: int, is_halved: bool
) -> None:
    """Of 24; the others have answered."""
    asked: list[Targets] = []

    def question(chosen: Targets) -> tuple[messages.Replies, set[int]]:
        asked.append(chosen)
        refused = {raida for raida, indices in chosen.items() if raida < refusing and 2 in indices}
        return {
            raida: (Reply.ERROR if raida in refused else Reply.PASS,) * len(indices)
            for raida, indices in chosen.items()
        }, refused

    told = messages.ask_in_halves({raida: tuple(range(4)) for raida in range(24)}, question)

    one, all_four = (Reply.PASS, Reply.PASS, Reply.ERROR, Reply.PASS), (Reply.ERROR,) * 4
    assert told == {
        raida: (one if is_halved else all_four) if raida < refusing else (Reply.PASS,) * 4 for raida in range(24)
    }
    assert {raida for again in asked[1:] for raida in again} == (set(range(refusing)) if is_halved else set())
    # Each half once: two of four coins, and one of two.
    assert [sorted({index for each in again.values() for index in each}) for again in asked[1:]] == (
        [[0, 1], [2, 3], [2], [3]] if is_halved else []
    )


def test_servers_that_are_asked_about_other_coins_keep_their_places() -> None:
    chosen = {raida: (1, 4, 6) if raida % 2 else (0, 4) for raida in range(25)}

    def question(asked: Targets) -> tuple[messages.Replies, set[int]]:
        refused = {raida for raida, indices in asked.items() if 4 in indices}
        return {
            raida: tuple(Reply.ERROR if raida in refused else Reply.PASS for _ in indices)
            for raida, indices in asked.items()
        }, refused

    assert messages.ask_in_halves(chosen, question) == {
        raida: tuple(Reply.ERROR if index == 4 else Reply.PASS for index in indices)
        for raida, indices in chosen.items()
    }
