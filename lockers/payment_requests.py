"""
Reads of payment requests and payments.

Who controls the payee sees everything. Everyone else who knows the id, which cannot be guessed, sees what a payer must
know: the id is in the link that the payee gives away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from lockers import errors, payment_ledger, queries
from lockers.models import Payment, PaymentRequest
from lockers.states import PAYABLE, PaymentRequestState, PaymentState
from trusts import queries as trusts
from wallets.models import Wallet

# The newest payments that a payment request shows.
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class PaymentRequestView:
    """
    A payment request as it is now. `state` is EXPIRED as soon as its time has passed.

    `pending` are the units that payments may still bring. `payments` are the newest ones, None for who does not control
    the payee.
    """

    request: PaymentRequest
    state: PaymentRequestState
    pending: int
    payments: Sequence[Payment] | None = None

    @property
    def outstanding(self) -> int:
        """The units that may still be paid; pending ones are included."""
        return self.request.amount - self.request.paid if self.state in PAYABLE else 0


def state_now(request: PaymentRequest) -> PaymentRequestState:
    """Return the state of a request, which may have expired a moment before its row says so."""
    is_over = request.expires_at is not None and request.expires_at <= timezone.now()
    return PaymentRequestState.EXPIRED if is_over and request.state in PAYABLE else PaymentRequestState(request.state)


def payments_of(request: PaymentRequest, *, most: int = _SHOWN) -> list[Payment]:
    """Return the newest payments of a request, with their tasks and payers."""
    rows = Payment.objects.filter(request=request).select_related("task", "payer").defer("task__code", "task__plan")
    return list(rows.order_by("-created_at", "-id")[:most])


def view(request: PaymentRequest, *, payments: Sequence[Payment] | None = None) -> PaymentRequestView:
    """Return a payment request as it is now."""
    return PaymentRequestView(request, state_now(request), payment_ledger.promised(request), payments)


def public_view(request_id: UUID) -> PaymentRequestView:
    """
    Return what everyone who knows the id may see.

    :raises PaymentRequestNotFound: no such payment request
    """
    request = PaymentRequest.objects.select_related("wallet").filter(pk=request_id).first()
    if request is None:
        raise errors.PaymentRequestNotFound
    return view(request)


def view_for(*, actor: Wallet, request_id: UUID) -> PaymentRequestView:
    """
    Return a payment request, with its payments for who controls the payee.

    :raises PaymentRequestNotFound: no such payment request
    """
    seen = public_view(request_id)
    if not trusts.controls(actor_id=actor.pk, wallet_id=seen.request.wallet_id):
        return seen
    return replace(seen, payments=payments_of(seen.request))


def payment_of(*, request_id: UUID, payment_id: UUID) -> Payment:
    """
    Return one payment. Its id cannot be guessed either: who pays and the payee know it.

    :raises PaymentNotFound: the request has no such payment
    """
    rows = Payment.objects.filter(pk=payment_id, request_id=request_id)
    payment = rows.select_related("request__wallet", "task", "payer").defer("task__code").first()
    if payment is None:
        raise errors.PaymentNotFound
    return payment


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list of payment requests has; None for all."""

    wallet: str | None = None
    state: PaymentRequestState | None = None
    reference: str | None = None


def page(
    *,
    actor: Wallet,
    filters: Filters,
    limit: int,
    offset: int = 0,
    after: tuple[datetime, UUID] | None = None,
) -> list[PaymentRequestView]:
    """
    Return a page of the payment requests of the actor's wallets, newest first, without their payments.

    :raises WalletNotFound, WalletNotControlled: as for `queries.wallet_of`
    """
    if filters.wallet is None:
        ids = trusts.controlled_wallet_ids(actor_id=actor.pk)
    else:
        ids = [queries.wallet_of(actor=actor, name=filters.wallet).pk]
    found = PaymentRequest.objects.filter(wallet_id__in=ids)
    if filters.reference is not None:
        found = found.filter(reference=filters.reference).exclude(reference="")
    if filters.state is not None:
        found = in_state(found, filters.state)
    if after is not None:
        moment, key = after
        found = found.filter(Q(created_at__lt=moment) | Q(created_at=moment, pk__lt=key))
    rows = list(found.select_related("wallet").order_by("-created_at", "-id")[offset : offset + limit])
    pending = dict(
        Payment.objects.filter(request__in=rows, state=PaymentState.PENDING)
        .values_list("request_id")
        .annotate(units=Sum("expected"))
        .order_by()
    )
    return [PaymentRequestView(row, state_now(row), int(pending.get(row.pk, 0))) for row in rows]


def in_state(found: QuerySet[PaymentRequest], state: PaymentRequestState) -> QuerySet[PaymentRequest]:
    """Restrict payment requests to those that are in the state now."""
    is_over = Q(state__in=PAYABLE, expires_at__lte=timezone.now())
    if state is PaymentRequestState.EXPIRED:
        return found.filter(Q(state=state) | is_over)
    return found.filter(state=state).exclude(is_over) if state in PAYABLE else found.filter(state=state)
