"""
What it costs that bodies and answers are complete before and after a thread has them, and what it is worth.

    python -m tests.benchmarks front [--turns N] [--seconds S]        two servers over one database, in turn
    python -m tests.benchmarks front --limits                         the product with limits of requests, and without
    python -m tests.benchmarks front --stalled 500 --readers 200      honest requests beside connections that stall

The control is granian's WSGI interface, which read bodies and wrote answers on the threads, or the web server of
another checkout (--control DIRECTORY).
"""

import argparse
import contextlib
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import django

from config.dev.embedded import ROOT
from config.dev.processes import Child
from config.web import server
from tests.benchmarks import load, machine

SMALL = 10_000
LIMITS = ("COPPICE_REQUESTS_PER_MINUTE", "COPPICE_REQUESTS_PER_MINUTE_PER_KEY")


def control(*, port: int) -> list[str]:
    """Return the command line of the server that this one replaced."""
    return [
        sys.executable, "-m", "granian", "tests.benchmarks.wsgi:application", "--interface", "wsgi",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "2", "--blocking-threads", "4", "--no-ws",
        "--workers-kill-timeout", "2",
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks front", description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--stalled", type=int, default=0, help="connections that send a head, one byte, and no more")
    parser.add_argument("--readers", type=int, default=0, help="connections that ask for a long list and do not read")
    parser.add_argument("--only", default="", help="part of the name of the one kind of request")
    parser.add_argument("--limits", action="store_true", help="the control has no limits of requests a minute")
    parser.add_argument("--control", type=Path, help="another checkout, whose web server is the control")
    chosen = parser.parse_args(arguments)
    with machine.running() as running:
        django.setup()
        if chosen.limits:
            running.environment |= dict.fromkeys(LIMITS, "1000000000")
        front = Front(running, chosen.turns, chosen.seconds)
        if chosen.stalled or chosen.readers:
            front.stall(chosen.stalled, chosen.readers)
        else:
            front.compare(chosen.only, ROOT if chosen.limits else chosen.control)


class Front:
    """Ten thousand tokens, the product's server, and the control beside it."""

    def __init__(self, running: machine.Machine, turns: int, seconds: float) -> None:
        # These read Django's settings, which name the database only now.
        from tests.benchmarks import cases, data
        from transfers import counters

        self.machine, self.turns, self.seconds, self.tallies, self.cases = running, turns, seconds, counters, cases
        self.estate = data.settle()
        with running.connect() as connection:
            data.grow(connection, self.estate, SMALL - data.SETTLED)
            data.tidy(connection)
        running.start_web()

    def scripts(self) -> dict[str, load.Script]:
        return {
            "GET /nothing (empty view)": self.cases.reading(self.estate, "/nothing"),
            "POST /transfers, bundle of 1, cold": self.cases.cold(self.estate),
            "GET /transfers?limit=100": self.cases.reading(self.estate, "/transfers?limit=100"),
        }

    def run(self, address: tuple[str, int], script: load.Script, word: str) -> load.Run:
        self.tallies.roll_up()
        return load.run(address, script, clients=32, seconds=self.seconds, word=f"{word}-{time.time_ns()}")

    def compare(self, only: str, checkout: Path | None) -> None:
        assert self.machine.web is not None
        # The product's own server may have limits, which the control does not.
        self.machine.environment = {
            name: value for name, value in self.machine.environment.items() if name not in LIMITS
        }
        other = self.machine.start_control(control if checkout is None else server.command, checkout or ROOT)
        servers: list[tuple[tuple[str, int], Child]] = [other, (self.machine.address, self.machine.web)]
        scripts = {name: script for name, script in self.scripts().items() if only in name}
        rates: dict[str, list[float]] = {name: [] for name in scripts}
        costs: dict[str, list[float]] = {name: [] for name in scripts}
        for turn in range(self.turns):
            for name, script in scripts.items():
                rate, cost = dict[int, float](), dict[int, float]()
                # Who goes first changes with each turn: what the first leaves behind, the second meets.
                for which in (0, 1) if turn % 2 else (1, 0):
                    address, process = servers[which]
                    before = machine.cpu_seconds(process.pid)
                    run = self.run(address, script, f"turn-{turn}-{which}")
                    cost[which] = (machine.cpu_seconds(process.pid) - before) / max(1, run.sent)
                    rate[which] = run.rate
                    if run.refused:
                        raise RuntimeError(f"not 2xx: {run.refused}")
                rates[name].append(rate[1] / rate[0])
                costs[name].append(cost[1] / cost[0])
                print(
                    f"{name:36} control {rate[0]:6,.0f}/s {1e6 * cost[0]:6,.0f} µs"
                    f"   now {rate[1]:6,.0f}/s {1e6 * cost[1]:6,.0f} µs",
                    flush=True,
                )
        print(f"\nnow ÷ control, {self.turns} turns of {self.seconds} s, 32 clients: median (middle half)")
        for name in scripts:
            print(f"| {name} | rate {middle(rates[name])} | processor {middle(costs[name])} |")

    def stall(self, stalled: int, readers: int) -> None:
        """Measure in turn without and with connections that stall."""
        script = self.scripts()["POST /transfers, bundle of 1, cold"]
        ratios = []
        for turn in range(self.turns):
            quiet = self.run(self.machine.address, script, f"quiet-{turn}")
            with held(self.machine.address, self.estate, stalled=stalled, readers=readers):
                besieged = self.run(self.machine.address, script, f"besieged-{turn}")
            if quiet.refused or besieged.refused:
                raise RuntimeError(f"not 2xx: {quiet.refused} {besieged.refused}")
            ratios.append(besieged.percentile(0.99) / quiet.percentile(0.99))
            print(
                f"p99: quiet {quiet.percentile(0.99):6.0f} ms ({quiet.rate:,.0f}/s), beside {stalled} stalled and"
                f" {readers} that do not read {besieged.percentile(0.99):6.0f} ms ({besieged.rate:,.0f}/s)",
                flush=True,
            )
        print(f"p99, beside ÷ quiet, {self.turns} turns of {self.seconds} s: {middle(ratios)}")


@contextlib.contextmanager
def held(address: tuple[str, int], estate: object, *, stalled: int, readers: int) -> Iterator[None]:
    """Hold connections that sent a head and one byte, and others that asked for long lists and read nothing."""
    head = b"POST /transfers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
    body = head + b"\r\n{"
    headers: dict[str, str] = estate.reader_headers  # type: ignore[attr-defined]
    asked = load.request("GET", "/transfers?limit=1000", headers)
    opened: list[socket.socket] = []
    try:
        for number in range(stalled + readers):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(address)
            connection.sendall(body if number < stalled else asked)
            opened.append(connection)
        # The lists themselves are honest work: wait until each is written.
        begun = time.monotonic()
        for connection in opened[stalled:]:
            connection.settimeout(60)
            connection.recv(1, socket.MSG_PEEK)
        if readers:
            print(f"the last of {readers} lists was written {time.monotonic() - begun:.1f} s after it was asked for")
        time.sleep(1)
        yield
    finally:
        for connection in opened:
            connection.close()
        time.sleep(0.5)


def middle(values: Sequence[float]) -> str:
    first, second, third = statistics.quantiles(values, n=4)
    return f"{second:.3f} ({first:.3f}–{third:.3f})"
