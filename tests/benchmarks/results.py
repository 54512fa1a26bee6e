"""What was measured, and the page that tells it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

from config.api.pools import SIZES, Pool
from config.web import server
from tests.benchmarks import desk
from tests.benchmarks.load import Run, Script


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    seconds: float
    rounds: int
    # Short runs in turn with the empty view, from which shares are taken, and how long each lasts.
    turns: int
    turn_seconds: float
    tokens: int
    depth: int
    draws: int
    hot: int


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    script: Script
    clients: int


@dataclass
class Row:
    """The runs of one case."""

    runs: list[Run] = field(default_factory=list)
    web: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return median(run.rate for run in self.runs)

    @property
    def rates(self) -> list[float]:
        return [run.rate for run in self.runs]

    def percentile(self, share: float) -> float:
        return median(run.percentile(share) for run in self.runs)

    @property
    def refused(self) -> int:
        return sum(sum(run.refused.values()) for run in self.runs)


def _span(values: list[float], digits: int = 0) -> str:
    return f"{min(values):,.{digits}f}–{max(values):,.{digits}f}"


EMPTY = "GET /nothing (empty view)"
COLD = "POST /transfers, bundle of 1, cold"
HOT = "POST /transfers, bundle of 1, hot"
LISTS = ("GET /tokens?limit=100", "GET /wallets?limit=100", "GET /transfers?limit=100")
BIG = "POST /transfers, bundle of 10,000"
RAW_BIG = "pgbench, bundle of 10,000: the statement of the ledger"


@dataclass
class Results:
    """Everything measured, in the order of measuring."""

    plan: Plan
    machine: str
    commit: str
    date: str
    versions: list[str]
    minutes: float = 0.0
    rows: dict[tuple[str, str, int], Row] = field(default_factory=dict)
    # By tokens: the rate of each case in each turn.
    turns: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    raw: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)
    pages: Sequence[desk.Timing] = ()

    def add(self, tokens: str, case: Case, run: Run, web: float, database: float, load: float) -> None:
        row = self.rows.setdefault((tokens, case.name, case.clients), Row())
        row.runs.append(run)
        row.web.append(web)
        row.database.append(database)
        self.loads.append(load)

    def add_raw(self, name: str, clients: int, rate: float) -> None:
        self.raw.setdefault((name, clients), []).append(rate)

    def written(self) -> str:
        """Return the page."""
        parts = (self._head(), self._table(), self._in_turn(), self._baselines(), self._pages(), self._reach())
        return "\n".join(line for part in parts for line in part) + "\n"

    def _head(self) -> Iterator[str]:
        first = next(iter(self.rows.values())).runs[0]
        yield "# Results"
        yield ""
        yield "Written by `make bench`; [README.md](README.md) tells how it measures and where the time goes."
        yield ""
        yield f"- Machine: {self.machine}; server, database and load generator share it"
        yield f"- Commit: {self.commit}, {self.date}; {self.minutes:.0f} minutes"
        yield f"- {', '.join(self.versions)}; `fsync` and `synchronous_commit` on"
        yield (
            f"- granian, RSGI, {server.PROCESSES} processes × {SIZES[Pool.ORDINARY].threads} threads, one kept"
            " connection per thread"
        )
        yield f"- {self.plan.rounds} runs of {first.seconds:g} s each, in rounds through all cases: median (least–most)"
        yield (
            f"- Load average while measuring: {_span(self.loads, 1)}; the clients, PostgreSQL and the web server alone"
            " make about 4 of it"
        )
        yield ""

    def _table(self) -> Iterator[str]:
        yield "| tokens | request | clients | requests/s | p50 ms | p99 ms | not 2xx | CPU µs: web | database |"
        yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
        for (tokens, name, clients), row in self.rows.items():
            yield (
                f"| {tokens} | {name} | {clients} | **{row.rate:,.0f}** ({_span(row.rates)})"
                f" | {row.percentile(0.5):.1f} | {row.percentile(0.99):.1f} | {row.refused}"
                f" | {median(row.web):,.0f} | {median(row.database):,.0f} |"
            )
        cpu = max(run.load_cpu_seconds / run.seconds for row in self.rows.values() for run in row.runs)
        yield ""
        yield f"The load generator used at most {cpu:.0%} of one core."
        yield ""

    def share(self, tokens: str, name: str, of: str = EMPTY) -> float:
        """Return the rate of a case, in the rate of another in the same turn: the median of all turns."""
        return median(turn[name] / turn[of] for turn in self.turns[tokens])

    def _in_turn(self) -> Iterator[str]:
        small, large = self.turns
        yield "## In turn with the empty view"
        yield ""
        yield (
            f"At 32 clients, {self.plan.turns} turns of {self.plan.turn_seconds:g} s a case: the median of its share of"
            " the empty view's rate in the same turn. A machine that becomes slower meanwhile does not matter here."
        )
        yield ""
        yield f"| request | {small} | {large} | {large} against {small} |"
        yield "|---|--:|--:|--:|"
        for name in (COLD, *LISTS):
            few, many = (self.share(tokens, name) for tokens in (small, large))
            yield f"| {name} | {few:.0%} | {many:.0%} | {few / many:.2f} × the time |"
        yield ""

    def _baselines(self) -> Iterator[str]:
        yield "## The database alone"
        yield ""
        yield "| the same SQL, prepared | clients | a second |"
        yield "|---|--:|--:|"
        for (name, clients), rates in self.raw.items():
            digits = 1 if median(rates) < 100 else 0
            yield f"| {name} | {clients} | **{median(rates):,.{digits}f}** ({_span(rates, digits)}) |"
        yield ""

    def _pages(self) -> Iterator[str]:
        yield "## The operators' desk"
        yield ""
        yield "Over the same, and 20,000 pending transfers, 80,000 cancelled ones, 100,000 coins and 5,000 tasks."
        yield ""
        yield from desk.table(self.pages)
        yield ""

    def _reach(self) -> Iterator[str]:
        yield "## Reached?"
        yield ""
        yield "| at 32 clients | wanted | measured | |"
        yield "|---|---|---|---|"
        for what, wanted, measured, good in self._verdicts():
            yield f"| {what} | {wanted} | {measured} | {'yes' if good else '**no**'} |"

    def _verdicts(self) -> Iterator[tuple[str, str, str, bool]]:
        small, large = self.turns
        row = {(tokens, name): each for (tokens, name, clients), each in self.rows.items() if clients == 32}
        cold, hot = row[large, COLD], row[large, HOT]
        share = self.share(large, COLD)
        yield "POST /transfers, everything on", "half of the empty view", f"{share:.0%}", share >= 0.5
        refused = sum(each.refused for each in self.rows.values())
        yield "answers that are not 2xx, all rows", "none", f"{refused}", refused == 0
        for name, each in ((COLD, cold), (HOT, hot)):
            spread = each.percentile(0.99) / each.percentile(0.5)
            yield f"{name}: p99", "under 8 × p50", f"{spread:.1f} × p50", spread < 8
        share = self.share(large, HOT, of=COLD)
        yield "hot wallet", "80 % of cold", f"{share:.0%}", share >= 0.8
        old_hot, old_cold = row["old snapshot", HOT], row["old snapshot", COLD]
        share = old_hot.rate / old_cold.rate
        what = f"hot wallet after {self.plan.draws:,} draws, old snapshot open"
        yield what, "80 % of cold", f"{share:.0%}", share >= 0.8
        for name in LISTS:
            share = self.share(large, name)
            yield name, "half of the empty view", f"{share:.0%}", share >= 0.5
        for name in LISTS:
            times = self.share(small, name) / self.share(large, name)
            yield f"{name}: {large} against {small}", "under 1.3 × the time", f"{times:.2f} ×", times < 1.3
        for name in LISTS:
            deep = f"{name}, cursor at {self.plan.depth:,}"
            if (large, deep) in row:
                times = row[large, name].rate / row[large, deep].rate
                yield f"{deep}, against the first page", "under 1.3 × the time", f"{times:.2f} ×", times < 1.3
        big = self.rows[large, BIG, 1]
        times = median(self.raw[RAW_BIG, 1]) / big.rate
        yield "bundle of 10,000 (1 client)", "under 3 × its raw SQL", f"{times:.2f} ×", times < 3
        home = next(page.median for page in self.pages if page.path == desk.HOME)
        good = home < desk.LIMIT_MILLISECONDS
        yield "home of the operators' desk (1 client)", f"under {desk.LIMIT_MILLISECONDS} ms", f"{home:.0f} ms", good
        yield "transfers a second, durable and authenticated", "1,000", f"{cold.rate:,.0f}", cold.rate >= 1000


def spread(values: Sequence[float]) -> str:
    """Return the median and, in brackets, the middle half."""
    first, second, third = quantiles(values, n=4, method="inclusive") if len(values) > 1 else list(values) * 3
    digits = 3 if abs(second) < 100 else 0
    return f"{second:,.{digits}f} ({first:,.{digits}f}–{third:,.{digits}f})"
