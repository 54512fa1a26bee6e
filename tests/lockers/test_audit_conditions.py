"""The rules of the audit of lockers, each condition alone: rows that break a rule, and neighbours that do not."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models
from psycopg.types.json import Jsonb

from lockers import audit
from lockers.models import (
    Account,
    Coin,
    Export,
    Locker,
    LockerTask,
    Payment,
    PaymentRequest,
    ReceiptLine,
    StatementLine,
)
from lockers.states import CoinState, LineType, LockerState, TaskKind
from tests.support.hidden_tables import hidden, insert

Row = tuple[type[models.Model], dict[str, Any]]

A, B, C, D = (UUID(int=number) for number in range(1, 5))
UNIT = 10**8


def coin(state: str = "bank", *, serial: int = 1, value: int = 0, **more: Any) -> Row:
    return Coin, {"id": C, "denomination": value, "serial_number": serial, "state": state, "wallet_id": A} | more


def task(state: str = "completed", *, kind: str = "take", **more: Any) -> Row:
    return LockerTask, {"id": A, "kind": kind, "state": state, "wallet_id": A, "result": {}, "plan": {}} | more


def line(state: str = "bank", *, serial: int = 1, value: int = 0, **more: Any) -> Row:
    return ReceiptLine, {"task_id": A, "denomination": value, "serial_number": serial, "state": state} | more


def booked(amount: int, balance: int = 0, *, number: int = 1, kind: str = "Imported", **more: Any) -> Row:
    row = {"wallet_id": A, "number": number, "amount": amount, "running_balance": balance, "type": kind, "task_id": A}
    return StatementLine, row | more


def account(balance: int, lines: int = 0, **more: Any) -> Row:
    return Account, {"wallet_id": A, "balance": balance, "lines": lines} | more


def payment(**more: Any) -> Row:
    row = {"id": D, "request_id": B, "task_id": A, "units": 0, "expected": 0, "state": "credited"}
    return Payment, row | more


def request(**more: Any) -> Row:
    return PaymentRequest, {"id": B, "wallet_id": A, "paid": 0} | more


def of_states(broken: set[str], *rest: Row, **more: Any) -> list[tuple[bool, list[Row]]]:
    return [(state in broken, [coin(state, **more), *rest]) for state in CoinState]


PLANNED = {"payment_request": str(B)}
# By rule: whether rows break it, and the rows.
CASES: dict[str, list[tuple[bool, list[Row]]]] = {
    "coin is not spendable and in a locker or file": [
        *of_states({"bank", "fracked"}, coin("locked")),
        *of_states({"locked", "exported"}, coin("fracked")),
        (False, [coin("bank"), coin("locked", serial=2)]),
        (False, [coin("bank"), coin("locked", value=1)]),
    ],
    "reserved coin belongs to an open task": [
        *((state != "running", [coin(task_id=A), task(state)]) for state in ("running", "completed", "error")),
        (False, [coin(task_id=B), task("error")]),
        (False, [coin(), task("error")]),
    ],
    "reserved coin belongs to its task's wallet": [
        (True, [coin(task_id=A), task(wallet_id=B)]),
        (False, [coin(task_id=A), task(wallet_id=A)]),
        (False, [coin(task_id=B), task(wallet_id=B)]),
    ],
    "coin in limbo keeps both secrets": [
        *of_states({"limbo"}),
        *of_states({"limbo"}, family=B),
        (False, [coin("limbo", family=C)]),
        (False, [coin("limbo", proposed=b"-")]),
    ],
    "locker that is filled holds coins": [
        *(
            (
                (locker == "filled") != (state == "locked"),
                [(Locker, {"id": B, "state": locker}), coin(state, locker_id=B)],
            )
            for locker in LockerState
            for state in CoinState
        ),
        (True, [(Locker, {"id": B, "state": "filled"}), coin("locked", locker_id=A)]),
        (False, [(Locker, {"id": B, "state": "emptied"}), coin("locked", locker_id=A)]),
    ],
    "locker that is being filled has an open task": [
        (True, [(Locker, {"id": B, "state": "filling"})]),
        (True, [(Locker, {"id": B, "state": "filling"}), task("running", locker_id=A)]),
        (True, [(Locker, {"id": B, "state": "filling"}), task("completed", locker_id=B)]),
        (False, [(Locker, {"id": B, "state": "filling"}), task("running", locker_id=B)]),
        *((False, [(Locker, {"id": B, "state": state})]) for state in LockerState if state != "filling"),
    ],
    "completed put stored what it says": [
        (False, [task(kind="put", result={"total_stored": UNIT}), line("locked"), line("bank", serial=2)]),
        (False, [task(kind="put", result={"total_stored": 2 * UNIT}), line("sent"),
                 line("limbo", serial=2, became="locked")]),
        (False, [task(kind="put", result={"total_stored": 10 * UNIT}), line("locked", value=1)]),
        (False, [task(kind="put", result={"total_stored": 0}), line("locked", became="bank")]),
        (True, [task(kind="put", result={"total_stored": UNIT})]),
        (True, [task(kind="put", result={"total_stored": UNIT}), line("locked", task_id=B)]),
        (True, [task(kind="put", result={"total_stored": 0}), line("locked")]),
        (False, [task("error", kind="put", result={"total_stored": UNIT})]),
        (False, [task("running", kind="put", result={"total_stored": UNIT})]),
        (False, [task(kind="take", result={"total_stored": UNIT})]),
    ],
    "task says that coins are unknown while they are": [
        *(
            (
                kind in {"put", "take"} and state != "running",
                [task(state, kind=kind, result={"total_unknown": UNIT}), line("bank"), coin("limbo")],
            )
            for kind in TaskKind
            for state in ("running", "completed", "error")
        ),
        *((mark not in {"limbo", "errored"}, [task(result={"total_unknown": UNIT}), line(mark), coin("limbo")])
          for mark in CoinState),
        *((mark not in {"limbo", "errored"}, [task(result={"total_unknown": UNIT}), line("limbo"), coin(mark)])
          for mark in CoinState),
        (False, [task(result={"total_unknown": 10 * UNIT}), line("limbo", value=1), coin("limbo", value=1)]),
        (False, [task(), line("bank")]),
        (True, [task(), line("limbo"), coin("limbo")]),
        (True, [task(result={"total_unknown": UNIT}), line("limbo", settled_by_id=B), coin("limbo")]),
        (True, [task(result={"total_unknown": UNIT}), line("limbo", task_id=B), coin("limbo")]),
        (True, [task(result={"total_unknown": UNIT}), line("limbo"), coin("limbo", serial=2)]),
        (True, [task(result={"total_unknown": UNIT}), line("limbo"), coin("limbo", value=1)]),
        (True, [task(result={"total_unknown": UNIT}), line("limbo"), coin("limbo", family=C)]),
        (False, [task(result={"total_unknown": UNIT}), line("limbo"), coin("limbo", family=B)]),
    ],
    "line of a receipt is open while its coin is in doubt": [
        *((mark not in {"limbo", "errored"}, [line("errored"), coin(mark)]) for mark in CoinState),
        *((mark in {"limbo", "errored"}, [line(mark)]) for mark in CoinState),
        (False, [line("limbo", settled_by_id=B)]),
        (True, [line("limbo"), coin("limbo", serial=2)]),
        (True, [line("limbo"), coin("limbo", value=1)]),
    ],
    "export has the coins that it says": [
        *(
            (
                state not in {"exported", "sent", "bank", "fracked", "limbo", "errored", "counterfeit"},
                [(Export, {"task_id": B, "coin_count": 1}), coin(state, export_id=B)],
            )
            for state in ("exported", "sent", "waiting", "void", "missed", "broken", "locked", "change")
        ),
        (True, [(Export, {"task_id": B, "coin_count": 1}), coin("exported", export_id=A)]),
        (True, [(Export, {"task_id": B, "coin_count": 2}), coin("exported", export_id=B)]),
    ],
    "balance is what the coins of the wallet are worth": [
        *((state not in {"bank", "fracked"}, [account(UNIT), coin(state)]) for state in CoinState),
        (False, [account(10 * UNIT), coin(value=1)]),
        (True, [account(UNIT), coin(wallet_id=B)]),
        (True, [coin()]),
        # Worth one unit.
        (True, [coin(value=-8)]),
        (True, [account(UNIT)]),
        (False, [account(0)]),
        (False, [coin("locked")]),
        (False, [account(2 * UNIT), coin(), coin("fracked", serial=2)]),
    ],
    "statement adds up to the balance": [
        (False, [account(5, 2), booked(2), booked(3, number=2)]),
        (True, [account(5, 2), booked(5)]),
        (True, [account(6, 2), booked(2), booked(3, number=2)]),
        (True, [account(5, 3), booked(2), booked(3, number=3)]),
        (True, [account(5, 2), booked(2), booked(3, number=3)]),
        (True, [account(5, 2), booked(2), booked(3, number=2, wallet_id=B)]),
        (True, [account(0, 1)]),
        (False, [account(0, 0)]),
        (True, [account(1, 0)]),
        (True, [booked(0)]),
    ],
    "statement line follows the one before": [
        (False, [booked(2, 2), booked(-1, 1, number=2), booked(4, 4, wallet_id=B)]),
        (True, [booked(2, 1)]),
        (True, [booked(2, 2), booked(3, 3, number=2)]),
        (False, [booked(3, 5, number=2), booked(2, 2)]),
        (True, [booked(2, 2), booked(3, 5, number=2, wallet_id=B)]),
    ],
    "transfer gives what it takes": [
        *((kind in {"TransferIn", "TransferOut"}, [booked(2, kind=kind)]) for kind in LineType),
        (False, [booked(-2, kind="TransferOut"), booked(2, kind="TransferIn", wallet_id=B)]),
        (True, [booked(-2, kind="TransferOut"), booked(2, kind="TransferIn", task_id=B)]),
        (True, [booked(-2, kind="TransferOut"), booked(1, kind="TransferIn")]),
    ],
    "payment request was paid what its payments brought": [
        (False, [request(paid=3), payment(units=1), payment(units=2)]),
        (True, [request(paid=3), payment(units=2)]),
        (True, [request(paid=3), payment(units=3, request_id=A)]),
        (False, [request()]),
        (True, [request(paid=1)]),
    ],
    "payment brought what the coins of its task are worth": [
        (False, [payment(units=UNIT), task(), line("bank")]),
        (False, [payment(units=UNIT), task("error"), line("limbo", became="fracked")]),
        (False, [payment(units=10 * UNIT), task(), line("bank", value=1)]),
        (True, [payment(units=0), task(), line("bank")]),
        (True, [payment(units=UNIT), task(), line("bank", became="sent")]),
        (True, [payment(units=UNIT), task(), line("bank", task_id=B)]),
        (False, [payment(units=0), task("running"), line("bank")]),
        (True, [payment(units=UNIT), task("running"), line("bank")]),
        (False, [payment(expected=UNIT), task(), line("errored")]),
        (True, [payment(expected=0), task(), line("limbo")]),
        (True, [payment(expected=UNIT), task()]),
        (False, [payment(expected=UNIT), task("running")]),
        (False, [payment(units=7), task(kind="transfer"), booked(7, kind="TransferIn"),
                 booked(-7, kind="TransferOut")]),
        (True, [payment(units=7), task(kind="transfer"), booked(7, kind="TransferIn", task_id=B)]),
        (True, [payment(units=0), task(kind="transfer"), booked(7, kind="TransferIn")]),
        (False, [payment(units=0), task(kind="transfer"), line("bank"), line("limbo", serial=2)]),
        (False, [payment(units=9, task_id=B), task()]),
    ],
    "payment is pending while it may still bring coins": [
        *(
            (
                (mark == "pending") != (state == "running" or expected > 0),
                [payment(state=mark, expected=expected), task(state)],
            )
            for mark in ("pending", "credited", "failed")
            for state in ("running", "completed", "error")
            for expected in (0, 1)
        ),
        (False, [payment(state="pending", task_id=B), task()]),
    ],
    "payment brings coins to the payee": [
        (False, [payment(), request(), task(plan=PLANNED)]),
        (True, [payment(), request(), task()]),
        (True, [payment(), request(), task(plan={"payment_request": str(A)})]),
        (True, [payment(), request(), task(plan=PLANNED, wallet_id=B)]),
        (True, [payment(), request(), task(plan=PLANNED, wallet_id=None)]),
        # A transfer is a task of the payer.
        (True, [payment(), request(), task(kind="transfer", plan=PLANNED, wallet_id=B)]),
        (False, [payment(), request(), task(kind="transfer", plan=PLANNED, wallet_id=B), booked(1, kind="TransferIn")]),
        (True, [payment(), request(), task(kind="transfer", plan=PLANNED), booked(1, kind="TransferIn", wallet_id=B)]),
        (True, [payment(), request(), task(kind="transfer", plan=PLANNED), booked(1, kind="TransferOut")]),
        (True, [payment(), request(), task(kind="transfer", plan=PLANNED), booked(1, kind="TransferIn", task_id=B)]),
        *((False, [payment(), request(), task(state, kind="transfer", plan=PLANNED, wallet_id=B)])
          for state in ("running", "error")),
        (True, [payment(), request(), task("error", kind="import", plan=PLANNED)]),
        (False, [payment(request_id=A), request(), task()]),
        (False, [payment(task_id=B), request(), task()]),
    ],
}  # fmt: skip

# The same of rules about lines after the one with the id 4, which is sealed.
NEW_CASES: dict[str, list[tuple[bool, list[Row]]]] = {
    "statement line follows the one before": [
        (False, [booked(2, 2, id=5)]),
        (True, [booked(2, 3, id=5)]),
        (False, [booked(2, 3, id=4)]),
        (True, [booked(2, 2, id=5, number=2)]),
        (False, [booked(2, 2, id=1), booked(3, 5, id=5, number=2)]),
        (True, [booked(2, 2, id=1), booked(3, 3, id=5, number=2)]),
        (True, [booked(2, 2, id=1), booked(3, 5, id=5, number=3)]),
        (True, [booked(2, 2, id=1), booked(3, 5, id=5)]),
        (True, [booked(2, 2, id=1), booked(3, 5, id=5, number=2, wallet_id=B)]),
        (False, [booked(2, 2, id=1), booked(1, 3, id=2, number=2), booked(3, 6, id=5, number=3)]),
        (True, [booked(2, 2, id=1), booked(1, 3, id=2, number=2), booked(3, 5, id=5, number=3)]),
    ],
    "statement adds up to the balance": [
        (False, [account(5, 1), booked(5, 5)]),
        (True, [account(6, 1), booked(5, 5)]),
        (False, [account(3, 2), booked(5, 5), booked(-2, 3, number=2)]),
        (True, [account(5, 2), booked(5, 5), booked(-2, 3, number=2)]),
        (False, [account(5, 1), booked(5, 5), booked(4, 4, wallet_id=B)]),
    ],
}


def test_every_rule_has_cases_of_both_kinds() -> None:
    assert CASES.keys() | {"open task is within its deadline"} == audit._CHECKS.keys()
    assert NEW_CASES.keys() == audit._OF_NEW.keys()
    assert all(
        {is_broken for is_broken, _ in cases} == {True, False} for cases in [*CASES.values(), *NEW_CASES.values()]
    )


@pytest.mark.django_db
def test_each_condition_of_a_rule_alone() -> None:
    tables = [model._meta.db_table for model in (
        Account, Coin, Export, Locker, LockerTask, Payment, PaymentRequest, ReceiptLine, StatementLine)]  # fmt: skip
    wrong = []
    with hidden(tables), connection.cursor() as cursor:
        checked = [(audit._CHECKS[rule], rule, each) for rule, cases in CASES.items() for each in cases]
        checked += [(audit._OF_NEW[rule], rule, each) for rule, cases in NEW_CASES.items() for each in cases]
        for statement, rule, (is_broken, rows) in checked:
            for model, row in rows:
                insert(model._meta.db_table, {name: as_sent(value) for name, value in row.items()})
            cursor.execute(statement, {"after": 4})
            found = [subject for (subject,) in cursor.fetchall()]
            if bool(found) != is_broken or not all(found):
                wrong.append((rule, is_broken, rows))
            for table in tables:
                cursor.execute(f"DELETE FROM {table}")
    assert wrong == []


def as_sent(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict) else Decimal(value) if isinstance(value, int) else value


@pytest.mark.django_db
@pytest.mark.parametrize(("state", "seconds", "is_broken"), [
    ("running", 61, True), ("running", 59, False), ("completed", 61, False), ("error", 61, False),
])  # fmt: skip
def test_an_open_task_may_be_a_minute_late(state: str, seconds: int, is_broken: bool) -> None:
    with hidden([LockerTask._meta.db_table]), connection.cursor() as cursor:
        insert(LockerTask._meta.db_table, {"id": A, "state": state})
        cursor.execute("UPDATE lockers_lockertask SET deadline = now() - make_interval(secs => %s)", [seconds])
        cursor.execute(audit._CHECKS["open task is within its deadline"])

        assert cursor.fetchall() == [(str(A),)] * is_broken
