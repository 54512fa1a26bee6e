"""An attempt records marks for all coins of its batch; the next worker after a crash reads them from it."""

from typing import Any

import pytest

from lockers import tasks
from lockers.models import Coin, LockerTask
from lockers.operations import put as put_coins
from lockers.operations import reserve, take
from lockers.operations.new_task import Started
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.commands import Command
from lockers.worker import finalize, task_store
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.support.coin_commands import Died, give, put
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet


def die_at(started: Started, name: str, *, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on a task, crash at the n-th call of a function that writes, and let the lease expire."""
    module = finalize if name == "conclude" else task_store
    go_on, calls = getattr(module, name), 0

    def die(**arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Died
        return go_on(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, die)
        with pytest.raises(Died):
            tasks.run(str(started.task.pk))
    LockerTask.objects.filter(pk=started.task.pk).update(lease_until=None)


def test_a_put_that_was_cut_off_between_batches_is_not_sent_again(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(0, 0, 0, 0))
    monkeypatch.setattr(reserve, "BATCH_COINS", 2)
    started = put_coins.start(actor=alice, name="alice", units=4 * UNITS_PER_COIN)
    die_at(started, "open_attempt", call=2, monkeypatch=monkeypatch)
    (attempt,) = started.task.attempts.all()
    assert (attempt.covering, attempt.settled_at) == ("n" * 25, None)
    assert set(Coin.objects.values_list("outcome", flat=True)) == {"-" * 25}
    network.forget_seen()

    ended = finish(started)

    assert (ended.message, states(alice)) == ("Stored.", {"locked": 4})
    # The second batch alone; about the first one the servers were asked.
    assert (network.seen(Command.PUT), network.seen(Command.FIND)) == (25, 25)
    assert_true_to_the_servers()


def test_what_was_answered_to_one_batch_is_written_with_the_intent_of_the_next(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(0, 0, 0, 0))
    monkeypatch.setattr(reserve, "BATCH_COINS", 2)
    network.fault(24, "down")
    started = put_coins.start(actor=alice, name="alice", units=4 * UNITS_PER_COIN)
    die_at(started, "conclude", call=1, monkeypatch=monkeypatch)
    told = started.task.attempts.order_by("ordinal")
    assert [(attempt.batch, attempt.covering, attempt.settled_at is None) for attempt in told] == [
        (0, "p" * 24 + "n", False),
        (1, "n" * 25, True),
    ]
    network.forget_seen()

    ended = finish(started)

    assert (ended.message, states(alice)) == ("Stored.", {"locked": 4})
    assert (network.seen(Command.PUT), network.seen(Command.FIND)) == (0, 24)
    assert not started.task.attempts.exclude(covering="").exists()
    network.clear()
    assert_true_to_the_servers()


def test_a_take_that_was_cut_off_before_its_end_is_not_sent_again(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    started = take.start(actor=bob, name="bob", code=code)
    die_at(started, "conclude", call=1, monkeypatch=monkeypatch)
    assert set(Coin.objects.filter(wallet=bob).values_list("outcome", flat=True)) == {"-" * 25}
    network.forget_seen()

    ended = finish(started)

    assert (ended.message, states(bob), states(alice)) == ("Taken.", {"bank": 3}, {"sent": 3, "bank": 1})
    assert (network.seen(Command.REMOVE), network.seen(Command.FIND)) == (0, 25)
    assert_true_to_the_servers()


def test_a_batch_speaks_of_those_coins_alone_that_were_asked_about() -> None:
    marks, known = "-" * 22 + "rfd", "p" * 20 + "n" * 5
    said = "p" * 12 + "n" * 12 + "-"

    assert task_store.covered(marks, known, [("PUT", said)]) == "p" * 12 + "n" * 8 + "--rfd"
    assert task_store.covered(marks, known, [("REMOVE", said)]) == "p" * 12 + "n" * 10 + "rfd"
    assert task_store.covered(marks, known, [("POWN", "p" + "-" * 24), ("POWN", "-" + "f" * 24)]) == (
        "p" + "f" * 21 + "rfd"
    )
    assert task_store.covered(marks, known, []) == marks
