"""The OpenAPI document as it is served: hooks of drf-spectacular, security schemes, and the view."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from config.api import errors
from config.api.openapi import CALLED, COMPONENTS, register, whole
from config.api.webhooks.serializers import MESSAGE

# Possible wherever another error of the same status is, so they are not part of a response's name.
_UNDERSTOOD: Final = {"MalformedRequest", "BearerRefused", "KeyRefused", "UnknownPath", "UnknownField"}
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

register([MESSAGE])


def with_needed_bodies(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Mark each body with a required field as required (a hook of drf-spectacular)."""
    for operations in result["paths"].values():
        for operation in operations.values():
            body = operation.get("requestBody")
            if body is None:
                continue
            schemas = [each["schema"] for each in body["content"].values()]
            shapes = [shape for schema in schemas for shape in schema.get("oneOf", [schema])]
            shapes = [whole(COMPONENTS[shape["$ref"].rpartition("/")[2]]) for shape in shapes]
            body["required"] = all(shape.get("required") for shape in shapes)
            if not any(shape.get("properties") for shape in shapes):
                body["description"] = "May be omitted, together with `Content-Type`."
    return result


def with_shared_parts(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add schemas and error headers, and replace identical error responses by references (a hook)."""
    result["components"].setdefault("schemas", {}).update(
        {name: whole(each) for name, each in sorted(COMPONENTS.items())}
    )
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


def with_webhooks(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Describe the requests that are sent to webhooks (a hook of drf-spectacular)."""
    headers = {
        "webhook-id": "The id of the event, the same for every attempt: pass over one that you have processed.",
        "webhook-timestamp": "When this attempt was sent, in seconds since 1970 (UTC). Refuse one that is not recent.",
        "webhook-signature": "`v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`; two, separated by a"
        " blank, while the secret is rotated.",
    }
    result["webhooks"] = {
        "event": {
            "post": {
                "operationId": "webhook_event",
                "summary": "An event of a wallet",
                "description": "Sent to the URL of a webhook, as in the Standard Webhooks specification. A status of"
                " 2xx within 15 seconds takes it; any other is followed by up to nine further attempts within three"
                " days. 410 disables the webhook.",
                "tags": ["webhooks"],
                "security": [{}],
                "parameters": [
                    {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": words}
                    for name, words in headers.items()
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": MESSAGE.reference}},
                },
                "responses": {"2XX": {"description": "The message was taken."}},
            }
        }
    }
    return result


def with_servers(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Name the one server of paths that are not served below `/wallet` (a hook of drf-spectacular)."""
    for path, operations in result["paths"].items():
        if path.startswith(("/api/", "/webhooks", "/keys")):
            for operation in operations.values():
                operation["servers"] = result["servers"][:1]
    return result


def _names(response: dict[str, Any]) -> Iterator[str]:
    """Yield candidate names for an error response: its errors joined by "Or", then the message of the first."""
    [(media_type, content)] = response["content"].items()
    examples = content["examples"]
    said = {message_of(each["value"]): re.sub(r"\W", "", key.partition(":")[0]) for key, each in examples.items()}
    called = list(dict.fromkeys(CALLED.get(message) or _invalid_id(message) or text for message, text in said.items()))
    is_locker = next(iter(examples.values()))["value"].get("error")
    prefix = "Problem" if media_type == "application/problem+json" else "Locker" if is_locker else ""
    yield prefix + "Or".join([each for each in called if each not in _UNDERSTOOD] or called)
    yield prefix + next(iter(said.values()))


def message_of(error: Mapping[str, Any]) -> str:
    """Return the sentence in the body of an error, in any format."""
    return str(error["message"] if "message" in error else error["detail"])


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


_API_KEY: Final = {
    "type": "apiKey",
    "in": "header",
    "name": "TREETRACKER-API-KEY",
    "description": "The key of an application. An operator creates it: `manage.py create_api_key`.",
}
_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "The token of a wallet, from `POST /auth`. It is opaque.",
}


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "config.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> Any:
        return _BEARER

    def get_security_requirement(self, auto_schema: Any) -> Any:
        return {"bearer": []} if errors.is_locker_path(auto_schema.path) else {"apiKey": [], "bearer": []}


class NoScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "config.api.authentication.Anonymous"
    name = []

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        return []

    def get_security_requirement(self, auto_schema: Any) -> Any:
        return {}


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
