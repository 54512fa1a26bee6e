"""
The description of the interface in OpenAPI 3.1, and its page at `/docs/`.

Each action of a view is described where it stands:

    @describe(
        "Create a wallet",
        body=serializers.NEW_WALLET,
        answer={"wallet": "sapling"},
        refusals=[errors.WalletNameTaken("The wallet 'sapling' has been existed")],
        tag="wallets",
    )

Schemas are derived: those of requests from the shape that also checks them, those of answers from the example, so
that neither can say what is not so. Refusals that many requests may get (credentials, malformed bodies, a busy
service) are added to all that can get them.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final, TypeVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from config.api import errors
from config.api.validation import Field, Flag, Guid, ListOf, Moment, Number, Shape, Text
from config.web.security_headers import READING_POLICY
from lockers.errors import LockersOff
from wallets.errors import DomainError, KeyInUse

F = TypeVar("F", bound=Callable[..., Any])
Refusal = DomainError | errors.RequestRefused

PAGE: Final[Mapping[str, Field]] = {
    "limit": Number(1, 1000, from_text=True),
    "start": Number(1, from_text=True, required=False),
    "cursor": Text(maximum=1000, required=False),
}
_ABOUT: Final = {
    "limit": "How many rows at most.",
    "start": "The position of the first row, from 1. For deep pages follow the `Link` header instead.",
    "since": "A date or time; earlier events are left out.",
    "cursor": "Where the page before ended, as its `Link` header says; not together with `start`.",
}
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_FILE: Final = {"type": "string", "format": "binary"}
# The names of RFC 9110. Python has them since 3.13, and older ones before: the document is the same on all.
_RENAMED: Final = {413: "Content Too Large", 422: "Unprocessable Content"}

# What is wrong with a request before a rule of the domain is asked; the texts are those that are sent.
_UNREADABLE: Final = [
    errors.RequestRefused(400, "Malformed JSON: Expecting value at position 11"),
    errors.RequestRefused(413, "Request entity too large"),
]
_NO_JSON: Final = errors.RequestRefused(415, "Invalid content type. API only supports application/json")
_NO_API_KEY: Final = [
    errors.RequestRefused(401, "Invalid access - no API key"),
    errors.RequestRefused(401, "Invalid API access"),
    errors.RequestRefused(401, "Invalid API access, apiKey was deprecated"),
]
_KEY_USED: Final[list["Refusal"]] = [
    KeyInUse(),
    errors.Invalid("This Idempotency-Key was used for another request"),
]
_TOO_MANY: Final = errors.RequestRefused(429, "Too many requests, try again later")
_ALWAYS: Final = [
    errors.RequestRefused(400, "Malformed request"),
    errors.Invalid('"x" is not allowed'),
    errors.RequestRefused(500, "Unknown error"),
    errors.RequestRefused(503, "Service busy, try again"),
]


# What refusals are called in the names of responses: those of the domain by their class, these by their message.
_CALLED: Final[dict[str, str]] = {
    "Malformed request": "MalformedRequest",
    _UNREADABLE[0].message: "MalformedJson",
    _UNREADABLE[1].message: "TooLarge",
    _NO_JSON.message: "NotJson",
    **{each.message: "ApiKeyRefused" for each in _NO_API_KEY},
    errors.bearer_refused("/").message: "BearerRefused",
    "Cannot GET /nowhere": "UnknownPath",
    '"x" is not allowed': "UnknownField",
    "This Idempotency-Key was used for another request": "KeyUsedOtherwise",
    "Unknown error": "UnexpectedError",
    "Service busy, try again": "ServiceBusy",
}
# Possible wherever something else of the same status is, so they go without saying.
_UNDERSTOOD: Final = {"MalformedRequest", "BearerRefused", "UnknownPath", "UnknownField"}


class Nullable:
    """An example value in whose place null may stand."""

    def __init__(self, example: Any) -> None:
        self.example = example


class Sometimes:
    """An example value whose name may be missing."""

    def __init__(self, example: Any) -> None:
        self.example = example


class Either:
    """A value of one of several kinds; the first stands in the example."""

    def __init__(self, *examples: Any) -> None:
        self.examples = examples
        self.example = examples[0]


class Keyed:
    """An object whose names are not fixed, and whose values all look like the first."""

    def __init__(self, example: Mapping[str, Any]) -> None:
        self.example = dict(example)


class OneOf:
    """A text that is one of a few; the first stands in the example."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.example = choices[0]


def schema_of(field: Field, *, in_query: bool = False) -> dict[str, Any]:
    """Return the JSON schema of a field of a shape. In a query everything is text, and numbers are called numbers."""
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
            # A field of an app's own says itself what it takes.
            return dict(getattr(field, "schema", {}))


def schema_like(example: Any) -> dict[str, Any]:
    """Return the JSON schema of answers that look like the example."""
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
    """Return an example without what only its schema needs."""
    if isinstance(example, Nullable | Sometimes | Keyed | OneOf | Either):
        return plain(example.example)
    if isinstance(example, dict):
        return {name: plain(value) for name, value in example.items()}
    return [plain(value) for value in example] if isinstance(example, list) else example


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if value is not None}


def describe(
    summary: str,
    *,
    answer: Any,
    tag: str,
    status: int = 200,
    also: Mapping[int, Any] | None = None,
    body: Shape | Sequence[Shape] | None = None,
    body_examples: Mapping[str, Any] | None = None,
    form: Shape | None = None,
    file: str = "file",
    answer_files: Sequence[str] = (),
    query: Mapping[str, Field] | None = None,
    path: Mapping[str, Field] | None = None,
    refusals: Sequence[Refusal] = (),
    asks_bearer: bool = True,
    is_idempotent: bool | None = None,
    is_locker: bool = False,
    about: str = "",
) -> Callable[[F], F]:
    """
    Describe an action.

    `answer` is an example (with `Nullable` and the like where something else may stand), `also` those of other
    statuses that mean success. `body` is what is read, or several shapes of which one fits, and `form` the fields
    beside the file of a multipart form, which is called `file`. `answer_files` are the media types of an answer that
    is a file itself. `query` and `path` are the parameters, and `refusals` those of the action itself. An action
    without `query` takes no query parameters, and `config.api.views` refuses any. `about` is what the page says of it.
    """
    if is_idempotent is None:
        is_idempotent = body is not None
    successes = {**({} if answer_files else {status: answer}), **(also or {})}
    responses: dict[Any, Any] = {
        (each, "application/json"): OpenApiResponse(
            schema_like(example),
            description=_phrase(each),
            examples=[OpenApiExample(_phrase(each), plain(example), response_only=True)],
        )
        for each, example in successes.items()
    }
    for media_type in answer_files:
        responses[status, media_type] = OpenApiResponse(_FILE, description=_phrase(status))
    possible: list[Refusal] = [
        *refusals,
        *_ALWAYS,
        *([LockersOff()] if is_locker else _NO_API_KEY),
        *([errors.bearer_refused("/api/" if is_locker else "/"), _TOO_MANY] if asks_bearer else []),
        *(_UNREADABLE if body is not None else []),
        *([_NO_JSON] if body is not None else []),
        *(_KEY_USED if is_idempotent else []),
        *(errors.Invalid(f'"{name}" must be a valid GUID') for name, each in (path or {}).items() if _is_id(each)),
        *([errors.RequestRefused(404, "Cannot GET /nowhere")] if path else []),
    ]
    responses |= _responses(possible, is_locker=is_locker)
    requests: dict[str, Any] = {}
    if body is not None:
        shapes = [body] if isinstance(body, Shape) else body
        requests["application/json"] = (
            schema_of(shapes[0]) if len(shapes) == 1 else {"oneOf": [schema_of(each) for each in shapes]}
        )
    if form is not None:
        schema = schema_of(form)
        requests["multipart/form-data"] = {
            "type": "object",
            "properties": {**schema["properties"], file: _FILE},
            "required": [*schema["required"], file],
        }

    def decorate(action: F) -> F:
        action.reads_query = query is not None  # type: ignore[attr-defined]
        action.needs_no_body = isinstance(body, Shape) and not body.fields  # type: ignore[attr-defined]
        action.refusals = tuple(refusals)  # type: ignore[attr-defined]
        return extend_schema(
            operation_id=re.sub(r"[^a-z0-9]+", "_", summary.lower()).strip("_"),
            summary=summary,
            description=about or None,
            parameters=[
                *_parameters(query or {}, path or {}),
                *_headers(query, list(successes), is_idempotent=is_idempotent),
            ],
            request=requests or None,
            responses=responses,
            examples=[
                OpenApiExample(name, value, request_only=True, media_type="application/json")
                for name, value in (body_examples or {}).items()
            ],
            tags=[tag],
        )(action)

    return decorate


def _phrase(status: int) -> str:
    return _RENAMED.get(status) or HTTPStatus(status).phrase


def _is_id(field: Field) -> bool:
    return isinstance(field, Guid)


def _parameters(query: Mapping[str, Field], path: Mapping[str, Field]) -> Iterator[OpenApiParameter]:
    for name, field in query.items():
        yield OpenApiParameter(
            name,
            schema_of(field, in_query=True),
            OpenApiParameter.QUERY,
            required=field.required,
            description=_ABOUT.get(name, ""),
        )
    for name, field in path.items():
        yield OpenApiParameter(name, schema_of(field), OpenApiParameter.PATH, required=True)


def _headers(
    query: Mapping[str, Field] | None, statuses: Sequence[int], *, is_idempotent: bool
) -> Iterator[OpenApiParameter]:
    if is_idempotent:
        yield OpenApiParameter(
            "Idempotency-Key",
            {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
            OpenApiParameter.HEADER,
            description="Send the same key again to get the first answer and no second effect; kept for 7 days.",
        )
        yield OpenApiParameter(
            "Idempotency-Replayed",
            {"type": "string", "enum": ["true"]},
            OpenApiParameter.HEADER,
            response=list(statuses),
            description="There if this is the answer to an earlier request with the same key.",
        )
    if query is not None and "cursor" in query:
        yield OpenApiParameter(
            "Link",
            {"type": "string"},
            OpenApiParameter.HEADER,
            response=list(statuses),
            description='`<…>; rel="next"`: the address of the next page, if there is one.',
        )


def _responses(refusals: Sequence[Refusal], *, is_locker: bool) -> dict[Any, OpenApiResponse]:
    path = "/api/" if is_locker else "/"
    by_status: dict[int, list[Refusal]] = {}
    for refusal in refusals:
        status = refusal.status_code if isinstance(refusal, errors.RequestRefused) else errors.status_of(refusal)
        if status is None:
            raise LookupError(f"{type(refusal).__name__} has no status in config.api.errors")
        by_status.setdefault(status, []).append(refusal)
    responses: dict[Any, OpenApiResponse] = {}
    for status, group in sorted(by_status.items()):
        bodies = {}
        extras: dict[str, Any] = {}
        for refusal in group:
            message = refusal.message if isinstance(refusal, errors.RequestRefused) else str(refusal)
            extra = getattr(refusal, "extra", {})
            bodies[message] = errors.body_of(path, status, message, plain(extra))
            if isinstance(refusal, DomainError):
                _CALLED[message] = type(refusal).__name__
            extras |= {name: schema_like(value) for name, value in extra.items()}
        schema: dict[str, Any] = {"$ref": f"#/components/schemas/{'LockerError' if is_locker else 'Error'}"}
        if extras:
            schema = {"allOf": [schema, {"type": "object", "properties": extras}]}
        responses[status, "application/json"] = OpenApiResponse(
            schema,
            description=_phrase(status),
            examples=[OpenApiExample(message, value, response_only=True) for message, value in bodies.items()],
        )
    return responses


# Named by every refusal.
ERROR_SCHEMAS: Final[Mapping[str, Any]] = {
    "Error": schema_like(errors.body_of("/", 404, "Cannot GET /nope")),
    "LockerError": schema_like(errors.body_of("/api/", 404, "Cannot GET /api/nope")),
}


def with_needed_bodies(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Say of each body whether it is required: it is where a field is (a hook of drf-spectacular)."""
    for operations in result["paths"].values():
        for operation in operations.values():
            body = operation.get("requestBody")
            if body is None:
                continue
            schemas = [each["schema"] for each in body["content"].values()]
            shapes = [shape for schema in schemas for shape in schema.get("oneOf", [schema])]
            body["required"] = all(shape.get("required") for shape in shapes)
            if not any(shape.get("properties") for shape in shapes):
                body["description"] = "May be left out, and `Content-Type` with it."
    return result


def with_shared_parts(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the schemas of refusals, and keep one of several refusals that are alike (a hook of drf-spectacular)."""
    result["components"].setdefault("schemas", {}).update(ERROR_SCHEMAS)
    users: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for operations in result["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    users.setdefault(json.dumps(response), []).append((operation["responses"], status))
    shared = result["components"].setdefault("responses", {})
    for text, places in users.items():
        if len(places) == 1:
            continue
        response = json.loads(text)
        name = next(each for each in _names(response) if each not in shared)
        shared[name] = response
        for responses, status in places:
            responses[status] = {"$ref": f"#/components/responses/{name}"}
    return result


def _names(response: dict[str, Any]) -> Iterator[str]:
    """Give names for a response of refusals: by what they are, and if that is taken by what the first of them says."""
    examples = response["content"]["application/json"]["examples"]
    said = {each["value"]["message"]: re.sub(r"\W", "", key.partition(":")[0]) for key, each in examples.items()}
    called = list(dict.fromkeys(_CALLED.get(message) or _invalid_id(message) or text for message, text in said.items()))
    prefix = "Locker" if "LockerError" in json.dumps(response) else ""
    yield prefix + "Or".join([each for each in called if each not in _UNDERSTOOD] or called)
    yield prefix + next(iter(said.values()))


def _invalid_id(message: str) -> str | None:
    found = re.fullmatch(r'"(\w+)" must be a valid GUID', message)
    return found and f"Invalid{found[1].title().replace('_', '')}"


def one_path_each(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Leave out aliases, the twins under the public prefix, and all that is optional (a hook of drf-spectacular)."""
    return [
        (_without_plural(path, regex).rstrip("/") or "/", regex, method, view)
        for path, regex, method, view in endpoints
        if not path.startswith("/wallet/") and not view.initkwargs.get("is_alias")
    ]


def _without_plural(path: str, regex: str) -> str:
    for word in re.findall(r"(\w+)s\?/", regex):
        path = path.replace(f"/{word}s/", f"/{word}/")
    return path


_API_KEY: Final = {"type": "apiKey", "in": "header", "name": "TREETRACKER-API-KEY"}
_BEARER: Final = {"type": "http", "scheme": "bearer"}


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "config.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> Any:
        return _BEARER

    def get_security_requirement(self, auto_schema: Any) -> Any:
        return {"bearer": []} if errors.is_locker_path(auto_schema.path) else {"apiKey": [], "bearer": []}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "config.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> Any:
        return _API_KEY


@cache
def document() -> dict[str, Any]:
    """Return the description. It depends on nothing but the code, and takes a second to make."""
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return schema


class SchemaView(SpectacularAPIView):
    authentication_classes = []
    permission_classes = []

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(document())


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI, its assets from this server, its script in an answer of its own."""

    authentication_classes = []
    permission_classes = []
    template_name = "docs.html"
    url_name = "schema"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = READING_POLICY
        return response
