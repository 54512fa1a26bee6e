"""
Which requests are answered by their host and scheme, and the headers that tell a browser what a page may do.

Each page that people see has one strict policy.
"""

import logging
import re
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from config.api import errors
from config.web.addresses import client_address

log = logging.getLogger("coppice.web")

# Asked by probes and scrapers, which reach this process by its address and without TLS.
_OF_THE_PROCESS: Final = re.compile(r"/(?:livez|readyz|metrics)/?")

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


def known_hosts(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse a request for a host that is not served here, and say in the log how to have it served."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not _OF_THE_PROCESS.fullmatch(request.path_info):
            try:
                request.get_host()
            except DisallowedHost:
                log.warning(
                    "A request for another host was refused. If clients reach Coppice under that host, name it in"
                    " COPPICE_PUBLIC_URL, or in COPPICE_ALLOWED_HOSTS as a further one.",
                    extra={"client": client_address(request), "error": "HostNotServed"},
                )
                request.error_name = "HostNotServed"  # type: ignore[attr-defined]
                return errors.answer(request, 400, "The host in the URL or in the Host header is not served here")
        return get_response(request)

    return middleware


class _Elsewhere(HttpResponseRedirect):
    # A method other than GET stays what it is.
    status_code = 308


def https_where_required(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """
    Where HTTPS is required, answer plain HTTP as Django's redirect does not: no POST becomes a GET.

    What was sent has crossed the network in clear, and a client that is only redirected would go on sending it so.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if not settings.HTTPS_REQUIRED or request.is_secure() or _OF_THE_PROCESS.fullmatch(request.path_info):
            return get_response(request)
        _explain(request)
        request.error_name = "HttpsRequired"  # type: ignore[attr-defined]
        origin = settings.PUBLIC_ORIGIN or f"https://{request.get_host()}"
        if request.method in {"GET", "HEAD"}:
            return _Elsewhere(f"{origin}{request.get_full_path()}")
        return errors.answer(request, 403, f"HTTPS is required: send this request to {origin}")

    return middleware


def _explain(request: HttpRequest) -> None:
    meta: dict[str, Any] = request.META
    if not meta.get("coppice.proxy_is_trusted") and ("HTTP_X_FORWARDED_PROTO" in meta or "HTTP_FORWARDED" in meta):
        log.warning(
            "A request counts as plain HTTP, because what its proxy says is not believed. If this client is a proxy of"
            " yours, name its address in COPPICE_TRUSTED_PROXIES.",
            extra={"client": client_address(request), "error": "HttpsRequired"},
        )
