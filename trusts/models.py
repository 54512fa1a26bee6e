"""Trusts, and the append-only list of their changes."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from trusts.states import OPEN, TrustEvent, TrustRequestType, TrustState, TrustType
from wallets.models import Wallet


class Trust(models.Model):
    """
    What one wallet may do with another.

    `actor` requests, `target` answers, `originator` is the wallet that was logged in for the request: the actor or its
    manager. The actor of a `receive` or `yield` is the requesting wallet too.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Order of creation, by which lists and cursors sort. The default is a sequence.
    number = models.BigIntegerField(unique=True, editable=False)
    actor = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    target = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    originator = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    request_type = models.CharField(max_length=32, choices=TrustRequestType)
    # What it gives while it is trusted, who holds that power, and over which wallet. A trigger fills them from the view
    # `trusts_kind`, the only definition. The view `trusts_power` holds the powers in force.
    type = models.CharField(max_length=6, choices=TrustType, editable=False)
    holder_id = models.UUIDField(editable=False)
    subject_id = models.UUIDField(editable=False)
    state = models.CharField(max_length=23, choices=TrustState)
    # The actor's side deleted it, or an operator ended it, and it has not been accepted since.
    withdrawn = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    # Columns of the managed wallet, copied by the same trigger, and by one of the wallets when they change: wallets are
    # listed in the order of these and filtered by them, and a manager may have 100,000.
    managed_created_at = models.DateTimeField(null=True, editable=False)
    managed_name = models.CharField(max_length=254, null=True, editable=False)  # noqa: DJ001 - as managed_created_at
    managed_name_key = models.CharField(max_length=1024, null=True, editable=False)  # noqa: DJ001
    managed_has_password = models.BooleanField(null=True, editable=False)

    class Meta:
        constraints = [
            # The Treetracker contract, row 26.
            models.UniqueConstraint(
                fields=["actor", "target", "request_type"], condition=Q(state__in=OPEN), name="trust_open_once"
            ),
            models.CheckConstraint(condition=Q(state__in=TrustState.values), name="trust_state_known"),
            models.CheckConstraint(condition=~Q(actor=F("target")), name="trust_between_two_wallets"),
            models.CheckConstraint(
                condition=~Q(state=TrustState.CANCELLED_BY_ORIGINATOR, withdrawn=False)
                & ~Q(state=TrustState.TRUSTED, withdrawn=True),
                name="trust_withdrawn_fits_state",
            ),
            models.CheckConstraint(
                condition=Q(type=TrustType.MANAGE, managed_created_at__isnull=False)
                | Q(type=TrustType.SEND, managed_created_at=None),
                name="trust_knows_the_managed",
            ),
        ]
        indexes = [
            # For lists. `number > 0` always holds. Queries for powers do not state it, so the planner cannot answer
            # them by walking all trusts of a busy wallet.
            models.Index(fields=["actor", "number"], condition=Q(number__gt=0), name="trust_by_actor"),
            models.Index(fields=["target", "number"], condition=Q(number__gt=0), name="trust_by_target"),
            models.Index(
                fields=["originator", "number"],
                condition=~Q(originator=F("actor")) & Q(number__gt=0),
                name="trust_by_originator",
            ),
            # Does this wallet hold this power over that one?
            models.Index(
                fields=["holder_id", "subject_id", "type"], condition=Q(state=TrustState.TRUSTED), name="trust_power"
            ),
            # The wallets of a manager, in the orders of the list, with all columns of its filters: a page reads no row
            # for those that it skips. `managed_created_at IS NOT NULL` always holds here and keeps other queries from
            # these indexes in the same way.
            models.Index(
                fields=["holder_id", "managed_created_at", "subject_id"],
                include=["managed_name_key", "managed_has_password", "request_type"],
                condition=Q(state=TrustState.TRUSTED, type=TrustType.MANAGE, managed_created_at__isnull=False),
                name="trust_managed",
            ),
            models.Index(
                fields=["holder_id", "managed_name", "subject_id"],
                include=["managed_created_at", "managed_name_key", "managed_has_password", "request_type"],
                condition=Q(state=TrustState.TRUSTED, type=TrustType.MANAGE, managed_created_at__isnull=False),
                name="trust_managed_by_name",
            ),
            # Who manages this wallet?
            models.Index(
                fields=["subject_id"],
                include=["holder_id"],
                condition=Q(state=TrustState.TRUSTED, type=TrustType.MANAGE),
                name="trust_managers",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class TrustChange(models.Model):
    """One change of a trust. Append-only: a trigger refuses UPDATE and DELETE."""

    trust = models.ForeignKey(Trust, on_delete=models.PROTECT, related_name="changes")
    # The wallet that was logged in; NULL for an operator.
    actor = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, null=True, blank=True)
    # Empty for the request itself.
    event = models.CharField(max_length=7, choices=TrustEvent, blank=True)
    state = models.CharField(max_length=23, choices=TrustState)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.trust_id} {self.state}"
