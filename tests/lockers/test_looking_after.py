"""
What is written of coins that nobody has reserved: by a check, by an answer that comes late, and by what mends lockers.

Whatever moved the coin meanwhile goes before: each such change is made between the look and the word about it.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from lockers import checking, late_answers, mending, secrecy
from lockers.checking import Checked
from lockers.conversation import Reply
from lockers.localnet.fleet import LocalNetwork
from lockers.models import Attempt, Coin, Locker, LockerTask
from lockers.raida.commands import Command
from lockers.states import CoinState, TaskKind
from tests.lockers.conftest import Mint
from tests.lockers.marks import at
from tests.lockers.stock import post, stock
from tests.lockers.test_contested import a_task
from tests.lockers.test_put import give, put, refuse_puts
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

    checked = checking.write_down([row], [told(said)])

    row.refresh_from_db()
    assert (row.pown, row.state, row.checked_at is not None) == (at(after), state, is_checked)
    assert (checked.coins, checked.refused, checked.doubtful, checked.unanswered) == (1, *counts)
    assert checked.servers == {"fewest": at(after).count("p"), "most": at(after).count("p")}
    assert Coin.objects.filter(pk=neighbour.pk).values().get() == untouched


def test_a_coin_that_was_fracked_stays_so_when_nothing_refuses_it(alice: Wallet) -> None:
    (row,) = stock(alice, 0, state=CoinState.FRACKED)

    checking.write_down([read_again(row)], [told("p13 -12")])

    assert list(Coin.objects.values_list("state", "pown")) == [("fracked", at("p13 f12"))]


def test_the_board_of_a_check_says_that_a_server_refuses_if_it_refuses_one_coin(alice: Wallet) -> None:
    checked = Checked()
    rows = [read_again(row) for row in stock(alice, 0, 0, 0)]

    checking.write_down(rows, [told("f1 p20 n2 -2"), told("p21 n2 -2"), told("p21 n1 p1 -2")], into=checked)

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

    checking.write_down([moving, staying], [told("f5 p20")] * 2)

    assert Coin.objects.filter(pk=moving.pk).values().get() == before
    assert Coin.objects.get(pk=staying.pk).pown == at("f5 p20")


def test_a_check_of_a_task_writes_of_its_own_coins_and_of_no_other_tasks(alice: Wallet) -> None:
    own, foreign = (read_again(row) for row in stock(alice, 0, 0))
    tasks = [a_task(alice, TaskKind.FIX) for _ in range(2)]
    for row, task in zip((own, foreign), tasks, strict=True):
        Coin.objects.filter(pk=row.pk).update(task=task, batch=0, outcome="-" * 25)

    checking.write_down([own, foreign], [told("f5 p20")] * 2, task_id=tasks[0].pk)

    assert [Coin.objects.get(pk=row.pk).pown for row in (own, foreign)] == [at("f5 p20"), at("p25")]


def locked(wallet: Wallet, pown: str) -> Coin:
    locker = Locker.objects.create(wallet=wallet, amount=ONE, code=b"", mends=5)
    (row,) = stock(wallet, 0)
    return read_again(row, state=CoinState.LOCKED, locker=locker, pown=at(pown))


@pytest.mark.parametrize(
    ("before", "said", "after", "is_checked"),
    [
        ("p25", "m25", "p25", True),
        ("p25", "o1 m24", "f1 p24", True),
        # Whoever has the code may have taken it there.
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

    assert checking.write_down_locked([row], [told(said)]) == (before != after)

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

    checking.write_down_locked([row], [told("o5 m20")])

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

    assert checking.check_due().coins == is_due
    # As no server knows the coin, nothing is written of it.
    assert Coin.objects.get(pk=coin.pk).pown == "p" * 25


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


@pytest.mark.parametrize(("age", "is_claimed"), [(-1, False), (1, True)])
def test_a_task_is_asked_about_when_its_listener_is_gone_and_by_one_at_a_time(
    age: int, is_claimed: bool, alice: Wallet
) -> None:
    task = ended(alice, listens_until=Now() - timedelta(seconds=age))
    ended(alice)

    assert [each.task_id for each in late_answers.claim_unheard(limit=10)] == [task.pk] * is_claimed
    assert late_answers.claim_unheard(limit=10) == []


# Rows that another has locked.


def check(row: Coin, task: LockerTask) -> None:
    checking.write_down([row], [told("f5 p8 n12")])


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
                proposed=secrecy.seal_numbers(secrecy.fresh_numbers(), coin_id=row.pk),
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
        for mend_at in (Now() - timedelta(seconds=1), Now() + timedelta(seconds=1), None)
    )

    assert mending._claim() == [due.pk]
    assert mending._claim() == []
    assert dict(Locker.objects.values_list("pk", "mends")) == {due.pk: 1, later.pk: 0, never.pk: 0}


@pytest.mark.parametrize(
    ("state", "pown", "mends", "seconds"),
    [
        ("locked", "p24 n1", 1, 0.8),
        ("locked", "p24 n1", 8, 0.8),
        ("locked", "p24 n1", 9, 1.6),
        ("locked", "p24 n1", 30, 3600),
        ("locked", "p25", 1, None),
        # Somebody may have taken it, and has what is missing yet.
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
        mending._put_off([row.locker_id])
        cursor.execute("SELECT extract(epoch FROM mend_at - now()) FROM lockers_locker WHERE id = %s", [row.locker_id])
        (until,) = cursor.fetchone()

    assert (None if until is None else float(until)) == seconds
    assert Locker.objects.get(pk=neighbour.locker_id).mend_at is None


@pytest.mark.django_db(transaction=True)
def test_coins_are_not_moved_out_of_a_locker_into_which_they_were_once_to_go(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 servers stored the coins in the first locker without a word: whoever has its code may know that."""
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

    thread = mending.follow_up()
    assert thread is not None
    thread.join()

    assert network.seen(Command.FIND) > 0
    assert [network.seen(command) for command in (Command.REMOVE, Command.POWN, Command.PUT)] == [0, 0, 0]
    assert set(Coin.objects.values_list("state", "passes")) == {("locked", 13)}
