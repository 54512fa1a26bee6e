"""Conditions at their exact limits, and statements beside a row that they must leave alone."""

import ast
import contextlib
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from lockers import (
    account_ledger,
    audit,
    coin_import,
    competing_claims,
    current_results,
    delivery,
    errors,
    export_file_names,
    payment_ledger,
    payment_requests,
    queries,
    retry_plan,
    task_recovery,
    transport,
    vault,
)
from lockers.models import Account, Coin, Locker, LockerTask, Payment, PaymentRequest, ReceiptLine, ServerHealth
from lockers.operations import find as find_coins
from lockers.operations import import_files, new_task, take_back
from lockers.operations import put as put_coins
from lockers.raida.coins import HIGHEST_DENOMINATION, LOWEST_DENOMINATION, value_of
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.statuses import Status
from lockers.states import CoinState, FileType, LineType, LockerState, PaymentRequestState, TaskKind, TaskState
from lockers.worker import (
    broadcast,
    finalize,
    fix,
    health_check,
    import_,
    late_answers,
    listening,
    messages,
    peek,
    put,
    repair,
    settle_coins,
    task_store,
)
from lockers.worker.broadcast import TaskRun
from lockers.worker.messages import Reply
from tests.lockers.marks import at
from tests.lockers.scripted import Servers, from_each
from tests.lockers.stock import stock
from tests.support import ended_tasks
from tests.support.coin_rows import a_coin, a_task
from tests.support.hidden_tables import hidden, insert
from wallets.errors import WalletNotControlled
from wallets.models import Wallet

MOMENT = timedelta(seconds=20)


def at_work(task: LockerTask) -> TaskRun:
    held = task_store.claim(task_id=task.pk)
    assert held is not None
    return TaskRun(held, task)


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


# What a task says.


@pytest.mark.parametrize(
    ("listed", "empty", "message"),
    [
        (0, 12, "Only 12 of 25 servers answered"),
        (6, 6, "Only 12 of 25 servers answered"),
        (13, 0, "Fewer than 13 servers list the same coins"),
        (1, 12, "Fewer than 13 servers list the same coins"),
        (0, 13, "No locker with this code"),
        (0, 25, "No locker with this code"),
    ],
)
def test_why_a_locker_shows_nothing(listed: int, empty: int, message: str) -> None:
    assert peek.why_nothing(messages.Listing(frozenset(), listed, empty, (None,) * 25)).startswith(message)


@pytest.mark.parametrize("are_listed", [True, False])
def test_a_peek_says_that_its_coins_were_found_one_by_one(are_listed: bool, alice: Wallet) -> None:
    run = at_work(a_task(alice, TaskKind.PEEK))
    coins = frozenset({WireCoin(0, 1), WireCoin(1, 2)})
    listed = coins if are_listed else frozenset({WireCoin(0, 1)})
    listing = messages.Listing(listed, 25, 0, (int(Status.ALL_PASS),) * 25)

    peek._tell_what_was_seen(run, peek.Seen(listing, coins, (b"k" * 16,) * 25, "CODE"), spelling=None)

    task = LockerTask.objects.get(pk=run.task.pk)
    said = "" if are_listed else "Too few servers list this locker; its coins were found one by one."
    assert (task.state, task.message, task.result["total"]) == ("completed", said, 11 * 10**8)


def test_a_put_says_on_how_many_servers_its_coins_are(alice: Wallet) -> None:
    rows = stock(alice, 0, 0, 0)
    started = put_coins.start(actor=alice, name="alice", units=3 * 10**8)
    for row, marks in zip(rows, ("p13 r12", "p20 r5", "p25"), strict=True):
        Coin.objects.filter(pk=row.pk).update(outcome=at(marks))
    held = task_store.claim(task_id=started.task.pk)
    assert held is not None

    finalize.conclude(held=held)

    result = LockerTask.objects.get(pk=started.task.pk).result
    assert result["servers"] == {"fewest": 13, "most": 25}
    assert sorted(each["servers"] for each in result["fewer"]) == [13, 20]


def test_an_import_of_which_nothing_was_sent_says_how_many_servers_answered(alice: Wallet) -> None:
    task = a_task(alice, TaskKind.IMPORT)
    coin = a_coin(alice, CoinState.INCOMING)
    Coin.objects.filter(serial_number=coin.serial_number).update(task=task, pown="u" * 25)
    run = at_work(task)

    finalize.conclude(held=run.held)

    task.refresh_from_db()
    assert task.state == "error"
    assert task.message.startswith("No server answered; nothing was changed.")
    assert not Coin.objects.filter(serial_number=coin.serial_number).exists()


@pytest.mark.parametrize(("lease", "is_at_work"), [(None, False), (-1, False), (60, True)])
def test_a_task_is_left_to_its_worker_while_that_has_a_lease(
    lease: int | None, is_at_work: bool, alice: Wallet
) -> None:
    task = a_task(alice, TaskKind.PUT)
    task.lease_until = None if lease is None else timezone.now() + timedelta(seconds=lease)

    why = "a worker is processing it" if is_at_work else ""
    assert (task_recovery.why_not_roll_back(task), retry_plan.why_not_retry(task)) == (why, why)


@pytest.mark.parametrize(("state", "progress", "after"), [("completed", 100, 99), ("error", 98, 98)])
def test_a_task_whose_coins_are_in_doubt_again_is_not_done(
    state: str, progress: int, after: int, alice: Wallet
) -> None:
    task = ended_tasks.a_task(alice, TaskKind.PUT, "limbo")
    LockerTask.objects.filter(pk=task.pk).update(state=state, progress=progress)

    current_results.derive_again(task, by=ended_tasks.a_task(alice, TaskKind.FIND, numbers=2000))

    task.refresh_from_db()
    assert (task.state, task.progress) == ("error", after)


@pytest.mark.parametrize(("saved", "waiting", "is_long"), [(600, 400, False), (600, 401, True), (0, 1001, True)])
def test_an_import_has_time_for_the_coins_that_wait(saved: int, waiting: int, is_long: bool, alice: Wallet) -> None:
    run = at_work(a_task(alice, TaskKind.IMPORT))
    arrivals = competing_claims.Arrivals(
        {WireCoin(0, number): UUID(int=number) for number in range(saved)},
        {WireCoin(1, number) for number in range(waiting)},
    )

    import_.end_reading(held=run.held, save=lambda: arrivals, two_secrets=[3], files=list)

    task = LockerTask.objects.get(pk=run.task.pk)
    assert (task.is_long, task.is_parked, task.plan) == (is_long, not saved, {"two_secrets": [3]})
    patience = timedelta(0) if saved else competing_claims.PATIENCE
    assert timedelta(0) <= timezone.now() + patience + task_store.time_for(saved + waiting) - task.deadline < MOMENT


def test_files_that_a_worker_reads_are_a_long_task(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coin_import, "_SMALL_BYTES", 0)

    task = import_files.start(actor=alice, name="alice", uploads=[("c.bin", b"x")]).task

    assert (task.is_long, task.plan) == (True, {"uploaded": True})
    assert timedelta(0) <= timezone.now() + task_store.time_for(coin_import.MAXIMUM_COINS) - task.deadline < MOMENT


def test_the_outcome_of_a_file_has_what_there_is_to_say() -> None:
    told = coin_import.outcome_as_json
    assert told(coin_import.FileOutcome("n" * 256, accepted=2)) == {"name": "n" * 255, "accepted": 2, "refused": 0}
    whole = coin_import.FileOutcome("f", 1, 2, "why", "note", [(WireCoin(1, 7), "held")])
    assert told(whole) == {
        "name": "f", "accepted": 1, "refused": 1, "waiting": 2, "reason": "why", "note": "note",
        "refusals": [{"sn": 7, "denomination": 1, "reason": "held"}],
    }  # fmt: skip


def test_a_locker_that_lacks_no_server_is_not_looked_after_again(alice: Wallet) -> None:
    locker, neighbour = (Locker.objects.create(wallet=alice, amount=1, code=b"", mend_at=Now()) for _ in range(2))

    repair._repair([locker.pk])

    assert set(Locker.objects.filter(mend_at=None)) == {locker}
    assert Locker.objects.exclude(mend_at=None).get() == neighbour


# Whom a coin belongs to.


@pytest.mark.parametrize(
    ("coin", "line", "asks"),
    [
        ({}, {}, True),
        ({"state": "errored"}, {"state": "errored"}, True),
        ({"denomination": 1}, {}, False),
        ({"serial_number": 8}, {}, False),
        ({"state": "bank"}, {}, False),
        ({"state": "change"}, {}, False),
        ({}, {"task_id": UUID(int=9)}, False),
        ({}, {"state": "locked"}, False),
        ({}, {"settled_by_id": UUID(int=9)}, False),
    ],
)
def test_who_asks_about_the_coins_of_a_task(coin: dict[str, Any], line: dict[str, Any], asks: bool, db: None) -> None:
    task_id, finder = UUID(int=1), UUID(int=2)
    identity = {"denomination": 0, "serial_number": 7}
    with hidden([Coin._meta.db_table, ReceiptLine._meta.db_table, LockerTask._meta.db_table]):
        moments = {"created_at": timezone.now(), "changed_at": timezone.now()}
        insert(
            Coin._meta.db_table,
            identity | moments | {"id": UUID(int=3), "state": "limbo", "task_id": finder} | coin,
        )
        insert(ReceiptLine._meta.db_table, identity | {"id": 1, "task_id": task_id, "state": "limbo"} | line)

        assert retry_plan._who_asks(task_id)[0] == (finder if asks else None)


def test_of_a_batch_that_a_server_answers_in_part_it_gets_the_coins_that_it_accepts(alice: Wallet) -> None:
    """It may have answered about one half with an error, and refused none."""
    stock(alice, 0, 0)
    run = at_work(put_coins.start(actor=alice, name="alice", units=2 * 10**8).task)
    coins = task_store.coins(task_id=run.task.pk, batch=0, keys=(b"k" * 16,) * 25)
    for coin in coins:
        coin.marks = at("p12 e3 n10")
    asked: list[broadcast.Request] = []
    said = {
        12: {0: Reply.PASS, 1: Reply.ERROR},
        13: {0: Reply.PASS, 1: Reply.PASS},
        14: {0: Reply.FAIL, 1: Reply.PASS},
    }

    def answer(request: broadcast.Request) -> Any:
        asked.append(request)
        return said if request.command is Command.DETECT else {}

    run.broadcast = answer  # type: ignore[method-assign]

    put._put_where_refused(run, 0, coins)

    assert [request.command for request in asked] == [Command.DETECT, Command.PUT]
    assert asked[1].targets == {12: (0,), 14: (1,)}


def test_the_repair_of_a_locker_begins_soon_after_a_put(alice: Wallet) -> None:
    locker, neighbour = (Locker.objects.create(wallet=alice, amount=1, code=b"", mends=7) for _ in range(2))

    finalize._schedule_repair({locker.pk})

    with connection.cursor() as cursor:
        cursor.execute("SELECT id, extract(epoch FROM mend_at - now()), mends FROM lockers_locker ORDER BY mends")
        assert cursor.fetchall() == [(locker.pk, Decimal("0.5"), 0), (neighbour.pk, None, 7)]


@pytest.mark.parametrize(("stored", "left"), [(0, 2), (1, 1), (2, 0)])
def test_a_put_of_the_smallest_coins_can_be_begun_again(stored: int, left: int, alice: Wallet) -> None:
    states = [*["locked"] * stored, *["bank"] * left]
    task = ended_tasks.a_task(alice, TaskKind.PUT, amount=2)
    for number, state in enumerate(states):
        ReceiptLine.objects.create(
            task=task, denomination=LOWEST_DENOMINATION, serial_number=number, pown="p" * 25, state=state
        )

    remaining = retry_plan.of(task)

    assert (remaining.units, bool(remaining.todo)) == (left, left > 0)


def test_payment_requests_are_listed_by_wallet_state_reference_and_place(alice: Wallet, bob: Wallet) -> None:
    made = [
        PaymentRequest.objects.create(
            wallet=wallet, actor=wallet, amount=1, mode="partial", description="", reference=reference, state=state,
            closed_at=Now() if state == "cancelled" else None,
        )
        for wallet in (alice, bob)
        for state in ("open", "cancelled")
        for reference in ("", "order", "Order", "order")
    ]  # fmt: skip
    made.sort(key=lambda one: (one.created_at, one.pk), reverse=True)
    mine = [one for one in made if one.wallet == alice]

    for reference in (None, "", "order", "Order", "other"):
        for state in (None, PaymentRequestState.OPEN, PaymentRequestState.CANCELLED, PaymentRequestState.PAID):
            for name in (None, "alice"):
                for offset, after in ((0, None), (1, None), (0, mine[2])):
                    found = payment_requests.page(
                        actor=alice,
                        filters=payment_requests.Filters(name, state, reference),
                        limit=3,
                        offset=offset,
                        after=None if after is None else (after.created_at, after.pk),
                    )
                    expected = [
                        one
                        for one in mine[3 if after else 0 :]
                        if reference is None or (one.reference == reference != "")
                        if state is None or one.state == state
                    ][offset : offset + 3]
                    assert [view.request for view in found] == expected, (reference, state, name, offset)
    with pytest.raises(WalletNotControlled):
        payment_requests.page(actor=alice, filters=payment_requests.Filters(wallet="bob"), limit=3)


def test_a_call_that_fails_in_its_thread_fails_where_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no thread is left")

    monkeypatch.setattr(transport, "ask", fail)
    asking = listening.Asking((), transport.Call(Command.ECHO, {}), hearing=None)

    assert asking.is_over.wait(10)
    with pytest.raises(OSError, match="no thread is left"):
        asking.results()


@pytest.mark.parametrize("fails", [True, False])
def test_nothing_is_listened_to_for_a_peek_that_failed(
    fails: bool, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_open", set())
    task = a_task(alice, TaskKind.PEEK)
    LockerTask.objects.filter(pk=task.pk).update(code=vault.seal_task_code("A-CODE", task_id=task.pk))
    begun: list[listening.Hearing | None] = []

    def look(*_: Any, listen: Callable[[], listening.Hearing | None], **__: Any) -> peek.Seen:
        begun.append(listen())
        if fails:
            raise OSError("the database is gone")
        return peek.Seen(messages.Listing(frozenset(), 0, 25, (None,) * 25), frozenset(), (), "A-CODE")

    monkeypatch.setattr(peek, "look", look)
    with pytest.raises(OSError, match="gone") if fails else contextlib.nullcontext():
        peek.run(at_work(LockerTask.objects.get(pk=task.pk)))

    (hearing,) = begun
    assert hearing is not None
    # Once the task has ended, what is still heard is written.
    assert hearing._is_dropped is fails
    hearing.drop()


def test_servers_that_a_repair_asks_are_known_to_answer(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = {3: transport.Answer(3, Status.ALL_PASS, b"", 0.0), 4: transport.NoResponse(4, "timeout", sent=True)}
    monkeypatch.setattr(repair, "_complete", lambda *_: heard)
    one = repair._LockerRepair(UUID(int=1), mends=1, keys=(), key_coin=None, pieces=[], proposed={})

    repair._repair_all([one])

    assert dict(ServerHealth.objects.values_list("raida", "silences")) == {4: 1}


@pytest.mark.parametrize(
    ("changes", "is_shown"),
    [
        ({}, True),
        ({"finished_at": timezone.now()}, True),
        ({"finished_at": timezone.now() - queries.CODE_IS_SHOWN - timedelta(minutes=1)}, False),
        ({"result": {}}, False),
        ({"code": None}, False),
        ({"plan": {"payment_request": "x"}}, False),
    ],
)
def test_the_code_that_opened_a_locker_is_shown_to_the_actor_who_sent_it(
    changes: dict[str, Any], is_shown: bool, alice: Wallet, bob: Wallet, code: str
) -> None:
    task = a_task(alice, TaskKind.TAKE)
    task.result, task.code = {"spelling": 0}, vault.seal_task_code(code, task_id=task.pk)
    for name, value in changes.items():
        setattr(task, name, value)

    assert queries._code_used(task, alice) == (code if is_shown else None)
    assert queries._code_used(task, bob) is None


@pytest.mark.parametrize("is_delivered", [True, False])
def test_a_payment_that_was_admitted_does_not_expire_before_it_is_credited(
    is_delivered: bool, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = a_task(alice, TaskKind.TRANSFER)
    request = PaymentRequest.objects.create(wallet=alice, actor=alice, amount=1, mode="single", description="")
    Payment.objects.create(request=request, task=task, expected=1)
    LockerTask.objects.filter(pk=task.pk).update(plan={"payment_request": str(request.pk)})
    delivered = {"total": 0, "coins": 0, "from": "a", "to": "b"}
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(payment_ledger, "settle", lambda **how: asked.append(how))

    finalize.conclude(held=at_work(task).held, deliver=(lambda _: delivered) if is_delivered else None)

    assert asked == [{"task_ids": [task.pk], "is_admitted": is_delivered}]


@pytest.mark.parametrize(
    ("letters", "settled", "may_differ"),
    [
        (("p20 f5", "p20 f5"), (False, False), False),
        (("p20 f5", "p21 f4"), (False, False), True),
        (("p20 f5", "p20 n5"), (True, False), True),
        (("p20 f5", "p20 n5"), (True, True), True),
    ],
)
def test_coins_on_fewer_servers_are_looked_for_where_there_may_be_some(
    letters: tuple[str, ...],
    settled: tuple[bool, ...],
    may_differ: bool,
    alice: Wallet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The letters of a line that was settled later are those of the other task."""
    monkeypatch.setattr(current_results, "coins_on_fewer_servers", lambda **_: ["some"])
    kinds = [
        late_answers._LinesAlike(at(each), "locked", is_later, 1)
        for each, is_later in zip(letters, settled, strict=True)
    ]
    task = a_task(alice, TaskKind.PUT)

    result = late_answers._result(task, kinds, set())

    passes = [each.pown.count("p") for each in kinds]
    assert result == {
        "servers": {"fewest": min(passes), "most": max(passes)},
        "fewer": ["some"] if may_differ else [],
    }


def test_a_locker_that_is_being_looked_after_is_not_claimed_again(alice: Wallet) -> None:
    locker = Locker.objects.create(wallet=alice, amount=1, code=b"", mend_at=Now() - timedelta(hours=1))

    assert [repair._claim() for _ in range(2)] == [[locker.pk], []]


@pytest.mark.parametrize("kind", [TaskKind.BREAK, TaskKind.TAKE, TaskKind.PEEK, TaskKind.ECHO, TaskKind.FIX])
def test_only_of_a_put_is_an_amount_left_to_do(kind: TaskKind, alice: Wallet) -> None:
    task = ended_tasks.a_task(alice, TaskKind.PUT, amount=10**8)
    task.kind, task.state = kind, TaskState.ERROR

    remaining = retry_plan.of(task)

    assert (bool(remaining.todo), remaining.units, remaining.later_puts) == (True, 0, 0)


@pytest.mark.parametrize(
    "write",
    [
        task_store.fence,
        task_store.advance,
        lambda held: task_store.settle(held=held, settled=[], marks={}),
        lambda held: task_store.open_attempt(held=held, intent=task_store.Intent(Command.ECHO, 0, [1], {})),
    ],
)
def test_what_a_worker_writes_renews_its_lease_alone(
    write: Callable[..., object], alice: Wallet, settings: Any
) -> None:
    settings.RAIDA_TIMEOUT_SECONDS = 3600
    run, other = (at_work(a_task(alice, TaskKind.ECHO)) for _ in range(2))
    soon = timezone.now() + timedelta(seconds=1)
    LockerTask.objects.update(lease_until=soon)

    write(held=run.held)

    ends = {task.pk: task.lease_until for task in LockerTask.objects.all()}
    assert ends[other.task.pk] == soon
    end = ends[run.task.pk]
    assert end is not None
    assert abs(timezone.now() + task_store.lease() - end) < timedelta(minutes=30)


def test_the_smallest_coin_that_comes_after_a_request_was_cancelled_is_late(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = PaymentRequest.objects.create(
        wallet=alice, actor=alice, amount=5, mode="partial", description="", state="cancelled", closed_at=Now()
    )
    payment = Payment.objects.create(request=request, task=ended_tasks.a_task(alice, TaskKind.TAKE), expected=1)
    monkeypatch.setattr(payment_ledger, "_brought", lambda _: (1, 0))

    payment_ledger.settle(task_ids=[payment.task_id])

    payment.refresh_from_db()
    request.refresh_from_db()
    assert (payment.state, payment.units, payment.is_late) == ("credited", 1, True)
    assert (request.state, request.paid) == ("cancelled", 1)


def test_coins_that_a_check_found_fracked_are_reserved_once(alice: Wallet) -> None:
    rows = stock(alice, 0, 0, 0)
    Coin.objects.filter(pk__in=[row.pk for row in rows[:2]]).update(pown=at("p24 f1"))
    task = a_task(alice, TaskKind.FIX)
    LockerTask.objects.filter(pk=task.pk).update(plan={"looks": True, "kept": 1})
    run = at_work(LockerTask.objects.get(pk=task.pk))

    fix.reserve_more_for_fix(held=run.held)

    assert LockerTask.objects.get(pk=task.pk).plan == {"looks": False, "kept": 1}
    assert set(Coin.objects.filter(task=task, batch=0).values_list("pk", flat=True)) == {row.pk for row in rows[:2]}


def test_of_coins_with_the_same_marks_only_those_of_a_locker_are_in_it(alice: Wallet) -> None:
    task = a_task(alice, TaskKind.FIND)
    locker = Locker.objects.create(wallet=alice, amount=1, code=b"")
    rows = stock(alice, 0, 0)
    for row, each in zip(rows, (locker, None), strict=True):
        Coin.objects.filter(pk=row.pk).update(
            state="limbo", locker=each, task=task, batch=0, outcome="p" * 25, pown="n" * 25, proposed=row.secrets,
            origin="import",
        )  # fmt: skip

    finalize.conclude(held=at_work(task).held)

    found = [Coin.objects.get(pk=row.pk) for row in rows]
    assert [(row.state, row.locker_id, row.task_id) for row in found] == [
        ("locked", locker.pk, None),
        ("bank", None, None),
    ]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_file_of_one_coin_is_named_by_its_number_and_others_by_their_count(number: int, alice: Wallet) -> None:
    rows = stock(alice, *[0] * number)
    task = new_task.create_finished(
        TaskKind.EXPORT, wallet=alice, actor=alice, message="", amount=number * 10**8, tag="gift"
    )

    result = delivery.write_out(task=task, file_type=FileType.BIN, coin_ids=[row.pk for row in rows])

    which = rows[0].serial_number if number == 1 else number
    expected = export_file_names.file_name(units=number * 10**8, number=which, tag="gift", extension="bin")
    assert (result["file"], result["coins"]) == (expected, number)
    assert (task.export.file_name, task.export.coin_count) == (expected, number)


# Which rows are locked.

ENDED: dict[str, Any] = {"state": "error", "step": "done", "finished_at": Now()}

PLACES = {"lockers_account": "wallet_id", "lockers_coin": "id", "lockers_locker": "id", "lockers_lockertask": "id"}


def touched() -> set[tuple[str, Any, str, str]]:
    """Each row with its place and who locks it: a lock changes the latter, a change of the row both."""
    found = set()
    with connection.cursor() as cursor:
        for table, key in PLACES.items():
            cursor.execute(f"SELECT {key}, ctid::text, xmax::text FROM {table}")
            found |= {(table, *row) for row in cursor.fetchall()}
    return found


def putting(wallet: Wallet) -> LockerTask:
    """A task with two coins of the wallet, which it puts into a locker; a third one is free."""
    stock(wallet, 0, 0, 0)
    return put_coins.start(actor=wallet, name=wallet.name, units=2 * 10**8).task


def with_later(task: LockerTask) -> LockerTask:
    """A later task that knows of a coin that this one has left in doubt."""
    later = a_task(task.wallet, TaskKind.FIND)
    LockerTask.objects.filter(pk=task.pk).update(**ENDED, result={}, progress=9)
    number = later.created_at.microsecond
    for each, state in ((task, "limbo"), (later, "bank")):
        ReceiptLine.objects.create(task=each, denomination=0, serial_number=number, pown="n" * 25, state=state)
    return later


ALONE: dict[str, tuple[str, Callable[[LockerTask], Any], Callable[[Any], object]]] = {
    "the coins of a task that ends": ("coin", lambda task: task, lambda task: settle_coins.kinds_of_batches(task.pk)),
    "what a task delivers": (
        "coin",
        lambda task: LockerTask(pk=task.pk, wallet=task.wallet, kind=TaskKind.EXPORT, plan={"type": "bin"}, amount=1),
        lambda task: _refused(AssertionError, lambda: delivery.deliver(task)),
    ),
    "the coins of a find": (
        "coin",
        lambda task: Coin.objects.filter(task=task).update(task=None, batch=None, outcome="", state="limbo") and task,
        lambda task: find_coins.start(actor=task.wallet, name=task.wallet.name),
    ),
    "the coins of a fix": (
        "coin",
        lambda task: Coin.objects.filter(wallet=task.wallet, task=None).update(pown="p" * 24 + "f") and task,
        lambda task: fix.fixable_coins(wallet_id=task.wallet_id),
    ),
    "an account": (
        "account",
        lambda task: task,
        lambda task: account_ledger.post(
            task_id=task.pk, postings=[account_ledger.Posting(task.wallet_id, 1, LineType.IMPORTED)]
        ),
    ),
    "tasks of which a later one knows": ("lockertask", with_later, lambda later: current_results.follow(later=later)),
    "a task of which late answers come": (
        "lockertask",
        lambda task: LockerTask.objects.filter(pk=task.pk).update(**ENDED) and task,
        lambda task: late_answers._ended(task.pk),
    ),
    "a task whose lease its worker renews": ("lockertask", lambda task: at_work(task).held, task_store.fence),
    "a locker that is looked after": ("locker", lambda task: task, lambda task: repair._put_off([task.locker_id])),
    "a locker that is filled": ("locker", lambda task: task, lambda task: finalize._settle_lockers({task.locker_id})),
}


def _refused(error: type[Exception], call: Callable[[], object]) -> None:
    with pytest.raises(error, match="not worth its amount"):
        call()


@pytest.mark.parametrize("name", ALONE)
def test_rows_of_others_are_neither_locked_nor_changed(name: str, alice: Wallet, bob: Wallet, charlie: Wallet) -> None:
    table, prepare, call = ALONE[name]
    given = prepare(putting(alice))
    prepare(putting(bob))
    # That of bob is locked by this transaction already.
    Account.objects.create(wallet=charlie, balance=0, lines=0)
    before = touched()
    with connection.cursor() as cursor:
        keys = set()
        for each, key in PLACES.items():
            cursor.execute(f"SELECT {key} FROM {each} WHERE wallet_id = %s", [alice.pk])
            keys |= {(each, row[0]) for row in cursor.fetchall()}

    call(given)

    changed = {row[:2] for row in before - touched()}
    assert changed <= keys
    assert f"lockers_{table}" in {row[0] for row in changed}


@pytest.mark.parametrize("named", [0, 1, 2, 3])
def test_a_result_names_the_sum_of_its_coins_in_doubt(named: int, alice: Wallet) -> None:
    task = ended_tasks.a_task(alice, TaskKind.PUT, "limbo", "limbo")
    LockerTask.objects.filter(pk=task.pk).update(result=task.result | {"total_unknown": named * 10**8})

    found = [each for each in audit.audit_findings() if str(task.pk) in str(each)]

    assert bool(found) is (named != 2), found


def test_requests_that_may_move_a_coin_again_are_written_down_before_they_leave() -> None:
    """A worker that takes the task over asks about these coins first."""
    found: dict[str, list[bool]] = {}
    for path in sorted(Path(finalize.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Request":
                words = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
                if words & {"MOVED", "MOVED_AGAIN"}:
                    intends = [each.value for each in node.keywords if each.arg == "intends"]
                    found.setdefault(path.name, []).append([ast.unparse(each) for each in intends] == ["True"])

    assert {name: all(each) for name, each in found.items()} == dict.fromkeys(
        ("break_coin.py", "find.py", "fix.py", "incoming.py", "put.py"), True
    )
