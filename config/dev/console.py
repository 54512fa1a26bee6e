"""Terminal output: one line for each phase of a start, with its result and duration."""

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
# Replacements for the non-ASCII characters that commands print.
_IN_ASCII: Final = {"✓": "ok", "✗": "!!", "…": "...", "→": "->", "–": "-", "—": "-", "×": "x", "µ": "u", "·": "-"}
_HANDLER: Final = "coppice.ascii"


def replace_unencodable(*streams: TextIO) -> None:
    """
    Print replacements for characters that the encoding of a stream lacks, instead of failing.

    A stream with another encoding than UTF-8 (`LC_ALL=C` with `PYTHONUTF8=0`, `PYTHONIOENCODING`) shows `ok` for `✓`,
    and `?` for a character without a replacement.
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
