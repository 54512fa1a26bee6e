"""A task waits for 13 servers. Later answers of the others are recorded, and missing coins are repaired there."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import IntegrityError, connections
from django.db.models.functions import Now

from lockers import reports, tasks, vault
from lockers.models import Coin, Locker, LockerTask, ReceiptLine, ServerHealth
from lockers.operations import new_task, peek, take
from lockers.operations import put as put_coins
from lockers.raida import codes
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.states import CoinState
from lockers.worker import late_answers, listening, repair
from tests.lockers.books import assert_true_to_the_servers, finish, holders_of_each
from tests.lockers.conftest import Mint
from tests.lockers.patience import by_the_clock
from tests.support.coin_commands import give, put
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet

# By a fixture, or without `subprocess` (tests/parts.py).
OF_SYSTEMS = True

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_SECONDS = 20.0


@pytest.fixture(autouse=True)
def clock(network: LocalNetwork, settings: Any) -> Iterator[None]:
    """Servers are given up after real timeouts, and no listener outlives its test."""
    settings.RAIDA_TIMEOUT_SECONDS = 2.5
    with by_the_clock():
        yield
        network.clear()
        wait_until(listening.is_quiet)


def wait_until(true: Callable[[], bool], *, meanwhile: Callable[[], object] = lambda: None) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "it never came true"
        meanwhile()
        time.sleep(0.01)


def follow_up() -> None:
    """Run what beat runs every second."""
    if (thread := repair.follow_up()) is not None:
        thread.join()


def delays(network: LocalNetwork, mixture: Mapping[str, str]) -> None:
    for servers, fault in mixture.items():
        first, _, last = servers.partition("-")
        network.fault(range(int(first), int(last) + 1), fault)


def board(task: LockerTask) -> str:
    return str(LockerTask.objects.get(pk=task.pk).result["raida"])


def receipts(task: LockerTask) -> set[str]:
    return set(ReceiptLine.objects.filter(task=task).values_list("pown", flat=True))


def test_a_put_tells_at_last_what_every_server_said(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    late = set(range(12)) - {7}
    network.fault(late, "hold")
    network.fault(3, "status:242")
    network.fault(7, "drop-reply")

    task = put(alice, 12, code)

    assert (task.state, task.result["raida"]) == ("completed", "w" * 12 + "p" * 13)
    assert task.result["servers"] == {"fewest": 13, "most": 13}
    assert receipts(task) == {"w" * 12 + "p" * 13}
    network.clear(late)
    truth = "pppfpppnpppppppppppppppp" + "p"
    wait_until(lambda: board(task) == truth)
    task.refresh_from_db()
    assert (task.message, task.result["servers"], task.listens_until) == ("Stored.", {"fewest": 23, "most": 23}, None)
    assert receipts(task) == {truth}
    assert set(Coin.objects.filter(state="locked").values_list("pown", flat=True)) == {truth}
    assert [answer for answer in task.attempts.get().answers if answer != 241] == [242, -2]
    assert network.seen(Command.PUT) == 25
    network.clear()
    assert_true_to_the_servers()


@pytest.mark.parametrize("kind", ["take", "import"])
def test_coins_that_came_in_get_the_numbers_of_late_servers(
    kind: str, network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str, settings: Any
) -> None:
    records = mint(1, 0, 0, 0)
    if kind == "take":
        give(alice, records)
        wait_until(listening.is_quiet)
        put(alice, 13, code)
        wait_until(listening.is_quiet)
    settings.RAIDA_TIMEOUT_SECONDS = PATIENCE_SECONDS
    network.fault(range(12), "hold")

    if kind == "take":
        task = finish(take.start(actor=bob, name="bob", code=code))
    else:
        give(bob, records)
        task = LockerTask.objects.get(wallet=bob)

    assert board(task) == "w" * 12 + "p" * 13
    assert set(Coin.objects.filter(wallet=bob).values_list("pown", flat=True)) == {"n" * 12 + "p" * 13}
    network.clear()
    wait_until(lambda: board(task) == "p" * 25)
    rows = Coin.objects.filter(wallet=bob)
    assert [(row.state, row.pown, row.proposed) for row in rows] == [("bank", "p" * 25, None)] * 4
    assert receipts(task) == {"p" * 25}
    assert_true_to_the_servers()


MIXTURES: Mapping[str, tuple[Mapping[str, str], int]] = {
    "13 near, 12 far": ({"0-12": "delay:0.02", "13-24": "delay:0.25"}, 25),
    "12 whose requests travel long": ({"13-24": "late:0.25"}, 25),
    "steps": ({"0-9": "late:0.01", "10-14": "delay:0.06", "15-19": "late:0.2", "20-24": "delay:0.4"}, 25),
    "far, and 4 dead": ({"0-8": "late:0.2", "21-24": "silent"}, 21),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_any_sequence_leaves_lockers_on_all_servers(
    name: str, network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    mixture, reachable = MIXTURES[name]
    records = mint(1, 0, 0, 0)
    delays(network, mixture)

    give(alice, records)
    put(alice, 12, code)
    taken = finish(take.start(actor=bob, name="bob", code=code))
    assert taken.message == "Taken."
    again = put(bob, 12)

    assert again.message == "Stored."
    locker = Locker.objects.get(wallet=bob)
    wait_until(
        lambda: fewest(locker) >= reachable,
        meanwhile=follow_up,
    )
    wait_until(listening.is_quiet)
    network.clear()
    assert servers_storing(locker) == [reachable] * 3
    assert board(again).count("p") == reachable
    assert_true_to_the_servers()


def fewest(locker: Locker) -> int:
    return min(Coin.objects.filter(locker=locker, state=CoinState.LOCKED).values_list("passes", flat=True))


def servers_storing(locker: Locker) -> list[int]:
    """The number of servers that store each coin of a locker, as they report."""
    keys = tuple(codes.locker_keys(vault.locker_code(locker)))
    rows = Coin.objects.filter(locker=locker, state=CoinState.LOCKED)
    return holders_of_each([(WireCoin(row.denomination, row.serial_number), keys) for row in rows])


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Late answers are written only once this is set."""
    opened, write = threading.Event(), late_answers.write

    def wait_and_write(**late: Any) -> None:
        assert opened.wait(PATIENCE_SECONDS)
        write(**late)

    monkeypatch.setattr(late_answers, "write", wait_and_write)
    yield opened
    opened.set()


def test_an_answer_that_comes_when_the_coins_have_moved_on_changes_the_board_alone(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str, gate: threading.Event
) -> None:
    give(alice, mint(1, 0, 0, 0))
    delays(network, {"0-11": "delay:1.0"})
    first = put(alice, 13, code)
    taken = finish(take.start(actor=bob, name="bob", code=code))
    again = put(bob, 13)
    assert [board(task) for task in (first, taken)] == ["w" * 12 + "p" * 13] * 2
    before = rows_of_coins()
    assert {row["state"] for row in before} == {"sent", "locked"}

    gate.set()
    wait_until(listening.is_quiet)

    assert [board(task) for task in (first, taken)] == ["p" * 25] * 2
    assert (receipts(first), receipts(taken)) == ({"p" * 25}, {"p" * 25})
    assert rows_of_coins() == before
    assert board(again) == "u" * 12 + "p" * 13


def test_a_late_answer_is_no_word_about_a_coin_that_was_moved_since_then(
    network: LocalNetwork, mint: Mint, alice: Wallet, settings: Any
) -> None:
    records = mint(1, 0, 0, 0)
    settings.RAIDA_TIMEOUT_SECONDS = PATIENCE_SECONDS
    network.fault(range(12), "hold")
    give(alice, records)
    task = LockerTask.objects.get()
    Coin.objects.update(changed_at=Now())
    before = rows_of_coins()

    network.clear()
    wait_until(listening.is_quiet)

    assert (board(task), rows_of_coins()) == ("p" * 25, before)


def rows_of_coins() -> list[dict[str, Any]]:
    return list(Coin.objects.order_by("id").values())


@pytest.mark.parametrize("kind", ["put", "take"])
def test_what_a_killed_worker_had_not_heard_is_asked_for(
    kind: str, network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    """The worker dies when it ends the task. Seven servers have executed the command by then, five never got it."""
    give(alice, mint(1, 0, 0, 0))
    if kind == "take":
        put(alice, 13, code)
        wait_until(listening.is_quiet)
    delays(network, {"0-6": "hold", "7-11": "silent"})
    if kind == "put":
        started = put_coins.start(actor=alice, name="alice", units=13 * UNITS_PER_COIN, transmit_code=code)
    else:
        started = take.start(actor=bob, name="bob", code=code)

    work_and_be_killed(started)

    task = started.task
    assert (board(task), listening.is_quiet()) == ("w" * 12 + "p" * 13, True)
    network.clear(range(7))
    LockerTask.objects.update(listens_until=Now())
    follow_up()
    wait_until(lambda: "w" not in board(task), meanwhile=follow_up)
    assert board(task) == "p" * 7 + "n" * 5 + "p" * 13
    assert receipts(task) == {"p" * 7 + "n" * 5 + "p" * 13}
    moving = network.seen(Command.PUT if kind == "put" else Command.REMOVE)
    network.clear()
    if kind == "put":
        ServerHealth.objects.all().delete()
        Locker.objects.update(mend_at=Now())
        wait_until(lambda: board(task) == "p" * 25, meanwhile=follow_up)
        # Nothing was sent again to servers that had not said that they hold the old number.
        assert network.seen(Command.PUT) == moving + 5
        assert servers_storing(Locker.objects.get()) == [25] * 4
    assert_true_to_the_servers()


def work_and_be_killed(started: new_task.Started) -> None:
    """Work on a task in a process that is killed as soon as the task has ended."""
    connections.close_all()
    if not (child := os.fork()):
        # For a busy machine: a verdict waits for no deadline.
        django_settings.RAIDA_TIMEOUT_SECONDS = 15
        tasks.run(str(started.task.pk))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert LockerTask.objects.get(pk=started.task.pk).state == "completed"


def test_a_thin_locker_is_visible_and_brought_up_when_its_servers_are_back(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(1, 0, 0, 0))
    network.fault(range(7), "down")
    task = put(alice, 12)
    wait_until(listening.is_quiet)
    locker = Locker.objects.get()
    follow_up()
    assert (fewest(locker), reports.count_thin()) == (18, (1, 0))
    assert board(task) == "n" * 7 + "p" * 18

    network.clear()
    ServerHealth.objects.all().delete()
    wait_until(lambda: fewest(locker) == 25, meanwhile=follow_up)

    assert servers_storing(locker) == [25] * 3
    assert reports.count_thin() == (0, 0)
    locker.refresh_from_db()
    assert (locker.mend_at, board(task), receipts(task)) == (None, "p" * 25, {"p" * 25})
    assert LockerTask.objects.get(pk=task.pk).result["servers"] == {"fewest": 25, "most": 25}
    assert_true_to_the_servers()


def test_a_server_that_holds_another_number_is_not_given_the_coin(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(1, 0, 0, 0))
    network.fault(range(3), "down")
    put(alice, 12)
    network.clear()
    network.fault(range(3), "wrong-secret")
    ServerHealth.objects.all().delete()
    before = network.seen(Command.PUT)
    Locker.objects.update(mend_at=Now())

    follow_up()

    assert network.seen(Command.FIND, 0) > 0
    assert network.seen(Command.PUT) == before
    assert fewest(Locker.objects.get()) == 22


def test_coins_from_another_locker_leave_it_by_a_remove_before_they_are_put(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    """Otherwise servers that keep lists of lockers would give the coins to a holder of the first code."""
    give(alice, mint(1, 0, 0, 0))
    put(alice, 13, code)
    network.fault(range(5), "silent")
    assert finish(take.start(actor=bob, name="bob", code=code)).message == "Taken."
    wait_until(listening.is_quiet)
    network.clear()
    ServerHealth.objects.all().delete()
    network.forget_seen()

    put(bob, 13)
    locker = Locker.objects.get(wallet=bob)
    wait_until(lambda: fewest(locker) == 25, meanwhile=follow_up)

    assert [network.seen(command, 0) for command in (Command.REMOVE, Command.POWN, Command.PUT)] == [1, 0, 1]
    assert finish(take.start(actor=alice, name="alice", code=code)).state == "error"
    assert servers_storing(locker) == [25] * 4
    assert_true_to_the_servers()


def test_a_peek_tells_at_last_what_every_server_listed(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    wait_until(listening.is_quiet)
    delays(network, {"0-10": "hold", "11-11": "silent"})

    task = finish(peek.start(actor=alice, code=code))

    assert board(task) == "w" * 12 + "p" * 13
    network.clear(range(11))
    wait_until(lambda: board(task) == "p" * 11 + "n" + "p" * 13)
    assert LockerTask.objects.get(pk=task.pk).listens_until is None


def test_receipts_change_in_letters_of_servers_alone(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(0, 0, 0, 0))
    lines = ReceiptLine.objects.all()
    # 13 servers have the coins; which of the others has answered yet is open.
    for change in ({"pown": "n" * 25}, {"state": "sent"}, {"serial_number": 7}):
        with pytest.raises(IntegrityError, match="only letters"):
            lines.update(**change)
    with pytest.raises(IntegrityError, match="only appended"):
        lines.delete()
