"""
What the transfers app stores: transfers and movements.

The wallets of a transfer and of a movement carry no foreign key constraint. Each would take a
lock on the same wallet row for every transfer of a busy wallet, and for every token of a bundle
(measured: see transfers/README.md). The guarantees of the constraints are kept in other ways: the ledger takes
these ids from rows that it reads in the same statement, triggers refuse to delete a wallet, a
token or a transfer, and `manage.py audit` looks for orphans.
"""

import uuid
from typing import Final

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import MD5, Now

# Its models are of this app too: Django finds them here.
from transfers import list_models, partition_models, seal_models  # noqa: F401
from transfers.states import ActionTokenState, ApprovalOf, TransferEvent, TransferState
from wallets.models import Token, Wallet

LONGEST_REFERENCE: Final = 255
LONGEST_EMAIL: Final = 254
LONGEST_MESSAGE: Final = 500

# Only a manager is an originator apart from source and destination.
_IS_APART: Final = ~Q(originator=F("source")) & ~Q(originator=F("destination"))
_IS_CLOSED_APART: Final = Func(
    F("closed_at"), F("created_at"), arg_joiner=" <> ", template="%(expressions)s", output_field=models.BooleanField()
)
_PARTIES: Final = (("source", Q()), ("destination", Q()), ("originator", _IS_APART))


class Transfer(models.Model):
    """
    A request to move tokens from one wallet to another, and its outcome.

    Only state, counts and the closing fields change, and only while it is open; triggers refuse everything else. They
    also check counts and `closed_at` by state.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Order of creation, for lists, cursors and movements; also its position among all events
    # (`wallets.event_sequence`).
    number = models.BigIntegerField(unique=True, editable=False)
    originator = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    source = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    destination = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    # As requested: {"tokens": [ids]} or {"bundle": {"bundleSize": n}}.
    parameters = models.JSONField()
    state = models.CharField(max_length=9, choices=TransferState)
    # Tokens requested, reserved now, moved in the end; the last two are counted from the changed rows.
    token_count = models.IntegerField()
    reserved_count = models.IntegerField()
    moved_count = models.IntegerField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    # From when on an open transfer counts as failed. NULL, which takes no space, for a transfer that completed at once.
    expires_at = models.DateTimeField(null=True, blank=True)
    # Whether it has a row of `TransferTerms`: true or NULL, so that those without are not looked up.
    has_terms = models.BooleanField(null=True, blank=True)
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
    # What the source's side must approve, the wallet that asked for it and the id of its credential; then the wallet
    # that approved it, and the id of that credential. Credentials are deleted some time after their end. All NULL,
    # which takes no space, for a transfer that needs no approval.
    approval_of = models.CharField(max_length=7, choices=ApprovalOf, null=True, blank=True)  # noqa: DJ001
    approval_asked_by = models.ForeignKey(
        Wallet,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
        null=True,
        blank=True,
    )
    approval_asked_with = models.UUIDField(null=True, blank=True)
    approved_by = models.ForeignKey(
        Wallet,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
        null=True,
        blank=True,
    )
    approved_with = models.UUIDField(null=True, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        # The rules of a row are checked by a function: each statement would parse CHECK constraints again.
        indexes = [
            models.Index(fields=["source", "number"], name="transfer_by_source"),
            models.Index(fields=["destination", "number"], name="transfer_by_destination"),
            models.Index(fields=["originator", "number"], condition=_IS_APART, name="transfer_by_originator"),
            # Transfers that are not completed are rare, and are what readers look for. Completed ones are not in
            # these indexes, but PostgreSQL evaluates the condition of each: about 1 % of the cost of a transfer.
            *(
                models.Index(
                    fields=[party, "state", "number"],
                    condition=~Q(state=TransferState.COMPLETED) & only,
                    name=f"transfer_undone_by_{party}",
                )
                for party, only in _PARTIES
            ),
            # For the number of reserved tokens. Other wallets can add requests from a wallet, but not these rows.
            models.Index(
                fields=["source"], condition=Q(state=TransferState.PENDING), name="transfer_pending_by_source"
            ),
            # Transfers that were closed by an event, or at another time than they were created (earlier, if the clock
            # was set back; an import knows the event of some not), by time of closing, for lists and statements. Those
            # that completed at once are in the order of their creation, and are not in these indexes.
            *(
                models.Index(
                    fields=[party, "closed_at", "number"],
                    condition=(Q(_IS_CLOSED_APART) | ~Q(closed_event="")) & only,
                    name=f"transfer_ended_by_{party}",
                )
                for party, only in _PARTIES
            ),
            # Open transfers by age, for operators.
            models.Index(
                fields=["created_at"],
                include=["state", "token_count", "reserved_count"],
                condition=Q(state__in=[TransferState.REQUESTED, TransferState.PENDING]),
                name="transfer_open_by_age",
            ),
            # Open transfers by expiry, for `operations.expire_due`.
            models.Index(
                fields=["expires_at"],
                condition=Q(state__in=[TransferState.REQUESTED, TransferState.PENDING], expires_at__isnull=False),
                name="transfer_open_by_expiry",
            ),
            # Outcomes of transfers that did not complete at once; the others are counted in `DayTally`.
            models.Index(
                fields=["created_at", "state"],
                condition=~Q(state=TransferState.COMPLETED) | ~Q(closed_event=""),
                name="transfer_slow_by_day",
            ),
            # For operators: transfers between two days. Rows lie in the order of their creation, so this index has one
            # entry for many pages, and costs a transfer next to nothing.
            BrinIndex(fields=["created_at"], autosummarize=True, name="transfer_by_time"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def awaits_approval(self) -> bool:
        """Whether its own side must approve it before anything else becomes of it."""
        return self.state == TransferState.PENDING and self.approval_of is not None and self.approved_at is None


class KnownReceiver(models.Model):
    """
    A wallet to which another has sent, which demands an approval for transfers to those to which it never sent.

    Filled when the demand begins, and by approvals: a transfer to any other wallet is one.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    receiver = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["wallet", "receiver"], name="known_receiver_once")]

    def __str__(self) -> str:
        return f"{self.wallet_id} {self.receiver_id}"


class ApprovalChange(models.Model):
    """A change of what a wallet demands, which one credential asked for and another one must confirm."""

    wallet = models.OneToOneField(Wallet, on_delete=models.PROTECT, related_name="+", primary_key=True)
    above = models.IntegerField(null=True, blank=True)
    new_receivers = models.BooleanField()
    asked_by = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    asked_with = models.UUIDField(null=True, blank=True)
    asked_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return str(self.wallet_id)


class TransferTerms(models.Model):
    """
    What a client wrote on a transfer. Append-only: a trigger refuses UPDATE and DELETE.

    In a table of their own, so that a transfer without terms pays for no index of theirs. The wallets are those of the
    transfer, for the indexes: a list narrowed by terms reads transfers of the reader alone, whatever others write.
    """

    transfer = models.OneToOneField(
        Transfer,
        to_field="number",
        db_column="transfer_number",
        on_delete=models.PROTECT,
        related_name="terms",
        db_constraint=False,
        primary_key=True,
    )
    originator = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    source = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    destination = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    # Empty if there is none.
    reference = models.CharField(max_length=LONGEST_REFERENCE, blank=True, db_default="")
    # Whether no other transfer of the originator that is unique too may have the reference.
    unique_reference = models.BooleanField()
    # Strings by key.
    metadata = models.JSONField(null=True, blank=True)

    class Meta:
        # The index of metadata: sql/schema/terms_by_metadata.sql.
        constraints = [
            models.UniqueConstraint(
                fields=["originator", "reference"],
                condition=Q(unique_reference=True),
                name="terms_reference_is_used_once",
            ),
        ]
        indexes = [
            models.Index(fields=["source", "reference"], condition=~Q(reference=""), name="terms_by_source"),
            models.Index(fields=["destination", "reference"], condition=~Q(reference=""), name="terms_by_destination"),
            models.Index(
                fields=["originator", "reference"],
                condition=~Q(reference="") & ~Q(originator=F("source")) & ~Q(originator=F("destination")),
                name="terms_by_originator",
            ),
            # For operators.
            models.Index(MD5("reference"), condition=~Q(reference=""), name="terms_by_reference"),
        ]

    def __str__(self) -> str:
        return f"{self.transfer_id}"


class ActionToken(models.Model):
    """
    A claim link: anyone who has its code may claim its tokens, once. It reserves them until it is closed.

    It is not a transfer: a transfer is between two wallets for all its life, is announced to both, is listed by both,
    and counted for both up to a checkpoint. One that got its receiver later would change each of these after the fact.
    A link is in none of them. Its claim inserts a transfer that completes at once, as any other, with the id of the
    link: lists, events, counts and histories know nothing else, and the primary key admits one claim alone.

    The tokens are reserved by `Token.transfer_pending_id`, which is this id until the claim, so that every selection of
    free tokens leaves them out. State, closing time and actor change once; triggers refuse everything else.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # SHA-256 of the code. The code itself is in the answer to the request that created it, and nowhere else.
    digest = models.BinaryField(max_length=32, unique=True)
    # The wallet that made the link, for itself or a wallet that it manages.
    originator = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    sender = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    token_count = models.IntegerField()
    # Empty if there is none.
    recipient_email = models.CharField(max_length=LONGEST_EMAIL, blank=True, db_default="")
    # Whether the claimant must give this address.
    email_must_match = models.BooleanField(db_default=False)
    message = models.CharField(max_length=LONGEST_MESSAGE, blank=True, db_default="")
    state = models.CharField(max_length=9, choices=ActionTokenState, db_default=ActionTokenState.ACTIVE)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    # The wallet that claimed or cancelled it; NULL if it is active or expired, or an operator cancelled it.
    closed_by = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, null=True, blank=True
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state="active", closed_at=None)
                | Q(state__in=["redeemed", "cancelled", "expired"], closed_at__isnull=False),
                name="action_token_is_closed_when_decided",
            ),
            models.CheckConstraint(condition=Q(token_count__gt=0), name="action_token_has_tokens"),
            models.CheckConstraint(
                condition=Q(email_must_match=False) | ~Q(recipient_email=""), name="action_token_has_what_must_match"
            ),
        ]
        indexes = [
            models.Index(fields=["sender", "-created_at", "id"], name="action_token_by_sender"),
            # For the number of reserved tokens.
            models.Index(
                fields=["sender"], include=["token_count"], condition=Q(state="active"), name="action_token_active"
            ),
            models.Index(fields=["expires_at"], condition=Q(state="active"), name="action_token_by_expiry"),
            # For operators: the newest of all wallets.
            models.Index(fields=["-created_at", "id"], name="action_token_newest"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Movement(models.Model):
    """
    The arrival of one token in one wallet: by issue (number 0, no transfer, no source) or by a transfer.

    Append-only: a trigger refuses UPDATE and DELETE. The numbers of a token have no gap, and `id` is taken from a
    sequence while the token is locked, so that it orders each token's history.

    The table is partitioned by ranges of `id`: see `transfers.partitions`. Each partition has a unique index of token
    and number. `Token.moves`, which counts up under the lock of the token, lets no number be in two partitions, and the
    audit looks for one.
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
    """How many tokens a wallet held at the checkpoint: see `transfers.counters`."""

    wallet = models.OneToOneField(
        Wallet, on_delete=models.PROTECT, related_name="+", primary_key=True, db_constraint=False
    )
    tokens = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.wallet_id}: {self.tokens}"


class TallyDelta(models.Model):
    """Tokens that a wallet gained or lost other than by a transfer that completed at once."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    tokens = models.IntegerField()
    # When, and whether by issue, for the day of the wallet; no time if that day has it already.
    at = models.DateTimeField(null=True)
    is_issue = models.BooleanField(db_default=False)

    def __str__(self) -> str:
        return f"{self.wallet_id}: {self.tokens:+}"


class TallyMark(models.Model):
    """The checkpoint, one row: up to which number transfers are in the tallies."""

    id = models.SmallIntegerField(primary_key=True)
    number = models.BigIntegerField()

    def __str__(self) -> str:
        return str(self.number)


class ControlChange(models.Model):
    """A wallet gained or lost control of another, which `ListTally` does not count yet. A trigger writes it."""

    holder = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    subject = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)

    def __str__(self) -> str:
        return f"{self.holder_id} {self.subject_id}"


class OutcomeTally(models.Model):
    """How many transfers had ended in one way up to a number, the same in all rows: see `transfers.outcome_counts`."""

    outcome = models.CharField(max_length=9, primary_key=True)
    transfers = models.BigIntegerField()
    number = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.outcome}: {self.transfers}"


class Issue(models.Model):
    """Tokens that were issued to a wallet by one statement. Append-only; the sum is the number of all tokens."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    tokens = models.BigIntegerField()
    issued_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["wallet", "issued_at"], name="issue_by_wallet")]

    def __str__(self) -> str:
        return f"{self.tokens} to {self.wallet_id}"


class WalletDay(models.Model):
    """
    What one wallet received, sent and was issued on one day (UTC), up to the checkpoint: see `transfers.balances`.

    A day without movements has no row.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    day = models.DateField()
    received = models.BigIntegerField()
    sent = models.BigIntegerField()
    issued = models.BigIntegerField()
    # How many lines a statement of this day has.
    lines = models.BigIntegerField()
    # The lowest and the highest number of its transfers that completed at once.
    first_number = models.BigIntegerField(null=True)
    last_number = models.BigIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["wallet", "day"], name="wallet_day_once")]

    def __str__(self) -> str:
        return f"{self.wallet_id} {self.day}: {self.issued + self.received - self.sent:+}"


class DayTally(models.Model):
    """Transfers of one day (UTC) that completed at once, up to the checkpoint: see `transfers.counters`."""

    day = models.DateField(primary_key=True)
    transfers = models.BigIntegerField()
    tokens = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.day}: {self.transfers}"
