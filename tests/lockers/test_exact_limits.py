"""Conditions at their exact limits, and statements beside a row that they must leave alone."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from lockers import coin_import, errors, task_recovery, transport
from lockers.models import Coin, Locker, LockerTask
from lockers.operations import find as find_coins
from lockers.operations import take_back
from lockers.raida.coins import HIGHEST_DENOMINATION, LOWEST_DENOMINATION, value_of
from lockers.raida.commands import Command
from lockers.raida.statuses import Status
from lockers.states import CoinState, LockerState, TaskKind, TaskState
from lockers.worker import health_check, peek, task_store
from tests.lockers.marks import at
from tests.lockers.scripted import Servers, from_each
from tests.lockers.stock import stock
from tests.support.coin_rows import a_coin, a_task
from wallets.models import Wallet


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    scripted = Servers()
    monkeypatch.setattr(transport, "ask", scripted.ask)
    return scripted


@pytest.mark.parametrize("empty", [12, 13, 14])
def test_13_servers_without_a_locker_refuse_its_code(
    empty: int, servers: Servers, alice: Wallet, code: str, no_wrong_codes: None
) -> None:
    servers.says[Command.PEEK] = [from_each(range(empty), Status.INVALID_ENCRYPTION)]

    with pytest.raises(errors.PeekFailed) as refusal:
        peek.peek(actor_id=alice.pk, code=code)

    assert refusal.value.is_refusal is (empty >= 13)


@pytest.mark.parametrize("denomination", range(LOWEST_DENOMINATION + 1, HIGHEST_DENOMINATION + 1))
def test_a_break_of_any_coin_can_be_begun_again(denomination: int, alice: Wallet) -> None:
    stock(alice, denomination)
    task = a_task(alice, TaskKind.BREAK)
    LockerTask.objects.filter(pk=task.pk).update(
        state=TaskState.ERROR, step="done", finished_at=Now(), amount=value_of(denomination)
    )

    again = task_recovery.retry(LockerTask.objects.get(pk=task.pk))

    assert Coin.objects.get(task=again).denomination == denomination


@pytest.mark.parametrize(("size", "is_small"), [(5, True), (6, False), (10, False), (11, True)])
def test_one_file_of_the_largest_size_is_read_by_a_worker(
    size: int, is_small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coin_import, "MAXIMUM_BYTES", 10)
    monkeypatch.setattr(coin_import, "_SMALL_BYTES", 5)

    assert coin_import.is_small([("c.bin", b"x" * size)]) is is_small


def test_a_find_has_time_for_each_batch_and_each_coin_that_may_be_broken(alice: Wallet) -> None:
    for number in range(3):
        coin = a_coin(alice, CoinState.LIMBO)
        row = Coin.objects.get(serial_number=coin.serial_number)
        if number:
            Coin.objects.filter(pk=row.pk).update(family=row.pk, denomination=1)
    began = timezone.now()

    task = find_coins.start(actor=alice, name="alice").task

    time = task_store.time_for(3000)
    assert began + time <= task.deadline <= timezone.now() + time


def test_a_locker_that_is_put_off_or_taken_back_is_the_only_one(alice: Wallet) -> None:
    at_time = timezone.now() - timedelta(hours=1)
    locker, neighbour = (
        Locker.objects.create(
            wallet=alice, amount=1, code=b"", state=LockerState.FILLED, expires_at=at_time, take_back_at=at_time
        )
        for _ in range(2)
    )
    before = Locker.objects.filter(pk=neighbour.pk).values().get()
    for statement in (take_back._PUT_OFF, take_back._BEGUN):
        with connection.cursor() as cursor:
            cursor.execute(statement, [locker.pk])
            assert cursor.rowcount == 1

    assert Locker.objects.filter(pk=neighbour.pk).values().get() == before


def test_a_check_asks_about_a_coin_the_servers_that_accepted_it(alice: Wallet) -> None:
    first, second = stock(alice, 0, 0)
    Coin.objects.filter(pk=first.pk).update(pown=at("p13 f3 u3 n3 e2 d1"), state=CoinState.FRACKED)
    rows = list(Coin.objects.filter(pk__in=[first.pk, second.pk]).order_by("serial_number"))
    asked: list[transport.Call] = []

    def question(call: transport.Call, batch: int) -> Any:
        asked.append(call)
        return {raida: transport.Answer(raida, Status.ALL_PASS, b"", 0.0) for raida in call.payloads}

    told = health_check.ask(rows, wallet_id=alice.pk, question=question)

    assert [sorted(each) for each in told] == [list(range(13)), list(range(25))]
    assert {call.command for call in asked} == {Command.DETECT}
