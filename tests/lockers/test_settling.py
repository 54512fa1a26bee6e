"""
Writes that move value change only rows of the task, all or none, and none that another transaction changed.

Each case has another row that must not change.
"""

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from lockers import coin_breaks, current_results, delivery, errors, restore, vault
from lockers.models import Account, Coin, Export, LockerTask, ReceiptLine, StatementLine
from lockers.operations import break_coin as break_coins
from lockers.operations import export as export_coins
from lockers.operations import import_files, new_task
from lockers.operations import put as put_coins
from lockers.operations import take as take_coins
from lockers.raida.authenticity import is_locker_key
from lockers.raida.commands import Command
from lockers.raida.files import write_bin
from lockers.states import CoinState, FileType, TaskKind
from lockers.worker import break_coin, finalize, import_, late_answers, reconciliation, task_store
from lockers.worker import find as find_task
from lockers.worker import fix as fix_task
from lockers.worker import put as put_task
from lockers.worker.messages import CoinWork, Reply
from lockers.worker.task_store import Claim, Intent
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.lockers.marks import at
from tests.lockers.stock import post, stock
from tests.support.coin_commands import Delayed, find, give, put, refuse_puts
from tests.support.coin_rows import a_task
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet

ONE = 10**8


def every_row(*models: Any) -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in models or (Coin, LockerTask, ReceiptLine, Account)]


def working(started: new_task.Started) -> Claim:
    held = task_store.claim(task_id=started.task.pk)
    assert held is not None
    return held


@pytest.fixture
def held(alice: Wallet) -> Claim:
    """A worker that puts two coins of alice; a third one is free."""
    stock(alice, 0, 0, 0)
    return working(put_coins.start(actor=alice, name="alice", units=2 * ONE))


@pytest.fixture
def foreign(bob: Wallet) -> CoinWork:
    """A coin of bob's that another task has, as a worker would write it."""
    stock(bob, 0)
    other = put_coins.start(actor=bob, name="bob", units=ONE).task
    (piece,) = task_store.coins(task_id=other.pk, batch=0, keys=(b"k" * 16,) * 25)
    piece.pown, piece.marks = at("p13 n12"), "p" * 25
    return piece


def adopt(held: Claim, piece: CoinWork) -> None:
    put_task.adopt(held=held, pieces=[piece])


def mark(held: Claim, piece: CoinWork) -> None:
    task_store.settle(held=held, settled=[], marks={piece.coin_id: piece.marks})


def mark_before(held: Claim, piece: CoinWork) -> None:
    task_store.open_attempt(held=held, intent=Intent(Command.PUT, 0, [1], {piece.coin_id: piece.marks}))


def release(held: Claim, piece: CoinWork) -> None:
    find_task.begin_release(held=held, coin_ids=[piece.coin_id])


def set_aside(held: Claim, piece: CoinWork) -> None:
    import_.place_fresh_numbers(held=held, holders={}, plan={}, aside=[piece.coin_id], aside_batch=7)


def fix_it(held: Claim, piece: CoinWork) -> None:
    fix_task._commit(held, [fix_task._FrackedCoin(piece, False, False, set(), {1})], (b"g" * 16,) * 25)


@pytest.mark.parametrize("write", [adopt, mark, mark_before, release, set_aside, fix_it])
def test_a_worker_changes_coins_of_its_own_task_alone(
    write: Callable[[Claim, CoinWork], None], held: Claim, foreign: CoinWork
) -> None:
    own, neighbour = task_store.coins(task_id=held.task_id, batch=0, keys=(b"k" * 16,) * 25)
    own.pown, own.marks = foreign.pown, foreign.marks
    before = {row["id"]: row for row in Coin.objects.values()}

    write(held, foreign)
    write(held, own)

    after = {row["id"]: row for row in Coin.objects.values()}
    assert {coin_id for coin_id in after if after[coin_id] != before[coin_id]} == {own.coin_id}
    assert neighbour.coin_id in before


def test_a_release_is_begun_once(held: Claim) -> None:
    coin_ids = [piece.coin_id for piece in task_store.coins(task_id=held.task_id, batch=0, keys=(b"k" * 16,) * 25)]
    find_task.begin_release(held=held, coin_ids=coin_ids)
    Coin.objects.filter(pk__in=coin_ids).update(outcome="n" * 25)
    before = every_row(Coin)

    find_task.begin_release(held=held, coin_ids=coin_ids)

    # The numbers that are on their way to the servers are the only ones that could tell what they hold.
    assert every_row(Coin) == before


@pytest.mark.parametrize(("pown", "keeps"), [("p25", False), ("p24 n1", True), ("p24 f1", False)])
def test_the_other_number_is_kept_while_a_server_may_hold_it(pown: str, keeps: bool, held: Claim) -> None:
    Coin.objects.filter(task_id=held.task_id).update(proposed=F("secrets"))
    own, neighbour = task_store.coins(task_id=held.task_id, batch=0, keys=(b"k" * 16,) * 25)
    own.pown = at(pown)

    put_task.adopt(held=held, pieces=[own])

    assert (Coin.objects.get(pk=own.coin_id).proposed is not None) is keeps
    assert Coin.objects.get(pk=neighbour.coin_id).proposed is not None


def test_a_coin_that_cannot_become_what_the_marks_say_stops_its_task_whole(held: Claim) -> None:
    coins = Coin.objects.filter(task_id=held.task_id)
    coins.update(outcome="p" * 25)
    Coin.objects.filter(pk=coins.order_by("id")[0].pk).update(state=CoinState.ERRORED)
    before = every_row()

    with pytest.raises(AssertionError, match="1 coins cannot become locked"):
        finalize.conclude(held=held)

    assert every_row() == before


# The marks of a coin of a put: its state afterwards, and whether it stays in the locker.
PUT_ENDINGS = {
    "-25": ("bank", False),
    "d25": ("bank", False),
    "r13 e12": ("bank", False),
    "r13 x12": ("fracked", False),
    "p13 r12": ("locked", True),
    "p12 n13": ("limbo", True),
    "g13 r12": ("sent", True),
}


def test_a_coin_that_is_back_in_its_wallet_is_in_no_locker(alice: Wallet) -> None:
    """One that kept its locker would not count as held by its wallet when another claims it."""
    rows = stock(alice, *[0] * len(PUT_ENDINGS))
    started = put_coins.start(actor=alice, name="alice", units=len(rows) * ONE)
    for row, marks in zip(rows, PUT_ENDINGS, strict=True):
        Coin.objects.filter(pk=row.pk).update(outcome=at(marks))

    finalize.conclude(held=working(started))

    found = [Coin.objects.get(pk=row.pk) for row in rows]
    assert [(row.state, row.locker_id == started.task.locker_id) for row in found] == list(PUT_ENDINGS.values())
    assert {row.locker_id for row in found} == {None, started.task.locker_id}


@pytest.mark.parametrize("kind", [TaskKind.TAKE, TaskKind.FIX])
def test_a_server_that_has_not_confirmed_the_new_number_is_shown_the_old_one(kind: TaskKind, alice: Wallet) -> None:
    """It is asked about, and put, with the number in its place: with the other one it refuses a good coin."""
    task = a_task(alice, kind)
    (row,) = stock(alice, 0)
    state = CoinState.INCOMING if kind is TaskKind.TAKE else CoinState.BANK
    new = vault.fresh_numbers()
    Coin.objects.filter(pk=row.pk).update(
        state=state, origin=kind, task=task, batch=0, pown="p" * 25, outcome=at("p13 -2 n1 f2 g1 x1 o1 r1 e1 b1 d1"),
        proposed=vault.seal_numbers(new, coin_id=row.pk),
    )  # fmt: skip
    held = task_store.claim(task_id=task.pk)
    assert held is not None

    finalize.conclude(held=held)

    after = Coin.objects.get(pk=row.pk)
    old = vault.open_numbers(row.secrets, coin_id=row.pk)
    assert after.state in {"bank", "fracked"}
    assert vault.open_numbers(after.secrets, coin_id=row.pk) == (*new[:13], *old[13:])


@pytest.mark.parametrize(("seconds", "quiet"), [(0, False), (9, False), (11, True)])
def test_it_is_quiet_two_deadlines_after_the_last_change(seconds: int, quiet: bool, held: Claim, settings: Any) -> None:
    settings.RAIDA_TIMEOUT_SECONDS = 5
    Coin.objects.update(changed_at=Now() - timedelta(minutes=1))
    first = Coin.objects.filter(task_id=held.task_id).order_by("id")[0]
    Coin.objects.filter(pk=first.pk).update(changed_at=Now() - timedelta(seconds=seconds))

    assert find_task.is_quiet(task_id=held.task_id, batch=0) is quiet
    # Coins of another batch say nothing of this one.
    Coin.objects.filter(pk=first.pk).update(batch=1)
    assert find_task.is_quiet(task_id=held.task_id, batch=0)


# Coins that leave without a server.


@pytest.fixture
def leaving(alice: Wallet, bob: Wallet) -> LockerTask:
    task = post(alice, ONE)
    LockerTask.objects.filter(pk=task.pk).update(kind=TaskKind.EXPORT, amount=2 * ONE)
    return LockerTask.objects.get(pk=task.pk)


def not_free(row: Coin, bob: Wallet) -> None:
    Coin.objects.filter(pk=row.pk).update(task=post(bob, ONE), batch=0, outcome="-" * 25)


def not_alices(row: Coin, bob: Wallet) -> None:
    Coin.objects.filter(pk=row.pk).update(wallet=bob)


def not_spendable(row: Coin, bob: Wallet) -> None:
    Coin.objects.filter(pk=row.pk).update(state=CoinState.LIMBO)


def hand_over(task: LockerTask, bob: Wallet, coin_ids: list[UUID]) -> None:
    delivery.hand_over(task=task, receiver=bob, coin_ids=coin_ids)


def write_out(task: LockerTask, bob: Wallet, coin_ids: list[UUID]) -> None:
    delivery.write_out(task=task, file_type=FileType.BIN, coin_ids=coin_ids)


@pytest.mark.parametrize("spoil", [not_free, not_alices, not_spendable])
@pytest.mark.parametrize("leave", [hand_over, write_out])
def test_coins_leave_all_or_none(
    spoil: Callable[..., None], leave: Callable[..., None], leaving: LockerTask, alice: Wallet, bob: Wallet
) -> None:
    rows = stock(alice, 0, 0)
    spoil(rows[1], bob)
    before = every_row(Coin, ReceiptLine, Account, StatementLine, Export)

    with pytest.raises(errors.CoinsBusy), transaction.atomic():
        leave(leaving, bob, [row.pk for row in rows])

    assert every_row(Coin, ReceiptLine, Account, StatementLine, Export) == before
    # What is whole leaves, and what was not named stays.
    leave(leaving, bob, [rows[0].pk])
    assert Coin.objects.get(pk=rows[1].pk).export_id is None


@pytest.mark.parametrize("leave", [hand_over, write_out])
def test_what_a_task_reserved_leaves_only_while_it_is_reserved(
    leave: Callable[..., None], leaving: LockerTask, alice: Wallet, bob: Wallet
) -> None:
    """A coin that was released may be reserved, and leave, in another task."""
    free, reserved = stock(alice, 0, 0)
    Coin.objects.filter(pk=reserved.pk).update(task=leaving, batch=0, outcome="-" * 25)
    leaving.plan = {"breaks": True}
    before = every_row(Coin, ReceiptLine, Account, StatementLine, Export)

    with pytest.raises(errors.CoinsBusy), transaction.atomic():
        leave(leaving, bob, [free.pk])
    assert every_row(Coin, ReceiptLine, Account, StatementLine, Export) == before

    leave(leaving, bob, [reserved.pk])
    assert Coin.objects.get(pk=reserved.pk).task_id is None
    assert Coin.objects.filter(pk=free.pk).values("wallet", "state", "task")[0] == {
        "wallet": alice.pk,
        "state": "bank",
        "task": None,
    }


@pytest.mark.parametrize("reserved", [(0,), (0, 0, 0), ()])
def test_what_a_task_has_reserved_is_worth_what_was_asked_for(
    reserved: tuple[int, ...], leaving: LockerTask, alice: Wallet
) -> None:
    rows = stock(alice, *reserved)
    Coin.objects.filter(pk__in=[row.pk for row in rows]).update(task=leaving, batch=0, outcome="-" * 25)
    before = every_row(Coin, Export)

    with pytest.raises(AssertionError, match="are not worth its amount"):
        delivery.deliver(leaving)

    assert every_row(Coin, Export) == before


def test_a_file_of_which_a_coin_came_back_is_not_given_out_in_part(alice: Wallet) -> None:
    stock(alice, 0, 0)
    started = export_coins.start(actor=alice, name="alice", units=2 * ONE, file_type=FileType.BIN)
    assert len(export_coins.fetch(actor=alice, export_id=started.task.pk).content) > 0
    one = Coin.objects.filter(state="exported").order_by("id")[0]
    Coin.objects.filter(pk=one.pk).update(state=CoinState.SENT)
    before = every_row(Coin, Export)

    with pytest.raises(errors.ExportReturned):
        export_coins.fetch(actor=alice, export_id=started.task.pk)

    assert every_row(Coin, Export) == before


# Change.


@pytest.fixture
def breaking(alice: Wallet) -> Claim:
    stock(alice, 1)
    return working(break_coins.start(actor=alice, name="alice", denomination=1))


def propose(held: Claim, votes: dict[int, int]) -> bool:
    broken = break_coin.family(held=held, batch=coin_breaks.FIRST_BREAK).broken
    return break_coin.propose(held=held, batch=coin_breaks.FIRST_BREAK, broken=broken, votes=votes)


@pytest.mark.parametrize(("votes", "are_enough"), [(12, False), (13, True), (14, True)])
def test_13_servers_name_each_number_of_the_change(votes: int, are_enough: bool, breaking: Claim) -> None:
    assert propose(breaking, {**dict.fromkeys(range(9), 25), 9: votes}) is are_enough
    assert Coin.objects.filter(state="change", task_id=breaking.task_id).count() == 10 * are_enough


@pytest.mark.parametrize(
    ("state", "is_taken"),
    [
        *((state, True) for state in ("bank", "fracked", "limbo", "errored", "locked", "exported", "change")),
        *((state, False) for state in ("sent", "broken", "void", "missed", "counterfeit")),
    ],
)
def test_no_number_is_taken_that_a_coin_of_this_ledger_has(
    state: str, is_taken: bool, breaking: Claim, bob: Wallet
) -> None:
    (row,) = stock(bob, 0)
    other = put_coins.start(actor=bob, name="bob", units=ONE).task
    export = Export.objects.create(task=post(bob, ONE), wallet=bob, type="bin", file_name="f.bin", coin_count=1)
    Coin.objects.filter(pk=row.pk).update(
        state=state, task=None, batch=None, outcome="", locker=other.locker, export=export, family=row.pk
    )
    numbers = [*range(9), row.serial_number]

    assert propose(breaking, dict.fromkeys(numbers, 25)) is not is_taken

    assert propose(breaking, dict.fromkeys([*numbers, 9], 25)) or not is_taken
    ten = Coin.objects.filter(state="change", task_id=breaking.task_id)
    assert ten.filter(serial_number=row.serial_number).exists() is not is_taken


def test_a_number_that_another_task_takes_just_now_costs_the_whole_choice(
    breaking: Claim, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the read of the ledger and the insert of the ten: with nine, a tenth of the coin would be lost."""

    def take(bits: int) -> int:
        if not Coin.objects.filter(wallet=bob).exists():
            (row,) = stock(bob, 0)
            Coin.objects.filter(pk=row.pk).update(serial_number=5)
        return 0

    monkeypatch.setattr(secrets, "randbits", take)

    assert not propose(breaking, dict.fromkeys(range(10), 25))

    assert not Coin.objects.filter(state="change").exists()
    assert propose(breaking, dict.fromkeys(range(11), 25))


@pytest.mark.parametrize(("state", "step"), [("bank", break_coin.Next.BREAK), ("fracked", break_coin.Next.IMPOSSIBLE)])
def test_of_change_only_what_no_server_refuses_is_broken_further(
    state: str, step: break_coin.Next, alice: Wallet, bob: Wallet
) -> None:
    stock(alice, 1)
    started = put_coins.start(actor=alice, name="alice", units=ONE // 10)
    held = working(started)
    Coin.objects.filter(task=started.task).update(
        batch=coin_breaks.POOL, family=None, state=state, pown=at("p13 n12" if state == "bank" else "p13 f12")
    )

    assert break_coin.assemble(held=held) is step
    assert (break_coin.open_break(held) is not None) is (step is break_coin.Next.BREAK)


@pytest.mark.parametrize(
    ("coins", "step", "chosen", "broken", "left"),
    [(20, break_coin.Next.NOTHING, [1, 1], [], [0, 1]), (25, break_coin.Next.BREAK, [0, 1, 1], [1], [])],
)
def test_change_that_fits_is_taken_and_no_more(
    coins: int, step: break_coin.Next, chosen: list[int], broken: list[int], left: list[int], alice: Wallet
) -> None:
    stock(alice, 2)
    started = put_coins.start(actor=alice, name="alice", units=coins * ONE)
    held = working(started)
    Coin.objects.filter(task=started.task).update(task=None, batch=None, outcome="", family=None)
    pool = stock(alice, 1, 1, 1, 0)
    Coin.objects.filter(pk__in=[row.pk for row in pool]).update(
        task=started.task, batch=coin_breaks.POOL, outcome="-" * 25
    )

    assert break_coin.assemble(held=held) is step

    found = Coin.objects.filter(task=started.task)
    for batch, denominations in ((0, chosen), (coin_breaks.FIRST_BREAK, broken), (coin_breaks.POOL, left)):
        assert sorted(found.filter(batch=batch).values_list("denomination", flat=True)) == denominations
    assert set(found.filter(batch=0).values_list("locker", flat=True)) == {started.task.locker_id}
    assert not found.exclude(batch=0).exclude(locker=None).exists()


@pytest.mark.parametrize(
    ("state", "is_taken"), [("bank", True), ("fracked", True), ("limbo", False), ("errored", False)]
)
def test_only_change_that_may_be_spent_is_taken(state: str, is_taken: bool, alice: Wallet) -> None:
    stock(alice, 1)
    started = put_coins.start(actor=alice, name="alice", units=ONE)
    held = working(started)
    Coin.objects.filter(task=started.task).update(task=None, batch=None, outcome="", family=None)
    (one,) = stock(alice, 0)
    Coin.objects.filter(pk=one.pk).update(task=started.task, batch=coin_breaks.POOL, outcome="-" * 25, state=state)

    found = break_coin.assemble(held=held)

    assert (found is break_coin.Next.NOTHING) is is_taken
    assert Coin.objects.get(pk=one.pk).batch == (0 if is_taken else coin_breaks.POOL)


def test_change_is_put_with_the_last_batch(alice: Wallet) -> None:
    stock(alice, 1)
    started = put_coins.start(actor=alice, name="alice", units=10 * ONE)
    Coin.objects.update(batch=3)
    LockerTask.objects.filter(pk=started.task.pk).update(amount=11 * ONE)
    (one,) = stock(alice, 0)
    Coin.objects.filter(pk=one.pk).update(task=started.task, batch=coin_breaks.POOL, outcome="-" * 25)

    assert break_coin.assemble(held=working(started)) is break_coin.Next.NOTHING

    assert set(Coin.objects.values_list("batch", flat=True)) == {3}


def test_of_a_break_that_did_not_happen_its_own_ten_are_deleted(breaking: Claim, bob: Wallet) -> None:
    assert propose(breaking, dict.fromkeys(range(10), 25))
    stock(bob, 1)
    other = working(break_coins.start(actor=bob, name="bob", denomination=1))
    assert propose(other, dict.fromkeys(range(10, 20), 25))
    kept = list(Coin.objects.filter(task_id=other.task_id).order_by("pk").values())
    assert len(kept) == 11

    coin_breaks.settle(task=LockerTask.objects.get(pk=breaking.task_id), batch=coin_breaks.FIRST_BREAK, keep=False)

    assert list(Coin.objects.filter(task_id=other.task_id).order_by("pk").values()) == kept
    assert list(Coin.objects.exclude(task_id=other.task_id).values_list("denomination", "state")) == [(1, "bank")]


@pytest.mark.parametrize(
    ("marks", "state", "ten", "stays"),
    [
        ("p13 n12", "bank", "void", False),
        ("p13 f12", "fracked", "void", False),
        ("p12 n13", "limbo", "change", True),
        ("p12 f13", "limbo", "change", False),
    ],
)
def test_ten_are_void_once_13_servers_have_fresh_numbers_of_the_one(
    marks: str, state: str, ten: str, stays: bool, breaking: Claim
) -> None:
    """The row has the number of each server, and the fresh ones while a server may still take its own."""
    assert propose(breaking, dict.fromkeys(range(10), 25))
    (big,) = Coin.objects.filter(task_id=breaking.task_id, denomination=1)
    old, fresh = vault.open_numbers(big.secrets, coin_id=big.pk), vault.fresh_numbers()
    Coin.objects.filter(pk=big.pk).update(
        state=CoinState.LIMBO,
        releasing=True,
        proposed=vault.seal_numbers(fresh, coin_id=big.pk),
    )
    Coin.objects.filter(task_id=breaking.task_id).update(outcome=at(marks))
    task = LockerTask.objects.get(pk=breaking.task_id)

    coin_breaks.settle(task=task, batch=coin_breaks.FIRST_BREAK, keep=False)

    big.refresh_from_db()
    assert (big.state, big.releasing) == (state, stays)
    held = vault.open_numbers(big.secrets, coin_id=big.pk)
    assert held == (old if state == "limbo" else (*fresh[:13], *old[13:]))
    proposed = None if big.proposed is None else vault.open_numbers(big.proposed, coin_id=big.pk)
    assert proposed == (fresh if "n" in marks else None)
    assert set(Coin.objects.filter(denomination=0).values_list("state", flat=True)) == {ten}


def test_a_break_stops_if_one_of_its_coins_was_changed_concurrently(breaking: Claim) -> None:
    (row,) = Coin.objects.filter(task_id=breaking.task_id)
    Coin.objects.filter(pk=row.pk).update(state=CoinState.LIMBO)
    before = every_row(Coin)

    with pytest.raises(AssertionError, match="was changed by another transaction"):
        coin_breaks._become(row, CoinState.BROKEN)
    row.refresh_from_db()
    with pytest.raises(AssertionError, match="a coin that is limbo cannot become exported"):
        coin_breaks._become(row, CoinState.EXPORTED)

    assert every_row(Coin) == before


# What is written after the end of a task.


def arrived(wallet: Wallet, pown: str) -> tuple[LockerTask, Coin]:
    """A task that has ended, and its coin with two numbers."""
    task = post(wallet, ONE)
    (row,) = stock(wallet, 0)
    LockerTask.objects.filter(pk=task.pk).update(finished_at=Now())
    task.refresh_from_db()
    proposed = vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk)
    Coin.objects.filter(pk=row.pk).update(pown=at(pown), proposed=proposed, changed_at=task.finished_at)
    row.refresh_from_db()
    return task, row


def test_a_late_answer_gives_the_new_number_to_the_servers_that_took_it(alice: Wallet) -> None:
    task, row = arrived(alice, "p13 n11 f1")
    (neighbour,) = stock(alice, 0)
    untouched = Coin.objects.filter(pk=neighbour.pk).values().get()
    old = vault.open_numbers(row.secrets, coin_id=row.pk)
    new = vault.open_numbers(row.proposed or b"", coin_id=row.pk)

    told = {0: Reply.PASS, 13: Reply.PASS, 14: Reply.FAIL, 24: Reply.PASS}
    late_answers._write_arrived(task, [row], {row.pk: told})

    row.refresh_from_db()
    # Of the first it was known, and the last had refused it: neither is asked by this answer.
    assert (row.pown, row.state) == ("p" * 14 + "f" + "n" * 9 + "f", "fracked")
    assert vault.open_numbers(row.secrets, coin_id=row.pk) == (*old[:13], new[13], *old[14:])
    assert vault.open_numbers(row.proposed or b"", coin_id=row.pk) == new
    assert Coin.objects.filter(pk=neighbour.pk).values().get() == untouched


@pytest.mark.parametrize(
    "moved",
    [
        {"changed_at": "2026-01-01T00:00Z"},
        {"state": "limbo"},
        {"pown": at("p13 f12")},
        {"secrets": b"other"},
    ],
)
@pytest.mark.parametrize("is_read_before", [True, False])
def test_a_late_answer_says_nothing_of_a_coin_that_was_moved_since(
    moved: dict[str, Any], is_read_before: bool, alice: Wallet
) -> None:
    task, row = arrived(alice, "p13 n12")
    Coin.objects.filter(pk=row.pk).update(**moved)
    if not is_read_before:
        if moved.keys() & {"secrets", "pown"}:
            return
        row.refresh_from_db()
    elif "state" in moved:
        Coin.objects.filter(pk=row.pk).update(changed_at="2026-01-01T00:00Z")
    before = every_row(Coin)

    late_answers._write_arrived(task, [row], {row.pk: {13: Reply.PASS}})

    assert every_row(Coin) == before


@pytest.mark.parametrize(
    ("moved", "rests"),
    [
        ({}, True),
        ({"state": CoinState.FRACKED}, True),
        ({"state": CoinState.LOCKED}, False),
        ({"state": CoinState.LIMBO}, False),
        ({"task_id": UUID(int=1)}, False),
        ({"changed_at": None}, False),
    ],
)
def test_a_coin_rests_since_the_task_that_moved_it_last(moved: dict[str, Any], rests: bool) -> None:
    ended_at = timezone.now()
    row = Coin(**{"state": CoinState.BANK, "changed_at": ended_at, **moved})

    assert late_answers._rests_since(row, ended_at) is rests
    assert not late_answers._rests_since(row, ended_at + timedelta(microseconds=1))


def test_a_receipt_is_settled_by_the_line_of_the_same_denomination(alice: Wallet) -> None:
    """All lines have one serial number, which is counted within a denomination."""
    earlier, later, neighbour = (post(alice, ONE) for _ in range(3))
    for task, denomination, state, pown in (
        (earlier, 0, "limbo", "p9 n16"), (earlier, 1, "limbo", "p9 n16"),
        (later, 0, "bank", "p25"), (later, 2, "bank", "p13 n12"), (neighbour, 3, "limbo", "p9 n16"),
    ):  # fmt: skip
        ReceiptLine.objects.create(task=task, denomination=denomination, serial_number=1, pown=at(pown), state=state)

    assert current_results.follow(later=later) == [earlier.pk]

    settled = {
        line.denomination: (line.became, line.settled_by_id) for line in ReceiptLine.objects.filter(task=earlier)
    }
    assert settled == {0: ("bank", later.pk), 1: (None, None)}
    tally, _, passes = current_results.as_it_is_now(earlier)
    assert (tally.count, tally.whole, passes) == ({CoinState.BANK: 1, CoinState.LIMBO: 1}, 1, {25})


def test_a_receipt_is_settled_once_and_its_other_lines_follow(alice: Wallet) -> None:
    """A task left two coins open. The first was settled; a later task has both."""
    earlier, first, later = post(alice, ONE), post(alice, ONE), post(alice, ONE)
    LockerTask.objects.update(kind=TaskKind.TAKE, amount=2 * ONE)
    for number in (1, 2):
        ReceiptLine.objects.create(task=earlier, denomination=0, serial_number=number, pown="n" * 25, state="limbo")
    ReceiptLine.objects.create(task=first, denomination=0, serial_number=1, pown="p" * 25, state="bank")
    assert current_results.follow(later=first) == [earlier.pk]
    for number, state in ((1, "locked"), (2, "missed")):
        ReceiptLine.objects.create(task=later, denomination=0, serial_number=number, pown="p" * 25, state=state)

    assert current_results.follow(later=later) == [earlier.pk]

    assert list(
        ReceiptLine.objects.filter(task=earlier).order_by("serial_number").values_list("became", "settled_by")
    ) == [("bank", first.pk), ("missed", later.pk)]
    assert current_results.follow(later=later) == []


def test_a_receipt_follows_only_a_task_that_says_another_thing_of_a_coin(alice: Wallet) -> None:
    earlier, *others = (post(alice, ONE) for _ in range(5))
    for task, state in zip((earlier, *others), ("limbo", "limbo", "errored", "errored", "bank"), strict=True):
        ReceiptLine.objects.create(task=task, denomination=0, serial_number=1, pown="n" * 25, state=state)

    assert [earlier.pk in current_results.follow(later=task) for task in others] == [False, True, False, True]
    line = ReceiptLine.objects.get(task=earlier)
    assert (line.became, line.settled_by_id) == ("bank", others[-1].pk)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DELETE FROM lockers_receiptline", "receipts are only appended"),
        ("UPDATE lockers_receiptline SET state = 'bank'", "of a receipt only letters of servers change"),
        ("UPDATE lockers_receiptline SET serial_number = 9", "of a receipt only letters of servers change"),
        ("UPDATE lockers_receiptline SET pown = repeat('n', 25)", "of a receipt only letters of servers change"),
        ("DELETE FROM lockers_statementline", "lines are only appended"),
        ("UPDATE lockers_statementline SET amount = 1", "lines are only appended"),
        ("DELETE FROM lockers_account", "an account stays with its lines"),
    ],
)
def test_receipts_and_statements_are_kept(sql: str, why: str, alice: Wallet) -> None:
    task = post(alice, ONE)
    ReceiptLine.objects.create(task=task, denomination=0, serial_number=1, pown=at("p13 n12"), state="limbo")
    before = every_row(ReceiptLine, StatementLine, Account)

    with pytest.raises(DatabaseError, match=why), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)

    assert every_row(ReceiptLine, StatementLine, Account) == before
    # An answer that comes late is a letter more.
    ReceiptLine.objects.update(pown="p" * 25)


@pytest.mark.parametrize(
    ("kind", "batch", "is_doubted"),
    [
        (TaskKind.PUT, 0, True),
        (TaskKind.TAKE, 0, True),
        (TaskKind.IMPORT, 0, True),
        (TaskKind.FIND, 0, True),
        (TaskKind.PUT, coin_breaks.POOL, False),
        (TaskKind.PUT, coin_breaks.FIRST_BREAK, True),
        (TaskKind.BREAK, coin_breaks.FIRST_BREAK, True),
        (TaskKind.BREAK, coin_breaks.FIRST_BREAK - 1, True),
        (TaskKind.EXPORT, coin_breaks.FIRST_BREAK, True),
        (TaskKind.EXPORT, 0, False),
        (TaskKind.FIX, 0, False),
    ],
)
def test_a_break_in_flight_is_doubted_when_books_were_set_back(
    kind: TaskKind, batch: int, is_doubted: bool, alice: Wallet
) -> None:
    task = LockerTask.objects.create(
        kind=kind, wallet=alice, actor=alice, receipt_id=secrets.token_hex(16), deadline="2999-01-01 00:00Z",
        lease_until="2999-01-01 00:00Z",
    )  # fmt: skip
    rows = stock(alice, 0, 0)
    Coin.objects.filter(pk=rows[0].pk).update(task=task, batch=batch, outcome=at("-1 d1 o1 r1 p9 f12"))
    Coin.objects.filter(pk=rows[1].pk).update(task=post(alice, ONE), batch=batch, outcome="-" * 25)

    assert restore.doubt_tasks_in_flight() == [restore.InFlight(task.pk, kind, 1)]

    # The worker that held it is of the time before the backup.
    assert LockerTask.objects.get(pk=task.pk).lease_until is None
    assert Coin.objects.get(pk=rows[0].pk).outcome == at("n4 p9 f12" if is_doubted else "-1 d1 o1 r1 p9 f12")
    # A task that has ended is in no doubt.
    assert Coin.objects.get(pk=rows[1].pk).outcome == "-" * 25


# Looking.


@pytest.mark.parametrize(
    "moved", [{"state": "fracked"}, {"changed_at": "2026-01-01T00:00Z"}, {"batch": 0, "outcome": "-" * 25}, {}]
)
def test_a_coin_that_moved_while_the_servers_were_asked_is_no_finding(moved: dict[str, Any], alice: Wallet) -> None:
    (row,) = stock(alice, 0)
    row.refresh_from_db()
    if "batch" in moved:
        moved = {**moved, "task": post(alice, ONE)}
    Coin.objects.filter(pk=row.pk).update(**moved)

    assert reconciliation._is_unchanged(row) is not bool(moved)


def test_12_servers_that_have_the_number_from_before_a_put_are_no_finding_and_13_are(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str
) -> None:
    give(alice, mint(0, 0, 0, 0))
    network.fault(range(12), "silent")
    assert put(alice, 1, code).state == "completed"
    network.clear()
    assert list(reconciliation.server_findings()) == []

    # Coins that never left, beside one that 12 have not stored.
    free = Coin.objects.filter(state="bank").order_by("id")[0]
    Coin.objects.filter(pk=free.pk).update(state="locked", locker=Coin.objects.get(state="locked").locker)
    (finding,) = reconciliation.server_findings()
    assert finding.detail == f"{free} never left, say 25"


def test_12_servers_do_not_open_a_locker_that_all_have_forgotten(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    give(alice, mint(0, 0, 0, 0))
    network.fault(range(12), "silent")
    assert put(alice, 4, code).state == "completed"
    network.clear()
    network.fault(range(25), "forget")
    network.fault(12, "wrong-secret")
    network.forget_seen()

    task = finish(take_coins.start(actor=bob, name="bob", code=code))

    assert (task.state, states(bob), states(alice)) == ("error", {}, {"locked": 4})
    assert network.seen(Command.REMOVE) + network.seen(Command.POWN) == 0
    network.clear(12)
    assert finish(take_coins.start(actor=bob, name="bob", code=code)).state == "completed"
    assert_true_to_the_servers()


def test_the_key_of_another_locker_is_never_taken_for_a_number_of_ours(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 servers stored the coins in the first locker without an answer: its key may be the proposed number there."""
    give(alice, mint(0, 0, 0, 0))
    network.fault(range(12), "drop-reply")
    with monkeypatch.context() as patch:
        refuse_puts(patch, range(12, 25))
        assert put(alice, 4).state == "error"
    network.clear()
    assert set(Coin.objects.values_list("state", "pown")) == {("bank", at("n12 p13"))}
    assert Coin.objects.exclude(proposed=None).count() == 4
    network.fault(24, "silent")
    network.forget_seen()

    put(alice, 4, code)

    # Asked what they hold, they name the first locker's key: nothing is put there with it.
    assert network.seen(Command.PUT) == 13
    assert states(alice) == {"limbo": 4}
    for row in Coin.objects.all():
        assert not any(map(is_locker_key, vault.open_numbers(row.secrets, coin_id=row.pk)))


def test_13_servers_that_hold_the_old_number_give_coins_back_and_12_do_not(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str
) -> None:
    give(alice, mint(0, 0, 0, 0))
    network.fault(range(25), "silent")
    put(alice, 4, code)
    network.clear()
    network.fault(range(12), "wrong-secret")
    network.fault(12, "silent")
    network.forget_seen()

    find(alice)

    assert states(alice) == {"limbo": 4}
    assert not Coin.objects.filter(releasing=True).exists()
    assert network.seen(Command.POWN) == 0
    network.clear(12)
    find(alice)
    assert states(alice) == {"fracked": 4}
    assert set(Coin.objects.values_list("passes", "releasing")) == {(13, False)}
    assert_true_to_the_servers()


def test_a_coin_is_powned_out_of_a_locker_only_where_the_server_does_not_list_it(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that did not answer the remove holds the key too, and may still execute it."""
    give(alice, mint(0, 0, 0, 0))
    with monkeypatch.context() as patch:
        refuse_puts(patch, range(13))
        delayed = Delayed(network, Command.REMOVE, patch, raidas=[24])
        network.forget_seen()
        assert put(alice, 4).state == "error"

        assert (network.seen(Command.PUT), network.seen(Command.REMOVE), network.seen(Command.POWN)) == (12, 11, 0)
        assert states(alice) == {"bank": 4}
        assert delayed.arrive() == [241]


def test_nothing_is_sent_again_to_a_server_that_has_not_said_what_it_holds(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    records = mint(0, 0, 0, 0)
    network.fault(range(13), "silent")
    finish(import_files.start(actor=alice, name="alice", uploads=[("c.bin", write_bin(records))]))
    assert states(alice) == {"limbo": 4}
    network.forget_seen()

    find(alice)

    assert (network.seen(Command.FIND), network.seen(Command.POWN)) == (25 + 13, 0)
    assert states(alice) == {"limbo": 4}
    network.clear()
    find(alice)
    assert states(alice) == {"bank": 4}
    assert_true_to_the_servers()


@pytest.mark.parametrize(
    ("told", "are_enough"),
    [
        ([Reply.HAS_OLD] * 13, True),
        ([Reply.HAS_OLD] * 4 + [Reply.HAS_NEW] * 4 + [Reply.HAS_NEITHER] * 5, True),
        ([Reply.HAS_OLD] * 12, False),
        ([Reply.HAS_OLD] * 12 + [Reply.ERROR] * 13, False),
        ([Reply.HAS_OLD] * 12 + [Reply.SILENT] * 13, False),
    ],
)
def test_13_servers_tell_which_number_they_hold(told: list[Reply], are_enough: bool) -> None:
    assert import_._enough_told(told) is are_enough
