"""
The canonical bytes of a row, which are hashed. docs/seals.md repeats this for authors of verifiers.

    row   = length of the table's name (1 byte) · name (ASCII) · version of the table (1 byte) · fields
    field = 0x00 for NULL, else 0x01 · value

with integers of 8 bytes (two's complement, the most significant byte first), booleans of 1 byte (0 or 1), UUIDs of 16
bytes, times as integers of microseconds since 1970-01-01T00:00:00Z, and texts as their length in bytes (4 bytes) and
UTF-8. A number of arbitrary size is the text of its decimal digits. JSON is the text that PostgreSQL writes of a
`jsonb`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Kind(StrEnum):
    """The type of a field."""

    INTEGER = "integer"
    BOOLEAN = "boolean"
    UUID = "uuid"
    TIME = "time"
    TEXT = "text"
    NUMBER = "number"
    JSON = "json"


class Field(NamedTuple):
    """A field of a row: its column and its type."""

    name: str
    kind: Kind


def microseconds(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def _text(value: str) -> bytes:
    raw = value.encode()
    return len(raw).to_bytes(4) + raw


def _integer(value: int) -> bytes:
    return value.to_bytes(8, signed=True)


_VALUES: Final[Mapping[Kind, Callable[[Any], bytes]]] = {
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: lambda value: b"\1" if value else b"\0",
    Kind.UUID: lambda value: value.bytes,
    Kind.TIME: lambda value: _integer(microseconds(value)),
    Kind.TEXT: _text,
    Kind.NUMBER: lambda value: _text(f"{value:f}"),
    Kind.JSON: _text,
}


def encoder(table: str, version: int, fields: Sequence[Field]) -> Callable[[Sequence[Any]], bytes]:
    """Return the function that encodes the rows of a table: values in the order of its fields, JSON as text."""
    head = len(table).to_bytes(1) + table.encode("ascii") + version.to_bytes(1)
    encoders = [_VALUES[field.kind] for field in fields]

    def encoded(values: Sequence[Any]) -> bytes:
        parts = [head]
        for value, encode in zip(values, encoders, strict=True):
            parts.append(b"\0" if value is None else b"\1" + encode(value))
        return b"".join(parts)

    return encoded


def shown(value: Any) -> Any:
    """Return a value as a proof in JSON has it."""
    match value:
        case UUID():
            return str(value)
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case Decimal():
            return f"{value:f}"
    return value
