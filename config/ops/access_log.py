"""
The line that is logged of each request: who asked what, when, and what came of it.

It holds the pattern of the path and ids, and nothing that a client wrote but a well-formed `X-Request-Id`: no path, no
query, no header. It is written straight to stderr, in one piece: through `logging` it costs several times as much.
"""

import logging
import os
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from django.http import HttpRequest, HttpResponse

from config.web.addresses import client_address

NAME: Final = "coppice.access"
_STDERR: Final = 2
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
_log: Final = logging.getLogger(NAME)


def write(request: HttpRequest, response: HttpResponse, *, method: str, route: str, seconds: float) -> None:
    """Write the line, if INFO is logged. `method` and `route` are one of a few, whatever the client wrote."""
    if not _log.isEnabledFor(logging.INFO):
        return
    status = response.status_code
    line: dict[str, Any] = {
        "timestamp": datetime.now(UTC),
        "level": "info",
        "logger": NAME,
        "event": "request",
        "request_id": getattr(request, "request_id", None),
        "method": method,
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 1),
        "client": client_address(request),
    }
    # Set by `config.api.authentication`; None where the request was refused before.
    found = getattr(request, "credentials", None)
    if found is not None:
        line["api_key"] = found.api_key_id
        line["wallet"] = found.wallet.pk if found.wallet is not None else None
    # Of the desk; it is not looked up for the log's sake.
    user = getattr(request, "_cached_user", None)
    if user is not None and user.pk is not None:
        line["user"] = user.pk
    if status >= 400:
        # Set by `config.api.errors`.
        line["error"] = getattr(request, "error_name", None)
        if getattr(request, "is_refusal_by_500", False):
            line["refused"] = True
    _put(orjson.dumps(line, option=_OPTIONS))


def _put(line: bytes) -> None:
    try:
        os.write(_STDERR, line)
    except OSError:
        # The log's reader is gone or its disk is full. The request is answered regardless.
        return
