"""An id for each request: in the answer as `X-Request-Id`, in every line that is logged meanwhile, and in its tasks."""

import re
from collections.abc import Callable
from secrets import token_hex
from typing import Final

from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bound_contextvars

# What may stand in a log as it came. An id is a hint for whoever reads logs and nothing is decided by it, so it does
# no harm that a client may choose one that was there before.
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


def request_ids(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware, the first of all. An id that the client sends is taken over if it is well-formed."""

    def answer(request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _WELL_FORMED.fullmatch(given) else token_hex(8)
        request.request_id = request_id  # type: ignore[attr-defined]
        with bound_contextvars(request_id=request_id):
            response = get_response(request)
        response.headers["X-Request-Id"] = request_id
        return response

    return answer
