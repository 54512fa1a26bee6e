import uuid

import django.contrib.postgres.fields
import django.db.models.expressions
import django.db.models.functions.text
from django.db import migrations, models
from django.db.models.functions import Now

import wallets.request_id

KINDS = ["put", "take", "peek", "import", "find", "break", "fix", "health", "echo", "export", "transfer"]
TASK_STATES = ["running", "completed", "error"]
STEPS = [
    "reserved", "reading", "waiting", "peeking", "finding", "breaking", "healing", "sending", "asking", "returning",
    "checking", "releasing", "done",
]  # fmt: skip
LOCKER_STATES = ["filling", "filled", "unknown", "failed", "emptied"]
COIN_STATES = [
    "waiting", "incoming", "bank", "fracked", "limbo", "counterfeit", "errored", "locked", "exported", "sent",
    "change", "broken", "void", "missed",
]  # fmt: skip
LINE_TYPES = ["PutToLocker", "GetFromLocker", "Imported", "Exported", "TransferIn", "TransferOut", "Adjustment"]
FILE_TYPES = ["bin", "png", "stack", "zip"]
ORIGINS = ["import", "take", "break"]


def pairs(values: list[str]) -> list[tuple[str, str]]:
    return [(value, value) for value in values]


class Migration(migrations.Migration):
    initial = True

    dependencies = [("wallets", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="LockerTask",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(choices=pairs(KINDS), max_length=8)),
                ("state", models.CharField(choices=pairs(TASK_STATES), default="running", max_length=10)),
                ("step", models.CharField(choices=pairs(STEPS), default="reserved", max_length=10)),
                ("progress", models.SmallIntegerField(default=0)),
                ("message", models.TextField(blank=True)),
                ("tag", models.CharField(blank=True, max_length=250)),
                ("amount", models.BigIntegerField(blank=True, null=True)),
                ("code", models.BinaryField(blank=True, null=True)),
                ("receipt_id", models.CharField(max_length=32, unique=True)),
                ("attempt", models.IntegerField(default=0)),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("deadline", models.DateTimeField()),
                ("rung_at", models.DateTimeField(db_default=Now())),
                ("is_parked", models.BooleanField(db_default=False, default=False)),
                ("is_long", models.BooleanField(db_default=False, default=False)),
                ("is_wanted", models.BooleanField(db_default=False, default=False)),
                ("code_shown_at", models.DateTimeField(blank=True, null=True)),
                ("plan", models.JSONField(blank=True, default=dict)),
                ("result", models.JSONField(blank=True, default=dict)),
                (
                    "request_id",
                    models.CharField(blank=True, default=wallets.request_id.current_request_id, max_length=64),
                ),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("listens_until", models.DateTimeField(blank=True, null=True)),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
                ("seen_at", models.DateTimeField(blank=True, null=True)),
                (
                    "actor",
                    models.ForeignKey(db_index=False, on_delete=models.PROTECT, related_name="+", to="wallets.wallet"),
                ),
                (
                    "settled_by",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="lockers.lockertask",
                    ),
                ),
                (
                    "wallet",
                    models.ForeignKey(on_delete=models.PROTECT, related_name="locker_tasks", to="wallets.wallet"),
                ),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("state", "running")), fields=["lease_until"], name="task_open"),
                    models.Index(
                        condition=models.Q(("state", "running")),
                        fields=["actor", "created_at"],
                        name="task_open_of_actor",
                    ),
                    models.Index(
                        condition=models.Q(("kind__in", ["peek", "echo"])),
                        fields=["finished_at"],
                        name="task_that_looked",
                    ),
                    models.Index(fields=["wallet", "-created_at"], name="task_of_wallet"),
                    models.Index(fields=["-created_at", "-id"], name="task_newest"),
                    models.Index(condition=models.Q(("state", "error")), fields=["finished_at"], name="task_failed"),
                    models.Index(
                        condition=models.Q(("listens_until__isnull", False)),
                        fields=["listens_until"],
                        name="task_listening",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("kind__in", KINDS)), name="task_kind_is_known"),
                    models.CheckConstraint(condition=models.Q(("state__in", TASK_STATES)), name="task_state_is_known"),
                    models.CheckConstraint(condition=models.Q(("step__in", STEPS)), name="task_step_is_known"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("progress", 100), ("state", "completed")),
                            models.Q(
                                models.Q(("state", "completed"), _negated=True),
                                ("progress__gte", 0),
                                ("progress__lt", 100),
                            ),
                            _connector="OR",
                        ),
                        name="task_progress_is_100_only_when_completed",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at", None), ("state", "running")),
                            models.Q(
                                models.Q(("state", "running"), _negated=True),
                                ("finished_at__isnull", False),
                                ("lease_until", None),
                            ),
                            _connector="OR",
                        ),
                        name="task_is_finished_when_final",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("receipt_id__regex", "^[0-9a-f]{32}$")), name="task_receipt_is_32_hex"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Locker",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("state", models.CharField(choices=pairs(LOCKER_STATES), default="filling", max_length=10)),
                ("code", models.BinaryField()),
                ("tag", models.CharField(blank=True, max_length=250)),
                ("amount", models.BigIntegerField()),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("changed_at", models.DateTimeField(db_default=Now())),
                ("mend_at", models.DateTimeField(blank=True, null=True)),
                ("mends", models.IntegerField(db_default=0, default=0)),
                ("wallet", models.ForeignKey(on_delete=models.PROTECT, related_name="lockers", to="wallets.wallet")),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("mend_at__isnull", False)), fields=["mend_at"], name="locker_to_mend"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", LOCKER_STATES)), name="locker_state_is_known"
                    ),
                    models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="locker_amount_is_positive"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Turn",
            fields=[
                (
                    "wallet",
                    models.OneToOneField(
                        on_delete=models.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="wallets.wallet",
                    ),
                ),
                ("served_at", models.DateTimeField(db_default=Now())),
            ],
        ),
        migrations.CreateModel(
            name="Account",
            fields=[
                (
                    "wallet",
                    models.OneToOneField(
                        on_delete=models.PROTECT,
                        primary_key=True,
                        related_name="locker_account",
                        serialize=False,
                        to="wallets.wallet",
                    ),
                ),
                ("balance", models.DecimalField(decimal_places=0, max_digits=30)),
                ("lines", models.BigIntegerField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("balance__gte", 0)), name="account_is_never_overdrawn")
                ]
            },
        ),
        migrations.CreateModel(
            name="Upload",
            fields=[
                (
                    "id",
                    models.OneToOneField(
                        db_column="id",
                        on_delete=models.CASCADE,
                        primary_key=True,
                        related_name="upload",
                        serialize=False,
                        to="lockers.lockertask",
                    ),
                ),
                ("content", models.BinaryField()),
            ],
        ),
        migrations.AddField(
            model_name="lockertask",
            name="locker",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=models.PROTECT, related_name="tasks", to="lockers.locker"
            ),
        ),
        migrations.CreateModel(
            name="ReceiptLine",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("denomination", models.SmallIntegerField()),
                ("serial_number", models.BigIntegerField()),
                ("pown", models.CharField(max_length=25)),
                ("state", models.CharField(choices=pairs(COIN_STATES), max_length=11)),
                ("became", models.CharField(blank=True, choices=pairs(COIN_STATES), max_length=11, null=True)),
                (
                    "settled_by",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="lockers.lockertask",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(on_delete=models.PROTECT, related_name="receipt_lines", to="lockers.lockertask"),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("settled_by", None), ("state__in", ["limbo", "errored"])),
                        fields=["denomination", "serial_number"],
                        name="receipt_line_open",
                    ),
                    models.Index(
                        condition=models.Q(("settled_by", None), ("state__in", ["limbo", "errored"])),
                        fields=["task"],
                        name="receipt_line_open_of_task",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        models.F("task"),
                        models.F("denomination"),
                        models.F("serial_number"),
                        name="receipt_names_a_coin_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("became", None), ("settled_by", None)),
                            models.Q(
                                ("became__in", ["limbo", "errored"]),
                                ("settled_by", None),
                                ("state__in", ["limbo", "errored"]),
                            ),
                            models.Q(
                                ("became__isnull", False),
                                ("settled_by__isnull", False),
                                ("state__in", ["limbo", "errored"]),
                            ),
                            _connector="OR",
                        ),
                        name="receipt_line_became_something_later",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ServerHealth",
            fields=[
                ("raida", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("silences", models.IntegerField(default=0)),
                ("silent_since", models.DateTimeField(db_default=Now())),
                ("rest_until", models.DateTimeField(blank=True, null=True)),
                ("probed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("raida__gte", 0), ("raida__lt", 25)), name="server_is_one_of_25"
                    )
                ]
            },
        ),
        migrations.CreateModel(
            name="ServerReading",
            fields=[
                ("raida", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("asked_at", models.DateTimeField(db_default=Now())),
                ("outcome", models.CharField(max_length=10)),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                ("latency_ms", models.IntegerField(blank=True, null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("raida__gte", 0), ("raida__lt", 25)), name="reading_is_of_one_of_25"
                    )
                ]
            },
        ),
        migrations.CreateModel(
            name="StatementLine",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
                ("type", models.CharField(choices=pairs(LINE_TYPES), max_length=13)),
                ("amount", models.DecimalField(decimal_places=0, max_digits=30)),
                ("running_balance", models.DecimalField(decimal_places=0, max_digits=30)),
                ("created_at", models.DateTimeField(db_default=Now())),
                (
                    "other_wallet",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        on_delete=models.PROTECT, related_name="statement_lines", to="lockers.lockertask"
                    ),
                ),
                (
                    "wallet",
                    models.ForeignKey(
                        db_index=False, on_delete=models.PROTECT, related_name="statement_lines", to="wallets.wallet"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("type__in", LINE_TYPES)), name="line_type_is_known"),
                    models.CheckConstraint(
                        condition=models.Q(("amount", 0), _negated=True), name="line_changes_the_balance"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("number__gte", 1), ("running_balance__gte", 0)), name="line_leaves_no_debt"
                    ),
                    models.UniqueConstraint(fields=("wallet", "number"), name="line_number_is_unique_in_a_wallet"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Export",
            fields=[
                (
                    "task",
                    models.OneToOneField(
                        on_delete=models.PROTECT,
                        primary_key=True,
                        related_name="export",
                        serialize=False,
                        to="lockers.lockertask",
                    ),
                ),
                ("type", models.CharField(choices=pairs(FILE_TYPES), max_length=5)),
                ("file_name", models.CharField(max_length=200)),
                ("coin_count", models.IntegerField()),
                ("fetched", models.IntegerField(default=0)),
                ("fetched_at", models.DateTimeField(blank=True, null=True)),
                ("confirmed_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                (
                    "wallet",
                    models.ForeignKey(
                        db_index=False, on_delete=models.PROTECT, related_name="exports", to="wallets.wallet"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["wallet", "-created_at", "-task"], name="export_of_wallet"),
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("type__in", FILE_TYPES)), name="export_type_is_known"),
                    models.CheckConstraint(condition=models.Q(("coin_count__gt", 0)), name="export_has_coins"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Coin",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("denomination", models.SmallIntegerField()),
                ("serial_number", models.BigIntegerField()),
                ("state", models.CharField(choices=pairs(COIN_STATES), max_length=11)),
                ("origin", models.CharField(choices=pairs(ORIGINS), max_length=8)),
                ("pown", models.CharField(default="uuuuuuuuuuuuuuuuuuuuuuuuu", max_length=25)),
                (
                    "passes",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.db.models.expressions.CombinedExpression(
                            django.db.models.functions.text.Length("pown"),
                            "-",
                            django.db.models.functions.text.Length(
                                django.db.models.functions.text.Replace("pown", models.Value("p"), models.Value(""))
                            ),
                        ),
                        output_field=models.IntegerField(),
                    ),
                ),
                ("secrets", models.BinaryField()),
                ("proposed", models.BinaryField(blank=True, null=True)),
                ("batch", models.SmallIntegerField(blank=True, null=True)),
                ("outcome", models.CharField(blank=True, max_length=25)),
                ("family", models.UUIDField(blank=True, null=True)),
                ("releasing", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("changed_at", models.DateTimeField(db_default=Now())),
                ("checked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "wallet",
                    models.ForeignKey(
                        db_index=False, on_delete=models.PROTECT, related_name="coins", to="wallets.wallet"
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="coins",
                        to="lockers.lockertask",
                    ),
                ),
                (
                    "locker",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="coins",
                        to="lockers.locker",
                    ),
                ),
                (
                    "export",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="coins",
                        to="lockers.export",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state__in", ["bank", "fracked"]), ("task", None)),
                        fields=["wallet", "denomination", "state", "id"],
                        name="coin_free",
                    ),
                    models.Index(fields=["wallet", "state", "denomination"], include=("task",), name="coin_of_wallet"),
                    models.Index(
                        condition=models.Q(("state__in", ["limbo", "errored"]), ("task", None)),
                        fields=["wallet", "changed_at"],
                        name="coin_in_doubt",
                    ),
                    models.Index(
                        condition=models.Q(("passes__lt", 25), ("state__in", ["bank", "fracked"]), ("task", None)),
                        fields=["wallet", "changed_at"],
                        name="coin_to_heal",
                    ),
                    models.Index(
                        models.OrderBy(models.F("checked_at"), nulls_first=True),
                        condition=models.Q(("state__in", ["bank", "fracked", "locked"]), ("task", None)),
                        name="coin_to_check",
                    ),
                    models.Index(
                        condition=models.Q(("family__isnull", False)), fields=["family"], name="coin_of_family"
                    ),
                    models.Index(
                        condition=models.Q(("task__isnull", False)), fields=["task", "batch", "id"], name="coin_of_task"
                    ),
                    models.Index(
                        condition=models.Q(("locker__isnull", False)), fields=["locker", "state"], name="coin_of_locker"
                    ),
                    models.Index(
                        condition=models.Q(("export__isnull", False)),
                        fields=["export", "state", "id"],
                        name="coin_of_export",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("state__in", COIN_STATES)), name="coin_state_is_known"),
                    models.CheckConstraint(
                        condition=models.Q(("denomination__gte", -8), ("denomination__lte", 6)),
                        name="coin_denomination_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("serial_number__gte", 0), ("serial_number__lt", 4294967296)),
                        name="coin_serial_number_fits_32_bits",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("pown__regex", "^[pfnuedb]{25}$")), name="coin_pown_has_25_letters"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("batch", None), ("outcome", ""), ("task", None)),
                            models.Q(
                                ("batch__isnull", False),
                                ("outcome__regex", "^[-pfngxoredb]{25}$"),
                                ("task__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="coin_outcome_belongs_to_a_task",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ["bank", "fracked"]), _negated=True),
                            ("passes__gte", 13),
                            _connector="OR",
                        ),
                        name="coin_is_spendable_with_13_passes",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["incoming", "bank", "fracked", "limbo", "errored", "change", "waiting"]),
                            ("task", None),
                            _connector="OR",
                        ),
                        name="coin_in_a_task_is_held",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ["incoming", "waiting"]), _negated=True),
                            ("task__isnull", False),
                            _connector="OR",
                        ),
                        name="coin_incoming_has_a_task",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ["change", "broken", "void"]), _negated=True),
                            ("family__isnull", False),
                            _connector="OR",
                        ),
                        name="coin_of_a_break_has_a_family",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "locked"), _negated=True), ("locker__isnull", False), _connector="OR"
                        ),
                        name="coin_locked_has_a_locker",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "exported"), _negated=True), ("export__isnull", False), _connector="OR"
                        ),
                        name="coin_exported_has_an_export",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(
                            ("state__in", ["incoming", "bank", "fracked", "limbo", "errored", "change"])
                        ),
                        fields=("denomination", "serial_number"),
                        name="coin_is_held_once",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "waiting")),
                        fields=("denomination", "serial_number", "wallet"),
                        name="coin_is_waited_for_once_by_a_wallet",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ["locked", "exported"])),
                        fields=("denomination", "serial_number"),
                        name="coin_is_in_one_locker_or_file",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("ordinal", models.IntegerField()),
                ("number", models.IntegerField()),
                ("command", models.CharField(max_length=20)),
                ("batch", models.SmallIntegerField(default=0)),
                (
                    "answers",
                    django.contrib.postgres.fields.ArrayField(base_field=models.SmallIntegerField(null=True), size=25),
                ),
                ("covering", models.CharField(blank=True, db_default="", default="", max_length=25)),
                ("sent_at", models.DateTimeField(db_default=Now())),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "task",
                    models.ForeignKey(
                        db_index=False, on_delete=models.CASCADE, related_name="attempts", to="lockers.lockertask"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("task", "ordinal"), name="attempt_ordinal_is_unique"),
                    models.CheckConstraint(condition=models.Q(("answers__len", 25)), name="attempt_has_25_answers"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("covering", ""), ("covering__regex", "^[-pfngxoredb]{25}$"), _connector="OR"
                        ),
                        name="attempt_covers_25_servers",
                    ),
                ]
            },
        ),
    ]
