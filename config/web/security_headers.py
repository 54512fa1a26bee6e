"""Checks of host and scheme, and the security headers of responses."""

import logging
import re
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from config.api import error_codes as codes
from config.api import errors
from config.web.addresses import client_address
from config.web.pages import DESK, PUBLIC

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
# Pages without a session (`config.web.public_pages`): their scripts send no requests.
PUBLIC_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)

_POLICY: Final = "Content-Security-Policy"


# Of all responses.
_HEADERS: Final = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_KNOWN_AT_MOST: Final = 100


class _PermanentRedirect(HttpResponseRedirect):
    # 308 preserves the method.
    status_code = 308


def guarded(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """
    Middleware: refuse a request for an unknown host, or without HTTPS where it is required, and add security headers.

    It does what Django's `SecurityMiddleware` and `XFrameOptionsMiddleware` do, without parsing the same `Host` and
    joining the same headers for each request (tests/benchmarks/README.md).
    """
    headers = tuple(_HEADERS.items())
    transport_security = _transport_security()
    # Values of `Host` that were served, with the setting that allowed them.
    known: set[tuple[str, ...]] = set()

    def refusal(request: HttpRequest) -> HttpResponse | None:
        if _MONITORING.fullmatch(request.path_info):
            return None
        host = (request.META.get("HTTP_HOST", ""), *settings.ALLOWED_HOSTS)
        if host not in known:
            try:
                request.get_host()
            except DisallowedHost:
                return _unknown_host(request)
            if len(known) < _KNOWN_AT_MOST:
                known.add(host)
        if settings.HTTPS_REQUIRED and not request.is_secure():
            return _https_required(request)
        return None

    def middleware(request: HttpRequest) -> HttpResponse:
        response = refusal(request) or get_response(request)
        for name, value in headers:
            response.headers.setdefault(name, value)
        if transport_security and request.is_secure():
            response.headers.setdefault("Strict-Transport-Security", transport_security)
        if request.path_info.startswith(DESK):
            # Of errors too.
            response.headers.setdefault(_POLICY, DESK_POLICY)
            response.headers.setdefault("Cache-Control", "private, no-store")
        elif request.path_info.startswith(PUBLIC):
            response.headers.setdefault(_POLICY, PUBLIC_POLICY)
            response.headers.setdefault("Cache-Control", "private, no-store")
            response.headers.setdefault("X-Robots-Tag", "noindex, nofollow")
        return response

    return middleware


def _transport_security() -> str:
    """Return the value of Strict-Transport-Security, or ""."""
    if not settings.SECURE_HSTS_SECONDS:
        return ""
    value = f"max-age={settings.SECURE_HSTS_SECONDS}"
    if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS:
        value += "; includeSubDomains"
    return f"{value}; preload" if settings.SECURE_HSTS_PRELOAD else value


def _unknown_host(request: HttpRequest) -> HttpResponse:
    """Log how to configure the host, and return the refusal."""
    log.warning(
        "A request for another host was refused. If clients reach Coppice under that host, name it in"
        " COPPICE_PUBLIC_URL, or in COPPICE_ALLOWED_HOSTS as a further one.",
        extra={"client": client_address(request), "error": codes.HOST_NOT_SERVED.name},
    )
    return errors.answer(request, codes.HOST_NOT_SERVED, "The host in the URL or in the Host header is not served here")


def _https_required(request: HttpRequest) -> HttpResponse:
    """
    Redirect a plain GET, and refuse other plain requests.

    Django's redirect turns a POST into a GET. A redirected client would also continue to send its credentials in clear.
    """
    _explain(request)
    origin = settings.PUBLIC_ORIGIN or f"https://{request.get_host()}"
    if request.method in {"GET", "HEAD"}:
        return _PermanentRedirect(f"{origin}{request.get_full_path()}")
    return errors.answer(request, codes.HTTPS_REQUIRED, f"HTTPS is required: send this request to {origin}")


def _explain(request: HttpRequest) -> None:
    meta: dict[str, Any] = request.META
    if not meta.get("coppice.proxy_is_trusted") and ("HTTP_X_FORWARDED_PROTO" in meta or "HTTP_FORWARDED" in meta):
        log.warning(
            "A request counts as plain HTTP, because its proxy is not trusted. If this client is a proxy of yours, name"
            " its address in COPPICE_TRUSTED_PROXIES.",
            extra={"client": client_address(request), "error": codes.HTTPS_REQUIRED.name},
        )
