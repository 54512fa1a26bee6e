"""The request id: in the response as `X-Request-Id`, in all log lines of the request, and in its tasks."""

import os
import re
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from wallets.request_id import request_id as current

# Safe to write into a log. Nothing is decided by an id, so a client may send one that was used before.
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


def request_ids(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware. A well-formed id that the client sends is kept; any other is replaced by 16 hexadecimal digits."""

    def middleware(request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _WELL_FORMED.fullmatch(given) else os.urandom(8).hex()
        request.request_id = request_id  # type: ignore[attr-defined]
        token = current.set(request_id)
        try:
            response = get_response(request)
        finally:
            current.reset(token)
        response.headers["X-Request-Id"] = request_id
        return response

    return middleware
