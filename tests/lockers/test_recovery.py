"""What is still certain about a task after the database was restored to an earlier moment."""

import secrets

import pytest
from django.db.models.functions import Now

from lockers import restore
from lockers.models import Coin, LockerTask
from lockers.states import CoinState, Mark, TaskKind, TaskState
from wallets import operations as wallets
from wallets.models import Wallet

FINAL = Mark.SENT + Mark.NEW + Mark.REFUSED + Mark.GONE + Mark.NEITHER + Mark.ERROR + Mark.UNREADABLE
RELIED_ON = Mark.UNASKED + Mark.OLD + Mark.KEPT + Mark.UNREACHED
MARKS = (FINAL + RELIED_ON).ljust(25, Mark.UNASKED)
DOUBTED = FINAL.ljust(25, Mark.SENT)


@pytest.fixture
def alice(db: None) -> Wallet:
    return wallets.create_wallet(name="alice")


def held(alice: Wallet, kind: TaskKind) -> Coin:
    """A coin that a task of this kind has reserved."""
    task = LockerTask.objects.create(
        kind=kind, wallet=alice, actor=alice, receipt_id="0" * 32, deadline="2999-01-01 00:00Z", progress=5,
    )  # fmt: skip
    return Coin.objects.create(
        wallet=alice, denomination=0, serial_number=1, state=CoinState.LIMBO, origin=TaskKind.IMPORT, pown="p" * 25,
        secrets=b"sealed", task=task, batch=0, outcome=MARKS,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [TaskKind.PUT, TaskKind.TAKE, TaskKind.IMPORT, TaskKind.FIND])
def test_whatever_a_task_that_moves_coins_would_send_again_is_asked_about_first(alice: Wallet, kind: TaskKind) -> None:
    coin = held(alice, kind)

    (in_flight,) = restore.doubt_tasks_in_flight()

    coin.refresh_from_db()
    assert coin.outcome == DOUBTED
    assert (in_flight.id, in_flight.kind, in_flight.coins) == (coin.task_id, kind, 1)


def test_a_fix_keeps_what_it_knows(alice: Wallet) -> None:
    coin = held(alice, TaskKind.FIX)

    assert [task.kind for task in restore.doubt_tasks_in_flight()] == [TaskKind.FIX]

    coin.refresh_from_db()
    assert coin.outcome == MARKS


def test_every_open_task_is_given_up_by_its_worker_and_one_that_has_ended_is_left_alone(alice: Wallet) -> None:
    """A worker from before the restore may still have a claim; no other would take the task until its lease ends."""
    tasks = [
        LockerTask.objects.create(
            kind=kind, wallet=alice, actor=alice, receipt_id=secrets.token_hex(16), deadline="2999-01-01 00:00Z",
            created_at=f"2026-01-01 00:{number:02}Z", lease_until="2099-01-01 00:00Z",
        )
        for number, kind in enumerate(TaskKind)
    ]  # fmt: skip
    ended = LockerTask.objects.create(
        kind=TaskKind.PUT, wallet=alice, actor=alice, receipt_id=secrets.token_hex(16), deadline="2999-01-01 00:00Z",
        state=TaskState.ERROR, step="done", finished_at=Now(), message="It has ended.",
    )  # fmt: skip
    before = LockerTask.objects.filter(pk=ended.pk).values().get()

    in_flight = restore.doubt_tasks_in_flight()

    assert [(task.id, task.coins) for task in in_flight] == [(task.pk, 0) for task in tasks]
    assert set(LockerTask.objects.filter(state=TaskState.RUNNING).values_list("lease_until", flat=True)) == {None}
    assert LockerTask.objects.filter(pk=ended.pk).values().get() == before


@pytest.mark.parametrize("kind", TaskKind)
def test_each_kind_of_task_asks_first_or_has_a_reason_not_to(alice: Wallet, kind: TaskKind) -> None:
    """Of the others, a fix may be repeated, and coins of a transfer or an export were never sent."""
    coin = held(alice, kind)
    doubts = kind in (TaskKind.PUT, TaskKind.TAKE, TaskKind.IMPORT, TaskKind.FIND)

    restore.doubt_tasks_in_flight()

    coin.refresh_from_db()
    assert coin.outcome == (DOUBTED if doubts else MARKS)
