"""Payments of one request at once, and while it is cancelled or expires."""

from typing import Any
from uuid import uuid4

import pytest

from lockers import audit, payment_ledger
from lockers.models import Account, Payment, PaymentRequest
from lockers.operations import payment_requests as operations
from lockers.raida.coins import UNITS_PER_COIN
from lockers.states import PaymentMode
from tests.concurrency.races import Gate, kinds, race
from tests.lockers.stock import stock
from wallets.models import Event, Wallet


def ask(payee: Wallet, mode: PaymentMode = PaymentMode.SINGLE) -> PaymentRequest:
    return operations.create(actor=payee, name=None, units=5 * UNITS_PER_COIN, description="Two seedlings", mode=mode)


def without_lock(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    """Read the request as it is, and let every contestant have read it before one goes on."""

    def read(request_id: Any) -> PaymentRequest:
        request = PaymentRequest.objects.select_related("wallet").get(pk=request_id)
        gate()
        return request

    monkeypatch.setattr(payment_ledger, "lock_one", read)


def held_by_lock(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    """As `without_lock`, but behind the lock: no other transaction gets as far."""
    lock_one = payment_ledger.lock_one

    def lock(request_id: Any) -> PaymentRequest:
        request = lock_one(request_id)
        gate()
        return request

    monkeypatch.setattr(payment_ledger, "lock_one", lock)


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "control"])
def test_of_two_payments_at_once_one_is_credited(
    alice: Wallet, bob: Wallet, sapling: Wallet, monkeypatch: pytest.MonkeyPatch, is_locked: bool
) -> None:
    payee, payers = sapling, (alice, bob)
    for payer in payers:
        stock(payer, *[0] * 5)
    request = ask(payee)
    gate = Gate(2, held=is_locked)
    (held_by_lock if is_locked else without_lock)(monkeypatch, gate)

    outcomes = race([lambda payer=payer: operations.pay(actor=payer, request_id=request.pk) for payer in payers])

    # Without the lock both coins move, for one request.
    assert kinds(outcomes) == ({"credited": 1, "PaymentRequestClosed": 1} if is_locked else {"credited": 2})
    assert Account.objects.get(wallet=payee).balance == (5 if is_locked else 10) * UNITS_PER_COIN
    if is_locked:
        request.refresh_from_db()
        assert (request.state, request.paid) == ("paid", 5 * UNITS_PER_COIN)
        assert Event.objects.filter(type="payment_request.paid").count() == 1
        assert list(audit.audit_findings()) == []


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "control"])
@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_a_payment_and_the_end_of_a_request_are_decided_by_its_row(
    alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch, end: str, is_locked: bool
) -> None:
    stock(bob, *[0] * 5)
    request = ask(alice)

    def close() -> str:
        if end == "cancelled":
            return str(operations.cancel(actor=alice, request_id=request.pk).state)
        gate()
        PaymentRequest.objects.filter(pk=request.pk).update(expires_at="2020-01-01T00:00Z")
        return "expired" if operations.expire_due() else "left out"

    gate = Gate(2, held=is_locked)
    (held_by_lock if is_locked else without_lock)(monkeypatch, gate)

    paid, closed = race([lambda: operations.pay(actor=bob, request_id=request.pk), close])

    request.refresh_from_db()
    balance = Account.objects.filter(wallet=alice).values_list("balance", flat=True).first() or 0
    seen = (kinds([paid]), str(request.state), balance // UNITS_PER_COIN)
    if is_locked:
        # The one that locked the row first, whichever it is, has decided.
        if isinstance(paid, Payment):
            assert seen[1:] == ("paid", 5)
        else:
            assert seen == ({"PaymentRequestClosed": 1}, end, 0)
        assert list(audit.audit_findings()) == []
    else:
        # Coins moved for a request that is closed, and nothing marks them as late.
        assert isinstance(paid, Payment)
        assert not isinstance(closed, Exception)


def test_parts_at_once_never_exceed_the_amount(alice: Wallet, bob: Wallet) -> None:
    stock(bob, *[0] * 40)
    request = ask(alice, PaymentMode.PARTIAL)

    outcomes = race([lambda: operations.pay(actor=bob, request_id=request.pk, units=UNITS_PER_COIN) for _ in range(8)])

    request.refresh_from_db()
    assert kinds(outcomes) == {"credited": 5, "PaymentRequestClosed": 3}
    assert (request.state, request.paid) == ("paid", 5 * UNITS_PER_COIN)
    events = Event.objects.filter(type__startswith="payment_request.").order_by("number")
    assert [(row.type, row.payload["paid"]) for row in events] == [
        *(("payment_request.partly_paid", paid) for paid in range(1, 5)),
        ("payment_request.paid", 5),
    ]
    assert list(audit.audit_findings()) == []


def test_a_form_that_is_sent_twice_at_once_pays_once(alice: Wallet, bob: Wallet) -> None:
    stock(bob, *[0] * 5)
    request = ask(alice, PaymentMode.PARTIAL)
    identity = request.actor_id

    def pay() -> Any:
        return operations.pay(actor=bob, request_id=request.pk, units=UNITS_PER_COIN, payment_id=identity).pk

    assert race([pay] * 4) == [identity] * 4
    request.refresh_from_db()
    assert request.paid == UNITS_PER_COIN


def test_payments_of_two_requests_under_one_id_at_once_are_one(
    alice: Wallet, bob: Wallet, carol: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form names the id, so that a payer may send it to two requests; their rows do not keep one from the other."""
    requests, payers = [ask(alice), ask(alice)], [bob, carol]
    for payer in payers:
        stock(payer, *[0] * 5)
    gate, begun, identity = Gate(2, held=False), payment_ledger.begun, uuid4()

    def look_and_wait(request: PaymentRequest, payment_id: Any) -> Payment | None:
        found = begun(request, payment_id)
        gate()
        return found

    monkeypatch.setattr(payment_ledger, "begun", look_and_wait)

    outcomes = race(
        [
            lambda payer=payer, request=request: operations.pay(actor=payer, request_id=request.pk, payment_id=identity)
            for payer, request in zip(payers, requests, strict=True)
        ]
    )

    assert kinds(outcomes) == {"credited": 1, "PaymentNotFound": 1}
    assert sorted(PaymentRequest.objects.values_list("state", flat=True)) == ["open", "paid"]
    assert Payment.objects.get().pk == identity
    assert list(audit.audit_findings()) == []


def test_sweeps_at_once_expire_each_request_once(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_EXPIRED_AT_ONCE", 3)
    for _ in range(12):
        ask(alice)
    PaymentRequest.objects.update(expires_at="2020-01-01T00:00Z")

    outcomes = race([operations.expire_due] * 4)

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    # A sweep ends early if others hold all that it found.
    assert sum(outcomes) + operations.expire_due() == 12
    assert set(PaymentRequest.objects.values_list("state", flat=True)) == {"expired"}
    assert Event.objects.filter(type="payment_request.expired").count() == 12
