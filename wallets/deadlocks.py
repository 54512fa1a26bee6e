"""
Doing again what PostgreSQL undid to end a deadlock.

Whoever takes locks here takes them in one order (`transfers.ledger`, `trusts.operations`), so operations cannot close a
circle among themselves. Somebody outside can: a migration that locks tables, or a person with psql. Then one of
the two is rolled back, whole, and perhaps not the one that is to blame. To run it once more is safe, and it cannot
meet the same circle: the other has the locks now. A second deadlock is the caller's to hear of, as 503.

Decided 2026-11-22: inside a transaction of the caller nothing is repeated, since it was undone with that transaction.
That is so for a request with an idempotency key, but for `POST /transfers`; whoever sends a key repeats by it.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from django.db import OperationalError, connection

log = logging.getLogger("coppice.ledger")

P = ParamSpec("P")
R = TypeVar("R")

_UNDONE: Final = {"40P01", "40001"}


def survives_deadlock(operation: Callable[P, R]) -> Callable[P, R]:
    """Run the operation, which is one transaction, once more if PostgreSQL undid it for the sake of others."""

    @wraps(operation)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return operation(*args, **kwargs)
        except OperationalError as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state not in _UNDONE or connection.in_atomic_block:
                raise
            log.warning("undone_and_repeated", extra={"operation": operation.__qualname__, "sqlstate": state})
        return operation(*args, **kwargs)

    return run
