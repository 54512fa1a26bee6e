"""Coins, and receipt lines: the state of each coin at the end of a task."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length, Now, Replace
from django.db.models.lookups import Exact

from lockers.models.tasks import Export, Locker, LockerTask
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import DOUBTFUL, HELD, SPENDABLE, STORED, CoinState, TaskKind
from wallets.models import Wallet


class Coin(models.Model):
    """
    One coin in one wallet, now or in the past.

    `secrets` are the 25 authenticity numbers, sealed. A server whose letter in `pown` is n may hold the number in
    `proposed` instead. `outcome` has one `states.Mark` per server while a task holds the coin, and is empty otherwise.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="coins", db_index=False)
    denomination = models.SmallIntegerField()
    serial_number = models.BigIntegerField()
    state = models.CharField(max_length=11, choices=[(s, s) for s in CoinState])
    # How it came into this ledger: by an import, a take, or the break of a larger coin.
    origin = models.CharField(max_length=8, choices=[(k, k) for k in (TaskKind.IMPORT, TaskKind.TAKE, TaskKind.BREAK)])
    pown = models.CharField(max_length=25, default="u" * 25)
    # How many servers are known to accept the coin; 13 make it spendable.
    passes = models.GeneratedField(
        expression=Length("pown") - Length(Replace("pown", models.Value("p"), models.Value(""))),
        output_field=models.IntegerField(),
        db_persist=True,
    )
    secrets = models.BinaryField()
    proposed = models.BinaryField(null=True, blank=True)
    # The open task that has reserved it.
    task = models.ForeignKey(
        LockerTask, on_delete=models.PROTECT, null=True, blank=True, related_name="coins", db_index=False
    )
    batch = models.SmallIntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=25, blank=True)
    locker = models.ForeignKey(
        Locker, on_delete=models.PROTECT, null=True, blank=True, related_name="coins", db_index=False
    )
    # The id of the coin to be broken, in its row and in those of its ten, once the intent is committed.
    family = models.UUIDField(null=True, blank=True)
    # Being released after a put or break that timed out: `proposed` holds fresh numbers, and the coin becomes spendable
    # when 13 servers have swapped to them, because no delayed request about the old ones can succeed then.
    releasing = models.BooleanField(default=False)
    export = models.ForeignKey(
        Export, on_delete=models.PROTECT, null=True, blank=True, related_name="coins", db_index=False
    )
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())
    # When at least 13 servers last answered a health check of the coin at rest.
    checked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(CoinState)), name="coin_state_is_known"),
            models.CheckConstraint(
                condition=Q(denomination__gte=-8, denomination__lte=6), name="coin_denomination_is_known"
            ),
            models.CheckConstraint(
                condition=Q(serial_number__gte=0, serial_number__lt=2**32), name="coin_serial_number_fits_32_bits"
            ),
            # Not "{25}": PostgreSQL takes five times as long to match it, for each row that is written.
            models.CheckConstraint(
                condition=Q(Exact(Length("pown"), RAIDA_COUNT), pown__regex=r"^[pfnuedb]+$"),
                name="coin_pown_has_25_letters",
            ),
            models.CheckConstraint(
                condition=Q(outcome="", task=None, batch=None)
                | Q(
                    Exact(Length("outcome"), RAIDA_COUNT),
                    outcome__regex=r"^[-pfngxoredb]+$",
                    task__isnull=False,
                    batch__isnull=False,
                ),
                name="coin_outcome_belongs_to_a_task",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=list(SPENDABLE)) | Q(passes__gte=QUORUM), name="coin_is_spendable_with_13_passes"
            ),
            models.CheckConstraint(
                condition=Q(state__in=[*HELD, CoinState.WAITING]) | Q(task=None), name="coin_in_a_task_is_held"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[CoinState.INCOMING, CoinState.WAITING]) | Q(task__isnull=False),
                name="coin_incoming_has_a_task",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[CoinState.CHANGE, CoinState.BROKEN, CoinState.VOID]) | Q(family__isnull=False),
                name="coin_of_a_break_has_a_family",
            ),
            models.CheckConstraint(
                condition=~Q(state=CoinState.LOCKED) | Q(locker__isnull=False), name="coin_locked_has_a_locker"
            ),
            models.CheckConstraint(
                condition=~Q(state=CoinState.EXPORTED) | Q(export__isnull=False), name="coin_exported_has_an_export"
            ),
            models.UniqueConstraint(
                fields=["denomination", "serial_number"],
                condition=Q(state__in=list(HELD)),
                name="coin_is_held_once",
            ),
            models.UniqueConstraint(
                fields=["denomination", "serial_number", "wallet"],
                condition=Q(state=CoinState.WAITING),
                name="coin_is_waited_for_once_by_a_wallet",
            ),
            models.UniqueConstraint(
                fields=["denomination", "serial_number"],
                condition=Q(state__in=list(STORED)),
                name="coin_is_in_one_locker_or_file",
            ),
        ]
        indexes = [
            # Counts and choices of free coins are index-only scans.
            models.Index(
                fields=["wallet", "denomination", "state", "id"],
                condition=Q(task=None, state__in=list(SPENDABLE)),
                name="coin_free",
            ),
            # A wallet's contents are an index-only scan.
            models.Index(fields=["wallet", "state", "denomination"], include=["task"], name="coin_of_wallet"),
            # Read by the sweep every two seconds.
            models.Index(
                fields=["wallet", "changed_at"],
                condition=Q(state__in=[CoinState.LIMBO, CoinState.ERRORED], task=None),
                name="coin_in_doubt",
            ),
            models.Index(
                fields=["wallet", "changed_at"],
                condition=Q(state__in=list(SPENDABLE), task=None, passes__lt=RAIDA_COUNT),
                name="coin_to_heal",
            ),
            # The next coins for the regular health check.
            models.Index(
                F("checked_at").asc(nulls_first=True),
                condition=Q(state__in=[*SPENDABLE, CoinState.LOCKED], task=None),
                name="coin_to_check",
            ),
            models.Index(fields=["family"], condition=Q(family__isnull=False), name="coin_of_family"),
            models.Index(fields=["task", "batch", "id"], condition=Q(task__isnull=False), name="coin_of_task"),
            models.Index(fields=["locker", "state"], condition=Q(locker__isnull=False), name="coin_of_locker"),
            models.Index(fields=["export", "state", "id"], condition=Q(export__isnull=False), name="coin_of_export"),
        ]

    def __str__(self) -> str:
        return f"{self.denomination}#{self.serial_number}"


class ReceiptLine(models.Model):
    """
    The state of one coin at the end of a task, inserted with the task's last step.

    `state` never changes, and of `pown` only the letters of late answers. If the coin was left undecided
    (`states.DOUBTFUL`), `became` is its state at the end of a later task, and `settled_by` the task that decided it.
    """

    id = models.BigAutoField(primary_key=True)
    # The constraint below has an index that begins with the task.
    task = models.ForeignKey(LockerTask, on_delete=models.PROTECT, related_name="receipt_lines", db_index=False)
    denomination = models.SmallIntegerField()
    serial_number = models.BigIntegerField()
    pown = models.CharField(max_length=25)
    state = models.CharField(max_length=11, choices=[(s, s) for s in CoinState])
    # NULL while nothing more is known, for `coalesce(became, state)`.
    became = models.CharField(  # noqa: DJ001
        max_length=11, choices=[(s, s) for s in CoinState], null=True, blank=True
    )
    settled_by = models.ForeignKey(
        LockerTask, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(F("task"), F("denomination"), F("serial_number"), name="receipt_names_a_coin_once"),
            models.CheckConstraint(
                condition=Q(became=None, settled_by=None)
                | Q(state__in=list(DOUBTFUL), became__in=list(DOUBTFUL), settled_by=None)
                | Q(state__in=list(DOUBTFUL), became__isnull=False, settled_by__isnull=False),
                name="receipt_line_became_something_later",
            ),
        ]
        indexes = [
            # The few open lines: for later tasks that settle them, and for tasks that need an operator.
            models.Index(
                fields=["denomination", "serial_number"],
                condition=Q(state__in=list(DOUBTFUL), settled_by=None),
                name="receipt_line_open",
            ),
            models.Index(
                fields=["task"],
                condition=Q(state__in=list(DOUBTFUL), settled_by=None),
                name="receipt_line_open_of_task",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.denomination}#{self.serial_number} {self.state}"
