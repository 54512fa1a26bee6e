"""
Checks of host and scheme, and the Content-Security-Policy of pages.
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

# For probes and scrapers, which address this process directly and without TLS.
_MONITORING: Final = re.compile(r"/(?:livez|readyz|metrics)/?")

# No resources of other origins, no inline scripts.
_SAME_ORIGIN: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
READING_POLICY: Final = f"{_SAME_ORIGIN}; form-action 'none'"
DESK_POLICY: Final = f"{_SAME_ORIGIN}; form-action 'self'"
DESK: Final = "/admin"

_POLICY: Final = "Content-Security-Policy"


def strict_pages(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Add the admin's policy to all its responses, including errors, and forbid caching them."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.path_info.startswith(DESK):
            response.headers.setdefault(_POLICY, DESK_POLICY)
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    return middleware


def known_hosts(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse a request for an unknown host, and log how to configure it."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not _MONITORING.fullmatch(request.path_info):
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


class _PermanentRedirect(HttpResponseRedirect):
    # 308 preserves the method.
    status_code = 308


def https_where_required(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """
    Where HTTPS is required, redirect a plain GET and refuse other plain requests.

    Django's redirect turns a POST into a GET. A redirected client would also continue to send its credentials in clear.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if not settings.HTTPS_REQUIRED or request.is_secure() or _MONITORING.fullmatch(request.path_info):
            return get_response(request)
        _explain(request)
        request.error_name = "HttpsRequired"  # type: ignore[attr-defined]
        origin = settings.PUBLIC_ORIGIN or f"https://{request.get_host()}"
        if request.method in {"GET", "HEAD"}:
            return _PermanentRedirect(f"{origin}{request.get_full_path()}")
        return errors.answer(request, 403, f"HTTPS is required: send this request to {origin}")

    return middleware


def _explain(request: HttpRequest) -> None:
    meta: dict[str, Any] = request.META
    if not meta.get("coppice.proxy_is_trusted") and ("HTTP_X_FORWARDED_PROTO" in meta or "HTTP_FORWARDED" in meta):
        log.warning(
            "A request counts as plain HTTP, because its proxy is not trusted. If this client is a proxy of yours, name"
            " its address in COPPICE_TRUSTED_PROXIES.",
            extra={"client": client_address(request), "error": "HttpsRequired"},
        )
