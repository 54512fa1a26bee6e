"""
JSON schemas of requests and responses.

Request schemas are derived from the shapes that validate requests (`schema_of`), response schemas from example values
(`schema_like`). A `Named` shape or example is a component of the API description: a name, a text, and a text for each
of its fields. Wherever it occurs the schema is a reference to it.

    LOCKER = Named("Locker", "A locker that a wallet filled.", {"id": ID, "coins": 2}, words={
        "id": "The id of the locker.",
        "coins": "The number of coins.",
    })
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from config.api.validation import Field, Flag, Guid, ListOf, Moment, Number, Shape, Text

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INTEGER: Final = {"type": "integer"}
_NUMBER: Final = {"type": "number"}
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


class Open:
    """An object that has further properties beside those of the example."""

    def __init__(self, example: Mapping[str, Any]) -> None:
        self.example = dict(example)


class OneOf:
    """A string of an enumeration; the first value is the example."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.example = choices[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class Named:
    """
    A schema with a name, to which others refer.

    `of` is the shape of a request, an example of a response, or a `OneOf`, whose values the words explain.

    :raises LookupError: a field or value has no words, or words have no field
    """

    name: str = field(kw_only=False)
    about: str = field(kw_only=False)
    of: Any = field(kw_only=False)
    # By field: its description, or the component that it is (for a list, that its items are).
    words: Mapping[str, "str | Named"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = set(self._fields()) ^ set(self.words)
        if missing:
            raise LookupError(f"{self.name} differs from its words in {', '.join(sorted(missing))}")

    def _fields(self) -> Mapping[str, Any]:
        match self.of:
            case Shape():
                return self.of.fields
            case OneOf():
                return dict.fromkeys(str(each) for each in self.of.choices)
            case Open():
                return self.of.example
            case dict():
                return self.of
            case _:
                return {}

    @property
    def reference(self) -> dict[str, Any]:
        """The schema that refers to this one."""
        return {"$ref": f"#/components/schemas/{self.name}"}

    @property
    def schema(self) -> dict[str, Any]:
        """The whole schema."""
        schema = schema_of(self.of) if isinstance(self.of, Shape) else schema_like(self.of)
        if isinstance(self.of, OneOf):
            values = "".join(f"\n* `{value}`: {words}" for value, words in self.words.items())
            return {**schema, "description": f"{self.about}\n{values}"}
        if self.words:
            properties = {name: _described(each, self.words[name]) for name, each in schema["properties"].items()}
            schema = {**schema, "properties": properties}
        return {**schema, "description": self.about}

    def parts(self) -> "list[Named]":
        """Return the components that this one refers to itself."""
        return [*(each for each in self.words.values() if isinstance(each, Named)), *named_in(self.of)]


def _described(schema: dict[str, Any], words: str | Named) -> dict[str, Any]:
    if isinstance(words, str):
        return {**schema, "description": words}
    if schema.get("type") == "array":
        return {**schema, "items": words.reference, "description": words.about}
    return words.reference


@dataclass(frozen=True, eq=False)
class Example:
    """Another example of a component: another value, or an object with some other values."""

    of: Named
    value: Any


def named_in(example: Any) -> list[Named]:
    """Return the components in an example, without those that they refer to."""
    match example:
        case Named():
            return [example]
        case Example():
            return [example.of]
        case Nullable() | Sometimes() | Keyed() | Open():
            return named_in(example.example)
        case Either():
            return [each for one in example.examples for each in named_in(one)]
        case dict():
            return [each for value in example.values() for each in named_in(value)]
        case list():
            return [each for value in example for each in named_in(value)]
        case _:
            return []


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
        case Named():
            return example.reference
        case Example():
            return example.of.reference
        case Nullable(example=None):
            return {"type": "null"}
        case Nullable():
            inner = schema_like(example.example)
            if "type" not in inner:
                return {"anyOf": [inner, {"type": "null"}]}
            if "enum" in inner:
                inner["enum"] = [*inner["enum"], None]
            return inner | {"type": [inner["type"], "null"]}
        case Sometimes() | Keyed() | Open() | OneOf() | Either():
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
                "additionalProperties": False,
            }
        case _:
            return {}


def _schema_of_wrapped(example: Sometimes | Keyed | Open | OneOf | Either) -> dict[str, Any]:
    match example:
        case Sometimes():
            return schema_like(example.example)
        case Keyed():
            return {"type": "object", "additionalProperties": schema_like(next(iter(example.example.values())))}
        case Open():
            return {**schema_like(example.example), "additionalProperties": True}
        case OneOf():
            return {"type": "string", "enum": list(example.choices)}
        case Either():
            schemas = [schema_like(each) for each in example.examples]
            # An integer is a number.
            return _one_or_any([each for each in schemas if each != _INTEGER or _NUMBER not in schemas])


def _one_or_any(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def plain(example: Any) -> Any:
    """Return an example as plain JSON values."""
    if isinstance(example, Named):
        return plain(example.of)
    if isinstance(example, Example):
        value = plain(example.value)
        return {**cast("dict[str, Any]", plain(example.of)), **value} if isinstance(value, dict) else value
    if isinstance(example, Nullable | Sometimes | Keyed | Open | OneOf | Either):
        return plain(example.example)
    if isinstance(example, dict):
        return {name: plain(value) for name, value in example.items()}
    return [plain(value) for value in example] if isinstance(example, list) else example


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if value is not None}
