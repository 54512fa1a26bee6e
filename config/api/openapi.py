"""
The OpenAPI 3.1 description of the API, and Swagger UI at `/docs/`.

Each action of a view set is described by a decorator:

    @describe(
        "Create a wallet",
        body=serializers.NEW_WALLET,
        answer={"wallet": "sapling"},
        refusals=[errors.WalletNameTaken("The wallet 'sapling' has been existed")],
        tag="wallets",
    )

Request schemas are derived from the shapes that validate requests, response schemas from the example. Errors that many
requests may get (credentials, malformed bodies, a busy service) are added to all of them.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

from config.api import error_codes as codes
from config.api import errors
from config.api.json_schemas import plain, schema_like, schema_of
from config.api.validation import Field, Guid, Number, Shape, Text
from config.web.security_headers import READING_POLICY
from lockers.errors import LockersOff
from wallets.errors import DomainError, KeyInUse

F = TypeVar("F", bound=Callable[..., Any])
Refusal = DomainError | errors.RequestRefused

PAGE: Final[Mapping[str, Field]] = {
    "limit": Number(1, 2000, from_text=True),
    "start": Number(1, from_text=True, required=False),
    "cursor": Text(maximum=1000, required=False),
}
# The same of a list with what v2 adds (`config.api.pagination.Later`).
LATER_PAGE: Final[Mapping[str, Field]] = {**PAGE, "offset": Number(0, from_text=True, required=False)}
_ABOUT: Final = {
    "limit": "The maximum number of rows.",
    "start": "The position of the first row, from 1. For deep pages follow the `Link` header instead.",
    "offset": "The number of rows to skip; not together with `start`. For deep pages follow the `Link` header instead.",
    "sort_by": "The field by which the list is sorted.",
    "order": "The direction: ascending or descending.",
    "before": "A date; the list ends with the transfers that were created on that day (UTC).",
    "after": "A date or time; the list begins with the transfers that were created then.",
    "order_by": "As `sort_by` with `order`, newest first by default.",
    "name": "Only wallets with this text in their name, without regard to case, and the caller's own.",
    "scope": "`child`: the managed wallets that cannot log in. `managed`: those that can, or asked to be managed.",
    "created_at_start_date": "Only what was created on this day (UTC) or later.",
    "created_at_end_date": "Only what was created on this day (UTC) or earlier.",
    "search": "Only trusts with this text in the name of one of their wallets, without regard to case.",
    "exclude_managed": "Whether to omit trusts between the caller and wallets that it manages, or between these.",
    "since": "A date or time; earlier events are omitted.",
    "dry_run": "`true`: say what would be done, and do nothing.",
    "cursor": "The position in the `Link` header of the previous page; not together with `start` or `offset`.",
}
_FILE: Final = {"type": "string", "format": "binary"}
# The reason phrases of RFC 9110, which Python has since 3.13: the document must not depend on the version.
_RENAMED: Final = {413: "Content Too Large", 422: "Unprocessable Content"}

# Errors of requests that no domain rule has seen yet, with the messages that are sent.
_UNREADABLE: Final = [
    errors.RequestRefused(codes.MALFORMED_JSON, "Malformed JSON: Expecting value at position 11"),
    errors.RequestRefused(codes.BODY_TOO_LARGE, "Request entity too large"),
]
_NO_JSON: Final = errors.RequestRefused(
    codes.CONTENT_TYPE_UNSUPPORTED, "Invalid content type. API only supports application/json"
)
_NO_API_KEY: Final = [
    errors.RequestRefused(codes.API_KEY_MISSING, "Invalid access - no API key"),
    errors.RequestRefused(codes.API_KEY_INVALID, "Invalid API access"),
    errors.RequestRefused(codes.API_KEY_ENDED, "Invalid API access, apiKey was deprecated"),
]
_KEY_USED: Final[list["Refusal"]] = [
    KeyInUse(),
    errors.Invalid("This Idempotency-Key was used for another request", code=codes.IDEMPOTENCY_KEY_REUSED),
]
_TOO_MANY: Final = errors.RequestRefused(codes.TOO_MANY_REQUESTS, "Too many requests, try again later")
_ALWAYS: Final = [
    errors.RequestRefused(codes.MALFORMED_REQUEST, "Malformed request"),
    errors.Invalid('"x" is not allowed'),
    errors.RequestRefused(codes.INTERNAL_ERROR, "Unknown error"),
    errors.RequestRefused(codes.SERVICE_BUSY, "Service busy, try again"),
]


# Names of error responses by message. Domain errors are added under the names of their classes.
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
# Possible wherever another error of the same status is, so they are not part of a response's name.
_UNDERSTOOD: Final = {"MalformedRequest", "BearerRefused", "UnknownPath", "UnknownField"}


@dataclass(frozen=True, kw_only=True)
class Description:
    """
    The description of an action; used as its decorator under the name `describe`.

    An action without `query` accepts no query parameters (`config.api.views` refuses them).
    """

    summary: str = field(kw_only=False)
    # An example of the response: see `config.api.json_schemas` for optional and nullable values.
    answer: Any
    tag: str
    status: int = 200
    # Examples for other 2xx statuses.
    also: Mapping[int, Any] = field(default_factory=dict)
    # The shape of the request, or several of which one fits.
    body: Shape | Sequence[Shape] | None = None
    body_examples: Mapping[str, Any] = field(default_factory=dict)
    # The fields beside the file of a multipart form, and the name of that file.
    form: Shape | None = None
    file: str = "file"
    # Instead of that file: the names of files which a form need not have.
    files: Sequence[str] = ()
    # The media types of a response that is a file.
    answer_files: Sequence[str] = ()
    query: Mapping[str, Field] | None = None
    path: Mapping[str, Field] = field(default_factory=dict)
    # The errors of this action.
    refusals: Sequence[Refusal] = ()
    asks_bearer: bool = True
    # By default, an action with a body.
    is_idempotent: bool | None = None
    is_locker: bool = False
    about: str = ""

    def __call__(self, action: F) -> F:
        action.reads_query = self.query is not None  # type: ignore[attr-defined]
        action.needs_no_body = isinstance(self.body, Shape) and not self.body.fields  # type: ignore[attr-defined]
        action.refusals = tuple(self.refusals)  # type: ignore[attr-defined]
        successes = self._successes()
        return extend_schema(
            operation_id=re.sub(r"[^a-z0-9]+", "_", self.summary.lower()).strip("_"),
            summary=self.summary,
            description=self.about or None,
            parameters=[
                *_parameters(self.query or {}, self.path),
                *_headers(self.query, list(successes), is_idempotent=self._is_idempotent),
            ],
            request=self._requests() or None,
            responses=self._answers(successes),
            examples=[
                OpenApiExample(name, value, request_only=True, media_type="application/json")
                for name, value in self.body_examples.items()
            ],
            tags=[self.tag],
        )(action)

    @property
    def _is_idempotent(self) -> bool:
        return self.body is not None if self.is_idempotent is None else self.is_idempotent

    def _successes(self) -> Mapping[int, Any]:
        return {**({} if self.answer_files else {self.status: self.answer}), **self.also}

    def _requests(self) -> dict[str, Any]:
        requests: dict[str, Any] = {}
        if self.body is not None:
            shapes = [self.body] if isinstance(self.body, Shape) else self.body
            requests["application/json"] = (
                schema_of(shapes[0]) if len(shapes) == 1 else {"oneOf": [schema_of(each) for each in shapes]}
            )
        if self.form is not None:
            schema = schema_of(self.form)
            requests["multipart/form-data"] = {
                "type": "object",
                "properties": {**schema["properties"], **dict.fromkeys(self.files or [self.file], _FILE)},
                "required": [*schema["required"], *([] if self.files else [self.file])],
            }
        return requests

    def _answers(self, successes: Mapping[int, Any]) -> dict[Any, Any]:
        responses: dict[Any, Any] = {
            (each, "application/json"): OpenApiResponse(
                schema_like(example),
                description=_phrase(each),
                examples=[OpenApiExample(_phrase(each), plain(example), response_only=True)],
            )
            for each, example in successes.items()
        }
        for media_type in self.answer_files:
            responses[self.status, media_type] = OpenApiResponse(_FILE, description=_phrase(self.status))
        possible: list[Refusal] = [
            *self.refusals,
            *_ALWAYS,
            *([LockersOff()] if self.is_locker else _NO_API_KEY),
            *([errors.bearer_refused("/api/" if self.is_locker else "/"), _TOO_MANY] if self.asks_bearer else []),
            *([*_UNREADABLE, _NO_JSON] if self.body is not None else []),
            *(_KEY_USED if self._is_idempotent else []),
            *(errors.Invalid(f'"{name}" must be a valid GUID') for name, each in self.path.items() if _is_id(each)),
            *([errors.RequestRefused(codes.PATH_UNKNOWN, "Cannot GET /nowhere")] if self.path else []),
        ]
        return responses | _responses(possible, is_locker=self.is_locker)


describe: Final = Description


def _phrase(status: int) -> str:
    return _RENAMED.get(status) or HTTPStatus(status).phrase


def _is_id(value: Field) -> bool:
    return isinstance(value, Guid)


def _parameters(query: Mapping[str, Field], path: Mapping[str, Field]) -> Iterator[OpenApiParameter]:
    for name, each in query.items():
        yield OpenApiParameter(
            name,
            schema_of(each, in_query=True),
            OpenApiParameter.QUERY,
            required=each.required,
            description=_ABOUT.get(name, ""),
        )
    for name, each in path.items():
        yield OpenApiParameter(name, schema_of(each), OpenApiParameter.PATH, required=True)


def _headers(
    query: Mapping[str, Field] | None, statuses: Sequence[int], *, is_idempotent: bool
) -> Iterator[OpenApiParameter]:
    if is_idempotent:
        yield OpenApiParameter(
            "Idempotency-Key",
            {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
            OpenApiParameter.HEADER,
            description="A retry with the same key gets the stored response and has no second effect. Kept for 7 days.",
        )
        yield OpenApiParameter(
            "Idempotency-Replayed",
            {"type": "string", "enum": ["true"]},
            OpenApiParameter.HEADER,
            response=list(statuses),
            description="Present if this is the stored response to an earlier request with the same key.",
        )
    if query is not None and "cursor" in query:
        yield OpenApiParameter(
            "Link",
            {"type": "string"},
            OpenApiParameter.HEADER,
            response=list(statuses),
            description='`<…>; rel="next"`: the URL of the next page, if there is one.',
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


# Referenced by every error response.
ERROR_SCHEMAS: Final[Mapping[str, Any]] = {
    "Error": schema_like(errors.body_of("/", 404, "Cannot GET /nope")),
    "LockerError": schema_like(errors.body_of("/api/", 404, "Cannot GET /api/nope")),
}


_HEADER_NAMES: Final = {"ErrorCode": "Error-Code", "ErrorLink": "Link"}
ERROR_HEADERS: Final[Mapping[str, Any]] = {
    "ErrorCode": {
        "description": "The code of the error: one cause. `/docs/errors` lists all codes, with cause and cure.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[a-z]+(_[a-z]+)*$", "examples": ["transfer_not_pending"]},
    },
    "ErrorLink": {
        "description": '`<…/docs/errors#code>; rel="help"`: the documentation of the code.',
        "required": True,
        "schema": {"type": "string"},
    },
}


def with_needed_bodies(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Mark each body with a required field as required (a hook of drf-spectacular)."""
    for operations in result["paths"].values():
        for operation in operations.values():
            body = operation.get("requestBody")
            if body is None:
                continue
            schemas = [each["schema"] for each in body["content"].values()]
            shapes = [shape for schema in schemas for shape in schema.get("oneOf", [schema])]
            body["required"] = all(shape.get("required") for shape in shapes)
            if not any(shape.get("properties") for shape in shapes):
                body["description"] = "May be omitted, together with `Content-Type`."
    return result


def with_shared_parts(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the error schemas and headers, and replace identical error responses by references (a hook)."""
    result["components"].setdefault("schemas", {}).update(ERROR_SCHEMAS)
    result["components"].setdefault("headers", {}).update(ERROR_HEADERS)
    users: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for operations in result["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["headers"] = {
                        name: {"$ref": f"#/components/headers/{component}"} for component, name in _HEADER_NAMES.items()
                    }
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
    """Yield candidate names for an error response: its errors joined by "Or", then the message of the first."""
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
    """Omit aliases, paths below `/wallet/` and optional parts of paths (a hook of drf-spectacular)."""
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
    """Return the OpenAPI document. It depends on the code alone and takes a second to generate."""
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return schema


class SchemaView(SpectacularAPIView):
    authentication_classes = []
    permission_classes = []

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(document())


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI, with assets from this server and its script in a separate response."""

    authentication_classes = []
    permission_classes = []
    template_name = "docs.html"
    url_name = "schema"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = READING_POLICY
        return response
