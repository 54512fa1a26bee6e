"""How the launcher speaks in a terminal: one line a phase, with what came of it and how long it took."""

import codecs
import io
from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from config.dev.supervisor import Phase

NAME_WIDTH = 16
SECONDS_COLUMN = 8
# What commands print beyond ASCII, for output that cannot show it.
_IN_ASCII: Final = {"✓": "ok", "✗": "!!", "…": "...", "→": "->", "–": "-", "—": "-", "×": "x", "µ": "u", "·": "-"}
_HANDLER: Final = "coppice.ascii"


def print_what_the_terminal_can(*streams: TextIO) -> None:
    """
    Have these streams print a likeness of each character that their encoding lacks, and never fail on one.

    A terminal, a pipe or a log of another encoding than UTF-8 (`LC_ALL=C` with `PYTHONUTF8=0`, `PYTHONIOENCODING`)
    shows `ok` for `✓`, and `?` for what has no likeness.
    """
    codecs.register_error(_HANDLER, _in_ascii)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(character, "?") for character in unknown), error.end


class PhaseDisplay:
    """
    Shows phases as they start and end. Its `show` is what `System` takes as `progress`.

    In a terminal the running phase has a spinner; elsewhere each ended phase is one plain line.
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
