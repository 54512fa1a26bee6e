"""What was imported, so that a later import can tell what changed on which side."""

from django.db import models
from django.db.models.functions import Now


class ImportRun(models.Model):
    """
    One import that was committed.

    Numbers and arrivals are those that it took from the sequences of the ledger, while no other session could: a
    transfer or a movement between the first and the last was imported.
    """

    # Host and database, without user and password.
    source = models.CharField(max_length=250)
    # The clock of the source when the snapshot was taken.
    snapshot_at = models.DateTimeField()
    finished_at = models.DateTimeField(db_default=Now())
    first_number = models.BigIntegerField()
    last_number = models.BigIntegerField()
    first_arrival = models.BigIntegerField()
    last_arrival = models.BigIntegerField()
    # Rows written by table, and findings by kind.
    written = models.JSONField(default=dict)
    findings = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.source} as of {self.snapshot_at:%Y-%m-%d %H:%M}"


class ImportedRow(models.Model):
    """
    What a row of the source said at its last import, and what was written for it.

    For wallets, API keys and trusts, for transfers that were open there or that Coppice closed or made, for rows that
    Coppice has no place for (events, share links), and for tokens of which a decision said that they stay where Coppice
    has them. `source` and `written` hold the digest of a password instead of its hash.
    """

    kind = models.CharField(max_length=16)
    source_id = models.UUIDField()
    source = models.JSONField()
    # Empty if the row was left out.
    written = models.JSONField(default=dict)
    # What was done about it that differs from its copy.
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "source_id"], name="imported_row_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.source_id}"
