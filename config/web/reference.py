"""What the API reference at `/docs/` shows of the OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from config.api.openapi_document import document, message_of
from config.web.markdown import html_of

_FORMATS: Final = {
    "uuid": "UUID",
    "date-time": "time (RFC 3339)",
    "date": "date",
    "binary": "file",
}
_NUMBERS: Final = {"minimum": "from", "maximum": "to"}


@dataclass(frozen=True)
class Row:
    """A field of a schema, or a parameter."""

    name: str
    type: SafeString
    text: SafeString
    is_required: bool = False
    place: str = ""


@dataclass(frozen=True)
class Content:
    """A body: its media type, its schema, and examples as JSON text by title."""

    media_type: str
    type: SafeString
    examples: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """The answers of one status. Those of errors have messages, others a body."""

    status: str
    phrase: str
    contents: list[Content]
    messages: list[str]


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    summary: str
    text: SafeString
    parameters: list[Row]
    bodies: list[Content]
    answers: list[Answer]


@dataclass(frozen=True)
class Group:
    """The operations of a tag."""

    name: str
    about: str
    operations: list[Operation]

    @property
    def anchor(self) -> str:
        return "tag-" + self.name.replace(" ", "-")


@dataclass(frozen=True)
class Schema:
    name: str
    text: SafeString
    type: SafeString
    rows: list[Row]


@cache
def introduction() -> SafeString:
    return html_of(document()["info"]["description"])


@cache
def groups() -> list[Group]:
    """Return the operations by tag, in the order of the document's tags."""
    found: dict[str, list[Operation]] = {}
    for path, methods in document()["paths"].items():
        for method, described in methods.items():
            operation = Operation(
                id=described["operationId"],
                method=method.upper(),
                path=path,
                summary=described["summary"],
                # The answers list the errors.
                text=html_of(described["description"].partition("\n\nErrors:\n")[0]),
                parameters=[_parameter(each) for each in described.get("parameters", [])],
                bodies=_contents(described.get("requestBody", {})),
                answers=[_answer(status, each) for status, each in sorted(described["responses"].items())],
            )
            for tag in described["tags"]:
                found.setdefault(tag, []).append(operation)
    return [Group(each["name"], each["description"], found[each["name"]]) for each in document()["tags"]]


@cache
def schemas() -> list[Schema]:
    """Return the components, by name."""
    return [
        Schema(
            name,
            html_of(schema["description"]),
            SafeString("") if "properties" in schema else _type(schema),
            [
                Row(field, _type(each), html_of(each.get("description", "")), field in schema.get("required", []))
                for field, each in schema.get("properties", {}).items()
            ],
        )
        for name, schema in sorted(document()["components"]["schemas"].items())
    ]


def _parameter(described: Mapping[str, Any]) -> Row:
    return Row(
        described["name"],
        _type(described["schema"]),
        html_of(described["description"]),
        described.get("required", False),
        described["in"],
    )


def _contents(described: Mapping[str, Any]) -> list[Content]:
    return [
        Content(
            media_type,
            _type(each["schema"]),
            {
                example.get("summary", title): json.dumps(example["value"], indent=2, ensure_ascii=False)
                for title, example in each.get("examples", {}).items()
            },
        )
        for media_type, each in described.get("content", {}).items()
    ]


def _answer(status: str, described: Mapping[str, Any]) -> Answer:
    if "$ref" in described:
        described = document()["components"]["responses"][described["$ref"].rpartition("/")[2]]
    if status < "400":
        return Answer(status, described["description"], _contents(described), [])
    [content] = described["content"].values()
    messages = [message_of(each["value"]) for each in content["examples"].values()]
    return Answer(status, described["description"], [], messages)


def _type(schema: Mapping[str, Any]) -> SafeString:
    """Return the type of a schema in words, with a link to the component that it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return format_html('<a href="#schema-{}">{}</a>', name, name)
    for alternatives in ("anyOf", "oneOf"):
        if alternatives in schema and "format" not in schema:
            return format_html_join(" or ", "{}", ((_type(each),) for each in schema[alternatives]))
    if schema.get("type") == "array":
        return format_html("list of {}", _type(schema["items"]))
    return format_html("{}", " ".join(_words(schema)))


def _words(schema: Mapping[str, Any]) -> Iterator[str]:
    kinds = schema.get("type", "any value")
    names = kinds if isinstance(kinds, list) else [kinds]
    named = _FORMATS.get(schema.get("format", ""))
    yield " or ".join(named if named and each == "string" else each for each in names)
    if "enum" in schema:
        yield "(" + ", ".join(str(each) for each in schema["enum"] if each is not None) + ")"
    if "const" in schema:
        yield json.dumps(schema["const"])
    for bound, word in _NUMBERS.items():
        if bound in schema:
            yield f"{word} {schema[bound]:,}"
    if schema.get("minLength", 0) > 1:
        yield f"of {schema['minLength']} characters or more"
    if "maxLength" in schema:
        yield f"of up to {schema['maxLength']:,} characters"
    if isinstance(schema.get("additionalProperties"), dict):
        yield "by name"
