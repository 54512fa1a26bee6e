"""Breaking a coin into ten, by itself and for a put, through every outcome of 25 servers."""

from typing import Any

import pytest

from lockers import errors, vault
from lockers import transport as wire
from lockers.models import Account, Coin, LockerTask, ReceiptLine
from lockers.operations import break_coin as break_coins
from lockers.operations import put as put_coins
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.worker import task_store
from tests.localnet import requests
from tests.localnet.requests import CoinAn, CoinPan
from tests.lockers.books import assert_true_to_the_servers, finish, holders, states
from tests.lockers.conftest import Mint
from tests.support.coin_commands import after_the_intent, find, give, put
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet


def break_one(wallet: Wallet, denomination: int) -> LockerTask:
    return finish(break_coins.start(actor=wallet, name=wallet.name, denomination=denomination))


def test_a_hundred_becomes_ten_tens(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(2))
    (before,) = Coin.objects.values_list("secrets", "id")

    task = break_one(alice, 2)

    assert (task.state, task.message, task.result["raida"]) == ("completed", "Broken into ten.", "p" * 25)
    assert states(alice) == {"broken": 1, "bank": 10}
    assert set(Coin.objects.filter(state="bank").values_list("denomination", "pown")) == {(1, "p" * 25)}
    assert sorted(ReceiptLine.objects.filter(task=task).values_list("state", flat=True)) == ["bank"] * 10 + ["broken"]
    big = Coin.objects.get(state="broken")
    assert holders(WireCoin(2, big.serial_number), vault.open_numbers(before[0], coin_id=before[1])) == 0
    assert Account.objects.get().balance == 100 * UNITS_PER_COIN
    assert_true_to_the_servers()


def test_a_put_breaks_what_it_must_and_says_so(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7.3 out of a hundred and two ones: a hundred, a ten and a one are broken."""
    give(alice, mint(2, 0, 0))
    said: list[str] = []
    advance = task_store.advance

    def advance_and_note(**changes: Any) -> None:
        if changes.get("message"):
            said.append(changes["message"])
        advance(**changes)

    monkeypatch.setattr(task_store, "advance", advance_and_note)
    started = put_coins.start(actor=alice, name="alice", units=73 * UNITS_PER_COIN // 10)
    task = finish(started)

    # Change that was not needed, more coins than are stored, was sent to no server.
    assert (task.state, task.message, task.result["raida"]) == ("completed", "Stored.", "p" * 25)
    assert (task.result["total_stored"], task.result["broken"]) == (73 * UNITS_PER_COIN // 10, [2, 1, 0])
    assert task.attempts.filter(command="BREAK").count() == 3
    assert states(alice) == {"broken": 3, "locked": 10, "bank": 9 + 4 + 7}
    assert Account.objects.get().balance == 102 * UNITS_PER_COIN - 73 * UNITS_PER_COIN // 10
    assert said == ["Breaking a 100 into ten 10s", "Breaking a 10 into ten 1s", "Breaking a 1 into ten 0.1s"]
    assert_true_to_the_servers()


def test_the_fewest_coins_are_broken_and_none_if_none_must(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(2, 1, 1, 0, 0, 0))

    assert put(alice, 13).result.get("broken") is None
    assert put(alice, 15).result["broken"] == [2, 1]

    assert_true_to_the_servers()


def test_a_fracked_coin_is_never_broken(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    records = mint(1, 0, 0, 0)
    network.fault(3, "wrong-secret")
    give(alice, records)
    network.clear()
    assert states(alice) == {"fracked": 4}
    before = list(Coin.objects.order_by("id").values())

    with pytest.raises(errors.NoExactChange):
        put_coins.start(actor=alice, name="alice", units=5 * UNITS_PER_COIN)
    with pytest.raises(errors.NotEnoughCoins):
        break_coins.start(actor=alice, name="alice", denomination=1)

    assert list(Coin.objects.order_by("id").values()) == before
    assert LockerTask.objects.filter(kind__in=["put", "break"]).count() == 0


def test_a_bank_coin_is_broken_and_a_fracked_one_of_its_kind_is_put(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    records = mint(1, 1, 1, 1)
    network.fault(3, "wrong-secret")
    give(alice, records[:1])
    network.clear()
    give(alice, records[1:2])
    assert states(alice) == {"fracked": 1, "bank": 1}

    task = put(alice, 15)

    assert (task.state, task.result["broken"]) == ("completed", [1])
    assert_true_to_the_servers()


WHOLE, BROKEN, LIMBO = "bank", "broken", "limbo"
# The coin's state after a break, and after a find, when this many servers have the fault.
OUTCOMES = {
    ("silent", 12): (BROKEN, BROKEN),
    ("silent", 13): (LIMBO, WHOLE),
    ("silent", 25): (LIMBO, WHOLE),
    ("drop-reply", 12): (BROKEN, BROKEN),
    ("drop-reply", 13): (LIMBO, BROKEN),
    ("drop-reply", 25): (LIMBO, BROKEN),
    ("garbage", 13): (LIMBO, BROKEN),
    ("status:242", 12): (BROKEN, BROKEN),
    ("status:41", 13): (WHOLE, WHOLE),
    ("status:252", 13): (LIMBO, WHOLE),
    ("wrong-secret", 13): (LIMBO, WHOLE),
    ("down", 13): (LIMBO, WHOLE),
    ("crash", 13): (LIMBO, BROKEN),
}


@pytest.mark.parametrize(("fault", "count"), OUTCOMES)
def test_a_break_ends_right_whatever_servers_do(
    fault: str, count: int, network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(1, 0, 0, 0))
    at_first, in_the_end = OUTCOMES[fault, count]
    task = _break_after_the_intent(network, alice, fault, count)

    big = Coin.objects.get(denomination=1)
    assert big.state in ({WHOLE, "fracked"} if at_first == WHOLE else {at_first}), task.message
    assert task.state == ("completed" if at_first == BROKEN else "error")
    network.clear()
    if at_first == LIMBO:
        assert states(alice) == {"limbo": 1, "change": 10, "bank": 3}
        assert Account.objects.get().balance == 3 * UNITS_PER_COIN
        find(alice)
    big.refresh_from_db()
    assert big.state in ({WHOLE, "fracked"} if in_the_end == WHOLE else {in_the_end})
    assert Account.objects.get().balance == 13 * UNITS_PER_COIN
    ten = Coin.objects.filter(origin="break")
    assert set(ten.values_list("state", flat=True)) <= ({"void"} if in_the_end == WHOLE else {"bank", "fracked"})
    assert network.seen(Command.BREAK) <= 25 + (count if fault == "wrong-secret" else 0)
    assert_true_to_the_servers()


def _break_after_the_intent(network: LocalNetwork, wallet: Wallet, fault: str, count: int) -> LockerTask:
    """The servers fail after the ten coins were committed; before that, no value can be lost."""
    started = break_coins.start(actor=wallet, name=wallet.name, denomination=1)
    with after_the_intent(lambda: network.fault(range(count), fault)):
        return finish(started)


def test_serial_numbers_that_another_client_takes_first_cost_no_coin(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    """Another client breaks a coin into one of our ten serial numbers on 13 servers, after we asked for free ones."""
    (foreign,) = mint(1)
    give(alice, mint(1, 0, 0, 0))

    def lose() -> None:
        taken = Coin.objects.filter(state="change").order_by("serial_number").values_list("serial_number", flat=True)[0]
        others = list(range(900_000, 900_009))
        ten = [WireCoin(0, number) for number in [taken, *others]]
        numbers = [vault.fresh_numbers() for _ in ten]
        payloads = {
            raida: requests.change(
                0,
                CoinAn(foreign.coin, foreign.ans[raida]),
                [CoinPan(coin, each[raida]) for coin, each in zip(ten, numbers, strict=True)],
            )
            for raida in range(13)
        }
        wire.ask(network.servers, wire.Call(Command.BREAK, payloads), until=wire.within(20))

    with after_the_intent(lose):
        task = put(alice, 4)

    # 12 servers had broken ours and joined it together again.
    assert (task.state, task.result["total_failed"]) == ("error", 4 * UNITS_PER_COIN)
    assert network.seen(Command.JOIN) == 12
    assert states(alice) == {"bank": 4, "void": 10}
    assert Coin.objects.get(denomination=1).pown == "p" * 25
    assert Account.objects.get().balance == 13 * UNITS_PER_COIN
    assert_true_to_the_servers()
