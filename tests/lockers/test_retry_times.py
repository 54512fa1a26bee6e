"""
When the clock begins a find or a fix, and when it asks a server again: the moment itself, and one second on each side.

`now()` is one moment in a test, so that a row of exactly that age can be written.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from lockers import retry_schedule
from lockers.models import Coin, LockerTask, ServerHealth
from lockers.raida.commands import Command
from lockers.states import CoinState, TaskKind, TaskState
from lockers.transport import Answer, NoResponse
from lockers.worker import circuit_breaker, task_store
from lockers.worker.circuit_breaker import Circuits
from tests.lockers.stock import stock
from tests.support.coin_rows import a_task
from wallets.models import Wallet

HOUR, DAY = 3600, 86400


def ago(seconds: float) -> datetime:
    """So long before the moment at which the transaction of the test began, which every statement takes for now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        found: datetime = cursor.fetchone()[0]
    return found - timedelta(seconds=seconds)


def coin(wallet: Wallet, **changes: Any) -> Coin:
    """A coin of the wallet, changed long ago unless `changes` say otherwise."""
    (row,) = stock(wallet, 0)
    Coin.objects.filter(pk=row.pk).update(**{"created_at": ago(DAY), "changed_at": ago(DAY), **changes})
    return row


def task(wallet: Wallet, kind: TaskKind, *, ended: float | None) -> LockerTask:
    """A task of the wallet that ended the given number of seconds ago, or still runs."""
    row = a_task(wallet, kind)
    if ended is not None:
        LockerTask.objects.filter(pk=row.pk).update(state=TaskState.ERROR, finished_at=ago(ended))
    return row


DOUBTFUL: Mapping[str, Any] = {"state": CoinState.LIMBO}
FRACKED: Mapping[str, Any] = {"state": CoinState.FRACKED, "pown": "p" * 24 + "f"}


@pytest.mark.parametrize("state", CoinState)
def test_finds_begin_for_coins_in_doubt_and_fixes_for_coins_that_a_server_refuses(
    state: CoinState, alice: Wallet, bob: Wallet
) -> None:
    row = coin(alice, pown="p" * 24 + "f")
    if state in (CoinState.CHANGE, CoinState.BROKEN, CoinState.VOID):
        Coin.objects.filter(pk=row.pk).update(family=row.pk)
    if state not in (CoinState.WAITING, CoinState.INCOMING, CoinState.LOCKED, CoinState.EXPORTED):
        Coin.objects.filter(pk=row.pk).update(state=state)
        assert retry_schedule.wallets_to_find(limit=9) == [alice.pk] * (state in ("limbo", "errored"))
        assert retry_schedule.wallets_to_fix() == [alice.pk] * (state in ("bank", "fracked"))
    coin(bob)
    assert bob.pk not in [*retry_schedule.wallets_to_find(limit=9), *retry_schedule.wallets_to_fix()]


@pytest.mark.parametrize(("seconds", "is_due"), [(9, False), (10, False), (10.001, True)])
def test_a_coin_is_in_doubt_for_ten_seconds_before_the_clock_asks(seconds: float, is_due: bool, alice: Wallet) -> None:
    coin(alice, **DOUBTFUL, changed_at=ago(seconds))

    assert retry_schedule.wallets_to_find(limit=9) == [alice.pk] * is_due


@pytest.mark.parametrize(("seconds", "is_due"), [(1, False), (2, False), (2.001, True)])
def test_a_coin_is_fracked_for_two_seconds_before_the_clock_fixes_it(
    seconds: float, is_due: bool, alice: Wallet
) -> None:
    coin(alice, **FRACKED, changed_at=ago(seconds))

    assert retry_schedule.wallets_to_fix() == [alice.pk] * is_due


@pytest.mark.parametrize(
    ("age_at_the_end", "seconds", "is_due"),
    [
        # 10 seconds, and half the age that the coin had when the last one ended,
        (0, 9, False),
        (0, 10, True),
        (100, 59, False),
        (100, 60, True),
        (1000, 509, False),
        (1000, 510, True),
        # and never more than an hour.
        (7180, HOUR - 1, False),
        (7180, HOUR, True),
        (9 * DAY, HOUR - 1, False),
        (9 * DAY, HOUR, True),
    ],
)
@pytest.mark.parametrize("kind", [TaskKind.FIND, TaskKind.FIX])
def test_the_pause_grows_with_the_age_of_the_coin(
    kind: TaskKind, age_at_the_end: float, seconds: float, is_due: bool, alice: Wallet, bob: Wallet
) -> None:
    """It changed a moment before the end, as the coins of the last find did: its age counts from its arrival."""
    what = DOUBTFUL if kind is TaskKind.FIND else FRACKED
    changed_at = ago(max(seconds, 10.5))
    coin(alice, **what, created_at=ago(age_at_the_end + seconds), changed_at=changed_at)
    task(alice, kind, ended=seconds)
    # Of no interest: tasks of others, of another kind, and earlier ones.
    task(bob, kind, ended=0)
    task(alice, TaskKind.PUT, ended=0)
    task(alice, TaskKind.FIX if kind is TaskKind.FIND else TaskKind.FIND, ended=0)
    task(alice, kind, ended=9 * DAY)

    due = retry_schedule.wallets_to_find(limit=9) if kind is TaskKind.FIND else retry_schedule.wallets_to_fix()

    assert due == [alice.pk] * is_due


@pytest.mark.parametrize("kind", [TaskKind.FIND, TaskKind.FIX])
def test_no_second_one_begins_while_one_runs_or_holds_the_coin(kind: TaskKind, alice: Wallet, bob: Wallet) -> None:
    what = DOUBTFUL if kind is TaskKind.FIND else FRACKED
    for wallet in (alice, bob):
        coin(wallet, **what)
    held = {"task": task(alice, TaskKind.HEALTH, ended=None), "batch": 0, "outcome": "-" * 25}

    def due() -> list[Any]:
        return retry_schedule.wallets_to_find(limit=9) if kind is TaskKind.FIND else retry_schedule.wallets_to_fix()

    assert set(due()) == {alice.pk, bob.pk}
    Coin.objects.filter(wallet=alice).update(**held)
    assert due() == [bob.pk]
    Coin.objects.filter(wallet=alice).update(task=None, batch=None, outcome="")
    running = task(alice, kind, ended=None)
    assert due() == [bob.pk]
    LockerTask.objects.filter(pk=running.pk).update(state=TaskState.ERROR, finished_at=ago(2 * DAY))
    assert set(due()) == {alice.pk, bob.pk}


def test_as_many_wallets_as_asked_for_in_the_order_of_their_ids(alice: Wallet, bob: Wallet, charlie: Wallet) -> None:
    for wallet in (alice, bob, charlie):
        coin(wallet, **DOUBTFUL)
        coin(wallet, **DOUBTFUL)
        coin(wallet, **FRACKED)
    ids = sorted(wallet.pk for wallet in (alice, bob, charlie))

    assert retry_schedule.wallets_to_find(limit=2) == ids[:2]
    assert retry_schedule.wallets_to_find(limit=9) == ids
    assert retry_schedule.wallets_to_fix(limit=1) == ids[:1]
    assert retry_schedule.wallets_to_fix() == ids


# Circuits.


def rest(raidas: range, seconds: float) -> None:
    for raida in raidas:
        ServerHealth.objects.create(raida=raida, silences=5, rest_until=ago(-seconds))


@pytest.mark.parametrize(("number", "are_too_many"), [(0, False), (12, False), (13, True), (25, True)])
def test_no_check_and_no_fix_begins_with_fewer_than_13_servers(number: int, are_too_many: bool, alice: Wallet) -> None:
    coin(alice, **FRACKED)
    # The others failed and are asked again.
    rest(range(number), HOUR)
    rest(range(number, 25), -1)

    assert circuit_breaker.too_many_open() is are_too_many
    assert retry_schedule.wallets_to_fix() == [alice.pk] * (not are_too_many)


@pytest.mark.parametrize(("number", "skipped"), [(0, 0), (1, 1), (8, 8), (9, 0), (25, 0)])
def test_no_server_is_skipped_while_fewer_than_17_are_left(number: int, skipped: int, db: None) -> None:
    rest(range(number), HOUR)
    rest(range(number, 25), -1)

    assert Circuits.load().open == frozenset(range(skipped))


def silent(raida: int) -> NoResponse:
    return NoResponse(raida, "timeout", sent=True)


def cancelled(raida: int) -> NoResponse:
    return NoResponse(raida, "cancelled", sent=True)


def answered(raida: int) -> Answer:
    return Answer(raida, 250, b"", 0.01)


def health() -> dict[int, tuple[int, float | None]]:
    """Failures in a row, and for how many seconds the server is skipped, by server."""
    now = ago(0)
    return {
        row.raida: (row.silences, None if row.rest_until is None else (row.rest_until - now).total_seconds())
        for row in ServerHealth.objects.order_by("raida")
    }


def test_a_circuit_opens_at_the_third_failure_and_for_twice_as_long_with_each_further_one(db: None) -> None:
    seen = []
    for _ in range(11):
        Circuits.load().record({3: silent(3)})
        seen.append(health()[3])

    seconds: list[float | None] = [None, None, 10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert seen == list(zip(range(1, 12), seconds, strict=True))


def test_what_was_cancelled_is_no_failure_and_an_answer_closes_the_circuit(db: None) -> None:
    rest(range(1), -HOUR)
    rest(range(1, 2), HOUR)
    rest(range(2, 3), HOUR)

    circuits = Circuits.load()
    circuits.record({0: cancelled(0), 1: cancelled(1), 3: cancelled(3), 4: answered(4), 5: silent(5)})

    # A server of which nothing was known is noted, and echoed by the next sweep; it has not failed.
    assert health() == {0: (5, -HOUR), 1: (5, HOUR), 2: (5, HOUR), 3: (0, None), 5: (1, None)}
    assert [row.raida for row in circuit_breaker.failing()] == [0, 1, 2, 5]
    # Another worker has not read of it, and cancels too: the count and the time stay.
    Circuits(frozenset(), set()).record({1: cancelled(1), 0: cancelled(0)})
    assert health()[1] == (5, HOUR)
    assert health()[0] == (5, -HOUR)
    circuits.record({1: answered(1), 3: answered(3)})
    assert set(health()) == {0, 2, 5}
    # It has answered since, so that a request that is cancelled now is noted again.
    circuits.record({3: cancelled(3)})
    assert health()[3] == (0, None)


# Leases.


def test_a_lease_outlasts_the_call_that_began_with_it(settings: Any) -> None:
    settings.RAIDA_TIMEOUT_SECONDS = 7.5

    assert task_store.lease() == timedelta(seconds=10.5)
    assert [task_store.time_for(number).total_seconds() for number in (0, 999, 1000, 20_000)] == [
        30 + 7.5 * calls for calls in (10, 10, 20, 210)
    ]


@pytest.mark.parametrize(
    ("changes", "is_rung"),
    [
        ({}, True),
        ({"rung_at": 5}, False),
        ({"rung_at": 5.001}, True),
        ({"lease_until": -1}, False),
        ({"lease_until": 0}, False),
        ({"lease_until": 0.001}, True),
        ({"is_parked": True}, False),
        ({"state": TaskState.ERROR, "finished_at": 9}, False),
    ],
)
def test_the_sweep_wakes_a_worker_for_a_task_that_none_has(
    changes: dict[str, Any], is_rung: bool, alice: Wallet
) -> None:
    row, neighbour = a_task(alice, TaskKind.ECHO), a_task(alice, TaskKind.ECHO)
    times = {name: value for name, value in changes.items() if name in ("rung_at", "lease_until", "finished_at")}
    changes |= {name: ago(seconds) for name, seconds in times.items()}
    LockerTask.objects.filter(pk=row.pk).update(**{"rung_at": ago(60), **changes})
    LockerTask.objects.filter(pk=neighbour.pk).update(rung_at=ago(1))
    untouched = LockerTask.objects.filter(pk=neighbour.pk).values().get()

    assert task_store.overdue_tasks() == [row.pk] * is_rung

    assert task_store.overdue_tasks() == []
    assert LockerTask.objects.filter(pk=neighbour.pk).values().get() == untouched


def test_an_echo_is_sent_to_a_server_that_failed_and_rests_no_longer(
    db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest(range(2), HOUR)
    rest(range(2, 4), -1)
    ServerHealth.objects.create(raida=4, silences=0)
    ServerHealth.objects.filter(raida=3).update(probed_at=ago(10))
    asked: list[tuple[Command, list[int]]] = []

    def ask(_: object, call: Any, **how: Any) -> dict[int, Any]:
        asked.append((call.command, sorted(call.payloads)))
        return {}

    monkeypatch.setattr(circuit_breaker.transport, "ask", ask)
    circuit_breaker.probe()
    circuit_breaker.probe()

    # One that was echoed ten seconds ago is echoed again after that.
    assert asked == [(Command.ECHO, [2, 4])]
    assert set(ServerHealth.objects.filter(probed_at=ago(0)).values_list("raida", flat=True)) == {2, 4}
