"""What the trusts app stores: trusts, and the append-only list of what happened to them."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from trusts.states import OPEN, TrustEvent, TrustRequestType, TrustState, TrustType
from wallets.models import Wallet


class Trust(models.Model):
    """
    What one wallet may do with another.

    `actor` asks, `target` answers, `originator` is the wallet that was logged in when the
    request was made: the actor itself or its manager. The direction never changes: a
    `receive` or `yield` keeps the asking wallet as its actor.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Order of creation, what lists and cursors go by. The default is a sequence (migration 0002).
    number = models.BigIntegerField(unique=True, editable=False)
    actor = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    target = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    originator = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    type = models.CharField(max_length=6, choices=TrustType)
    request_type = models.CharField(max_length=7, choices=TrustRequestType)
    state = models.CharField(max_length=23, choices=TrustState)
    # The actor's side deleted it, or an operator ended it, and it was not accepted since.
    withdrawn = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    # Since when the wallet exists that is managed by it: a copy of what never changes, filled by a trigger. Wallets are
    # listed in this order, and a manager may have thousands.
    managed_created_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints = [
            # The Treetracker contract, row 26. Also the index behind every question of control.
            models.UniqueConstraint(
                fields=["actor", "target", "request_type"], condition=Q(state__in=OPEN), name="trust_open_once"
            ),
            models.CheckConstraint(condition=Q(state__in=TrustState.values), name="trust_state_known"),
            models.CheckConstraint(
                condition=Q(type=TrustType.SEND, request_type__in=["send", "receive"])
                | Q(type=TrustType.MANAGE, request_type__in=["manage", "yield"]),
                name="trust_type_fits_request_type",
            ),
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
            # For lists. The condition always holds: it keeps the planner from answering the question "is this trusted",
            # which does not say it, by walking all trusts of a busy wallet instead of through `trust_open_once`.
            models.Index(fields=["actor", "number"], condition=Q(number__gt=0), name="trust_by_actor"),
            models.Index(fields=["target", "number"], condition=Q(number__gt=0), name="trust_by_target"),
            models.Index(
                fields=["originator", "number"],
                condition=~Q(originator=F("actor")) & Q(number__gt=0),
                name="trust_by_originator",
            ),
            # The wallets of a manager, in the order of the list. Here, too, the condition always holds.
            *(
                models.Index(
                    fields=[manager, "managed_created_at", managed],
                    condition=Q(state=TrustState.TRUSTED, request_type=kind, managed_created_at__isnull=False),
                    name=name,
                )
                for manager, managed, kind, name in (
                    ("actor", "target", TrustRequestType.MANAGE, "trust_manages"),
                    ("target", "actor", TrustRequestType.YIELD, "trust_yields"),
                )
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class TrustChange(models.Model):
    """One thing that happened to a trust. Append-only: a trigger refuses UPDATE and DELETE."""

    trust = models.ForeignKey(Trust, on_delete=models.PROTECT, related_name="changes")
    # Which wallet was logged in. Empty if it was an operator.
    actor = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, null=True, blank=True)
    # Empty for the request itself.
    event = models.CharField(max_length=7, choices=TrustEvent, blank=True)
    state = models.CharField(max_length=23, choices=TrustState)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.trust_id} {self.state}"
