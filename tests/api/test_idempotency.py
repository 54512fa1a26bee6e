"""Idempotency-Key: one effect and one answer, however often a request is sent."""

import json
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from django.http import HttpRequest

from config.api import idempotency
from tests.api.caller import Caller, answer, created, refusal
from wallets import operations, queries
from wallets.models import IdempotentAnswer, Wallet

RUNNING = refusal(409, "A request with this Idempotency-Key is still running")
LOST = refusal(
    409, "The answer kept for this Idempotency-Key can no longer be read; look up what became of the request"
)
OTHER_REQUEST = refusal(422, "This Idempotency-Key was used for another request")


def test_a_repeated_request_gets_the_first_answer_and_has_no_second_effect(alice: Caller) -> None:
    first = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")
    second = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")

    assert created(first) == created(second) == (200, "sapling")
    assert first.content == second.content
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert Wallet.objects.filter(name="sapling").count() == 1


def test_without_the_key_the_second_request_is_refused_and_nothing_is_stored(alice: Caller) -> None:
    alice.post("/wallets", {"wallet": "sapling"})

    response = alice.post("/wallets", {"wallet": "sapling"})

    assert answer(response) == refusal(403, "The wallet 'sapling' has been existed")
    assert IdempotentAnswer.objects.count() == 0


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/wallets", {"wallet": "another"}),
        ("POST", "/wallets?x=1", {"wallet": "sapling"}),
        ("POST", "/wallet/wallets", {"wallet": "sapling"}),
        ("PATCH", "/wallets/{alice}", {"wallet": "sapling"}),
    ],
)
def test_the_key_of_another_request_is_refused_and_changes_nothing(
    alice: Caller, method: str, path: str, body: Any
) -> None:
    alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")

    response = alice.send(method, path.replace("{alice}", str(alice.wallet.pk)), body, idempotency_key="k-1")

    assert answer(response) == OTHER_REQUEST
    assert not Wallet.objects.filter(name="another").exists()


def test_the_same_body_in_other_words_is_the_same_request(alice: Caller) -> None:
    alice.post("/wallets", b'{"wallet":"sapling"}', idempotency_key="k-1")

    response = alice.post("/wallets", b' {"wallet" : "sapling"} ', idempotency_key="k-1")

    assert response["Idempotency-Replayed"] == "true"


def test_two_callers_do_not_share_their_keys(alice: Caller, bob: Caller) -> None:
    alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")

    response = bob.post("/wallets", {"wallet": "seedling"}, idempotency_key="k-1")

    assert created(response) == (200, "seedling")
    assert "Idempotency-Replayed" not in response


def test_a_refused_call_keeps_nothing_and_may_be_tried_again_with_its_key(alice: Caller) -> None:
    refused = alice.post("/wallets", {"wallet": "alice"}, idempotency_key="k-1")
    accepted = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")

    assert answer(refused) == refusal(403, "The wallet 'alice' has been existed")
    assert created(accepted) == (200, "sapling")


def test_an_unexpected_error_is_never_stored(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("on purpose")

    with monkeypatch.context() as patched:
        patched.setattr("trusts.operations._create", broken)
        failed = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")
    again = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")

    assert answer(failed) == refusal(500, "Unknown error")
    assert created(again) == (200, "sapling")
    assert "Idempotency-Replayed" not in again


@pytest.mark.parametrize("key", ["", "x" * 256, "with blank", "ümlaut"])
def test_a_key_that_is_none_is_refused_and_changes_nothing(alice: Caller, key: Any) -> None:
    response = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key=key)

    assert answer(response) == refusal(422, '"Idempotency-Key" must be 1 to 255 visible ASCII characters')
    assert not Wallet.objects.filter(name="sapling").exists()


def test_the_key_does_not_open_the_door(alice: Caller) -> None:
    alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")

    without_bearer = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1", authorization=None)
    without_api_key = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1", treetracker_api_key=None)

    assert answer(without_bearer) == refusal(403, "ERROR: Authentication, token not verified")
    assert answer(without_api_key) == refusal(401, "Invalid access - no API key")


def test_reading_and_logging_in_take_no_part(alice: Caller) -> None:
    alice.get("/wallets?limit=1", idempotency_key="k-1")
    credentials = {"wallet": "alice", "password": "test1234"}
    first = alice.post("/auth", credentials, idempotency_key="k-1")
    second = alice.post("/auth", credentials, idempotency_key="k-1")

    assert answer(first)[1]["token"] != answer(second)[1]["token"]
    assert IdempotentAnswer.objects.count() == 0


def test_a_stored_answer_cannot_be_read_in_the_database(alice: Caller) -> None:
    alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")

    (stored,) = IdempotentAnswer.objects.all()

    assert b"sapling" not in bytes(stored.body)


def test_an_answer_is_read_with_the_key_by_which_it_was_stored_while_that_is_configured(
    alice: Caller, settings: Any
) -> None:
    first = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")
    stored, settings.VAULT_KEY = settings.VAULT_KEY, "YW5vdGhlciB2YXVsdCBrZXksIDMyIGJ5dGVzIGxvbmc="
    before = Wallet.objects.count()

    try:
        for old_keys, expected in (([stored], answer(first)), ([], LOST)):
            settings.VAULT_OLD_KEYS = old_keys
            idempotency._ciphers.cache_clear()
            assert answer(alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")) == expected
        # A new answer is stored with the new key alone.
        alice.post("/wallets", {"wallet": "seedling"}, idempotency_key="k-2")
        again = alice.post("/wallets", {"wallet": "seedling"}, idempotency_key="k-2")
        assert (created(again), again["Idempotency-Replayed"]) == ((200, "seedling"), "true")
    finally:
        idempotency._ciphers.cache_clear()
    assert Wallet.objects.count() == before + 1


def test_a_key_costs_one_statement_for_the_first_request_and_saves_the_others_for_the_second(alice: Caller) -> None:
    _statements(alice, "warm-up")

    without = _statements(alice, "one")
    first = _statements(alice, "two", idempotency_key="k-1")
    second = _statements(alice, "two", idempotency_key="k-1")

    assert first == without + 1
    # The look-up, and the wait for the synchronous standby.
    assert second == 2


def _statements(caller: Any, name: Any, **headers: Any) -> int:
    counter = _Counter()
    with connection.execute_wrapper(counter):
        assert caller.post("/wallets", {"wallet": name}, **headers).status_code == 200
    return counter.count


class _Counter:
    count = 0

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        if not sql.startswith(("SAVEPOINT", "RELEASE")):
            self.count += 1
        return execute(sql, params, many, context)


@pytest.mark.django_db(transaction=True)
def test_while_the_first_runs_the_second_is_refused_at_once(alice: Caller) -> None:
    """The first request is this test's own transaction on another connection, which holds the key."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s || %s, 0))", [str(alice.wallet.pk), "k-1"])
            response = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")
            other_key = alice.post("/wallets", {"wallet": "seedling"}, idempotency_key="k-2")
            cursor.execute("ROLLBACK")
        afterwards = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")
    finally:
        other.close()

    assert answer(response) == RUNNING
    assert response["Retry-After"] == "1"
    assert created(other_key) == (200, "seedling")
    assert created(afterwards) == (200, "sapling")


@pytest.mark.django_db(transaction=True)
def test_a_request_with_this_key_that_committed_in_between_wins_and_this_effect_is_rolled_back(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Place the race: between look-up and storing, another connection stores the answer."""
    keep = operations.store_response

    def keep_after_the_other(**arguments: Any) -> Any:
        other = connections.create_connection("default")
        with other.cursor() as cursor:
            cursor.execute(
                "INSERT INTO wallets_idempotentanswer (wallet_id, key, fingerprint, status, body)"
                " VALUES (%s, %s, %s, 200, %s)",
                [arguments["wallet_id"], arguments["key"], arguments["fingerprint"], arguments["body"]],
            )
        other.close()
        return keep(**arguments)

    with monkeypatch.context() as patched:
        patched.setattr(idempotency.operations, "store_response", keep_after_the_other)
        lost = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")
    replayed = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")

    assert answer(lost) == RUNNING
    assert not Wallet.objects.filter(name="sapling").exists()
    assert json.loads(replayed.content)["wallet"] == "sapling"
    assert replayed["Idempotency-Replayed"] == "true"


def test_the_test_database_is_what_the_mechanism_needs(db: None) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone() == ("read committed",)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cut", ["before the server commits", "after the server committed"])
def test_a_connection_cut_during_commit_and_a_retry_give_one_effect(
    alice: Caller, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """The client cannot know which of the two it was, and need not."""
    commit = DatabaseWrapper._commit

    def commit_and_lose_the_connection(wrapper: Any) -> None:
        if cut == "after the server committed":
            commit(wrapper)
        wrapper.connection.close()
        raise OperationalError("server closed the connection unexpectedly")

    alice.post("/wallets", {"wallet": "warm-up"})
    with monkeypatch.context() as patched:
        patched.setattr(DatabaseWrapper, "_commit", commit_and_lose_the_connection)
        unknown = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")
    retried = alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")

    assert answer(unknown) == refusal(503, "Service busy, try again")
    assert created(retried) == (200, "sapling")
    assert ("Idempotency-Replayed" in retried) == (cut == "after the server committed")
    assert Wallet.objects.filter(name="sapling").count() == 1


def test_a_refusal_follows_from_an_earlier_request_only_if_that_was_answered_since_the_look_up(
    alice: Caller, bob: Caller
) -> None:
    alice.post("/wallets", {"wallet": "sapling"}, idempotency_key="k-1")
    with transaction.atomic():
        now = queries.credentials(api_key=alice.api_key, bearer=alice.bearer, idempotency_key="k-1")
    before = replace(now, answer=None)
    cases = [
        # The key, what was found for it, whether the refusal is that of a repetition.
        ("k-1", before, True),
        ("k-2", before, False),
        (None, before, False),
        ("k-1", None, False),
        ("k-1", replace(before, wallet=None), False),
        ("k-1", replace(before, wallet=bob.wallet), False),
        # The refusal is that of the key itself, or was decided before it was looked at.
        ("k-1", now, False),
        ("k-1", replace(before, holds_key=False), False),
    ]
    assert (now.answer is not None, now.holds_key) == (True, True)
    for key, found, is_overtaken in cases:
        request = HttpRequest()
        request.idempotency_key = key  # type: ignore[attr-defined]
        assert idempotency.was_overtaken(request, found) == is_overtaken, (key, found)
