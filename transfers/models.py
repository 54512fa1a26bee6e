"""
What the transfers app stores: transfers and movements.

The wallets of a transfer and of a movement carry no foreign key constraint. Each would take a
lock on the same wallet row for every transfer of a busy wallet, and for every token of a bundle
(measured: see transfers/README.md). What the constraints would promise holds otherwise: the ledger takes
these ids from rows that it reads in the same statement, triggers refuse to delete a wallet, a
token or a transfer, and `manage.py audit` looks for orphans.
"""

import uuid

from django.db import models
from django.db.models import F, Q

from transfers.states import TransferEvent, TransferState
from wallets.models import Token, Wallet


class Transfer(models.Model):
    """
    The wish to move tokens from one wallet to another, and what became of it.

    Only state, counts and the closing fields ever change, and only while it is open: triggers
    refuse the rest. sql/schema holds them, and the constraints on counts and on `closed_at`
    by state, in a form that costs half of what Django would write.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Order of creation, for lists, cursors and movements; also its place among all events (`wallets.event_sequence`).
    number = models.BigIntegerField(unique=True, editable=False)
    originator = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    source = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    destination = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    # As asked and as answered: {"tokens": [ids]} or {"bundle": {"bundleSize": n}}.
    parameters = models.JSONField()
    state = models.CharField(max_length=9, choices=TransferState)
    # Tokens asked, reserved now, moved in the end: the last two are counted from the rows that changed.
    token_count = models.IntegerField()
    reserved_count = models.IntegerField()
    moved_count = models.IntegerField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    # How and by whom it was closed; empty for a transfer that completed at once.
    closed_event = models.CharField(max_length=7, choices=TransferEvent, blank=True)
    # Whether it was requested or pending before; empty as long as it is, and if it completed at once.
    closed_from = models.CharField(max_length=9, choices=TransferState, blank=True, db_default="")
    closed_by = models.ForeignKey(
        Wallet,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
        null=True,
        blank=True,
    )

    class Meta:
        # A trigger function checks each row, in place of CHECK constraints: migration 0002 gives the reason.
        indexes = [
            models.Index(fields=["source", "number"], name="transfer_by_source"),
            models.Index(fields=["destination", "number"], name="transfer_by_destination"),
            # Only a manager is an originator apart from source and destination.
            models.Index(
                fields=["originator", "number"],
                condition=~Q(originator=F("source")) & ~Q(originator=F("destination")),
                name="transfer_by_originator",
            ),
            # What is not completed is rare, and is what people look for; completed transfers pay nothing.
            models.Index(
                fields=["source", "number"],
                condition=~Q(state=TransferState.COMPLETED),
                name="transfer_undone_by_source",
            ),
            models.Index(
                fields=["destination", "number"],
                condition=~Q(state=TransferState.COMPLETED),
                name="transfer_undone_by_destination",
            ),
            # What a wallet has reserved. Strangers can add to what is requested from it, but not to this.
            models.Index(
                fields=["source"], condition=Q(state=TransferState.PENDING), name="transfer_pending_by_source"
            ),
            # Who waits, and how long: for operators.
            models.Index(
                fields=["created_at"],
                include=["state", "token_count", "reserved_count"],
                condition=Q(state__in=[TransferState.REQUESTED, TransferState.PENDING]),
                name="transfer_open_by_age",
            ),
            # What became of those that did not complete at once; these are counted in `DayTally`.
            models.Index(
                fields=["created_at", "state"],
                condition=~Q(state=TransferState.COMPLETED) | ~Q(closed_event=""),
                name="transfer_slow_by_day",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Movement(models.Model):
    """
    One token came into one wallet: by issue (number 0, no transfer, no source) or by a transfer.

    Append-only: a trigger refuses UPDATE and DELETE (sql/schema). The numbers of a token have no gap,
    and `id` is taken from a sequence while the token is locked, so that it orders each token's history.
    """

    id = models.BigIntegerField(primary_key=True, editable=False)
    token = models.ForeignKey(
        Token, on_delete=models.PROTECT, related_name="movements", db_index=False, db_constraint=False
    )
    number = models.IntegerField()
    transfer = models.ForeignKey(
        Transfer,
        to_field="number",
        db_column="transfer_number",
        on_delete=models.PROTECT,
        related_name="movements",
        db_index=False,
        db_constraint=False,
        null=True,
        blank=True,
    )
    source = models.ForeignKey(
        Wallet,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
        null=True,
        blank=True,
    )
    destination = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    processed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["token", "number"], name="movement_once_per_number"),
        ]
        indexes = [
            models.Index(fields=["transfer"], condition=Q(transfer__isnull=False), name="movement_by_transfer"),
        ]

    def __str__(self) -> str:
        return f"{self.token_id} {self.number}"


class TokenTally(models.Model):
    """How many tokens lay in a wallet when it was last folded: see `transfers.counters`."""

    wallet = models.OneToOneField(
        Wallet, on_delete=models.PROTECT, related_name="+", primary_key=True, db_constraint=False
    )
    tokens = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.wallet_id}: {self.tokens}"


class TallyDelta(models.Model):
    """Tokens that came into or went out of a wallet other than by a transfer that completed at once."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    tokens = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.wallet_id}: {self.tokens:+}"


class TallyMark(models.Model):
    """One row: up to which number transfers are in the tallies."""

    id = models.SmallIntegerField(primary_key=True)
    number = models.BigIntegerField()

    def __str__(self) -> str:
        return str(self.number)


class OutcomeTally(models.Model):
    """How many transfers had ended in one way up to a number, the same in all rows: see `transfers.outcome_counts`."""

    outcome = models.CharField(max_length=9, primary_key=True)
    transfers = models.BigIntegerField()
    number = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.outcome}: {self.transfers}"


class Issue(models.Model):
    """Tokens that were issued to a wallet at one time. Append-only; they add up to all tokens that there are."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    tokens = models.BigIntegerField()
    issued_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.tokens} to {self.wallet_id}"


class DayTally(models.Model):
    """Transfers of one day (UTC) that completed at once, as far as they are folded: see `transfers.counters`."""

    day = models.DateField(primary_key=True)
    transfers = models.BigIntegerField()
    tokens = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.day}: {self.transfers}"
