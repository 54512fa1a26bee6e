"""Which request the running code works for, so that what it stores and what it logs can be found by one id."""

from typing import Final

from structlog.contextvars import get_contextvars

LONGEST_REQUEST_ID: Final = 64


def current_request_id() -> str:
    """Return the id under which the caller's log lines are written; empty outside a request and its tasks."""
    return str(get_contextvars().get("request_id", ""))[:LONGEST_REQUEST_ID]
