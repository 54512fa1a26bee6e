"""The id of the current request, by which stored rows and log lines of one request can be found."""

from contextvars import ContextVar
from typing import Final

LONGEST_REQUEST_ID: Final = 64
# "" outside a request and its tasks. Set by the web server's middleware and by the worker.
request_id: Final = ContextVar("request_id", default="")


def current_request_id() -> str:
    """Return the request id of the caller's log lines; empty outside a request and its tasks."""
    return request_id.get()[:LONGEST_REQUEST_ID]
