"""
What the command line prints: tables for people, tab-separated lines in a pipe, and JSON.

Results go to stdout, everything else to stderr. Texts of others are shown without control characters.
"""

import io
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import click

from coppice_client.types import Amount, StartedTask, Task, decimal_of

# From this width on, tables have all columns.
_WIDE: Final = 110
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def plain(value: object) -> str:
    """Return a text on one line that can do nothing to a terminal."""
    return "".join("\ufffd" if unicodedata.category(each) in _UNSEEN else each for each in str(value))


def moment(value: str | int | None) -> str:
    """Return a time of the API, in UTC and in seconds."""
    if value is None:
        return ""
    at = datetime.fromtimestamp(value, UTC) if isinstance(value, int) else datetime.fromisoformat(value)
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def coins(amount: Amount | None) -> str:
    """Return an amount of coins without an exponent."""
    if amount is None:
        return ""
    exact = decimal_of(amount)
    return format(exact.quantize(Decimal(1)) if exact == exact.to_integral_value() else exact.normalize(), "f")


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, and what it shows of a row. One that is `wide` is left out on a narrow screen."""

    title: str
    value: Callable[[Any], object]
    is_number: bool = False
    is_wide: bool = False
    # An id is copied: it stays on one line.
    is_whole: bool = False


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def print_rows(rows: Sequence[Any], columns: Sequence[Column], *, none: str) -> None:
    """Print a table. On a terminal `none` says that it is empty; a pipe gets no line."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(plain(column.value(row)) for column in columns))
        return
    if not rows:
        note(none)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    shown = [column for column in columns if not column.is_wide or console.width >= _WIDE]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in shown:
        table.add_column(
            column.title,
            justify="right" if column.is_number else "left",
            no_wrap=column.is_whole or column.is_number,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(plain(column.value(row))) for column in shown))
    console.print(table)


def print_fields(fields: Mapping[str, object]) -> None:
    """Print a name and a value on each line. Empty values are left out."""
    present = {name: plain(value) for name, value in fields.items() if value not in {None, ""}}
    if not sys.stdout.isatty():
        for name, value in present.items():
            click.echo(f"{name}\t{value}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in present.items():
        table.add_row(name, Text(value))
    Console(highlight=False).print(table)


def print_qr(text: str) -> None:
    """Print a QR code for a camera, in black on white whatever the colours of the terminal."""
    import segno
    from rich.console import Console
    from rich.text import Text

    written = io.StringIO()
    segno.make(text, error="m", micro=False).terminal(out=written, border=4, compact=True)
    console = Console(highlight=False, soft_wrap=True)
    for line in written.getvalue().splitlines():
        console.print(Text(line, style="bright_white on black"))


def note(text: str) -> None:
    """Say something that is no result."""
    click.echo(plain(text), err=True)


@contextmanager
def progress(what: str) -> Iterator[Callable[[Task | StartedTask], None]]:
    """Give a function that shows the state of a task while it runs, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True, highlight=False)
    said, share = TextColumn("{task.description}", markup=False), TextColumn("{task.percentage:.0f} %")
    with Progress(said, BarColumn(bar_width=20), share, console=console, transient=True) as bar:
        shown = bar.add_task(what, total=100)

        def show(task: Task | StartedTask) -> None:
            is_running = task["status"] == "running"
            said = plain(task.get("message") or what)[:40] if is_running else what
            bar.update(shown, completed=task["progress"], description=said)

        yield show
