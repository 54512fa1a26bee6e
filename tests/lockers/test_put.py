"""Putting coins into a locker, through every outcome of 25 servers."""

from collections.abc import Mapping
from typing import Any

import pytest

from lockers import coin_selection, errors, transport
from lockers.models import Coin, Locker
from lockers.operations import put as put_coins
from lockers.operations import reserve, take
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.commands import Command
from lockers.worker import peek
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.coin_commands import find, give, put, refuse_puts
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet


def test_an_upload_stores_exactly_the_amount(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(1, 1, 0, 0, -1))

    task = put(alice, 21)

    assert (task.state, task.progress, task.message) == ("completed", 100, "Stored.")
    assert task.result == {
        "total_stored": 21 * UNITS_PER_COIN, "total_failed": 0, "total_unknown": 0, "raida": "p" * 25,
        "servers": {"fewest": 25, "most": 25},
    }  # fmt: skip
    assert states(alice) == {"locked": 3, "bank": 2}
    assert Locker.objects.get().state == "filled"
    assert_true_to_the_servers()


def test_bob_takes_what_alice_put(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet) -> None:
    give(alice, mint(1, 1, 0, 0))
    put(alice, 21, "THE-CODE-OF-ALICE")

    task = finish(take.start(actor=bob, name="bob", code="THE-CODE-OF-ALICE"))

    assert (task.state, task.message, task.result["total"]) == ("completed", "Taken.", 21 * UNITS_PER_COIN)
    assert states(alice) == {"sent": 3, "bank": 1}
    assert states(bob) == {"bank": 3}
    assert Locker.objects.get().state == "emptied"
    assert_true_to_the_servers()
    with pytest.raises(errors.PeekFailed) as refusal:
        peek.peek(actor_id=alice.pk, code="THE-CODE-OF-ALICE")
    assert refusal.value.extra == {
        "locker_key": "THE-CODE-OF-ALICE", "raida_success": 0, "raida_status_code": 242, "detail": "ALL_FAIL",
    }  # fmt: skip


@pytest.mark.parametrize("refusing", [0, 1, 12, 13, 20, 25])
def test_a_put_that_is_refused_is_rolled_back(
    refusing: int, network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(1, 0, 0, 0))
    refuse_puts(monkeypatch, range(refusing))

    task = put(alice, 12)

    if refusing <= 12:
        assert (task.state, states(alice)) == ("completed", {"locked": 3, "bank": 1})
    else:
        assert (task.state, task.result["total_failed"], states(alice)) == ("error", 12 * UNITS_PER_COIN, {"bank": 4})
        assert {row.pown for row in Coin.objects.all()} == {"p" * 25}
        assert network.seen(Command.REMOVE) == 25 - refusing
    assert_true_to_the_servers()


# Other faults are gone through in `tests.chaos.test_outcomes`.
# What each fault makes of a put when 12, 13 or all servers have it and the others accept: the coins'
# state, and their state after the servers behave again and a find was run.
IN_LOCKER, BACK, LIMBO = "locked", "bank", "limbo"
OUTCOMES = {
    ("wrong-signature", 13): (LIMBO, IN_LOCKER),
    ("truncate", 13): (LIMBO, IN_LOCKER),
    ("status:242", 12): (IN_LOCKER, IN_LOCKER),
    # They deny not only the put but, asked for it, the coins themselves.
    ("status:242", 13): (LIMBO, BACK),
    ("status:242", 25): (LIMBO, BACK),
    ("status:252", 13): (LIMBO, BACK),
    ("wrong-secret", 12): (IN_LOCKER, IN_LOCKER),
}


@pytest.mark.parametrize(("fault", "count"), OUTCOMES)
def test_a_put_ends_right_whatever_servers_do(
    fault: str, count: int, network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(1, 0, 0, 0))
    at_first, in_the_end = OUTCOMES[fault, count]
    network.fault(range(count), fault)

    task = put(alice, 12)

    assert states(alice) == {at_first: 3, "bank": 1}
    assert task.state == ("completed" if at_first == IN_LOCKER else "error"), task.message
    stored, failed, unknown = (
        task.result[name] // UNITS_PER_COIN for name in ("total_stored", "total_failed", "total_unknown")
    )
    assert (stored, failed, unknown) == {IN_LOCKER: (12, 0, 0), LIMBO: (0, 0, 12)}[at_first]

    network.clear()
    if at_first == LIMBO:
        find(alice)
    assert set(states(alice)) <= {in_the_end, "bank", "fracked"}
    assert states(alice).get("locked", 0) == (3 if in_the_end == IN_LOCKER else 0)
    assert sum(states(alice).values()) == 4
    # Twice only to servers that could not decrypt, and so did nothing.
    assert network.seen(Command.PUT) <= 25 + (count if fault == "wrong-secret" else 0)
    assert_true_to_the_servers()


def test_servers_whose_answers_were_lost_are_asked_about_each_batch(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13 of 25 servers execute the put of each of two batches, and their answers are lost."""
    give(alice, mint(0, 0, 0, 0))
    monkeypatch.setattr(reserve, "BATCH_COINS", 2)
    ask = transport.ask

    def ask_and_lose(servers: Any, call: transport.Call, **how: Any) -> transport.Results:
        results = ask(servers, call, **how)
        lost = range(13) if call.command is Command.PUT else ()
        return results | {raida: transport.NoResponse(raida, "timeout", sent=True) for raida in lost}

    monkeypatch.setattr(transport, "ask", ask_and_lose)
    network.forget_seen()

    task = put(alice, 4)

    assert (task.state, states(alice)) == ("completed", {"locked": 4})
    assert (network.seen(Command.PUT), network.seen(Command.FIND)) == (2 * 25, 2 * 13)
    assert_true_to_the_servers()


def test_what_others_take_between_counting_and_locking_is_counted_again(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine ones make the amount; another transaction takes them before the lock, and a ten is broken instead."""
    ones = stock(alice, *[0] * 10)
    stock(alice, 1)
    choose = coin_selection.choose

    def choose_and_lose(available: Mapping[int, int], units: int) -> dict[int, int] | None:
        chosen = choose(available, units)
        Coin.objects.filter(pk__in=[row.pk for row in ones]).update(state="sent")
        return chosen

    monkeypatch.setattr(coin_selection, "choose", choose_and_lose)

    started = put_coins.start(actor=alice, name="alice", units=9 * UNITS_PER_COIN)

    assert started.task.plan == {"breaks": True}
    assert Coin.objects.get(task=started.task).denomination == 1


def test_a_coin_that_another_takes_before_it_is_broken_is_replaced_by_a_larger_one(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ten, _) = stock(alice, 1, 2)
    choose = coin_selection.choose_to_break

    def choose_and_lose(*asked: Any) -> Any:
        plan = choose(*asked)
        Coin.objects.filter(pk=ten.pk).update(state="sent")
        return plan

    monkeypatch.setattr(coin_selection, "choose_to_break", choose_and_lose)

    started = put_coins.start(actor=alice, name="alice", units=9 * UNITS_PER_COIN)

    assert Coin.objects.get(task=started.task).denomination == 2
