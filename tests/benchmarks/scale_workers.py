"""One and several workers over the same number of tasks: each puts one coin into a locker."""

import statistics
import sys
import time
from typing import Any

from config.dev.embedded import ROOT
from config.dev.processes import Child
from tests.benchmarks import lockers, machine, memory
from tests.benchmarks.results import spread

# The part of the tasks that is done before measuring begins: PostgreSQL plans statements anew, and the workers start.
_FIRST_SHARE = 5
_PATIENCE_SECONDS = 3600


def measure(running: machine.Machine, stock: lockers.Benchmark, network: Child, *, tasks: int, turns: int) -> None:
    """Let one worker and three do the tasks in turn, and print what each took, as a ratio to one worker."""
    rows: dict[int, list[dict[str, float]]] = {1: [], 3: []}
    for turn in range(turns):
        for workers in (1, 3) if turn % 2 else (3, 1):
            rows[workers].append(_one(running, stock, network, tasks=tasks, workers=workers))
            print(f"workers {workers}: {rows[workers][-1]}", flush=True)
    print("\n| tasks of one coin, three tasks at once in each worker | 1 worker | 3 workers ÷ 1 |\n|---|--:|--:|")
    for name in rows[1][0]:
        ratios = [more[name] / one[name] for one, more in zip(rows[1], rows[3], strict=True)]
        print(f"| {name} | {statistics.median(row[name] for row in rows[1]):,.1f} | {spread(ratios)} |")


def _one(
    running: machine.Machine, stock: lockers.Benchmark, network: Child, *, tasks: int, workers: int
) -> dict[str, float]:
    wallets = [stock._stocked(1) for _ in range(tasks)]
    begun = [stock.put.start(actor=wallet, name=wallet.name, units=10**8).task.pk for wallet in wallets]
    sessions_before = _sessions(running)
    children = [
        running.children.spawn(
            f"worker {number}",
            [sys.executable, "-m", "celery", "-A", "config.celery", "worker", "-c", "3", "--without-gossip",
             "--without-mingle", "-n", f"scale-{number}@localhost", "-l", "WARNING"],
            environ=running.environment, directory=ROOT,
        )
        for number in range(workers)
    ]  # fmt: skip
    try:
        first, _ = _wait(running, stock, begun, at_least=-(-tasks // _FIRST_SHARE))
        started, before = time.monotonic(), _spent(running, network, children)
        last, sessions = _wait(running, stock, begun, at_least=tasks)
        seconds = time.monotonic() - started
        used = [now - then for now, then in zip(_spent(running, network, children), before, strict=True)]
        done = last - first
        return {
            "tasks a second": done / seconds,
            "worker, ms of processor time a task": 1000 * used[0] / done,
            "PostgreSQL, ms of processor time a task": 1000 * used[1] / done,
            "25 local servers, ms of processor time a task": 1000 * used[2] / done,
            "memory of one worker (4 processes, PSS), MB": memory.proportional(children[0].pid) / 1e6,
            "sessions of PostgreSQL at most": float(sessions - sessions_before),
            "load average": machine.load_average(),
        }
    finally:
        running.children.stop(children, patience_seconds=30)


def _sessions(running: machine.Machine) -> int:
    with running.connect() as connection:
        (sessions,) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone() or (0,)
    return int(str(sessions))


def _spent(running: machine.Machine, network: Child, children: list[Child]) -> list[float]:
    assert running.postgres.child is not None
    return [
        sum(machine.cpu_seconds(child.pid) for child in children),
        machine.cpu_seconds(running.postgres.child.pid),
        machine.cpu_seconds(network.pid),
    ]


def _wait(running: machine.Machine, stock: lockers.Benchmark, begun: list[Any], *, at_least: int) -> tuple[int, int]:
    """Return the number of completed tasks when there are that many, and the most sessions that were seen meanwhile."""
    deadline, sessions = time.monotonic() + _PATIENCE_SECONDS, 0
    tasks = stock.LockerTask.objects.filter(pk__in=begun)
    while True:
        states = list(tasks.values_list("state", flat=True))
        done, sessions = states.count("completed"), max(sessions, _sessions(running))
        if done >= at_least:
            return done, sessions
        if time.monotonic() > deadline or "error" in states:
            raise RuntimeError(f"{done} of {at_least} tasks were completed")
        # Reading the states of many tasks takes processor time of PostgreSQL too.
        time.sleep(0.1 + len(begun) / 5_000)
