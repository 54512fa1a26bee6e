"""Streaming CSV export that is safe to open in a spreadsheet."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from django.http import StreamingHttpResponse

# A spreadsheet evaluates a cell that begins with one of these as a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
# A phone number, a common name of wallets: as a formula it is only a number.
_PHONE_NUMBER: Final = re.compile(r"\+[0-9]{3,15}", re.ASCII)
# Without it Excel assumes the encoding of its system.
_BYTE_ORDER_MARK: Final = "\ufeff"

Column = tuple[str, Callable[[Any], object]]


def attributes(*names: str) -> list[Column]:
    """Return a column for each attribute of a row: "created_at" has the head "created at", "wallet.name" "wallet"."""
    return [(name.removesuffix(".name").replace("_", " "), attrgetter(name)) for name in names]


def cell(value: object) -> str:
    """Return the cell of a value. Text that a spreadsheet would evaluate gets an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    # Negative numbers too.
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if _PHONE_NUMBER.fullmatch(text):
        return text
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


class _Echo:
    """A file object that returns what is written to it."""

    def write(self, text: str) -> str:
        return text


def lines(columns: Sequence[Column], rows: Iterable[Any]) -> Iterator[str]:
    """Yield the lines of a CSV file: a byte order mark and the heads of the columns, then each row."""
    writer = csv.writer(_Echo())
    yield _BYTE_ORDER_MARK + writer.writerow([head for head, _ in columns])
    for row in rows:
        yield writer.writerow([cell(value(row)) for _, value in columns])


def response(columns: Sequence[Column], rows: Iterable[Any], *, file_name: str) -> StreamingHttpResponse:
    """Return a streaming response."""
    return StreamingHttpResponse(
        lines(columns, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{file_name}"'},
    )
