"""What the end of a payment's task makes of the payment and of its request; and what is known of an expired locker."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from lockers import errors, locker_expiry, payment_ledger, payment_requests
from lockers.locker_expiry import Outcome
from lockers.models import Locker, LockerTask, Payment, PaymentRequest
from lockers.operations import take_back
from lockers.raida.coins import UNITS_PER_COIN as COIN
from lockers.states import CoinState, LockerState, PaymentMode, PaymentRequestState, PaymentState, TaskKind
from tests.support.row_locks import recorded
from wallets import operations as wallets
from wallets.models import Event, Wallet

CLOSED = (PaymentRequestState.PAID, PaymentRequestState.CANCELLED, PaymentRequestState.EXPIRED)


@pytest.fixture
def alice(db: None) -> Wallet:
    return wallets.create_wallet(name="alice")


def a_request(alice: Wallet, state: PaymentRequestState = PaymentRequestState.OPEN, *, paid: int = 0) -> PaymentRequest:
    return PaymentRequest.objects.create(
        wallet=alice, actor=alice, amount=10 * COIN, paid=paid * COIN, mode=PaymentMode.PARTIAL, state=state,
        description="seedlings", closed_at=timezone.now() if state in CLOSED else None,
    )  # fmt: skip


def a_payment(request: PaymentRequest, **fields: Any) -> Payment:
    now = timezone.now()
    task = LockerTask.objects.create(
        kind=TaskKind.TAKE, wallet=request.wallet, actor=request.wallet, state="error", step="done", message="Ended.",
        receipt_id=secrets.token_hex(16), deadline=now, finished_at=now,
    )  # fmt: skip
    if fields.get("state") in (PaymentState.CREDITED, PaymentState.FAILED):
        fields["settled_at"] = now
    return Payment.objects.create(request=request, task=task, **fields)


# State and paid of the request; units and lateness of the payment; units that the task has brought, and those that it
# may still bring: state and paid of the request after it, state and lateness of the payment, and the event.
CREDITS = [
    ("open", 0, 0, False, 10, 0, "paid", 10, "credited", False, "paid"),
    ("open", 0, 0, False, 12, 0, "paid", 12, "credited", False, "paid"),
    ("open", 0, 0, False, 9, 0, "partly_paid", 9, "credited", False, "partly_paid"),
    ("open", 0, 0, False, 3, 2, "partly_paid", 3, "pending", False, "partly_paid"),
    ("open", 0, 0, False, 0, 5, "open", 0, "pending", False, ""),
    ("open", 0, 0, False, 0, 0, "open", 0, "failed", False, ""),
    ("partly_paid", 4, 4, False, 10, 0, "paid", 10, "credited", False, "paid"),
    ("partly_paid", 4, 4, False, 5, 0, "partly_paid", 5, "credited", False, "partly_paid"),
    ("partly_paid", 4, 4, False, 4, 0, "partly_paid", 4, "credited", False, ""),
    ("paid", 10, 0, False, 3, 0, "paid", 13, "credited", True, "paid_late"),
    ("cancelled", 0, 0, False, 3, 0, "cancelled", 3, "credited", True, "paid_late"),
    ("expired", 2, 2, False, 5, 1, "expired", 5, "pending", True, "paid_late"),
    # What came late stays so when nothing more comes, and is not late for what had come before.
    ("expired", 2, 2, True, 2, 0, "expired", 2, "credited", True, ""),
    ("expired", 2, 2, False, 2, 0, "expired", 2, "credited", False, ""),
    ("cancelled", 2, 2, True, 3, 0, "cancelled", 3, "credited", True, "paid_late"),
]


@pytest.mark.parametrize("case", CREDITS)
def test_what_a_task_brought_is_credited(case: Any, alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    state, paid, had, was_late, units, unknown, then, total, of_payment, is_late, event = case
    request, other = a_request(alice, PaymentRequestState(state), paid=paid), a_request(alice)
    payment = a_payment(request, units=had * COIN, expected=7 * COIN, is_late=was_late)
    beside = [a_payment(each, expected=7 * COIN) for each in (request, other)]
    before = Event.objects.count()
    monkeypatch.setattr(payment_ledger, "_brought", lambda _: (units * COIN, unknown * COIN))

    payment_ledger.settle(task_ids=[payment.task_id])

    for row in (request, payment, other, *beside):
        row.refresh_from_db()
    assert (request.state, request.paid) == (then, total * COIN)
    assert (request.closed_at is None) == (then in ("open", "partly_paid"))
    told = (payment.state, payment.units, payment.expected, payment.is_late, payment.settled_at is None)
    assert told == (of_payment, units * COIN, unknown * COIN, is_late, of_payment == "pending")
    assert {(each.state, each.units, each.expected) for each in beside} == {("pending", 0, 7 * COIN)}
    assert (other.state, other.paid) == ("open", 0)
    found = [(each.type, each.payload["paid"], each.payload["paymentAmount"]) for each in Event.objects.all()[before:]]
    assert found == ([(f"payment_request.{event}", total, units - had)] if event else [])


def test_a_payment_is_credited_when_its_task_has_ended(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    request = a_request(alice)
    payment = a_payment(request, expected=7 * COIN)
    LockerTask.objects.filter(pk=payment.task_id).update(state="running", step="sending", finished_at=None)
    monkeypatch.setattr(payment_ledger, "_brought", lambda _: (3 * COIN, 0))
    events = Event.objects.count()

    payment_ledger.settle(task_ids=[payment.task_id])

    for row in (request, payment):
        row.refresh_from_db()
    assert (request.state, request.paid) == ("open", 0)
    assert (payment.state, payment.units, payment.expected) == ("pending", 0, 7 * COIN)
    assert Event.objects.count() == events


def test_a_payment_begun_under_an_id_is_found_for_its_own_request_alone(alice: Wallet) -> None:
    """Or who pays a second request under the id of an earlier payment is shown that one, and pays nothing."""
    request, other = a_request(alice), a_request(alice)
    payment = a_payment(request, expected=COIN)

    assert payment_ledger.begun(request, payment.pk) == payment
    assert payment_ledger.begun(request, uuid4()) is None
    with pytest.raises(errors.PaymentNotFound):
        payment_ledger.begun(other, payment.pk)


def test_requests_are_locked_in_the_order_of_their_ids_and_expire_when_their_time_has_passed(alice: Wallet) -> None:
    soon, past = timezone.now() + timedelta(hours=1), datetime(2020, 1, 1, tzinfo=UTC)
    rows = {}
    for state in PaymentRequestState:
        for expires_at in (None, soon, past):
            request = a_request(alice, state, paid=10 if state == "paid" else 3 if state == "partly_paid" else 0)
            PaymentRequest.objects.filter(pk=request.pk).update(expires_at=expires_at)
            rows[request.pk] = (state, expires_at)

    with recorded() as locks:
        payment_ledger.lock(rows, may_expire=False)
    assert locks == {"lockers_paymentrequest by id ASC: NO KEY UPDATE"}
    assert {each.pk: each.state for each in PaymentRequest.objects.all()} == {key: row[0] for key, row in rows.items()}
    found = payment_ledger.lock(rows)

    assert [each.pk for each in found] == sorted(rows)
    assert {each.pk: each.state for each in PaymentRequest.objects.all()} == {
        key: "expired" if state in ("open", "partly_paid") and at == past else state
        for key, (state, at) in rows.items()
    }


# Coins of a locker that was put 10, by state; what came back; what is taken and not known, and what it is called.
EXPIRIES: list[tuple[dict[Any, int], int, int, int, Outcome]] = [
    *(({state: 3}, 0, 0, 3, Outcome.UNKNOWN) for state in ("locked", "limbo", "bank", "fracked")),
    *(({state: 3}, 0, 0, 0, Outcome.NOTHING_STORED) for state in ("counterfeit", "errored", "missed", "exported")),
    ({CoinState.SENT: 10}, 10, 0, 0, Outcome.TAKEN_BACK),
    ({CoinState.SENT: 10}, 4, 6, 0, Outcome.PARTLY_TAKEN_BACK),
    ({CoinState.SENT: 10}, 0, 10, 0, Outcome.TAKEN),
    ({CoinState.SENT: 4, CoinState.LOCKED: 6}, 4, 0, 6, Outcome.UNKNOWN),
    ({CoinState.SENT: 4, CoinState.LOCKED: 3, CoinState.LIMBO: 2, CoinState.BANK: 1}, 1, 3, 6, Outcome.UNKNOWN),
    ({CoinState.SENT: 2}, 5, 0, 0, Outcome.TAKEN_BACK),
    ({}, 0, 0, 0, Outcome.NOTHING_STORED),
]


@pytest.mark.parametrize("case", EXPIRIES)
def test_what_is_known_of_a_locker_that_has_expired(case: Any) -> None:
    units, returned, taken, unknown, outcome = case
    at = datetime(2026, 1, 2, tzinfo=UTC)

    for now, has_expired in ((at, True), (at + timedelta(days=1), True), (at - timedelta(seconds=1), False)):
        locker = Locker(
            id=uuid4(), expires_at=at, changed_at=at, returned=returned, returned_at=at, take_back_at=at,
            state=LockerState.FILLED,
        )  # fmt: skip
        found = locker_expiry._expiry(locker, {CoinState(key): value for key, value in units.items()}, now)
        assert (found.returned, found.taken, found.unknown) == (returned, taken, unknown)
        assert found.outcome == (Outcome.OPEN if unknown and not has_expired else outcome)
        assert (found.expires_at, found.returned_at, found.next_at, found.was_taken_in_time) == (at, at, at, True)
    locker.changed_at = at + timedelta(seconds=1)
    assert not locker_expiry._expiry(locker, {}, at).was_taken_in_time
    locker.state = LockerState.FILLING
    assert locker_expiry._expiry(locker, {}, at).outcome == Outcome.UNKNOWN


# Mode, paid, what other payments may bring, what is offered (None: all): what is taken, or why nothing is.
PAYABLE = [
    ("single", 0, [], None, 10),
    ("single", 0, [], 10, 10),
    ("single", 0, [], 9, errors.PaymentAmountRefused),
    ("single", 0, [], 11, errors.PaymentAmountRefused),
    ("single", 0, [1], None, errors.PaymentInProgress),
    ("partial", 0, [], None, 10),
    ("partial", 4, [], None, 6),
    ("partial", 4, [], 6, 6),
    ("partial", 4, [], 1, 1),
    ("partial", 4, [], 7, errors.PaymentAmountRefused),
    ("partial", 4, [1, 2], None, 3),
    ("partial", 4, [1, 2], 3, 3),
    ("partial", 4, [1, 2], 4, errors.PaymentAmountRefused),
    ("partial", 4, [2, 4], None, errors.PaymentInProgress),
    ("partial", 4, [2, 5], 1, errors.PaymentInProgress),
    ("partial", 4, [2, 3], 1, 1),
]


@pytest.mark.parametrize("case", PAYABLE)
def test_a_payment_is_of_what_is_outstanding_and_promised_by_no_other(case: Any, alice: Wallet) -> None:
    mode, paid, pending, units, expected = case
    request = a_request(alice, paid=paid, state=PaymentRequestState.PARTLY_PAID if paid else PaymentRequestState.OPEN)
    request.mode = PaymentMode(mode)
    for each in pending:
        a_payment(request, expected=each * COIN)
    # Beside them: one that has ended, and one of another request.
    a_payment(request, state=PaymentState.CREDITED, units=COIN)
    a_payment(a_request(alice), expected=COIN)

    assert payment_ledger.promised(request) == sum(pending) * COIN
    if isinstance(expected, int):
        assert payment_ledger.payable_units(request, None if units is None else units * COIN) == expected * COIN
    else:
        with pytest.raises(expected):
            payment_ledger.payable_units(request, None if units is None else units * COIN)


# Mode, and what was paid, of a request of 10; what other payments of it promise; units, and whether they are admitted.
ADMITTED = [
    ("single", 0, [], 10, True),
    ("single", 0, [], 9, False),
    ("single", 0, [], 11, False),
    ("single", 0, [1], 10, False),
    ("partial", 4, [1, 2], 3, True),
    ("partial", 4, [1, 2], 4, False),
    ("partial", 4, [6], 1, False),
]


@pytest.mark.parametrize("case", ADMITTED)
def test_a_task_is_admitted_for_what_no_payment_besides_its_own_promises(case: Any, alice: Wallet) -> None:
    mode, paid, pending, units, is_admitted = case
    request = a_request(alice, paid=paid, state=PaymentRequestState.PARTLY_PAID if paid else PaymentRequestState.OPEN)
    PaymentRequest.objects.filter(pk=request.pk).update(mode=mode)
    beside = [a_payment(request, expected=each * COIN) for each in pending]
    beside += [a_payment(request, state=PaymentState.CREDITED, units=COIN), a_payment(a_request(alice), expected=COIN)]
    mine = a_payment(request, expected=2 * COIN)

    if is_admitted:
        payment_ledger.admit(task_id=mine.task_id, units=units * COIN)
    else:
        with pytest.raises(payment_ledger.Refused, match="nothing was moved"):
            payment_ledger.admit(task_id=mine.task_id, units=units * COIN)

    promised = dict(Payment.objects.values_list("pk", "expected"))
    assert promised == {each.pk: each.expected for each in beside} | {mine.pk: (units if is_admitted else 2) * COIN}


@pytest.mark.parametrize("state", list(PaymentRequestState))
def test_a_request_has_expired_as_soon_as_its_time_has_passed(state: PaymentRequestState, alice: Wallet) -> None:
    is_open = state in ("open", "partly_paid")
    rows = {}
    for expires_at in (None, datetime(2999, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)):
        paid = {"paid": 10, "partly_paid": 3}.get(state, 0)
        row = a_request(alice, state, paid=paid)
        PaymentRequest.objects.filter(pk=row.pk).update(expires_at=expires_at)
        row.refresh_from_db()
        then = PaymentRequestState.EXPIRED if is_open and expires_at and expires_at.year == 2020 else state
        assert payment_requests.state_now(row) == then
        assert payment_requests.view(row).outstanding == (
            10 * COIN - row.paid if then in ("open", "partly_paid") else 0
        )
        rows[row.pk] = then

    for each in PaymentRequestState:
        filters = payment_requests.Filters(state=each)
        found = payment_requests.page(actor=alice, filters=filters, limit=10)
        assert {view.request.pk for view in found} == {key for key, then in rows.items() if then == each}


def test_the_pause_between_takings_back_doubles_up_to_six_hours(alice: Wallet) -> None:
    locker = Locker.objects.create(
        wallet=alice, amount=COIN, code=b"", state=LockerState.FILLED, expires_at=timezone.now()
    )
    for before, seconds in ((0, 10), (1, 20), (5, 320), (11, 20_480), (12, 21_600), (13, 21_600), (500, 21_600)):
        Locker.objects.filter(pk=locker.pk).update(take_backs=before)
        with connection.cursor() as cursor:
            cursor.execute(take_back._BEGUN, [locker.pk])
            cursor.execute("SELECT extract(epoch FROM take_back_at - now()), take_backs FROM lockers_locker")
            assert cursor.fetchall() == [(seconds, before + 1)]
            cursor.execute(take_back._PUT_OFF, [locker.pk])
            cursor.execute("SELECT extract(epoch FROM take_back_at - now()), take_backs FROM lockers_locker")
            assert cursor.fetchall() == [(60, before + 1)]
