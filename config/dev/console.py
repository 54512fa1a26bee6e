"""Terminal output: one line for each phase of a start, with its result and duration."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

from config.dev.supervisor import Phase

NAME_WIDTH = 16
SECONDS_COLUMN = 8


class PhaseDisplay:
    """
    Shows phases as they start and end. `show` is the `progress` callback of `System`.

    In a terminal the running phase has a spinner; otherwise only the ended phases are printed.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quiet()

    def show(self, phase: Phase) -> None:
        self._quiet()
        if phase.state == "started":
            if self.console.is_terminal:
                self._status = self.console.status(f"{phase.name} …", spinner="dots")
                self._status.start()
            return
        self.seconds[phase.name] = phase.seconds
        mark, style = ("✓", "green") if phase.state == "done" else ("✗", "red")
        line = Text.assemble(
            (f"{mark} ", style),
            (f"{phase.name:<{NAME_WIDTH}}", "bold"),
            (f"{phase.seconds:>{SECONDS_COLUMN - 2}.1f} s  ", "bright_black"),
            phase.detail if phase.state == "done" else "",
        )
        self.console.print(line, soft_wrap=True)

    def _quiet(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
