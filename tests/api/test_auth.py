"""`POST /auth`: who gets a bearer token, what refusals tell, and what attackers cannot do."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.db import connections

from config.api import throttles
from config.settings import base
from tests.api.caller import PASSWORD, Caller, answer, refusal
from wallets import operations
from wallets.models import BearerToken, Wallet

WRONG = refusal(401, "Invalid credentials")
TOO_MANY = refusal(429, "Too many login attempts, try again later")
PEER_HASH = (
    "treetracker_hmac_sha512$TnDe2LDPS7VaPD9GQWL3fhG4jk194nde$"
    "31dd4fe716e1a908f0e9612c1a0e92bfdd9f66e75ae12244b4ee8309d5b869d435182f5848b67177aa17a05f9306e23c10ba41675933e2cb20c6"
    "6f1b009570c1"
)


def log_in(caller: Any, wallet: Any, password: Any = PASSWORD, **headers: Any) -> Any:
    return caller.post("/auth", {"wallet": wallet, "password": password}, **headers)


def test_a_wallet_logs_in_by_name_in_any_case_and_by_id_with_and_without_hyphens(alice: Caller) -> None:
    tokens = [answer(log_in(alice, each)) for each in ("alice", "ALICE", str(alice.wallet.pk), alice.wallet.pk.hex)]

    assert [status for status, _ in tokens] == [200] * 4
    for _, body in tokens:
        assert list(body) == ["token"]
        assert alice.get("/wallets?limit=1", authorization=f"Bearer {body['token']}").status_code == 200
    assert len({body["token"] for _, body in tokens}) == 4


def test_a_bearer_token_is_good_for_365_days(alice: Caller) -> None:
    (token,) = BearerToken.objects.all()

    assert (token.expires_at - token.created_at).total_seconds() == pytest.approx(365 * 24 * 3600, abs=1)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"password": "x"}, 422, '"wallet" is required'),
        ({"wallet": "alice"}, 422, '"password" is required'),
        ({"wallet": "", "password": "x"}, 422, '"wallet" is not allowed to be empty'),
        ({"wallet": "alice", "password": ""}, 422, '"password" is not allowed to be empty'),
        ({"wallet": 1234, "password": "x"}, 422, '"wallet" must be a string'),
        ({"wallet": "alice", "password": 5}, 422, '"password" must be a string'),
        ({"wallet": "alice", "password": "x", "x": 1}, 422, '"x" is not allowed'),
        (
            {"wallet": "alice", "password": "x" * 33},
            422,
            '"password" length must be less than or equal to 32 characters long',
        ),
        ({"wallet": "bob", "password": "x"}, 422, '"wallet" length must be at least 4 characters long'),
        (
            {"wallet": "x" * 37, "password": "x"},
            422,
            '"wallet" length must be less than or equal to 36 characters long',
        ),
        ({"wallet": "nobody", "password": "x"}, 404, "Could not find entity by wallet name: nobody"),
        ({"wallet": "carl", "password": "x" * 32}, 404, "Could not find entity by wallet name: carl"),
        ({"wallet": "x" * 36, "password": "x"}, 404, f"Could not find entity by wallet name: {'x' * 36}"),
        (
            {"wallet": "11111111-1111-4111-8111-111111111111", "password": "x"},
            404,
            "Could not find wallet by id: 11111111-1111-4111-8111-111111111111",
        ),
        ({"wallet": "no body", "password": "x"}, 400, "invalid wallet name:no body"),
        ({"wallet": "alice", "password": "wrong"}, 401, "Invalid credentials"),
    ],
)
def test_a_refusal_says_what_to_mend_and_issues_nothing(alice: Caller, body: Any, status: int, message: str) -> None:
    assert answer(alice.post("/auth", body)) == refusal(status, message)
    assert BearerToken.objects.count() == 1


def test_a_wallet_with_a_short_or_a_long_name_can_log_in(api_key: str) -> None:
    for name in ("bob", "somebody.with.a.very.long.address@example.org"):
        operations.create_wallet(name=name, password=PASSWORD)
        assert log_in(Caller(api_key), name).status_code == 200


def test_row_22_a_wallet_without_a_password_cannot_log_in(alice: Caller) -> None:
    alice.post("/wallets", {"wallet": "sapling"})

    assert answer(log_in(alice, "sapling")) == WRONG


@pytest.mark.parametrize("wallet", ["alice", "nobody", "11111111-1111-4111-8111-111111111111", "sapling", "migrated"])
def test_row_22_a_wrong_password_costs_one_hash_whoever_the_wallet_is(
    alice: Caller, monkeypatch: pytest.MonkeyPatch, wallet: str
) -> None:
    operations.create_wallet(name="sapling")
    Wallet.objects.create(name="migrated", name_key="migrated", password=PEER_HASH)
    costs = []
    hasher = hashers.get_hasher()
    encode = hasher.encode
    monkeypatch.setattr(type(hasher), "encode", lambda self, *arguments: costs.append(1) or encode(*arguments))

    log_in(alice, wallet, "wrong")

    assert costs == [1]


def test_row_23_a_migrated_wallet_logs_in_and_its_hash_is_replaced(alice: Caller) -> None:
    Wallet.objects.create(name="migrated", name_key="migrated", password=PEER_HASH)

    refused = log_in(alice, "migrated", "wrong")
    kept = Wallet.objects.get(name="migrated").password
    accepted = log_in(alice, "migrated")
    replaced = Wallet.objects.get(name="migrated").password

    assert answer(refused) == WRONG
    assert kept == PEER_HASH
    assert accepted.status_code == 200
    assert replaced.split("$")[0] == hashers.get_hasher().algorithm
    assert log_in(alice, "migrated").status_code == 200


def test_the_password_hasher_of_production_is_slow_and_verifies_what_was_migrated() -> None:
    assert base.PASSWORD_HASHERS[0] == "django.contrib.auth.hashers.ScryptPasswordHasher"
    assert "wallets.hashers.TreetrackerHasher" in base.PASSWORD_HASHERS


def test_after_ten_failures_an_account_is_closed_for_a_while_even_for_the_right_password(
    alice: Caller, bob: Caller
) -> None:
    refused = [log_in(alice, "alice", "wrong") for _ in range(throttles.FAILURES_PER_ACCOUNT)]
    closed = log_in(alice, "ALICE")
    other_account = log_in(alice, "bobby")

    assert {each.status_code for each in refused} == {401}
    assert answer(closed) == TOO_MANY
    assert 0 < int(closed["Retry-After"]) <= throttles.WINDOW_SECONDS
    assert other_account.status_code == 200


def test_an_account_that_does_not_exist_is_closed_just_the_same(alice: Caller) -> None:
    statuses = [log_in(alice, "nobody").status_code for _ in range(throttles.FAILURES_PER_ACCOUNT + 1)]

    assert statuses == [404] * throttles.FAILURES_PER_ACCOUNT + [429]


def test_an_address_that_fails_with_many_accounts_is_closed(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttles, "FAILURES_PER_ADDRESS", 5)
    for number in range(5):
        log_in(alice, f"nobody{number}")

    assert answer(log_in(alice, "alice")) == TOO_MANY


def test_logging_in_often_is_not_failing(alice: Caller) -> None:
    statuses = {log_in(alice, "alice").status_code for _ in range(throttles.FAILURES_PER_ACCOUNT * 2)}

    assert statuses == {200}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("limit", ["FAILURES_PER_ACCOUNT", "FAILURES_PER_ADDRESS"])
def test_parallel_guesses_are_counted_like_guesses_in_a_row(
    alice: Caller, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(throttles, "CHECKS_AT_ONCE", 100)
    monkeypatch.setattr(throttles, "FAILURES_PER_ACCOUNT", 1000)
    monkeypatch.setattr(throttles, limit, 10)
    together = threading.Barrier(32, timeout=60)

    def guess(number: int) -> int:
        # One account from everywhere, or many accounts from one address.
        account, address = ("alice", f"192.0.2.{number}") if limit.endswith("ACCOUNT") else (f"nobody{number}", None)
        caller = Caller(alice.api_key)
        caller.client.defaults |= {} if address is None else {"REMOTE_ADDR": address}
        try:
            together.wait()
            return log_in(caller, account, "wrong").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(32) as threads:
        statuses = sorted(threads.map(guess, range(32)))

    refused = 401 if limit.endswith("ACCOUNT") else 404
    assert statuses == [refused] * 10 + [429] * 22


def test_only_so_many_passwords_are_checked_at_once(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttles, "CHECKS_AT_ONCE", 1)
    monkeypatch.setattr(throttles, "_WAIT_SECONDS", 0.0)

    with throttles.login(kind="wallet", account="bobby", address="192.0.2.1"):
        refused = log_in(alice, "alice")
    accepted = log_in(alice, "alice")

    assert answer(refused) == TOO_MANY
    assert refused["Retry-After"] == "1"
    assert accepted.status_code == 200


def test_the_place_of_a_process_that_died_while_it_checked_is_free_again(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttles, "CHECKS_AT_ONCE", 1)
    monkeypatch.setattr(throttles, "_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(throttles, "_SLOT_SECONDS", 0.001)
    throttles._admit(throttles._keys("wallet", "bobby", "192.0.2.1"), "died")
    deadline = time.monotonic() + 60

    while (status := log_in(alice, "alice").status_code) != 200 and time.monotonic() < deadline:
        pass

    assert status == 200


def test_without_redis_each_process_counts_wrong_passwords_alone_and_says_so(
    alice: Caller, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = "unix:///nowhere/at/all.sock"
    throttles._here._counts.clear()

    right = {log_in(alice, "alice").status_code for _ in range(throttles.FAILURES_PER_ACCOUNT + 2)}
    wrong = [log_in(alice, "bobby", "wrong") for _ in range(throttles.FAILURES_PER_ACCOUNT + 1)]
    throttles._here._counts.clear()

    assert right == {200}
    assert [each.status_code for each in wrong] == [404] * throttles.FAILURES_PER_ACCOUNT + [429]
    assert 0 < int(wrong[-1]["Retry-After"]) <= throttles.WINDOW_SECONDS
    # Once, and not for each request: the server is left alone for a while.
    assert caplog.text.count("counting_in_this_process_alone") == 1
    assert alice.get("/wallets?limit=1").status_code == 200


def test_passwords_and_tokens_are_not_logged(alice: Caller, caplog: pytest.LogCaptureFixture) -> None:
    log_in(alice, "alice", "a-canary-password")
    alice.get("/nope", authorization="Bearer a-canary-token")

    assert "canary" not in caplog.text
