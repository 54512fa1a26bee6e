"""
Retry an operation after a deadlock or serialization failure.

Operations take locks in one order (`transfers.ledger`, `trusts.operations`), so they cannot deadlock with each other.
A migration that locks tables, or a session of psql, can deadlock with them; PostgreSQL then rolls one of the two
back, whole. Repeating it is safe. The other transaction still has to get the lock for which it waited, and PostgreSQL
gives a free row to the first that asks, so the operation pauses before each retry. A failure of the last retry
propagates (503).

Decided 2026-11-22: inside a transaction of the caller nothing is retried, since that transaction was rolled back as a
whole. That applies to requests with an idempotency key, except `POST /transfers`; their clients retry with the key.
"""

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from django.db import OperationalError, connection

log = logging.getLogger("coppice.ledger")

P = ParamSpec("P")
R = TypeVar("R")

_UNDONE: Final = {"40P01", "40001"}
# Before each retry.
_PAUSES_SECONDS: Final = (0.05, 0.5)


def retry_on_deadlock(operation: Callable[P, R]) -> Callable[P, R]:
    """Retry the operation, which is one transaction, if PostgreSQL rolled it back to end a deadlock."""

    @wraps(operation)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        for pause in _PAUSES_SECONDS:
            try:
                return operation(*args, **kwargs)
            except OperationalError as error:
                state = getattr(error.__cause__, "sqlstate", None)
                if state not in _UNDONE or connection.in_atomic_block:
                    raise
                log.warning("undone_and_repeated", extra={"operation": operation.__qualname__, "sqlstate": state})
            time.sleep(pause)
        return operation(*args, **kwargs)

    return run
