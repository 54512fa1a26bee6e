"""What is kept of the credentials of a request, for how long, and that each statement checks them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from config.api import cached_credentials
from tests.api.caller import Caller
from wallets import queries
from wallets.models import ApiKey, BearerToken

pytestmark = pytest.mark.django_db

SENT = (b"key", b"bearer")


def credentials_of(caller: Caller) -> queries.Credentials:
    assert caller.api_key is not None
    assert caller.bearer is not None
    return queries.credentials(api_key=caller.api_key, bearer=caller.bearer)


def test_what_belongs_to_one_request_is_not_kept(alice: Caller) -> None:
    found = credentials_of(alice)
    answer = queries.StoredAnswer(b"fingerprint", 200, b"body", None)

    cached_credentials.remember(SENT, replace(found, answer=answer, holds_key=False, use_is_stale=True))

    assert cached_credentials.recall(SENT) == replace(found, answer=None, holds_key=True, use_is_stale=False)
    for other in ((b"key", b"other"), (b"other", b"bearer"), (b"bearer", b"key")):
        assert cached_credentials.recall(other) is None


def test_credentials_are_kept_for_a_minute_while_they_are_valid(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(cached_credentials, "time", SimpleNamespace(monotonic=lambda: now))
    found, other = credentials_of(alice), (b"key", b"neighbour")
    ended: Sequence[dict[str, Any]] = ({"api_key_id": None}, {"api_key_is_revoked": True}, {"bearer_token_id": None})
    for change in ended:
        cached_credentials.remember(other, found)
        cached_credentials.remember(SENT, found)
        cached_credentials.remember(SENT, replace(found, **change))
        assert [cached_credentials.recall(each) is None for each in (SENT, other)] == [True, False], change
    cached_credentials.remember(SENT, found)
    now += 59.99
    assert cached_credentials.recall(SENT) is not None
    now += 0.01
    assert cached_credentials.recall(SENT) is None


def test_the_cache_is_emptied_when_it_is_full(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_credentials, "_AT_MOST", 2)
    for number in b"123":
        cached_credentials.remember((b"key", bytes([number])), credentials_of(alice))

    assert [key for _, key in cached_credentials._cache] == [b"3"]


def test_a_statement_acts_for_no_wallet_once_either_credential_has_ended(alice: Caller, bob: Caller) -> None:
    found, of_bob = credentials_of(alice), credentials_of(bob)
    assert alice.wallet is not None
    assert bob.wallet is not None
    guard = cached_credentials.Guard()

    def actor(**ends: Any) -> Any:
        """The acting wallet after this end of one credential, which is undone."""
        with transaction.atomic():
            for name, (row_id, columns) in ends.items():
                (ApiKey if name == "key" else BearerToken).objects.filter(pk=row_id).update(**columns)
            with guard.over(connection), connection.cursor() as cursor:
                cursor.execute(f"WITH {queries.ME} SELECT id FROM me", {"actor": bob.wallet.pk})  # type: ignore[union-attr]
                (wallet_id,) = cursor.fetchone()
            transaction.set_rollback(True)
        return wallet_id

    assert (actor(), guard.is_used, guard.has_checked) == (bob.wallet.pk, False, False)
    guard.use(found)
    assert (actor(), guard.is_used, guard.has_checked) == (alice.wallet.pk, True, True)
    # An end is the first moment at which a credential is no longer valid.
    past, later = timezone.now() - timedelta(seconds=1), timezone.now() + timedelta(hours=1)
    for columns in ({"revoked_at": past}, {"expires_at": past}):
        assert actor(key=(found.api_key_id, columns)) is None, columns
        assert actor(bearer=(found.bearer_token_id, columns)) is None, columns
        assert actor(bearer=(of_bob.bearer_token_id, columns)) == alice.wallet.pk, columns
    for name, row_id in (("key", found.api_key_id), ("bearer", found.bearer_token_id)):
        assert actor(**{name: (row_id, {"expires_at": later})}) == alice.wallet.pk


@pytest.mark.parametrize("path", ["/tokens?limit=9", "/transfers?limit=9", "/wallets?limit=9"])
def test_an_empty_page_is_not_believed_of_credentials_that_ended(alice: Caller, path: str) -> None:
    assert alice.get(path).status_code == 200
    assert cached_credentials._cache
    BearerToken.objects.update(revoked_at=timezone.now())

    assert alice.get(path).status_code == 403
    # What was kept of them is gone.
    assert not cached_credentials._cache
