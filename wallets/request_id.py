"""The id of the request that the running code works for: it is stored in rows and written into log lines."""

from contextvars import ContextVar
from typing import Final

LONGEST_REQUEST_ID: Final = 64
# "" outside a request and its tasks. Set by the web server's middleware and by the worker.
request_id: Final = ContextVar("request_id", default="")


def current_request_id() -> str:
    """Return the id under which the caller's log lines are written, or "" outside a request and its tasks."""
    return request_id.get()[:LONGEST_REQUEST_ID]
