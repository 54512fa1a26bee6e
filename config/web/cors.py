"""
The settings of django-cors-headers.

Pages of the origins in `COPPICE_CORS_ORIGINS` may call the API, with credentials in header fields. Cookies are never
accepted from them, and pages, static files and monitoring paths are excluded.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

# All paths but pages and monitoring.
PATHS: Final = re.compile(r"/(?!(?:admin|docs|static|claim|pay|livez|readyz|metrics)(?:/|\Z)|\Z)")
METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# Request headers.
HEADERS: Final = [
    "accept", "authorization", "content-encoding", "content-type", "idempotency-key", "treetracker-api-key",
    "x-request-id",
]  # fmt: skip
# Response headers that a page may read, besides the CORS-safelisted ones.
EXPOSED: Final = [
    "Accept-Encoding", "Allow", "Content-Disposition", "Error-Code", "Idempotency-Replayed", "Link", "RateLimit",
    "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-Id",
]  # fmt: skip


def headers_of(environ: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Return the CORS headers of a response that passes no middleware."""
    # Not above: the settings themselves import this module.
    from corsheaders.middleware import CorsMiddleware  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415
    from django.http import HttpRequest, HttpResponse  # noqa: PLC0415

    if not (settings.CORS_ALLOWED_ORIGINS or settings.CORS_ALLOW_ALL_ORIGINS):
        return []
    request, response = HttpRequest(), HttpResponse()
    request.META = dict(environ)
    request.method, request.path_info = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    del response["Content-Type"]
    return list(CorsMiddleware(lambda _: response).add_response_headers(request, response).items())
