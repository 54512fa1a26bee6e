"""Fixes by tickets, on real servers that refuse, forget, and lose answers."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from lockers import errors, vault
from lockers.models import Account, Coin, LockerTask, ServerHealth
from lockers.operations import fix as fix_coins
from lockers.operations import new_task
from lockers.operations import put as put_coins
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.files import CoinRecord
from lockers.worker import fix as fixing
from tests.lockers.books import assert_true_to_the_servers, finish, holders, states
from tests.lockers.conftest import Mint
from tests.support.coin_commands import Delayed, find, give, put, refuse_puts
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet


def fix(wallet: Wallet) -> LockerTask:
    return finish(fix_coins.start(actor=wallet, name=wallet.name))


def fracked(network: LocalNetwork, wallet: Wallet, records: list[CoinRecord], count: int) -> None:
    """Give coins to a wallet while the first `count` servers do not know them."""
    network.fault(range(count), "wrong-secret")
    give(wallet, records)
    network.clear()
    assert set(Coin.objects.filter(wallet=wallet).values_list("pown", flat=True)) == {"f" * count + "p" * (25 - count)}


def assert_whole(wallet: Wallet) -> None:
    for row in Coin.objects.filter(wallet=wallet):
        assert (row.state, row.pown, row.proposed) == ("bank", "p" * 25, None)
        numbers = vault.open_numbers(row.secrets, coin_id=row.pk)
        assert holders(WireCoin(row.denomination, row.serial_number), numbers) == 25
    assert_true_to_the_servers()


@pytest.mark.parametrize("count", [1, 12])
def test_fracked_coins_are_fixed(count: int, network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    fracked(network, alice, mint(1, 0, 0, -8), count)

    task = fix(alice)

    assert (task.state, task.message) == ("completed", "Every coin is accepted by all servers.")
    assert (task.result["coins_processed"], task.result["coins_healed"]) == (4, 4)
    assert network.seen(Command.FIX) == count
    assert_whole(alice)
    with pytest.raises(errors.NothingToFix):
        fix(alice)


def test_every_batch_of_a_fix_is_fixed(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixing, "FIX_COINS", 2)
    fracked(network, alice, mint(0, 0, 0, 0, 0), 1)

    task = fix(alice)

    assert (task.result["coins_processed"], task.result["coins_healed"]) == (5, 5)
    assert network.seen(Command.FIX) == 3
    assert_whole(alice)


def test_coins_that_different_servers_refuse_are_fixed_together(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    first, second = mint(1, 1, 1, 1), mint(0, 0, 0, 0)
    network.fault(range(5), "wrong-secret")
    give(alice, first)
    network.clear()
    network.fault(range(3, 9), "wrong-secret")
    give(alice, second)
    network.clear()

    fix(alice)

    assert (network.seen(Command.GET_TICKET), network.seen(Command.FIX)) == (25 - 2, 9)
    assert_whole(alice)


def test_what_was_not_waited_for_is_learnt_and_not_fixed(
    network: LocalNetwork, mint: Mint, alice: Wallet, settings: Any
) -> None:
    records = mint(1, 0, 0, 0)
    network.fault(range(12), "drop-reply")
    settings.RAIDA_TIMEOUT_SECONDS = 30
    give(alice, records)
    settings.RAIDA_TIMEOUT_SECONDS = 0.5
    network.clear()
    assert set(Coin.objects.values_list("pown", flat=True)) == {"n" * 12 + "p" * 13}

    fix(alice)

    assert network.seen(Command.FIX) == 0
    assert_whole(alice)


# Faults of the three refusing servers while they are told to fix, and how many fixes the second task needs.
FAULTS = {
    ("silent", "silent", "silent"): 3,
    ("drop-reply", "drop-reply", "drop-reply"): 0,
    ("status:252", "status:252", "status:252"): 3,
    ("down", "down", "down"): 3,
    ("crash-before", "down", "down"): 3,
    # A server that fixes asks the others about their tickets: which of three dies of its own fix, and which of a
    # question that comes while it is at work, is chance. What is needed then, only the servers know.
    ("crash", "crash", "crash"): None,
}


@pytest.mark.parametrize("faults", FAULTS)
def test_a_fix_that_is_cut_off_is_seen_or_made_by_the_next(
    faults: tuple[str, ...], network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fracked(network, alice, mint(1, 0, 0, 0), 3)
    balance = Account.objects.get().balance
    get_tickets = fixing._get_tickets

    def get_tickets_and_fail(*asked: Any) -> Any:
        done = get_tickets(*asked)
        for raida, fault in enumerate(faults):
            network.fault(raida, fault)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(fixing, "_get_tickets", get_tickets_and_fail)
        task = fix(alice)
    assert (task.state, task.result["coins_healed"]) == ("completed", 0)
    assert {row.pown[3:] for row in Coin.objects.all()} == {"p" * 22}
    network.clear()
    needed = {25 - holders_of_proposed(row) for row in Coin.objects.all()}
    network.forget_seen()

    fix(alice)

    # The servers that do not hold the new numbers, and no others.
    assert needed == {network.seen(Command.FIX)}
    assert FAULTS[faults] in (None, network.seen(Command.FIX))
    assert_whole(alice)
    assert Account.objects.get().balance == balance


def holders_of_proposed(row: Coin) -> int:
    assert row.proposed is not None
    return holders(WireCoin(row.denomination, row.serial_number), vault.open_numbers(row.proposed, coin_id=row.pk))


def test_without_thirteen_tickets_nothing_is_sent_and_nothing_lost(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    fracked(network, alice, mint(1, 0, 0, 0), 12)
    network.fault(24, "status:42")

    task = fix(alice)

    assert (task.result["coins_healed"], network.seen(Command.FIX)) == (0, 0)
    assert states(alice) == {"fracked": 4}
    network.clear()
    assert_true_to_the_servers()
    fix(alice)
    assert_whole(alice)


def test_a_server_that_may_still_get_an_old_put_is_fixed_for_good(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put was rolled back while twelve servers did not answer; their requests arrive after the fix."""
    give(alice, mint(1, 0, 0, 0))
    with monkeypatch.context() as patch:
        refuse_puts(patch, range(13))
        delayed = Delayed(network, Command.PUT, patch, range(13, 25))
        assert put(alice, 12).state == "error"
    assert {row.pown for row in Coin.objects.filter(denomination=1)} == {"p" * 13 + "n" * 12}

    fix(alice)
    assert set(delayed.arrive()) == {242}

    assert_whole(alice)


def test_coins_are_fixed_automatically(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet) -> None:
    fracked(network, alice, mint(1, 0, 0, 0), 2)
    give(bob, mint(0, 0, 0, 0))
    assert fix_coins.start_overdue() == []
    Coin.objects.update(changed_at=Now() - timedelta(hours=1))
    ServerHealth.objects.bulk_create(
        ServerHealth(raida=raida, rest_until=Now() + timedelta(hours=1)) for raida in range(13)
    )
    assert fix_coins.start_overdue() == []
    ServerHealth.objects.all().delete()

    (task_id,) = fix_coins.start_overdue()

    assert fix_coins.start_overdue() == []
    task = LockerTask.objects.get(pk=task_id)
    with pytest.raises(errors.CoinsBusy, match="repaired"):
        put_coins.start(actor=alice, name="alice", units=12 * 10**8)
    finish(new_task.Started(task))
    assert_whole(alice)
    assert not find_again(alice)


def find_again(wallet: Wallet) -> bool:
    try:
        find(wallet)
    except errors.NothingToFind:
        return False
    return True


def test_no_server_can_compute_the_number_of_another(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    fracked(network, alice, mint(1, 0, 0, 0), 3)

    task = fix(alice)

    generators = vault.generators(task)
    assert len(set(generators)) == 25
    assert not any(generator in bytes(task.code or b"") for generator in generators)
