"""After which errors an operation is done again, and how often."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, transaction

from wallets import deadlocks
from wallets.errors import WalletNotFound


def failing(error: Exception, *, times: int = 99) -> Any:
    """Return an operation that raises the error the given number of times, and the list of its calls."""
    calls: list[int] = []

    @deadlocks.retry_on_deadlock
    def operation(number: int) -> int:
        calls.append(number)
        if len(calls) <= times:
            raise error
        return number

    return operation, calls


def caused_by(sqlstate: str | None, kind: type[Exception] = OperationalError) -> Exception:
    error = kind("undone")
    cause = Exception("undone")
    cause.sqlstate = sqlstate  # type: ignore[attr-defined]
    error.__cause__ = cause
    return error


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(deadlocks, "time", SimpleNamespace(sleep=found.append))
    return found


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
def test_what_postgresql_rolled_back_is_done_again_twice_at_most(pauses: list[float], sqlstate: str) -> None:
    operation, calls = failing(caused_by(sqlstate), times=2)
    assert operation(7) == 7
    assert (calls, pauses) == ([7, 7, 7], [0.05, 0.5])

    operation, calls = failing(caused_by(sqlstate))
    with pytest.raises(OperationalError, match="undone"):
        operation(7)
    assert len(calls) == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "error",
    [
        caused_by("55P03"), caused_by("57014"), caused_by("57P01"), caused_by(None),
        caused_by("40P01", IntegrityError), OperationalError("the connection is lost"), WalletNotFound("none"),
    ],
    ids=repr,
)  # fmt: skip
def test_nothing_else_is_done_again(pauses: list[float], error: Exception) -> None:
    operation, calls = failing(error, times=1)

    with pytest.raises(type(error), match=str(error)):
        operation(7)

    assert (calls, pauses) == ([7], [])


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_of_the_caller_nothing_is_done_again(pauses: list[float]) -> None:
    operation, calls = failing(caused_by("40P01"), times=1)

    with pytest.raises(OperationalError, match="undone"), transaction.atomic():
        operation(7)

    assert (calls, pauses) == ([7], [])
