"""
What the service adds to the database: the rate of `POST /transfers` as a share of pgbench's, which repeats the same
statement, and of the empty view's.

    python -m tests.benchmarks share [--turns N] [--seconds S] [--tokens N]

Each turn measures all three, one after the other, over the same tokens: 32 clients of the web server, 8 of pgbench.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

import django

from tests.benchmarks import machine

WEB_CLIENTS, PGBENCH_CLIENTS = 32, 8
# Separate wallets: pgbench does not repeat a transfer that finds too few tokens, so wallets that it shared with other
# cases would end up empty on one side.
_OF_PGBENCH = "('grove-' || :client_id::int || '-{}')"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks share", description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=50_000)
    chosen = parser.parse_args(arguments)
    with machine.running() as running:
        django.setup()
        from tests.benchmarks import cases, data, load, raw
        from transfers import counters

        estate = data.settle()
        with running.connect() as connection:
            data.grow(connection, estate, chosen.tokens - data.SETTLED)
            data.tidy(connection)
        running.start_web()
        one = raw.statements_of_a_transfer(estate, sender=data.plot(0, 0, "a"), receiver=data.plot(0, 0, "b"), size=1)
        scripts = [cases.cold(estate), cases.reading(estate, "/nothing")]
        rows: list[tuple[float, float, float]] = []
        for turn in range(chosen.turns):
            counters.roll_up()
            word = f"t-{time.time_ns()}"
            runs = [
                load.run(running.address, script, clients=WEB_CLIENTS, seconds=chosen.seconds, word=word)
                for script in scripts
            ]
            if refused := [run.refused for run in runs if run.refused]:
                raise RuntimeError(f"not 2xx: {refused}")
            repeated = raw.measure(
                running,
                one,
                here=_OF_PGBENCH.format("a"),
                there=_OF_PGBENCH.format("b"),
                only_the_ledger=True,
                clients=PGBENCH_CLIENTS,
                limit=["-T", str(chosen.seconds)],
            )
            sent, empty = runs
            p50, p99 = sent.percentile(0.5), sent.percentile(0.99)
            rows.append((sent.rate / repeated.rate, sent.rate / empty.rate, p99 / p50))
            print(
                f"turn {turn}: POST /transfers {sent.rate:,.0f}/s (p50 {p50:.1f} ms, p99 {p99:.1f} ms),"
                f" empty view {empty.rate:,.0f}/s, pgbench {repeated.rate:,.0f}/s",
                flush=True,
            )
    print(f"{machine.described()}, commit {machine.commit()}, {chosen.tokens:,} tokens: median (least to most)")
    names = ("share of pgbench", "share of the empty view", "p99 ÷ p50")
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        print(f"{name} {statistics.median(values):.3f} ({min(values):.3f}–{max(values):.3f})")
