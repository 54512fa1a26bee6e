"""What one call changes, and that the rows beside it stay: those of other tasks, files, wallets and kinds."""

import itertools
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from lockers import (
    audit,
    coin_breaks,
    coin_import,
    coin_outcomes,
    competing_claims,
    current_results,
    errors,
    export_queries,
    fair_queue,
    queries,
    reports,
    task_recovery,
    task_results,
    tasks,
    vault,
    wrong_code_limits,
)
from lockers.coin_breaks import FIRST_BREAK
from lockers.errors import TaskSuperseded
from lockers.models import (
    Attempt,
    Coin,
    Export,
    Locker,
    LockerTask,
    Payment,
    PaymentRequest,
    ReceiptLine,
    Upload,
)
from lockers.operations import break_coin as break_coins
from lockers.operations import export as export_coins
from lockers.operations import find as find_coins
from lockers.operations import fix as fix_coins
from lockers.operations import health as check_coins
from lockers.operations import import_files, lookups, new_task, show_task, take_back
from lockers.operations import put as put_coins
from lockers.operations.reserve import COINS_FOR_BREAKS
from lockers.raida import codes
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.encryption import with_coin, with_locker_key
from lockers.states import CoinState, FileType, LockerState, PaymentMode, Step, TaskKind, TaskState
from lockers.task_results import Rest, Tally
from lockers.transport import NO_GRACE
from lockers.worker import (
    broadcast,
    finalize,
    fix,
    health_check,
    import_,
    late_answers,
    listening,
    request_encryption,
    runner,
    settle_coins,
    take,
    task_store,
)
from lockers.worker.broadcast import Request, TaskRun
from lockers.worker.messages import Reply
from lockers.worker.task_store import Claim
from tests.api.caller import logged_in
from tests.lockers.marks import at
from tests.lockers.stock import stock
from tests.support.coin_rows import a_coin, a_task
from wallets.errors import NotPossible
from wallets.models import Wallet
from wallets.redis_servers import client as redis_client

ONE = 10**8


def everything() -> dict[str, list[dict[str, Any]]]:
    return {
        model._meta.db_table: list(model._base_manager.order_by("pk").values())
        for model in apps.get_app_config("lockers").get_models()
    }


def claimed(task: LockerTask) -> Claim:
    held = task_store.claim(task_id=task.pk)
    assert held is not None
    return held


def a_claim(task: LockerTask, state: CoinState = CoinState.WAITING, **fields: Any) -> Coin:
    """A claim of the task's wallet to a coin."""
    row = Coin.objects.get(serial_number=a_coin(task.wallet, CoinState.INCOMING).serial_number)
    Coin.objects.filter(pk=row.pk).update(task=task, state=state, batch=-1, **fields)
    row.refresh_from_db()
    return row


# Attempts.


def test_marks_are_written_out_of_the_attempts_of_one_task(alice: Wallet) -> None:
    stock(alice, 0, 0)
    held, other = (claimed(put_coins.start(actor=alice, name="alice", units=ONE).task) for _ in range(2))
    for each in (held, other):
        attempt = task_store.open_attempt(held=each, intent=task_store.Intent(Command.PUT, 0, range(25)))
        Attempt.objects.filter(pk=attempt).update(covering="p" * 25)

    task_store.write_marks(held=held)

    assert list(Attempt.objects.filter(task=held.task_id).values_list("covering", flat=True)) == [""]
    assert list(Attempt.objects.filter(task=other.task_id).values_list("covering", flat=True)) == ["p" * 25]
    assert list(Coin.objects.filter(task=held.task_id).values_list("outcome", flat=True)) == ["p" * 25]
    assert list(Coin.objects.filter(task=other.task_id).values_list("outcome", flat=True)) == ["-" * 25]


def test_an_attempt_is_settled_by_its_own_task_alone(alice: Wallet) -> None:
    held, other = (claimed(a_task(alice, TaskKind.ECHO)) for _ in range(2))
    own, foreign = (
        task_store.open_attempt(held=each, intent=task_store.Intent(Command.ECHO, 0, range(25)))
        for each in (held, other)
    )

    settled = [task_store.Settled(each, {0: 241}, "") for each in (own, foreign)]
    task_store.settle(held=held, settled=settled, marks={})

    assert Attempt.objects.get(pk=own).answers == [241, *[None] * 24]
    assert Attempt.objects.get(pk=foreign).answers == [Attempt.Unanswered.SENT] * 25


AWAITED, TIMEOUT = int(Attempt.Unanswered.AWAITED), int(Attempt.Unanswered.TIMEOUT)


@pytest.mark.parametrize(
    ("recorded", "awaited"),
    [
        ([], {}),
        ([(0, "PUT", "", [AWAITED, 241, None])], {0: {0}}),
        ([(0, "FIND", "", [AWAITED, 241, None])], {}),
        ([(0, "PUT", "", [TIMEOUT, 241, None])], {}),
        # The last command to a server counts, whichever it was of several.
        ([(0, "POWN", "", [AWAITED, AWAITED, None]), (0, "POWN", "", [241, None, AWAITED])], {0: {1, 2}}),
        ([(0, "REMOVE", "", [241, AWAITED]), (0, "POWN", "", [AWAITED, None])], {0: {0, 1}}),
        ([(0, "REMOVE", "", [AWAITED, 241]), (1, "REMOVE", "", [241, AWAITED])], {0: {0}, 1: {1}}),
        ([(0, "REMOVE", "", [AWAITED, 241]), (1, "REMOVE", "", [241, 241])], {0: {0}}),
    ],
)
def test_who_was_not_waited_for(recorded: list[Any], awaited: dict[int, set[int]]) -> None:
    assert task_store.not_waited_for(recorded) == awaited


def test_attempts_are_read_in_the_order_in_which_they_were_made(alice: Wallet) -> None:
    """A later one says what became of an earlier one. Those that moved nothing and say nothing of a batch are not."""
    task, other = a_task(alice, TaskKind.TAKE), a_task(alice, TaskKind.TAKE)
    asked: list[tuple[LockerTask, int, str, str]] = [
        (task, 3, "FIND", "p" * 25), (task, 2, "FIND", ""), (task, 1, "POWN", ""), (task, 0, "REMOVE", "n" * 25),
        (other, 0, "REMOVE", "n" * 25),
    ]  # fmt: skip
    for of, ordinal, command, covering in asked:
        Attempt.objects.create(
            task=of, ordinal=ordinal, number=1, command=command, batch=ordinal, answers=[None] * 25, covering=covering
        )

    assert [(batch, *said) for batch, *said, _ in task_store.attempts(task.pk)] == [
        (0, "REMOVE", "n" * 25), (1, "POWN", ""), (3, "FIND", "p" * 25),
    ]  # fmt: skip


def test_a_server_has_answered_with_any_status(alice: Wallet) -> None:
    task, other = a_task(alice, TaskKind.TAKE), a_task(alice, TaskKind.TAKE)
    silent = [each.value for each in Attempt.Unanswered]
    for of, ordinal, answers in (
        (task, 0, [0, 241, None, *silent]), (task, 1, [None, 241, 255]), (other, 0, [None] * 24 + [241]),
    ):  # fmt: skip
        Attempt.objects.create(
            task=of, ordinal=ordinal, number=1, command="REMOVE", batch=0, covering="",
            answers=answers + [None] * (25 - len(answers)),
        )  # fmt: skip

    assert task_results.servers_that_answered(task.pk) == 3


@pytest.mark.parametrize("command", [each for each in Command if each.name in ("PUT", "POWN", "REMOVE", "FIND", "FIX")])
@pytest.mark.parametrize("grace", [None, NO_GRACE])
@pytest.mark.parametrize("back", [False, True])
def test_late_answers_are_heard_of_commands_that_move_coins_forward_and_end_early(
    command: Command, grace: Any, back: bool
) -> None:
    """A coin that was taken back out of a locker is at its old number: its late answer means the opposite."""
    request = Request(command, 0, (), grace=grace, back=back)
    run: Any = SimpleNamespace(task=SimpleNamespace(id=UUID(int=1)))

    hearing = TaskRun._listen(run, request, {}, 1)

    is_heard = command.name in ("PUT", "POWN", "REMOVE") and grace is not None and not back
    assert (hearing is not None) is is_heard
    if hearing is not None:
        hearing.over()
    assert listening.is_quiet()


@pytest.mark.parametrize(
    ("marks", "are_stored"),
    [((), True), (("p13 f12",), True), (("p12 f13",), False), (("p13 f12", "p25"), True), (("p25", "p12 n13"), False)],
)
def test_a_batch_is_stored_when_13_servers_have_each_coin(marks: tuple[str, ...], are_stored: bool) -> None:
    coins: Any = [SimpleNamespace(marks=at(each)) for each in marks]

    assert broadcast.all_stored(coins) is are_stored


def test_progress_is_shared_out_among_batches_without_a_gap() -> None:
    assert [broadcast.share(10, 90, position, 3) for position in range(3)] == [(10, 36), (36, 63), (63, 90)]


# Claims that wait.


def test_what_a_task_leaves_adds_up_and_of_no_other_task(alice: Wallet, bob: Wallet) -> None:
    task, neighbour = a_task(alice, TaskKind.TAKE), a_task(bob, TaskKind.TAKE)
    LockerTask.objects.filter(pk=task.pk).update(plan={"from": "x"})
    untouched = LockerTask.objects.filter(pk=neighbour.pk).values().get()

    competing_claims.note_left(task.pk, 5)
    competing_claims.note_left(task.pk, 7)

    assert LockerTask.objects.get(pk=task.pk).plan == {"from": "x", "left": 12}
    assert LockerTask.objects.filter(pk=neighbour.pk).values().get() == untouched


def test_a_task_whose_claims_still_wait_is_parked_without_its_lease_and_with_its_deadline(
    alice: Wallet, bob: Wallet
) -> None:
    task = a_task(alice, TaskKind.IMPORT)
    row = a_claim(task)
    earlier = a_claim(a_task(bob, TaskKind.IMPORT), CoinState.INCOMING)
    Coin.objects.filter(pk=earlier.pk).update(serial_number=row.serial_number)
    held = claimed(task)
    before = LockerTask.objects.get(pk=task.pk)

    assert competing_claims.promote_waiting(held=held) is False

    after = LockerTask.objects.get(pk=task.pk)
    assert (after.is_parked, after.lease_until, after.step, after.deadline) == (
        True,
        None,
        Step.WAITING,
        before.deadline,
    )
    assert Coin.objects.get(pk=row.pk).state == CoinState.WAITING


def test_a_claim_that_another_transaction_came_before_waits_on(alice: Wallet) -> None:
    """The constraint stands for it: what the other has committed is not in the snapshot of the promotion."""
    task = a_task(alice, TaskKind.IMPORT)
    row = a_claim(task)
    held = claimed(task)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION pg_temp.come_before() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE unique_violation USING MESSAGE = 'coin_is_held_once'; END $$;"
            "CREATE TRIGGER come_before BEFORE UPDATE ON lockers_coin FOR EACH ROW"
            " WHEN (NEW.state = 'incoming') EXECUTE FUNCTION pg_temp.come_before()"
        )

    assert competing_claims.promote_waiting(held=held) is False

    after = LockerTask.objects.get(pk=task.pk)
    assert (after.is_parked, after.lease_until, after.state) == (True, None, TaskState.RUNNING)
    assert Coin.objects.get(pk=row.pk).state == CoinState.WAITING


def test_promoted_claims_lengthen_a_deadline_and_never_shorten_one(alice: Wallet) -> None:
    for deadline, grows in (("2099-01-01T00:00Z", False), ("2026-01-01T00:00Z", True)):
        task = a_task(alice, TaskKind.IMPORT)
        a_claim(task)
        LockerTask.objects.filter(pk=task.pk).update(deadline=deadline, is_long=True, plan={"left": 3})
        before = LockerTask.objects.get(pk=task.pk)

        assert competing_claims.promote_waiting(held=claimed(task)) is True

        after = LockerTask.objects.get(pk=task.pk)
        assert after.deadline > before.deadline if grows else after.deadline == before.deadline
        assert (after.is_long, after.is_parked, after.plan) == (False, False, {"left": 3})
        assert after.lease_until is not None


def test_the_plan_names_the_batches_of_promoted_claims_with_two_numbers(alice: Wallet) -> None:
    """Or the import powns such a coin with the first number of its file, which a server may have replaced."""
    task = a_task(alice, TaskKind.IMPORT)
    LockerTask.objects.filter(pk=task.pk).update(plan={"left": 3})
    for batch in (competing_claims.WAITING_BATCH, competing_claims.WAITING_WITH_TWO_SECRETS):
        Coin.objects.filter(pk=a_claim(task).pk).update(batch=batch)

    assert competing_claims.promote_waiting(held=claimed(task)) is True

    assert LockerTask.objects.get(pk=task.pk).plan == {"left": 3, "two_secrets": [1]}
    assert task_store.batches(task_id=task.pk) == [0, 1]


def test_what_an_import_leaves_out_is_in_batches_of_its_own(alice: Wallet) -> None:
    task, other = a_task(alice, TaskKind.IMPORT), a_task(alice, TaskKind.IMPORT)
    rows = [a_claim(each, CoinState.INCOMING) for each in (task, task, task, other)]
    for row, batch in zip(rows, (1, 2, 0, 1), strict=True):
        Coin.objects.filter(pk=row.pk).update(batch=batch)

    assert import_.left_out(task_id=task.pk, batches=[1, 2]) == (
        2,
        [{"sn": number, "denomination": 0} for number in sorted(row.serial_number for row in rows[:2])],
    )


@pytest.mark.parametrize("begun", [None, "2026-01-01T00:00:00+00:00"])
def test_a_task_that_goes_on_waiting_waits_since_the_first_one_did(
    begun: str | None, alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a forger who repeats claims makes the owner wait for ever, an hour at a time."""
    # So that each coin counts for the deadline.
    monkeypatch.setattr(task_store, "BATCH_COINS", 1)
    task = a_task(alice, TaskKind.TAKE)
    code = vault.seal_task_code("A-CODE", task_id=task.pk)
    plan = {} if begun is None else {"waits_since": begun}
    LockerTask.objects.filter(pk=task.pk).update(
        code=code, plan=plan | {"left": 9}, tag="rent", result={"spelling": 1, "raida": "p" * 25}, is_long=True,
        actor=bob, request_id="r-7",
    )  # fmt: skip
    task.refresh_from_db()
    row, own = a_claim(task), a_claim(task, CoinState.INCOMING)
    now = timezone.now()

    left = finalize.leave_waiting(task, waits_on=True)

    successor = LockerTask.objects.exclude(pk=task.pk).filter(kind=TaskKind.TAKE).get()
    assert (left.units, left.waiting, left.successor_id) == (9, ONE, successor.pk)
    since = successor.plan.pop("waits_since")
    assert successor.plan == {}
    assert since == begun if begun else now <= timezone.datetime.fromisoformat(since) <= timezone.now()
    patience = competing_claims.PATIENCE + task_store.time_for(1)
    assert successor.deadline == timezone.datetime.fromisoformat(since) + patience
    assert (successor.is_parked, successor.step, successor.tag) == (True, Step.WAITING, "rent")
    assert (successor.result, vault.task_code(successor)) == ({"spelling": 1}, "A-CODE")
    for name in ("wallet_id", "actor_id", "locker_id", "request_id"):
        assert getattr(successor, name) == getattr(task, name)
    assert [Coin.objects.get(pk=each.pk).task_id for each in (row, own)] == [successor.pk, task.pk]


@pytest.mark.parametrize("pays", [True, False])
def test_the_task_that_goes_on_waiting_goes_on_paying(pays: bool, alice: Wallet) -> None:
    task, other = a_task(alice, TaskKind.TAKE), a_task(alice, TaskKind.TAKE)
    request = PaymentRequest.objects.create(wallet=alice, actor=alice, amount=9 * ONE, mode=PaymentMode.PARTIAL)
    # Without a login, so that its payer's limits are its own.
    plan = {"payment_request": str(request.pk), "anonymous": True} if pays else {}
    LockerTask.objects.filter(pk=task.pk).update(code=vault.seal_task_code("A-CODE", task_id=task.pk), plan=plan)
    for each in (task, other) if pays else (other,):
        Payment.objects.create(request=request, task=each, expected=4 * ONE)
    a_claim(task)
    a_claim(task, CoinState.INCOMING)
    task.refresh_from_db()

    successor = finalize.leave_waiting(task, waits_on=True).successor_id

    expected = {other.pk: 4 * ONE} | ({task.pk: 4 * ONE, successor: ONE} if pays else {})
    assert dict(Payment.objects.values_list("task_id", "expected")) == expected
    assert LockerTask.objects.get(pk=successor).plan.items() >= plan.items()
    assert {*Payment.objects.values_list("request_id", "state", "units", "is_late")} == {
        (request.pk, "pending", 0, False)
    }


def test_of_coins_that_another_took_those_that_came_back_meanwhile_stay(alice: Wallet) -> None:
    """They are looked for while no lock is held: a coin may be spendable again, or in another task's hands."""
    rows = []
    for state in (CoinState.LOCKED, CoinState.BANK, CoinState.LIMBO, CoinState.EXPORTED, CoinState.LOCKED):
        rows.append(Coin.objects.get(serial_number=a_coin(alice, state).serial_number))
    before = {row.pk: row.state for row in rows}

    assert finalize._note_taken([row.pk for row in rows[:4]]) == ONE

    assert dict(Coin.objects.values_list("pk", "state")) == before | {rows[0].pk: "sent"}


@pytest.mark.parametrize(("in_limbo", "unknown"), [(0, 3), (1, 2), (3, 0), (4, 0)])
def test_what_is_left_in_an_expired_locker_is_not_known_but_for_what_is_in_limbo(
    in_limbo: int, unknown: int, alice: Wallet
) -> None:
    task = a_task(alice, TaskKind.TAKE)
    task.locker = Locker.objects.create(wallet=alice, amount=1, code=b"")
    locked = [a_coin(alice, CoinState.LOCKED).serial_number for _ in range(4)]
    Coin.objects.filter(serial_number__in=locked[:3]).update(locker=task.locker)
    Coin.objects.filter(serial_number=a_coin(alice, CoinState.SENT).serial_number).update(locker=task.locker)
    tally = Tally.empty()
    tally.add(CoinState.LIMBO, {0: in_limbo})
    tally.add(CoinState.BANK, {0: 7})

    assert finalize._rest(task, tally, 5) == Rest(taken=5, unknown=unknown * ONE)


@pytest.mark.parametrize("kind", [TaskKind.TAKE, TaskKind.IMPORT])
@pytest.mark.parametrize("waits_on", [True, False])
def test_a_task_that_ends_leaves_no_claim_behind(kind: TaskKind, waits_on: bool, alice: Wallet) -> None:
    task, neighbour = a_task(alice, kind), a_task(alice, kind)
    LockerTask.objects.filter(pk=task.pk).update(code=vault.seal_task_code("A-CODE", task_id=task.pk))
    row, other = a_claim(task), a_claim(neighbour)

    finalize.conclude(held=claimed(task), waits_on=waits_on)

    assert LockerTask.objects.get(pk=task.pk).state == TaskState.ERROR
    successors = LockerTask.objects.filter(plan__has_key="waits_since")
    assert len(successors) == waits_on
    left = [(other.pk, neighbour.pk), *((row.pk, successor.pk) for successor in successors)]
    assert dict(Coin.objects.values_list("pk", "task")) == dict(left)


# Lockers.


@pytest.mark.parametrize(
    ("states", "after"),
    [
        ([], "failed"),
        (["locked"], "filled"),
        (["limbo"], "unknown"),
        (["bank"], "unknown"),
        (["fracked"], "unknown"),
        (["sent"], "emptied"),
        (["sent", "sent"], "emptied"),
        (["counterfeit"], "failed"),
        (["locked", "limbo", "bank", "sent"], "filled"),
        (["limbo", "sent"], "unknown"),
        (["fracked", "sent"], "unknown"),
        (["sent", "counterfeit"], "emptied"),
    ],
)
def test_a_locker_is_what_its_coins_say(states: list[str], after: str, alice: Wallet) -> None:
    locker, neighbour = (Locker.objects.create(wallet=alice, amount=1, code=b"") for _ in range(2))
    for state in states:
        row = Coin.objects.filter(serial_number=a_coin(alice, CoinState.BANK).serial_number)
        row.update(state=state, locker=locker)
    a_coin(alice, CoinState.LOCKED)

    for before in LockerState:
        due = datetime(2099, 1, 1, tzinfo=UTC)
        Locker.objects.filter(pk__in=[locker.pk, neighbour.pk]).update(state=before, expires_at=due, take_back_at=due)
        untouched = Locker.objects.filter(pk=neighbour.pk).values().get()

        finalize._settle_lockers({locker.pk})

        # Nothing of a locker that holds nothing is taken back.
        is_due = before == after or after not in ("emptied", "failed")
        row = Locker.objects.get(pk=locker.pk)
        assert (row.state, row.take_back_at) == (after, due if is_due else None)
        assert Locker.objects.filter(pk=neighbour.pk).values().get() == untouched


def test_takes_of_other_lockers_do_not_keep_an_expired_one_from_being_taken_back(alice: Wallet, bob: Wallet) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    for _ in range(2):
        locker = Locker(wallet=alice, amount=1, state=LockerState.FILLED, expires_at=past, take_back_at=past)
        locker.code = vault.seal_locker_code("A-CODE", locker_id=locker.pk)
        locker.save(force_insert=True)
    for wallet in (alice, bob):
        a_task(wallet, TaskKind.TAKE)

    (begun,) = take_back.start_due(limit=1)

    assert LockerTask.objects.get(pk=begun).locker is not None
    assert take_back.start_due(limit=1) == []


@pytest.mark.parametrize("state", LockerState)
def test_the_code_of_a_locker_is_given_while_it_is_filled(state: LockerState, alice: Wallet) -> None:
    """In any other state it is unknown whether the code opens anything."""
    locker = Locker(wallet=alice, amount=1, state=state)
    locker.code = vault.seal_locker_code("A-CODE", locker_id=locker.pk)
    locker.save(force_insert=True)

    if state is LockerState.FILLED:
        assert queries.locker_code(actor=alice, locker_id=locker.pk) == "A-CODE"
    else:
        with pytest.raises(errors.LockerNotFilled, match=f"this one is {state}"):
            queries.locker_code(actor=alice, locker_id=locker.pk)


def test_coins_of_a_put_that_sent_nothing_are_in_no_locker(alice: Wallet) -> None:
    stock(alice, 0, 0)
    task, other = (put_coins.start(actor=alice, name="alice", units=ONE).task for _ in range(2))
    (row,) = Coin.objects.filter(task=other).values()

    finalize.conclude(held=claimed(task))

    (coin,) = Coin.objects.exclude(pk=row["id"])
    assert (coin.state, coin.locker_id, coin.task_id, coin.batch, coin.outcome) == ("bank", None, None, None, "")
    assert list(Locker.objects.order_by("created_at").values_list("state", flat=True)) == ["failed", "filling"]
    assert Coin.objects.filter(pk=row["id"]).values().get() == row


@pytest.mark.parametrize(
    ("kind", "marks", "state", "has_left"),
    [
        (TaskKind.IMPORT, "p25", CoinState.BANK, True),
        (TaskKind.IMPORT, "p13 f12", CoinState.FRACKED, True),
        # A forger's claim takes nothing out of a locker or a file.
        (TaskKind.IMPORT, "f25", CoinState.COUNTERFEIT, False),
        (TaskKind.IMPORT, "n25", CoinState.LIMBO, False),
        (TaskKind.IMPORT, "e25", CoinState.ERRORED, False),
        (TaskKind.TAKE, "p25", CoinState.BANK, True),
        (TaskKind.TAKE, "f25", CoinState.MISSED, False),
        (TaskKind.TAKE, "n25", CoinState.LIMBO, False),
    ],
)
@pytest.mark.parametrize("stored", [CoinState.LOCKED, CoinState.EXPORTED])
def test_a_coin_leaves_a_locker_or_a_file_when_a_wallet_has_it(
    stored: CoinState, kind: TaskKind, marks: str, state: CoinState, has_left: bool, alice: Wallet, bob: Wallet
) -> None:
    task = a_task(bob, kind)
    there = a_coin(alice, stored)
    row = a_claim(task, CoinState.INCOMING, origin=kind, outcome=at(marks), serial_number=there.serial_number)
    Coin.objects.filter(pk=row.pk).update(batch=0)
    a_coin(alice, stored)

    finalize.conclude(held=claimed(task))

    assert Coin.objects.get(pk=row.pk).state == state
    assert [each.state for each in Coin.objects.filter(wallet=alice).order_by("serial_number")] == [
        "sent" if has_left else stored,
        stored,
    ]


def test_the_audit_finds_a_locker_that_says_too_little_and_one_that_says_too_much(alice: Wallet) -> None:
    rule = "locker that is filled holds coins"
    Coin.objects.filter(serial_number=a_coin(alice, CoinState.LOCKED).serial_number).update(state="sent")
    for state, is_found in (("emptied", False), ("filled", True)):
        Locker.objects.update(state=state)
        assert (rule in {each.check for each in audit.audit_findings()}) is is_found
    Coin.objects.update(state="locked")
    for state, is_found in (("emptied", True), ("unknown", True), ("failed", True), ("filled", False)):
        Locker.objects.update(state=state)
        assert (rule in {each.check for each in audit.audit_findings()}) is is_found


@pytest.mark.parametrize(("is_of_a_break", "total", "is_found"), [
    (False, 0, True), (False, None, True), (False, ONE, False),
    (True, 0, False), (True, None, False), (True, ONE, True),
])  # fmt: skip
def test_the_audit_compares_what_a_put_says_is_unknown_without_the_coin_of_its_break(
    is_of_a_break: bool, total: int | None, is_found: bool, alice: Wallet
) -> None:
    """A coin that may have been broken was not on its way into the locker."""
    coin = a_coin(alice, CoinState.LIMBO)
    if is_of_a_break:
        Coin.objects.update(family=F("id"))
    task = a_task(alice, TaskKind.PUT)
    LockerTask.objects.update(
        state=TaskState.ERROR, finished_at=Now(), result={} if total is None else {"total_unknown": total}
    )
    ReceiptLine.objects.create(
        task=task, denomination=0, serial_number=coin.serial_number, pown="n" * 25, state=CoinState.LIMBO
    )

    found = {finding.check for finding in audit.audit_findings()}

    assert ("task says that coins are unknown while they are" in found) is is_found


def test_a_line_that_is_in_doubt_for_another_reason_is_settled_later_and_once(alice: Wallet) -> None:
    task, later = a_task(alice, TaskKind.PUT), a_task(alice, TaskKind.FIND)
    line = ReceiptLine.objects.create(task=task, denomination=0, serial_number=1, pown="n" * 25, state="limbo")
    lines = ReceiptLine.objects.filter(pk=line.pk)

    lines.update(became="errored")
    lines.update(became="limbo")
    lines.update(became="bank", settled_by=later)

    for change in ({"became": "locked"}, {"settled_by": task}, {"became": None, "settled_by": None}):
        with pytest.raises(IntegrityError, match="what settled a coin is never altered"), transaction.atomic():
            lines.update(**change)
    assert lines.values_list("became", "settled_by").get() == ("bank", later.pk)


@pytest.mark.parametrize("kind", [TaskKind.PUT, TaskKind.TAKE, TaskKind.FIND])
def test_a_locker_is_repaired_when_a_single_server_lacks_a_coin(kind: TaskKind, alice: Wallet) -> None:
    task = a_task(alice, kind)
    ids = {UUID(int=1), UUID(int=2)}
    seen = {}
    for state, pown in itertools.product(("locked", "bank", "fracked", "sent", "limbo"), ("p25", "p24 n1", "p13 f12")):
        for batch in (0, -1):
            ended = settle_coins.CoinsOfTask(task)
            ending = coin_outcomes.Ending(CoinState(state), at(pown), at(pown), coin_outcomes.Secrets.OLD)
            alike = settle_coins.Alike({0: 1}, ids)
            ended._add(batch, settle_coins.Kind(True, "locked", at(pown), "", False, kind), alike, ending)
            seen[state, pown, batch] = (ended.passes, ended.to_repair)

    counted = ("locked",) if kind is TaskKind.PUT else ("locked", "bank", "fracked")
    assert seen == {
        (state, pown, batch): (
            {at(pown).count("p")} if state in counted and batch == 0 else set(),
            ids if state == "locked" and batch == 0 and pown != "p25" else set(),
        )
        for state, pown, batch in seen
    }


def test_what_a_take_leaves_out_is_what_a_wallet_holds_or_its_own_tasks_claim(alice: Wallet, bob: Wallet) -> None:
    task = a_task(alice, TaskKind.TAKE)
    coins = [a_coin(bob, CoinState.BANK), a_coin(alice, CoinState.LIMBO), a_coin(alice, CoinState.SENT)]

    first, arrivals = take.reserve_listed(held=claimed(task), wallet_id=alice.pk, coins=coins, keys=numbers(b"k"))

    assert (arrivals.held, arrivals.busy, arrivals.saved.keys()) == ({coins[0]}, {coins[1]}, {coins[2]})
    assert [[piece.coin for piece in pieces] for pieces in first.values()] == [[coins[2]]]
    assert LockerTask.objects.get(pk=task.pk).plan == {"left": 2 * ONE}


def test_a_locker_pays_with_what_is_saved_and_what_waits(
    alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = a_task(alice, TaskKind.TAKE)
    coins = [a_coin(bob, CoinState.BANK), a_coin(bob, CoinState.LIMBO), a_coin(bob, CoinState.SENT)]
    promised: list[Any] = []
    monkeypatch.setattr("lockers.payment_ledger.admit", lambda **promise: promised.append(promise))

    _, arrivals = take.reserve_listed(
        held=claimed(task), wallet_id=alice.pk, coins=coins, keys=numbers(b"k"), pays=True
    )

    assert (arrivals.waiting, arrivals.saved.keys()) == ({coins[1]}, {coins[2]})
    assert promised == [{"task_id": task.pk, "units": 2 * ONE}]
    assert [*Coin.objects.filter(task=task).values_list("origin", flat=True)] == ["take", "take"]


def test_a_take_has_no_first_batch_when_none_of_its_coins_is_saved(alice: Wallet, bob: Wallet) -> None:
    task = a_task(alice, TaskKind.TAKE)

    first, arrivals = take.reserve_listed(
        held=claimed(task), wallet_id=alice.pk, coins=[a_coin(bob, CoinState.BANK)], keys=numbers(b"k")
    )

    assert (first, len(arrivals.held)) == ({}, 1)


def test_a_check_has_time_for_the_coins_that_it_asks_about(alice: Wallet, settings: Any) -> None:
    stock(alice, 0, 0)

    task = check_coins.start(actor=alice, name="alice").task

    # For two coins, not for as many as a check takes at most.
    task.refresh_from_db()
    assert task.deadline - task.created_at < task_store.time_for(health_check.MOST) / 2


@pytest.mark.parametrize(
    ("differs", "ends"),
    [
        ({"outcome": "p" * 13 + "-" * 12}, {("locked", "p13 u12"), ("bank", "p25")}),
        ({"pown": "p" * 24 + "f"}, {("bank", "p24 f1"), ("bank", "p25")}),
        ({"denomination": 1}, {("bank", "p25")}),
    ],
)
def test_coins_of_a_batch_that_differ_in_one_thing_end_apart(
    differs: dict[str, Any], ends: set[tuple[str, str]], alice: Wallet
) -> None:
    stock(alice, 0, 0)
    task = put_coins.start(actor=alice, name="alice", units=2 * ONE).task
    Coin.objects.filter(pk=Coin.objects.order_by("id")[0].pk).update(**differs)

    finalize.conclude(held=claimed(task))

    assert set(Coin.objects.values_list("state", "pown")) == {(state, at(pown)) for state, pown in ends}


@pytest.mark.parametrize(("state", "expected"), [("bank", "bank"), ("limbo", "limbo")])
def test_coins_of_a_batch_that_differ_in_their_state_alone_end_apart(state: str, expected: str, alice: Wallet) -> None:
    """Nothing was sent of either, so each stays what it was."""
    stock(alice, 0, 0)
    task = put_coins.start(actor=alice, name="alice", units=2 * ONE).task
    first, second = Coin.objects.order_by("id")
    Coin.objects.update(pown="p" * 13 + "n" * 12)
    Coin.objects.filter(pk=first.pk).update(state=state, proposed=F("secrets"))
    Coin.objects.filter(pk=second.pk).update(state="fracked")

    finalize.conclude(held=claimed(task))

    assert dict(Coin.objects.values_list("pk", "state")) == {first.pk: expected, second.pk: "fracked"}


@pytest.mark.parametrize(
    ("kind", "stored"), [("put", ["locked", "sent"]), ("take", ["locked", "bank", "fracked"]), ("import", ["bank"])]
)
def test_a_result_counts_the_servers_of_coins_that_were_stored(kind: str, stored: list[str], alice: Wallet) -> None:
    """A coin that was taken out of the locker since was stored all the same."""
    task = a_task(alice, TaskKind(kind))
    others = {"put": ["bank", "counterfeit"], "take": ["missed", "sent"], "import": ["counterfeit"]}[kind]
    for number, state in enumerate([*stored, *others]):
        pown = "p" * (13 + number) + "n" * (12 - number)
        ReceiptLine.objects.create(task=task, denomination=0, serial_number=number, pown=pown, state=state)

    _, _, passes = current_results.as_it_is_now(task)

    assert passes == set(range(13, 13 + len(stored)))


CODE = "A-CODE-THAT-IS-LONG-ENOUGH"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("get", f"/api/v1/locker/{CODE}", None),
        ("post", "/api/v1/locker/peek", {"transmit_code": CODE}),
        ("post", f"/api/v1/locker/{CODE}", {"name": "dora"}),
        ("post", "/api/v1/locker/take", {"name": "dora", "transmit_code": CODE}),
    ],
)
def test_a_task_that_opens_a_locker_knows_from_where_its_code_came(method: str, path: str, body: Any, db: None) -> None:
    """Wrong codes are counted by address too, whichever way they are sent."""
    caller = logged_in("dora", "unused")
    response = caller.get(path) if method == "get" else caller.post(path, body)

    assert response.status_code == 200, response.content
    (task,) = LockerTask.objects.all()
    assert task.plan == {"from": wrong_code_limits.fingerprint("127.0.0.1")}


def test_a_find_has_a_batch_for_each_coin_that_may_be_broken(alice: Wallet) -> None:
    coins = [Coin.objects.get(serial_number=a_coin(alice, CoinState.LIMBO).serial_number) for _ in range(3)]
    for row in coins[:2]:
        Coin.objects.filter(pk=row.pk).update(family=row.pk, denomination=1)
        change = a_coin(alice, CoinState.CHANGE)
        Coin.objects.filter(serial_number=change.serial_number).update(family=row.pk)

    task = find_coins.start(actor=alice, name="alice").task

    batches = {}
    for row in Coin.objects.filter(task=task):
        batches.setdefault(row.batch, []).append(row.family)
    assert sorted(batches) == [-3, -2, 0]
    assert batches[0] == [None]
    assert sorted([*map(str, batches[-2]), *map(str, batches[-3])]) == sorted(str(row.pk) for row in coins[:2] * 2)
    assert all(len(set(batches[batch])) == 1 for batch in (-2, -3))


def test_progress_only_grows_and_stays_below_100_while_a_task_runs(alice: Wallet) -> None:
    task = a_task(alice, TaskKind.ECHO)
    held = claimed(task)
    seen = []
    for progress in (0, 50, 20, 0, 70, 100, 5):
        task_store.advance(held=held, progress=progress)
        seen.append(LockerTask.objects.get(pk=task.pk).progress)

    assert seen == [0, 50, 50, 50, 70, 99, 99]


@pytest.mark.parametrize(
    ("state", "is_wanted"),
    [
        (CoinState.INCOMING, True),
        (CoinState.LIMBO, True),
        (CoinState.ERRORED, True),
        (CoinState.WAITING, True),
        # On its way into a locker: its put decides, and no caller waits longer for it than for others.
        (CoinState.BANK, False),
    ],
)
def test_a_task_goes_first_while_others_wait_for_its_claim(
    state: CoinState, is_wanted: bool, alice: Wallet, bob: Wallet
) -> None:
    task, neighbour = a_task(bob, TaskKind.FIND), a_task(bob, TaskKind.FIND)
    row = a_claim(task, state)
    a_claim(neighbour, state)
    own = a_task(alice, TaskKind.IMPORT)
    Coin.objects.filter(pk=a_claim(own).pk).update(serial_number=row.serial_number)

    competing_claims._want_decided([WireCoin(0, row.serial_number)], own.pk)

    wanted = set(LockerTask.objects.filter(is_wanted=True).values_list("pk", flat=True))
    assert wanted == ({task.pk} if is_wanted else set())


def test_a_hundred_refused_coins_are_named_and_all_are_counted() -> None:
    outcome = coin_import.FileOutcome("f.bin")
    outcome.refused = [(WireCoin(0, number), "why") for number in range(101)]

    told = coin_import.outcome_as_json(outcome)

    assert (told["refused"], len(told["refusals"])) == (101, 100)
    assert told["refusals"][-1] == {"sn": 99, "denomination": 0, "reason": "why"}


def test_a_receipt_is_there_when_its_task_has_ended(alice: Wallet) -> None:
    task = a_task(alice, TaskKind.PUT)
    for _ in range(2):
        with pytest.raises(errors.ReceiptNotFound):
            queries.receipt_visible_to(actor=alice, receipt_id=task.receipt_id)
    LockerTask.objects.filter(pk=task.pk).update(state=TaskState.ERROR, finished_at=Now())

    assert queries.receipt_visible_to(actor=alice, receipt_id=task.receipt_id).task == task


def test_a_wallet_whose_coins_are_being_fixed_is_busy_and_not_empty(alice: Wallet) -> None:
    what: dict[str, Any] = {"actor": alice, "name": "alice", "units": None, "file_type": FileType.BIN}
    with pytest.raises(errors.NotEnoughCoins, match="has no free coins"):
        export_coins.start(**what)
    stock(alice, 0, state=CoinState.FRACKED)
    fix_coins.start(actor=alice, name="alice")
    before = everything()

    with pytest.raises(errors.CoinsBusy, match="are being repaired"):
        export_coins.start(**what)

    assert everything() == before


@pytest.mark.parametrize(("units", "refusal"), [(2 * ONE, errors.CoinsBusy), (2 * ONE + 1, errors.NotEnoughCoins)])
def test_a_wallet_is_busy_while_what_is_being_fixed_covers_the_amount(
    units: int, refusal: type[Exception], alice: Wallet
) -> None:
    stock(alice, 0, state=CoinState.FRACKED)
    fix_coins.start(actor=alice, name="alice")
    stock(alice, 0)
    before = everything()

    with pytest.raises(refusal, match=r"try again|Not enough coins"):
        put_coins.start(actor=alice, name="alice", units=units)

    assert everything() == before


@pytest.mark.parametrize(("board", "listens"), [("w1 p24", True), ("n1 p24", False)])
def test_a_peek_is_listened_for_while_a_server_may_answer(board: str, listens: bool, alice: Wallet) -> None:
    task = a_task(alice, TaskKind.PEEK)
    LockerTask.objects.filter(pk=task.pk).update(listens_until=Now(), result={"raida": at("w2 p23")})
    task.refresh_from_db()

    late_answers._write_board(task, at(board))

    task.refresh_from_db()
    assert (task.result["raida"], task.listens_until is not None) == (at(board), listens)


@pytest.mark.parametrize(
    ("letters", "listens"), [(("w1 p24", "p25"), True), (("p25", "w1 p24"), True), (("n1 p24", "p25"), False)]
)
def test_a_task_is_listened_for_while_one_of_its_coins_may_be_answered(
    letters: tuple[str, str], listens: bool, alice: Wallet
) -> None:
    task = a_task(alice, TaskKind.PUT)
    LockerTask.objects.filter(pk=task.pk).update(
        state=TaskState.COMPLETED, finished_at=Now(), listens_until=Now(), progress=100, step="done"
    )
    for number, each in enumerate(letters, start=1):
        ReceiptLine.objects.create(task=task, denomination=0, serial_number=number, pown=at(each), state="locked")
    # The server 24 has said of the first coin that it holds it, which was known.
    told = {(0, 1): {24: Reply.PASS}}

    late_answers._write_receipt(LockerTask.objects.get(pk=task.pk), told, only="w")

    assert (LockerTask.objects.get(pk=task.pk).listens_until is not None) is listens


def test_the_contents_of_a_wallet_are_counted_by_grade_and_by_denomination(alice: Wallet, bob: Wallet) -> None:
    """Fracked coins may be spent; coins in doubt, of a task, in a locker or in a file, and of others do not count."""
    stock(alice, 0, 0, 1)
    stock(alice, 1, 2, state=CoinState.FRACKED)
    for state in (CoinState.LIMBO, CoinState.LOCKED, CoinState.EXPORTED, CoinState.WAITING, CoinState.COUNTERFEIT):
        a_coin(alice, state)
    (reserved,) = stock(alice, 3)
    Coin.objects.filter(pk=reserved.pk).update(task=a_task(alice, TaskKind.PUT), batch=0, outcome="-" * 25)
    stock(bob, 4)

    mine, his = queries.contents_of(wallet_list=[alice, bob])

    assert (mine.denominations, his.denominations) == ({0: 2, 1: 2, 2: 1}, {4: 1})
    assert mine.balance == 122 * ONE
    assert mine.grades["reserved"] == (1, 1000 * ONE)


@pytest.mark.parametrize(("board", "listens"), [("w1 p24", True), ("n1 p24", False)])
def test_a_task_that_ends_is_listened_for_after_its_end(board: str, listens: bool, alice: Wallet) -> None:
    task = a_task(alice, TaskKind.PEEK)

    finalize.finish(held=claimed(task), state=TaskState.COMPLETED, message="", result={"raida": at(board)})

    task.refresh_from_db()
    assert task.finished_at is not None
    assert task.listens_until == (task.finished_at + late_answers.listening_time() if listens else None)


def test_a_late_answer_is_written_on_its_own_coin_and_only_if_that_has_not_changed(alice: Wallet) -> None:
    """All have the same letters, so that the coin is found by its id alone."""
    numbers = [a_coin(alice, CoinState.LOCKED).serial_number for _ in range(4)]
    Coin.objects.filter(serial_number__in=numbers).update(pown=at("n1 p24"))
    heard, neighbour, changed, taken = Coin.objects.filter(serial_number__in=numbers).order_by("serial_number")
    Coin.objects.filter(pk=changed.pk).update(pown=at("n2 p23"))
    Coin.objects.filter(pk=taken.pk).update(state=CoinState.SENT)

    said = {row.pk: {0: Reply.PASS} for row in (heard, changed, taken)}
    late_answers._write_stored([heard, changed, taken], said, only="n")

    letters = dict(Coin.objects.values_list("pk", "pown"))
    assert letters == {
        heard.pk: at("p25"), neighbour.pk: at("n1 p24"), changed.pk: at("n2 p23"), taken.pk: at("n1 p24"),
    }  # fmt: skip


def test_a_server_without_a_coin_of_a_locker_is_noted_only_if_the_coin_has_not_changed(alice: Wallet) -> None:
    """It is not noted if the coin left, or if a server said more about it. Only its locker is repaired."""
    rows = [Coin.objects.get(serial_number=a_coin(alice, CoinState.LOCKED).serial_number) for _ in range(5)]
    heard, whole, changed, left, later = rows
    Coin.objects.update(pown=at("p25"))
    told_of = list(Coin.objects.filter(pk__in=[row.pk for row in rows]).order_by("serial_number"))
    Coin.objects.filter(pk=changed.pk).update(pown=at("p24 n1"))
    Coin.objects.filter(pk=left.pk).update(state=CoinState.SENT)
    Coin.objects.filter(pk=later.pk).update(changed_at=Now() + timedelta(seconds=1))
    Locker.objects.update(mend_at=None, mends=3)
    before = dict(Coin.objects.values_list("pk", "pown"))

    health_check.record_locked(
        told_of, [{0: Reply.HAS_NEW if row.pk == whole.pk else Reply.HAS_OLD} for row in told_of]
    )

    after = dict(Coin.objects.values_list("pk", "pown"))
    assert {pk: pown for pk, pown in after.items() if before[pk] != pown} == {heard.pk: at("f1 p24")}
    mended = Locker.objects.exclude(mend_at=None).values_list("pk", "mends")
    assert list(mended) == [(Coin.objects.get(pk=heard.pk).locker_id, 0)]
    assert set(Locker.objects.filter(mend_at=None).values_list("mends", flat=True)) == {3}


def test_a_refusal_is_recorded_of_a_coin_that_is_as_it_was_read(alice: Wallet) -> None:
    mine, other = a_task(alice, TaskKind.FIX), a_task(alice, TaskKind.PUT)
    reserved = {"batch": 0, "outcome": "-" * 25}
    changes: list[tuple[dict[str, Any], bool]] = [
        ({}, True),
        ({"task": mine, **reserved}, True),
        ({"task": other, **reserved}, False),
        ({"pown": at("p24 f1")}, False),
        ({"changed_at": Now() + timedelta(seconds=1)}, False),
        ({"state": CoinState.SENT}, False),
    ]
    stock(alice, *[0] * len(changes))
    rows = list(Coin.objects.order_by("pk"))
    for row, (change, _) in zip(rows, changes, strict=True):
        Coin.objects.filter(pk=row.pk).update(**change)
    before = list(Coin.objects.order_by("pk").values())

    health_check.record(rows, [{0: Reply.FAIL, **dict.fromkeys(range(1, 25), Reply.PASS)}] * 6, task_id=mine.pk)

    after = list(Coin.objects.order_by("pk").values())
    noted = [(was["pown"], now["pown"], now["state"]) for was, now in zip(before, after, strict=True) if was != now]
    assert [was != now for was, now in zip(before, after, strict=True)] == [is_noted for _, is_noted in changes]
    assert noted == [(at("p25"), at("f1 p24"), "fracked")] * 2


def test_a_late_answer_moves_its_own_coin_and_only_if_that_has_not_moved(alice: Wallet) -> None:
    task = a_task(alice, TaskKind.TAKE)
    LockerTask.objects.filter(pk=task.pk).update(
        state=TaskState.COMPLETED, finished_at=Now(), progress=100, step="done"
    )
    task.refresh_from_db()
    numbers = [a_coin(alice, CoinState.FRACKED).serial_number for _ in range(5)]
    rows = Coin.objects.filter(serial_number__in=numbers).order_by("serial_number")
    rows.update(pown=at("n1 p24"), changed_at=task.finished_at)
    heard, neighbour, later, resealed, reserved = rows
    Coin.objects.filter(pk=later.pk).update(changed_at=task.finished_at + timedelta(seconds=1))
    Coin.objects.filter(pk=resealed.pk).update(secrets=vault.seal_numbers(vault.fresh_numbers(), coin_id=resealed.pk))
    Coin.objects.filter(pk=reserved.pk).update(task=a_task(alice, TaskKind.PUT), batch=0, outcome="-" * 25)
    before = {row["id"]: row for row in rows.values()}

    said = {row.pk: {0: Reply.PASS} for row in (heard, later, resealed, reserved)}
    late_answers._write_arrived(task, [heard, later, resealed, reserved], said)

    after = {row["id"]: row for row in rows.values()}
    assert [pk for pk in before if before[pk] != after[pk]] == [heard.pk]
    assert (after[heard.pk]["pown"], after[heard.pk]["state"], after[heard.pk]["proposed"]) == (at("p25"), "bank", None)
    assert (
        vault.open_numbers(after[heard.pk]["secrets"], coin_id=heard.pk)[0]
        == (vault.open_numbers(before[heard.pk]["proposed"], coin_id=heard.pk)[0])
    )
    assert neighbour.pk in after


def test_a_coin_that_was_not_broken_has_no_family(alice: Wallet) -> None:
    """Or a find would take it for one that may have been broken, whatever left it in limbo."""
    row, neighbour = stock(alice, 1, 1)
    task = break_coins.start(actor=alice, name="alice", denomination=1).task
    other = break_coins.start(actor=alice, name="alice", denomination=1).task

    coin_breaks.settle(task=task, batch=FIRST_BREAK, keep=False)

    families = dict(Coin.objects.values_list("task", "family"))
    assert families.keys() == {None, other.pk}
    assert families[None] is None
    assert families[other.pk] in (row.pk, neighbour.pk)


# What an operator may undo.


@pytest.mark.parametrize("expires", [False, True])
def test_a_put_that_is_begun_again_expires_when_the_first_one_would_have(expires: bool, alice: Wallet) -> None:
    stock(alice, 0)
    at_time = timezone.now() + timedelta(hours=1) if expires else None
    task = put_coins.start(actor=alice, name="alice", units=ONE, tag="rent", expires_at=at_time).task
    finalize.conclude(held=claimed(task))

    again = task_recovery.retry(LockerTask.objects.get(pk=task.pk))

    assert (again.kind, again.amount, again.tag) == ("put", ONE, "rent")
    assert again.locker is not None
    assert again.locker_id != task.locker_id
    assert (again.locker.expires_at, again.locker.take_back_at) == (at_time, at_time)


@pytest.mark.parametrize("kind", TaskKind)
def test_a_task_that_is_begun_again_is_of_the_same_kind_and_wallet(kind: TaskKind, alice: Wallet) -> None:
    """Whatever its caller was: the operator begins it for the wallet."""
    stock(alice, 1)
    stock(alice, 0, state=CoinState.LIMBO)
    Coin.objects.filter(pk=stock(alice, 0, state=CoinState.FRACKED)[0].pk).update(pown=at("p24 f1"))
    task = a_task(alice, kind)
    LockerTask.objects.filter(pk=task.pk).update(
        state=TaskState.ERROR, step="done", finished_at=Now(), amount=10 * ONE, tag="rent",
        code=vault.seal_task_code("A-CODE", task_id=task.pk),
    )  # fmt: skip
    task = LockerTask.objects.get(pk=task.pk)
    number = LockerTask.objects.count()

    if kind in (TaskKind.TRANSFER, TaskKind.EXPORT, TaskKind.IMPORT):
        with pytest.raises(NotPossible, match=kind):
            task_recovery.retry(task)
        assert LockerTask.objects.count() == number
        return
    again = task_recovery.retry(task)

    assert again.pk != task.pk
    assert (again.kind, again.wallet_id, again.actor_id) == (kind, alice.pk, alice.pk)
    has_code, has_tag = kind in (TaskKind.TAKE, TaskKind.PEEK), kind in (TaskKind.TAKE, TaskKind.PUT)
    assert (again.tag == "rent") is has_tag
    assert not has_code or vault.task_code(again) == "A-CODE"
    assert kind is not TaskKind.BREAK or Coin.objects.get(task=again).denomination == 1


def test_the_checks_of_a_wallet_are_those_of_its_coins_at_rest(alice: Wallet, bob: Wallet) -> None:
    early, late = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))
    changes: list[dict[str, Any]] = [
        {"pown": at("p19 f6")},
        {"pown": at("p20 f5"), "checked_at": early},
        {"checked_at": late},
        {"pown": at("p13 f12"), "task": a_task(alice, TaskKind.FIX), "batch": 0, "outcome": "-" * 25},
        {"pown": at("p13 f12"), "state": CoinState.LIMBO, "proposed": F("secrets")},
        {"pown": at("p13 f12"), "wallet": bob},
    ]
    for row, change in zip(stock(alice, *[0] * len(changes)), changes, strict=True):
        Coin.objects.filter(pk=row.pk).update(**change)

    assert reports.checks_of(wallet_id=alice.pk) == reports.Checks(thin=1, unchecked=1, oldest=early)
    assert reports.checks_of(wallet_id=bob.pk) == reports.Checks(thin=1, unchecked=1, oldest=None)
    Coin.objects.filter(wallet=bob).update(wallet=alice)
    assert reports.checks_of(wallet_id=bob.pk) is None


def test_a_file_is_recalled_until_it_has_arrived(alice: Wallet) -> None:
    stock(alice, 0)
    task = export_coins.start(actor=alice, name="alice", units=ONE, file_type=FileType.BIN).task
    assert task_recovery.why_not_roll_back(LockerTask.objects.get(pk=task.pk)) == ""
    Coin.objects.update(state="sent")
    assert task_recovery.why_not_roll_back(LockerTask.objects.get(pk=task.pk)) == "all coins of its file have returned"
    Coin.objects.update(state="exported")

    export_coins.confirm(actor=alice, export_id=task.pk)

    assert task_recovery.why_not_roll_back(LockerTask.objects.get(pk=task.pk)) == "its file was confirmed as received"


@pytest.mark.parametrize(
    ("locker", "why"),
    [
        (None, "none of its coins is in a locker"),
        ("filling", "none of its coins is in a locker"),
        ("failed", "none of its coins is in a locker"),
        ("emptied", "none of its coins is in a locker"),
        ("unknown", "the contents of its locker are unknown: start a find first"),
        ("filled", ""),
    ],
)
def test_a_put_is_undone_while_its_locker_is_filled(locker: str | None, why: str, alice: Wallet) -> None:
    task = a_task(alice, TaskKind.PUT)
    assert task_recovery.why_not_roll_back(task) == ""
    LockerTask.objects.filter(pk=task.pk).update(lease_until=Now() + timedelta(minutes=1))
    assert task_recovery.why_not_roll_back(LockerTask.objects.get(pk=task.pk)) == "a worker is processing it"
    LockerTask.objects.filter(pk=task.pk).update(
        state=TaskState.ERROR, finished_at=Now(), lease_until=None,
        locker=None if locker is None else Locker.objects.create(wallet=alice, amount=1, code=b"", state=locker),
    )  # fmt: skip

    assert task_recovery.why_not_roll_back(LockerTask.objects.get(pk=task.pk)) == why


# Keys of requests.


def numbers(letter: bytes) -> tuple[bytes, ...]:
    return tuple(letter * 15 + bytes([raida]) for raida in range(25))


def test_each_request_is_encrypted_with_a_number_that_the_server_holds(settings: Any) -> None:
    """Server 0 holds the number of the key coin, server 1 is not known to, server 2 gets no request."""
    coin, key = WireCoin(0, 1), WireCoin(0, 2)
    pieces: Any = [SimpleNamespace(coin=coin, old=numbers(b"o"), new=numbers(b"n"))]
    with_numbers = {"PUT", "POWN", "DETECT", "FIND", "GET_TICKET", "FIX", "BREAK", "JOIN"}

    for command, has_key_coin, back, plaintext in itertools.product(
        Command, (False, True), (False, True), ("fallback", "never", "allowed")
    ):
        settings.RAIDA_PLAINTEXT = plaintext
        key_coin = request_encryption.KeyCoin(key, "p" + "n" * 24, numbers(b"k")) if has_key_coin else None
        own = numbers(b"n" if back else b"o")
        expected = {}
        if command is Command.REMOVE:
            expected = {raida: with_locker_key(own[raida]) for raida in (0, 1)}
        elif command.name in with_numbers:
            if command is Command.PUT or plaintext == "never":
                expected = {raida: with_coin(coin, own[raida]) for raida in (0, 1)}
            if has_key_coin:
                expected[0] = with_coin(key, numbers(b"k")[0])

        found = request_encryption.ciphers(command, pieces, {0: (0,), 1: (0,)}, key_coin=key_coin, back=back)

        assert found == expected, (command, has_key_coin, back, plaintext)


@pytest.mark.parametrize("state", [CoinState.FRACKED, CoinState.LIMBO, CoinState.LOCKED, CoinState.ERRORED])
def test_the_key_coin_is_the_free_whole_coin_of_least_value(state: CoinState, alice: Wallet, bob: Wallet) -> None:
    stock(bob, -8)
    large, small, reserved = stock(alice, 1, 0, -1)
    Coin.objects.filter(pk=reserved.pk).update(task=a_task(alice, TaskKind.FIND), batch=0, outcome="-" * 25)
    other = Coin.objects.filter(serial_number=a_coin(alice, state).serial_number)
    other.update(denomination=-2)

    found = request_encryption.key_coin_of(alice.pk)

    assert found is not None
    assert (found.coin, found.pown) == (WireCoin(0, small.serial_number), "p" * 25)
    assert found.numbers == vault.open_numbers(small.secrets, coin_id=small.pk)
    Coin.objects.filter(pk=small.pk).update(secrets=b"x")
    assert request_encryption.key_coin_of(alice.pk) is None
    Coin.objects.filter(pk__in=[large.pk, small.pk]).update(state="sent")
    assert request_encryption.key_coin_of(alice.pk) is None


# Files.


def test_a_worker_that_has_read_files_deletes_its_own(alice: Wallet) -> None:
    task, neighbour = a_task(alice, TaskKind.IMPORT), a_task(alice, TaskKind.IMPORT)
    for each in (task, neighbour):
        Upload.objects.create(pk=each.pk, content=vault.seal_upload([("f.bin", b"x")], task_id=each.pk))
    found = coin_import.read([("f.bin", b"x")])

    import_.end_reading(
        held=claimed(task),
        save=lambda: coin_import.save(found, task_id=task.pk, wallet_id=alice.pk),
        two_secrets=[],
        files=list,
    )

    assert list(Upload.objects.values_list("pk", flat=True)) == [neighbour.pk]


def test_the_lease_of_a_worker_that_reads_files_lasts_a_minute(alice: Wallet) -> None:
    task, neighbour = a_task(alice, TaskKind.IMPORT), a_task(alice, TaskKind.IMPORT)
    Upload.objects.create(pk=task.pk, content=b"sealed")
    held = claimed(task)
    untouched = LockerTask.objects.filter(pk=neighbour.pk).values().get()

    assert import_.begin_reading(held=held) == b"sealed"

    lease = LockerTask.objects.filter(pk=task.pk).values_list("lease_until", flat=True).get()
    assert lease is not None
    assert timedelta(seconds=55) < lease - timezone.now() <= timedelta(seconds=60)
    assert LockerTask.objects.filter(pk=neighbour.pk).values().get() == untouched


def test_one_file_of_a_wallet_is_confirmed_and_the_others_are_not(alice: Wallet) -> None:
    stock(alice, 0, 0)
    first, second = (
        export_coins.start(actor=alice, name="alice", units=ONE, file_type=FileType.BIN).task for _ in range(2)
    )
    before = everything()

    export_coins.confirm(actor=alice, export_id=first.pk)

    after = everything()
    changed = [(row, old) for row, old in zip(after["lockers_export"], before["lockers_export"], strict=True)]
    assert [row["task_id"] for row, old in changed if row != old] == [first.pk]
    assert {**after, "lockers_export": None} == {**before, "lockers_export": None}
    assert export_coins.fetch(actor=alice, export_id=second.pk).content


def test_an_import_is_under_way_only_if_a_task_of_the_wallet_has_claimed_a_coin(alice: Wallet, bob: Wallet) -> None:
    held, busy = a_coin(bob, CoinState.BANK), a_coin(alice, CoinState.INCOMING)
    for coins, kind in (([held], "NothingToImport"), ([busy], "ImportUnderWay"), ([held, busy], "ImportUnderWay")):
        record = [coin_import.files.CoinRecord(coin, vault.fresh_numbers()) for coin in coins]
        before = everything()
        with pytest.raises(coin_import.errors.NothingToImport) as refusal:
            import_files.start(actor=alice, name="alice", uploads=[("c.bin", coin_import.files.write_bin(record))])
        assert type(refusal.value).__name__ == kind
        assert everything() == before


# Operations.


@pytest.mark.parametrize("kind", TaskKind)
def test_a_purge_deletes_what_only_looked(kind: TaskKind, alice: Wallet) -> None:
    row = a_task(alice, kind)
    for age, is_old in ((timedelta(hours=23), False), (timedelta(days=1, minutes=1), True)):
        LockerTask.objects.filter(pk=row.pk).update(state=TaskState.ERROR, finished_at=Now() - age)
        before = everything()
        is_deleted = is_old and kind in (TaskKind.PEEK, TaskKind.ECHO)

        assert lookups.purge() == is_deleted

        assert everything() == (before | {"lockers_lockertask": []} if is_deleted else before)


def test_open_tasks_count_for_who_asked_for_them(alice: Wallet, bob: Wallet, charlie: Wallet, settings: Any) -> None:
    """A manager that works for many wallets has one limit, and does not use up that of others."""
    settings.OPEN_TASKS_PER_WALLET = 1
    new_task.open_task(TaskKind.FIND, wallet=bob, actor=alice)

    new_task.open_task(TaskKind.FIND, wallet=bob, actor=bob)
    for wallet in (alice, bob, charlie):
        before = everything()
        with pytest.raises(fair_queue.errors.TooManyTasks):
            new_task.open_task(TaskKind.FIND, wallet=wallet, actor=alice)
        assert everything() == before


@pytest.mark.parametrize("state", CoinState)
def test_a_find_asks_about_free_coins_in_doubt(state: CoinState, alice: Wallet, bob: Wallet) -> None:
    coin = a_coin(alice, state)
    a_coin(bob, CoinState.LIMBO)
    before = everything()

    if state not in (CoinState.LIMBO, CoinState.ERRORED):
        with pytest.raises(errors.NothingToFind):
            find_coins.start(actor=alice, name="alice")
        assert everything() == before
        return
    task = find_coins.start(actor=alice, name="alice").task

    (row,) = Coin.objects.filter(task=task)
    assert (row.serial_number, row.state, row.batch, row.outcome) == (coin.serial_number, state, 0, "n" * 25)
    with pytest.raises(errors.NothingToFind):
        find_coins.start(actor=alice, name="alice")


@pytest.mark.parametrize(("denominations", "coins"), [((0,), 1), ((1,), COINS_FOR_BREAKS)])
def test_a_task_that_breaks_a_coin_first_has_time_for_it(
    denominations: tuple[int, ...], coins: int, alice: Wallet
) -> None:
    stock(alice, *denominations)
    began = timezone.now()

    task = put_coins.start(actor=alice, name="alice", units=ONE).task

    time = task_store.time_for(coins)
    assert began + time <= LockerTask.objects.get(pk=task.pk).deadline <= timezone.now() + time


def test_the_code_of_a_put_is_shown_once_it_is_completed(alice: Wallet) -> None:
    """Before that, the coins are not stored; a take that takes the locker's coins back never shows it."""
    locker = Locker(wallet=alice, amount=1, state=LockerState.FILLED)
    locker.code = vault.seal_locker_code("A-CODE", locker_id=locker.pk)
    shown = {
        (kind, state)
        for kind in TaskKind
        for state in TaskState
        if queries._code_to_show(LockerTask(kind=kind, state=state, locker=locker)) == "A-CODE"
    }

    assert shown == {(TaskKind.PUT, TaskState.COMPLETED)}
    assert queries._code_to_show(LockerTask(kind=TaskKind.PUT, state=TaskState.COMPLETED)) is None


def test_a_code_counts_as_shown_from_the_first_response_on(alice: Wallet) -> None:
    stock(alice, 0, 0)
    first, second = (put_coins.start(actor=alice, name="alice", units=ONE).task for _ in range(2))
    LockerTask.objects.update(state=TaskState.COMPLETED, progress=100, finished_at=Now())
    shown = show_task.show(actor=alice, task_id=first.pk)
    before = LockerTask.objects.get(pk=first.pk).code_shown_at

    again = show_task.show(actor=alice, task_id=first.pk)

    assert before is not None
    assert (shown.code, LockerTask.objects.get(pk=first.pk).code_shown_at) == (again.code, before)
    assert LockerTask.objects.get(pk=second.pk).code_shown_at is None


def test_a_statement_names_as_reserved_what_may_be_spent_and_a_task_has(alice: Wallet, bob: Wallet) -> None:
    stock(alice, 0, 1, 2)
    a_coin(alice, CoinState.INCOMING)
    limbo = Coin.objects.get(serial_number=a_coin(alice, CoinState.LIMBO).serial_number)
    held = {"task": a_task(alice, TaskKind.FIND), "batch": 0, "outcome": "-" * 25}
    Coin.objects.filter(pk=limbo.pk).update(**held)
    Coin.objects.filter(wallet=alice, denomination=1).update(**held)
    stock(bob, 0)

    statement = queries.statement_of(wallet=alice, limit=9)

    assert (statement.balance, statement.reserved) == (111 * ONE, 10 * ONE)


def test_a_fix_takes_so_many_coins_and_those_that_it_has_count(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fix, "FIX_COINS", 1)
    monkeypatch.setattr(fix, "_FIX_BATCHES", 3)
    stock(alice, 0, 0, state=CoinState.FRACKED)
    task = fix_coins.start(actor=alice, name="alice").task
    assert Coin.objects.filter(task=task).count() == 2
    stock(alice, 0, 0, state=CoinState.FRACKED)

    fix.reserve_more_for_fix(held=claimed(task))

    assert sorted(Coin.objects.filter(task=task).values_list("batch", flat=True)) == [0, 1, 2]
    assert Coin.objects.filter(task=None).count() == 1


@pytest.mark.parametrize("kind", [TaskKind.PEEK, TaskKind.TAKE])
def test_who_sent_a_code_sees_how_it_is_spelled_and_the_owner_of_the_wallet_does_not(
    kind: TaskKind, alice: Wallet, bob: Wallet
) -> None:
    """A manager takes into a wallet that it manages: the code is the manager's."""
    task, code = a_task(alice, kind), codes.generate_code(bytes(codes.RANDOM_SIZE))
    sealed = vault.seal_task_code(code.lower(), task_id=task.pk)
    LockerTask.objects.filter(pk=task.pk).update(actor=bob, result={"spelling": 1}, code=sealed)
    task.refresh_from_db()

    assert queries._code_used(task, alice) is None
    assert queries._code_used(task, bob) == code


def test_the_window_of_wrong_codes_begins_with_the_first(alice: Wallet, bob: Wallet, settings: Any) -> None:
    """A guesser who goes on guessing is let in again when the first guesses are old; the counts of others stay."""
    key = f"coppice:wrong-codes:wallet:{alice.pk}"
    client = redis_client(settings.REDIS_URL)
    wrong_code_limits.note_wrong_code(wallet_id=alice.pk, address="")
    assert wrong_code_limits.WINDOW_SECONDS - 5 < client.ttl(key) <= wrong_code_limits.WINDOW_SECONDS == 600
    client.expire(key, 100)

    wrong_code_limits.note_wrong_code(wallet_id=alice.pk, address="")

    assert (int(client.get(key)), 90 < client.ttl(key) <= 100) == (2, True)
    assert client.get(f"coppice:wrong-codes:wallet:{bob.pk}") is None
    client.delete(key)


# A worker that fails.


@pytest.mark.parametrize("has_lost_the_task", [False, True])
def test_what_goes_wrong_is_an_error_unless_another_worker_has_the_task(
    has_lost_the_task: bool, alice: Wallet, settings: Any, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    task = a_task(alice, TaskKind.ECHO)

    def fail(held: Claim) -> None:
        if has_lost_the_task:
            LockerTask.objects.filter(pk=held.task_id).update(attempt=held.attempt + 1)
        raise ZeroDivisionError

    monkeypatch.setattr(runner, "run", fail)
    with caplog.at_level(logging.INFO):
        if has_lost_the_task:
            tasks.run(str(task.pk))
        else:
            with pytest.raises(ZeroDivisionError):
                tasks.run(str(task.pk))

    told = [record.getMessage() for record in caplog.records if "taken over" in record.getMessage()]
    assert told == [f"Task {task.pk} was taken over by another worker: ZeroDivisionError"] * has_lost_the_task


def test_a_worker_that_was_superseded_ends_in_silence(
    alice: Wallet, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    task = a_task(alice, TaskKind.ECHO)

    def fail(held: Claim) -> None:
        raise TaskSuperseded

    monkeypatch.setattr(runner, "run", fail)
    tasks.run(str(task.pk))
    assert not ReceiptLine.objects.exists()


def test_of_lockers_and_files_of_one_moment_each_is_on_one_page(alice: Wallet) -> None:
    for _ in range(3):
        a_coin(alice, CoinState.LOCKED)
        a_coin(alice, CoinState.EXPORTED)
    Locker.objects.update(created_at="2026-01-01T00:00Z")
    Export.objects.update(created_at="2026-01-01T00:00Z")

    lockers: list[Locker] = []
    exports: list[Export] = []
    for _ in range(4):
        after = (lockers[-1].created_at, lockers[-1].pk) if lockers else None
        lockers += [each.locker for each in queries.lockers_page(actor=alice, limit=1, after=after)]
        after = (exports[-1].created_at, exports[-1].pk) if exports else None
        exports += [each.export for each in export_queries.exports_page(actor=alice, limit=1, after=after)]

    assert sorted(each.pk for each in lockers) == sorted(Locker.objects.values_list("pk", flat=True))
    assert sorted(each.pk for each in exports) == sorted(Export.objects.values_list("pk", flat=True))


def test_a_coin_has_not_come_back_from_a_file_with_one_of_another_denomination(alice: Wallet) -> None:
    exported, own = a_coin(alice, CoinState.EXPORTED), a_coin(alice, CoinState.BANK)
    Coin.objects.filter(serial_number=own.serial_number).update(denomination=1, serial_number=exported.serial_number)

    assert [row.state for row in export_queries.coins_in_file(export=Export.objects.get())] == [CoinState.EXPORTED]
