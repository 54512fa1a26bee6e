"""
Workers are killed, or stopped for too long, while a chosen command is out.

The network holds its answers for a moment, so that the signal lands in the middle. Afterwards
every task is final by itself within seconds, no coin is lost or doubled, and the servers hold
what the books say.
"""

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
from django.utils import timezone

from lockers import operations
from lockers.localnet.fleet import LocalNetwork
from lockers.models import Coin, LockerTask
from lockers.operations import Started
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.commands import Command
from lockers.raida.files import write_bin
from tests.chaos.worker import Worker
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.lockers.test_put import find, give
from wallets import operations as wallets
from wallets.models import Wallet

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_SECONDS = 40
_numbers = count(1)


@pytest.fixture
def start_worker(transactional_db: None, network: LocalNetwork, tmp_path: Path) -> Iterator[Callable[[], Worker]]:
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(network, tmp_path / f"{len(started)}"))
        return started[-1]

    yield start
    for worker in started:
        worker.stop()


class World:
    """What the beginnings of tasks need: coins, and wallets that nobody else uses."""

    def __init__(self, network: LocalNetwork, mint: Mint) -> None:
        self.network = network
        self.mint = mint

    def wallet(self) -> Wallet:
        return wallets.create_wallet(name=f"wallet-{next(_numbers)}")

    def import_(self) -> Started:
        wallet = self.wallet()
        upload = ("coins.bin", write_bin(self.mint(1, 0, 0, 0)))
        return operations.start_import(actor=wallet, name=wallet.name, uploads=[upload])

    def put(self, code: str | None = None) -> Started:
        wallet = self.wallet()
        give(wallet, self.mint(1, 1, 0, 0))
        return operations.start_put(
            actor=wallet, name=wallet.name, units=21 * UNITS_PER_COIN, tag="", transmit_code=code
        )

    def break_(self) -> Started:
        wallet = self.wallet()
        give(wallet, self.mint(1, 0, 0, 0))
        return operations.start_put(actor=wallet, name=wallet.name, units=5 * UNITS_PER_COIN)

    def fix(self) -> Started:
        wallet = self.wallet()
        records = self.mint(1, 0, 0, 0)
        self.network.fault(range(3), "wrong-secret")
        give(wallet, records)
        self.network.clear()
        return operations.start_fix(actor=wallet, name=wallet.name)

    def take(self) -> Started:
        code = f"KILL-THE-WORKER-{next(_numbers)}"
        assert finish(self.put(code)).state == "completed"
        taker = self.wallet()
        return operations.start_take(actor=taker, name=taker.name, code=code)


# How a task begins, the command during which its worker dies, and how the network holds it:
# `delay` does the work and answers late, `late` does the work after the worker's death.
MOMENTS: list[tuple[Callable[[World], Started], Command, str]] = [
    (World.import_, Command.POWN, "delay:0.6"),
    (World.put, Command.PUT, "late:0.6"),
    (World.put, Command.PUT, "delay:0.6"),
    (World.break_, Command.BREAK, "late:0.6"),
    (World.break_, Command.BREAK, "delay:0.6"),
    (World.fix, Command.FIX, "delay:0.6"),
    (World.take, Command.PEEK, "delay:0.6"),
    (World.take, Command.REMOVE, "delay:0.6"),
]


def test_tasks_survive_workers_that_are_killed_at_every_step(
    network: LocalNetwork,
    mint: Mint,
    start_worker: Callable[[], Worker],
    record_property: Callable[[str, object], None],
) -> None:
    world = World(network, mint)
    tasks: list[Started] = []
    for begin, command, hold in MOMENTS:
        tasks.append(begin(world))
        network.fault(range(25), hold)
        worker = start_worker()
        _wait_for_command(network, command, tasks[-1], worker)
        worker.kill()
        killed_at = timezone.now()
        assert _state(tasks[-1]) == "running"
        network.clear()

    worker = start_worker()
    for started in tasks:
        _wait_until(lambda started=started: _state(started) != "running", worker)
    last = LockerTask.objects.get(pk=tasks[-1].task.pk)
    assert last.finished_at is not None
    record_property("recovery_seconds", round((last.finished_at - killed_at).total_seconds(), 1))
    worker.stop()

    assert [LockerTask.objects.get(pk=started.task.pk).attempt >= 2 for started in tasks] == [True] * len(tasks)
    _assert_nothing_is_lost()


def test_a_roll_back_survives_two_deaths(network: LocalNetwork, mint: Mint, start_worker: Callable[[], Worker]) -> None:
    world = World(network, mint)
    started = world.put()
    network.fault(range(13), "wrong-secret")
    # These cannot decrypt either, and are asked a second time within the deadline.
    network.fault(range(25), "delay:0.35")
    for command in (Command.REMOVE, Command.DETECT):
        worker = start_worker()
        _wait_for_command(network, command, started, worker)
        worker.kill()
        assert _state(started) == "running"

    network.clear()
    worker = start_worker()
    _wait_until(lambda: _state(started) != "running", worker)
    worker.stop()

    task = LockerTask.objects.get(pk=started.task.pk)
    assert (task.state, task.attempt, task.result["total_failed"]) == ("error", 3, 21 * UNITS_PER_COIN)
    assert states(task.wallet) == {"bank": 4}
    _assert_nothing_is_lost()


def test_a_worker_that_slept_through_its_lease_changes_nothing_when_it_wakes(
    network: LocalNetwork, mint: Mint, start_worker: Callable[[], Worker]
) -> None:
    world = World(network, mint)
    started = world.put()
    network.fault(range(25), "delay:0.6")
    sleeper = start_worker()
    _wait_for_command(network, Command.PUT, started, sleeper)
    sleeper.signal(SIGSTOP)
    assert _state(started) == "running"
    network.clear()

    _wait_until(lambda: _state(started) != "running", start_worker())
    ended = LockerTask.objects.get(pk=started.task.pk)
    sleeper.signal(SIGCONT)
    _wait_until(lambda: "was taken over" in sleeper.log.read_text(), sleeper)

    again = LockerTask.objects.get(pk=started.task.pk)
    assert (again.state, again.attempt) == ("completed", 2)
    assert (again.result, again.finished_at) == (ended.result, ended.finished_at)
    _assert_nothing_is_lost()


def _assert_nothing_is_lost() -> None:
    for wallet in Wallet.objects.filter(coins__state="limbo").distinct():
        find(wallet)
    assert set(Coin.objects.values_list("state", flat=True)) <= {"bank", "fracked", "locked", "sent", "broken", "void"}
    assert_true_to_the_servers()


def _state(started: Started) -> str:
    return LockerTask.objects.get(pk=started.task.pk).state


def _wait_for_command(network: LocalNetwork, command: Command, started: Started, worker: Worker) -> None:
    """Return when the task's command has reached servers and their answers are still held back."""
    seen = network.seen(command)
    task = LockerTask.objects.filter(pk=started.task.pk)
    if command is Command.PEEK:
        _wait_until(lambda: task.filter(step="peeking").exists() and network.seen(command) > seen + 9, worker)
    else:
        out = task.filter(attempts__command=command.name, attempts__settled_at=None)
        # A fix goes to the three servers that refused only.
        enough = 2 if command is Command.FIX else 9
        _wait_until(lambda: out.exists() and network.seen(command) > seen + enough, worker)


def _wait_until(true: Callable[[], bool], worker: Worker) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, worker.log.read_text()[-3000:]
        time.sleep(0.02)
