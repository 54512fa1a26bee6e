"""The headers that tell a browser what a page may do. Each page that people see has one strict policy."""

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

# A page loads nothing from elsewhere and runs nothing that is written into it.
_NOTHING_FOREIGN: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
READING_POLICY: Final = f"{_NOTHING_FOREIGN}; form-action 'none'"
DESK_POLICY: Final = f"{_NOTHING_FOREIGN}; form-action 'self'"
DESK: Final = "/admin"

_POLICY: Final = "Content-Security-Policy"


def strict_pages(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Give every answer of the desk, its refusals included, the desk's policy; and let no cache keep one."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.path_info.startswith(DESK):
            response.headers.setdefault(_POLICY, DESK_POLICY)
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    return middleware
