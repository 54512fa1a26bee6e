"""Open transfers that expire while other sessions decide on them, and references that two requests want."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, connections

from tests.concurrency.races import PATIENCE_SECONDS, assert_sound, kinds, race, wait_until_waiting
from tests.transfers.books import let_expire
from transfers import ledger, operations
from transfers.ledger import Terms
from transfers.models import Transfer, TransferTerms
from wallets.models import Event, Token, Wallet


def elsewhere(act: Callable[[], Any]) -> Any:
    """Run an act to its end on another connection, and return what it returned."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(act())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=PATIENCE_SECONDS)
    assert not thread.is_alive()
    return outcome[0]


def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "lock", lambda transfer_id: Transfer.objects.get(pk=transfer_id))
    monkeypatch.setattr(operations, "accept", operations.accept.__wrapped__)


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "control"])
def test_a_sweep_leaves_a_transfer_alone_that_is_being_accepted(
    stocked: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch, is_locked: bool
) -> None:
    transfer = operations.send_bundle(actor=stocked, sender="alice", receiver="bobby", size=3)
    authorise, expired = operations.authorise, []

    def authorise_and_let_the_sweep_come(*args: Any, **kwargs: Any) -> None:
        authorise(*args, **kwargs)
        expired.append(elsewhere(lambda: operations.expire(transfer_ids=[transfer.id])))

    monkeypatch.setattr(operations, "authorise", authorise_and_let_the_sweep_come)
    if is_locked:
        assert operations.accept(actor=bob, transfer_id=transfer.id).state == "completed"
    else:
        without_lock(monkeypatch)
        with pytest.raises((DatabaseError, AssertionError)):
            operations.accept(actor=bob, transfer_id=transfer.id)

    assert expired == [0 if is_locked else 1]
    assert Transfer.objects.get().state == ("completed" if is_locked else "failed")
    assert Token.objects.filter(wallet=bob).count() == (3 if is_locked else 0)
    assert Event.objects.filter(type="transfer_failed").count() == (0 if is_locked else 2)
    assert_sound()


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "control"])
def test_an_accept_that_waits_for_the_sweep_finds_the_transfer_failed(
    stocked: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch, is_locked: bool
) -> None:
    transfer = operations.send_bundle(actor=stocked, sender="alice", receiver="bobby", size=3)
    expire, has_expired = ledger.expire, threading.Event()

    def expire_and_wait(*, transfer_ids: Any) -> Any:
        expired = expire(transfer_ids=transfer_ids)
        has_expired.set()
        wait_until_waiting(1)
        return expired

    def accept() -> Any:
        assert has_expired.wait(PATIENCE_SECONDS)
        return operations.accept(actor=bob, transfer_id=transfer.id)

    monkeypatch.setattr(ledger, "expire", expire_and_wait)
    if not is_locked:
        without_lock(monkeypatch)
    outcomes = race([lambda: operations.expire(transfer_ids=[transfer.id]), accept])

    assert outcomes[0] == 1
    if is_locked:
        assert type(outcomes[1]).__name__ == "TransferNotPending"
    else:
        assert isinstance(outcomes[1], DatabaseError | AssertionError)
    assert Transfer.objects.get().state == "failed"
    assert not Token.objects.exclude(transfer_pending_id=None).exists()
    assert_sound()


def test_sweeps_at_once_expire_each_transfer_once(
    stocked: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_EXPIRED_AT_ONCE", 3)
    for _ in range(12):
        let_expire(operations.send_bundle(actor=stocked, sender="alice", receiver="bobby", size=2).id)

    outcomes = race([operations.expire_due] * 4)

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    # A sweep ends early if others hold all that it found.
    assert sum(outcomes) + operations.expire_due() == 12
    assert set(Transfer.objects.values_list("state", flat=True)) == {"failed"}
    assert Event.objects.filter(type="transfer_failed").count() == 24
    assert_sound()


def test_a_sweep_whose_session_is_killed_has_expired_whole_batches_and_the_next_does_the_rest(
    stocked: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        let_expire(operations.send_bundle(actor=stocked, sender="alice", receiver="bobby", size=1).id)
    record, batches = operations.wallet_operations.record_events, []

    def record_and_break(events: Any) -> None:
        record(events)
        batches.append(len(events))
        if len(batches) == 2:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(operations, "_EXPIRED_AT_ONCE", 2)
    monkeypatch.setattr(operations.wallet_operations, "record_events", record_and_break)

    with pytest.raises(OperationalError, match="terminating"):
        operations.expire_due()
    connection.close()

    assert batches == [4, 4]
    assert kinds(list(Transfer.objects.all())) == {"failed": 2, "pending": 3}
    assert Event.objects.filter(type="transfer_failed").count() == 4
    assert Token.objects.exclude(transfer_pending_id=None).count() == 3
    assert_sound()
    assert operations.expire_due() == 3
    assert kinds(list(Transfer.objects.all())) == {"failed": 5}
    assert Event.objects.filter(type="transfer_failed").count() == 10
    assert_sound()


@pytest.mark.parametrize(("is_unique", "sent"), [(True, 1), (False, 8)], ids=["unique", "control"])
def test_of_8_requests_for_one_unique_reference_one_is_sent(
    stocked: Wallet, bob: Wallet, is_unique: bool, sent: int
) -> None:
    def send() -> Any:
        terms = Terms("order 7", is_unique=is_unique)
        return operations.send_bundle(actor=stocked, sender="alice", receiver="bobby", size=2, terms=terms)

    outcomes = race([send] * 8)

    assert kinds(outcomes) == {"pending": sent, **({"ReferenceTaken": 7} if is_unique else {})}
    assert TransferTerms.objects.count() == Transfer.objects.count() == sent
    assert Token.objects.exclude(transfer_pending_id=None).count() == 2 * sent
    assert_sound()
