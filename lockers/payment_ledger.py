"""
The ledger of payments: what payment requests were paid, in the transaction in which coins arrive.

What a payment has brought is read from the rows of its task each time (`_brought`): the line of the statement of a
transfer, or the lines of the receipt of a take. A step that runs twice credits nothing twice, and a later task that
settles coins in limbo credits the rest.

The row of the payment request decides every race: between two payments, and of a payment with a cancellation or the
expiry. Payments that are begun promise what they expect, so all of them together never exceed the amount. Each function
is a part of its caller's transaction. Lock order: `lockers.worker.finalize`; a payment from a wallet locks the request
before the coins, for which it does not wait.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, connection
from django.db.models import Sum
from django.db.models.functions import Now

from lockers import errors
from lockers.models import LockerTask, Payment, PaymentRequest
from lockers.raida.coins import format_amount, json_amount
from lockers.states import (
    DOUBTFUL,
    PAYABLE,
    SPENDABLE,
    LineType,
    PaymentMode,
    PaymentRequestState,
    PaymentState,
    TaskKind,
    TaskState,
)
from wallets import operations as wallets
from wallets.audit import listed
from wallets.models import Wallet
from wallets.states import EventType


class Refused(Exception):
    """A payment request does not take the coins of a task; they stay where they are. The text may be shown."""


def lock(request_ids: Iterable[UUID], *, may_expire: bool = True) -> list[PaymentRequest]:
    """Lock payment requests in the order of their ids; one whose time has passed is expired by that if it may."""
    rows = PaymentRequest.objects.filter(pk__in=list(request_ids)).order_by("pk")
    found = list(rows.select_for_update(no_key=True, of=("self",)).select_related("wallet"))
    passed = _passed([row for row in found if may_expire and row.state in PAYABLE and row.expires_at is not None])
    for row in found:
        if row.pk in passed:
            close(row, PaymentRequestState.EXPIRED)
    return found


def _passed(rows: Sequence[PaymentRequest]) -> set[UUID]:
    """Return those whose time has passed by the clock of the database, now that they are locked."""
    if not rows:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM lockers_paymentrequest WHERE id = ANY(%s) AND expires_at <= clock_timestamp()",
            [[row.pk for row in rows]],
        )
        return {row[0] for row in cursor.fetchall()}


def lock_one(request_id: UUID) -> PaymentRequest:
    """:raises PaymentRequestNotFound: no such payment request"""
    found = lock([request_id])
    if not found:
        raise errors.PaymentRequestNotFound
    return found[0]


def refuse_closed(request: PaymentRequest) -> None:
    """:raises PaymentRequestClosed: a locked request was paid, cancelled or expired"""
    if request.state not in PAYABLE:
        raise errors.PaymentRequestClosed(request.state)


def close(request: PaymentRequest, state: PaymentRequestState) -> None:
    """Close a locked payment request that is CANCELLED or EXPIRED now, and announce it."""
    request.state = state
    PaymentRequest.objects.filter(pk=request.pk).update(state=state, closed_at=Now())
    kinds = {
        PaymentRequestState.CANCELLED: EventType.PAYMENT_REQUEST_CANCELLED,
        PaymentRequestState.EXPIRED: EventType.PAYMENT_REQUEST_EXPIRED,
    }
    _announce(request, kinds[state])


def promised(request: PaymentRequest, *, besides: Sequence[UUID] = ()) -> int:
    """Return the units that payments of a request may still bring, without those of some payments."""
    pending = request.payments.filter(state=PaymentState.PENDING).exclude(pk__in=besides)
    return int(pending.aggregate(units=Sum("expected"))["units"] or 0)


def payable_units(request: PaymentRequest, units: int | None) -> int:
    """
    Return the units that a payment of a locked request is of: those given, or all that is outstanding.

    :raises PaymentInProgress: other payments may bring all of it
    :raises PaymentAmountRefused: more than is outstanding; or less, and the request is paid at once
    """
    outstanding, others = request.amount - request.paid, promised(request)
    if others and (request.mode == PaymentMode.SINGLE or outstanding <= others):
        raise errors.PaymentInProgress
    left = outstanding - others
    if units is not None and not _takes(request, units, left=left):
        raise errors.PaymentAmountRefused(
            f"A payment of this request is of {_exactly(request)} {format_amount(left)};"
            f" this one is of {format_amount(units)}"
        )
    return left if units is None else units


def _takes(request: PaymentRequest, units: int, *, left: int) -> bool:
    """Return whether a request with `left` units to pay takes a payment of these units."""
    return units == left if request.mode == PaymentMode.SINGLE else units <= left


def _exactly(request: PaymentRequest) -> str:
    return "exactly" if request.mode == PaymentMode.SINGLE else "at most"


def begun(request: PaymentRequest, payment_id: UUID) -> Payment | None:
    """
    Return the payment of a locked request that was begun under this id, or None.

    :raises PaymentNotFound: the id belongs to a payment of another request
    """
    payment = Payment.objects.filter(pk=payment_id).first()
    if payment is not None and payment.request_id != request.pk:
        raise errors.PaymentNotFound
    return payment


def begin(
    *, payment_id: UUID, request: PaymentRequest, task: LockerTask, payer: Wallet | None, expected: int = 0
) -> None:
    """
    Insert the payment that a new task makes to a locked request.

    :raises PaymentNotFound: a payment of another request was begun under this id since `begun` has looked
    """
    try:
        Payment.objects.create(pk=payment_id, request=request, task=task, payer=payer, expected=expected)
    except IntegrityError as error:
        if "lockers_payment_pkey" not in str(error):
            raise
        raise errors.PaymentNotFound from error


def hand_on(*, task_id: UUID, successor_id: UUID) -> None:
    """Insert the payment of a task that continues with coins that another one has waited for."""
    with connection.cursor() as cursor:
        cursor.execute(_HAND_ON, {"task": task_id, "successor": successor_id})


_HAND_ON: Final = f"""
INSERT INTO lockers_payment (id, request_id, task_id, payer_id, state, expected, units, is_late)
SELECT gen_random_uuid(), request_id, %(successor)s, payer_id, '{PaymentState.PENDING}',
       coalesce((SELECT sum(10::numeric ^ (denomination + 8)) FROM lockers_coin WHERE task_id = %(successor)s), 0),
       0, false
  FROM lockers_payment WHERE task_id = %(task)s
"""  # noqa: S608 - constants


def admit(*, task_id: UUID, units: int) -> None:
    """
    Promise the units of a task to its payment request, before any of its coins moves.

    :raises Refused: the request is closed, or does not ask for so much, or not for so little
    """
    payment = Payment.objects.only("id", "request_id").get(task_id=task_id)
    [request] = lock([payment.request_id])
    if request.state not in PAYABLE:
        raise Refused(f"The payment request is {request.state}; nothing was moved.")
    left = request.amount - request.paid - promised(request, besides=[payment.pk])
    if not _takes(request, units, left=left):
        raise Refused(
            f"The coins are worth {format_amount(units)}, and the payment request takes {_exactly(request)}"
            f" {format_amount(max(left, 0))} now; nothing was moved."
        )
    Payment.objects.filter(pk=payment.pk).update(expected=units)


def settle(*, task_ids: Sequence[UUID], is_admitted: bool = False) -> None:
    """
    Credit what has arrived by tasks that have ended, or whose coins a later task has settled.

    `is_admitted` says that this transaction has locked their payment request and decided that it can be paid: it does
    not expire between the two.
    """
    request_ids = set(Payment.objects.filter(task_id__in=task_ids).values_list("request_id", flat=True))
    if not request_ids:
        return
    requests = {request.pk: request for request in lock(request_ids, may_expire=not is_admitted)}
    payments = Payment.objects.filter(task_id__in=task_ids).select_related("task").order_by("pk")
    for payment in payments.defer("task__code"):
        if payment.task.state != TaskState.RUNNING:
            _credit(requests[payment.request_id], payment)


def _credit(request: PaymentRequest, payment: Payment) -> None:
    units, unknown = _brought(payment.task)
    arrived = units - payment.units
    is_late = arrived > 0 and request.state not in PAYABLE
    state = PaymentState.PENDING if unknown else PaymentState.CREDITED if units else PaymentState.FAILED
    if (units, unknown, state) == (payment.units, payment.expected, payment.state):
        return
    Payment.objects.filter(pk=payment.pk).update(
        units=units,
        expected=unknown,
        state=state,
        is_late=payment.is_late or is_late,
        settled_at=None if state is PaymentState.PENDING else Now(),
    )
    if arrived <= 0:
        return
    request.paid += arrived
    changes: dict[str, Any] = {"paid": request.paid}
    kind = EventType.PAYMENT_REQUEST_PAID_LATE
    if not is_late:
        is_paid = request.paid >= request.amount
        request.state = PaymentRequestState.PAID if is_paid else PaymentRequestState.PARTLY_PAID
        kind = EventType.PAYMENT_REQUEST_PAID if is_paid else EventType.PAYMENT_REQUEST_PARTLY_PAID
        changes |= {"state": request.state} | ({"closed_at": Now()} if is_paid else {})
    PaymentRequest.objects.filter(pk=request.pk).update(**changes)
    _announce(request, kind, payment=payment, units=arrived)


# The units that the task of a payment has brought to the payee, and those that it may still bring.
BROUGHT: Final = f"""
SELECT CASE task.kind
       WHEN '{TaskKind.TRANSFER}' THEN (
           SELECT coalesce(sum(amount), 0) FROM lockers_statementline
            WHERE task_id = task.id AND type = '{LineType.TRANSFER_IN}')
       ELSE (SELECT coalesce(sum(10::numeric ^ (denomination + 8)), 0) FROM lockers_receiptline
              WHERE task_id = task.id AND coalesce(became, state) IN {listed(SPENDABLE)}) END AS units,
       CASE task.kind WHEN '{TaskKind.TRANSFER}' THEN 0
       ELSE (SELECT coalesce(sum(10::numeric ^ (denomination + 8)), 0) FROM lockers_receiptline
              WHERE task_id = task.id AND coalesce(became, state) IN {listed(DOUBTFUL)}) END AS unknown
"""  # noqa: S608 - constants


def _brought(task: LockerTask) -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(f"{BROUGHT} FROM lockers_lockertask AS task WHERE id = %s", [task.pk])
        units, unknown = cursor.fetchone()
    return int(units), int(unknown)


def _announce(
    request: PaymentRequest, kind: EventType, *, payment: Payment | None = None, units: int | None = None
) -> None:
    payload: dict[str, Any] = {
        "paymentRequestId": str(request.pk),
        "paymentRequestState": request.state,
        "amount": json_amount(request.amount),
        "paid": json_amount(request.paid),
    }
    if request.reference:
        payload["reference"] = request.reference
    if payment is not None:
        payload["paymentId"] = str(payment.pk)
        payload["paymentAmount"] = json_amount(units or 0)
    wallets.record_events([(request.wallet_id, kind, payload)])
