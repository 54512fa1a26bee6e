"""
Outages of the product's own processes, in real time: how long until what was cut off is done by itself.

The network holds its answers for a moment, so that a blow lands in the middle.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Final

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from config.dev.private_servers import Valkey
from config.dev.processes import Children
from lockers.models import LockerTask
from lockers.raida.commands import Command
from tests.benchmarks.machine import Machine
from tests.chaos.blows import books_of
from tests.chaos.worker import Worker
from tests.chaos.world import Scene, World
from tests.support.local_network import LocalNetwork

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
    hold(network, scene, Command.PUT, first)
    first.kill_child_at_work()
    yield "worker's child killed amid a put", _recovery(network, scene, first)

    _asleep(first)
    scene = makes.take()
    hold(network, scene, Command.REMOVE, first)
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
    hold(network, scene, Command.POWN, worker)
    worker.kill()
    worker = start()
    yield "worker killed amid an import, another begun", _recovery(network, scene, worker)

    _asleep(worker)
    scene = makes.put()
    hold(network, scene, Command.PUT, worker)
    lose_memory(machine.valkey, machine.children)
    worker.kill_child_at_work()
    yield "broker's memory lost and a child killed", _recovery(network, scene, worker)

    _asleep(worker)
    yield (
        "broker's memory lost, no process of ours killed",
        of_a_lost_broker(makes, worker, partial(lose_memory, machine.valkey, machine.children)),
    )

    _asleep(worker)
    scene = makes.put_that_breaks()
    hold(network, scene, Command.BREAK, worker)
    machine.restart_postgres()
    connection.close()
    yield "PostgreSQL restarted amid a break", _recovery(network, scene, worker)


def of_a_lost_broker(makes: World, worker: Worker, lose: Callable[[], None]) -> float:
    """
    The broker is killed while a sleeping worker's next task is under way: both go on.

    Returns how many seconds after the broker was back the next task was final.
    """
    first = put_that_waits(makes)
    hold(makes.network, first, Command.PUT, worker)
    lose()
    makes.network.clear()
    worker.wait_until(lambda: first.state() != "running")
    assert worker.is_alive
    second = put_that_waits(makes)
    begun = timezone.now()
    worker.wait_until(lambda: second.state() != "running")
    for scene in (first, second):
        task = LockerTask.objects.get(pk=scene.task.task.pk)
        assert (task.attempt, task.state) == (1, "completed")
        assert task.finished_at is not None
        scene.assert_nothing_is_lost()
    return (task.finished_at - begun).total_seconds()


def put_that_waits(makes: World) -> Scene:
    """A put whose message was published long ago: the broker that was lost no longer has it."""
    scene = makes.put()
    forget_the_message(scene)
    return scene


def forget_the_message(scene: Scene) -> None:
    """Let the next sweep publish a message for the task, as if that of its beginning had been lost a minute ago."""
    LockerTask.objects.filter(pk=scene.task.task.pk).update(rung_at=Now() - timedelta(minutes=1))


def _asleep(worker: Worker) -> Worker:
    """Put a worker to sleep, so that it does not begin before the servers are told to keep it waiting."""
    worker.signal(SIGSTOP)
    return worker


def hold(network: LocalNetwork, scene: Scene, command: Command, worker: Worker) -> None:
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


def lose_memory(broker: Valkey, children: Children) -> None:
    """Kill the broker, and start one that knows nothing."""
    child = broker.child
    assert child is not None
    child.process.send_signal(SIGKILL)
    child.process.wait(timeout=60)
    shutil.rmtree(broker.state / "valkey")
    broker.start(children)
