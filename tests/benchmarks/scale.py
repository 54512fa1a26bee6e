"""
What changes as an installation grows: sizes of the database, web processes, workers. In ratios, within one run.

    python -m tests.benchmarks scale [--sizes TOKENS:MOVEMENTS[:BUNDLE],…] [--partition N] [--turns N] [--seconds S]
                                     [--tasks N] [--task-turns N] [--only sizes,seals,processes,workers]
                                     [--keep DIRECTORY [--load]] [--jobs N] [--estimate]

Each size is a separate database. All of its tokens have the same number of movements, and each of its transfers moves
BUNDLE tokens (1 by default). Each database has a web server, and each turn measures all of them, one after the other.
By default this takes many gigabytes and hours: `--estimate` says how many and ends.

With `--keep` the databases stay in a directory: `--load` loads those that are not there yet and ends, continuing where
an earlier run was interrupted, and a run without it measures. Loading may be niced and disturb others little:

    nice -n 19 ionice -c3 make bench ARGS="scale --sizes 10000:20000,10000000:100000000:5 --keep /srv/scale --load"
    make bench ARGS="scale --sizes 10000:20000,10000000:100000000:5 --keep /srv/scale --only sizes"
"""

import argparse
import contextlib
import http.client
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote

import django

from config.dev.embedded import ROOT
from config.dev.ports import port_is_free, raida_ports_are_free
from config.dev.processes import Child
from config.web import server
from tests.benchmarks import load, machine, memory
from tests.benchmarks.results import spread

SIZES: Final = "10000:20000,1000000:2000000,10000000:20000000,10000000:100000000"
PARTS: Final = ("sizes", "seals", "processes", "workers")
CLIENTS: Final = 32
PROCESSES: Final = (1, 2, 4)
# Sessions that a pooler lends, as docs/operations.md advises for two web processes.
POOLED_SESSIONS: Final = 8


@dataclass
class Server:
    """A web server over one database, and what the turns measured of it: by case, one dictionary for each turn."""

    name: str
    child: Child
    address: tuple[str, int]
    database: str
    measured: dict[str, list[dict[str, float]]] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks scale", description=__doc__)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--partition", default=100_000_000, type=int, help="movements in one partition")
    parser.add_argument("--turns", default=9, type=int)
    parser.add_argument("--seconds", default=1.2, type=float)
    parser.add_argument("--tasks", default=10_000, type=int)
    parser.add_argument("--task-turns", default=1, type=int)
    parser.add_argument("--only", default=",".join(PARTS), type=lambda text: text.split(","))
    parser.add_argument("--keep", type=Path, help="the directory in which the databases stay")
    parser.add_argument("--load", action="store_true", help="load what is missing, and end")
    parser.add_argument("--jobs", default=2, type=int, help="how many tables are loaded at once")
    parser.add_argument("--estimate", action="store_true", help="say what the sizes take, and end")
    chosen = parser.parse_args(arguments)
    if chosen.load and chosen.keep is None:
        parser.error("--load needs --keep: what is loaded would be removed.")
    with machine.running(chosen.keep and chosen.keep.resolve()) as running:
        base = next(base for base in range(21000, 30000, 25) if raida_ports_are_free(base))
        # Read by this process and by those that it starts.
        for environment in (os.environ, running.environment):
            environment["COPPICE_RAIDA_HOSTS"] = ",".join(f"127.0.0.1:{base + raida}" for raida in range(25))
            environment["COPPICE_LOG_LEVEL"] = "WARNING"
        django.setup()
        # These read Django's settings, which name the database only now.
        from tests.benchmarks import lockers, scale_data, scale_workers

        sizes = [scale_data.Size(*map(int, each.split(":"))) for each in chosen.sizes.split(",")]
        if {"sizes", "seals"} & set(chosen.only):
            scale_data.check_disk(running, sizes)
        if chosen.estimate:
            return
        print(f"{machine.described()}, commit {machine.commit()}, {', '.join(running.versions)}", flush=True)
        land = scale_data.settle(running.state / "land.json")
        if {"sizes", "seals"} & set(chosen.only):
            scale_data.load_all(running, land, sizes, partition=chosen.partition, jobs=chosen.jobs)
            if chosen.load:
                return
            with _servers_of(running) as servers:
                Sizes(running, land, sizes, chosen, servers).measure()
        if "processes" in chosen.only:
            with _servers_of(running) as servers:
                _measure_processes(running, land, chosen, servers)
        if "workers" in chosen.only:
            network = running.children.spawn(
                "RAIDA network",
                [sys.executable, ROOT / "manage.py", "raidanet", "--directory", running.state / "raida",
                 "--base-port", str(base)],
                environ=running.environment, directory=ROOT,
            )  # fmt: skip
            stock = lockers.Benchmark(running, network)
            scale_workers.measure(running, stock, network, tasks=chosen.tasks, turns=chosen.task_turns)


@contextlib.contextmanager
def _servers_of(running: machine.Machine) -> Iterator[list[Server]]:
    """A list of servers that are stopped at the end."""
    servers: list[Server] = []
    try:
        yield servers
    finally:
        running.children.stop([each.child for each in servers])


def _start(running: machine.Machine, name: str, database: str, *, processes: int = 2, **environment: str) -> Server:
    """Start a web server and wait until it answers. `environment` replaces the variables of the machine."""
    port = next(port for port in range(8300, 8600) if port_is_free(port))
    ours = {"DATABASE_URL": f"postgresql://coppice@/{database}?host={quote(str(running.postgres.sockets))}"}
    child = running.children.spawn(
        f"web {port}", server.command(port=port, processes=processes),
        environ=running.environment | ours | environment, directory=ROOT,
    )  # fmt: skip
    running.children.wait_until(lambda: _is_ready(port), child, timeout_seconds=120)
    return Server(name, child, ("127.0.0.1", port), database)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/readyz?without=worker", headers={"Host": "localhost"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _measure(running: machine.Machine, each: Server, case: str, script: load.Script, seconds: float) -> int:
    """Add the figures of one run to the server's, and return how many requests it had."""
    assert running.postgres.child is not None
    with running.connect() as connection:
        roots = (each.child.pid, running.postgres.child.pid)
        before, begun = [machine.cpu_seconds(root) for root in roots], _log_position(connection)
        run = load.run(each.address, script, clients=CLIENTS, seconds=seconds, word=f"s-{time.time_ns()}")
        used = [machine.cpu_seconds(root) - then for root, then in zip(roots, before, strict=True)]
        written = _log_position(connection) - begun
    if run.refused:
        raise RuntimeError(f"{each.name}, {case}, not 2xx: {run.refused}")
    found = {
        "web": 1e6 * used[0] / run.sent, "database": 1e6 * used[1] / run.sent, "rate": run.rate,
        "log": written / run.sent, "load": machine.load_average(),
    }  # fmt: skip
    each.measured.setdefault(case, []).append(found)
    print(f"{each.name}: {case}: " + ", ".join(f"{key} {value:,.1f}" for key, value in found.items()), flush=True)
    return run.sent


def _log_position(connection: Any) -> int:
    (position,) = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone() or (0,)
    return int(position)


def _print_ratios(servers: Sequence[Server]) -> None:
    """Print for each case the first server's medians, and the ratios of the others to it."""
    first, *others = servers
    print(f"\n| | {first.name} | " + " | ".join(f"{each.name} ÷" for each in others) + " |")
    print("|---|--:|" + "--:|" * len(others))
    words = {"web": "web server, µs", "database": "PostgreSQL, µs", "rate": "requests a second"}
    for case, turns in first.measured.items():
        for key, word in words.items():
            ratios = [
                spread([now[key] / then[key] for now, then in zip(each.measured[case], turns, strict=True)])
                for each in others
            ]
            print(f"| {case}: {word} | {statistics.median(turn[key] for turn in turns):,.0f} | {' | '.join(ratios)} |")
    loads = [turn["load"] for each in servers for turns in each.measured.values() for turn in turns]
    print(f"\nload average {min(loads):.0f} to {max(loads):.0f}")


# --- sizes ----------------------------------------------------------------------------------


class Sizes:
    """Databases of several sizes in one PostgreSQL, each with a web server."""

    def __init__(self, running: machine.Machine, land: Any, sizes: Any, chosen: Any, servers: list[Server]) -> None:
        from tests.benchmarks import cases, scale_data
        from transfers import counters

        self.machine, self.land, self.sizes, self.chosen, self.servers = running, land, sizes, chosen, servers
        self.cases, self.data, self.counters = cases, scale_data, counters

    def measure(self) -> None:
        if "sizes" in self.chosen.only:
            for size in self.sizes:
                self.servers.append(_start(self.machine, size.name, size.database))
            self.turns()
            _print_ratios(self.servers)
            self.print_memory()
        self.print_bytes()
        if "seals" in self.chosen.only:
            self.print_seals()

    def turns(self) -> None:
        for turn in range(self.chosen.turns):
            for case in self.scripts(self.sizes[0]):
                order = list(zip(self.servers, self.sizes, strict=True))
                for each, size in reversed(order) if turn % 2 else order:
                    with self.data.within(size.database):
                        self.counters.roll_up()
                    _measure(self.machine, each, case, self.scripts(size)[case], self.chosen.seconds)

    def scripts(self, size: Any) -> dict[str, load.Script]:
        reading, estate = self.cases.reading, self.land.estate
        return {
            "a transfer of one of 12 tokens": self.cases.cold(estate),
            "a transfer of a chosen one of all tokens": self.anywhere(size),
            "GET /transfers?limit=100": reading(estate, "/transfers?limit=100"),
            "GET /tokens?limit=100": reading(estate, "/tokens?limit=100"),
            "the history of one of all tokens": self.histories(size),
            "a balance at a time": self.balances(),
        }

    def anywhere(self, size: Any) -> load.Script:
        """Send a token of all to the next bed and back."""

        def script(client: int, word: str) -> Iterator[load.Step]:
            random = Random(f"{word} {client}")
            for number in count():
                # No two clients ever send the same token.
                token = random.randrange(size.tokens // CLIENTS) * CLIENTS + client
                here = size.bed(token)
                beds = [f"bed-{here}", f"bed-{(here + 1) % 120}"]
                for step, (sender, receiver) in enumerate((beds, beds[::-1])):
                    body = {"sender_wallet": sender, "receiver_wallet": receiver,
                            "tokens": [str(self.data.token_id(token))]}  # fmt: skip
                    headers = self.land.estate.reader_headers | {"Idempotency-Key": f"{word}-{client}-{number}-{step}"}
                    yield load.request("POST", "/transfers", headers, json.dumps(body).encode()), step == 1

        return script

    def histories(self, size: Any) -> load.Script:
        def script(client: int, word: str) -> Iterator[load.Step]:
            random = Random(f"{word} {client}")
            while True:
                path = f"/tokens/{self.data.token_id(random.randrange(size.tokens))}/transactions?limit=100"
                yield load.request("GET", path, self.land.estate.reader_headers), True

        return script

    def balances(self) -> load.Script:
        now = datetime.now(UTC)

        def script(client: int, word: str) -> Iterator[load.Step]:
            random = Random(f"{word} {client}")
            while True:
                at = now - timedelta(seconds=random.uniform(3_600, 89 * 86_400))
                path = f"/wallets/{random.choice(self.land.beds)}/balance?at={at:%Y-%m-%dT%H:%M:%SZ}"
                yield load.request("GET", path, self.land.estate.reader_headers), True

        return script

    def print_bytes(self) -> None:
        print("\n| bytes a row, with indexes (without) |" + "".join(f" {size.name} |" for size in self.sizes))
        print("|---|" + "--:|" * len(self.sizes))
        found = []
        for size in self.sizes:
            with self.data.connect(self.machine, size.database) as connection:
                found.append(self.data.row_bytes(connection))
        for table in found[0]:
            cells = [f"{each[table][2]:,.0f} ({each[table][1]:,.0f}), {each[table][0]:,} rows" for each in found]
            print(f"| `{table}` | {' | '.join(cells)} |")
        for each in self.servers:
            logs = {case: spread([turn["log"] for turn in turns]) for case, turns in each.measured.items()}
            print(f"{each.name}: bytes of PostgreSQL's log a request: {logs}")

    def print_seals(self) -> None:
        """Seal for one run, at most a minute, then audit what is new and everything; print what each takes."""
        from config.ops import audits
        from config.seals import sealing

        for size in self.sizes:
            with self.data.within(size.database), self.data.connect(self.machine, size.database) as connection:
                took, blocks = self.timed(lambda: sealing.seal(is_due=True))
                (leaves,) = connection.execute("SELECT coalesce(sum(leaves), 0) FROM transfers_seal").fetchone() or (0,)
                rows = max(1, int(leaves))
                print(f"{size.name}: {blocks} blocks with {rows:,} rows sealed in {took}", flush=True)
                took, found = self.timed(lambda: audits.findings(is_of_all=False))
                print(f"{size.name}: audit of what is new, {len(found)} findings, in {took}", flush=True)
                took, found = self.timed(audits.findings)
                print(f"{size.name}: audit of everything, findings {found}, in {took}", flush=True)

    def timed(self, work: Callable[[], Any]) -> tuple[str, Any]:
        """Return what the work took, in words, and what it returned."""
        assert self.machine.postgres.child is not None
        database, python = machine.cpu_seconds(self.machine.postgres.child.pid), time.process_time()
        begun, result = time.monotonic(), work()
        return (
            f"{time.monotonic() - begun:.1f} s; processor time: Python {time.process_time() - python:.1f} s, PostgreSQL"
            f" {machine.cpu_seconds(self.machine.postgres.child.pid) - database:.1f} s; load average"
            f" {machine.load_average():.0f}"
        ), result

    def print_memory(self) -> None:
        for each in self.servers:
            print(f"{each.name}: {_memory(self.machine, each, processes=2)}")


def _memory(running: machine.Machine, each: Server, *, processes: int) -> str:
    """Return what the server and its sessions take, when it has been at work."""
    with running.connect() as connection:
        pids = [pid for (pid,) in connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = %s"
            " AND pid <> pg_backend_pid()", [each.database],
        )]  # fmt: skip
    sessions = [memory.private(int(str(pid))) / 1e6 for pid in pids]
    return (
        f"{memory.proportional(each.child.pid) / 1e6 / processes:,.0f} MB (PSS, its share of the main process included)"
        f" for each of {processes} processes; {len(sessions)} sessions in its database,"
        f" {statistics.median(sessions or [0]):.1f} MB of their own each (median)"
    )


# --- web processes --------------------------------------------------------------------------


def _measure_processes(running: machine.Machine, land: Any, chosen: Any, servers: list[Server]) -> None:
    """1, 2 and 4 web processes over one database, directly and through PgBouncer."""
    from django.conf import settings
    from django.db import connection

    from config.postgresql import sessions
    from tests import pooler
    from tests.benchmarks import cases

    sessions.keep(connection, sessions.wanted(running.environment["DATABASE_URL"]))
    where = settings.DATABASES["default"]["HOST"] or str(running.postgres.sockets)
    scripts = {
        "a transfer of one token": cases.cold(land.estate),
        "GET /tokens?limit=100": cases.reading(land.estate, "/tokens?limit=100"),
    }
    used: list[tuple[str, int, int]] = []
    rolled_up, sent = list[float](), 0
    with contextlib.ExitStack() as stack:
        for way in ("direct", "PgBouncer") if pooler.PROGRAM else ("direct",):
            for processes in PROCESSES:
                environment = {}
                if way == "PgBouncer":
                    url = stack.enter_context(pooler.pooler(f"host={where}", sessions=POOLED_SESSIONS)).url
                    environment = {"DATABASE_URL": url, "COPPICE_DATABASE_POOLED": "true"}
                servers.append(_start(running, f"{processes}, {way}", "coppice", processes=processes, **environment))
                used.append((servers[-1].name, processes, 0))
        for turn in range(chosen.turns):
            for case, script in scripts.items():
                for number, each in list(enumerate(servers))[:: -1 if turn % 2 else 1]:
                    rolled_up.append(_roll_up(running))
                    before = _sessions(running)
                    requests = _measure(running, each, case, script, chosen.seconds)
                    sent += requests if "transfer" in case else 0
                    name, processes, most = used[number]
                    used[number] = name, processes, most + _sessions(running) - before
        _print_ratios(servers)
        print(
            f"rolling up counters: {1e6 * sum(rolled_up[1:]) / sent:.0f} µs of PostgreSQL's processor time a transfer"
        )
        for each, (name, processes, opened) in zip(servers, used, strict=True):
            share = memory.proportional(each.child.pid) / 1e6
            print(f"{name}: {opened} sessions of PostgreSQL opened, {share:,.0f} MB (PSS) for {processes} processes")
        running.children.stop([each.child for each in servers])


def _roll_up(running: machine.Machine) -> float:
    """Return the seconds of processor time that PostgreSQL took for it."""
    from transfers import counters

    assert running.postgres.child is not None
    before = machine.cpu_seconds(running.postgres.child.pid)
    counters.roll_up()
    return machine.cpu_seconds(running.postgres.child.pid) - before


def _sessions(running: machine.Machine) -> int:
    with running.connect() as connection:
        (number,) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone() or (0,)
    return int(str(number))
