"""What is taken away while a login is under way. Controls without the lock, or with the old look, show the races."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.db import OperationalError, connection, connections, transaction
from django.db.models.functions import Now

from tests.concurrency.races import PATIENCE_SECONDS, Gate, race
from wallets import errors, operations, passwords, queries
from wallets.hashers import TreetrackerHasher
from wallets.models import ApiKey, BearerToken, Wallet

OLD, NEW = "the old one", "the new one"
PEER_HASH = TreetrackerHasher().encode(OLD, "TnDe2LDPS7VaPD9GQWL3fhG4jk194nde")


@pytest.fixture
def alice(transactional_db: None) -> Wallet:
    return operations.create_wallet(name="alice", password=OLD)


def log_in(password: str = OLD, **more: Any) -> Callable[[], str]:
    return lambda: operations.authenticate(name_or_id="alice", password=password, **more)


def opens(token: str) -> bool:
    return queries.credentials(api_key="", bearer=token).wallet is not None


def valid_tokens() -> int:
    return BearerToken.objects.filter(revoked_at=None, expires_at__gt=Now()).count()


def elsewhere(act: Callable[[], Any]) -> None:
    """Run it to its end on a separate connection."""

    def run() -> None:
        try:
            act()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=PATIENCE_SECONDS)
    assert not thread.is_alive()


def after_the_first_verification(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> list[bool]:
    """Do something the moment after a password was verified; return what the verifications found."""
    verify, found = passwords.verify, []

    def verify_and_act(password: str, stored: str) -> tuple[bool, bool]:
        result = verify(password, stored)
        found.append(result[0])
        if len(found) == 1:
            elsewhere(act)
        return result

    monkeypatch.setattr(passwords, "verify", verify_and_act)
    return found


@pytest.fixture
def without_comparing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a login believe that what it verified is still stored, as it did before."""
    verify, verified = passwords.verify, []

    def verify_and_note(password: str, stored: str) -> tuple[bool, bool]:
        verified.append(stored)
        return verify(password, stored)

    monkeypatch.setattr(passwords, "verify", verify_and_note)
    monkeypatch.setattr(operations, "_password_until_commit", lambda *_, **__: verified[-1])


@pytest.mark.parametrize("stored", ["preferred", "old"])
def test_a_login_that_verified_the_old_password_issues_nothing_after_the_change(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    if stored == "old":
        Wallet.objects.filter(pk=alice.pk).update(password=PEER_HASH)
    found = after_the_first_verification(monkeypatch, lambda: operations.set_password(wallet=alice, password=NEW))

    with pytest.raises(errors.InvalidCredentials):
        log_in()()

    assert found == [True, False]
    assert BearerToken.objects.count() == 0
    # The replacement of the old hash has not overwritten the newer password.
    assert opens(log_in(NEW)())


def test_control_without_comparing_the_login_of_the_old_password_outlives_it(
    alice: Wallet, without_comparing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_the_first_verification(monkeypatch, lambda: operations.set_password(wallet=alice, password=NEW))

    assert opens(log_in()())


def race_with_the_change(alice: Wallet, monkeypatch: pytest.MonkeyPatch, *, held: bool) -> list[Any]:
    """Let the login have compared, and the change reach its end, before either commits, if nothing waits."""
    gate = Gate(2, held=held)
    issue, record = operations._issue_bearer_token, operations._record_password

    def wait_and_issue(wallet: Wallet, **origin: Any) -> str:
        gate()
        # The change is through, if nothing kept it.
        gate()
        return issue(wallet, **origin)

    def wait_and_record(*arguments: Any, **keywords: Any) -> None:
        # The tokens are revoked.
        gate()
        record(*arguments, **keywords)
        gate()

    monkeypatch.setattr(operations, "_issue_bearer_token", wait_and_issue)
    monkeypatch.setattr(operations, "_record_password", wait_and_record)
    return race([log_in(), lambda: operations.set_password(wallet=alice, password=NEW)])


def test_a_login_and_a_change_at_once_leave_no_token_of_the_old_password(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = race_with_the_change(alice, monkeypatch, held=True)

    assert outcomes[1] is None
    assert valid_tokens() == 0


def test_control_without_the_lock_a_token_of_the_old_password_lives_on(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        operations,
        "_password_until_commit",
        lambda wallet_id, **_: Wallet.objects.values_list("password", flat=True).get(pk=wallet_id),
    )

    outcomes = race_with_the_change(alice, monkeypatch, held=False)

    assert outcomes[1] is None
    assert valid_tokens() == 1
    assert opens(outcomes[0])


def test_of_16_logins_and_a_change_no_token_of_the_old_password_is_left(alice: Wallet) -> None:
    operations.create_wallet(name="bobby", password=OLD)
    neighbour = operations.authenticate(name_or_id="bobby", password=OLD)

    outcomes = race([*[log_in()] * 16, lambda: operations.set_password(wallet=alice, password=NEW)])

    assert outcomes.pop() is None
    assert {type(outcome) for outcome in outcomes} <= {str, errors.InvalidCredentials}
    assert not any(opens(token) for token in outcomes if isinstance(token, str))
    assert opens(neighbour)


def test_logins_that_replace_an_old_hash_at_once_all_succeed(alice: Wallet) -> None:
    Wallet.objects.filter(pk=alice.pk).update(password=PEER_HASH)

    outcomes = race([log_in()] * 8)

    assert all(opens(token) for token in outcomes)
    assert hashers.identify_hasher(Wallet.objects.get().password).algorithm == hashers.get_hasher().algorithm


def test_a_login_goes_on_if_another_one_replaced_the_hash_meanwhile(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    Wallet.objects.filter(pk=alice.pk).update(password=PEER_HASH)
    others: list[str] = []
    found = after_the_first_verification(monkeypatch, lambda: others.append(log_in()()))

    token = log_in()()

    # Its own, the other login's, and its own of the new hash.
    assert found == [True, True, True]
    assert opens(token)
    assert opens(others[0])


@pytest.mark.parametrize("how", ["revoked", "ended"])
def test_an_api_key_that_ends_during_a_login_gives_no_token(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    key, _ = operations.create_api_key(name="partner")

    def end() -> None:
        if how == "revoked":
            operations.revoke_api_key(api_key_id=key.pk)
        else:
            ApiKey.objects.filter(pk=key.pk).update(expires_at=Now())

    after_the_first_verification(monkeypatch, end)

    with pytest.raises(errors.ApiKeyEnded):
        log_in(api_key_id=key.pk)()
    assert BearerToken.objects.count() == 0


def test_an_api_key_that_a_login_has_checked_is_valid_until_its_commit(alice: Wallet) -> None:
    key, _ = operations.create_api_key(name="partner")
    refused: list[str] = []

    def revoke() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        try:
            operations.revoke_api_key(api_key_id=key.pk)
        except OperationalError as error:
            refused.append(str(error))

    with transaction.atomic():
        assert operations.is_valid_until_commit(key.pk)
        elsewhere(revoke)
    assert [text.splitlines()[0] for text in refused] == ["canceling statement due to lock timeout"]
    # Control: after the commit nothing holds it.
    elsewhere(revoke)

    assert len(refused) == 1
    assert not operations.is_valid_until_commit(key.pk)
