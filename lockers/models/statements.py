"""Statements of wallets: a balance, and one line for each change of it."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from lockers.models.tasks import LockerTask
from lockers.states import LineType
from wallets.models import Wallet


class Account(models.Model):
    """
    The balance of a wallet's statement, and the number of its lines.

    The balance is the value of all spendable coins, reserved ones included. The row is locked last in a transaction,
    which orders the lines.
    """

    wallet = models.OneToOneField(Wallet, on_delete=models.PROTECT, primary_key=True, related_name="locker_account")
    # 100,000 of the largest coins exceed 64 bits.
    balance = models.DecimalField(max_digits=30, decimal_places=0)
    lines = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(balance__gte=0), name="account_is_never_overdrawn"),
        ]

    def __str__(self) -> str:
        return str(self.wallet_id)


class StatementLine(models.Model):
    """
    One change of a wallet's balance, inserted in the transaction of the change. Append-only.

    `number` counts from 1 without a gap in each wallet, in the order of commits.
    """

    id = models.BigAutoField(primary_key=True)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="statement_lines", db_index=False)
    number = models.BigIntegerField()
    task = models.ForeignKey(LockerTask, on_delete=models.PROTECT, related_name="statement_lines")
    type = models.CharField(max_length=13, choices=[(t, t) for t in LineType])
    amount = models.DecimalField(max_digits=30, decimal_places=0)
    running_balance = models.DecimalField(max_digits=30, decimal_places=0)
    # The other wallet of a transfer.
    other_wallet = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(type__in=list(LineType)), name="line_type_is_known"),
            models.CheckConstraint(condition=~Q(amount=0), name="line_changes_the_balance"),
            models.CheckConstraint(condition=Q(running_balance__gte=0, number__gte=1), name="line_leaves_no_debt"),
            models.UniqueConstraint(fields=["wallet", "number"], name="line_number_is_unique_in_a_wallet"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.number}"
