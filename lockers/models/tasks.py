"""Lockers that were filled here, tasks with their attempts, uploads and exports, turns of wallets."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from lockers.states import FileType, LockerState, Step, TaskKind, TaskState
from wallets import request_id as tracing
from wallets.models import Wallet


class Locker(models.Model):
    """
    A locker that a wallet of this ledger filled.

    The servers cannot list lockers, so this row and its coins are the only record of one. The contents of the locker
    are its coins in the state LOCKED.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="lockers")
    state = models.CharField(max_length=10, default=LockerState.FILLING, choices=[(s, s) for s in LockerState])
    code = models.BinaryField()
    tag = models.CharField(max_length=250, blank=True)
    amount = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())
    # When the next repair asks servers that do not store the coins yet (`lockers.worker.repair`), NULL for none, and
    # the number of repairs so far.
    mend_at = models.DateTimeField(null=True, blank=True)
    mends = models.IntegerField(default=0, db_default=0)
    # When its wallet takes back what is still in it, NULL for never; the wallet chose it with the put.
    expires_at = models.DateTimeField(null=True, blank=True)
    # When the next task begins to take the coins back (`lockers.operations.take_back`), NULL once all of them have left
    # the locker, and the number of such tasks so far.
    take_back_at = models.DateTimeField(null=True, blank=True)
    take_backs = models.IntegerField(default=0, db_default=0)
    # What came back into the wallet that filled it, in units, and when it last did.
    returned = models.BigIntegerField(default=0, db_default=0)
    returned_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(LockerState)), name="locker_state_is_known"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="locker_amount_is_positive"),
            models.CheckConstraint(
                condition=Q(take_back_at=None) | Q(expires_at__isnull=False), name="locker_is_taken_back_if_it_expires"
            ),
            models.CheckConstraint(
                condition=Q(returned=0, returned_at=None) | Q(returned__gt=0, returned_at__isnull=False),
                name="locker_returned_at_some_time",
            ),
        ]
        indexes = [
            # For operators: the newest of all wallets.
            models.Index(fields=["-created_at", "-id"], name="locker_newest"),
            models.Index(fields=["mend_at"], condition=Q(mend_at__isnull=False), name="locker_to_mend"),
            # Read every few seconds; lockers that expire and still hold coins.
            models.Index(fields=["take_back_at"], condition=Q(take_back_at__isnull=False), name="locker_to_take_back"),
            # For operators.
            models.Index(fields=["tag"], condition=~Q(tag=""), name="locker_by_tag"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class LockerTask(models.Model):
    """
    A unit of work with the servers, committed before the first request is sent.

    `locker` is the one that a put fills, or that a take empties because it has expired.

    `lease_until` is the end of the lease of the worker of `attempt`, NULL without a worker; each write of that worker
    is fenced by the attempt number. `plan` holds what a restart needs, and `result` what the caller sees; neither holds
    a secret.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=8, choices=[(k, k) for k in TaskKind])
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="locker_tasks")
    actor = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    state = models.CharField(max_length=10, default=TaskState.RUNNING, choices=[(s, s) for s in TaskState])
    step = models.CharField(max_length=10, default=Step.RESERVED, choices=[(s, s) for s in Step])
    progress = models.SmallIntegerField(default=0)
    message = models.TextField(blank=True)
    tag = models.CharField(max_length=250, blank=True)
    amount = models.BigIntegerField(null=True, blank=True)
    locker = models.ForeignKey(Locker, on_delete=models.PROTECT, null=True, blank=True, related_name="tasks")
    code = models.BinaryField(null=True, blank=True)
    receipt_id = models.CharField(max_length=32, unique=True)
    attempt = models.IntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    deadline = models.DateTimeField()
    # When a message was last enqueued for it, so that the sweep does not fill a busy queue.
    rung_at = models.DateTimeField(db_default=Now())
    # All its remaining coins wait for other claims: no worker takes it until the sweep unparks it.
    is_parked = models.BooleanField(default=False, db_default=False)
    # Occupies a worker for long: such tasks of one wallet never occupy all workers.
    is_long = models.BooleanField(default=False, db_default=False)
    # Claims of other tasks wait for its end: it precedes its wallet's other tasks.
    is_wanted = models.BooleanField(default=False, db_default=False)
    # When a response showed the transmit code first.
    code_shown_at = models.DateTimeField(null=True, blank=True)
    plan = models.JSONField(default=dict, blank=True)
    result = models.JSONField(default=dict, blank=True)
    # The request that created it, for the log lines of its workers.
    request_id = models.CharField(max_length=tracing.LONGEST_REQUEST_ID, default=tracing.current_request_id, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)
    # Until when late answers of servers may arrive (`lockers.worker.listening`).
    listens_until = models.DateTimeField(null=True, blank=True)
    # When a later task last settled coins that this one had left in limbo, and that task: state, message and result
    # were derived again then (`lockers.current_results`).
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    # When an operator marked it as seen; NULL again after any change.
    seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=list(TaskKind)), name="task_kind_is_known"),
            models.CheckConstraint(condition=Q(state__in=list(TaskState)), name="task_state_is_known"),
            models.CheckConstraint(condition=Q(step__in=list(Step)), name="task_step_is_known"),
            models.CheckConstraint(
                condition=Q(state=TaskState.COMPLETED, progress=100)
                | (~Q(state=TaskState.COMPLETED) & Q(progress__gte=0, progress__lt=100)),
                name="task_progress_is_100_only_when_completed",
            ),
            models.CheckConstraint(
                condition=Q(state=TaskState.RUNNING, finished_at=None)
                | (~Q(state=TaskState.RUNNING) & Q(finished_at__isnull=False, lease_until=None)),
                name="task_is_finished_when_final",
            ),
            models.CheckConstraint(condition=Q(receipt_id__regex=r"^[0-9a-f]{32}$"), name="task_receipt_is_32_hex"),
        ]
        indexes = [
            # Read by the sweep every two seconds; open tasks are few.
            models.Index(fields=["lease_until"], condition=Q(state=TaskState.RUNNING), name="task_open"),
            # The number of open tasks of a wallet, and the next one.
            models.Index(
                fields=["actor", "created_at"], condition=Q(state=TaskState.RUNNING), name="task_open_of_actor"
            ),
            # Tasks that are deleted after a day.
            models.Index(
                fields=["finished_at"], condition=Q(kind__in=[TaskKind.PEEK, TaskKind.ECHO]), name="task_that_looked"
            ),
            models.Index(fields=["wallet", "-created_at"], name="task_of_wallet"),
            # For operators: all tasks, and those that failed.
            models.Index(fields=["-created_at", "-id"], name="task_newest"),
            models.Index(fields=["finished_at"], condition=Q(state=TaskState.ERROR), name="task_failed"),
            models.Index(fields=["listens_until"], condition=Q(listens_until__isnull=False), name="task_listening"),
            # For operators.
            models.Index(fields=["tag"], condition=~Q(tag=""), name="task_by_tag"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class Attempt(models.Model):
    """
    One command sent to up to 25 servers about one batch of a task's coins.

    Committed before the first byte is sent, and settled together with the changes that follow from its answers. One
    that was never settled was interrupted: any server may have executed it. `answers` has 25 entries: NULL if the
    server was not asked, a status from 0 up, or a negative `Unanswered`.

    `covering` is a batch-level mark: one `states.Mark` per server for all coins of the batch that the server had not
    been asked about before (in a put: and that it was known to accept). It saves writing the marks into each coin, and
    is empty once they are written there. Ended tasks do not use it.
    """

    class Unanswered(models.IntegerChoices):
        SENT = -1, "sent, no answer recorded"
        TIMEOUT = -2, "silent until the deadline"
        REFUSED = -3, "connection refused, nothing was sent"
        NETWORK = -4, "network error"
        MISMATCH = -5, "an answer to something else"
        GARBAGE = -6, "no RAIDA answer"
        GIVEN_UP = -7, "not waited for, because the others had settled it"
        # As GIVEN_UP, for a command that moves coins: the late answer is recorded here.
        AWAITED = -8, "not waited for, because the others had settled it; its late answer is recorded"

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(LockerTask, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    ordinal = models.IntegerField()
    number = models.IntegerField()
    command = models.CharField(max_length=20)
    batch = models.SmallIntegerField(default=0)
    answers = ArrayField(models.SmallIntegerField(null=True), size=25)
    covering = models.CharField(max_length=25, blank=True, default="", db_default="")
    sent_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "ordinal"], name="attempt_ordinal_is_unique"),
            models.CheckConstraint(condition=Q(answers__len=25), name="attempt_has_25_answers"),
            models.CheckConstraint(
                condition=Q(covering="") | Q(covering__regex=r"^[-pfngxoredb]{25}$"), name="attempt_covers_25_servers"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.command} of {self.task_id}"


class Turn(models.Model):
    """When a worker last took a task of this wallet: the order of turns of `lockers.fair_queue`."""

    wallet = models.OneToOneField(Wallet, on_delete=models.CASCADE, primary_key=True, related_name="+")
    served_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return str(self.wallet_id)


class Upload(models.Model):
    """The sealed files of an import, until a worker has read them."""

    id = models.OneToOneField(
        LockerTask, on_delete=models.CASCADE, primary_key=True, related_name="upload", db_column="id"
    )
    content = models.BinaryField()

    def __str__(self) -> str:
        return str(self.pk)


class Export(models.Model):
    """
    A file of coins for the owner of a wallet, made by the task of the same id.

    Its contents are its coins in the state EXPORTED. Each fetch builds the file from the sealed secrets of their rows;
    the file is never stored.
    """

    task = models.OneToOneField(LockerTask, on_delete=models.PROTECT, primary_key=True, related_name="export")
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="exports", db_index=False)
    type = models.CharField(max_length=5, choices=[(t, t) for t in FileType])
    file_name = models.CharField(max_length=200)
    coin_count = models.IntegerField()
    fetched = models.IntegerField(default=0)
    fetched_at = models.DateTimeField(null=True, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(type__in=list(FileType)), name="export_type_is_known"),
            models.CheckConstraint(condition=Q(coin_count__gt=0), name="export_has_coins"),
        ]
        indexes = [models.Index(fields=["wallet", "-created_at", "-task"], name="export_of_wallet")]

    def __str__(self) -> str:
        return self.file_name
