"""JSON responses."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from rest_framework import response
from rest_framework.renderers import BaseRenderer


def milliseconds(value: datetime) -> str:
    """Return a time in ISO 8601, in UTC with milliseconds and `Z`."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _default(value: object) -> str:
    if isinstance(value, datetime):
        return milliseconds(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def encode(value: Any) -> bytes:
    """Return the JSON text of plain values, UUIDs and times."""
    return orjson.dumps(value, default=_default, option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS)


class Response(response.Response):
    """The response of an endpoint."""

    # Django would look for it twice: in the settings, and in a content type that is then replaced.
    charset = "utf-8"


class FileRenderer(BaseRenderer):
    """Sends bytes as they are. The response names their media type."""

    media_type = "application/octet-stream"
    format = "file"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        assert isinstance(data, bytes)
        return data


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else encode(data)
