"""The same POST sent 16 times at once with one Idempotency-Key does its work once."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from config.api import authentication, idempotency, limits
from config.api.cloudcoin import synchronous_views
from lockers import audit, queries, tasks
from lockers.models import Coin, LockerTask, StatementLine
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.files import CoinRecord, write_bin
from lockers.vault import fresh_numbers
from tests.api.caller import Caller, answer, logged_in
from tests.concurrency.races import locked, race
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.coin_commands import give, refuse_puts
from tests.support.local_network import LocalNetwork
from trusts import operations as trusts

CLIENTS = 16
_FILE = base64.b64encode(write_bin([CoinRecord(WireCoin(0, 77), fresh_numbers())])).decode()

CALLS: list[tuple[str, str, Any]] = [
    ("put", "/api/v1/locker", {"name": "alice", "amount": 1}),
    ("take", "/api/v1/locker/take", {"name": "alice", "transmit_code": "A-CODE"}),
    ("take", "/api/v1/locker/A-CODE", {"name": "alice"}),
    ("peek", "/api/v1/locker/peek", {"transmit_code": "A-CODE"}),
    ("import", "/api/v1/import", {"name": "alice", "items": [{"type": "inline", "data": _FILE}]}),
    ("export", "/api/v1/export", {"name": "alice", "amount": 1, "type": "bin"}),
    ("transfer", "/api/v1/transfer", {"srcname": "alice", "dstname": "sapling", "amount": 1}),
    ("put", "/api/transactions/locker/upload", {"wallet": "alice", "locker_key": "A-CODE", "amount": 1}),
    ("take", "/api/transactions/locker/download", {"wallet": "alice", "locker_key": "A-CODE"}),
]


@pytest.fixture
def alice(transactional_db: None) -> Caller:
    caller = logged_in("alice", "unused")
    assert caller.wallet is not None
    stock(caller.wallet, *[0] * 40)
    trusts.open_managed_wallet(actor=caller.wallet, name="sapling")
    return caller


def sender(alice: Caller, path: str, body: Any) -> Callable[[], tuple[int, str]]:
    def send() -> tuple[int, str]:
        status, got = answer(Caller(bearer=alice.bearer).post(path, body, idempotency_key="once"))
        return status, json.dumps(got)

    return send


@pytest.mark.parametrize(("kind", "path", "body"), CALLS)
def test_sixteen_at_once_are_one(
    kind: str, path: str, body: Any, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There is no worker, so nothing comes of waiting for one.
    monkeypatch.setattr(synchronous_views, "WAIT", timedelta(0))
    outcomes = race([sender(alice, path, body)] * CLIENTS)
    late = sender(alice, path, body)()

    assert late[0] == 200
    assert set(outcomes) <= {late, (409, _RUNNING)}
    task = LockerTask.objects.exclude(kind="import", state="completed").get()
    assert task.kind == kind
    moved = Coin.objects.filter(task=task) | Coin.objects.filter(export=task.pk)
    moved |= Coin.objects.filter(wallet__name="sapling")
    assert moved.count() == (0 if kind in ("take", "peek") else 1)
    assert StatementLine.objects.count() == {"export": 2, "transfer": 3}.get(kind, 1)
    assert list(audit.audit_findings()) == []


def test_a_repetition_that_the_first_request_overtakes_is_not_told_that_nothing_was_done(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = sender(alice, "/api/v1/import", {"name": "alice", "items": [{"type": "inline", "data": _FILE}]})
    look_up, first = authentication.queries.credentials, list[tuple[int, str]]()

    def overtaken(*, idempotency_key: str | None, **credentials: Any) -> Any:
        """The answer is looked up, then the first request commits, then the lock of the key is free."""
        monkeypatch.undo()
        found = replace(look_up(**credentials), holds_key=True)
        first.extend(race([send]))
        return found

    monkeypatch.setattr(authentication.queries, "credentials", overtaken)
    repeated = send()

    assert first[0][0] == 200
    assert repeated == (409, _RUNNING)
    assert send() == first[0]
    assert LockerTask.objects.exclude(state="completed").count() == 1


_RUNNING = json.dumps(
    {"status": "error", "error": True, "message": "A request with this Idempotency-Key is still running", "code": 409}
)


AT_ONCE: list[tuple[str, Any]] = [
    ("upload", {"wallet": "alice", "locker_key": "A-CODE", "amount": 1}),
    ("put-one-coin", {"wallet": "alice", "locker_key": "A-CODE", "denomination": 1}),
    ("download", {"wallet": "alice", "locker_key": "A-CODE"}),
]


@pytest.mark.parametrize(("name", "body"), AT_ONCE)
def test_a_repetition_is_answered_at_once_while_as_many_calls_wait_as_may(
    name: str, body: Any, alice: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WAITING_CALLS_PER_WALLET = 1
    path = f"/api/transactions/locker/{name}"
    monkeypatch.setattr(synchronous_views, "WAIT", timedelta(0))
    first = answer(alice.post(path, body, idempotency_key="once"))
    assert first[0] == 200
    assert alice.wallet is not None
    # There is no worker: what waits does not end.
    monkeypatch.setattr(synchronous_views, "WAIT", timedelta(days=1))

    limits.begin_waiting(alice.wallet.pk)
    try:
        again = [alice.post(path, body, idempotency_key="once") for _ in range(2)]
        another = alice.post(path, body, idempotency_key="other")
    finally:
        limits.end_waiting(alice.wallet.pk)

    assert [answer(each) for each in again] == [first] * 2
    assert {each["Idempotency-Replayed"] for each in again} == {"true"}
    assert another.status_code == 429
    assert _begun() == 1
    assert not limits._waiting


def test_a_refusal_that_is_repeated_meets_no_repetition_of_what_was_accepted(
    alice: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    settings.OPEN_TASKS_PER_WALLET = 1
    path, body = "/api/v1/locker", {"name": "alice", "amount": 1}
    first = answer(alice.post(path, body, idempotency_key="once"))
    assert first[0] == 200
    refusal = alice.post(path, body, idempotency_key="other")
    assert refusal.status_code == 429
    assert alice.wallet is not None

    again = alice.post(path, body, idempotency_key="once")
    with locked("SELECT pg_advisory_xact_lock(hashtextextended(%s || %s, 0))", [str(alice.wallet.pk), "other"]):
        running = alice.post(path, body, idempotency_key="other")
    # Where nothing was begun, the refusal is repeated, although a full check would now find room.
    settings.OPEN_TASKS_PER_WALLET = 100
    refused_again = [alice.post(path, body, idempotency_key="other"), alice.post(path, body)]

    assert (answer(again), again["Idempotency-Replayed"]) == (first, "true")
    assert answer(running) == (409, json.loads(_RUNNING))
    assert [answer(each) for each in refused_again] == [answer(refusal)] * 2
    assert _begun() == 1
    now += 1
    assert alice.post(path, body, idempotency_key="other").status_code == 200
    assert _begun() == 2


def _begun() -> int:
    """The number of tasks that calls have started, without the one that gave the wallet its coins."""
    return LockerTask.objects.exclude(kind="import").count()


@pytest.mark.parametrize("is_refused", [False, True])
def test_an_upload_with_a_key_answers_when_the_work_is_done_and_so_does_its_repetition(
    is_refused: bool,
    network: LocalNetwork,
    mint: Mint,
    code: str,
    transactional_db: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice = logged_in("alice", "unused")
    assert alice.wallet is not None
    give(alice.wallet, mint(1, 0, 0, 0))
    look = queries.final_task

    def work_and_look(**asked: Any) -> queries.TaskView:
        if not connection.in_atomic_block:
            tasks.run(str(asked["task_id"]))
        return look(**asked)

    monkeypatch.setattr(queries, "final_task", work_and_look)
    monkeypatch.setattr(synchronous_views, "WAIT", timedelta(0))
    if is_refused:
        refuse_puts(monkeypatch, range(25))
    path, body = "/api/transactions/locker/upload", {"wallet": "alice", "locker_key": code, "amount": 12}

    first = alice.post(path, body, idempotency_key="once")
    again = alice.post(path, body, idempotency_key="once")

    put = LockerTask.objects.get(kind="put")
    status, told = answer(first)
    assert (status, told["task_id"]) == (500 if is_refused else 200, str(put.pk))
    assert told["message"] == ("Locker upload failed" if is_refused else "Stored.")
    assert told.get("amount_uploaded") == (None if is_refused else 12)
    assert answer(again) == (status, told)
    assert again["Idempotency-Replayed"] == "true"
    taken = alice.post(
        "/api/transactions/locker/download", {"wallet": "alice", "locker_key": code}, idempotency_key="twice"
    )
    assert (taken.status_code, answer(taken)[1].get("total_value")) == ((500, None) if is_refused else (200, 12))
    assert list(audit.audit_findings()) == []


def test_answers_that_an_old_vault_key_sealed_are_still_given(alice: Caller, settings: Any) -> None:
    body = {"srcname": "alice", "dstname": "sapling", "amount": 1}
    first = answer(alice.post("/api/v1/transfer", body, idempotency_key="once"))
    settings.VAULT_OLD_KEYS = [settings.VAULT_KEY]
    settings.VAULT_KEY = base64.b64encode(b"another key, also of 32 bytes...").decode()
    idempotency._ciphers.cache_clear()
    try:
        assert answer(alice.post("/api/v1/transfer", body, idempotency_key="once")) == first

        # Given up while there are such answers: nothing is done a second time.
        settings.VAULT_OLD_KEYS = []
        idempotency._ciphers.cache_clear()
        before = LockerTask.objects.count()
        status, refused = answer(alice.post("/api/v1/transfer", body, idempotency_key="once"))
        assert (status, refused["message"].partition(";")[0]) == (
            409,
            "The answer kept for this Idempotency-Key can no longer be read",
        )
        assert LockerTask.objects.count() == before
    finally:
        idempotency._ciphers.cache_clear()


def test_control_without_the_key_each_does_its_own(alice: Caller) -> None:
    body = {"name": "alice", "amount": 1}

    def send() -> int:
        return int(Caller(bearer=alice.bearer).post("/api/v1/locker", body).status_code)

    assert race([send] * CLIENTS).count(200) > 1
    assert LockerTask.objects.filter(kind="put").count() > 1


def test_a_key_means_one_body_and_a_refusal_may_be_sent_again(alice: Caller) -> None:
    body = {"name": "alice", "amount": 41}
    assert answer(alice.post("/api/v1/locker", body, idempotency_key="k"))[0] == 422
    first = answer(alice.post("/api/v1/locker", {**body, "amount": 40}, idempotency_key="k"))

    assert first[0] == 200
    assert answer(alice.post("/api/v1/locker", {**body, "amount": 1}, idempotency_key="k")) == (
        422,
        {"status": "error", "error": True, "message": "This Idempotency-Key was used for another request", "code": 422},
    )
    assert answer(alice.post("/api/v1/locker", {**body, "amount": 40}, idempotency_key="k")) == first
