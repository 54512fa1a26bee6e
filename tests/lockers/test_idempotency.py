"""The same POST sent 16 times at once with one Idempotency-Key does its work once."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from lockers import queries
from lockers.models import Coin, LockerTask, StatementLine
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.files import CoinRecord, write_bin
from lockers.secrecy import fresh_numbers
from tests.api.caller import Caller, answer, logged_in
from tests.concurrency.races import race
from tests.lockers.stock import stock
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
def test_sixteen_at_once_are_one(kind: str, path: str, body: Any, alice: Caller) -> None:
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
    assert list(queries.audit_findings()) == []


_RUNNING = json.dumps({"error": True, "message": "A request with this Idempotency-Key is still running", "code": 409})


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
        {"error": True, "message": "This Idempotency-Key was used for another request", "code": 422},
    )
    assert answer(alice.post("/api/v1/locker", {**body, "amount": 40}, idempotency_key="k")) == first
