"""The headers of requests and answers in the API description."""

from collections.abc import Iterator, Mapping, Sequence

from drf_spectacular.utils import OpenApiParameter

from config.api.validation import Field


def headers(
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
            description='`<…>; rel="next"`: the URL of the next page. The last page has no link, but for `GET /events`:'
            ' `<…>; rel="monitor"`, the URL of the events that will come after it.',
        )
