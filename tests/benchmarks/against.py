"""
Compares this checkout with another one, each with its own database and web server, in one interleaved run.

    python -m tests.benchmarks against DIRECTORY [--turns N] [--seconds S]

DIRECTORY is another checkout in which `make setup-dev` was run. Each turn measures both, in alternating order: requests
a second, and the processor time per request of the web server and of PostgreSQL. The other checkout is measured by its
own `tests.benchmarks` modules; only this file is taken from here.
"""

import argparse
import contextlib
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

TOKENS: Final = 50_000
CASES: Final = ("POST /transfers", "GET /transfers", "GET /tokens", "GET /wallets", "empty view")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks against", description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.2)
    chosen = parser.parse_args(arguments)
    here = Path(__file__).resolve().parents[2]
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(_Side(directory)) for directory in (chosen.other.resolve(), here)]
        measured: dict[str, list[list[dict[str, float]]]] = {name: [] for name in CASES}
        for turn in range(chosen.turns):
            for name in CASES:
                found: dict[int, dict[str, float]] = {}
                for which in (0, 1) if turn % 2 else (1, 0):
                    found[which] = sides[which].measure(name, chosen.seconds)
                measured[name].append([found[0], found[1]])
    print(f"this checkout ÷ {chosen.other}, {chosen.turns} turns of {chosen.seconds} s: median (middle half)")
    for name, turns in measured.items():
        figures = {
            key: _ratio([now[key] / before[key] for before, now in turns]) for key in ("rate", "web", "database")
        }
        print(f"| {name} | rate {figures['rate']} | web {figures['web']} | database {figures['database']} |")


def _ratio(values: Sequence[float]) -> str:
    first, second, third = statistics.quantiles(values, n=4)
    return f"{second:.3f} ({first:.3f}–{third:.3f})"


class _Side:
    """A process that runs one checkout and measures on request."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> "_Side":
        command = [self._directory / ".venv/bin/python", Path(__file__).resolve()]
        self._process = subprocess.Popen(
            command, cwd=self._directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def measure(self, name: str, seconds: float) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, seconds]) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._directory} could not be measured")
        return dict(json.loads(line))


def serve() -> None:
    """Run the checkout of the working directory; answer each line of standard input with the figures of one run."""
    answers, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, str(Path.cwd()))
    import django

    from tests.benchmarks import load, machine

    with machine.running() as running:
        django.setup()
        from tests.benchmarks import cases, data

        roll_up = _roll_up()
        estate = data.settle()
        with running.connect() as connection:
            data.grow(connection, estate, TOKENS - data.SETTLED)
            data.tidy(connection)
        running.start_web()
        paths = ("/transfers?limit=100", "/tokens?limit=100", "/wallets?limit=100", "/nothing")
        scripts = dict(zip(CASES, [cases.cold(estate), *(cases.reading(estate, path) for path in paths)], strict=True))
        print("{}", file=answers, flush=True)
        for line in sys.stdin:
            name, seconds = json.loads(line)
            roll_up()
            before = running.web_and_database_cpu()
            run = load.run(running.address, scripts[name], clients=32, seconds=seconds, word=f"t-{time.time_ns()}")
            web, database = (
                (now - then) / run.sent for now, then in zip(running.web_and_database_cpu(), before, strict=True)
            )
            if run.refused:
                raise RuntimeError(f"not 2xx: {run.refused}")
            print(json.dumps({"rate": run.rate, "web": web, "database": database}), file=answers, flush=True)


def _roll_up() -> Callable[[], Any]:
    """Return the function that rolls up the counters of tokens, by the name that it has in the checkout."""
    for module, name in (("transfers.counters", "roll_up"), ("transfers.tallies", "fold")):
        with contextlib.suppress(ImportError):
            return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
    raise RuntimeError("this checkout has no counters of tokens")


if __name__ == "__main__":
    serve()
