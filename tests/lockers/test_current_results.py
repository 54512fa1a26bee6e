"""What a receipt says now: each line with the letters of the task that settled it, and of no other line alike."""

from uuid import UUID

import pytest

from lockers import current_results
from lockers.models import Coin, LockerTask, ReceiptLine
from lockers.states import TaskKind
from tests.lockers.marks import at
from tests.support.hidden_tables import hidden, insert

A, B, C = (UUID(int=number) for number in range(1, 4))
ONE, TEN = 10**8, 10**9
TABLES = [Coin._meta.db_table, ReceiptLine._meta.db_table]


def lines(*rows: tuple[UUID, int, int, str, str, str | None, UUID | None]) -> None:
    for number, (task, value, serial, state, letters, became, settled_by) in enumerate(rows, start=1):
        insert(
            ReceiptLine._meta.db_table,
            {
                "id": number,
                "task_id": task,
                "denomination": value,
                "serial_number": serial,
                "state": state,
                "pown": at(letters),
                "became": became,
                "settled_by_id": settled_by,
            },
        )


def task(kind: TaskKind) -> LockerTask:
    return LockerTask(pk=A, kind=kind)


@pytest.mark.django_db
def test_a_line_has_the_letters_of_the_task_that_settled_it() -> None:
    with hidden(TABLES):
        lines(
            (A, 0, 1, "limbo", "n25", "locked", B),
            (A, 0, 2, "locked", "p20 f5", None, None),
            (A, 1, 1, "locked", "p19 f6", None, None),
            (A, 0, 3, "limbo", "n25", "locked", C),
            # Of the same tasks another coin, and of other tasks the same coin.
            (B, 0, 1, "locked", "p24 f1", None, None),
            (B, 0, 2, "locked", "p1 f24", None, None),
            (B, 1, 1, "locked", "p2 f23", None, None),
            (B, 0, 3, "locked", "p3 f22", None, None),
            (C, 0, 1, "locked", "p4 f21", None, None),
            (C, 0, 3, "locked", "p23 f2", None, None),
        )
        tally, letters, passes = current_results.as_it_is_now(task(TaskKind.PUT))

        assert passes == {24, 20, 19, 23}
        assert tally.units_of("locked") == 3 * ONE + TEN
        assert letters[:19] == "p" * 19
        # The most of all are on 24.
        assert current_results.coins_on_fewer_servers(task_id=A) == [
            {"sn": 2, "denomination": 0, "servers": 20},
            {"sn": 1, "denomination": 1, "servers": 19},
            {"sn": 3, "denomination": 0, "servers": 23},
        ]
        assert current_results.coins_on_fewer_servers(task_id=B) == [
            {"sn": 2, "denomination": 0, "servers": 1},
            {"sn": 1, "denomination": 1, "servers": 2},
            {"sn": 3, "denomination": 0, "servers": 3},
        ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("coin", "is_of_a_break"),
    [
        ({}, True),
        ({"state": "errored"}, True),
        ({"family": B}, False),
        ({"family": None}, False),
        ({"serial_number": 2}, False),
        ({"denomination": 1}, False),
        ({"state": "bank"}, False),
    ],
)
@pytest.mark.parametrize("state", ["limbo", "errored"])
def test_a_coin_in_doubt_is_in_its_locker_unless_it_was_being_broken(
    coin: dict[str, object], is_of_a_break: bool, state: str
) -> None:
    with hidden(TABLES):
        lines((A, 0, 1, state, "n25", None, None))
        row = {"id": C, "family": C, "denomination": 0, "serial_number": 1, "state": "limbo"}
        insert(Coin._meta.db_table, row | coin)

        tally, letters, _ = current_results.as_it_is_now(task(TaskKind.PUT))

        assert tally.units_for_locker_in_limbo == (0 if is_of_a_break else ONE)
        assert letters == ("" if is_of_a_break else "n" * 25)


@pytest.mark.django_db
@pytest.mark.parametrize(("first", "settled_by"), [("bank", None), ("limbo", B)])
def test_a_coin_that_is_in_doubt_again_is_not_that_of_an_earlier_receipt(first: str, settled_by: UUID | None) -> None:
    with hidden(TABLES):
        lines((A, 0, 1, first, "p25", "limbo", settled_by))
        insert(Coin._meta.db_table, {
            "id": C, "family": C, "denomination": 0, "serial_number": 1, "state": "limbo"})  # fmt: skip

        tally, _, _ = current_results.as_it_is_now(task(TaskKind.PUT))

        assert tally.units_for_locker_in_limbo == ONE
