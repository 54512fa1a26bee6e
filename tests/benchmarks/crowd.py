"""
What others notice while one wallet takes what it can get.

    python -m tests.benchmarks crowd [--turns N] [--seconds S] [--attack peeks|downloads] [--rate N]

Two honest clients of another wallet each ask for a list, wait for the answer and rest a moment. Their 99th percentile
is measured in turn without and with the attack:

peeks       one wallet begins a number of peeks a second into a filled locker, whatever the answers are
downloads   one wallet has eight downloads open, in the synchronous style, while no RAIDA server answers

Web server, worker, beat and the 25 servers share the machine's cores, as with `make run`; elsewhere the servers are
other people's machines.
"""

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import django

from config.dev.embedded import ROOT
from config.dev.ports import raida_ports_are_free
from config.web import server
from tests.benchmarks import load, lockers, machine
from tests.benchmarks.front import middle

ATTACKS: Final = ("peeks", "downloads")
HONEST_CLIENTS: Final = 2
_WHICH: Final = ("beside", "quiet")
_HONEST_PAUSE: Final = 0.005
_DOWNLOADS: Final = 8
# Enough that an answer that takes long does not lower the rate of the peeks.
_PEEKERS: Final = 32
_WARM_UP_SECONDS: Final = 1.0


@dataclass
class Seen:
    """What some clients were answered, and how long each answer took in seconds."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Return a latency in milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks crowd", description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--attack", choices=ATTACKS, action="append")
    parser.add_argument("--rate", type=float, default=204.0, help="peeks a second")
    parser.add_argument("--control", type=Path, help="another checkout, whose web server is measured in turn with it")
    chosen = parser.parse_args(arguments)
    with machine.running() as running:
        base = next(base for base in range(21000, 30000, 25) if raida_ports_are_free(base))
        hosts = ",".join(f"127.0.0.1:{base + raida}" for raida in range(25))
        # Read by this process and by those that it starts.
        for environment in (os.environ, running.environment):
            environment["COPPICE_RAIDA_HOSTS"] = hosts
            environment["COPPICE_LOG_LEVEL"] = "WARNING"
        django.setup()
        directory = str(running.state / "raida")
        manage = [sys.executable, str(ROOT / "manage.py"), "raidanet"]
        network = running.children.spawn(
            "RAIDA network", [*manage, "--directory", directory, "--base-port", str(base)],
            environ=running.environment, directory=ROOT,
        )  # fmt: skip
        crowd = Crowd(running, lockers.Benchmark(running, network), chosen)
        for attack in chosen.attack or ATTACKS:
            crowd.measure(attack)


class Crowd:
    """An honest wallet, one that takes what it can get, and everything that `make run` starts."""

    def __init__(self, running: machine.Machine, stock: lockers.Benchmark, chosen: argparse.Namespace) -> None:
        # Reads Django's settings, which name the database only now.
        from tests.benchmarks import data
        from wallets import operations as wallets

        self.machine, self.control, self.chosen = running, stock.control, chosen
        estate = data.settle()
        self.code = stock.filled(4)
        wallets.create_wallet(name="raider", password="all that I can get")
        bearer = wallets.authenticate(name_or_id="raider", password="all that I can get")
        self.raider = {"treetracker-api-key": estate.api_key, "Authorization": f"Bearer {bearer}"}
        self.honest = estate.reader_headers
        with running.connect() as connection:
            data.tidy(connection)
        running.start_web()
        for name, arguments in {"worker": ["worker", "-c", "2", "--without-gossip", "--without-mingle"],
                                "beat": ["beat", "--pidfile="]}.items():  # fmt: skip
            command = [sys.executable, "-m", "celery", "-A", "config.celery", *arguments, "-l", "WARNING"]
            running.children.spawn(name, command, environ=running.environment, directory=ROOT)
        self.servers = {"now": running.address}
        if chosen.control is not None:
            self.servers["control"], _ = running.start_control(server.command, chosen.control)
        time.sleep(5)

    def measure(self, attack: str) -> None:
        ratios: dict[str, list[float]] = {name: [] for name in self.servers}
        seen: dict[tuple[str, str], Seen] = {(name, which): Seen() for name in self.servers for which in _WHICH}
        answered: dict[str, Counter[str]] = {name: Counter() for name in self.servers}
        spent: dict[str, list[dict[str, float]]] = {name: [] for name in self.servers}
        for turn in range(self.chosen.turns):
            # Which comes first changes with each turn: what the first leaves behind, the second meets.
            for name in sorted(self.servers, reverse=bool(turn % 2)):
                times = {}
                for which in sorted(_WHICH, reverse=bool(turn // 2 % 2)):
                    if which == "quiet":
                        found = self.ask(self.servers[name])
                    else:
                        with self.attacked(attack, self.servers[name]) as answers:
                            before = self.spent()
                            found = self.ask(self.servers[name])
                            spent[name].append({part: used - before[part] for part, used in self.spent().items()})
                        answered[name] += answers().statuses
                    self.calm_down()
                    seen[name, which].latencies += found.latencies
                    times[which] = found.percentile(0.99)
                ratios[name].append(times["beside"] / times["quiet"])
                print(
                    f"{attack}, {name}: p99 quiet {times['quiet']:.1f}, beside {times['beside']:.1f} ms; the attacker"
                    f" was answered {dict(answered[name])}",
                    flush=True,
                )
        for name in self.servers:
            quiet, beside = (seen[name, which] for which in ("quiet", "beside"))
            print(
                f"| {attack} | {name} | p50 {quiet.percentile(0.5):.1f} → {beside.percentile(0.5):.1f} ms"
                f" | p99 {quiet.percentile(0.99):.1f} → {beside.percentile(0.99):.1f} ms | by turns"
                f" {middle(ratios[name])} |"
            )
            seconds = self.chosen.turns * (self.chosen.seconds + _WARM_UP_SECONDS)
            shares = {part: sum(each[part] for each in spent[name]) / seconds for part in spent[name][0]}
            print("  of a core: " + ", ".join(f"{part} {share:.0%}" for part, share in shares.items()), flush=True)

    def spent(self) -> dict[str, float]:
        """Return the processor time of each part so far, in seconds."""
        return {child.name: machine.cpu_seconds(child.pid) for child in self.machine.children.children}

    def ask(self, address: tuple[str, int]) -> Seen:
        """Let the honest clients ask, after a warm-up that does not count."""
        sent = load.request("GET", "/transfers?limit=20", self.honest)
        ask = clients(address, sent, HONEST_CLIENTS, pause=_HONEST_PAUSE, patience=30)
        with ask as answers:
            time.sleep(_WARM_UP_SECONDS + self.chosen.seconds)
        seen = answers()
        if set(seen.statuses) != {"200"}:
            raise RuntimeError(f"not 200: {seen.statuses}")
        return seen

    @contextmanager
    def attacked(self, attack: str, address: tuple[str, int]) -> Iterator[Callable[[], Seen]]:
        if attack == "peeks":
            body = json.dumps({"transmit_code": self.code}).encode()
            sent = load.request("POST", "/api/v1/locker/peek", self.raider, body)
            count, every = _PEEKERS, _PEEKERS / self.chosen.rate
        else:
            body = json.dumps({"wallet": "raider", "locker_key": self.code}).encode()
            sent = load.request("POST", "/api/transactions/locker/download", self.raider, body)
            count, every = _DOWNLOADS, 0.1
            self.control.fault("*=silent")
        with clients(address, sent, count, every=every, patience=60) as answers:
            yield answers

    def calm_down(self) -> None:
        """Wait until no task is open, and no server rests."""
        from lockers.models import LockerTask, ServerHealth

        self.control.clear()
        deadline = time.monotonic() + 120
        while LockerTask.objects.filter(state="running").exists() and time.monotonic() < deadline:
            ServerHealth.objects.all().delete()
            time.sleep(0.2)
        time.sleep(1)


@contextmanager
def clients(
    address: tuple[str, int], sent: bytes, count: int, *, pause: float = 0.0, every: float = 0.0, patience: float
) -> Iterator[Callable[[], Seen]]:
    """
    Let clients send one request again and again, from a process of their own.

    Each rests for `pause` seconds after an answer, or sends each `every` seconds if the answer is there. After the
    block, what is yielded returns what they saw; what is answered after the block does not count.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_ask, args=(theirs, address, sent, count, pause, every, patience), daemon=True)
    process.start()
    found: list[Seen] = []
    try:
        yield lambda: found[0]
    finally:
        ours.send("stop")
        found.append(ours.recv())
        process.kill()
        process.join()


def _ask(
    pipe: "Connection[Any, Any]", address: tuple[str, int], sent: bytes, count: int, pause: float, every: float,
    patience: float,
) -> None:  # fmt: skip
    begun = time.monotonic()
    seen = [Seen() for _ in range(count)]

    def one(number: int) -> None:
        client = load.Client(address, iter([]))
        client.socket.settimeout(patience)
        due = begun + every * number / count
        while True:
            time.sleep(max(0.0, due - time.monotonic()) if every else pause)
            due = max(due + every, time.monotonic() - 1)
            client.steps = iter([(sent, True)])
            client.ask()
            while not client.read():
                pass
            seconds = time.perf_counter() - client.since
            if time.monotonic() - begun > _WARM_UP_SECONDS:
                seen[number].latencies.append(seconds)
                seen[number].statuses[client.status] += 1

    for number in range(count):
        threading.Thread(target=one, args=(number,), daemon=True).start()
    pipe.recv()
    total = Seen()
    for each in seen:
        total.latencies += each.latencies
        total.statuses += each.statuses
    pipe.send(total)
