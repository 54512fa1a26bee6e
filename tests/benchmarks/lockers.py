"""
How long puts, takes and peeks take inside a worker, in round trips to servers that are a chosen time away.

    python -m tests.benchmarks lockers [--coins 1,200] [--delays 0,50] [--silent 0,4,12]

A network of its own runs in another process, so that it shares the cores and not the interpreter. Each measurement
has fresh coins, and a process of its own, whose largest size is told too. The worker is one that knows nothing of
servers that were silent before, and has the deadline of production.
"""

import argparse
import os
import pickle
import resource
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import django

from config.children import Child
from config.embedded import ROOT, raida_ports_are_free
from tests.benchmarks import machine

REPEATS: Mapping[int, int] = {1: 7, 200: 7, 1_000: 3}
COLUMNS = """| what | coins | delay | silent | time | round trips | asking | CPU | memory |
|---|--:|--:|--:|--:|--:|--:|--:|--:|"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One task in a worker; seconds, of which `asking` waited for servers, and the process's megabytes."""

    seconds: float
    asking: float
    cpu: float
    megabytes: int


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks lockers", description=__doc__)
    for name, default in (("coins", "1,200,1000,10000"), ("delays", "0,50"), ("silent", "0,4,12")):
        parser.add_argument(f"--{name}", default=default, type=lambda text: [int(each) for each in text.split(",")])
    chosen = parser.parse_args(arguments)
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
        from lockers import engine, exchange, operations, secrecy, tasks
        from lockers import network as wire
        from lockers.localnet import fleet, minting
        from lockers.localnet.control import Control
        from lockers.models import Coin, LockerTask, ServerHealth
        from lockers.raida.coins import Coin as WireCoin
        from tests.lockers import stock
        from wallets import operations as wallets

        self.engine, self.operations, self.tasks, self.wire, self.minting = engine, operations, tasks, wire, minting
        self.secrecy, self.stock, self.wallets = secrecy, stock, wallets
        self.Coin, self.LockerTask, self.ServerHealth, self.WireCoin = Coin, LockerTask, ServerHealth, WireCoin
        self.servers = exchange.servers()
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
                    for what in (self.put, self.take, *([self.peek] if coins == 200 else [])):
                        runs = [what(coins, delay, silent) for _ in range(REPEATS.get(coins, 1))]
                        print(_line(what.__name__, coins, delay, silent, runs), flush=True)

    # --- cases ---------------------------------------------------------------------------

    def put(self, coins: int, delay: int, silent: int) -> Measured:
        wallet = self._stocked(coins)
        begun = self.operations.start_put(actor=wallet, name=wallet.name, units=coins * 10**8)
        return self._work_on(begun.task.pk, self._another_put(), delay, silent)

    def take(self, coins: int, delay: int, silent: int) -> Measured:
        code = self._filled(coins)
        wallet = self._wallet()
        another = self.operations.start_take(actor=wallet, name=wallet.name, code=self._filled(1))
        begun = self.operations.start_take(actor=wallet, name=wallet.name, code=code)
        return self._work_on(begun.task.pk, another.task.pk, delay, silent)

    def peek(self, coins: int, delay: int, silent: int) -> Measured:
        code = self._filled(coins)

        def look() -> None:
            assert len(self.engine.peek(code=code).coins) == coins

        with self._servers_that(delay, silent):
            return _in_a_process(self._timed(look, look))

    # --- their parts ---------------------------------------------------------------------

    def _wallet(self) -> Any:
        self.next_wallet += 1
        return self.wallets.create_wallet(name=f"wallet-{self.next_wallet}")

    def _stocked(self, count: int) -> Any:
        """A wallet with so many coins of 1, as if they had been imported, and one to encrypt with."""
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

    def _filled(self, coins: int) -> str:
        wallet, code = self._stocked(coins), f"A-LOCKER-TO-MEASURE-{secrets.token_hex(8)}"
        begun = self.operations.start_put(actor=wallet, name=wallet.name, units=coins * 10**8, transmit_code=code)
        self.tasks.run(str(begun.task.pk))
        assert self.LockerTask.objects.get(pk=begun.task.pk).state == "completed"
        return code

    def _another_put(self) -> Any:
        wallet = self._stocked(1)
        return self.operations.start_put(actor=wallet, name=wallet.name, units=10**8).task.pk

    def _work_on(self, task_id: Any, another_id: Any, delay: int, silent: int) -> Measured:
        with self._servers_that(delay, silent):
            measured = _in_a_process(
                self._timed(lambda: self.tasks.run(str(task_id)), lambda: self.tasks.run(str(another_id)))
            )
        ended = self.LockerTask.objects.get(pk=task_id)
        assert ended.state == "completed", ended.message
        return measured

    @contextmanager
    def _servers_that(self, delay: int, silent: int) -> Iterator[None]:
        self.ServerHealth.objects.all().delete()
        if delay:
            self.control.fault(f"*=delay:{delay / 1000}")
        if silent:
            self.control.fault(f"0-{silent - 1}=silent")
        yield
        self.control.clear()

    def _timed(self, work: Callable[[], object], before: Callable[[], object]) -> Callable[[], Measured]:
        def timed() -> Measured:
            # A worker has its connection already, and its statements are prepared.
            before()
            asking, ask = 0.0, self.wire.ask

            def ask_and_count(*arguments: Any, **how: Any) -> Any:
                nonlocal asking
                begun = time.monotonic()
                results = ask(*arguments, **how)
                asking += time.monotonic() - begun
                return results

            self.wire.ask = ask_and_count
            begun, cpu = time.monotonic(), time.process_time()
            work()
            seconds, used = time.monotonic() - begun, time.process_time() - cpu
            return Measured(seconds, asking, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)

        return timed


def _in_a_process(work: Callable[[], Measured]) -> Measured:
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
    measured: Measured = pickle.loads(data)
    return measured


def _line(what: str, coins: int, delay: int, silent: int, runs: Sequence[Measured]) -> str:
    seconds = statistics.median(run.seconds for run in runs)
    trips = f"{seconds * 1000 / delay:.2f}" if delay else ""
    asking = statistics.median(run.asking for run in runs)
    cpu = statistics.median(run.cpu for run in runs)
    memory = max(run.megabytes for run in runs)
    return (
        f"| {what} | {coins:,} | {delay} ms | {silent} | {seconds * 1000:,.0f} ms | {trips} | {asking * 1000:,.0f} ms"
        f" | {cpu * 1000:,.0f} ms | {memory} MB |"
    )
