"""
What is recorded about coins that no task has reserved: by a check, a late answer, and the repair of lockers.

A concurrent change takes precedence: each is made between the read of the row and the write of the answer.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from lockers import vault
from lockers.errors import TaskSuperseded
from lockers.models import Attempt, Coin, Locker, LockerTask, ReceiptLine
from lockers.operations import put as put_coins
from lockers.raida import codes
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.statuses import Status
from lockers.states import CoinState, TaskKind
from lockers.transport import Answer
from lockers.worker import health_check, late_answers, repair, settle_coins, task_store
from lockers.worker.health_check import Checked
from lockers.worker.messages import CoinWork, Reply
from tests.lockers.conftest import Mint
from tests.lockers.marks import at
from tests.lockers.stock import post, stock
from tests.support.coin_commands import give, put, refuse_puts
from tests.support.coin_rows import a_task
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet

ONE = 10**8
Told = Mapping[int, Reply]

WORDS = {
    "p": Reply.PASS, "f": Reply.FAIL, "e": Reply.ERROR, "b": Reply.UNREADABLE, "n": Reply.SILENT, "d": Reply.UNREACHED,
    "o": Reply.HAS_OLD, "m": Reply.HAS_NEW, "x": Reply.HAS_NEITHER,
}  # fmt: skip


def told(counts: str) -> Told:
    """What 25 servers say, RAIDA 0 first; `-` was not asked."""
    return {raida: WORDS[letter] for raida, letter in enumerate(at(counts)) if letter != "-"}


def every_coin() -> list[dict[str, Any]]:
    return list(Coin.objects.order_by("id").values())


def read_again(row: Coin, **changes: Any) -> Coin:
    Coin.objects.filter(pk=row.pk).update(**changes)
    return Coin.objects.get(pk=row.pk)


# A check.


@pytest.mark.parametrize(
    ("before", "said", "after", "state", "is_checked", "counts"),
    [
        # before, what was said, the row afterwards; refused, doubtful, unanswered
        ("p25", "p25", "p25", "bank", True, (0, 0, 0)),
        ("p25", "f1 p24", "f1 p24", "fracked", True, (1, 0, 0)),
        ("p25", "f12 p13", "f12 p13", "fracked", True, (1, 0, 0)),
        ("p25", "f13 p12", "p25", "bank", True, (0, 1, 0)),
        ("p13 n12", "f1 p12 -12", "p13 n12", "bank", True, (0, 1, 0)),
        ("p14 n11", "f1 p13 -11", "f1 p13 n11", "fracked", True, (1, 0, 0)),
        # A silence and an error are no refusal.
        ("p25", "n12 p13", "p25", "bank", True, (0, 0, 0)),
        ("p25", "n13 p12", "p25", "bank", False, (0, 0, 1)),
        ("p25", "e13 p12", "p25", "bank", False, (0, 0, 1)),
        ("p25", "b13 p12", "p25", "bank", False, (0, 0, 1)),
        ("p25", "d13 p12", "p25", "bank", False, (0, 0, 1)),
        ("p25", "f1 n24", "f1 p24", "fracked", True, (1, 0, 1)),
        ("p25", "f13 n12", "p25", "bank", True, (0, 1, 0)),
        ("p25", "f12 n13", "f12 p13", "fracked", True, (1, 0, 1)),
        # What was not known to accept it is not known to by this answer.
        ("p20 n5", "p25", "p20 n5", "bank", True, (0, 0, 0)),
        ("p20 n5", "p20 f5", "p20 n5", "bank", True, (0, 0, 0)),
    ],
)
def test_what_a_check_writes_of_a_coin(
    before: str, said: str, after: str, state: str, is_checked: bool, counts: tuple[int, ...], alice: Wallet
) -> None:
    row, neighbour = stock(alice, 0, 0)
    row = read_again(row, pown=at(before))
    untouched = Coin.objects.filter(pk=neighbour.pk).values().get()

    checked = health_check.record([row], [told(said)])

    row.refresh_from_db()
    assert (row.pown, row.state, row.checked_at is not None) == (at(after), state, is_checked)
    assert (checked.coins, checked.refused, checked.doubtful, checked.unanswered) == (1, *counts)
    assert checked.servers == {"fewest": at(after).count("p"), "most": at(after).count("p")}
    assert Coin.objects.filter(pk=neighbour.pk).values().get() == untouched


def test_a_coin_that_was_fracked_stays_so_when_nothing_refuses_it(alice: Wallet) -> None:
    (row,) = stock(alice, 0, state=CoinState.FRACKED)

    health_check.record([read_again(row)], [told("p13 -12")])

    assert list(Coin.objects.values_list("state", "pown")) == [("fracked", at("p13 f12"))]


def test_the_board_of_a_check_says_that_a_server_refuses_if_it_refuses_one_coin(alice: Wallet) -> None:
    checked = Checked()
    rows = [read_again(row) for row in stock(alice, 0, 0, 0)]

    health_check.record(rows, [told("f1 p20 n2 -2"), told("p21 n2 -2"), told("p21 n1 p1 -2")], into=checked)

    assert checked.board == at("f1 p20 n2 u2")
    assert checked.silent == 1
    assert checked.servers == {"fewest": 24, "most": 25}


MOVED = pytest.mark.parametrize(
    "moved",
    [
        {"changed_at": "2026-01-01T00:00Z"},
        {"pown": at("p24 n1")},
        {"state": "limbo"},
        {"state": "sent"},
        {"batch": 0, "outcome": "-" * 25},
    ],
)


def move(row: Coin, moved: dict[str, Any]) -> None:
    task = {"task": a_task(row.wallet, TaskKind.PUT)} if "batch" in moved else {}
    Coin.objects.filter(pk=row.pk).update(**moved, **task)


@MOVED
def test_a_check_says_nothing_of_a_coin_that_was_moved_since_it_was_read(moved: dict[str, Any], alice: Wallet) -> None:
    moving, staying = (read_again(row) for row in stock(alice, 0, 0))
    move(moving, moved)
    before = Coin.objects.filter(pk=moving.pk).values().get()

    health_check.record([moving, staying], [told("f5 p20")] * 2)

    assert Coin.objects.filter(pk=moving.pk).values().get() == before
    assert Coin.objects.get(pk=staying.pk).pown == at("f5 p20")


def test_a_check_of_a_task_writes_of_its_own_coins_and_of_no_other_tasks(alice: Wallet) -> None:
    own, foreign = (read_again(row) for row in stock(alice, 0, 0))
    tasks = [a_task(alice, TaskKind.FIX) for _ in range(2)]
    for row, task in zip((own, foreign), tasks, strict=True):
        Coin.objects.filter(pk=row.pk).update(task=task, batch=0, outcome="-" * 25)

    health_check.record([own, foreign], [told("f5 p20")] * 2, task_id=tasks[0].pk)

    assert [Coin.objects.get(pk=row.pk).pown for row in (own, foreign)] == [at("f5 p20"), at("p25")]


def test_a_check_of_a_worker_that_was_superseded_writes_nothing(alice: Wallet) -> None:
    row = read_again(stock(alice, 0)[0])
    task = a_task(alice, TaskKind.HEALTH)
    held = task_store.claim(task_id=task.pk)
    assert held is not None
    LockerTask.objects.filter(pk=task.pk).update(lease_until=None)
    now = task_store.claim(task_id=task.pk)
    before = every_coin()

    with pytest.raises(TaskSuperseded):
        health_check.record([row], [told("f5 p20")], held=held)

    assert every_coin() == before
    health_check.record([row], [told("f5 p20")], held=now)
    assert Coin.objects.get(pk=row.pk).pown == at("f5 p20")


def test_only_free_coins_that_may_be_spent_are_at_rest_and_due_ten_minutes_after_a_check(
    alice: Wallet, bob: Wallet
) -> None:
    new, old, lately, reserved, lost = stock(alice, *[0] * 5)
    stock(bob, 0)
    Coin.objects.filter(pk=old.pk).update(checked_at=Now() - timedelta(minutes=10, seconds=1))
    Coin.objects.filter(pk=lately.pk).update(checked_at=Now() - timedelta(minutes=9, seconds=59))
    Coin.objects.filter(pk=reserved.pk).update(task=a_task(alice, TaskKind.PUT), batch=0, outcome="-" * 25)
    Coin.objects.filter(pk=lost.pk).update(state=CoinState.LIMBO)

    rows = health_check.at_rest(alice.pk)

    assert set(rows) == {new, old, lately}
    assert set(health_check.not_checked_lately(rows)) == {new, old}


def locked(wallet: Wallet, pown: str) -> Coin:
    locker = Locker.objects.create(wallet=wallet, amount=ONE, code=b"", mends=5)
    (row,) = stock(wallet, 0)
    return read_again(row, state=CoinState.LOCKED, locker=locker, pown=at(pown))


@pytest.mark.parametrize(
    ("before", "said", "after", "is_checked"),
    [
        ("p25", "m25", "p25", True),
        ("p25", "o1 m24", "f1 p24", True),
        # A holder of the code may have taken it there.
        ("p25", "x25", "p25", True),
        ("p25", "o12 x13", "f12 p13", True),
        ("p25", "m13 n12", "p25", True),
        ("p25", "m12 n13", "p25", False),
        ("p25", "m12 e13", "p25", False),
        ("p25", "o1 n24", "f1 p24", True),
        ("p20 n5", "m20 o5", "p20 n5", True),
    ],
)
def test_what_a_check_writes_of_a_coin_in_a_locker(
    before: str, said: str, after: str, is_checked: bool, alice: Wallet
) -> None:
    row, neighbour = locked(alice, before), locked(alice, "p25")

    assert health_check.record_locked([row], [told(said)]) == (before != after)

    row.refresh_from_db()
    assert (row.pown, row.state, row.checked_at is not None) == (at(after), "locked", is_checked)
    due = set(Locker.objects.exclude(mend_at=None).values_list("pk", "mends"))
    assert due == ({(row.locker_id, 0)} if before != after else set())
    assert Coin.objects.get(pk=neighbour.pk).checked_at is None


@MOVED
def test_a_check_says_nothing_of_a_locked_coin_that_was_moved_since(moved: dict[str, Any], alice: Wallet) -> None:
    if "batch" in moved:
        moved = {**moved, "state": "bank"}
    row = locked(alice, "p25")
    move(row, moved)
    before = every_coin()

    health_check.record_locked([row], [told("o5 m20")])

    assert every_coin() == before
    assert not Locker.objects.exclude(mend_at=None).exists()


@pytest.mark.parametrize(
    ("row", "is_due"),
    [
        ({"checked_at": None}, True),
        ({"checked_at": timedelta(days=6, minutes=1)}, True),
        ({"checked_at": timedelta(days=5, hours=23)}, False),
        ({"changed_at": timedelta(seconds=31)}, True),
        ({"changed_at": timedelta(seconds=29)}, False),
    ],
)
def test_what_the_clock_checks(row: dict[str, Any], is_due: bool, network: LocalNetwork, alice: Wallet) -> None:
    (coin,) = stock(alice, 0)
    ages = {"changed_at": timedelta(minutes=1), "checked_at": None, **row}
    Coin.objects.update(**{name: None if age is None else Now() - age for name, age in ages.items()})

    assert health_check.check_due().coins == is_due
    # As no server knows the coin, nothing is written of it.
    assert Coin.objects.get(pk=coin.pk).pown == "p" * 25


@pytest.mark.parametrize(("limit", "checked"), [(1, 1), (2, 2), (9, 3)])
def test_the_limit_of_periodic_checks_counts_wallets_and_lockers_together(
    limit: int, checked: int, network: LocalNetwork, alice: Wallet, settings: Any
) -> None:
    settings.CHECKED_COINS_PER_MINUTE = limit
    stock(alice, 0)
    for _ in range(2):
        locked(alice, "p25")
    Coin.objects.update(changed_at=Now() - timedelta(minutes=1))

    assert health_check.check_due().coins == checked


# Answers that come late.


def ended(wallet: Wallet, **fields: Any) -> LockerTask:
    task = post(wallet, ONE)
    LockerTask.objects.filter(pk=task.pk).update(finished_at=Now(), **fields)
    return LockerTask.objects.get(pk=task.pk)


def test_a_late_answer_is_put_where_one_was_waited_for_and_nowhere_else(alice: Wallet) -> None:
    task = ended(alice)
    sent, timeout, awaited = Attempt.Unanswered.SENT, Attempt.Unanswered.TIMEOUT, Attempt.Unanswered.AWAITED
    answers = [241, None, sent, timeout, awaited, awaited, *[None] * 19]
    own, other = (
        Attempt.objects.create(task=task, ordinal=number, number=1, command="POWN", answers=answers)
        for number in range(2)
    )

    late_answers._write_answers(task.pk, own.pk, dict.fromkeys(range(5), 242))
    late_answers._write_answers(ended(alice).pk, other.pk, dict.fromkeys(range(5), 242))

    own.refresh_from_db()
    other.refresh_from_db()
    assert own.answers == [241, None, sent, timeout, 242, awaited, *[None] * 19]
    assert other.answers == answers


@pytest.mark.parametrize(
    "moved", [{"state": "sent"}, {"pown": at("p14 n11")}, {"state": "bank", "pown": at("p13 n12")}]
)
@pytest.mark.parametrize("is_read_before", [True, False])
def test_a_server_is_said_to_store_a_coin_only_while_it_is_in_its_locker(
    moved: dict[str, Any], is_read_before: bool, alice: Wallet
) -> None:
    row, staying = locked(alice, "p13 n12"), locked(alice, "p13 n12")
    Coin.objects.filter(pk=row.pk).update(**moved)
    if not is_read_before:
        if moved.get("state", "locked") == "locked":
            return
        row.refresh_from_db()
    before = Coin.objects.filter(pk=row.pk).values().get()

    said = {13: Reply.PASS, 14: Reply.FAIL, 15: Reply.SILENT, 0: Reply.FAIL}
    late_answers._write_stored([row, staying], {row.pk: said, staying.pk: said}, only="n")

    assert Coin.objects.filter(pk=row.pk).values().get() == before
    assert Coin.objects.get(pk=staying.pk).pown == at("p14 f1 n10")


def test_of_what_was_lost_only_passes_are_certain() -> None:
    said = told("p1 f1 e1 b1 n1 d1 o1 m1 x1 -16")

    assert late_answers._only_passes(said) == {0: Reply.PASS}
    assert late_answers._answered(said) == {
        raida: reply for raida, reply in said.items() if reply not in (Reply.SILENT, Reply.UNREACHED)
    }


def with_line(task: LockerTask, row: Coin, pown: str, state: str = "bank") -> ReceiptLine:
    return ReceiptLine.objects.create(
        task=task, denomination=row.denomination, serial_number=row.serial_number, pown=at(pown), state=state
    )


def arrived(wallet: Wallet) -> tuple[LockerTask, Coin]:
    """A coin of an ended import; the answers of twelve servers are no longer listened for."""
    task = ended(wallet)
    (row,) = stock(wallet, 0)
    proposed = vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk)
    row = read_again(row, pown=at("p13 n12"), changed_at=task.finished_at, proposed=proposed)
    with_line(task, row, "p13 w12")
    return task, row


@pytest.mark.parametrize(
    "moved",
    [
        {},
        {"changed_at": "2026-01-01T00:00Z"},
        {"state": "limbo"},
        {"state": "sent"},
        {"proposed": None},
        {"batch": 0, "outcome": "-" * 25},
    ],
)
def test_what_was_lost_is_asked_of_coins_that_rest_since_the_task(moved: dict[str, Any], alice: Wallet) -> None:
    task, row = arrived(alice)
    move(row, moved)

    lost_answers = late_answers._lost(task)

    assert [piece.coin_id for piece in lost_answers.pieces] == [row.pk] * (not moved)
    assert lost_answers.letters == [at("p13 w12")] * (not moved)
    if not moved:
        assert lost_answers.pieces[0].old == vault.open_numbers(row.secrets, coin_id=row.pk)
        assert lost_answers.pieces[0].new == vault.open_numbers(row.proposed or b"", coin_id=row.pk)


@pytest.mark.parametrize(("state", "is_asked"), [("locked", True), ("sent", False), ("bank", False)])
def test_what_was_lost_of_a_put_is_asked_of_coins_in_its_locker(
    state: str, is_asked: bool, alice: Wallet, code: str
) -> None:
    row, other = locked(alice, "p13 n12"), locked(alice, "p13 n12")
    assert row.locker is not None
    Locker.objects.filter(pk=row.locker_id).update(code=vault.seal_locker_code(code, locker_id=row.locker.pk))
    task = ended(alice, kind=TaskKind.PUT, locker=row.locker, amount=ONE)
    for each in (row, other):
        with_line(task, each, "p13 w12", "locked")
    Coin.objects.filter(pk=row.pk).update(state=state)

    lost_answers = late_answers._lost(task)

    assert [piece.coin_id for piece in lost_answers.pieces] == [row.pk] * is_asked
    assert all(tuple(piece.new) == tuple(codes.locker_keys(code)) for piece in lost_answers.pieces)


def test_serial_numbers_are_counted_within_a_denomination(alice: Wallet, code: str) -> None:
    """Of two coins of a put and two others that have the denomination of one and the number of the other."""
    rows = [locked(alice, "p13 n12") for _ in range(4)]
    locker = rows[0].locker
    assert locker is not None
    Locker.objects.filter(pk=locker.pk).update(code=vault.seal_locker_code(code, locker_id=locker.pk))
    for row, (denomination, number) in zip(rows, [(0, 1), (1, 2), (0, 2), (1, 1)], strict=True):
        Coin.objects.filter(pk=row.pk).update(denomination=denomination, serial_number=number, locker=locker)
        row.refresh_from_db()
    task = ended(alice, kind=TaskKind.PUT, locker=locker, amount=ONE)
    lines = [with_line(task, row, "p13 w12" if row in rows[:2] else "p13 f12", "locked") for row in rows]

    assert {piece.coin_id for piece in late_answers._lost(task).pieces} == {row.pk for row in rows[:2]}
    late_answers._write_receipt(task, {(0, 1): {13: Reply.PASS}}, only="w")
    assert [ReceiptLine.objects.get(pk=line.pk).pown for line in lines] == [
        at("p14 w11"), at("p13 w12"), at("p13 f12"), at("p13 f12")
    ]  # fmt: skip
    settle_coins._note_departures([WireCoin(0, 1)])
    assert [Coin.objects.get(pk=row.pk).state for row in rows] == ["sent", "locked", "locked", "locked"]


@pytest.mark.parametrize("kind", [TaskKind.PUT, TaskKind.IMPORT])
def test_of_what_was_lost_the_receipt_has_each_answer_and_the_coin_only_passes(kind: TaskKind, alice: Wallet) -> None:
    """What a server refuses so late may have been given to it since: a fix asks again."""
    if kind is TaskKind.PUT:
        row = locked(alice, "p13 n12")
        task = ended(alice, kind=kind, locker=row.locker, amount=ONE)
        line = with_line(task, row, "p13 w12", "locked")
    else:
        task, row = arrived(alice)
        line = ReceiptLine.objects.get(task=task)
    state = row.state

    late_answers.write_found(task_id=task.pk, told={row.pk: told("-13 p1 f1 e1 n1 d1 -7")})

    line.refresh_from_db()
    row.refresh_from_db()
    # A server that was not asked again, or did not answer, stays unanswered in the receipt.
    assert line.pown == at("p14 f1 e1 n1 d1 n7")
    assert (row.pown, row.state) == (at("p14 n11"), state)
    assert LockerTask.objects.get(pk=task.pk).listens_until is None


def test_an_answer_to_a_task_that_has_not_ended_is_written_by_its_worker_alone(alice: Wallet) -> None:
    task, row = arrived(alice)
    attempt = Attempt.objects.create(
        task=task, ordinal=0, number=1, command="POWN", answers=[*[241] * 13, *[Attempt.Unanswered.AWAITED] * 12]
    )
    answers = {13: Answer(raida=13, status=Status.ALL_PASS, payload=b"", elapsed_seconds=0.01)}
    late: dict[str, Any] = {
        "task_id": task.pk, "attempt_id": attempt.pk, "command": Command.POWN, "coin_ids": [row.pk],
        "chosen": {13: (0,)}, "results": answers,
    }  # fmt: skip
    LockerTask.objects.filter(pk=task.pk).update(state="running", progress=5, finished_at=None)
    before = every_coin(), list(Attempt.objects.values()), list(ReceiptLine.objects.values())

    late_answers.write(**late)

    assert (every_coin(), list(Attempt.objects.values()), list(ReceiptLine.objects.values())) == before
    LockerTask.objects.filter(pk=task.pk).update(state="completed", progress=100, finished_at=task.finished_at)
    late_answers.write(**late)
    assert Attempt.objects.get().answers[13:15] == [241, Attempt.Unanswered.AWAITED]
    assert ReceiptLine.objects.get().pown == at("p14 w11")
    assert Coin.objects.get().pown == at("p14 n11")


def test_a_late_answer_to_a_put_changes_the_letters_of_servers_that_were_not_heard_alone(alice: Wallet) -> None:
    """What a server has said since, to a repair, is newer than its answer to the put."""
    row = locked(alice, "p13 n6 f6")
    task = ended(alice, kind=TaskKind.PUT, locker=row.locker, amount=ONE)
    attempt = Attempt.objects.create(task=task, ordinal=0, number=1, command="PUT", answers=[241] * 25)
    late = {
        raida: Answer(raida=raida, status=status, payload=b"", elapsed_seconds=0.01)
        for raida, status in ((13, Status.ALL_PASS), (14, Status.ALL_FAIL), (19, Status.ALL_PASS))
    }

    late_answers.write(
        task_id=task.pk, attempt_id=attempt.pk, command=Command.PUT, coin_ids=[row.pk],
        chosen=dict.fromkeys(late, (0,)), results=late,
    )  # fmt: skip

    row.refresh_from_db()
    assert (row.state, row.pown) == ("locked", at("p14 f1 n4 f6"))


@pytest.mark.parametrize(("seconds", "after"), [(3600, "p14 w11"), (-1, "p14 n1 d1 w9"), (None, "p14 n1 d1 w9")])
def test_a_missing_answer_to_a_repair_is_not_recorded_while_late_answers_may_arrive(
    seconds: int | None, after: str, alice: Wallet
) -> None:
    row = locked(alice, "p13 n12")
    listens = None if seconds is None else Now() + timedelta(seconds=seconds)
    task = ended(alice, kind=TaskKind.PUT, locker=row.locker, amount=ONE, listens_until=listens)
    line = with_line(task, row, "p13 w12", "locked")
    assert row.locker_id is not None

    said = {13: Reply.PASS, 14: Reply.SILENT, 15: Reply.UNREACHED}
    late_answers.write_repaired(locker_id=row.locker_id, told={row.pk: said})

    line.refresh_from_db()
    row.refresh_from_db()
    assert (line.pown, row.pown) == (at(after), at("p14 n11"))


def test_answers_that_are_given_up_are_those_of_the_task(alice: Wallet) -> None:
    task, neighbour = ended(alice), ended(alice)
    for each in (task, neighbour):
        Attempt.objects.create(
            task=each, ordinal=0, number=1, command="POWN", answers=[241, -2, *[Attempt.Unanswered.AWAITED] * 23]
        )

    late_answers._give_up_answers(task.pk)

    assert Attempt.objects.get(task=task).answers == [241, -2, *[Attempt.Unanswered.SENT] * 23]
    assert Attempt.objects.get(task=neighbour).answers == [241, -2, *[Attempt.Unanswered.AWAITED] * 23]


@pytest.mark.parametrize(("age", "is_claimed"), [(-1, False), (1, True)])
def test_a_task_is_asked_about_when_its_listener_is_gone_and_by_one_at_a_time(
    age: int, is_claimed: bool, alice: Wallet
) -> None:
    task = ended(alice, listens_until=Now() - timedelta(seconds=age))
    ended(alice)

    assert [each.task_id for each in late_answers.claim_lost(limit=10)] == [task.pk] * is_claimed
    assert late_answers.claim_lost(limit=10) == []


def test_the_tasks_that_were_listened_to_longest_ago_are_asked_about_first(alice: Wallet) -> None:
    tasks = [ended(alice, listens_until=Now() - timedelta(seconds=age)).pk for age in (20, 40, 10, 30)]

    claimed = [[each.task_id for each in late_answers.claim_lost(limit=2)] for _ in range(3)]

    assert [set(each) for each in claimed] == [{tasks[1], tasks[3]}, {tasks[0], tasks[2]}, set()]


def test_late_answers_to_a_task_that_goes_on_or_is_gone_are_dropped(alice: Wallet) -> None:
    """Another worker took it over, and asks again; a peek is deleted after a day."""
    (row,) = stock(alice, 0)
    running = put_coins.start(actor=alice, name="alice", units=ONE).task
    Attempt.objects.create(task=running, ordinal=0, number=1, command="PUT", answers=[Attempt.Unanswered.AWAITED] * 25)
    before = [list(model.objects.order_by("pk").values()) for model in (Coin, LockerTask, Attempt)]

    for task_id in (running.pk, uuid4()):
        late_answers.write_found(task_id=task_id, told={row.pk: {0: Reply.PASS}})
        late_answers.write_peeked(task_id, {0: Answer(0, Status.ALL_PASS, b"", 0.0)})

    assert [list(model.objects.order_by("pk").values()) for model in (Coin, LockerTask, Attempt)] == before


# Rows that another has locked.


def check(row: Coin, task: LockerTask) -> None:
    health_check.record([row], [told("f5 p8 n12")])


def store(row: Coin, task: LockerTask) -> None:
    late_answers._write_stored([row], {row.pk: {13: Reply.PASS}}, only="n")


def arrive(row: Coin, task: LockerTask) -> None:
    late_answers._write_arrived(task, [row], {row.pk: {13: Reply.PASS}})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("write", [check, store, arrive])
def test_a_row_that_another_has_locked_is_not_waited_for_and_not_written(
    write: Callable[[Coin, LockerTask], None], alice: Wallet
) -> None:
    task = ended(alice)
    if write is store:
        rows = [locked(alice, "p13 n12") for _ in range(2)]
    else:
        pown = at("p18 n7" if write is check else "p13 n12")
        rows = [
            read_again(
                row, pown=pown, changed_at=task.finished_at,
                proposed=vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk),
            )
            for row in stock(alice, 0, 0)
        ]  # fmt: skip
    held, free = rows
    before = Coin.objects.filter(pk=held.pk).values().get()
    failures: list[Exception] = []

    def work() -> None:
        with closing(connection):
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SET lock_timeout = '3s'")
                write(held, task)
                write(free, task)
            except Exception as error:  # noqa: BLE001 - shown by the test
                failures.append(error)

    with transaction.atomic():
        Coin.objects.select_for_update().get(pk=held.pk)
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()

    assert failures == []
    assert Coin.objects.filter(pk=held.pk).values().get() == before
    assert Coin.objects.get(pk=free.pk).pown != before["pown"]


# Lockers that are looked after.


def test_a_locker_is_looked_after_when_it_is_due_and_by_one_at_a_time(alice: Wallet) -> None:
    due, later, never = (
        Locker.objects.create(wallet=alice, amount=ONE, code=b"", mend_at=mend_at)
        for mend_at in (Now() - timedelta(hours=1), Now() + timedelta(hours=1), None)
    )

    assert repair._claim() == [due.pk]
    assert repair._claim() == []
    assert dict(Locker.objects.values_list("pk", "mends")) == {due.pk: 1, later.pk: 0, never.pk: 0}


@pytest.mark.parametrize(
    ("state", "pown", "mends", "seconds"),
    [
        ("locked", "p24 n1", 1, 0.8),
        ("locked", "p24 n1", 8, 0.8),
        ("locked", "p24 n1", 9, 1.6),
        ("locked", "p24 n1", 30, 3600),
        ("locked", "p25", 1, None),
        # Another owner may have taken it, and needs the servers that are missing.
        ("sent", "p24 n1", 7, 0.8),
        ("sent", "p24 n1", 8, None),
        ("sent", "p25", 1, None),
        ("bank", "p24 n1", 1, None),
    ],
)
def test_a_locker_is_looked_after_again_while_a_server_lacks_its_coins(
    state: str, pown: str, mends: int, seconds: float | None, alice: Wallet
) -> None:
    row, neighbour = locked(alice, pown), locked(alice, "p24 n1")
    Coin.objects.filter(pk=row.pk).update(state=state)
    Locker.objects.filter(pk=row.locker_id).update(mends=mends, mend_at="2099-01-01T00:00Z")

    with transaction.atomic(), connection.cursor() as cursor:
        assert row.locker_id is not None
        repair._put_off([row.locker_id])
        cursor.execute("SELECT extract(epoch FROM mend_at - now()) FROM lockers_locker WHERE id = %s", [row.locker_id])
        (until,) = cursor.fetchone()

    assert (None if until is None else float(until)) == seconds
    assert Locker.objects.get(pk=neighbour.locker_id).mend_at is None


def patient(*, has_proposal: bool) -> repair._LockerRepair:
    piece = CoinWork(UUID(int=1), WireCoin(0, 1), "p" * 25, "-" * 25, (b"o" * 16,) * 25, (b"n" * 16,) * 25)
    proposed = {piece.coin_id: (b"q" * 16,) * 25} if has_proposal else {}
    return repair._LockerRepair(
        locker_id=UUID(int=2), mends=1, keys=(), key_coin=None, pieces=[piece], proposed=proposed
    )


@pytest.mark.parametrize(
    ("number", "has_proposal", "is_in_another"),
    [
        (b"k" * 12 + b"\xff" * 4, True, True),
        # Only with the number that was to replace the key can it be taken out.
        (b"k" * 12 + b"\xff" * 4, False, False),
        (b"k" * 16, True, False),
    ],
)
def test_a_coin_is_in_another_locker_where_a_server_holds_the_key_of_one(
    number: bytes, has_proposal: bool, is_in_another: bool
) -> None:
    numbers = (b"k" * 16,) * 7 + (number,) + (b"k" * 16,) * 17

    assert repair._is_in_another_locker(patient(has_proposal=has_proposal), (0, 7), numbers) is is_in_another
    assert not repair._is_in_another_locker(patient(has_proposal=has_proposal), (0, 8), numbers)


@pytest.mark.parametrize(
    ("said", "lacks"), [({}, False), ({0: "pass"}, False), ({0: "pass", 1: "fail"}, True), ({0: "silent"}, True)]
)
def test_a_locker_lacks_a_server_that_did_not_say_that_it_stores_each_coin(said: dict[int, str], lacks: bool) -> None:
    one = patient(has_proposal=False)
    one.told[UUID(int=1)] = {raida: Reply(reply) for raida, reply in said.items()}
    one.told[UUID(int=3)] = {0: Reply.PASS}

    assert one.lacks_servers is lacks


def test_coins_are_looked_after_that_are_or_were_in_the_locker_and_not_on_all_servers(alice: Wallet, code: str) -> None:
    row = locked(alice, "p24 n1")
    assert row.locker is not None
    Locker.objects.filter(pk=row.locker.pk).update(code=vault.seal_locker_code(code, locker_id=row.locker.pk))
    sent, whole, back = (locked(alice, "p25" if number == 1 else "p24 n1") for number in range(3))
    Coin.objects.update(locker=row.locker)
    Coin.objects.filter(pk=sent.pk).update(state=CoinState.SENT)
    Coin.objects.filter(pk=back.pk).update(state=CoinState.BANK)
    assert whole.passes == 25

    (loaded,) = repair._load([row.locker.pk])

    assert [piece.coin_id for piece in loaded.pieces] == [row.pk, sent.pk]
    assert set(loaded.pieces[0].new) == set(codes.locker_keys(code))
    assert loaded.proposed == {}


@pytest.mark.django_db(transaction=True)
def test_coins_are_not_moved_out_of_a_locker_into_which_they_were_once_to_go(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 servers stored the coins in the first locker without an answer; a holder of its code may know that."""
    give(alice, mint(0, 0, 0, 0))
    network.fault(range(12), "drop-reply")
    with monkeypatch.context() as patch:
        refuse_puts(patch, range(12, 25))
        assert put(alice, 4).state == "error"
    network.clear()
    assert put(alice, 4, code).state == "completed"
    assert set(Coin.objects.values_list("state", "passes")) == {("locked", 13)}
    network.forget_seen()
    Locker.objects.filter(coins__isnull=False).update(mend_at=Now())

    thread = repair.follow_up()
    assert thread is not None
    thread.join()

    assert network.seen(Command.FIND) > 0
    assert [network.seen(command) for command in (Command.REMOVE, Command.POWN, Command.PUT)] == [0, 0, 0]
    assert set(Coin.objects.values_list("state", "passes")) == {("locked", 13)}
