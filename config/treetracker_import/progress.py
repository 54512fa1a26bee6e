"""The display of an import: one line for each step, with rows, rate and, in a terminal, the time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_NAME_WIDTH: Final = 34


class _Rate(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="bright_black")


class Display:
    """Shows steps as they run (a bar, in a terminal) and as they end (a line, everywhere)."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show a step of `total` rows; yields what to call with each number of rows that is done."""
        began = time.monotonic()
        done = 0
        with Progress(
            TextColumn(f"  {name:<{_NAME_WIDTH}}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        ) as progress:
            task = progress.add_task(name, total=total)

            def advance(rows: int) -> None:
                nonlocal done
                done += rows
                progress.advance(task, rows)

            yield advance
        seconds = time.monotonic() - began
        counted = f"{done:>12,}  {done / max(seconds, 1e-3):>10,.0f}/s" if total is not None else " " * 26
        self.console.print(f"  {name:<{_NAME_WIDTH}}{counted}{seconds:>9.1f} s", highlight=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        self.console.print(sentence, highlight=False, markup=False, soft_wrap=True)
