"""
Compares this checkout with another one, each with its own database and web server, in one interleaved run.

    python -m tests.benchmarks against DIRECTORY [--turns N] [--seconds S]
    python -m tests.benchmarks against DIRECTORY [--turns N] --coins N

DIRECTORY is another checkout in which `make setup-dev` was run. Each turn measures both, in alternating order: requests
a second, and the processor time per request of the web server and of PostgreSQL. With `--coins` it measures the
processor time of a put and a take of that many coins instead: of the call that starts it, of the worker, which also
writes answers that come after the end of the task, and of PostgreSQL. The other checkout is measured by its own
`tests.benchmarks` modules; only this file is taken from here.
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
# Small tasks that the worker does before the measured one: PostgreSQL plans a statement anew five times.
WARM_UP, WARM_UP_COINS = 6, 20
QUIET_SECONDS: Final = 3.0


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks against", description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.2)
    parser.add_argument("--coins", type=int, default=0)
    chosen = parser.parse_args(arguments)
    here = Path(__file__).resolve().parents[2]
    cases, what = (("put", "take"), ["lockers"]) if chosen.coins else (CASES, [])
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(_Side(directory, *what)) for directory in (chosen.other.resolve(), here)]
        measured: dict[str, list[list[dict[str, float]]]] = {name: [] for name in cases}
        for turn in range(chosen.turns):
            for name in cases:
                found: dict[int, dict[str, float]] = {}
                for which in (0, 1) if turn % 2 else (1, 0):
                    found[which] = sides[which].measure(name, chosen.coins or chosen.seconds)
                measured[name].append([found[0], found[1]])
                print(f"{name} {found[0]} {found[1]}", flush=True)
    print(f"this checkout ÷ {chosen.other}, {chosen.turns} turns: median (middle half)")
    for name, turns in measured.items():
        figures = [
            f"{key} {_ratio([now[key] / before[key] for before, now in turns if before[key]])}" for key in turns[0][0]
        ]
        print(" | ".join(["", name, *figures, ""]).strip())


def _ratio(values: Sequence[float]) -> str:
    first, second, third = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{second:.3f} ({first:.3f}–{third:.3f})"


class _Side:
    """A process that runs one checkout and measures on request."""

    def __init__(self, directory: Path, *what: str) -> None:
        self._directory, self._what = directory, what

    def __enter__(self) -> "_Side":
        command = [self._directory / ".venv/bin/python", Path(__file__).resolve(), *self._what]
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


def _wait_for_late_answers() -> None:
    """Wait until the threads that write late answers have ended."""
    for name in ("lockers.worker.listening", "lockers.listening"):
        with contextlib.suppress(ImportError):
            listening = importlib.import_module(name)
            while not listening.is_quiet():
                time.sleep(0.1)


def serve_lockers() -> None:
    """Run the checkout of the working directory; answer each line with the processor time of one put or take."""
    answers, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, str(Path.cwd()))
    from tests.benchmarks import lockers, machine

    class Answering(lockers.Benchmark):
        def __init__(self, running: machine.Machine, network: Any) -> None:
            super().__init__(running, network)
            self._running = running

        def measure(self, chosen: Any) -> None:
            print("{}", file=answers, flush=True)
            for line in sys.stdin:
                what, coins = json.loads(line)
                print(json.dumps(self._of_one(what, coins)), file=answers, flush=True)

        def _database(self) -> float:
            assert self._running.postgres.child is not None
            return machine.cpu_seconds(self._running.postgres.child.pid)

        def _of_one(self, what: str, coins: int) -> dict[str, float]:
            prepare = {"put": self._a_put, "take": self._a_take}[what]
            small: list[Any] = []
            # How the call is named in the checkout.
            module, name = (self.operations, f"start_{what}") if hasattr(self, "operations") else (
                getattr(self, what), "start"
            )  # fmt: skip
            start, started = getattr(module, name), [0.0, 0.0]

            def counted(**how: Any) -> Any:
                setattr(module, name, start)
                _wait_for_late_answers()
                small.extend(prepare(WARM_UP_COINS) for _ in range(WARM_UP))
                time.sleep(QUIET_SECONDS)
                web, database = time.thread_time(), self._database()
                begun = start(**how)
                started[:] = time.thread_time() - web, self._database() - database
                return begun

            setattr(module, name, counted)
            big = prepare(coins)

            def work() -> list[Any]:
                for each in small:
                    self._timed(each)
                _wait_for_late_answers()
                cpu, before = time.process_time(), self._database()
                big()
                _wait_for_late_answers()
                return [time.process_time() - cpu, self._database() - before]

            worker, database = lockers._in_a_process(work)
            if unfinished := self.LockerTask.objects.exclude(state="completed").values_list("kind", "message").first():
                raise RuntimeError(unfinished)
            return {"web": started[0], "worker": worker, "database": started[1] + database}

    lockers.Benchmark = Answering  # type: ignore[misc]
    lockers.main([])


if __name__ == "__main__":
    serve_lockers() if sys.argv[1:] == ["lockers"] else serve()
