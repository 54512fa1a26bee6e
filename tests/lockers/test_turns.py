"""Which task is next, limits of open tasks and of waiting calls per wallet, and the deletion of peeks."""

import secrets
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from config.api import limits
from lockers import errors, fair_queue, tasks
from lockers.models import Attempt, Coin, LockerTask, Turn
from lockers.operations import break_coin, echo, find, fix, health, lookups, peek
from lockers.operations import export as export_coins
from lockers.operations import put as put_coins
from lockers.operations import take as take_coins
from lockers.states import CoinState, FileType, TaskKind, TaskState
from lockers.worker import task_store
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.coin_commands import give
from tests.support.local_network import LocalNetwork
from wallets import operations as wallets
from wallets.models import Wallet


def begin(
    wallet: Wallet, number: int = 1, *, kind: TaskKind = TaskKind.TAKE, is_long: bool = False, **fields: Any
) -> list[LockerTask]:
    return [
        LockerTask.objects.create(
            kind=kind,
            wallet=wallet,
            actor=wallet,
            receipt_id=secrets.token_hex(16),
            deadline="2099-01-01T00:00Z",
            is_long=is_long,
            # A test's transaction has one `now()`.
            created_at=f"2026-01-01T00:{LockerTask.objects.count():02}Z",
            **fields,
        )
        for _ in range(number)
    ]


def claimed() -> LockerTask | None:
    held = fair_queue.claim_next()
    return None if held is None else LockerTask.objects.get(pk=held.task_id)


def end(task: LockerTask) -> None:
    LockerTask.objects.filter(pk=task.pk).update(
        state=TaskState.ERROR, step="done", lease_until=None, finished_at=Now()
    )


def served(number: int) -> list[str]:
    """The owners of the tasks that one worker does, one after the other."""
    names = []
    for _ in range(number):
        task = claimed()
        assert task is not None
        names.append(task.wallet.name)
        end(task)
    return names


def test_one_worker_serves_wallets_in_turn_however_many_tasks_one_has(
    alice: Wallet, bob: Wallet, charlie: Wallet
) -> None:
    begin(alice, 6)
    begin(bob, 2)
    begin(charlie, 1)

    assert served(9) == ["alice", "bob", "charlie", "alice", "bob", "alice", "alice", "alice", "alice"]
    assert fair_queue.claim_next() is None


def test_who_comes_late_is_next_before_who_was_served(alice: Wallet, bob: Wallet) -> None:
    begin(alice, 5)
    assert served(2) == ["alice", "alice"]
    begin(bob, 1)
    assert served(3) == ["bob", "alice", "alice"]


def test_a_wallet_that_has_tasks_at_work_waits_for_one_that_has_none(alice: Wallet, bob: Wallet) -> None:
    begin(alice, 4)
    at_work = [claimed(), claimed()]
    assert {task.wallet.name for task in at_work if task} == {"alice"}, "an idle system is its only caller's"
    begin(bob, 2)

    names = [task.wallet.name for task in (claimed(), claimed(), claimed()) if task]

    # The third of bob's turn comes only when as many of each are at work.
    assert names == ["bob", "bob", "alice"]


@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (2, 1), (3, 2)])
def test_one_wallet_has_all_workers_but_one_busy_with_long_tasks(
    workers: int, at_once: int, alice: Wallet, bob: Wallet, settings: Any
) -> None:
    settings.WORKERS = workers
    long_ones = begin(alice, 5, is_long=True)
    taken = [claimed() for _ in range(at_once)]
    assert [task.pk for task in taken if task] == [task.pk for task in long_ones[:at_once]]
    assert claimed() is None
    (short,) = begin(alice)
    (other,) = begin(bob, is_long=True)
    assert [task.pk for task in (claimed(), claimed()) if task] == [other.pk, short.pk]
    assert claimed() is None

    end(long_ones[0])

    assert (task := claimed()) is not None
    assert task.pk == long_ones[at_once].pk


@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (2, 1), (3, 2)])
def test_one_wallet_has_all_workers_but_one_busy_with_peeks(
    workers: int, at_once: int, alice: Wallet, bob: Wallet, settings: Any
) -> None:
    settings.WORKERS = workers
    peeks = begin(alice, 5, kind=TaskKind.PEEK)
    assert [task.pk for task in (claimed() for _ in range(at_once)) if task] == [task.pk for task in peeks[:at_once]]
    assert claimed() is None
    (take,) = begin(alice)
    (other,) = begin(bob, kind=TaskKind.PEEK)
    assert [task.pk for task in (claimed(), claimed()) if task] == [other.pk, take.pk]
    assert claimed() is None
    assert fair_queue.was_bounded(peeks[0].pk)
    assert not fair_queue.was_bounded(take.pk)

    end(peeks[0])

    assert (task := claimed()) is not None
    assert task.pk == peeks[at_once].pk


def test_a_task_that_turns_out_to_be_long_gives_way_and_comes_again(alice: Wallet) -> None:
    (at_work,) = begin(alice, is_long=True)
    assert claimed() is not None
    (take,) = begin(alice)
    held = fair_queue.claim_next()
    assert held is not None
    assert fair_queue.give_way(held) is False
    LockerTask.objects.filter(pk=take.pk).update(is_long=True)

    assert fair_queue.give_way(held) is True

    assert claimed() is None
    end(at_work)
    again = fair_queue.claim_next()
    assert again is not None
    assert (again.task_id, again.attempt) == (take.pk, held.attempt + 1)
    assert fair_queue.give_way(again) is False


@pytest.mark.parametrize(
    ("other", "gives_way"),
    [
        ({}, True),
        ({"lease_until": Now() - timedelta(seconds=1)}, False),
        ({"lease_until": None}, False),
        ({"is_long": False}, False),
        ({"is_bobs": True}, False),
    ],
)
def test_a_long_task_gives_way_to_long_ones_of_its_wallet_that_are_at_work(
    other: dict[str, Any], gives_way: bool, alice: Wallet, bob: Wallet, settings: Any
) -> None:
    settings.WORKERS = 2
    fields = {"is_long": True, "lease_until": Now() + timedelta(minutes=1), **other}
    begin(bob if fields.pop("is_bobs", False) else alice, **fields)
    (task,) = begin(alice, is_wanted=True)
    held = task_store.claim(task_id=task.pk)
    assert held is not None
    LockerTask.objects.filter(pk=task.pk).update(is_long=True)

    assert fair_queue.give_way(held) is gives_way

    task.refresh_from_db()
    assert (task.lease_until is None) is gives_way


def test_tasks_for_which_others_wait_come_first_and_parked_ones_not_at_all(alice: Wallet) -> None:
    first, wanted, parked = begin(alice, 3)
    LockerTask.objects.filter(pk=wanted.pk).update(is_wanted=True)
    LockerTask.objects.filter(pk=parked.pk).update(is_parked=True)

    assert [task.pk for task in (claimed(), claimed()) if task] == [wanted.pk, first.pk]
    assert claimed() is None


def test_a_lease_that_ran_out_gives_its_task_to_the_next_worker(alice: Wallet) -> None:
    (task,) = begin(alice)
    first = fair_queue.claim_next()
    assert fair_queue.claim_next() is None
    LockerTask.objects.update(lease_until=Now() - timedelta(seconds=1))

    second = fair_queue.claim_next()

    assert first is not None
    assert second is not None
    assert (second.task_id, second.attempt) == (task.pk, first.attempt + 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_locked", [True, False])
def test_workers_side_by_side_serve_different_wallets(is_locked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control removes the lock; then concurrent workers do not see each other and choose the same wallet."""
    callers = [wallets.create_wallet(name=f"caller-{number}", password="unused but long") for number in range(4)]
    if not is_locked:
        monkeypatch.setattr(fair_queue, "_LOCK", "SELECT 1")
        # A moment between choosing and writing, in which the others choose.
        choice = "SELECT first.id, first.actor_id FROM"
        monkeypatch.setattr(
            fair_queue,
            "_CLAIM_NEXT",
            fair_queue._CLAIM_NEXT.replace(choice, choice.replace("first.id", "pg_sleep(0.05), first.id", 1)),
        )
    rounds = []
    for _ in range(3):
        LockerTask.objects.all().delete()
        Turn.objects.all().delete()
        for caller in callers:
            begin(caller, 4)
        barrier = threading.Barrier(4)
        owners: list[Any] = []

        def work(barrier: threading.Barrier = barrier, owners: list[Any] = owners) -> None:
            try:
                barrier.wait(timeout=60)
                held = fair_queue.claim_next()
                owners.append(None if held is None else LockerTask.objects.get(pk=held.task_id).actor_id)
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        rounds.append(len({owner for owner in owners if owner}))

    assert (rounds == [4, 4, 4]) is is_locked


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_lease_that_is_renewed_while_the_task_is_claimed_stays(
    is_guarded: bool, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control leaves the condition out of the write; then the next worker stops one that is at work."""
    begin(alice, lease_until=Now() - timedelta(seconds=1), attempt=3)
    # Between choosing and writing.
    choice, guard = "SELECT first.id,", " AND (task.lease_until IS NULL OR task.lease_until < now())"
    statement = fair_queue._CLAIM_NEXT.replace(choice, "SELECT pg_advisory_xact_lock(9), first.id,")
    assert guard in statement
    monkeypatch.setattr(fair_queue, "_CLAIM_NEXT", statement if is_guarded else statement.replace(guard, ""))
    claims: list[Any] = []

    def work() -> None:
        try:
            claims.append(fair_queue.claim_next())
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(9)")
        worker.start()
        for _ in range(1000):
            cursor.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 9 AND NOT granted")
            if cursor.rowcount:
                break
            time.sleep(0.01)
        LockerTask.objects.update(lease_until="2099-01-01T00:00Z")
    worker.join(timeout=60)

    assert [each is None for each in claims] == [is_guarded]
    assert LockerTask.objects.get().attempt == (3 if is_guarded else 4)


# Bounds.


def test_every_kind_of_task_is_bounded_and_a_refusal_changes_nothing(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, settings: Any
) -> None:
    network.fault(range(3), "wrong-secret")
    give(alice, mint(1, 0, 0, 0))
    network.clear()
    export = export_coins.start(actor=alice, name="alice", units=10**8, file_type=FileType.BIN).task
    limbo = stock(alice, 0)[0]
    type(limbo).objects.filter(pk=limbo.pk).update(state="limbo", proposed=limbo.secrets)
    stock(alice, 1)
    who: dict[str, Any] = {"actor": alice, "name": "alice"}
    calls = {
        "put": lambda: put_coins.start(**who, units=10**8),
        "break": lambda: break_coin.start(**who, denomination=1),
        "export that breaks": lambda: export_coins.start(**who, units=5 * 10**8, file_type=FileType.BIN),
        "recall": lambda: export_coins.recall(actor=alice, export_id=export.pk),
        "take": lambda: take_coins.start(**who, code="SOME-CODE"),
        "peek": lambda: peek.start(actor=alice, code="SOME-CODE"),
        "echo": lambda: echo.start(actor=alice),
        "find": lambda: find.start(**who),
        "fix": lambda: fix.start(**who),
        "health": lambda: health.start(**who),
    }
    settings.OPEN_TASKS_PER_WALLET = 2
    begin(alice, 2)
    before = LockerTask.objects.count(), list(type(limbo).objects.order_by("id").values())

    for name, call in calls.items():
        with pytest.raises(errors.TooManyTasks) as refusal:
            call()
        assert str(refusal.value) == "At most 2 tasks of a wallet are open at once; try again when some have ended", (
            name
        )
        assert refusal.value.headers == {"Retry-After": "2"}

    assert (LockerTask.objects.count(), list(type(limbo).objects.order_by("id").values())) == before
    peek.start(actor=bob, code="SOME-CODE")
    # What the clock begins for a wallet is not refused.
    type(limbo).objects.update(changed_at="2026-01-01T00:00Z")
    assert find.start_overdue()
    assert fix.start_overdue()


def test_tasks_of_others_and_those_that_have_ended_leave_room_for_ones_own(
    alice: Wallet, bob: Wallet, settings: Any
) -> None:
    settings.OPEN_TASKS_PER_WALLET = 2
    begin(bob, 2)
    begin(alice, 2, state=TaskState.ERROR, step="done", finished_at=Now())
    begin(alice, 1)
    fair_queue.admit(actor_id=alice.pk)

    begin(alice, 1)

    with pytest.raises(errors.TooManyTasks):
        fair_queue.admit(actor_id=alice.pk)


def test_as_many_calls_of_a_wallet_wait_as_may(alice: Wallet, bob: Wallet, settings: Any) -> None:
    settings.WAITING_CALLS_PER_WALLET = 2
    limits.begin_waiting(alice.pk)
    limits.begin_waiting(alice.pk)
    with pytest.raises(errors.TooManyWaiting) as refusal:
        limits.begin_waiting(alice.pk)
    assert refusal.value.headers == {"Retry-After": "1"}
    limits.begin_waiting(bob.pk)
    limits.end_waiting(alice.pk)
    limits.begin_waiting(alice.pk)

    for wallet in (alice, alice, bob):
        limits.end_waiting(wallet.pk)
    assert not limits._waiting


# Peeks.


def test_what_only_looked_is_deleted_after_a_day(alice: Wallet) -> None:
    old, young, running = begin(alice, 3, kind=TaskKind.PEEK)
    (put,) = begin(alice, kind=TaskKind.PEEK, state=TaskState.ERROR, step="done", finished_at=Now() - timedelta(days=9))
    LockerTask.objects.filter(pk=put.pk).update(kind=TaskKind.PUT)
    for task, age in ((old, timedelta(days=1, minutes=1)), (young, timedelta(hours=23))):
        LockerTask.objects.filter(pk=task.pk).update(state=TaskState.ERROR, step="done", finished_at=Now() - age)
    Attempt.objects.create(task=old, ordinal=0, number=1, command="PEEK", answers=[None] * 25)

    assert lookups.purge() == 1

    assert set(LockerTask.objects.values_list("pk", flat=True)) == {young.pk, running.pk, put.pk}
    tasks.purge()


def test_a_task_of_more_than_a_thousand_coins_is_long(alice: Wallet) -> None:
    assert [task_store.is_long(number) for number in (0, 1000, 1001)] == [False, False, True]
    stock(alice, *[0] * 1001)
    short = put_coins.start(actor=alice, name="alice", units=10 * 10**8).task
    assert LockerTask.objects.get(pk=short.pk).is_long is False
    stock(alice, *[0] * 10)
    long = put_coins.start(actor=alice, name="alice", units=1001 * 10**8).task
    assert LockerTask.objects.get(pk=long.pk).is_long is True


@pytest.mark.parametrize(
    ("to_fix", "unchecked", "is_long"), [(3, 0, False), (4, 0, True), (0, 3, False), (1, 4, True), (3, 3, False)]
)
def test_a_fix_is_long_by_the_coins_to_fix_or_by_those_to_check(
    to_fix: int, unchecked: int, is_long: bool, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_store, "BATCH_COINS", 3)
    whole = stock(alice, *[0] * unchecked)
    stock(alice, *[0] * to_fix, state=CoinState.FRACKED)
    Coin.objects.update(checked_at=Now())
    Coin.objects.filter(pk__in=[coin.pk for coin in whole]).update(checked_at=None)

    task = fix.start(actor=alice, name="alice").task

    assert (task.is_long, Coin.objects.filter(task=task).count()) == (is_long, to_fix)
