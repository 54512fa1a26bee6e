"""Payment requests, and the payments that pay them."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from lockers.models.tasks import LockerTask
from lockers.states import PAYABLE, PaymentMode, PaymentRequestState, PaymentState
from wallets.models import Wallet

MAXIMUM_DESCRIPTION = 500
MAXIMUM_REFERENCE = 255


class PaymentRequest(models.Model):
    """
    A request of a wallet, the payee, to be paid an amount in coins.

    The id is random and the only key of the public page: it cannot be guessed, and who knows it can only read the
    request and pay. `paid` is the sum of `Payment.units`, those included that arrived after the request was closed.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="payment_requests", db_index=False)
    actor = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    amount = models.BigIntegerField()
    paid = models.BigIntegerField(default=0)
    mode = models.CharField(max_length=7, choices=[(m, m) for m in PaymentMode])
    state = models.CharField(
        max_length=11, default=PaymentRequestState.OPEN, choices=[(s, s) for s in PaymentRequestState]
    )
    description = models.CharField(max_length=MAXIMUM_DESCRIPTION)
    reference = models.CharField(max_length=MAXIMUM_REFERENCE, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    # When it was paid, cancelled or expired.
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=list(PaymentRequestState)), name="payment_request_state_is_known"
            ),
            models.CheckConstraint(condition=Q(mode__in=list(PaymentMode)), name="payment_request_mode_is_known"),
            models.CheckConstraint(condition=Q(amount__gt=0, paid__gte=0), name="payment_request_asks_for_coins"),
            models.CheckConstraint(
                condition=Q(state=PaymentRequestState.OPEN, paid=0)
                | Q(state=PaymentRequestState.PARTLY_PAID, paid__gt=0, paid__lt=F("amount"))
                | Q(state=PaymentRequestState.PAID, paid__gte=F("amount"))
                | Q(state__in=[PaymentRequestState.CANCELLED, PaymentRequestState.EXPIRED]),
                name="payment_request_state_fits_what_is_paid",
            ),
            models.CheckConstraint(
                condition=Q(state__in=list(PAYABLE), closed_at=None)
                | (~Q(state__in=list(PAYABLE)) & Q(closed_at__isnull=False)),
                name="payment_request_is_closed_when_final",
            ),
        ]
        indexes = [
            models.Index(fields=["wallet", "-created_at", "-id"], name="payment_request_of_wallet"),
            models.Index(
                fields=["wallet", "reference"], condition=~Q(reference=""), name="payment_request_by_reference"
            ),
            # The next ones that expire.
            models.Index(
                fields=["expires_at"],
                condition=Q(state__in=list(PAYABLE), expires_at__isnull=False),
                name="payment_request_to_expire",
            ),
            # For operators.
            models.Index(fields=["-created_at", "-id"], name="payment_request_newest"),
            # For operators.
            models.Index(fields=["reference"], condition=~Q(reference=""), name="payment_request_referring"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Payment(models.Model):
    """
    What one task brings to a payment request: a transfer from a wallet here, or a take from a locker.

    `units` were credited. `expected` may still come: the amount of a transfer, what a take has found in its locker, or
    the value of its coins in limbo; 0 while a take has not looked yet.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey(PaymentRequest, on_delete=models.PROTECT, related_name="payments", db_index=False)
    task = models.OneToOneField(LockerTask, on_delete=models.PROTECT, related_name="payment")
    # Who pays: the wallet that gives the coins or sent the code, NULL for a code of someone without a login.
    payer = models.ForeignKey(Wallet, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False)
    state = models.CharField(max_length=8, default=PaymentState.PENDING, choices=[(s, s) for s in PaymentState])
    expected = models.BigIntegerField(default=0)
    units = models.BigIntegerField(default=0)
    # Coins arrived after the request was paid, cancelled or expired.
    is_late = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(PaymentState)), name="payment_state_is_known"),
            models.CheckConstraint(
                condition=Q(state=PaymentState.PENDING, expected__gte=0, units__gte=0, settled_at=None)
                | Q(state=PaymentState.CREDITED, expected=0, units__gt=0, settled_at__isnull=False)
                | Q(state=PaymentState.FAILED, expected=0, units=0, settled_at__isnull=False),
                name="payment_state_fits_its_units",
            ),
        ]
        indexes = [
            models.Index(fields=["request", "created_at", "id"], name="payment_of_request"),
            models.Index(fields=["request"], condition=Q(state=PaymentState.PENDING), name="payment_pending"),
        ]

    def __str__(self) -> str:
        return str(self.id)
