"""What befalls a task at one of its points, and how it is brought to its end afterwards."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Self

from django.db import connection

from lockers import competing_claims, tasks
from lockers.models import LockerTask, StatementLine
from tests.chaos import nursery
from tests.chaos.world import Scene
from tests.support.databases import database_url
from tests.support.local_network import LocalNetwork

PATIENCE_SECONDS = 120
# Of a worker with its servers: it must have passed before a worker that was stopped wakes.
DEADLINE_SECONDS = 0.6


class Nursery:
    """A process from which workers are forked, over the database that is in use."""

    def __init__(self, directory: Path, network: LocalNetwork) -> None:
        self.network = network
        self._path = directory / "nursery.sock"
        self._log = (directory / "nursery.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-c", nursery.COMMAND, str(self._path)],
            env=os.environ | {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "config.settings.test"},
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def work(self, scene: Scene, *, hold: Collection[int] = ()) -> "Worker":
        """Let a child work on the task of a scene."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            channel = socket.socket(socket.AF_UNIX)
            try:
                channel.connect(str(self._path))
            except OSError:
                channel.close()
                assert self._process.poll() is None, Path(self._log.name).read_text()
                assert time.monotonic() < end
                time.sleep(0.02)
            else:
                break
        order = {
            "task": str(scene.task.task.pk),
            "hosts": self.network.hosts,
            "timeout": DEADLINE_SECONDS,
            "hold": sorted(hold),
            "refuse": dict(scene.refuse),
        }
        return Worker(channel, order)


class Worker:
    """One forked worker, from its parent's side."""

    def __init__(self, channel: socket.socket, order: Mapping[str, Any]) -> None:
        channel.settimeout(PATIENCE_SECONDS)
        self._channel = channel
        self._stream = channel.makefile("rw", encoding="utf-8")
        self._stream.write(json.dumps(order) + "\n")
        self._stream.flush()
        self.pid: int = self.next()["pid"]

    def next(self) -> dict[str, Any]:
        """Return what it says next: that it is held at a point, or how it ended."""
        line = self._stream.readline()
        word: dict[str, Any] = json.loads(line) if line else {"word": "died"}
        return word

    def end(self) -> dict[str, Any]:
        """Let it go on from where it is held, and return how it ended."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.write("\n")
            self._stream.flush()
        return self.next()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.next() == {"word": "died"}

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stream.close()
        self._channel.close()


def recover(children: Nursery, scene: Scene) -> None:
    """Work on the task until it is final, as the sweep would have it done once the lease has run out."""
    for _ in range(4):
        if scene.state() != "running":
            return
        scene.expire_lease()
        # As the sweep does with tasks that waited for the claims of others.
        competing_claims.unpark(limit=100)
        worker = children.work(scene)
        worker.next()
        worker.close()
    raise AssertionError("the task never became final")


def kill(children: Nursery, scene: Scene, worker: Worker) -> None:
    worker.kill()


def let_another_take(children: Nursery, scene: Scene, worker: Worker) -> None:
    """Another wallet takes the same coins to the end, and then the worker is gone."""
    if scene.rival is None:
        worker.end()
        return
    rival = scene.rival().task
    tasks.run(str(rival.pk))
    worker.kill()
    recover(children, scene)
    for _ in range(4):
        if not LockerTask.objects.filter(pk=rival.pk, state="running").exists():
            break
        competing_claims.unpark(limit=100)
        tasks.run(str(rival.pk))


def stop_and_wake(children: Nursery, scene: Scene, worker: Worker) -> None:
    """The worker sleeps, another takes its task over and ends it, and then the first one wakes."""
    os.kill(worker.pid, signal.SIGSTOP)
    time.sleep(DEADLINE_SECONDS)
    recover(children, scene)
    before = books_of(scene)
    os.kill(worker.pid, signal.SIGCONT)
    ended = worker.end()
    assert ended["word"] == "returned", ended
    assert books_of(scene) == before, "a worker that had lost its task changed the books"


def books_of(scene: Scene) -> tuple[Any, ...]:
    """All that a worker that was taken over must leave as it is."""
    rows = [(row.pk, row.state, row.pown, row.outcome, bytes(row.secrets), row.task_id) for row in scene.coins()]
    task = LockerTask.objects.filter(pk=scene.task.task.pk).values().get()
    return sorted(rows), task, StatementLine.objects.filter(wallet__in=scene.wallets).count()


def restart_postgres(restart: Callable[[], None], children: Nursery, scene: Scene, worker: Worker) -> None:
    """The database is ended without a word and replays its log; the worker finds its connection cut."""
    restart()
    connection.close()
    worker.end()


def restart_servers(children: Nursery, scene: Scene, worker: Worker) -> None:
    """All RAIDA servers start anew, and lose their tickets."""
    children.network.fault(range(25), "restart")
    worker.end()


def restart_servers_that_forget(children: Nursery, scene: Scene, worker: Worker) -> None:
    """All RAIDA servers start anew, and forget their lockers too."""
    children.network.fault(range(25), "forget")
    worker.end()


def kill_servers(children: Nursery, scene: Scene, worker: Worker) -> None:
    """13 RAIDA servers are gone from here on, until the task is final."""
    children.network.fault(range(13), "down")
    worker.end()
    recover(children, scene)
    children.network.clear()


def kill_servers_after_work(children: Nursery, scene: Scene, worker: Worker) -> None:
    """13 RAIDA servers do the work of the next request and die before they answer."""
    children.network.fault(range(12, 25), "crash")
    worker.end()
    recover(children, scene)
    children.network.clear()
