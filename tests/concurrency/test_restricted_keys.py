"""Transfers of one restricted key at once: together they stay within its limit of a day, and none outlives the key."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections

from config.ops import pseudonyms
from tests.api.caller import PASSWORD
from tests.concurrency.races import PATIENCE_SECONDS, assert_sound, kinds, locked
from tests.concurrency.writers import uncommitted
from tests.support.restricted_keys import acting_by
from transfers import operations
from transfers.models import Transfer
from trusts import restricted_keys as making
from wallets import operations as wallets
from wallets import restricted_keys
from wallets.models import BearerToken, Event, RestrictedKey, Token, Wallet
from wallets.states import EventType, KeyScope

_HOLD = "SELECT FROM wallets_restrictedkey WHERE id = %s FOR NO KEY UPDATE"
_WAITING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%%wallets_restrictedkey%%'
"""


def _waits_for_the_wallet() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND query LIKE '%wallets_wallet%'"
        )
        return cursor.fetchone() is not None


def key_of(wallet: Wallet, **terms: Any) -> RestrictedKey:
    return making.create(actor=wallet, name="program", scopes=[KeyScope.TRANSFERS_WRITE], **terms).row


def meet_at(key: RestrictedKey, contestants: list[Callable[[], Any]]) -> list[Any]:
    """Run all, and let them go on when each waits for the row of the key."""

    def run(contestant: Callable[[], Any]) -> Any:
        try:
            return contestant()
        except Exception as error:  # noqa: BLE001 - judged by the test
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(contestants)) as pool:
        with locked(_HOLD, [key.pk]):
            running = [pool.submit(run, each) for each in contestants]
            end = time.monotonic() + PATIENCE_SECONDS
            waiting = 0
            while waiting < len(contestants):
                assert time.monotonic() < end, f"{waiting} wait for the key"
                with connection.cursor() as cursor:
                    cursor.execute(_WAITING)
                    (waiting,) = cursor.fetchone()
        return [each.result(timeout=PATIENCE_SECONDS) for each in running]


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "control"])
def test_two_transfers_at_once_stay_within_the_limit_of_the_day(
    stocked: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch, is_locked: bool
) -> None:
    key = key_of(stocked, tokens_per_day=10)
    if not is_locked:
        unlocked = restricted_keys._SPEND[True].replace("FOR NO KEY UPDATE", "")
        monkeypatch.setitem(restricted_keys._SPEND, True, unlocked)

    def send() -> Any:
        with acting_by(key):
            return operations.send_bundle(actor=stocked, sender=stocked.name, receiver=bob.name, size=6)

    outcomes = kinds(meet_at(key, [send, send]))

    assert outcomes == ({"pending": 1, "KeyLimitExceeded": 1} if is_locked else {"pending": 2})
    assert Transfer.objects.count() == (1 if is_locked else 2)
    assert Token.objects.exclude(transfer_pending_id=None).count() == (6 if is_locked else 12)
    key.refresh_from_db()
    assert key.spent == 6
    assert_sound()


def test_a_key_that_two_end_at_once_ends_once(bob: Wallet) -> None:
    key = key_of(bob)

    first, second = meet_at(key, [lambda: restricted_keys.end(key_id=key.pk)] * 2)

    key.refresh_from_db()
    assert key.ended_at == first.ended_at == second.ended_at
    assert Event.objects.filter(type=EventType.KEY_ENDED).count() == 1


@pytest.mark.parametrize("ends", ["revoked", "closed"])
def test_a_key_that_is_made_with_a_token_that_ends_meanwhile_is_refused(bob: Wallet, ends: str) -> None:
    wallets.set_password(wallet=bob, password=PASSWORD)
    wallets.authenticate(name_or_id=bob.name, password=PASSWORD)
    token = BearerToken.objects.get(wallet=bob)

    def end() -> None:
        if ends == "revoked":
            # The operator's way: it locks the wallet as a new password does.
            wallets.set_password(wallet=bob, password="another one")
        else:
            pseudonyms.pseudonymise(wallet_id=bob.pk)

    def make() -> Any:
        try:
            return making.create(actor=bob, name="program", scopes=[KeyScope.TOKENS_READ], made_with=token.pk)
        except Exception as error:  # noqa: BLE001 - judged by the test
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with uncommitted(end):
            made = pool.submit(make)
            end_of_patience = time.monotonic() + PATIENCE_SECONDS
            while not _waits_for_the_wallet():
                assert time.monotonic() < end_of_patience
                time.sleep(0.01)
        assert kinds([made.result(timeout=PATIENCE_SECONDS)]) == {"SessionNotFound": 1}
    assert not RestrictedKey.objects.exists()


def test_a_key_that_is_being_made_ends_with_all_others(bob: Wallet) -> None:
    key_of(bob)

    def end() -> int:
        try:
            return wallets.end_restricted_keys(wallet=bob)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with uncommitted(lambda: key_of(bob)):
            ended = pool.submit(end)
            end_of_patience = time.monotonic() + PATIENCE_SECONDS
            while not _waits_for_the_wallet():
                assert time.monotonic() < end_of_patience
                time.sleep(0.01)
        assert ended.result(timeout=PATIENCE_SECONDS) == 2
    assert not RestrictedKey.objects.filter(ended_at=None).exists()


@pytest.mark.parametrize("terms", [{"tokens_per_day": 10}, {}], ids=["limited", "unlimited"])
def test_a_transfer_that_waits_for_the_end_of_its_key_is_refused(
    stocked: Wallet, bob: Wallet, terms: dict[str, Any]
) -> None:
    key = key_of(stocked, **terms)

    def send() -> Any:
        with acting_by(key):
            return operations.send_bundle(actor=stocked, sender=stocked.name, receiver=bob.name, size=6)

    with ThreadPoolExecutor(1) as pool:

        def run() -> Any:
            try:
                return send()
            except Exception as error:  # noqa: BLE001 - judged by the test
                return error
            finally:
                connections.close_all()

        # The end of the key is decided, and not yet committed, when the transfer comes.
        connection.set_autocommit(False)
        try:
            restricted_keys.end(key_id=key.pk, wallet=stocked)
            sending = pool.submit(run)
            end = time.monotonic() + PATIENCE_SECONDS
            waiting = 0
            while not waiting:
                assert time.monotonic() < end
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_stat_clear_snapshot()")
                    cursor.execute(_WAITING)
                    (waiting,) = cursor.fetchone()
            connection.commit()
        finally:
            connection.set_autocommit(True)
        outcome = sending.result(timeout=PATIENCE_SECONDS)

    assert kinds([outcome]) == {"RestrictedKeyEnded": 1}
    assert Transfer.objects.count() == 0
    assert Token.objects.exclude(transfer_pending_id=None).count() == 0
    assert_sound()
