"""`make bench`: measure everything and write RESULTS.md. `make bench ARGS=quick` measures little and only prints."""

import argparse
import http.client
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import django

from tests.benchmarks import against, crowd, front, load, lockers, machine, moving, scale, share, webhooks
from tests.benchmarks.results import Case, Plan, Results

RESULTS = Path(__file__).with_name("RESULTS.md")
FULL = Plan(
    seconds=2.0, rounds=3, turns=9, turn_seconds=1.2, tokens=1_000_000, depth=900_000, draws=100_000, hot=400_000
)
QUICK = Plan(seconds=1.5, rounds=1, turns=3, turn_seconds=0.8, tokens=50_000, depth=40_000, draws=5_000, hot=50_000)
_OTHERS = {
    "against": against.main,
    "crowd": crowd.main,
    "front": front.main,
    "lockers": lockers.main,
    "moving": moving.main,
    "scale": scale.main,
    "share": share.main,
    "webhooks": webhooks.main,
}
SMALL = 10_000
# What is drawn from one wallet, and moved as one bundle, comes on top of these when all else was measured over them.
SMALL_HOT, BIG = 60_000, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("size", nargs="?", choices=["full", "quick"], default="full")
    if sys.argv[1:2] and sys.argv[1] in _OTHERS:
        _OTHERS[sys.argv[1]](sys.argv[2:])
        return
    plan = QUICK if parser.parse_args().size == "quick" else FULL
    begun = time.monotonic()
    with machine.running() as running:
        django.setup()
        results = Results(
            plan=plan,
            machine=machine.described(),
            commit=machine.commit(),
            date=datetime.now(UTC).date().isoformat(),
            versions=running.versions,
        )
        machine.wait_for_quiet(below=1.0, patience_seconds=60)
        Benchmark(running, plan, results).measure()
    results.minutes = (time.monotonic() - begun) / 60
    text = results.written()
    print(text)
    if plan is FULL:
        RESULTS.write_text(text, encoding="utf-8")


class Benchmark:
    """One measurement from an empty database on. Rounds go through all cases, so that a drift meets them alike."""

    def __init__(self, running: machine.Machine, plan: Plan, results: Results) -> None:
        # These read Django's settings, which name the database only now.
        from tests.benchmarks import cases, data, desk, raw
        from transfers import counters

        self.machine, self.plan, self.results = running, plan, results
        self.cases, self.data, self.raw, self.tallies, self.pages = cases, data, raw, counters, desk
        self.estate = data.settle()

    def measure(self) -> None:
        with self.machine.connect() as connection:
            self.data.grow(connection, self.estate, SMALL - self.data.SETTLED)
            self.data.tidy(connection)
        self.machine.start_web()
        clients = [1, 8, 32]
        self.rounds("10 k", [*self.framework(clients), *self.moving(clients), *self.sizes(), *self.lists()])
        self.turns("10 k", [*self.framework([32]), *self.moving([32]), *self.lists()])
        with self.machine.connect() as connection:
            self.data.issue("hot", SMALL_HOT)
            self.data.issue("big-a", BIG)
            self.data.tidy(connection)
        self.rounds("10 k", [*self.drawing(clients), *self.big()])
        with self.machine.connect() as connection, said(f"{self.plan.tokens:,} tokens"):
            self.data.grow(connection, self.estate, self.plan.tokens)
            self.data.issue("hot", self.plan.hot)
            self.data.tidy(connection)
        many = f"{self.plan.tokens // 1000:,} k" if self.plan.tokens < 10**6 else "1 M"
        self.rounds(
            many,
            [*self.framework(clients), *self.moving(clients), *self.drawing(clients), *self.sizes(), *self.big(),
             *self.lists(), *self.depths()],
        )  # fmt: skip
        self.turns(many, [*self.framework([32]), *self.moving([32]), *self.drawing([32]), *self.lists()])
        self.database(many, clients)
        self.old_snapshot()
        self.desk()

    # --- cases ---------------------------------------------------------------------------

    def framework(self, clients: Sequence[int]) -> list[Case]:
        script = self.cases.reading(self.estate, "/nothing")
        return [Case("GET /nothing (empty view)", script, count) for count in clients]

    def moving(self, clients: Sequence[int]) -> list[Case]:
        script = self.cases.cold(self.estate)
        return [Case("POST /transfers, bundle of 1, cold", script, count) for count in clients]

    def drawing(self, clients: Sequence[int]) -> list[Case]:
        script = self.cases.hot(self.estate)
        return [Case("POST /transfers, bundle of 1, hot", script, count) for count in clients]

    def sizes(self) -> list[Case]:
        back = self.cases.there_and_back
        return [
            Case("POST /transfers, bundle of 1, cold, no key", self.cases.cold(self.estate, keyed=False), 32),
            Case("POST /transfers, list of 1", self.cases.listed(self.estate, 1), 32),
            Case("POST /transfers, list of 100", self.cases.listed(self.estate, 100), 32),
            Case("POST /transfers, bundle of 100", back(self.estate, "stand-{}-a", "stand-{}-b", 100), 32),
        ]

    def big(self) -> list[Case]:
        script = self.cases.there_and_back(self.estate, "big-a", "big-b", 10_000)
        return [Case("POST /transfers, bundle of 10,000", script, 1)]

    def lists(self) -> list[Case]:
        paths = ("/tokens?limit=100", "/wallets?limit=100", "/transfers?limit=100")
        return [Case(f"GET {path}", self.cases.reading(self.estate, path), 32) for path in paths]

    def depths(self) -> list[Case]:
        found = []
        for path in ("/tokens?limit=100", "/transfers?limit=100"):
            deep = self.next_page(f"{path}&start={self.plan.depth - 100}")
            name = f"GET {path}, cursor at {self.plan.depth:,}"
            found.append(Case(name, self.cases.reading(self.estate, deep), 32))
        return found

    def next_page(self, path: str) -> str:
        """Return path and query of the page after this one."""
        connection = http.client.HTTPConnection(*self.machine.address, timeout=60)
        connection.request("GET", path, headers={"Host": "localhost", **self.estate.reader_headers})
        answer = connection.getresponse()
        if answer.status != 200 or "Link" not in answer.headers:
            raise RuntimeError(f"{path}: {answer.status} {answer.read()[:200]!r}")
        answer.read()
        connection.close()
        return "/" + answer.headers["Link"].partition(">")[0].split("/", 3)[3]

    # --- measuring -----------------------------------------------------------------------

    def rounds(self, tokens: str, cases: Sequence[Case]) -> None:
        for number in range(self.plan.rounds):
            for case in cases:
                self.run(tokens, case, f"{tokens}-{number}-{case.name}")

    def turns(self, tokens: str, cases: Sequence[Case]) -> None:
        """Measure what is to be a share of the empty view in turn with it."""
        for number in range(self.plan.turns):
            turn = {
                case.name: self.load(case, f"{tokens}-turn-{number}-{case.name}", self.plan.turn_seconds)
                for case in cases
            }
            if refused := {name: run.refused for name, run in turn.items() if run.refused}:
                raise RuntimeError(f"not 2xx: {refused}")
            rates = {name: run.rate for name, run in turn.items()}
            self.results.turns.setdefault(tokens, []).append(rates)
            print(
                f"{tokens:>6} in turn: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items()), flush=True
            )

    def load(self, case: Case, word: str, seconds: float) -> load.Run:
        # The worker does this every few seconds.
        self.tallies.roll_up()
        word = f"{word}-{case.clients}-{time.time_ns()}"
        return load.run(
            self.machine.address, case.script, clients=case.clients, seconds=seconds,
            word="".join(each for each in word if each.isalnum() or each == "-"),
        )  # fmt: skip

    def run(self, tokens: str, case: Case, word: str) -> None:
        before = self.machine.web_and_database_cpu()
        run = self.load(case, word, self.plan.seconds)
        after = self.machine.web_and_database_cpu()
        web, database = (
            1e6 * (later - earlier) / max(1, run.sent) for earlier, later in zip(before, after, strict=True)
        )
        self.results.add(tokens, case, run, web, database, machine.load_average())
        print(
            f"{tokens:>6} {case.clients:3} {case.name:55} {run.rate:8,.0f}/s  p50 {run.percentile(0.5):6.1f} ms"
            f"  p99 {run.percentile(0.99):6.1f} ms  µs: web {web:,.0f}, database {database:,.0f}"
            f"  load generator {run.load_cpu_seconds / run.seconds:.0%} of a core {run.refused or ''}",
            flush=True,
        )

    def database(self, tokens: str, clients: Sequence[int]) -> None:
        plot, plots = self.data.plot, self.raw.plots
        one = self.raw.statements_of_a_transfer(self.estate, sender=plot(0, 0, "a"), receiver=plot(0, 0, "b"), size=1)
        many = self.raw.statements_of_a_transfer(self.estate, sender="big-a", receiver="big-b", size=10_000)
        seconds = ["-T", str(max(1, round(self.plan.seconds)))]
        for _ in range(self.plan.rounds):
            for count in clients:
                for name, only in (("the statement of the ledger", True), ("all statements of the request", False)):
                    measured = self.raw.measure(
                        self.machine, one, here=plots("a"), there=plots("b"), only_the_ledger=only, clients=count,
                        limit=seconds,
                    )  # fmt: skip
                    self.results.add_raw(f"pgbench, bundle of 1: {name}", count, measured.rate)
            measured = self.raw.measure(
                self.machine, many, here="'big-b'", there="'big-a'", only_the_ledger=True, clients=1,
                limit=["-t", "4"],
            )  # fmt: skip
            self.results.add_raw("pgbench, bundle of 10,000: the statement of the ledger", 1, measured.rate)

    def old_snapshot(self) -> None:
        """Draw many tokens from one wallet while somebody holds an old snapshot, and measure on."""
        plots = self.raw.plots
        some = self.raw.statements_of_a_transfer(self.estate, sender="hot", receiver=self.data.plot(0, 1, "a"), size=1)
        with self.machine.connect() as reader:
            reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM wallets_wallet")
            with said(f"{self.plan.draws:,} draws with an old snapshot held open"):
                self.raw.measure(
                    self.machine, some, here="'hot'", there=plots("a"), only_the_ledger=True, clients=8,
                    limit=["-t", str(self.plan.draws // 8)], and_back=False,
                )  # fmt: skip
            self.rounds("old snapshot", [*self.moving([32]), *self.drawing([32])])
            reader.execute("ROLLBACK")

    def desk(self) -> None:
        """What operators see, over all that is there now. Last, because it adds open transfers, tasks and coins."""
        with self.machine.connect() as connection, said("the operators' desk"):
            cookie = self.pages.furnish(connection, self.estate)
        self.results.pages = self.pages.measure(self.machine.address, cookie, times=5 * self.plan.rounds)


@contextmanager
def said(what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
