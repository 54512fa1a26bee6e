"""
Validation of request bodies and query strings, with the messages of the public wallet service.

A serializer module declares shapes and calls `read`:

    TRANSFER = Shape(sender_wallet=Text(), receiver_wallet=Text(), bundle=Shape(bundle_size=Number(minimum=1)))
    values = TRANSFER.read(request.data)

Problems are raised as 422 (`Invalid`): fields in the order of declaration, then unknown ones. `read_query` reads query
strings, with numbers as text. Missing optional fields are absent from the result.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, ClassVar, Final, Protocol
from uuid import UUID

from django.http import QueryDict

from config.api.errors import Invalid
from wallets import names
from wallets.errors import DomainError

_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)
_LENIENT_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,40}(\.[0-9]{1,40})?(e[+-]?[0-9]{1,2})?\s*", re.IGNORECASE | re.ASCII)
_MOMENT = re.compile(
    r"(?P<year>[0-9]{4})(-(?P<month>[0-9]{2})(-(?P<day>[0-9]{2})"
    r"([T ](?P<time>[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)(?P<zone>Z|[+ -][0-9]{2}:[0-9]{2})?)?)?)?",
    re.IGNORECASE | re.ASCII,
)
_SAFE_INTEGER: Final = 2**53 - 1
# A message for v2 that names every unknown parameter could be as long as the request.
_PROBLEMS_AT_MOST: Final = 20


class Field(Protocol):
    """One value of a shape. `path` is its name in messages: `bundle.bundle_size`, `tokens[0]`."""

    @property
    def required(self) -> bool: ...

    def read(self, path: str, value: Any) -> Any:
        """Return the value. :raises Invalid: it is not valid"""
        ...


@dataclass(frozen=True)
class Text:
    """A string, not empty by default. Choices are compared with regard to case."""

    minimum: int = 0
    maximum: int | None = None
    choices: Sequence[str] | None = None
    may_be_empty: bool = False
    required: bool = True

    def read(self, path: str, value: Any) -> str:
        if self.choices is not None and value not in self.choices:
            also = [f'"{path}" is not allowed to be empty'] if value == "" else []
            raise Invalid(f'"{path}" must be one of [{", ".join(self.choices)}]', *also)
        if not isinstance(value, str):
            raise Invalid(f'"{path}" must be a string')
        if not value and not self.may_be_empty:
            raise Invalid(f'"{path}" is not allowed to be empty')
        if "\0" in value:
            raise Invalid(f'"{path}" must not hold a NUL character')
        if len(value) < self.minimum:
            raise Invalid(f'"{path}" length must be at least {self.minimum} characters long')
        if self.maximum is not None and len(value) > self.maximum:
            raise Invalid(f'"{path}" length must be less than or equal to {self.maximum} characters long')
        return value


@dataclass(frozen=True)
class Number:
    """
    An integer. `from_text` also accepts a string, as in query strings and bundle sizes.

    `is_lenient` also reads blanks around it and exponents (`1e1`), as v2 does. `unfit` is the message, instead of those
    of v1, if the number is below the minimum or no integer; `{}` in it is the name.
    """

    minimum: int | None = None
    maximum: int | None = None
    from_text: bool = False
    required: bool = True
    is_lenient: bool = False
    unfit: str = ""

    def read(self, path: str, value: Any) -> int:
        number = _LENIENT_NUMBER if self.is_lenient else _NUMBER
        if isinstance(value, str) and self.from_text and number.fullmatch(value):
            value = Decimal(value.strip())
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise Invalid(f'"{path}" must be a number')
        if not isinstance(value, int):
            value = Decimal(value)
        if abs(value) > _SAFE_INTEGER:
            raise Invalid(f'"{path}" must be a safe number')
        if self.minimum is not None and value < self.minimum:
            raise Invalid(self.unfit.format(path) or f'"{path}" must be greater than or equal to {self.minimum}')
        if self.maximum is not None and value > self.maximum:
            raise Invalid(f'"{path}" must be less than or equal to {self.maximum}')
        if value != int(value):
            raise Invalid(self.unfit.format(path) or f'"{path}" must be an integer')
        return int(value)


@dataclass(frozen=True)
class Flag:
    """A boolean. `from_text` also accepts the strings "true" and "false" in any case."""

    from_text: bool = False
    required: bool = True

    def read(self, path: str, value: Any) -> bool:
        if self.from_text and isinstance(value, str) and value.lower() in {"true", "false"}:
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise Invalid(f'"{path}" must be a boolean')
        return value


@dataclass(frozen=True)
class Unset:
    """A field that must be false, or "false": some clients always send it, but its feature does not exist."""

    required: bool = False
    schema: ClassVar[Mapping[str, Any]] = {
        "anyOf": [{"type": "boolean", "const": False}, {"type": "string", "const": "false"}]
    }

    def read(self, path: str, value: Any) -> bool:
        if value is not False and value != "false":
            raise Invalid(f'"{path}" is not allowed')
        return False


@dataclass(frozen=True)
class Guid:
    """A UUID, with or without hyphens."""

    required: bool = True

    def read(self, path: str, value: Any) -> UUID:
        if not isinstance(value, str):
            raise Invalid(f'"{path}" must be a string')
        if not value:
            raise Invalid(f'"{path}" is not allowed to be empty')
        parsed = names.parse_uuid(value)
        if parsed is None:
            raise Invalid(f'"{path}" must be a valid GUID')
        return parsed


@dataclass(frozen=True)
class Moment:
    """
    A year, a month, a date or a time in ISO 8601, in UTC without an offset. The result is its first instant, in UTC.

    A blank may stand for the `T`. In an offset it stands for a plus sign, which a query string decodes as a blank.
    """

    required: bool = True

    def read(self, path: str, value: Any) -> datetime:
        # The parser of the standard library also takes dates of weeks, which no later reader might.
        found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise Invalid(f'"{path}" must be in ISO 8601 date format')
        day = f"{found['year']}-{found['month'] or '01'}-{found['day'] or '01'}"
        zone = (found["zone"] or "Z").replace(" ", "+").upper()
        try:
            return datetime.fromisoformat(f"{day}T{found['time'] or '00:00'}{zone}").astimezone(UTC)
        except (ValueError, OverflowError):
            raise Invalid(f'"{path}" must be in ISO 8601 date format') from None


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind. Its length is checked first."""

    item: Field
    minimum: int = 0
    maximum: int | None = None
    unique: bool = False
    required: bool = True

    def read(self, path: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Invalid(f'"{path}" must be an array')
        if len(value) < self.minimum:
            raise Invalid(f'"{path}" must contain at least {self.minimum} items')
        if self.maximum is not None and len(value) > self.maximum:
            raise Invalid(f'"{path}" must contain less than or equal to {self.maximum} items')
        items = []
        # Compared after parsing: two spellings of a UUID are equal.
        seen = set()
        for index, entry in enumerate(value):
            read = self.item.read(f"{path}[{index}]", entry)
            if self.unique:
                if read in seen:
                    raise Invalid(f'"{path}[{index}]" contains a duplicate value')
                seen.add(read)
            items.append(read)
        return items


@dataclass(frozen=True)
class Shape:
    """An object with these fields and no others."""

    fields: Mapping[str, Field] = field(default_factory=dict)
    required: bool = True

    def read(self, path: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Invalid(f'"{path}" must be of type object')
        prefix = f"{path}." if path and path != "value" else ""
        result = {}
        problems: list[str] = []
        for name, each in self.fields.items():
            if name in value:
                try:
                    result[name] = each.read(prefix + name, value[name])
                except Invalid as invalid:
                    problems += invalid.problems
                except DomainError:
                    if problems:
                        break
                    raise
            elif each.required:
                problems.append(f'"{prefix}{name}" is required')
        problems += islice(
            (f'"{prefix}{shortened(name)}" is not allowed' for name in value if name not in self.fields),
            _PROBLEMS_AT_MOST,
        )
        if problems:
            raise Invalid(*problems)
        return result

    def read_body(self, value: Any) -> dict[str, Any]:
        """Read the body of a request. A missing body is an empty object."""
        return self.read("value", {} if value is None else value)

    def read_query(self, query: QueryDict) -> dict[str, Any]:
        """Read a query string. A repeated parameter is invalid."""
        return self.read("value", {name: values[0] if len(values) == 1 else values for name, values in query.lists()})


def shortened(name: str) -> str:
    """Truncate a name from the client for a message."""
    return name if len(name) <= 100 else name[:100] + "…"


def path_id(name: str, value: str) -> UUID:
    """Read an id from a path. `name` is its name in messages: `token_id`."""
    return Guid().read(name, value)
