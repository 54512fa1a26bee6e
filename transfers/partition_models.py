"""What `transfers.partitions` keeps of partitions that are detached."""

from django.db import models
from django.db.models.functions import Now


class DetachedPartition(models.Model):
    """
    A range of movements that is no longer in the table of movements, and what proves that it comes back unchanged.

    Ranges are detached from the oldest on, so all movements below the highest `below` are detached.
    """

    # The id of the first movement after the range.
    below = models.BigIntegerField(primary_key=True)
    # The table that has the rows.
    name = models.CharField(max_length=63, unique=True)
    movements = models.BigIntegerField()
    # The highest number of a transfer of these movements; NULL if all are issues.
    last_transfer = models.BigIntegerField(null=True)
    # The newest time of these movements; NULL if there is none.
    newest_at = models.DateTimeField(null=True)
    # The sum of the hashes of the rows.
    checksum = models.DecimalField(max_digits=40, decimal_places=0)
    detached_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name
