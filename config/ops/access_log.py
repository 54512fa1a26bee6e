"""
The access log: one JSON line for each request, with the caller, the outcome and the duration.

A line holds the pattern of the path and ids. Of what the client sent it holds a well-formed `X-Request-Id` alone, and
never a path, a query or a header. It is written to stderr with one system call, past `logging`, which costs several
times as much.
"""

import logging
import os
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from django.http import HttpRequest, HttpResponse

from config.ops import request_log
from config.web.addresses import client_address

NAME: Final = "coppice.access"
# The route of a request that reached no view.
NO_ROUTE: Final = "other"
_STDERR: Final = 2
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
_log: Final = logging.getLogger(NAME)


def write_request(request: HttpRequest, response: HttpResponse, *, method: str, route: str, seconds: float) -> None:
    """Log a request that Django answered. `method` and `route` are taken from fixed sets of names."""
    more: dict[str, Any] = {}
    # Set by `config.api.authentication`; None for a request that was refused before it.
    found = getattr(request, "credentials", None)
    if found is not None:
        more["api_key"] = found.api_key_id
        more["wallet"] = found.wallet.pk if found.wallet is not None else None
        if found.restriction is not None:
            more["restricted_key"] = found.restriction.key_id
    # The operator, if the view has loaded it: the log does not query for it.
    user = getattr(request, "_cached_user", None)
    if user is not None and user.pk is not None:
        more["user"] = user.pk
    if response.status_code >= 400:
        # Set by `config.api.errors`: the code of the error.
        more["error"] = getattr(request, "error_code", None)
        if getattr(request, "is_refusal_by_500", False):
            more["refused"] = True
    write(
        request_id=getattr(request, "request_id", None),
        method=method,
        route=route,
        status=response.status_code,
        seconds=seconds,
        client=client_address(request),
        **more,
    )


def write(
    *, request_id: str | None, method: str, route: str, status: int, seconds: float, client: str, **more: Any
) -> None:
    """Write one line, if the log level includes INFO, and record it in the request log, if that is on."""
    line = {
        "timestamp": datetime.now(UTC),
        "level": "info",
        "logger": NAME,
        "event": "request",
        "request_id": request_id,
        "method": method,
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 1),
        "client": client,
        **more,
    }
    # Otherwise it is a static file: a page of the admin has some.
    if route != NO_ROUTE or status >= 400:
        request_log.record(line)
    if not _log.isEnabledFor(logging.INFO):
        return
    try:
        os.write(_STDERR, orjson.dumps(line, option=_OPTIONS))
    except OSError:
        # The reader of the log is gone or its disk is full. The request is answered regardless.
        return
