"""Limits of one caller over HTTP: requests in a minute, wrong codes, and calls that wait."""

import inspect
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver

from config.api import limits
from config.api.pools import routes
from config.api.views import ApiViewSet
from lockers import wrong_code_limits
from lockers.errors import TooManyWrongCodes
from lockers.models import LockerTask
from tests.api.caller import Caller, answer, logged_in
from tests.lockers.conftest import Mint
from tests.support.local_network import LocalNetwork
from tests.support.locker_requests import CODE, give, refused, work
from wallets import operations as wallets
from wallets.redis_servers import client as redis_client

pytestmark = pytest.mark.usefixtures("no_wrong_codes")

REFUSED = (429, {"status": "error", "error": True, "message": "Too many requests, try again later", "code": 429})


@pytest.fixture
def alice(db: None) -> Caller:
    return logged_in("alice", "unused")


@pytest.fixture
def bob(db: None) -> Caller:
    return logged_in("bob", "unused")


def test_calls_that_begin_tasks_are_limited_and_every_answer_says_what_is_left(
    alice: Caller, bob: Caller, settings: Any
) -> None:
    settings.TASKS_PER_MINUTE = 2

    first, second = (alice.get("/api/v1/echo") for _ in range(2))
    third = alice.get("/api/v1/echo")

    assert [each.status_code for each in (first, second)] == [200, 200]
    policies = {each.headers["RateLimit-Policy"] for each in (first, second, third)}
    assert policies == {'"wallet-tasks";q=2;w=60'}
    told = [
        re.fullmatch(r'"wallet-tasks";r=(\d);t=(\d\d?)', each.headers["RateLimit"]) for each in (first, second, third)
    ]
    assert [match[1] for match in told if match] == ["1", "0", "0"]
    assert answer(third) == REFUSED
    assert told[2] is not None
    assert third.headers["Retry-After"] == told[2][2]
    assert LockerTask.objects.count() == 2
    assert bob.get("/api/v1/echo").status_code == 200
    plain = alice.get("/api/v1/wallets")
    assert (plain.status_code, "RateLimit" in plain.headers) == (200, False)


def test_peeks_and_echoes_are_limited_over_five_seconds(alice: Caller, bob: Caller, settings: Any) -> None:
    settings.INQUIRIES_PER_MINUTE = 36
    shared = redis_client(settings.REDIS_URL)
    assert alice.wallet is not None
    assert bob.wallet is not None
    # A window in which one was counted, and that does not end during the test.
    shared.set(f"coppice:inquiries:wallet:{alice.wallet.pk}", 1, px=600_000)

    echo = alice.get("/api/v1/echo")
    peek = alice.post("/api/v1/locker/peek", {"transmit_code": CODE})
    refused = [
        alice.get("/api/v1/echo"),
        alice.post("/api/v1/locker/peek", {"transmit_code": CODE}),
        alice.post("/api/transactions/locker/peek", {"wallet": "alice", "locker_key": CODE}),
    ]

    assert [echo.status_code, peek.status_code] == [200, 200]
    assert echo.headers["RateLimit-Policy"] == '"wallet-tasks";q=3000;w=60, "wallet-inquiries";q=3;w=5'
    assert [each.status_code for each in refused] == [429] * 3
    assert LockerTask.objects.count() == 2
    # Other tasks, and other wallets.
    assert alice.post("/api/v1/transfer", {}).status_code == 422
    assert bob.get("/api/v1/echo").status_code == 200
    assert shared.pttl(f"coppice:inquiries:wallet:{bob.wallet.pk}") <= 5000


def test_each_action_that_peeks_or_echoes_is_limited_as_such() -> None:
    found = {
        (view.cls, action)
        for route in routes(get_resolver().url_patterns)
        if (view := route.callback) and hasattr(view, "cls")
        for action in (getattr(view, "actions", None) or {}).values()
        if action in getattr(view.cls, "begins_tasks", ())
    }

    inquiries = {(view, action) for view, action in found if action in view.inquiries}
    assert {action for _, action in found - inquiries if action.startswith(("peek", "echo"))} == set()
    assert len(inquiries) == 5


@pytest.mark.parametrize("which", ["per minute", "open at once"])
def test_a_caller_that_is_refused_is_refused_for_a_second_before_the_database_is_asked(
    which: str, alice: Caller, bob: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if which == "per minute":
        settings.TASKS_PER_MINUTE = 1
    else:
        settings.OPEN_TASKS_PER_WALLET = 1
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert alice.get("/api/v1/echo").status_code == 200
    refusal = alice.get("/api/v1/echo")
    assert refusal.status_code == 429

    with CaptureQueriesContext(connection) as asked:
        again = [alice.get("/api/v1/echo"), alice.get("/api/v1/echo", idempotency_key="k")]

    assert len(asked) == 0
    limited = ("RateLimit-Policy", "RateLimit", "Retry-After")
    for each in again:
        assert answer(each) == answer(refusal)
        assert [each.headers.get(name) for name in limited] == [refusal.headers.get(name) for name in limited]
    # What is kept holds no frame, and so no request with its credentials.
    assert [each.error.__traceback__ for each in limits._refusals.values()] == [None]
    # Others, what begins no task, and what may begin one under other limits.
    assert bob.get("/api/v1/echo").status_code == 200
    assert alice.get("/api/v1/wallets").status_code == 200
    assert alice.post("/api/v1/transfer", {}).status_code == (429 if which == "per minute" else 422)
    now += 1
    settings.TASKS_PER_MINUTE, settings.OPEN_TASKS_PER_WALLET = 0, 100
    assert alice.get("/api/v1/echo").status_code == 200
    assert LockerTask.objects.count() == 3


def test_requests_of_a_wallet_and_of_an_api_key_are_limited_on_both_surfaces(
    alice: Caller, bob: Caller, settings: Any
) -> None:
    settings.REQUESTS_PER_MINUTE, settings.REQUESTS_PER_MINUTE_PER_KEY = 2, 3
    alice.api_key = bob.api_key = wallets.create_api_key(name="partner")[1]

    here, there = alice.get("/wallets?limit=1"), alice.get("/api/v1/wallets")
    refusal = alice.get("/wallets?limit=1")

    assert here.headers["RateLimit-Policy"].startswith('"wallet";q=2;w=60, "api-key";q=3;w=60')
    assert (here.status_code, there.status_code, refusal.status_code) == (200, 200, 429)
    assert answer(refusal)[1] == {"code": 429, "message": "Too many requests, try again later"}
    assert refusal.headers["RateLimit"].startswith('"wallet";r=0;t=')
    assert int(refusal.headers["Retry-After"]) >= 1
    statuses = [bob.get("/wallets?limit=1").status_code for _ in range(3)]
    assert statuses[-1] == 429


def test_a_refusal_is_repeated_for_a_second_from_the_first_however_often_it_is_asked_for(
    alice: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OPEN_TASKS_PER_WALLET = 1
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert alice.get("/api/v1/echo").status_code == 200
    assert alice.get("/api/v1/echo").status_code == 429
    settings.OPEN_TASKS_PER_WALLET = 100

    for _ in range(3):
        now += 0.33
        assert alice.get("/api/v1/echo").status_code == 429
    now += 0.02

    assert alice.get("/api/v1/echo").status_code == 200


@pytest.mark.parametrize("of_wallet", [0, 5])
@pytest.mark.parametrize("of_key", [0, 6])
@pytest.mark.parametrize("of_tasks", [0, 7])
def test_each_limit_is_on_or_off_by_its_own_setting(
    alice: Caller, settings: Any, of_wallet: int, of_key: int, of_tasks: int
) -> None:
    settings.REQUESTS_PER_MINUTE, settings.REQUESTS_PER_MINUTE_PER_KEY = of_wallet, of_key
    settings.TASKS_PER_MINUTE = of_tasks
    alice.api_key = wallets.create_api_key(name="partner")[1]

    plain, task = alice.get("/api/v1/wallets"), alice.get("/api/v1/echo")

    limited = [("wallet", of_wallet), ("api-key", of_key)]
    for response, quotas in ((plain, limited), (task, [*limited, ("wallet-tasks", of_tasks)])):
        expected = ", ".join(f'"{name}";q={limit};w=60' for name, limit in quotas if limit)
        assert (response.status_code, response.headers.get("RateLimit-Policy", "")) == (200, expected)


def test_who_is_refused_waits_for_the_limit_that_is_reached_and_nothing_is_counted(
    alice: Caller, settings: Any
) -> None:
    settings.REQUESTS_PER_MINUTE, settings.REQUESTS_PER_MINUTE_PER_KEY = 1, 9
    alice.api_key = wallets.create_api_key(name="partner")[1]
    assert alice.wallet is not None
    assert alice.get("/wallets?limit=1").status_code == 200
    # The window of the wallet ends before that of the key.
    redis_client(settings.REDIS_URL).pexpire(f"coppice:requests:wallet:{alice.wallet.pk}", 20_000)

    refusals = [alice.get("/wallets?limit=1") for _ in range(2)]

    for each in refusals:
        told = re.fullmatch(r'"wallet";r=0;t=(\d+), "api-key";r=8;t=(\d+)', each.headers["RateLimit"])
        assert each.status_code == 429
        assert told is not None
        assert each.headers["Retry-After"] == told[1]
        assert 0 < int(told[1]) <= 20 < int(told[2]) <= 60


def test_of_two_limits_that_are_reached_the_later_end_is_waited_for(alice: Caller, settings: Any) -> None:
    settings.REQUESTS_PER_MINUTE, settings.REQUESTS_PER_MINUTE_PER_KEY = 1, 1
    alice.api_key = wallets.create_api_key(name="partner")[1]
    assert alice.wallet is not None
    assert alice.get("/wallets?limit=1").status_code == 200
    redis_client(settings.REDIS_URL).pexpire(f"coppice:requests:wallet:{alice.wallet.pk}", 20_000)

    refusal = alice.get("/wallets?limit=1")

    told = re.fullmatch(r'"wallet";r=0;t=(\d+), "api-key";r=0;t=(\d+)', refusal.headers["RateLimit"])
    assert refusal.status_code == 429
    assert told is not None
    assert int(told[1]) <= 20 < int(told[2])
    assert refusal.headers["Retry-After"] == told[2]


def test_requests_of_an_earlier_minute_are_not_added_to_the_next(
    alice: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REQUESTS_PER_MINUTE = 200
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert alice.wallet is not None
    # The last two are counted by this process alone.
    assert [alice.get("/api/v1/wallets").status_code for _ in range(3)] == [200] * 3
    redis_client(settings.REDIS_URL).delete(f"coppice:requests:wallet:{alice.wallet.pk}")
    now += 61

    assert alice.get("/api/v1/wallets").headers["RateLimit"].startswith('"wallet";r=199;t=')


def test_a_process_adds_requests_to_the_shared_counters_in_groups_and_admits_no_more_than_the_limit(
    alice: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REQUESTS_PER_MINUTE = 100
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shared = redis_client(settings.REDIS_URL)
    assert alice.wallet is not None
    key = f"coppice:requests:wallet:{alice.wallet.pk}"
    shared.set(key, 90, px=60_000)

    responses, counted = [], []
    for _ in range(11):
        responses.append(alice.get("/api/v1/wallets"))
        counted.append(int(shared.get(key) or 0))  # type: ignore[arg-type]

    assert [each.status_code for each in responses] == [200] * 10 + [429]
    left = [int(each.headers["RateLimit"].split("r=")[1].split(";")[0]) for each in responses]
    assert left == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    # The process counts two of three alone.
    assert counted == [91, 91, 91, 94, 94, 94, 97, 97, 97, 100, 100]


def test_what_other_processes_admit_is_seen_after_two_percent_of_the_limit_or_a_second(
    alice: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REQUESTS_PER_MINUTE = 100
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shared = redis_client(settings.REDIS_URL)
    assert alice.wallet is not None
    key = f"coppice:requests:wallet:{alice.wallet.pk}"

    assert alice.get("/api/v1/wallets").status_code == 200
    shared.incrby(key, 99)
    assert [alice.get("/api/v1/wallets").status_code for _ in range(4)] == [200, 200, 429, 429]
    shared.decrby(key, 52)
    now += 1
    assert alice.get("/api/v1/wallets").status_code == 200
    shared.incrby(key, 50)
    now += 1
    assert alice.get("/api/v1/wallets").status_code == 429


def test_no_caller_is_limited_while_the_counters_are_unreachable(alice: Caller, settings: Any) -> None:
    settings.TASKS_PER_MINUTE = 1
    shared, settings.REDIS_URL = settings.REDIS_URL, "unix:///nowhere/at/all.sock"

    statuses = [alice.get("/api/v1/echo").status_code for _ in range(3)]
    settings.REDIS_URL = shared

    assert statuses == [200] * 3


def test_wrong_codes_are_counted_by_the_process_alone_while_the_counters_are_away(alice: Caller, settings: Any) -> None:
    settings.WRONG_CODES_PER_WALLET = 2
    shared, settings.REDIS_URL = settings.REDIS_URL, "unix:///nowhere/at/all.sock"
    assert alice.wallet is not None
    who = {"wallet_id": alice.wallet.pk, "address": wrong_code_limits.fingerprint("192.0.2.1")}

    for _ in range(2):
        wrong_code_limits.refuse_guesser(**who)
        wrong_code_limits.note_wrong_code(**who)
    with pytest.raises(TooManyWrongCodes):
        wrong_code_limits.refuse_guesser(**who)
    wrong_code_limits._counts._here._counts.clear()

    wrong_code_limits.refuse_guesser(**who)
    settings.REDIS_URL = shared


def test_a_limit_that_is_off_costs_no_trip(alice: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.redis_servers, "ask", lambda *_: pytest.fail("the counters were asked"))
    alice.api_key = wallets.create_api_key(name="partner")[1]
    assert alice.get("/wallets?limit=1").status_code == 200
    assert alice.get("/api/v1/wallets").status_code == 200


def test_every_action_of_lockers_that_asks_servers_or_moves_coins_is_counted() -> None:
    """Those that only read or write rows are named here."""
    rows_only = {
        "LockerViewSet.list", "LockerViewSet.code", "TaskViewSet.retrieve", "SynchronousViewSet.task",
        "SynchronousViewSet.balance",
        "ExportViewSet.list", "ExportViewSet.retrieve", "ExportViewSet.confirm", "WalletViewSet.wallets",
        "WalletViewSet.open_wallet", "WalletViewSet.wallet", "WalletViewSet.statement", "ReceiptViewSet.receipt",
        "ReceiptViewSet.receipt_of_wallet",
        "PaymentRequestViewSet.create", "PaymentRequestViewSet.list", "PaymentRequestViewSet.retrieve",
        "PaymentRequestViewSet.cancel", "PaymentRequestViewSet.payment",
    }  # fmt: skip
    found = set()
    for pattern in _patterns(get_resolver().url_patterns):
        view_set = getattr(pattern.callback, "cls", None)
        if (
            inspect.isclass(view_set)
            and issubclass(view_set, ApiViewSet)
            and view_set.__module__.startswith("config.api.cloudcoin.")
        ):
            for action in pattern.callback.actions.values():
                name = f"{view_set.__name__}.{action}"
                found.add(name)
                assert (action in view_set.begins_tasks) is (name not in rows_only), name
    assert rows_only <= found


def _patterns(patterns: Any) -> Iterator[Any]:
    for each in patterns:
        yield from _patterns(each.url_patterns) if hasattr(each, "url_patterns") else [each]


# Guessing.


DOORS = {
    "peek": lambda caller, code: caller.get(f"/api/v1/locker/{code}"),
    "peek with body": lambda caller, code: caller.post("/api/v1/locker/peek", {"transmit_code": code}),
    "take": lambda caller, code: caller.post(f"/api/v1/locker/{code}", {"name": caller.wallet.name}),
    "take with body": lambda caller, code: caller.post(
        "/api/v1/locker/take", {"name": caller.wallet.name, "transmit_code": code}
    ),
    "peek at once": lambda caller, code: caller.get(f"/api/transactions/locker/peek?locker_key={code}"),
    "peek at once with body": lambda caller, code: caller.post("/api/transactions/locker/peek", {"locker_key": code}),
    "download": lambda caller, code: caller.post("/api/transactions/locker/download", {"locker_key": code}),
}


def test_who_sends_wrong_codes_is_slowed_at_every_door(
    network: LocalNetwork, alice: Caller, bob: Caller, settings: Any
) -> None:
    settings.WRONG_CODES_PER_WALLET = 3
    for number, door in enumerate(("peek", "take", "peek at once")):
        response = DOORS[door](alice, f"WRONG-CODE-{number}")
        if door != "peek at once":
            work(answer(response))
    before = LockerTask.objects.count()
    assert not limits._refusals

    for name, call in DOORS.items():
        refusal = call(alice, "WRONG-CODE-9")
        assert answer(refusal) == refused(429, "Too many wrong transmit codes, try again later"), name
        assert 0 < int(refusal.headers["Retry-After"]) <= 600

    assert LockerTask.objects.count() == before
    assert DOORS["peek"](bob, "WRONG-CODE-9").status_code == 200


def test_an_address_is_slowed_whatever_wallets_it_has(
    network: LocalNetwork, alice: Caller, bob: Caller, settings: Any
) -> None:
    settings.WRONG_CODES_PER_ADDRESS = 2
    for caller in (alice, bob):
        work(answer(DOORS["peek"](caller, "WRONG-CODE")))

    assert DOORS["peek"](logged_in("charlie", "unused"), "WRONG-CODE").status_code == 429
    plan = LockerTask.objects.latest("created_at").plan
    assert plan == {"from": wrong_code_limits.fingerprint("127.0.0.1")}


def test_right_codes_and_servers_that_are_away_count_for_nothing(
    network: LocalNetwork, mint: Mint, alice: Caller, settings: Any
) -> None:
    settings.WRONG_CODES_PER_WALLET = 1
    give(alice, mint, 0, 0, 0, 0)
    put = {"name": "alice", "amount": 2, "transmit_code": CODE}
    work(answer(alice.post("/api/v1/locker", put)))

    for _ in range(2):
        work(answer(DOORS["peek"](alice, CODE)))
    assert DOORS["peek at once"](alice, CODE).status_code == 200
    network.fault(range(13), "silent")
    work(answer(DOORS["peek"](alice, "WRONG-CODE")))
    network.clear()
    work(answer(DOORS["take"](alice, CODE)))

    assert DOORS["peek"](alice, "WRONG-CODE").status_code == 200


def test_an_address_is_stored_as_a_fingerprint() -> None:
    assert (
        wrong_code_limits.fingerprint("192.0.2.1")
        == wrong_code_limits.fingerprint("192.0.2.1")
        != wrong_code_limits.fingerprint("192.0.2.2")
    )
    assert wrong_code_limits.fingerprint("") == ""


# Waiting.


def test_a_call_beyond_those_that_may_wait_is_refused_and_begins_nothing(
    network: LocalNetwork, mint: Mint, alice: Caller, settings: Any
) -> None:
    settings.WAITING_CALLS_PER_WALLET = 1
    give(alice, mint, 0, 0, 0, 0)
    assert alice.wallet is not None
    before = LockerTask.objects.count()
    limits.begin_waiting(alice.wallet.pk)
    body = {"locker_key": CODE, "amount": 1}
    calls: list[Callable[[], Any]] = [
        lambda: alice.post("/api/transactions/locker/upload", body),
        lambda: alice.post("/api/transactions/locker/upload", body, idempotency_key="k"),
        lambda: DOORS["download"](alice, CODE),
        lambda: DOORS["peek at once"](alice, CODE),
    ]
    refusals = []
    try:
        for call in calls:
            refusals.append(call())
            limits._refusals.clear()
    finally:
        limits.end_waiting(alice.wallet.pk)

    message = "At most 1 calls of a wallet may wait for the result at once; start a task and poll it instead"
    assert [answer(each) for each in refusals] == [refused(429, message)] * 4
    assert {each.headers["Retry-After"] for each in refusals} == {"1"}
    assert LockerTask.objects.count() == before
    assert DOORS["peek at once"](alice, CODE).status_code == 500
    assert not limits._waiting, "who has waited is not counted any more, whatever came of it"
