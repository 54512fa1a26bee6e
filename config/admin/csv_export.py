"""Rows as CSV: written while they are read, and safe to open in a spreadsheet."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from django.http import StreamingHttpResponse

# A spreadsheet takes a cell that begins so for a formula, and runs it.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
# A phone number, which is a common name of wallets: as a formula it is a number and nothing else.
_PHONE_NUMBER: Final = re.compile(r"\+[0-9]{3,15}", re.ASCII)
# Without it Excel takes the file for one in the encoding of its system.
_BYTE_ORDER_MARK: Final = "\ufeff"

Column = tuple[str, Callable[[Any], object]]


def cell(value: object) -> str:
    """Return what is written for a value. Text that a spreadsheet would run gets an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    # A number is a number, also a negative one.
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if _PHONE_NUMBER.fullmatch(text):
        return text
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


def lines(columns: Sequence[Column], rows: Iterable[Any]) -> Iterator[str]:
    """Return the lines of a CSV file: the heads of the columns after a byte order mark, then each row."""
    writer = csv.writer(_Echo())
    yield _BYTE_ORDER_MARK + writer.writerow([head for head, _ in columns])
    for row in rows:
        yield writer.writerow([cell(value(row)) for _, value in columns])


def response(columns: Sequence[Column], rows: Iterable[Any], *, file_name: str) -> StreamingHttpResponse:
    """Return an answer that sends the rows as they come."""
    return StreamingHttpResponse(
        lines(columns, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{file_name}"'},
    )
