"""
Outages of the product's own processes, in real time: how long until what was cut off is done by itself.

The network holds its answers for a moment, so that a blow lands in the middle.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Final

from django.db import connection
from django.utils import timezone

from lockers.localnet.fleet import LocalNetwork
from lockers.models import LockerTask
from lockers.raida.commands import Command
from tests.benchmarks.machine import Machine
from tests.chaos.blows import books_of
from tests.chaos.worker import Worker
from tests.chaos.world import Scene, World

Outage = tuple[str, float]
# Answers that come later than a blow, and sooner than the worker's deadline.
_HOLD: Final = "delay:1.6"


@contextmanager
def workers(network: LocalNetwork, directory: Path) -> Iterator[Callable[[], Worker]]:
    """Give what starts a worker; all of them are killed at the end."""
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(network, directory / f"worker-{len(started)}"))
        return started[-1]

    try:
        yield start
    finally:
        for worker in started:
            worker.stop()


def of_workers(makes: World, start: Callable[[], Worker]) -> Iterator[Outage]:
    """A worker's child is killed; a worker sleeps through its lease, and wakes when another has done its work."""
    network = makes.network
    first = _asleep(start())
    scene = makes.put()
    _hold(network, scene, Command.PUT, first)
    first.kill_child_at_work()
    yield "worker's child killed amid a put", _recovery(network, scene, first)

    _asleep(first)
    scene = makes.take()
    _hold(network, scene, Command.REMOVE, first)
    first.signal(SIGSTOP)
    second = start()
    yield "worker stopped amid a take, another begun", _recovery(network, scene, second)
    before = books_of(scene)
    first.signal(SIGCONT)
    first.wait_until(lambda: "was taken over" in first.log.read_text())
    assert books_of(scene) == before
    first.kill()
    second.kill()


def of_everything(makes: World, start: Callable[[], Worker], machine: Machine) -> Iterator[Outage]:
    """The same, and then the worker, its broker and its database are ended without a word."""
    network = makes.network
    yield from of_workers(makes, start)

    worker = _asleep(start())
    scene = makes.import_()
    _hold(network, scene, Command.POWN, worker)
    worker.kill()
    worker = start()
    yield "worker killed amid an import, another begun", _recovery(network, scene, worker)

    _asleep(worker)
    scene = makes.put()
    _hold(network, scene, Command.PUT, worker)
    _lose_memory(machine)
    worker.kill_child_at_work()
    yield "broker's memory lost and a child killed", _recovery(network, scene, worker)

    _asleep(worker)
    scene = makes.put_that_breaks()
    _hold(network, scene, Command.BREAK, worker)
    machine.restart_postgres()
    connection.close()
    yield "PostgreSQL restarted amid a break", _recovery(network, scene, worker)


def _asleep(worker: Worker) -> Worker:
    """Put a worker to sleep, so that it does not begin before the servers are told to keep it waiting."""
    worker.signal(SIGSTOP)
    return worker


def _hold(network: LocalNetwork, scene: Scene, command: Command, worker: Worker) -> None:
    """Wake a worker that sleeps, and return when the task's command has reached servers and is not answered yet."""
    seen = network.seen(command)
    network.fault(range(25), _HOLD)
    worker.signal(SIGCONT)
    task = LockerTask.objects.filter(pk=scene.task.task.pk, state="running")
    out = task.filter(attempts__command=command.name, attempts__settled_at=None)
    worker.wait_until(lambda: out.exists() and network.seen(command) > seen + 9)


def _recovery(network: LocalNetwork, scene: Scene, worker: Worker) -> float:
    """Wait until the task is final, and return how many seconds after the blow that was."""
    begun = timezone.now()
    network.clear()
    worker.wait_until(lambda: scene.state() != "running")
    task = LockerTask.objects.get(pk=scene.task.task.pk)
    assert task.attempt >= 2
    assert task.finished_at is not None
    scene.assert_nothing_is_lost()
    return (task.finished_at - begun).total_seconds()


def _lose_memory(machine: Machine) -> None:
    """Kill the broker, and start one that knows nothing."""
    child = machine.valkey.child
    assert child is not None
    child.process.send_signal(SIGKILL)
    child.process.wait(timeout=30)
    shutil.rmtree(machine.state / "valkey")
    machine.valkey.start(machine.children)
