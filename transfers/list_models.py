"""What `transfers.list_counts` keeps of the lists of transfers."""

from django.db import models

from wallets.models import Wallet


class ListTally(models.Model):
    """What the lists of a wallet count, up to the checkpoint `ListMark`: see `transfers.list_counts`."""

    wallet = models.OneToOneField(
        Wallet, on_delete=models.PROTECT, related_name="+", primary_key=True, db_constraint=False
    )
    # Transfers in which it is a party; those in which it, or a wallet that it manages, is one; the wallets it manages.
    own = models.BigIntegerField()
    visible = models.BigIntegerField()
    managed = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.wallet_id}: {self.own}, {self.visible}, {self.managed}"


class ListMark(models.Model):
    """The checkpoint of `ListTally` and `ListSpan`, one row: up to which number transfers are in them."""

    id = models.SmallIntegerField(primary_key=True)
    number = models.BigIntegerField()

    def __str__(self) -> str:
        return str(self.number)


class ListSpan(models.Model):
    """
    The times of the transfers of `list_counts.SPAN` numbers, up to the checkpoint: see `transfers.list_pages`.

    Both times ascend with the numbers, so that an index of them tells between which numbers the transfers of some days
    are.
    """

    # The numbers divided by `list_counts.SPAN`.
    span = models.BigIntegerField(primary_key=True)
    # The newest time of these transfers and of all before; the oldest of these and of all after.
    newest_at = models.DateTimeField()
    oldest_at = models.DateTimeField()
    # By how much one of these is at most older than any with a lower number.
    spread = models.DurationField()

    class Meta:
        indexes = [
            models.Index(fields=["newest_at", "span"], name="list_span_by_newest"),
            models.Index(fields=["oldest_at", "span"], name="list_span_by_oldest"),
        ]

    def __str__(self) -> str:
        return f"{self.span}: {self.newest_at}"
