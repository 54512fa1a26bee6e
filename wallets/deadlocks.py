"""
Doing again what PostgreSQL undid to end a deadlock.

Whoever takes locks here takes them in one order (`transfers.ledger`, `trusts.operations`), so operations cannot close a
circle among themselves. Somebody outside can: a migration that locks tables, or a person with psql. Then one of
the two is rolled back, whole, and perhaps not the one that is to blame. To run it again is safe. The other transaction
is only about to get the lock for which it waited, and PostgreSQL gives a row that is free to the first who asks; so the
operation pauses before it is repeated. The deadlock after the last repetition is the caller's to hear of, as 503.

Decided 2026-11-22: inside a transaction of the caller nothing is repeated, since it was undone with that transaction.
That is so for a request with an idempotency key, but for `POST /transfers`; whoever sends a key repeats by it.
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
# Before each repetition.
_PAUSES_SECONDS: Final = (0.05, 0.5)


def retry_on_deadlock(operation: Callable[P, R]) -> Callable[P, R]:
    """Run the operation, which is one transaction, again if PostgreSQL undid it for the sake of others."""

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
