"""
Coins that come back after a silence get fresh numbers before anybody may spend them.

The request that was never answered may arrive at any time. Here it does, at the worst moments.
"""

import dataclasses
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from lockers import transport as wire
from lockers.localnet.fleet import LocalNetwork
from lockers.models import Account, Coin, Locker
from lockers.operations import break_coin
from lockers.operations import find as find_coins
from lockers.raida.commands import Command
from lockers.transport import Call
from lockers.worker import find as find_task
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.lockers.test_put import find, give, put
from wallets.models import Wallet


class Delayed:
    """Keeps the requests of one command back on the way, and lets them arrive when it is told to."""

    def __init__(
        self,
        network: LocalNetwork,
        command: Command,
        monkeypatch: pytest.MonkeyPatch,
        raidas: Collection[int] = range(25),
    ) -> None:
        self._network = network
        self._kept: list[Call] = []
        ask = wire.ask

        def keep_back(servers: Any, call: Call, **how: Any) -> wire.Results:
            if call.command is not command:
                return ask(servers, call, **how)
            kept = {raida: payload for raida, payload in call.payloads.items() if raida in raidas}
            others = {raida: payload for raida, payload in call.payloads.items() if raida not in raidas}
            self._kept.append(dataclasses.replace(call, payloads=kept))
            silences = {raida: wire.NoResponse(raida, "timeout", sent=True) for raida in kept}
            return ask(servers, dataclasses.replace(call, payloads=others), **how) | silences

        self._ask = ask
        monkeypatch.setattr(wire, "ask", keep_back)

    def arrive(self) -> list[int]:
        """Return the statuses with which the servers answer."""
        statuses = []
        for call in self._kept:
            results = self._ask(self._network.servers, call, until=wire.within(20))
            statuses += [int(each.status) for each in results.values() if isinstance(each, wire.Answer)]
        self._kept.clear()
        return statuses


def before_pown(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen between the find that saw the old numbers and the pown that changes them."""
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
