"""What `config.seals` keeps: the chain of seals, and the transfers that were open when their numbers were sealed."""

from typing import Final

from django.db import models
from django.db.models import Q

# The columns of `Seal` that say up to which key each sequence of rows is sealed.
POSITIONS: Final = ("transfers", "movements", "issues", "trust_changes", "statement_lines")


class Seal(models.Model):
    """
    One block of sealed rows and its place in the chain. Append-only: a trigger refuses UPDATE and DELETE.

    The rows of a block are those between the positions of the seal before it and its own. docs/seals.md defines the
    bytes that are hashed and signed.
    """

    # From 1, without a gap.
    height = models.BigIntegerField(primary_key=True)
    format = models.SmallIntegerField()
    # The hash of the seal before, 32 zeros for the first.
    previous = models.BinaryField(max_length=32)
    # The Merkle root of the leaves, and their number.
    root = models.BinaryField(max_length=32)
    leaves = models.IntegerField()
    sealed_at = models.DateTimeField()
    # SHA-256 of the header.
    hash = models.BinaryField(max_length=32, unique=True)
    # The id of the public key, and the signature of the header; both empty if no key was configured.
    key_id = models.CharField(max_length=16, blank=True)
    signature = models.BinaryField(max_length=64, blank=True)
    # From which the salts of the leaves are derived. It is not public.
    secret = models.BinaryField(max_length=32)
    # The highest key of each sequence of rows in this and all earlier blocks.
    transfers = models.BigIntegerField()
    movements = models.BigIntegerField()
    issues = models.BigIntegerField()
    trust_changes = models.BigIntegerField()
    statement_lines = models.BigIntegerField()

    class Meta:
        # For the block that has a row.
        indexes = [
            models.Index(fields=["transfers", "height"], name="seal_by_transfers"),
            models.Index(fields=["movements", "height"], name="seal_by_movements"),
        ]

    def __str__(self) -> str:
        return str(self.height)


class LateTransfer(models.Model):
    """A transfer that was open when its number was sealed: what was asked is in one block, the outcome in a later."""

    number = models.BigIntegerField(primary_key=True)
    asked = models.ForeignKey(Seal, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    # NULL until its outcome is sealed.
    decided = models.ForeignKey(
        Seal, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False, null=True, blank=True
    )

    class Meta:
        indexes = [
            models.Index(fields=["decided", "number"], name="late_transfer_by_decided"),
        ]

    def __str__(self) -> str:
        return str(self.number)


class SealMark(models.Model):
    """One row: when all that was settled was last sealed, or found sealed."""

    id = models.SmallIntegerField(primary_key=True)
    complete_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="seal_mark_is_one_row")]

    def __str__(self) -> str:
        return str(self.complete_at)
