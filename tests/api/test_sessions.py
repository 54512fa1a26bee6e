"""Sessions of a wallet's owner: who sees and ends them, what a new password ends, and how many there are."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from config.api import cached_credentials, throttles
from tests.api.caller import PASSWORD, Caller
from tests.support.pagination import next_path
from trusts import restricted_keys
from wallets import errors, operations, passwords, queries
from wallets.models import ApiKey, BearerToken, Event, IdempotentAnswer, RestrictedKey, Wallet

NEW = "correct horse"


def log_in(caller: Caller, **headers: str) -> Caller:
    response = caller.post("/auth", {"wallet": "alice", "password": PASSWORD}, authorization=None, **headers)
    return Caller(caller.api_key, response.json()["token"], caller.wallet)


def token_of(caller: Caller) -> BearerToken:
    assert caller.bearer is not None
    return BearerToken.objects.get(digest=queries.digest(caller.bearer))


def valid() -> set[Any]:
    return set(BearerToken.objects.filter(revoked_at=None).values_list("pk", flat=True))


def code_of(response: Any) -> tuple[int, str]:
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (response.status_code, response["Error-Code"])
    return response.status_code, response["Error-Code"]


def test_a_session_names_the_key_and_the_address_of_its_login(alice: Caller, bob: Caller) -> None:
    key, plaintext = operations.create_api_key(name="the planting app")
    phone = log_in(alice)
    caller = Caller(plaintext, alice.bearer, alice.wallet)
    response = caller.client.post(
        "/auth",
        {"wallet": "alice", "password": PASSWORD},
        content_type="application/json",
        headers={"treetracker-api-key": plaintext},
        REMOTE_ADDR="2001:db8::7",
    )
    app = Caller(plaintext, response.json()["token"], alice.wallet)
    assert app.get("/wallets?limit=1").status_code == 200

    answer = app.get("/auth/sessions?limit=10")

    row = token_of(app)
    newest, second, oldest = answer.json()["sessions"]
    assert newest == {
        "id": str(row.pk),
        "created_at": row.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "expires_at": row.expires_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "last_used_at": row.last_used_at and row.last_used_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "address": "2001:db8::7",
        "api_key": "the planting app",
        "is_current": True,
    }
    assert row.api_key == key
    assert (second["id"], second["address"], second["is_current"]) == (str(token_of(phone).pk), "127.0.0.1", False)
    assert (oldest["id"], oldest["address"], oldest["api_key"]) == (str(token_of(alice).pk), None, None)
    # One at a time, by cursor; none of another wallet, none that has ended.
    BearerToken.objects.filter(pk=token_of(phone).pk).update(expires_at=timezone.now())
    path, seen = "/auth/sessions?limit=1", []
    while path:
        page = app.get(path)
        seen += [each["id"] for each in page.json()["sessions"]]
        path = next_path(page)
    assert seen == [newest["id"], oldest["id"]]
    cursor = next_path(app.get("/auth/sessions?limit=1"))
    assert code_of(bob.get(cursor)) == (422, "cursor_invalid")
    assert code_of(app.get(f"{cursor}&start=1")) == (422, "invalid_value")
    assert code_of(app.get("/wallet/v2/auth/sessions")) == (422, "invalid_value")
    assert [each["id"] for each in bob.get("/auth/sessions?limit=9").json()["sessions"]] == [str(token_of(bob).pk)]


def test_sessions_of_one_millisecond_are_each_on_one_page(alice: Caller) -> None:
    moment = timezone.now().replace(microsecond=123_000)
    rows = [token_of(alice), *(token_of(log_in(alice)) for _ in range(3))]
    for row, microseconds in zip(rows, (0, 1, 1, 999), strict=True):
        BearerToken.objects.filter(pk=row.pk).update(created_at=moment + timedelta(microseconds=microseconds))

    path, seen = "/auth/sessions?limit=1", []
    while path:
        page = alice.get(path)
        seen += [each["id"] for each in page.json()["sessions"]]
        path = next_path(page)

    assert seen == [str(rows[3].pk), *sorted(str(row.pk) for row in rows[1:3]), str(rows[0].pk)]


def test_a_session_is_ended_by_its_owner_alone(alice: Caller, bob: Caller) -> None:
    phone = log_in(alice)
    target, before = token_of(phone).pk, valid()
    # Its credentials are cached by now.
    assert phone.get("/wallets?limit=1").status_code == phone.get("/wallets?limit=1").status_code == 200

    for path, expected in (
        (f"/auth/sessions/{target}", (404, "session_not_found")),
        ("/auth/sessions/11111111-1111-4111-8111-111111111111", (404, "session_not_found")),
        ("/auth/sessions/x", (422, "invalid_value")),
    ):
        assert code_of(bob.delete(path)) == expected
    assert valid() == before

    assert alice.delete(f"/auth/sessions/{target}").json() == {"sessions_ended": 1}

    assert valid() == before - {target}
    assert phone.get("/wallets?limit=1").status_code in (401, 403)
    assert code_of(alice.delete(f"/auth/sessions/{target}")) == (404, "session_not_found")
    assert phone.get("/auth/sessions?limit=1").status_code == 401


def test_a_client_ends_its_own_session(alice: Caller, bob: Caller) -> None:
    phone, before = log_in(alice), valid()

    assert phone.delete("/auth/token").json() == {"sessions_ended": 1}

    assert before - valid() == {token_of(phone).pk}
    assert code_of(phone.delete("/auth/token")) == (401, "bearer_token_invalid")
    assert alice.get("/wallets?limit=1").status_code == 200


def test_a_new_password_ends_the_other_sessions_of_the_wallet(alice: Caller, bob: Caller) -> None:
    others = [log_in(alice), log_in(alice)]
    bobs = token_of(bob).pk

    answer = alice.post("/auth/password", {"old_password": PASSWORD, "new_password": NEW}, idempotency_key="k")

    assert (answer.status_code, answer.json()) == (200, {"sessions_ended": 2})
    assert valid() == {token_of(alice).pk, bobs}
    assert {each.get("/wallets?limit=1").status_code for each in others} <= {401, 403}
    assert not IdempotentAnswer.objects.exists()
    with pytest.raises(errors.InvalidCredentials):
        operations.authenticate(name_or_id="alice", password=PASSWORD)
    assert operations.authenticate(name_or_id="alice", password=NEW)
    assert operations.authenticate(name_or_id="bobby", password=PASSWORD)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("wrong one", NEW, (403, "password_wrong")),
        (PASSWORD, "7 chars", (422, "password_weak")),
        (PASSWORD, PASSWORD, (422, "password_weak")),
        (PASSWORD, "x" * 33, (422, "invalid_value")),
        (PASSWORD, "with\0nul", (400, "malformed_json")),
        (PASSWORD, "", (422, "invalid_value")),
    ],
)
def test_a_refused_change_changes_nothing(alice: Caller, old: str, new: str, expected: tuple[int, str]) -> None:
    log_in(alice)
    before = valid(), Wallet.objects.get(name="alice").password

    answer = alice.post("/auth/password", {"old_password": old, "new_password": new})

    assert code_of(answer) == expected
    assert (valid(), Wallet.objects.get(name="alice").password) == before


def test_the_name_of_the_wallet_is_no_password(api_key: str) -> None:
    owner = operations.create_wallet(name="alice-of-the-wood", password=PASSWORD)
    token = BearerToken.objects.get(
        digest=queries.digest(operations.authenticate(name_or_id=owner.name, password=PASSWORD))
    )
    with pytest.raises(errors.WeakPassword, match="name of the wallet"):
        operations.change_password(wallet=owner, old=PASSWORD, new="Alice-of-the-WOOD", kept_token_id=token.pk)


def test_the_present_password_in_another_form_is_no_new_one(api_key: str) -> None:
    """The letter \u00e4 is one character or two; a login takes either."""
    owner = operations.create_wallet(name="alice", password="k\u00e4fer-in-eiche")
    token = BearerToken.objects.get(
        digest=queries.digest(operations.authenticate(name_or_id="alice", password="k\u00e4fer-in-eiche"))
    )
    for old, new in (("k\u00e4fer-in-eiche", "ka\u0308fer-in-eiche"), ("ka\u0308fer-in-eiche", "k\u00e4fer-in-eiche")):
        with pytest.raises(errors.WeakPassword, match="old one"):
            operations.change_password(wallet=owner, old=old, new=new, kept_token_id=token.pk)


def test_guesses_of_the_present_password_are_limited_and_weak_new_ones_are_not(alice: Caller) -> None:
    guess = {"old_password": "wrong one", "new_password": NEW}
    for _ in range(throttles.FAILURES_PER_ACCOUNT + 2):
        weak = alice.post("/auth/password", {"old_password": PASSWORD, "new_password": "short"})
        assert weak.status_code == 422
    for _ in range(throttles.FAILURES_PER_ACCOUNT):
        assert alice.post("/auth/password", guess).status_code == 403

    assert code_of(alice.post("/auth/password", guess)) == (429, "too_many_login_attempts")
    assert alice.post("/auth", {"wallet": "alice", "password": "wrong"}, authorization=None).status_code == 429


def test_a_change_rests_on_the_present_password_and_a_valid_session(alice: Caller) -> None:
    assert alice.wallet is not None
    kept = token_of(alice).pk
    before = Wallet.objects.get(name="alice").password
    # Verified, and changed by another before it is stored.
    verify = passwords.verify

    def verify_and_change(password: str, stored: str) -> tuple[bool, bool]:
        result = verify(password, stored)
        Wallet.objects.filter(name="alice").update(password=passwords.encoded("another one"))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "verify", verify_and_change)
        with pytest.raises(errors.WrongPassword):
            operations.change_password(wallet=alice.wallet, old=PASSWORD, new=NEW, kept_token_id=kept)
    Wallet.objects.filter(name="alice").update(password=before)
    operations.revoke_bearer_token(bearer_token_id=kept)
    with pytest.raises(errors.SessionNotFound):
        operations.change_password(wallet=alice.wallet, old=PASSWORD, new=NEW, kept_token_id=kept)
    assert Wallet.objects.get(name="alice").password == before


def test_a_further_login_ends_the_session_used_least_recently(settings: Any, alice: Caller, bob: Caller) -> None:
    settings.BEARER_TOKENS_PER_WALLET = 2
    oldest, second = token_of(alice), token_of(log_in(alice))
    hour = timedelta(hours=1)
    BearerToken.objects.filter(pk=oldest.pk).update(
        created_at=oldest.created_at - 2 * hour, last_used_at=timezone.now()
    )
    BearerToken.objects.filter(pk=second.pk).update(created_at=second.created_at - hour)

    third = token_of(log_in(alice))

    assert valid() == {oldest.pk, third.pk, token_of(bob).pk}


def test_the_life_of_a_token_is_a_setting(settings: Any, alice: Caller) -> None:
    settings.BEARER_TOKEN_DAYS = 3
    row = token_of(log_in(alice))
    assert timedelta(days=3) - timedelta(minutes=1) < row.expires_at - row.created_at < timedelta(days=3, minutes=1)


@pytest.mark.django_db(transaction=True)
def test_logins_at_the_same_time_leave_no_more_sessions_than_permitted(settings: Any) -> None:
    settings.BEARER_TOKENS_PER_WALLET = 2
    cached_credentials.clear()
    operations.create_wallet(name="alice", password=PASSWORD)
    barrier = threading.Barrier(6)

    def log_in_at_once() -> None:
        barrier.wait()
        operations.authenticate(name_or_id="alice", password=PASSWORD)
        connection.close()

    threads = [threading.Thread(target=log_in_at_once) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(valid()) == 2
    assert BearerToken.objects.count() == 6
    assert not ApiKey.objects.exists()


def told(wallet: str) -> list[tuple[str, dict[str, Any]]]:
    rows = Event.objects.filter(wallet__name=wallet).exclude(type__in=["login", "wallet_created"])
    return [(row.type, row.payload) for row in rows.order_by("number")]


def test_the_wallet_sees_what_ended_its_sessions(settings: Any, alice: Caller, bob: Caller) -> None:
    phone, laptop, tablet = log_in(alice), log_in(alice), log_in(alice)
    ended = ("sessions.ended", {"sessionsEnded": 1})

    phone.delete("/auth/token")
    alice.delete(f"/auth/sessions/{token_of(laptop).pk}")
    alice.delete(f"/auth/sessions/{token_of(laptop).pk}")
    operations.revoke_bearer_token(bearer_token_id=token_of(tablet).pk)
    operations.revoke_bearer_token(bearer_token_id=token_of(tablet).pk)
    assert told("alice") == [ended] * 3

    log_in(alice)
    alice.post("/auth/password", {"old_password": "wrong", "new_password": NEW})
    alice.post("/auth/password", {"old_password": PASSWORD, "new_password": NEW})
    assert told("alice")[3:] == [("password.changed", {"sessionsEnded": 1})]
    settings.BEARER_TOKENS_PER_WALLET = 1
    operations.authenticate(name_or_id="alice", password=NEW)
    operations.set_password(wallet=alice.wallet, password="another one")
    operations.revoke_bearer_tokens(wallet=alice.wallet)

    assert told("alice")[4:] == [ended, ("password.changed", {"sessionsEnded": 1})]
    assert told("bob") == []


@pytest.mark.parametrize("asked", [None, False, True])
def test_a_new_password_ends_restricted_keys_if_asked(asked: bool | None, alice: Caller, bob: Caller) -> None:
    assert alice.wallet is not None
    assert bob.wallet is not None
    keys = [restricted_keys.create(actor=alice.wallet, name=name, scopes=["tokens:read"]) for name in ("a", "b", "c")]
    restricted_keys.create(actor=bob.wallet, name="bob's", scopes=["tokens:read"])
    RestrictedKey.objects.filter(pk=keys[2].row.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    programs = [Caller(alice.api_key, key.secret, alice.wallet) for key in keys[:2]]
    body = {"old_password": PASSWORD, "new_password": NEW} | ({} if asked is None else {"end_keys": asked})

    refused = alice.post("/auth/password", body | {"end_keys": "yes"})
    answer = alice.post("/auth/password", body)

    assert refused.status_code == 422
    assert answer.json() == {"sessions_ended": 0} | ({"keys_ended": 2} if asked else {})
    assert {each.get("/tokens?limit=1").status_code for each in programs} == {403 if asked else 200}
    ended = [payload["keyName"] for type_, payload in told("alice") if type_ == "key.ended"]
    assert sorted(ended) == (["a", "b"] if asked else [])
    assert RestrictedKey.objects.exclude(ended_at=None).count() == len(ended)
