"""
Which coins a task reserves, which claims wait for others, and which of them the end of the task hands on.

No server is needed. Each case has other rows that must not change.
"""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.db.models.functions import Now

from lockers import coin_import, competing_claims, errors, export_file_names, vault
from lockers.coin_breaks import FIRST_BREAK
from lockers.models import Coin, Export, Locker, LockerTask
from lockers.operations import break_coin, find, put, reserve
from lockers.operations import export as export_coins
from lockers.raida.archives import Member, write_zip
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.files import CoinRecord, write_bin
from lockers.states import CoinState, FileType, TaskKind
from tests.lockers.stock import stock
from tests.support.coin_rows import a_coin, a_task
from wallets.models import Wallet

ONE = 10**8


def every_coin() -> list[dict[str, Any]]:
    return list(Coin.objects.order_by("id").values())


@pytest.fixture
def task(alice: Wallet) -> LockerTask:
    return a_task(alice, TaskKind.PUT)


def taken(row: Coin) -> None:
    """Take the coins for another task, between the choice and the reservation."""
    Coin.objects.filter(pk=row.pk).update(task=a_task(row.wallet, TaskKind.PUT), batch=7, outcome="p" * 25)


# Reserving.


def test_a_coin_that_another_task_has_stops_the_reservation_of_all(task: LockerTask, alice: Wallet) -> None:
    rows = stock(alice, 0, 0, 0)
    taken(rows[1])
    before = every_coin()

    with pytest.raises(errors.CoinsBusy), transaction.atomic():
        reserve.reserve_coins([row.pk for row in rows], task=task)

    assert every_coin() == before
    reserve.reserve_coins([rows[2].pk], task=task)
    assert {row["id"] for row in every_coin() if row["task_id"] == task.pk} == {rows[2].pk}


def moved_to(state: CoinState) -> Callable[[Coin], None]:
    def spoil(row: Coin) -> None:
        Coin.objects.filter(pk=row.pk).update(state=state)

    return spoil


@pytest.mark.parametrize("spoil", [taken, moved_to(CoinState.FRACKED), moved_to(CoinState.LIMBO)])
def test_a_coin_that_is_not_free_or_not_whole_is_not_broken(
    spoil: Callable[[Coin], None], task: LockerTask, alice: Wallet
) -> None:
    row, _ = stock(alice, 1, 1)
    spoil(row)
    before = every_coin()

    with pytest.raises(errors.CoinsBusy), transaction.atomic():
        reserve.reserve_to_break(row.pk, task=task)

    assert every_coin() == before


def test_the_coin_that_most_servers_accept_is_broken_and_only_a_free_one_of_the_wallet(
    alice: Wallet, bob: Wallet
) -> None:
    # By its id, the thin one would be the first.
    thin, best, reserved, fracked = sorted(stock(alice, 1, 1, 1, 1), key=lambda row: row.pk)
    stock(bob, 1)
    Coin.objects.filter(pk=thin.pk).update(pown="p" * 20 + "n" * 5)
    Coin.objects.filter(pk=best.pk).update(pown="p" * 24 + "n")
    Coin.objects.filter(pk=fracked.pk).update(state=CoinState.FRACKED)
    taken(reserved)

    with transaction.atomic():
        assert reserve.lock_one_to_break(alice, 1) == best.pk
        assert reserve.lock_one_to_break(alice, 0) is None
    begun = break_coin.start(actor=alice, name="alice", denomination=1).task

    assert list(Coin.objects.filter(task=begun).values_list("pk", "batch", "family")) == [
        (best.pk, FIRST_BREAK, best.pk)
    ]


def test_only_free_coins_of_the_wallet_are_chosen_and_whole_ones_first(alice: Wallet, bob: Wallet) -> None:
    fracked, _ = stock(alice, 0, 1, state=CoinState.FRACKED)
    # The first by its id.
    Coin.objects.filter(pk=fracked.pk).update(id=UUID(int=1))
    fracked = Coin.objects.get(pk=UUID(int=1))
    whole, reserved, lost, foreign = (*stock(alice, 0, 0, 0), *stock(bob, 0))
    taken(reserved)
    Coin.objects.filter(pk=lost.pk).update(state=CoinState.LIMBO)

    with transaction.atomic():
        assert reserve._lock_free(alice, {0: 9}) == [whole.pk, fracked.pk]
        assert reserve._lock_free(alice, {0: 1}) == [whole.pk]
        assert reserve._lock_free(bob, {0: 9, 1: 9}) == [foreign.pk]


def test_the_coin_that_is_broken_is_not_among_those_that_leave_whole(alice: Wallet) -> None:
    rows = stock(alice, 1, 1)

    task = put.start(actor=alice, name="alice", units=13 * ONE).task

    (whole,) = Coin.objects.filter(task=task, locker=task.locker)
    (broken,) = Coin.objects.filter(task=task, batch=FIRST_BREAK)
    assert {whole.pk, broken.pk} == {row.pk for row in rows}
    assert (broken.locker_id, whole.batch) == (None, 0)


@pytest.mark.parametrize(("at_most", "fits"), [(1 + 9 * 14, True), (9 * 14, False)])
def test_a_break_leaves_room_for_nine_more_coins_of_each_denomination(at_most: int, fits: bool, alice: Wallet) -> None:
    rows = stock(alice, 1, 1)

    if fits:
        locked, to_break = reserve.lock_coins_or_break(alice, 11 * ONE, at_most=at_most)
        assert {*locked, to_break} == {row.pk for row in rows}
    else:
        with pytest.raises(errors.InvalidLockerRequest, match="This amount needs 1 coins; at most 126 go at once"):
            reserve.lock_coins_or_break(alice, 11 * ONE, at_most=at_most)


def test_coins_that_are_recalled_may_be_anothers_by_now_and_are_not_called_counterfeit(alice: Wallet) -> None:
    stock(alice, 0, 0)
    export = export_coins.start(actor=alice, name="alice", units=ONE, file_type=FileType.BIN).task
    (before,) = Coin.objects.filter(export__task=export)

    task = export_coins.recall(actor=alice, export_id=export.pk).task

    (row,) = Coin.objects.filter(task=task)
    assert (row.origin, row.state, row.serial_number) == ("take", "incoming", before.serial_number)
    held = vault.open_numbers(row.secrets, coin_id=row.pk)
    assert held == vault.open_numbers(before.secrets, coin_id=before.pk)
    assert not set(vault.open_numbers(row.proposed or b"", coin_id=row.pk)) & set(held)


def test_the_arrival_of_a_file_is_confirmed_once(alice: Wallet) -> None:
    stock(alice, 0, 0)
    export, other = (
        export_coins.start(actor=alice, name="alice", units=ONE, file_type=FileType.BIN).task for _ in range(2)
    )
    Export.objects.filter(pk=export.pk).update(confirmed_at="2026-01-01T00:00Z")
    before = list(Export.objects.order_by("pk").values())

    export_coins.confirm(actor=alice, export_id=export.pk)

    assert list(Export.objects.order_by("pk").values()) == before
    assert export_coins.fetch(actor=alice, export_id=other.pk).content
    export_coins.confirm(actor=alice, export_id=other.pk)
    with pytest.raises(errors.ExportConfirmed):
        export_coins.fetch(actor=alice, export_id=other.pk)


def in_doubt(wallet: Wallet, *, locker: Locker | None = None, origin: TaskKind = TaskKind.IMPORT) -> Coin:
    (row,) = stock(wallet, 0)
    Coin.objects.filter(pk=row.pk).update(state=CoinState.LIMBO, locker=locker, origin=origin, proposed=row.secrets)
    return row


def test_a_find_asks_about_the_coins_of_each_locker_and_origin_apart(alice: Wallet, bob: Wallet) -> None:
    first, second = (Locker.objects.create(wallet=alice, amount=1, code=b"") for _ in range(2))
    kinds: list[dict[str, Any]] = [
        {"locker": first},
        {"locker": second},
        {"origin": TaskKind.TAKE},
        {"origin": TaskKind.IMPORT},
    ]
    rows = {number: [in_doubt(alice, **kind) for _ in range(2)] for number, kind in enumerate(kinds)}
    others = [in_doubt(alice), in_doubt(bob), *stock(alice, 0)]
    taken(others[0])
    before = list(Coin.objects.filter(pk__in=[row.pk for row in others]).order_by("id").values())

    task = find.start(actor=alice, name="alice").task

    batches = {
        number: set(Coin.objects.filter(task=task, pk__in=[row.pk for row in each]).values_list("batch", flat=True))
        for number, each in rows.items()
    }
    assert sorted(batches.values(), key=min) == [{0}, {1}, {2}, {3}]
    # Only the batches of lockers are asked about their keys.
    assert sorted(task.plan["puts"]) == sorted(batches[0] | batches[1])
    assert set(Coin.objects.filter(task=task).values_list("outcome", flat=True)) == {"n" * 25}
    assert Coin.objects.filter(task=task).count() == 8
    assert list(Coin.objects.filter(pk__in=[row.pk for row in others]).order_by("id").values()) == before


def test_a_batch_of_a_find_has_as_many_coins_as_a_request(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "BATCH_COINS", 2)
    for _ in range(5):
        in_doubt(alice)

    task = find.start(actor=alice, name="alice").task

    assert sorted(Coin.objects.filter(task=task).values_list("batch", flat=True)) == [0, 0, 1, 1, 2]


def test_a_find_of_a_coin_that_may_be_broken_takes_its_ten_and_no_other_change(alice: Wallet) -> None:
    broken, *ten = stock(alice, 1, *[0] * 3)
    other, *its_own = stock(alice, 1, 0, 0)
    Coin.objects.filter(pk=broken.pk).update(state=CoinState.LIMBO, family=broken.pk)
    Coin.objects.filter(pk__in=[row.pk for row in ten]).update(state=CoinState.CHANGE, family=broken.pk)
    Coin.objects.filter(pk__in=[row.pk for row in its_own]).update(state=CoinState.CHANGE, family=other.pk)
    taken(ten[0])
    # Of an earlier break that was not carried out.
    stock(alice, 0)
    Coin.objects.filter(family=None, denomination=0).update(state=CoinState.VOID, family=broken.pk)

    task = find.start(actor=alice, name="alice").task

    assert set(Coin.objects.filter(task=task).values_list("pk", "batch")) == {
        (row.pk, FIRST_BREAK) for row in (broken, *ten[1:])
    }


# Files.


def record(number: int, denomination: int = 0) -> CoinRecord:
    return CoinRecord(WireCoin(denomination, number), vault.fresh_numbers())


def test_numbers_that_no_server_keeps_are_refused_one_by_one() -> None:
    # Written out: servers keep 1000 * 1024 of each denomination, the first is 0.
    content = write_bin([record(each) for each in (0, 1_023_999, 1_024_000, 2**32 - 1)])

    found = coin_import.read([("c.bin", content)])

    assert [coin.serial_number for coin in found.records] == [0, 1_023_999]
    (outcome,) = found.outcomes
    assert [(coin.serial_number, why) for coin, why in outcome.refused] == [
        (number, "No server keeps a coin with this serial number: they go from 0 to 1,023,999")
        for number in (1_024_000, 2**32 - 1)
    ]


def test_a_coin_that_comes_twice_is_the_one_that_came_first() -> None:
    first, second, alike = record(1), record(1), record(1, 1)

    found = coin_import.read([("a.bin", write_bin([first])), ("b.bin", write_bin([second, alike]))])

    assert [each.ans for each, _ in found.records.values()] == [first.ans, alike.ans]
    assert [[why for _, why in outcome.refused] for outcome in found.outcomes] == [[], [coin_import._TWICE]]


@pytest.mark.parametrize(("number", "fits"), [(3, True), (4, False)])
def test_an_import_of_too_many_coins_is_refused(number: int, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coin_import, "MAXIMUM_COINS", 3)
    uploads = [(f"{each}.bin", write_bin([record(each)])) for each in range(number)]

    if fits:
        assert len(coin_import.read(uploads).records) == number
    else:
        with pytest.raises(errors.InvalidLockerRequest, match="4 coins are too many for one import; at most 3 at once"):
            coin_import.read(uploads)


def test_each_file_says_what_became_of_each_of_its_coins(alice: Wallet, bob: Wallet) -> None:
    held, claimed = a_coin(bob, CoinState.BANK), a_coin(bob, CoinState.LIMBO)
    own = a_coin(alice, CoinState.LIMBO)
    new = WireCoin(0, 1)
    records = [CoinRecord(coin, vault.fresh_numbers()) for coin in (held, claimed, own, new)]
    found = coin_import.read([("c.bin", write_bin(records))])

    saved = coin_import.save(found, task_id=a_task(alice, TaskKind.IMPORT).pk, wallet_id=alice.pk)

    (outcome,) = found.outcomes
    assert (outcome.accepted, outcome.waiting) == (1, 1)
    assert dict(outcome.refused) == {held: coin_import.HELD, own: coin_import.BUSY}
    assert (set(saved.saved), saved.waiting, saved.busy, saved.held) == ({new}, {claimed}, {own}, {held})


def test_coins_with_two_numbers_have_batches_behind_the_others(monkeypatch: pytest.MonkeyPatch, alice: Wallet) -> None:
    monkeypatch.setattr(coin_import, "BATCH_COINS", 2)
    monkeypatch.setattr(competing_claims, "BATCH_COINS", 2)
    plain = [record(number) for number in range(3)]
    proposed = [dataclasses.replace(record(number), pans=vault.fresh_numbers()) for number in range(10, 13)]
    found = coin_import.read([("c.bin", write_bin(proposed)), ("d.bin", write_bin(plain))])
    task = a_task(alice, TaskKind.IMPORT)

    coin_import.save(found, task_id=task.pk, wallet_id=alice.pk)

    assert (found.first_proposed, found.two_secrets) == (2, [2, 3])
    batches = Coin.objects.order_by("batch", "serial_number").values_list("batch", "serial_number")
    assert [batch for batch, number in batches if number < 10] == [0, 0, 1]
    assert [batch for batch, number in batches if number >= 10] == [2, 2, 3]
    # The second number of the file is the one that its coins may have.
    by_number = {each.coin.serial_number: each for each in proposed}
    for row in Coin.objects.filter(serial_number__gte=10):
        assert vault.open_numbers(row.secrets, coin_id=row.pk) == by_number[row.serial_number].ans
        assert vault.open_numbers(row.proposed or b"", coin_id=row.pk) == by_number[row.serial_number].pans


def test_claims_of_coins_with_two_numbers_wait_apart_from_the_others(alice: Wallet, bob: Wallet) -> None:
    """Or a promoted one gets the second number of its file, which the giver knows, in place of a fresh one."""
    coins = [a_coin(bob, CoinState.LIMBO), a_coin(bob, CoinState.LIMBO)]
    plain, proposed = (CoinRecord(coin, vault.fresh_numbers()) for coin in coins)
    proposed = dataclasses.replace(proposed, pans=vault.fresh_numbers())
    found = coin_import.read([("c.bin", write_bin([plain])), ("d.bin", write_bin([proposed]))])

    saved = coin_import.save(found, task_id=a_task(alice, TaskKind.IMPORT).pk, wallet_id=alice.pk)

    assert (saved.waiting, saved.saved) == (set(coins), {})
    waiting = Coin.objects.filter(state=CoinState.WAITING).values_list("serial_number", "batch")
    assert dict(waiting) == {coins[0].serial_number: -1, coins[1].serial_number: -2}


@pytest.mark.parametrize(
    ("sizes", "is_small"),
    [([1024 * 1024], True), ([1024 * 1024 + 1], False), ([512 * 1024, 512 * 1024], True), ([512 * 1024] * 3, False)],
)
def test_a_request_reads_a_mebibyte_and_a_worker_what_is_more(sizes: list[int], is_small: bool) -> None:
    assert coin_import.is_small([("c.bin", b"x" * size) for size in sizes]) is is_small


def test_one_file_that_is_too_large_is_told_in_its_outcome_and_several_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coin_import, "MAXIMUM_BYTES", 10)

    assert coin_import.is_small([("c.bin", b"x" * 11)])
    assert coin_import.is_small([("c.bin", b"x" * 5), ("d.bin", b"x" * 5)])
    with pytest.raises(errors.InvalidLockerRequest, match="unfold to at most"):
        coin_import.is_small([("c.bin", b"x" * 5), ("d.bin", b"x" * 6)])


def test_a_request_reads_archives_of_200_members_and_a_worker_those_of_more() -> None:
    def archive(members: int) -> bytes:
        return write_zip([Member(f"{number}.bin", b"x") for number in range(members)])

    assert coin_import.is_small([("a.zip", archive(200))])
    assert not coin_import.is_small([("a.zip", archive(201))])
    assert not coin_import.is_small([("a.zip", archive(200)), ("b.zip", archive(1))])


# Claims that wait.


@pytest.fixture
def waiting(alice: Wallet) -> LockerTask:
    """A task with a claim that waits, beside one that is being decided and one that it has got; bob waits too."""
    task = a_task(alice, TaskKind.TAKE)
    for state in (CoinState.WAITING, CoinState.INCOMING, CoinState.BANK):
        claim(alice, state, task)
    return task


@pytest.mark.parametrize(("number", "besides", "fits"), [(20, 0, True), (21, 0, False), (8, 12, True), (8, 13, False)])
def test_an_amount_needs_no_more_coins_than_go_at_once(number: int, besides: int, fits: bool) -> None:
    if fits:
        reserve._refuse_too_many(number, at_most=20, besides=besides)
    else:
        with pytest.raises(errors.InvalidLockerRequest, match=f"needs {number} coins; at most 20 go at once"):
            reserve._refuse_too_many(number, at_most=20, besides=besides)


def claim(wallet: Wallet, state: CoinState, task: LockerTask, coin: WireCoin | None = None) -> Coin:
    made = a_coin(wallet, state)
    row = Coin.objects.get(wallet=wallet, serial_number=made.serial_number)
    Coin.objects.filter(pk=row.pk).update(
        task=task, batch=-1 if state == CoinState.WAITING else 0, outcome="-" * 25,
        serial_number=row.serial_number if coin is None else coin.serial_number,
    )  # fmt: skip
    row.refresh_from_db()
    return row


def test_what_waits_is_handed_on_and_nothing_else(waiting: LockerTask, alice: Wallet, bob: Wallet) -> None:
    claim(bob, CoinState.WAITING, a_task(bob, TaskKind.TAKE))
    successor = a_task(alice, TaskKind.TAKE)
    before = {row["id"]: row for row in every_coin()}

    competing_claims.hand_on(task_id=waiting.pk, successor_id=successor.pk)

    (own,) = Coin.objects.filter(wallet=alice, state=CoinState.WAITING)
    assert {row["id"]: row for row in every_coin()} == before | {own.pk: {**before[own.pk], "task_id": successor.pk}}


def test_what_waits_is_given_up_and_nothing_else(waiting: LockerTask, bob: Wallet) -> None:
    claim(bob, CoinState.WAITING, a_task(bob, TaskKind.TAKE))
    before = every_coin()
    (own,) = Coin.objects.filter(task=waiting, state=CoinState.WAITING)

    competing_claims.give_up(task_id=waiting.pk)

    assert every_coin() == [row for row in before if row["id"] != own.pk]


@pytest.mark.parametrize(
    ("state", "on_its_way", "is_given_up"),
    [
        (CoinState.BANK, False, True),
        (CoinState.FRACKED, False, True),
        # It may be in the locker already, and a holder of the code may have taken it.
        (CoinState.BANK, True, False),
        (CoinState.INCOMING, False, False),
        (CoinState.LIMBO, False, False),
        (CoinState.ERRORED, False, False),
        (CoinState.CHANGE, False, False),
        (CoinState.COUNTERFEIT, False, False),
        (CoinState.SENT, False, False),
    ],
)
def test_a_claim_is_given_up_once_a_wallet_is_known_to_hold_the_coin(
    state: CoinState, on_its_way: bool, is_given_up: bool, alice: Wallet, bob: Wallet
) -> None:
    coin = a_coin(bob, state, on_its_way_into_a_locker=on_its_way)
    task = a_task(alice, TaskKind.TAKE)
    claim(alice, CoinState.WAITING, task, coin)
    other = claim(alice, CoinState.WAITING, task)

    assert competing_claims.drop_settled(task_id=task.pk) == (ONE if is_given_up else 0)

    left = Coin.objects.filter(task=task, state=CoinState.WAITING)
    assert (left.count(), left.filter(pk=other.pk).exists()) == (1 if is_given_up else 2, True)


def test_of_claims_of_one_moment_one_is_first(alice: Wallet, bob: Wallet) -> None:
    """Both would become INCOMING, and the second would violate the constraint."""
    tasks = [a_task(wallet, TaskKind.TAKE) for wallet in (alice, bob)]
    first = claim(alice, CoinState.WAITING, tasks[0])
    second = claim(bob, CoinState.WAITING, tasks[1], WireCoin(0, first.serial_number))
    Coin.objects.update(created_at="2026-01-01T00:00Z")
    order = sorted([first, second], key=lambda row: row.pk)

    promoted = {
        row.pk: competing_claims.promote(task_id=UUID(str(row.task_id)), batch_coins=1000).coins
        for row in reversed(order)
    }

    assert promoted == {order[0].pk: 1, order[1].pk: 0}
    assert Coin.objects.get(pk=order[1].pk).state == CoinState.WAITING
    # One that came earlier is first, whatever its id is.
    Coin.objects.filter(pk=order[0].pk).update(state=CoinState.WAITING)
    Coin.objects.filter(pk=order[1].pk).update(created_at="2025-01-01T00:00Z")
    assert competing_claims.promote(task_id=UUID(str(order[0].task_id)), batch_coins=1000).coins == 0
    assert competing_claims.promote(task_id=UUID(str(order[1].task_id)), batch_coins=1000).coins == 1


@pytest.mark.parametrize("state", [CoinState.WAITING, CoinState.INCOMING])
def test_a_claim_does_not_wait_for_one_to_a_coin_of_another_denomination(
    state: CoinState, alice: Wallet, bob: Wallet
) -> None:
    """Serial numbers are counted within a denomination."""
    earlier = claim(bob, state, a_task(bob, TaskKind.TAKE))
    task = a_task(alice, TaskKind.TAKE)
    row = claim(alice, CoinState.WAITING, task)
    Coin.objects.filter(pk=row.pk).update(denomination=1, serial_number=earlier.serial_number)
    Coin.objects.filter(pk=earlier.pk).update(created_at="2025-01-01T00:00Z")

    assert competing_claims.promote(task_id=task.pk, batch_coins=1000).coins == 1


def test_nothing_is_said_of_a_coin_by_one_of_another_denomination_with_its_number(alice: Wallet, bob: Wallet) -> None:
    held, earlier = a_coin(bob, CoinState.BANK), a_coin(bob, CoinState.WAITING)
    Coin.objects.filter(state=CoinState.WAITING).update(batch=-1)
    others = [WireCoin(1, held.serial_number), WireCoin(1, earlier.serial_number)]
    task = a_task(alice, TaskKind.IMPORT)
    numbers = vault.fresh_numbers()

    arrivals = competing_claims.claim(
        task_id=task.pk, wallet_id=alice.pk, origin=TaskKind.IMPORT,
        coins=[(coin, numbers, numbers) for coin in others], batch=0, waiting_batch=-1,
    )  # fmt: skip

    assert list(arrivals.saved) == others
    assert competing_claims._settled(others) == set()
    assert competing_claims._claimed_by(bob.pk, others) == set()
    competing_claims._want_decided(others, task.pk)
    assert not LockerTask.objects.filter(is_wanted=True).exists()


def test_a_claim_is_neither_dropped_nor_begun_for_a_held_coin_of_another_denomination(
    alice: Wallet, bob: Wallet
) -> None:
    held = a_coin(bob, CoinState.BANK)
    decided = claim(bob, CoinState.INCOMING, a_task(bob, TaskKind.IMPORT))
    task = a_task(alice, TaskKind.TAKE)
    row = claim(alice, CoinState.WAITING, task)
    LockerTask.objects.filter(pk=task.pk).update(is_parked=True)
    Coin.objects.filter(pk__in=[row.pk, decided.pk]).update(denomination=1, serial_number=held.serial_number)

    assert competing_claims.unpark(limit=10) == []
    assert competing_claims.drop_settled(task_id=task.pk) == 0
    assert Coin.objects.filter(pk=row.pk, state=CoinState.WAITING).exists()


def test_claims_that_are_first_get_batches_and_those_of_two_numbers_their_own(alice: Wallet) -> None:
    task = a_task(alice, TaskKind.IMPORT)
    plain = [claim(alice, CoinState.WAITING, task) for _ in range(3)]
    proposed = [claim(alice, CoinState.WAITING, task) for _ in range(2)]
    Coin.objects.filter(pk__in=[row.pk for row in proposed]).update(batch=competing_claims.WAITING_WITH_TWO_SECRETS)
    neighbour = claim(alice, CoinState.WAITING, a_task(alice, TaskKind.IMPORT))

    promoted = competing_claims.promote(task_id=task.pk, batch_coins=2)

    assert (promoted.coins, promoted.two_secrets) == (5, [2])
    batches = dict(Coin.objects.filter(task=task, state=CoinState.INCOMING).values_list("pk", "batch"))
    assert sorted(batches[row.pk] for row in plain) == [0, 0, 1]
    assert [batches[row.pk] for row in proposed] == [2, 2]
    assert Coin.objects.get(pk=neighbour.pk).state == CoinState.WAITING


@pytest.mark.parametrize(
    ("claims", "batches"), [(2, [0, 0]), (3, [0, 0, 0]), (4, [0, 0, 0, 1]), (7, [0] * 3 + [1] * 3 + [2])]
)
def test_a_batch_of_promoted_claims_is_filled_before_the_next_begins(
    claims: int, batches: list[int], alice: Wallet
) -> None:
    task = a_task(alice, TaskKind.IMPORT)
    for _ in range(claims):
        claim(alice, CoinState.WAITING, task)

    competing_claims.promote(task_id=task.pk, batch_coins=3)

    assert sorted(Coin.objects.filter(task=task).values_list("batch", flat=True)) == batches


@pytest.mark.parametrize(("overdue", "first"), [(False, False), (True, False), (False, True)])
def test_a_parked_task_goes_on_when_it_is_first_or_its_time_is_up(
    overdue: bool, first: bool, alice: Wallet, bob: Wallet
) -> None:
    coin = a_coin(bob, CoinState.COUNTERFEIT if first else CoinState.INCOMING)
    task, later = a_task(alice, TaskKind.TAKE), a_task(alice, TaskKind.TAKE)
    claim(alice, CoinState.WAITING, task, coin)
    claim(alice, CoinState.WAITING, later, a_coin(bob, CoinState.INCOMING))
    LockerTask.objects.filter(pk__in=[task.pk, later.pk]).update(is_parked=True)
    if overdue:
        LockerTask.objects.filter(pk=task.pk).update(deadline=Now() - timedelta(seconds=1))

    assert competing_claims.unpark(limit=10) == [task.pk] * (overdue or first)

    task.refresh_from_db()
    assert task.is_parked is not (overdue or first)
    assert LockerTask.objects.get(pk=later.pk).is_parked


def test_what_a_task_waits_for_is_counted_in_units(alice: Wallet, bob: Wallet) -> None:
    task = a_task(alice, TaskKind.TAKE)
    for denomination in (-8, 0, 6):
        row = claim(alice, CoinState.WAITING, task)
        Coin.objects.filter(pk=row.pk).update(denomination=denomination)
    claim(alice, CoinState.INCOMING, task)
    claim(bob, CoinState.WAITING, a_task(bob, TaskKind.TAKE))
    assert competing_claims.left_of(task_id=task.pk) == (0, 1 + ONE + 10**14)

    competing_claims.note_left(task.pk, 5)
    competing_claims.note_left(task.pk, 2)

    assert competing_claims.left_of(task_id=task.pk) == (7, 1 + ONE + 10**14)


@pytest.mark.parametrize(("saved", "waiting", "is_parked"), [(1, 0, False), (1, 1, False), (0, 1, True), (0, 0, False)])
def test_a_task_is_parked_only_if_all_that_it_has_waits(
    saved: int, waiting: int, is_parked: bool, alice: Wallet, bob: Wallet
) -> None:
    """One that has coins to ask about goes on with these."""
    task, neighbour = (a_task(alice, TaskKind.IMPORT) for _ in range(2))
    coins = [WireCoin(0, number) for number in range(2)]
    arrivals = competing_claims.Arrivals(dict.fromkeys(coins[:saved], task.pk), set(coins[:waiting]))

    competing_claims.park_if_all_wait(task.pk, arrivals)

    assert LockerTask.objects.get(pk=task.pk).is_parked is is_parked
    assert not LockerTask.objects.get(pk=neighbour.pk).is_parked


def test_claims_behind_one_that_waits_wait_too(alice: Wallet, bob: Wallet) -> None:
    """Otherwise a later claim could be decided first while none is being decided."""
    row = claim(bob, CoinState.WAITING, a_task(bob, TaskKind.TAKE))
    other = WireCoin(0, 1)
    coins = [(coin, vault.fresh_numbers(), vault.fresh_numbers()) for coin in (WireCoin(0, row.serial_number), other)]

    arrivals = competing_claims.claim(
        task_id=a_task(alice, TaskKind.TAKE).pk, wallet_id=alice.pk, origin=TaskKind.TAKE, coins=coins, batch=4,
        waiting_batch=competing_claims.WAITING_BATCH,
    )  # fmt: skip

    assert (set(arrivals.saved), arrivals.waiting) == ({other}, {WireCoin(0, row.serial_number)})
    assert set(Coin.objects.filter(wallet=alice).values_list("state", "batch")) == {("incoming", 4), ("waiting", -1)}


def test_a_coin_that_a_wallet_holds_is_called_held_also_by_who_waits_for_it(alice: Wallet, bob: Wallet) -> None:
    """Waiting does not help: an answer that calls it busy would have the caller retry without end."""
    held = a_coin(bob, CoinState.BANK)
    claim(alice, CoinState.WAITING, a_task(alice, TaskKind.TAKE), held)
    busy = claim(alice, CoinState.WAITING, a_task(alice, TaskKind.TAKE))
    coins = [(coin, vault.fresh_numbers(), vault.fresh_numbers()) for coin in (held, WireCoin(0, busy.serial_number))]
    before = every_coin()

    arrivals = competing_claims.claim(
        task_id=a_task(alice, TaskKind.TAKE).pk, wallet_id=alice.pk, origin=TaskKind.TAKE, coins=coins, batch=0,
        waiting_batch=competing_claims.WAITING_BATCH,
    )  # fmt: skip

    assert (arrivals.held, arrivals.busy) == ({held}, {WireCoin(0, busy.serial_number)})
    assert (bool(arrivals), every_coin()) == (False, before)


@pytest.mark.parametrize(
    ("coins", "name"),
    [
        ([WireCoin(0, 7998)], "1 CloudCoin #7998 'rent'.bin"),
        ([WireCoin(3, 7998)], "1,000 CloudCoin #7998 'rent'.bin"),
        ([WireCoin(0, 5), WireCoin(1, 6)], "11 CloudCoin #2 'rent'.bin"),
    ],
)
def test_a_file_is_named_by_the_number_of_its_coin_or_of_its_coins(coins: list[WireCoin], name: str) -> None:
    assert export_file_names.name_of(coins, tag="rent", extension="bin") == name
