"""
The description of the interface in OpenAPI 3.1, and its page at `/docs/`.

Each action of a view is described where it stands:

    @describe("Create a wallet", body=serializers.NEW_WALLET, answer={"wallet": "sapling"}, errors=(400, 403))

Schemas are derived: those of requests from the shape that also checks them, those of answers from the example, so
that neither can say what is not so. Errors that any request may get are added to all.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from config.api import errors
from config.api.validation import Field, Flag, Guid, ListOf, Number, Shape, Text

F = TypeVar("F", bound=Callable[..., Any])

PAGE: Final[Mapping[str, Field]] = {
    "limit": Number(1, 1000, from_text=True),
    "start": Number(1, from_text=True, required=False),
    "cursor": Text(maximum=1000, required=False),
}
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_ALWAYS: Final = (401, 403, 405, 422, 429, 500, 503)
_WITH_BODY: Final = (400, 413, 415)


class Nullable:
    """An example value in whose place null may stand."""

    def __init__(self, example: Any) -> None:
        self.example = example


def schema_of(field: Field) -> dict[str, Any]:
    """Return the JSON schema of a field of a shape."""
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
            return _present({"type": "integer", "minimum": field.minimum, "maximum": field.maximum})
        case Flag():
            return {"type": "boolean"}
        case Guid():
            return {"type": "string", "format": "uuid"}
        case _:
            return {}


def schema_like(example: Any) -> dict[str, Any]:
    """Return the JSON schema of answers that look like the example."""
    match example:
        case Nullable():
            inner = schema_like(example.example)
            return inner | {"type": [inner["type"], "null"]} if "type" in inner else inner
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
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
                "required": list(example),
            }
        case _:
            return {}


def _plain(example: Any) -> Any:
    if isinstance(example, Nullable):
        return _plain(example.example)
    if isinstance(example, dict):
        return {name: _plain(value) for name, value in example.items()}
    return [_plain(value) for value in example] if isinstance(example, list) else example


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if value is not None}


def describe(
    summary: str,
    *,
    answer: Any,
    status: int | Sequence[int] = 200,
    body: Shape | None = None,
    body_example: Any = None,
    query: Mapping[str, Field] | None = None,
    path: Sequence[str] = (),
    errors: Sequence[int] = (),
    tag: str = "",
    is_locker: bool = False,
) -> Callable[[F], F]:
    """
    Describe an action. `answer` is an example (with `Nullable` where null may stand), `query` the query parameters,
    `path` the names of ids in the path, `errors` the statuses of its own refusals.
    """
    statuses = [status] if isinstance(status, int) else list(status)
    responses: dict[Any, Any] = {
        (each, "application/json"): OpenApiResponse(
            schema_like(answer),
            description=HTTPStatus(each).phrase,
            examples=[OpenApiExample(HTTPStatus(each).phrase, _plain(answer), response_only=True)],
        )
        for each in statuses
    }
    for each in sorted({*_ALWAYS, *(_WITH_BODY if body is not None else ()), *errors}):
        responses[each, "application/json"] = _error(each, is_locker=is_locker)
    parameters = [
        OpenApiParameter(name, schema_of(field), OpenApiParameter.QUERY, required=field.required)
        for name, field in (query or {}).items()
    ]
    parameters += [
        OpenApiParameter(name, {"type": "string", "format": "uuid"}, OpenApiParameter.PATH, required=True)
        for name in path
    ]
    examples = []
    if body is not None:
        parameters.append(
            OpenApiParameter(
                "Idempotency-Key",
                {"type": "string", "minLength": 1, "maxLength": 255},
                OpenApiParameter.HEADER,
                description="Send the same key again to get the first answer and no second effect; kept for 7 days.",
            )
        )
        if body_example is not None:
            examples.append(OpenApiExample("Request", body_example, request_only=True))
    return extend_schema(
        operation_id=re.sub(r"[^a-z]+", "_", summary.lower()).strip("_"),
        summary=summary,
        parameters=parameters,
        request={"application/json": schema_of(body)} if body is not None else None,
        responses=responses,
        examples=examples,
        tags=[tag] if tag else None,
    )


def _error(status: int, *, is_locker: bool) -> OpenApiResponse:
    phrase = HTTPStatus(status).phrase
    example = errors.body_of("/api/" if is_locker else "/", status, phrase)
    return OpenApiResponse(
        schema_like(example), description=phrase, examples=[OpenApiExample(phrase, example, response_only=True)]
    )


def one_path_each(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Leave out the twins under the public prefix and the optional slash (a hook of drf-spectacular)."""
    return [
        (path.rstrip("/") or "/", regex, method, view)
        for path, regex, method, view in endpoints
        if not path.startswith("/wallet/")
    ]


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


# The page loads nothing from elsewhere and runs nothing that is written into it.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class SchemaView(SpectacularAPIView):
    authentication_classes = []
    permission_classes = []


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI, its assets from this server, its script in an answer of its own."""

    authentication_classes = []
    permission_classes = []
    template_name = "docs.html"
    url_name = "schema"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = _POLICY
        return response
