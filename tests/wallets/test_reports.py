"""What operators read about wallets and credentials."""

from datetime import timedelta

import pytest
from django.utils import timezone

from wallets import operations, reports
from wallets.models import ApiKey, BearerToken

pytestmark = pytest.mark.django_db


def test_the_setup_is_done_step_by_step_and_a_revoked_key_is_none() -> None:
    assert reports.setup_checklist() == (False, False, False)
    operations.create_wallet(name="alice", password="test1234")
    assert reports.setup_checklist() == (True, False, False)
    key, _ = operations.create_api_key(name="partner")
    assert reports.setup_checklist() == (True, True, False)
    operations.authenticate(name_or_id="alice", password="test1234")
    assert reports.setup_checklist() == (True, True, True)
    operations.revoke_api_key(api_key_id=key.pk)
    assert reports.setup_checklist() == (True, False, True)
    BearerToken.objects.update(revoked_at=timezone.now())
    assert reports.setup_checklist() == (True, False, True), "that somebody logged in stays true"


def test_keys_and_passwords_are_counted_that_there_are() -> None:
    alice = operations.create_wallet(name="alice", password="test1234")
    sapling, other = operations.create_wallet(name="sapling"), operations.create_wallet(name="other", password="x")
    keys = [operations.create_api_key(name="partner")[0] for _ in range(3)]
    operations.revoke_api_key(api_key_id=keys[0].pk)
    operations.end_api_key(api_key_id=keys[1].pk, after=timedelta(0))

    assert ApiKey.objects.filter(revoked_at=None).count() == 2
    assert reports.wallets_with_password([alice.pk, sapling.pk]) == {alice.pk}
    assert reports.wallets_with_password([other.pk]) == {other.pk}
