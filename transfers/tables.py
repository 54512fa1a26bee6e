"""
Uploaded tables: CSV as Excel, LibreOffice, Numbers, pandas and scripts write it.

A table is recognised by its content alone, because clients send any media type: UTF-8 or UTF-16 with or without a byte
order mark, cells separated by commas, semicolons or tabs, lines ended by LF, CR LF or CR, and an optional first line
`sep=;`, which tells Excel the separator. Other encodings are refused: guessing between them would change names.
"""

import csv
import io
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_SEPARATORS: Final = ",;\t"
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([^"\n]?)"? *(?:\n|\Z)', re.IGNORECASE)
# Workbooks (.xlsx and .ods are ZIPs, .xls is OLE), PDF, gzip, pictures.
_BINARY: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF-", b"\x1f\x8b", b"\x89PNG", b"\xff\xd8\xff")


class Unreadable(ValueError):
    """The table cannot be read. The message is a predicate that names line and column: "is malformed at line 2, …"."""


class NotATable(Unreadable):
    """The content is a workbook or another binary file."""


class Record(NamedTuple):
    """The cells of one record, without white space around them, and the line on which it begins; the first is 1."""

    line: int
    cells: list[str]


def records(content: bytes) -> Iterator[Record]:
    """
    Yield the records of a table, including the header. Records with only empty cells are skipped.

    :raises NotATable: it is a workbook or another binary file
    :raises Unreadable: it is not in UTF-8 or UTF-16, holds a NUL character or is malformed
    """
    text = _text(content)
    skipped, separator = 0, ""
    if (told := _SEPARATOR_LINE.match(text)) is not None:
        separator, skipped, text = told[1], 1, text[told.end() :]
        if not separator or separator not in _SEPARATORS:
            raise Unreadable("names a separator other than comma, semicolon and tab at line 1, column 1")
    else:
        separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=separator, strict=True)
    begins = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            line, column = _fault(text, separator, begins)
            raise Unreadable(f"is malformed at line {line + skipped}, column {column}: {error}") from None
        if cells is None:
            return
        cells = [cell.strip() for cell in cells]
        if any(cells):
            yield Record(begins + skipped, cells)
        begins = reader.line_num + 1


def _text(content: bytes) -> str:
    if content.startswith(_BINARY):
        raise NotATable("is not a table")
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line, column = _place(content[: error.start].decode(encoding, "ignore"))
        raise Unreadable(f"must be text in UTF-8 or UTF-16: line {line}, column {column} is not") from None
    text = _one_line_end(text).removeprefix("\ufeff")
    if "\0" in text:
        line, column = _place(text[: text.index("\0")])
        raise Unreadable(f"must not hold a NUL character: line {line}, column {column} does")
    return text


def _encoding(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # Without a mark the zero byte of the first character decides: a header begins with a letter, a quote or a
    # separator.
    if len(content) > 1 and content[0] and not content[1]:
        return "utf-16-le"
    if len(content) > 1 and not content[0] and content[1]:
        return "utf-16-be"
    return "utf-8-sig"


def _one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _separator(text: str) -> str:
    """Return the separator that yields most cells in the first non-empty line; a comma if none does."""
    line = next((line for line in io.StringIO(text, newline="\n") if line.strip()), "")

    def cells(separator: str) -> int:
        try:
            return len(next(csv.reader([line], delimiter=separator), []))
        except csv.Error:
            return 0

    return max(_SEPARATORS, key=cells)


def _place(before: str) -> tuple[int, int]:
    """Return line and column of the position after this text."""
    before = _one_line_end(before)
    separator = _separator(before)
    begins, column = 1, 1
    try:
        reader = csv.reader(io.StringIO(before + "x", newline="\n"), delimiter=separator)
        for cells in reader:
            begins, column = reader.line_num, len(cells)
    except csv.Error:
        begins = before.count("\n") + 1
    return begins, column


def _fault(text: str, separator: str, begins: int) -> tuple[int, int]:
    """Return line and column of the malformed cell in the record that begins on line `begins`."""
    start = 0
    for _ in range(begins - 1):
        start = text.index("\n", start) + 1
    line, column, state, opened = begins, 1, "begins", begins
    for character in text[start:]:
        if state == "quoted":
            state = "closed" if character == '"' else "quoted"
        elif character in (separator, "\n"):
            if character == "\n":
                break
            column, state = column + 1, "begins"
        elif state == "closed":
            if character != '"':
                return line, column
            state = "quoted"
        elif state == "begins" and character == '"':
            state, opened = "quoted", line
        else:
            state = "plain"
        line += character == "\n"
    return (opened if state == "quoted" else line), column
