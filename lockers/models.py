"""
What the lockers app stores: coins, the lockers that were filled here, tasks and their attempts, statements.

Everything that is worth money and secret (authenticity numbers, proposed numbers, transmit
codes) is sealed by `lockers.vault` before it gets here. Amounts are integers of 10^-8 coin.
"""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length, Now, Replace

from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import (
    DOUBTFUL,
    HELD,
    SPENDABLE,
    STORED,
    CoinState,
    FileType,
    LineType,
    LockerState,
    Step,
    TaskKind,
    TaskState,
)
from wallets import request_id as tracing
from wallets.models import Wallet


class Locker(models.Model):
    """
    A locker that a wallet of this ledger filled.

    The servers cannot list lockers, so this row and its coins are the only memory of one. The
    locker's contents are its coins in the state LOCKED.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="lockers")
    state = models.CharField(max_length=10, default=LockerState.FILLING, choices=[(s, s) for s in LockerState])
    code = models.BinaryField()
    tag = models.CharField(max_length=250, blank=True)
    amount = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())
    # When servers that do not store its coins yet are asked again (`lockers.worker.repair`), and how often; NULL
    # when there is nothing left to ask.
    mend_at = models.DateTimeField(null=True, blank=True)
    mends = models.IntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(LockerState)), name="locker_state_is_known"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="locker_amount_is_positive"),
        ]
        indexes = [models.Index(fields=["mend_at"], condition=Q(mend_at__isnull=False), name="locker_to_mend")]

    def __str__(self) -> str:
        return str(self.id)


class LockerTask(models.Model):
    """
    One piece of work that talks to the servers, committed before the first byte leaves.

    `lease_until` says how long the worker of `attempt` may be trusted to be alive; whatever it
    writes carries that attempt number in the WHERE. NULL means that nobody works on it.
    `plan` holds what a restart needs to know and `result` what the caller is told; neither
    ever holds a secret.
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
    # When a worker was last told, so that a busy queue does not fill with repetitions.
    rung_at = models.DateTimeField(db_default=Now())
    # Every coin of it that is left waits for another claim to the same coin: no worker takes it, the sweep looks.
    is_parked = models.BooleanField(default=False, db_default=False)
    # Occupies a worker for longer than others should wait: not all workers do such tasks for one wallet.
    is_long = models.BooleanField(default=False, db_default=False)
    # Claims of others wait for the end of this one, which goes before its wallet's other tasks.
    is_wanted = models.BooleanField(default=False, db_default=False)
    # When the answer about this task told the transmit code for the first time.
    code_shown_at = models.DateTimeField(null=True, blank=True)
    plan = models.JSONField(default=dict, blank=True)
    result = models.JSONField(default=dict, blank=True)
    # Of the request that began it, for the log lines of whichever worker does it.
    request_id = models.CharField(max_length=tracing.LONGEST_REQUEST_ID, default=tracing.current_request_id, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)
    # As long as answers may come that the verdict did not wait for (`lockers.worker.listening`).
    listens_until = models.DateTimeField(null=True, blank=True)
    # The last later task that settled coins which this one had left open, and when: state, message and result have been
    # derived again then (`lockers.current_results`).
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    # When an operator saw it and left it as it is. NULL again as soon as anything about it changes.
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
            # What the sweep asks every two seconds; open tasks are few, so it stays tiny.
            models.Index(fields=["lease_until"], condition=Q(state=TaskState.RUNNING), name="task_open"),
            # How many a wallet has begun, and which is the next of each.
            models.Index(
                fields=["actor", "created_at"], condition=Q(state=TaskState.RUNNING), name="task_open_of_actor"
            ),
            # What is deleted after a day.
            models.Index(
                fields=["finished_at"], condition=Q(kind__in=[TaskKind.PEEK, TaskKind.ECHO]), name="task_that_looked"
            ),
            models.Index(fields=["wallet", "-created_at"], name="task_of_wallet"),
            # For operators: all tasks, and those that failed.
            models.Index(fields=["-created_at", "-id"], name="task_newest"),
            models.Index(fields=["finished_at"], condition=Q(state=TaskState.ERROR), name="task_failed"),
            models.Index(fields=["listens_until"], condition=Q(listens_until__isnull=False), name="task_listening"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class Turn(models.Model):
    """When a worker last took a task that this wallet had begun: wallets take turns."""

    wallet = models.OneToOneField(Wallet, on_delete=models.CASCADE, primary_key=True, related_name="+")
    served_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return str(self.wallet_id)


class Upload(models.Model):
    """The files of an import that a worker reads, sealed; deleted when it has."""

    id = models.OneToOneField(
        LockerTask, on_delete=models.CASCADE, primary_key=True, related_name="upload", db_column="id"
    )
    content = models.BinaryField()

    def __str__(self) -> str:
        return str(self.pk)


class Export(models.Model):
    """
    A file of coins that a wallet of this ledger was given, by the task of the same id.

    Its contents are its coins in the state EXPORTED. The file itself is made anew whenever it is
    fetched, from the secrets in their rows; nothing in clear is ever stored.
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


class Coin(models.Model):
    """
    One coin in one wallet's hands, now or once.

    `secrets` are the 25 authenticity numbers, sealed. While `pown` has the letter n for a
    server, that server may hold the number in `proposed` instead. `outcome` holds one
    `states.Mark` per server while a task is at work, and is empty otherwise.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="coins", db_index=False)
    denomination = models.SmallIntegerField()
    serial_number = models.BigIntegerField()
    state = models.CharField(max_length=11, choices=[(s, s) for s in CoinState])
    # How it came into this ledger: by an import, out of a locker, or out of a bigger coin.
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
    # A coin is in at most one open task, because there is one column for it.
    task = models.ForeignKey(
        LockerTask, on_delete=models.PROTECT, null=True, blank=True, related_name="coins", db_index=False
    )
    batch = models.SmallIntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=25, blank=True)
    locker = models.ForeignKey(
        Locker, on_delete=models.PROTECT, null=True, blank=True, related_name="coins", db_index=False
    )
    # The id of the coin that was to be broken: in its own row from the intent on, and in those of the ten.
    family = models.UUIDField(null=True, blank=True)
    # Back from a locker or a break that did not come about, after a silence: `proposed` holds fresh numbers, and it
    # becomes spendable when 13 servers have taken them, because no late request about the old ones can then succeed.
    releasing = models.BooleanField(default=False)
    export = models.ForeignKey(
        Export, on_delete=models.PROTECT, null=True, blank=True, related_name="coins", db_index=False
    )
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())
    # When 13 servers or more were last asked whether they accept it, while it was at rest.
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
            models.CheckConstraint(condition=Q(pown__regex=r"^[pfnuedb]{25}$"), name="coin_pown_has_25_letters"),
            models.CheckConstraint(
                condition=Q(outcome="", task=None, batch=None)
                | Q(outcome__regex=r"^[-pfngxoredb]{25}$", task__isnull=False, batch__isnull=False),
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
            # Counts and choices of free coins are answered from this index alone.
            models.Index(
                fields=["wallet", "denomination", "state", "id"],
                condition=Q(task=None, state__in=list(SPENDABLE)),
                name="coin_free",
            ),
            # A wallet's balance and contents come from this one, without a look at the rows.
            models.Index(fields=["wallet", "state", "denomination"], include=["task"], name="coin_of_wallet"),
            # What the sweep asks every two seconds.
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
            # Which coins the clock checks next.
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


class Attempt(models.Model):
    """
    One command put to up to 25 servers about one batch of a task's coins.

    Committed before the first byte, settled together with what its answers changed. One that
    was never settled was cut off: what it asked for may have happened on any server.
    `answers` has 25 entries: NULL was not asked, a status from 0 up, or an `Unanswered` below 0.

    `covering` has one `states.Mark` per server, and says what the attempt made of every coin of the batch that the
    server had not been asked about before (by a put: and that it was known to accept), as long as the coins' own marks
    do not say so. To write them would cost more than all the rest. It is empty where they do; of a task that has
    ended nobody reads it any more.
    """

    class Unanswered(models.IntegerChoices):
        SENT = -1, "sent, no answer recorded"
        TIMEOUT = -2, "silent until the deadline"
        REFUSED = -3, "connection refused, nothing was sent"
        NETWORK = -4, "network error"
        MISMATCH = -5, "an answer to something else"
        GARBAGE = -6, "no RAIDA answer"
        GIVEN_UP = -7, "not waited for, because the others had settled it"
        # The same of a command that moves coins: what becomes of it is written down here.
        AWAITED = -8, "not waited for yet, because the others had settled it"

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


class ReceiptLine(models.Model):
    """
    What became of one coin in one finished task, written with the task's last step.

    `state` never changes, and of `pown` only letters of servers that are heard after the verdict. A coin that was left
    open (`states.DOUBTFUL`) has in `became` what a later task came to know of it; `settled_by` is the one by which it
    is open no more.
    """

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(LockerTask, on_delete=models.PROTECT, related_name="receipt_lines")
    denomination = models.SmallIntegerField()
    serial_number = models.BigIntegerField()
    pown = models.CharField(max_length=25)
    state = models.CharField(max_length=11, choices=[(s, s) for s in CoinState])
    # NULL, and not a text, as long as nothing more is known: SQL falls back to `state`.
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
            # Few are open at any time: what a later task settles of them, and which tasks need somebody.
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


class Account(models.Model):
    """
    What a wallet's statement comes to: the sum of its lines, and how many there are.

    The balance is the value of all its bank and fracked coins, those included that a task has
    reserved but not moved yet. Its row is locked last in a transaction, and orders the lines.
    """

    wallet = models.OneToOneField(Wallet, on_delete=models.PROTECT, primary_key=True, related_name="locker_account")
    # A hundred thousand of the largest coins are more units than 64 bits can count.
    balance = models.DecimalField(max_digits=30, decimal_places=0)
    lines = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(balance__gte=0), name="account_is_never_overdrawn"),
        ]

    def __str__(self) -> str:
        return str(self.wallet_id)


class StatementLine(models.Model):
    """
    One change of a wallet's balance, written in the transaction that makes the change, and never altered.

    `number` counts from 1 without a gap in each wallet, in the order of commits.
    """

    id = models.BigAutoField(primary_key=True)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="statement_lines", db_index=False)
    number = models.BigIntegerField()
    task = models.ForeignKey(LockerTask, on_delete=models.PROTECT, related_name="statement_lines")
    type = models.CharField(max_length=13, choices=[(t, t) for t in LineType])
    amount = models.DecimalField(max_digits=30, decimal_places=0)
    running_balance = models.DecimalField(max_digits=30, decimal_places=0)
    # The other wallet of a transfer.
    other_wallet = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(type__in=list(LineType)), name="line_type_is_known"),
            models.CheckConstraint(condition=~Q(amount=0), name="line_changes_the_balance"),
            models.CheckConstraint(condition=Q(running_balance__gte=0, number__gte=1), name="line_leaves_no_debt"),
            models.UniqueConstraint(fields=["wallet", "number"], name="line_number_is_unique_in_a_wallet"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.number}"


class ServerHealth(models.Model):
    """
    A server that fell silent lately: a hint for whom to spare, never a reason for anything else.

    `silences` counts those one after the other; 0 is one that was given up on and not asked since.
    """

    raida = models.SmallIntegerField(primary_key=True)
    silences = models.IntegerField(default=0)
    silent_since = models.DateTimeField(db_default=Now())
    rest_until = models.DateTimeField(null=True, blank=True)
    probed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(raida__gte=0, raida__lt=RAIDA_COUNT), name="server_is_one_of_25"),
        ]

    def __str__(self) -> str:
        return f"RAIDA {self.raida}"


class ServerReading(models.Model):
    """What a server said to the last regular echo, for operators: nothing is decided by it."""

    raida = models.SmallIntegerField(primary_key=True)
    asked_at = models.DateTimeField(db_default=Now())
    # "answered", or why the silence (`network.SilenceReason`).
    outcome = models.CharField(max_length=10)
    # Of the last answer, which may be older than the last question.
    answered_at = models.DateTimeField(null=True, blank=True)
    latency_ms = models.IntegerField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(raida__gte=0, raida__lt=RAIDA_COUNT), name="reading_is_of_one_of_25"),
        ]

    def __str__(self) -> str:
        return f"RAIDA {self.raida}: {self.outcome}"
