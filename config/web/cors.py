"""
Which requests of pages of other origins browsers let through: the settings of django-cors-headers.

Pages of `COPPICE_CORS_ORIGINS` may call the API, with credentials that they put into header fields. Cookies are never
accepted from them, and the desk, its static files and what monitoring asks are out of their reach.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

# Everything but what is for people, and what monitoring asks.
PATHS: Final = re.compile(r"/(?!(?:admin|docs|static|livez|readyz|metrics)(?:/|\Z)|\Z)")
METHODS: Final = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"]
# What a client may send.
HEADERS: Final = [
    "accept", "authorization", "content-encoding", "content-type", "idempotency-key", "treetracker-api-key",
    "x-request-id",
]  # fmt: skip
# What a page may read of an answer, beside what browsers show of any.
EXPOSED: Final = [
    "Accept-Encoding", "Allow", "Content-Disposition", "Idempotency-Replayed", "Link", "RateLimit", "RateLimit-Policy",
    "Retry-After", "WWW-Authenticate", "X-Request-Id",
]  # fmt: skip


def headers_of(environ: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Return what is added to an answer to a request of this environ that no middleware sees."""
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
