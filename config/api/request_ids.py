"""An id for each request: in the answer as `X-Request-Id`, and in every line that is logged meanwhile."""

from collections.abc import Callable
from secrets import token_hex

from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bound_contextvars


def request_ids(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware, the first of all. An id that a client sends is not taken over: it could be anybody's."""

    def answer(request: HttpRequest) -> HttpResponse:
        request_id = token_hex(8)
        request.request_id = request_id  # type: ignore[attr-defined]
        with bound_contextvars(request_id=request_id):
            response = get_response(request)
        response.headers["X-Request-Id"] = request_id
        return response

    return answer
