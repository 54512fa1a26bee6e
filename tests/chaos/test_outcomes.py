"""
Puts and takes through every outcome of 25 servers: a number of them do the same wrong thing, and the others accept.

The suite goes through the numbers at which something turns; with COPPICE_STORM set, as in `make storm`, through all
from 0 to 25.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db.models import QuerySet

from lockers import audit
from lockers import transport as wire
from lockers.models import Coin, LockerTask
from lockers.operations import new_task, take, transfer
from lockers.operations import put as put_coins
from lockers.raida import codes
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.states import SPENDABLE
from lockers.worker import broadcast, peek, task_store
from lockers.worker.take import reserve_listed
from tests.lockers.books import assert_servers_hold, finish
from tests.lockers.conftest import Mint
from tests.support.coin_commands import find, give, refuse_puts
from tests.support.local_network import LocalNetwork
from trusts import operations as trusts
from wallets.models import Wallet

IS_WHOLE = bool(os.environ.get("COPPICE_STORM"))
OF_PUTS = range(26) if IS_WHOLE else (0, 1, 12, 13, 25)
OF_TAKES = range(26) if IS_WHOLE else (0, 12, 13, 25)
OURS, LOCKED, LIMBO = {"bank", "fracked"}, {"locked"}, {"limbo"}


@contextmanager
def fault(network: LocalNetwork, name: str, count: int) -> Iterator[None]:
    network.fault(range(count), name)
    yield
    network.clear()


@contextmanager
def refusal(network: LocalNetwork, name: str, count: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        refuse_puts(patch, range(count))
        yield


@contextmanager
def restart_in_between(network: LocalNetwork, name: str, count: int) -> Iterator[None]:
    """Servers restart, and forget their lockers, when they have done the work and before they are asked about it."""
    ask = wire.ask

    def ask_and_restart(servers: Any, call: wire.Call, **how: Any) -> wire.Results:
        results = ask(servers, call, **how)
        if call.command in (Command.PUT, Command.REMOVE, Command.POWN):
            network.fault(range(count), "forget")
        return results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "ask", ask_and_restart)
        yield


# How the servers misbehave, and what becomes of a put by 13 or more such servers: at first, and after a find.
PUTS: dict[str, tuple[Callable[..., Any], set[str], set[str]]] = {
    "twice": (fault, LOCKED, LOCKED),
    "refusing": (refusal, OURS, OURS),
    "silent": (fault, LIMBO, OURS),
    "drop-reply": (fault, LIMBO, LOCKED),
    "garbage": (fault, LIMBO, LOCKED),
    "wrong-id": (fault, LIMBO, LOCKED),
    # Carried out after the deadline; the server asks no other server, so the find learns what it did.
    "late:0.01": (fault, LIMBO, LOCKED),
    "down": (fault, LIMBO, OURS),
    "crash": (fault, LIMBO, LOCKED),
    "crash-before": (fault, LIMBO, OURS),
    "restart in between": (restart_in_between, LOCKED, LOCKED),
}


@pytest.mark.parametrize("name", PUTS)
def test_a_put_ends_right(name: str, network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    misbehaving, at_worst, in_the_end = PUTS[name]
    for count, wallet in _wallets_with_twelve(alice, mint, OF_PUTS).items():
        coins = Coin.objects.filter(wallet=wallet)
        network.forget_seen()
        with misbehaving(network, name, count):
            task = finish(put_coins.start(actor=wallet, name=wallet.name, units=12 * UNITS_PER_COIN))
        where = f"{count} servers {name}: {task.message}"
        expected = LOCKED if count <= 12 else at_worst
        assert _states(coins) <= expected, where
        assert task.state == ("completed" if expected == LOCKED else "error"), where
        assert network.seen(Command.PUT) <= 25, where
        if expected == LIMBO:
            _assert_found(network, coins, in_the_end, where)
        assert_servers_hold(coins)
    _assert_nothing_is_lost(12 * len(OF_PUTS))


# The same for takes. A peek needs 13 answers, so the servers begin to misbehave when the coins are saved.
TAKES: dict[str, tuple[Callable[..., Any], set[str], set[str]]] = {
    "twice": (fault, OURS, OURS),
    "silent": (fault, LIMBO, OURS),
    "drop-reply": (fault, LIMBO, OURS),
    "garbage": (fault, LIMBO, OURS),
    "wrong-id": (fault, LIMBO, OURS),
    "late:0.01": (fault, LIMBO, OURS),
    "down": (fault, LIMBO, OURS),
    "crash": (fault, LIMBO, OURS),
    "crash-before": (fault, LIMBO, OURS),
    "wrong-secret": (fault, {"missed"}, {"missed"}),
    "restart in between": (restart_in_between, OURS, OURS),
}


@pytest.mark.parametrize("name", TAKES)
def test_a_take_ends_right(name: str, network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet) -> None:
    misbehaving, at_worst, in_the_end = TAKES[name]
    for count, giver in _wallets_with_twelve(alice, mint, OF_TAKES).items():
        code = codes.generate_code(secrets.token_bytes(codes.RANDOM_SIZE))
        put = put_coins.start(actor=giver, name=giver.name, units=12 * UNITS_PER_COIN, transmit_code=code)
        assert finish(put).state == "completed"
        taker = trusts.open_managed_wallet(actor=bob, name=f"taker-{count}")
        coins = Coin.objects.filter(wallet=taker)
        started = take.start(actor=taker, name=taker.name, code=code)
        _save_what_a_peek_lists(started, code)
        with misbehaving(network, name, count):
            task = finish(started)
        where = f"{count} servers {name}: {task.message}"
        expected = OURS if count <= 12 else at_worst
        assert _states(coins) <= expected, where
        assert task.state == ("completed" if expected == OURS else "error"), where
        if expected == LIMBO:
            _assert_found(network, coins, in_the_end, where)
        assert_servers_hold(coins)
        assert _states(Coin.objects.filter(wallet=giver)) <= ({"sent"} if expected != {"missed"} else LOCKED), where
    _assert_nothing_is_lost(12 * len(OF_TAKES))


def _wallets_with_twelve(alice: Wallet, mint: Mint, numbers: Sequence[int]) -> dict[int, Wallet]:
    """A wallet for each number of servers, with three coins worth 12, and that other coins do not meddle with."""
    give(alice, mint(*[1, 0, 0] * len(numbers)))
    found = {count: trusts.open_managed_wallet(actor=alice, name=f"putter-{count}") for count in numbers}
    for wallet in found.values():
        transfer.start(actor=alice, source="alice", destination=wallet.name, units=12 * UNITS_PER_COIN)
    return found


def _save_what_a_peek_lists(started: new_task.Started, code: str) -> None:
    """What a first attempt did, whose worker then died."""
    held = task_store.claim(task_id=started.task.pk)
    assert held is not None
    listing, keys, _ = peek.look_into(code, broadcast.servers())
    reserve_listed(held=held, wallet_id=started.task.wallet_id, coins=sorted(listing.coins), keys=keys)
    LockerTask.objects.filter(pk=started.task.pk).update(lease_until=None)


def _states(coins: QuerySet[Coin]) -> set[str]:
    return set(coins.values_list("state", flat=True))


def _assert_found(network: LocalNetwork, coins: QuerySet[Coin], in_the_end: set[str], where: str) -> None:
    """Both secrets were kept, so a find that comes when the servers behave again tells what became of the coins."""
    assert not coins.filter(proposed=None).exists(), where
    while network.is_busy:
        time.sleep(0.001)
    find(coins[0].wallet)
    assert _states(coins) <= in_the_end, where


def _assert_nothing_is_lost(whole_coins: int) -> None:
    live = Coin.objects.filter(state__in=[*SPENDABLE, "locked"])
    assert sum(WireCoin(row.denomination, 0).value for row in live) == whole_coins * UNITS_PER_COIN
    assert list(audit.audit_findings()) == []
