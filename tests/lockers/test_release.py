"""
Coins that return after missing answers get fresh numbers before they may be spent.

The request that was never answered may arrive at any time; here it arrives at the worst moments.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from lockers.models import Account, Coin, Locker
from lockers.operations import break_coin
from lockers.operations import find as find_coins
from lockers.raida.commands import Command
from lockers.worker import find as find_task
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.support.coin_commands import Delayed, find, give, put
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet


def before_pown(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Run a function between the find that saw the old numbers and the pown that changes them."""
    begin = find_task.begin_release

    def begin_and_let_it_happen(**asked: Any) -> None:
        begin(**asked)
        happens()

    monkeypatch.setattr(find_task, "begin_release", begin_and_let_it_happen)


def test_a_put_that_arrives_after_the_release_finds_other_numbers(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(1, 0, 0, 0))
    delayed = Delayed(network, Command.PUT, monkeypatch)
    assert put(alice, 12).state == "error"
    assert states(alice) == {"limbo": 3, "bank": 1}
    find(alice)
    assert states(alice) == {"bank": 4}

    # Refused, or not even understood: the coin that lent its number for the encryption is the same.
    assert set(delayed.arrive()) == {242}

    assert states(alice) == {"bank": 4}
    assert Locker.objects.get().state == "failed"
    assert_true_to_the_servers()


def test_a_put_that_arrives_between_find_and_release_is_a_put(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(1, 0, 0, 0))
    delayed = Delayed(network, Command.PUT, monkeypatch)
    put(alice, 12)
    before_pown(monkeypatch, delayed.arrive)

    find(alice)
    assert states(alice) == {"limbo": 3, "bank": 1}
    assert Coin.objects.filter(releasing=True).count() == 0
    find(alice)

    assert states(alice) == {"locked": 3, "bank": 1}
    assert Locker.objects.get().state == "filled"
    assert_true_to_the_servers()


def test_a_release_that_is_cut_off_goes_on(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The servers take the fresh numbers, and their answers are lost."""
    give(alice, mint(1, 0, 0, 0))
    with monkeypatch.context() as patch:
        Delayed(network, Command.PUT, patch)
        put(alice, 12)
        before_pown(patch, lambda: network.fault(range(13), "drop-reply"))
        find(alice)
    assert states(alice) == {"limbo": 3, "bank": 1}
    assert Coin.objects.filter(releasing=True).count() == 3
    network.clear()

    find(alice)

    assert states(alice) == {"bank": 4}
    assert network.seen(Command.POWN) == 25 * 3
    assert_true_to_the_servers()


def test_a_break_that_arrives_after_the_release_finds_another_number(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(1, 0, 0, 0))
    delayed = Delayed(network, Command.BREAK, monkeypatch)
    finish(break_coin.start(actor=alice, name="alice", denomination=1))
    assert states(alice) == {"limbo": 1, "change": 10, "bank": 3}
    find(alice)
    assert states(alice) == {"bank": 4, "void": 10}

    assert set(delayed.arrive()) == {242}

    assert_true_to_the_servers()


def test_a_break_that_arrives_between_find_and_release_is_a_break(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(1, 0, 0, 0))
    delayed = Delayed(network, Command.BREAK, monkeypatch)
    finish(break_coin.start(actor=alice, name="alice", denomination=1))
    before_pown(monkeypatch, delayed.arrive)

    find(alice)
    assert states(alice) == {"limbo": 1, "change": 10, "bank": 3}
    find(alice)

    assert states(alice) == {"broken": 1, "bank": 13}
    assert Account.objects.get().balance == 13 * 10**8
    assert_true_to_the_servers()


def test_without_patience_nothing_is_released(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(0, 0, 0, 0))
    network.fault(range(25), "silent")
    put(alice, 4)
    network.clear()
    Coin.objects.update(changed_at=Now() + timedelta(seconds=1))

    finish(find_coins.start(actor=alice, name="alice"))

    assert states(alice) == {"limbo": 4}
    assert network.seen(Command.POWN) == 25 * 2
