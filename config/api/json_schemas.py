"""
JSON schemas of requests and responses.

Request schemas are derived from the shapes that validate requests (`schema_of`), response schemas from example values
(`schema_like`).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from config.api.validation import Field, Flag, Guid, ListOf, Moment, Number, Shape, Text

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


class Nullable:
    """An example value that may be null."""

    def __init__(self, example: Any) -> None:
        self.example = example


class Sometimes:
    """An example value of an optional property."""

    def __init__(self, example: Any) -> None:
        self.example = example


class Either:
    """A value of one of several types; the first is the example."""

    def __init__(self, *examples: Any) -> None:
        self.examples = examples
        self.example = examples[0]


class Keyed:
    """An object with arbitrary property names, whose values all have the type of the first."""

    def __init__(self, example: Mapping[str, Any]) -> None:
        self.example = dict(example)


class OneOf:
    """A string of an enumeration; the first value is the example."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.example = choices[0]


def schema_of(field: Field, *, in_query: bool = False) -> dict[str, Any]:
    """Return the JSON schema of a field. `in_query`: numbers and booleans are not described as text."""
    match field:
        case Shape():
            return {
                "type": "object",
                "properties": {name: schema_of(each) for name, each in field.fields.items()},
                "required": [name for name, each in field.fields.items() if each.required],
                "additionalProperties": False,
            }
        case ListOf():
            return _present(
                {
                    "type": "array",
                    "items": schema_of(field.item),
                    "minItems": field.minimum or None,
                    "maxItems": field.maximum,
                    "uniqueItems": field.unique or None,
                }
            )
        case Text():
            return _present(
                {
                    "type": "string",
                    "minLength": field.minimum or (None if field.may_be_empty else 1),
                    "maxLength": field.maximum,
                    "enum": list(field.choices) if field.choices is not None else None,
                }
            )
        case Number():
            number = _present({"type": "integer", "minimum": field.minimum, "maximum": field.maximum})
            if field.from_text and not in_query:
                return {"anyOf": [number, {"type": "string", "pattern": "^[0-9]+(\\.0+)?$"}]}
            return number
        case Flag():
            boolean = {"type": "boolean"}
            if field.from_text and not in_query:
                return {"anyOf": [boolean, {"type": "string", "enum": ["true", "false"]}]}
            return boolean
        case Guid():
            return {"type": "string", "format": "uuid"}
        case Moment():
            return {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}
        case _:
            # A field class outside `config.api.validation` brings its own schema.
            return dict(getattr(field, "schema", {}))


def schema_like(example: Any) -> dict[str, Any]:
    """Return the JSON schema of responses of which this is an example."""
    match example:
        case Nullable(example=None):
            return {"type": "null"}
        case Nullable():
            inner = schema_like(example.example)
            if "enum" in inner:
                inner["enum"] = [*inner["enum"], None]
            return inner | {"type": [inner["type"], "null"]} if "type" in inner else inner
        case Sometimes() | Keyed() | OneOf() | Either():
            return _schema_of_wrapped(example)
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case str() if _UUID.fullmatch(example):
            return {"type": "string", "format": "uuid"}
        case str() if _TIME.fullmatch(example):
            return {"type": "string", "format": "date-time"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array", "items": schema_like(example[0]) if example else {}}
        case dict():
            return {
                "type": "object",
                "properties": {name: schema_like(value) for name, value in example.items()},
                "required": [name for name, value in example.items() if not isinstance(value, Sometimes)],
            }
        case _:
            return {}


def _schema_of_wrapped(example: Sometimes | Keyed | OneOf | Either) -> dict[str, Any]:
    match example:
        case Sometimes():
            return schema_like(example.example)
        case Keyed():
            return {"type": "object", "additionalProperties": schema_like(next(iter(example.example.values())))}
        case OneOf():
            return {"type": "string", "enum": list(example.choices)}
        case Either():
            return {"anyOf": [schema_like(each) for each in example.examples]}


def plain(example: Any) -> Any:
    """Return an example as plain JSON values."""
    if isinstance(example, Nullable | Sometimes | Keyed | OneOf | Either):
        return plain(example.example)
    if isinstance(example, dict):
        return {name: plain(value) for name, value in example.items()}
    return [plain(value) for value in example] if isinstance(example, list) else example


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if value is not None}
