"""
How long puts, takes and peeks take inside a worker, in round trips to servers that are a chosen time away.

    python -m tests.benchmarks lockers [--coins 1,200] [--delays 0,50] [--silent 0,4,12] [--what put,take,peek]
    python -m tests.benchmarks lockers … --keep FILE      also append what each run took to a file, and
    python -m tests.benchmarks lockers --table FILE       print the table of all that was kept, whenever it was

A network of its own runs in another process, so that it shares the cores and not the interpreter. Each measurement
has fresh coins, and a process of its own, whose largest size is told too. The worker has been at work for a while: it
does some tasks of the same kind first, as its statements are planned and its memory its own only then. It knows
nothing of servers that were silent before, and has the deadline of production.
"""

import argparse
import json
import os
import pickle
import resource
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import django

from config.dev.embedded import ROOT
from config.dev.ports import raida_ports_are_free
from config.dev.processes import Child
from tests.benchmarks import machine

REPEATS: Mapping[int, int] = {1: 7, 200: 7, 1_000: 3}
WHATS = ("put", "take", "peek")
# Tasks that the worker does first, of at most this many coins. PostgreSQL plans a statement anew five times.
WARM_UP = 6
WARM_UP_COINS = 200
PEEKED_COINS = 200
COLUMNS = """| what | coins | delay | silent | time | round trips | asking | CPU | memory |
|---|--:|--:|--:|--:|--:|--:|--:|--:|"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One task in a worker; seconds, of which `asking` waited for servers, and the process's megabytes."""

    seconds: float
    asking: float
    cpu: float
    megabytes: int


@dataclass(frozen=True, slots=True)
class Case:
    """A number of coins, and servers with a delay in milliseconds, of which some are silent."""

    what: str
    coins: int
    delay: int
    silent: int


Work = Callable[[], object]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks lockers", description=__doc__)
    for name, default in (("coins", "1,200,1000,10000"), ("delays", "0,50"), ("silent", "0,4,12")):
        parser.add_argument(f"--{name}", default=default, type=lambda text: [int(each) for each in text.split(",")])
    parser.add_argument("--what", default=",".join(WHATS), type=lambda text: text.split(","))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--table", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.table is not None:
        print_table(chosen.table)
        return
    with machine.running() as running:
        os.environ["COPPICE_LOG_LEVEL"] = "WARNING"
        base = next(base for base in range(21000, 30000, 25) if raida_ports_are_free(base))
        os.environ["COPPICE_RAIDA_HOSTS"] = ",".join(f"127.0.0.1:{base + raida}" for raida in range(25))
        django.setup()
        network = running.children.spawn(
            "RAIDA network",
            [
                sys.executable,
                ROOT / "manage.py",
                "raidanet",
                "--directory",
                running.state / "raida",
                "--base-port",
                str(base),
            ],
            environ=running.environment,
            directory=ROOT,
        )
        Benchmark(running, network).measure(chosen)


class Benchmark:
    def __init__(self, running: machine.Machine, network: Child) -> None:
        # These read Django's settings, which name the database only now.
        from lockers import tasks, vault
        from lockers import transport as wire
        from lockers.localnet import fleet, minting
        from lockers.localnet.control import Control
        from lockers.models import Coin, LockerTask, ServerHealth
        from lockers.operations import put, take
        from lockers.raida.coins import Coin as WireCoin
        from lockers.worker import broadcast, peek
        from tests.lockers import stock
        from wallets import operations as wallets

        self.looking, self.put, self.take, self.tasks = peek, put, take, tasks
        self.wire, self.minting = wire, minting
        self.secrecy, self.stock, self.wallets = vault, stock, wallets
        self.Coin, self.LockerTask, self.ServerHealth, self.WireCoin = Coin, LockerTask, ServerHealth, WireCoin
        self.servers = broadcast.servers()
        self.control = Control(running.state / "raida")
        running.children.wait_until(self._answers, network, timeout_seconds=30)
        self.admin_key = fleet.read_admin_key(running.state / "raida")
        self.next_number = 0
        self.next_wallet = 0

    def _answers(self) -> bool:
        from lockers.localnet.control import ControlFailed

        try:
            self.control.state()
        except ControlFailed:
            return False
        return True

    def measure(self, chosen: Any) -> None:
        print(f"{machine.described()}, commit {machine.commit()}\n\n{COLUMNS}", flush=True)
        for coins in chosen.coins:
            for delay in chosen.delays:
                for silent in chosen.silent:
                    for what in chosen.what:
                        if what != "peek" or coins == PEEKED_COINS:
                            case = Case(what, coins, delay, silent)
                            runs = self.run(case)
                            print(_line(case, runs), flush=True)
                            _keep(chosen.keep, case, runs)

    # --- cases ---------------------------------------------------------------------------

    def run(self, case: Case) -> list[Measured]:
        prepare = {"put": self._a_put, "take": self._a_take, "peek": self._a_peek}[case.what]
        works = [prepare(min(case.coins, WARM_UP_COINS)) for _ in range(WARM_UP)]
        works += [prepare(case.coins) for _ in range(REPEATS.get(case.coins, 1))]
        with self._servers_that(case.delay, case.silent):
            runs = _in_a_process(lambda: [self._timed(work) for work in works])
        unfinished = self.LockerTask.objects.exclude(state="completed").values_list("kind", "message").first()
        assert unfinished is None, unfinished
        return runs[WARM_UP:]

    def _a_put(self, coins: int) -> Work:
        wallet = self._stocked(coins)
        begun = self.put.start(actor=wallet, name=wallet.name, units=coins * 10**8)
        return lambda: self.tasks.run(str(begun.task.pk))

    def _a_take(self, coins: int) -> Work:
        wallet = self._wallet()
        begun = self.take.start(actor=wallet, name=wallet.name, code=self.filled(coins))
        return lambda: self.tasks.run(str(begun.task.pk))

    def _a_peek(self, coins: int) -> Work:
        code, wallet = self.filled(coins), self._wallet()

        def look() -> None:
            assert len(self.looking.peek(actor_id=wallet.pk, code=code).coins) == coins

        return look

    # --- their parts ---------------------------------------------------------------------

    def _wallet(self) -> Any:
        self.next_wallet += 1
        return self.wallets.create_wallet(name=f"wallet-{self.next_wallet}")

    def _stocked(self, count: int) -> Any:
        """A wallet with `count` coins of 1, as if they had been imported, and one more to encrypt with."""
        wallet, count = self._wallet(), max(4, count + 1)
        numbers = range(self.next_number, self.next_number + count)
        self.next_number += count
        rows = []
        for start in range(0, count, 1000):
            some = [self.WireCoin(0, number) for number in numbers[start : start + 1000]]
            # The last batch of all has at least four.
            some += [self.WireCoin(1, self.next_number + spare) for spare in range(4 - len(some))]
            for record in self.minting.mint(self.servers, some, self.admin_key):
                row = self.Coin(
                    wallet=wallet,
                    denomination=record.coin.denomination,
                    serial_number=record.coin.serial_number,
                    state="bank",
                    origin="import",
                    pown="p" * 25,
                )
                row.secrets = self.secrecy.seal_numbers(record.ans, coin_id=row.pk)
                rows.append(row)
        self.Coin.objects.bulk_create(rows, batch_size=1000)
        self.stock.post(wallet, sum(self.WireCoin(row.denomination, 0).value for row in rows))
        return wallet

    def filled(self, coins: int) -> str:
        wallet, code = self._stocked(coins), f"A-LOCKER-TO-MEASURE-{secrets.token_hex(8)}"
        begun = self.put.start(actor=wallet, name=wallet.name, units=coins * 10**8, transmit_code=code)
        self.tasks.run(str(begun.task.pk))
        assert self.LockerTask.objects.get(pk=begun.task.pk).state == "completed"
        return code

    @contextmanager
    def _servers_that(self, delay: int, silent: int) -> Iterator[None]:
        if delay:
            self.control.fault(f"*=delay:{delay / 1000}")
        if silent:
            self.control.fault(f"0-{silent - 1}=silent")
        yield
        self.control.clear()

    def _timed(self, work: Work) -> Measured:
        self.ServerHealth.objects.all().delete()
        asking, ask = 0.0, self.wire.ask

        def ask_and_count(*arguments: Any, listener: Any = None, **how: Any) -> Any:
            begun = time.monotonic()
            is_counted = False

            def count(results: Any) -> None:
                nonlocal asking, is_counted
                asking, is_counted = asking + time.monotonic() - begun, True
                listener.on_verdict(results)

            heard = None if listener is None else replace(listener, on_verdict=count)
            results = ask(*arguments, listener=heard, **how)
            if not is_counted:
                count_all(time.monotonic() - begun)
            return results

        def count_all(seconds: float) -> None:
            nonlocal asking
            asking += seconds

        self.wire.ask = ask_and_count
        begun, cpu = time.monotonic(), time.process_time()
        work()
        seconds, used = time.monotonic() - begun, time.process_time() - cpu
        self.wire.ask = ask
        return Measured(seconds, asking, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def _in_a_process(work: Callable[[], list[Measured]]) -> list[Measured]:
    """Return what the work returned in a fork of this process."""
    from django.db import connections

    connections.close_all()
    reader, writer = os.pipe()
    if not (child := os.fork()):
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(work(), pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    runs: list[Measured] = pickle.loads(data)
    return runs


def _keep(file: Path | None, case: Case, runs: Sequence[Measured]) -> None:
    if file is not None:
        with file.open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps([asdict(case), asdict(run)]) + "\n" for run in runs)


def print_table(file: Path) -> None:
    """Print the medians of all runs that a file has."""
    runs: dict[Case, list[Measured]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        case, run = json.loads(line)
        runs.setdefault(Case(**case), []).append(Measured(**run))
    print(COLUMNS)
    for case in sorted(runs, key=lambda case: (case.coins, case.delay, case.silent, WHATS.index(case.what))):
        print(_line(case, runs[case]))


def _line(case: Case, runs: Sequence[Measured]) -> str:
    seconds = statistics.median(run.seconds for run in runs)
    trips = f"{seconds * 1000 / case.delay:.2f}" if case.delay else ""
    asking = statistics.median(run.asking for run in runs)
    cpu = statistics.median(run.cpu for run in runs)
    memory = max(run.megabytes for run in runs)
    return (
        f"| {case.what} | {case.coins:,} | {case.delay} ms | {case.silent} | {seconds * 1000:,.0f} ms | {trips}"
        f" | {asking * 1000:,.0f} ms | {cpu * 1000:,.0f} ms | {memory} MB |"
    )
