"""Two wallets claim the same coin: the outcome of each command in each state, which claim waits, and which is next."""

import base64
import dataclasses
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from django.db import connection

from lockers import competing_claims, errors, export_queries, queries, tasks, vault
from lockers.models import Coin, Export, LockerTask
from lockers.operations import export as export_coins
from lockers.operations import import_files, new_task, take
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.files import CoinRecord, write_bin
from lockers.states import SPENDABLE, CoinState, FileType, Step, TaskKind, TaskState
from lockers.worker import task_store
from lockers.worker.take import reserve_listed
from tests.api.caller import answer, logged_in
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.support.coin_commands import give, put
from tests.support.coin_rows import _numbers, a_coin, a_task, units
from tests.support.local_network import LocalNetwork
from wallets import operations as wallets
from wallets.models import Wallet


def forged(records: list[CoinRecord]) -> list[CoinRecord]:
    """The same serial numbers, and numbers that no server knows."""
    return [dataclasses.replace(record, ans=vault.fresh_numbers()) for record in records]


def imports(wallet: Wallet, records: list[CoinRecord]) -> new_task.Started:
    return import_files.start(actor=wallet, name=wallet.name, uploads=[("c.bin", write_bin(records))])


# Every state, for every command.


def record_of(coin: WireCoin) -> CoinRecord:
    return CoinRecord(coin, vault.fresh_numbers())


def by_import(wallet: Wallet, coin: WireCoin) -> str:
    try:
        task = imports(wallet, [record_of(coin)]).task
    except errors.ImportUnderWay:
        return "busy"
    except errors.NothingToImport:
        return "held"
    return state_of_claim(wallet, coin, task)


def by_take(wallet: Wallet, coin: WireCoin) -> str:
    task = a_task(wallet, TaskKind.TAKE)
    held = task_store.claim(task_id=task.pk)
    assert held is not None
    keys = vault.fresh_numbers()
    _, came = reserve_listed(held=held, wallet_id=wallet.pk, coins=[coin], keys=keys)
    return "held" if came.held else "busy" if came.busy else state_of_claim(wallet, coin, task)


def by_recall(wallet: Wallet, coin: WireCoin) -> str:
    """Recall an exported file with the coin; it can be fetched until a wallet holds the coin again."""
    exported = a_coin(wallet, CoinState.EXPORTED)
    Coin.objects.filter(serial_number=exported.serial_number).update(serial_number=coin.serial_number)
    export = Export.objects.filter(wallet=wallet).latest("created_at")
    found = bool(export_queries.coins_in_file(export=export))
    try:
        task = export_coins.recall(actor=wallet, export_id=export.pk).task
    except errors.ExportReturned:
        assert not found
        return "held"
    assert found
    return state_of_claim(wallet, coin, task)


def state_of_claim(wallet: Wallet, coin: WireCoin, task: LockerTask) -> str:
    row = Coin.objects.get(wallet=wallet, serial_number=coin.serial_number, task=task)
    task.refresh_from_db()
    assert task.is_parked == (row.state == CoinState.WAITING)
    return {"incoming": "begins", "waiting": "waits"}[row.state]


COMMANDS: dict[str, Callable[[Wallet, WireCoin], str]] = {"import": by_import, "take": by_take, "recall": by_recall}
# What a command answers that meets a coin of another wallet in this state.
ELSEWHERE = {
    CoinState.WAITING: "waits",
    CoinState.INCOMING: "waits",
    CoinState.BANK: "held",
    CoinState.FRACKED: "held",
    CoinState.LIMBO: "waits",
    CoinState.ERRORED: "waits",
    CoinState.CHANGE: "waits",
    CoinState.COUNTERFEIT: "begins",
    CoinState.LOCKED: "begins",
    CoinState.EXPORTED: "begins",
    CoinState.SENT: "begins",
    CoinState.BROKEN: "begins",
    CoinState.VOID: "begins",
    CoinState.MISSED: "begins",
}
# And of the same wallet, where that is something else.
AT_HOME = ELSEWHERE | dict.fromkeys(
    (CoinState.WAITING, CoinState.INCOMING, CoinState.LIMBO, CoinState.ERRORED, CoinState.CHANGE), "busy"
)


def test_each_state_of_a_coin_elsewhere_has_its_answer_for_each_command(alice: Wallet, bob: Wallet) -> None:
    assert set(ELSEWHERE) == set(CoinState)
    for command, ask in COMMANDS.items():
        for state, expected in ELSEWHERE.items():
            if command == "recall" and state in (CoinState.LOCKED, CoinState.EXPORTED):
                continue  # A coin is in one locker or file.
            assert ask(bob, a_coin(alice, state)) == expected, (command, state)
        for state in SPENDABLE:
            on_its_way = a_coin(alice, state, on_its_way_into_a_locker=True)
            assert ask(bob, on_its_way) == "waits", (command, state)


def test_each_state_of_a_coin_of_ones_own_has_its_answer(alice: Wallet) -> None:
    for command, ask in COMMANDS.items():
        for state, expected in AT_HOME.items():
            if command == "recall" and state in (CoinState.LOCKED, CoinState.EXPORTED):
                continue
            # A recall that is under way is what stops the next one.
            told = "held" if command == "recall" and expected == "busy" else expected
            assert ask(alice, a_coin(alice, state)) == told, (command, state)


def test_a_refused_import_changes_nothing(alice: Wallet, bob: Wallet) -> None:
    coins = [a_coin(alice, CoinState.BANK), a_coin(bob, CoinState.LIMBO)]
    before = list(Coin.objects.order_by("id").values()), LockerTask.objects.count()

    for coin in coins:
        with pytest.raises(errors.NothingToImport):
            imports(bob, [record_of(coin)])

    assert (list(Coin.objects.order_by("id").values()), LockerTask.objects.count()) == before


# What becomes of those who wait.


def test_an_import_waits_for_a_forged_one_and_goes_on_by_itself(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet
) -> None:
    true = mint(0, 0, 0, 0)
    forgery = imports(alice, forged(true))

    honest = imports(bob, true)

    assert honest.task.result["files"] == [{"name": "c.bin", "accepted": 0, "refused": 0, "waiting": 4}]
    assert queries.contents_of(wallet_list=[bob])[0].grades["reserved"] == (0, 0)
    tasks.run(str(honest.task.pk))
    assert LockerTask.objects.get(pk=honest.task.pk).attempt == 0
    assert competing_claims.unpark(limit=100) == []
    # The forgery goes before its wallet's other tasks.
    assert LockerTask.objects.get(pk=forgery.task.pk).is_wanted
    finish(forgery)
    assert competing_claims.unpark(limit=100) == [honest.task.pk]
    ended = finish(honest)

    assert (ended.state, ended.message, ended.result["total"]) == ("completed", "Imported.", units(4))
    assert (states(alice), states(bob)) == ({"counterfeit": 4}, {"bank": 4})
    assert_true_to_the_servers()


def test_who_repeats_a_forgery_for_ever_does_not_come_before_the_owner_again(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, charlie: Wallet
) -> None:
    true = mint(0, 0, 0, 0)
    first = imports(alice, forged(true))
    honest = imports(bob, true)
    others = [imports(charlie, forged(true))]
    finish(first)
    # The way is free, and the owner has not gone on yet: a new claim queues all the same.
    others.append(imports(alice, forged(true)))
    assert set(Coin.objects.values_list("state", flat=True)) == {"waiting", "counterfeit"}

    assert competing_claims.unpark(limit=100) == [honest.task.pk]
    assert finish(honest).result["total"] == units(4)

    assert set(competing_claims.unpark(limit=100)) == {other.task.pk for other in others}
    for other in others:
        ended = finish(other)
        assert (ended.state, ended.result["total_left"]) == ("error", units(4))
        assert ended.message.startswith(
            "Nothing was imported. 4 CloudCoin left out: already in a wallet of this service, or on the way into one."
        )
    assert (states(bob), states(charlie), states(alice)) == ({"bank": 4}, {}, {"counterfeit": 4})
    assert_true_to_the_servers()


def test_a_wallet_waits_for_a_coin_once(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet) -> None:
    true = mint(0, 0, 0, 0)
    imports(alice, forged(true))
    imports(bob, true)

    with pytest.raises(errors.ImportUnderWay) as refusal:
        imports(bob, true)

    assert refusal.value.extra["files"][0]["refusals"][0]["reason"].startswith("Another task of this wallet is")
    assert Coin.objects.filter(wallet=bob).count() == 4


def test_an_import_under_way_is_409_with_retry_after(db: None, network: LocalNetwork, mint: Mint) -> None:
    caller = logged_in("alice", "unused")
    data = base64.b64encode(write_bin(mint(0, 0, 0, 0))).decode()
    body = {"name": "alice", "items": [{"type": "inline", "data": data}]}
    assert caller.post("/api/v1/import", body).status_code == 200

    again = caller.post("/api/v1/import", body)

    assert (again.status_code, again.headers["Retry-After"]) == (409, "5")
    assert answer(again)[1]["message"].startswith("No coin was imported. Another task of this wallet is importing")


def test_a_take_says_what_it_leaves_and_another_task_goes_on_with_it(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, charlie: Wallet, code: str
) -> None:
    give(alice, mint(0, 0, 0, 0))
    assert put(alice, 4, code).state == "completed"
    locked = list(Coin.objects.filter(state="locked").order_by("serial_number"))
    forgery = imports(charlie, [record_of(WireCoin(0, row.serial_number)) for row in locked[:2]])

    taken = finish(take.start(actor=bob, name="bob", code=code, tag="rent"))

    successor = LockerTask.objects.get(kind="take", state="running")
    assert (taken.state, taken.result["total"], taken.result["total_left"]) == ("completed", units(2), units(2))
    assert taken.result["continued_by"] == str(successor.pk)
    assert taken.message == (
        "2 CloudCoin taken; 2 CloudCoin claimed by another task and still in the locker:"
        f" task {successor.pk} continues with them."
    )
    assert states(bob) == {"bank": 2, "waiting": 2}
    assert (successor.is_parked, successor.tag, vault.task_code(successor)) == (True, "rent", code)
    finish(forgery)
    assert competing_claims.unpark(limit=100) == [successor.pk]
    rest = finish(new_task.Started(successor))

    assert (rest.state, rest.message, rest.result["total"]) == ("completed", "Taken.", units(2))
    assert (states(bob), states(alice), states(charlie)) == ({"bank": 4}, {"sent": 4}, {"counterfeit": 2})
    assert_true_to_the_servers()


def test_a_take_of_which_everything_is_claimed_waits_and_then_takes(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, charlie: Wallet, code: str
) -> None:
    give(alice, mint(0, 0, 0, 0))
    put(alice, 4, code)
    forgery = imports(charlie, [record_of(WireCoin(0, row.serial_number)) for row in Coin.objects.all()])
    started = take.start(actor=bob, name="bob", code=code)

    tasks.run(str(started.task.pk))

    parked = queries.task_visible_to(actor=bob, task_id=started.task.pk).task
    assert (parked.state, parked.step, parked.is_parked, parked.lease_until) == ("running", Step.WAITING, True, None)
    finish(forgery)
    tasks.sweep()
    assert finish(started).result["total"] == units(4)
    assert_true_to_the_servers()


def test_who_waits_for_too_long_is_told_and_the_code_still_opens_the_locker(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, charlie: Wallet, code: str
) -> None:
    give(alice, mint(0, 0, 0, 0))
    put(alice, 4, code)
    forgery = imports(charlie, [record_of(WireCoin(0, row.serial_number)) for row in Coin.objects.all()])
    started = take.start(actor=bob, name="bob", code=code)
    tasks.run(str(started.task.pk))
    LockerTask.objects.filter(pk=started.task.pk).update(deadline="2020-01-01T00:00Z")

    assert competing_claims.unpark(limit=100) == [started.task.pk]
    ended = finish(started)

    assert (ended.state, ended.result["total_left"]) == ("error", units(4))
    assert ended.message == (
        "Nothing was taken; 4 CloudCoin claimed by another task and still in the locker: take again later with"
        " the same code."
        " The deadline of the task passed before it could finish."
    )
    assert states(bob) == {}
    finish(forgery)
    again = finish(take.start(actor=bob, name="bob", code=code))
    assert (again.message, states(bob)) == ("Taken.", {"bank": 4})
    assert_true_to_the_servers()


def test_a_file_of_a_wallet_is_fetched_and_recalled_although_another_claims_its_coins(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet
) -> None:
    give(alice, mint(0, 0, 0, 0))
    export = export_coins.start(actor=alice, name="alice", units=units(4), file_type=FileType.BIN).task
    forgery = imports(bob, [record_of(WireCoin(0, row.serial_number)) for row in Coin.objects.all()])

    assert export_coins.fetch(actor=alice, export_id=export.pk).content
    recall = export_coins.recall(actor=alice, export_id=export.pk)

    assert recall.files[0].waiting == 4
    finish(forgery)
    assert competing_claims.unpark(limit=100) == [recall.task.pk]
    assert finish(recall).result["total"] == units(4)
    assert_true_to_the_servers()


def test_an_import_of_two_numbers_that_waited_is_sorted_out_first(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet
) -> None:
    true = mint(0, 0, 0, 0)
    forgery = imports(alice, forged(true))
    other = vault.fresh_numbers()
    cut_off = [dataclasses.replace(record, ans=other, pans=record.ans) for record in true]
    honest = import_files.start(actor=bob, name="bob", uploads=[("c.bin", write_bin(cut_off))])
    finish(forgery)
    competing_claims.unpark(limit=100)

    assert finish(honest).result["total"] == units(4)
    assert_true_to_the_servers()


# Never twice.


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_guarded", [True, False])
def test_of_claims_that_come_at_once_one_is_first(is_guarded: bool, settings: Any) -> None:
    """The control drops the constraint; then several wallets hold the same coin."""
    names = ["alice", "bob", "charlie", "dora"]
    callers = [wallets.create_wallet(name=name, password="unused but long") for name in names]
    coins = [WireCoin(0, next(_numbers)) for _ in range(40)]
    barrier = threading.Barrier(len(callers))
    failures: list[Exception] = []

    def claim(wallet: Wallet) -> None:
        with closing(connection):
            try:
                barrier.wait(timeout=60)
                imports(wallet, [record_of(coin) for coin in coins])
            except Exception as error:  # noqa: BLE001 - shown by the test
                failures.append(error)

    if not is_guarded:
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX coin_is_held_once")
    try:
        threads = [threading.Thread(target=claim, args=(wallet,)) for wallet in callers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        held = Coin.objects.filter(state=CoinState.INCOMING).count()
    finally:
        if not is_guarded:
            Coin.objects.all().delete()
            with connection.cursor() as cursor:
                cursor.execute(
                    "CREATE UNIQUE INDEX coin_is_held_once ON lockers_coin (denomination, serial_number)"
                    " WHERE state IN ('incoming', 'bank', 'fracked', 'limbo', 'errored', 'change')"
                )

    assert failures == []
    assert held == 40 if is_guarded else held > 40


@pytest.mark.django_db(transaction=True)
def test_a_waiting_claim_and_one_that_had_not_seen_it_do_not_both_begin(alice: Wallet, bob: Wallet) -> None:
    """The new claim is inserted but not committed when the waiting one would start."""
    coin = a_coin(alice, CoinState.INCOMING)
    waiting = imports(bob, [record_of(coin)])
    Coin.objects.filter(wallet=alice).delete()
    assert task_store.claim(task_id=waiting.task.pk) is None
    LockerTask.objects.filter(pk=waiting.task.pk).update(is_parked=False)
    held = task_store.claim(task_id=waiting.task.pk)
    assert held is not None
    # As a claim does that was begun before the other's was committed.
    a_row = a_coin(alice, CoinState.INCOMING)
    Coin.objects.filter(serial_number=a_row.serial_number).update(serial_number=coin.serial_number)

    assert competing_claims.promote_waiting(held=held) is False

    assert LockerTask.objects.get(pk=waiting.task.pk).is_parked
    assert sorted(Coin.objects.values_list("state", flat=True)) == ["incoming", "waiting"]
    assert competing_claims.left_of(task_id=waiting.task.pk) == (0, units(1))
    assert LockerTask.objects.get(pk=waiting.task.pk).state == TaskState.RUNNING
