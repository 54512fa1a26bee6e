"""Which claims to a coin begin, wait and are dropped: each statement against a model, in small random worlds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from lockers import competing_claims
from lockers.models import Coin, LockerTask
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.coins import value_of
from tests.support.hidden_tables import hidden, insert

pytestmark = pytest.mark.django_db

TABLES = [Coin._meta.db_table, LockerTask._meta.db_table]
# Written out: what a wallet holds for certain, what is being decided, and what is left alone.
OWNED = ("bank", "fracked")
OPEN = ("incoming", "limbo", "errored", "change")
REST = ("locked", "exported", "sent", "counterfeit", "broken", "void", "missed")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
WALLETS = [UUID(int=number) for number in (1, 2)]
LOCKER = UUID(int=3)


@dataclass(frozen=True)
class Row:
    id: UUID
    denomination: int
    serial_number: int
    state: str
    wallet_id: UUID
    task_id: UUID | None
    locker_id: UUID | None
    created_at: datetime
    batch: int | None

    @property
    def coin(self) -> WireCoin:
        return WireCoin(self.denomination, self.serial_number)

    @property
    def is_owned(self) -> bool:
        return self.state in OWNED and self.locker_id is None


@dataclass(frozen=True)
class Task:
    id: UUID
    state: str
    is_parked: bool
    is_wanted: bool
    is_over: bool
    created_at: datetime


class World:
    def __init__(self, seed: int) -> None:
        draw = Random(seed)
        # Few coins of many tasks, or many of few.
        tasks, rows = ((6, 12), (3, 40))[seed % 2]
        self.tasks = [
            Task(
                UUID(int=100 + number),
                draw.choice(["running"] * 5 + ["completed"]),
                draw.random() < 0.8,
                draw.random() < 0.2,
                draw.random() < 0.1,
                LONG_AGO + timedelta(seconds=draw.randrange(100)),
            )
            for number in range(tasks)
        ]
        self.rows = []
        for _ in range(rows):
            state = draw.choice(["waiting"] * 14 + list(OWNED + OPEN + REST))
            has_task = state in ("waiting", *OPEN) or draw.random() < 0.3
            self.rows.append(
                Row(
                    UUID(int=draw.randrange(1000, 10**9)),
                    draw.choice([0, 1]),
                    draw.randrange(rows // 2),
                    state,
                    draw.choice(WALLETS),
                    draw.choice(self.tasks).id if has_task else None,
                    draw.choice([None, None, LOCKER]),
                    LONG_AGO + timedelta(seconds=draw.randrange(3)),
                    draw.choice([-1, -1, -2]) if state == "waiting" else 0 if has_task else None,
                )
            )
        for task in self.tasks:
            deadline = LONG_AGO if task.is_over else datetime(2099, 1, 1, tzinfo=UTC)
            row = {key: value for key, value in vars(task).items() if key != "is_over"}
            insert(LockerTask._meta.db_table, row | {"deadline": deadline, "rung_at": LONG_AGO})
        for each in self.rows:
            insert(Coin._meta.db_table, vars(each))

    def same(self, row: Row) -> list[Row]:
        return [each for each in self.rows if each.coin == row.coin]

    def is_first(self, row: Row) -> bool:
        return not any(
            each.state in OWNED + OPEN
            or (each.state == "waiting" and (each.created_at, each.id) < (row.created_at, row.id))
            for each in self.same(row)
        )

    def waiting_of(self, task_id: UUID) -> list[Row]:
        return [row for row in self.rows if row.task_id == task_id and row.state == "waiting"]

    def may_proceed(self, row: Row) -> bool:
        return any(each.is_owned for each in self.same(row)) or self.is_first(row)

    @property
    def coins(self) -> list[WireCoin]:
        return [WireCoin(denomination, number) for denomination in (0, 1) for number in range(20)]

    def read(self) -> list[Row]:
        names = list(Row.__dataclass_fields__)
        return sorted((Row(*row) for row in Coin.objects.values_list(*names)), key=lambda row: row.id)

    def read_tasks(self) -> list[dict[str, Any]]:
        rows = LockerTask.objects.order_by("id").values("id", "is_parked", "is_wanted", "rung_at")
        return [dict(row) for row in rows]


def unparked(world: World) -> None:
    expected = {
        task.id
        for task in world.tasks
        if task.state == "running"
        and task.is_parked
        and (
            task.is_over
            or not world.waiting_of(task.id)
            or any(world.may_proceed(row) for row in world.waiting_of(task.id))
        )
    }
    before = world.read_tasks()

    assert set(competing_claims.unpark(limit=100)) == expected

    for task, was in zip(world.read_tasks(), before, strict=True):
        if task["id"] in expected:
            assert (task["is_parked"], task["rung_at"] > LONG_AGO) == (False, True)
        else:
            assert task == was


def settled_and_claimed(world: World) -> None:
    assert competing_claims._settled(world.coins) == {row.coin for row in world.rows if row.is_owned}
    for wallet_id in WALLETS:
        assert competing_claims._claimed_by(wallet_id, world.coins) == {
            row.coin for row in world.rows if row.wallet_id == wallet_id and row.state in (*OPEN, "waiting")
        }
    some = world.coins[4:9]
    assert competing_claims._settled(some) == {row.coin for row in world.rows if row.is_owned and row.coin in some}


def unclaimed(world: World) -> None:
    found = competing_claims.unclaimed(Coin.objects.filter(state="locked"))
    assert set(found.values_list("id", flat=True)) == {
        row.id
        for row in world.rows
        if row.state == "locked" and not any(each.state in (*OWNED, *OPEN, "waiting") for each in world.same(row))
    }


def dropped(world: World) -> None:
    task_id = world.tasks[0].id
    gone = [row for row in world.waiting_of(task_id) if any(each.is_owned for each in world.same(row))]

    assert competing_claims.drop_settled(task_id=task_id) == sum(value_of(row.denomination) for row in gone)

    assert world.read() == sorted((row for row in world.rows if row not in gone), key=lambda row: row.id)


def promoted(world: World) -> None:
    task_id = world.tasks[0].id
    first = [row for row in world.waiting_of(task_id) if world.is_first(row)]
    # Those with one secret come first; of each sort two coins are in a batch.
    batches: dict[UUID, int] = {}
    number = 0
    for waited_in in (-1, -2):
        rows = sorted((row for row in first if row.batch == waited_in), key=lambda row: row.id)
        for start in range(0, len(rows), 2):
            batches |= {row.id: number for row in rows[start : start + 2]}
            number += 1
    two_secrets = {batches[row.id] for row in first if row.batch == -2}

    found = competing_claims.promote(task_id=task_id, batch_coins=2)

    assert (found.coins, found.two_secrets) == (len(first), sorted(two_secrets))
    assert world.read() == sorted(
        (replace(row, state="incoming", batch=batches[row.id]) if row in first else row for row in world.rows),
        key=lambda row: row.id,
    )


def wanted(world: World) -> None:
    some, task_id = world.coins[3:14], world.tasks[0].id
    asked = {
        row.task_id
        for row in world.rows
        if row.coin in some and row.state in (*OPEN, "waiting") and row.task_id != task_id
    }
    before = world.read_tasks()

    competing_claims._want_decided(some, task_id)

    running = {task.id for task in world.tasks if task.state == "running"}
    assert world.read_tasks() == [
        task | {"is_wanted": task["is_wanted"] or task["id"] in asked & running} for task in before
    ]


def left(world: World) -> None:
    for task in world.tasks:
        waiting = world.waiting_of(task.id)
        assert competing_claims.has_waiting_claims(task_id=task.id) is bool(waiting)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE lockers_lockertask SET plan = '{}' WHERE id = %s", [task.id])
        for noted, sum_of_noted in ((0, 0), (5, 5), (7, 12)):
            if noted:
                competing_claims.note_left(task.id, noted)
            units = sum(value_of(row.denomination) for row in waiting)
            assert competing_claims.left_of(task_id=task.id) == (sum_of_noted, units)


def handed_on_and_given_up(world: World) -> None:
    task, successor = world.tasks[0].id, world.tasks[1].id
    mine = world.waiting_of(task)
    competing_claims.hand_on(task_id=task, successor_id=successor)
    rows = [replace(row, task_id=successor) if row in mine else row for row in world.rows]
    assert world.read() == sorted(rows, key=lambda row: row.id)

    competing_claims.give_up(task_id=successor)

    rows = [row for row in rows if row.task_id != successor or row.state != "waiting"]
    assert world.read() == sorted(rows, key=lambda row: row.id)


@pytest.mark.parametrize(
    "check",
    [unparked, settled_and_claimed, unclaimed, dropped, promoted, wanted, left, handed_on_and_given_up],
    ids=lambda check: check.__name__,
)
def test_claims_are_those_of_the_model(check: Callable[[World], None]) -> None:
    for seed in range(40 if check is unparked else 12):
        with hidden(TABLES):
            check(World(seed))
