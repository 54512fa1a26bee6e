import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [("wallets", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="DayTally",
            fields=[
                ("day", models.DateField(primary_key=True, serialize=False)),
                ("transfers", models.BigIntegerField()),
                ("tokens", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="OutcomeTally",
            fields=[
                ("outcome", models.CharField(max_length=9, primary_key=True, serialize=False)),
                ("transfers", models.BigIntegerField()),
                ("number", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="TallyMark",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="TokenTally",
            fields=[
                (
                    "wallet",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=models.PROTECT,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="wallets.wallet",
                    ),
                ),
                ("tokens", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Issue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tokens", models.BigIntegerField()),
                ("issued_at", models.DateTimeField()),
                (
                    "wallet",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="TallyDelta",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tokens", models.IntegerField()),
                (
                    "wallet",
                    models.ForeignKey(
                        db_constraint=False, on_delete=models.PROTECT, related_name="+", to="wallets.wallet"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Transfer",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("number", models.BigIntegerField(editable=False, unique=True)),
                ("parameters", models.JSONField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("requested", "Requested"),
                            ("pending", "Pending"),
                            ("completed", "Completed"),
                            ("cancelled", "Cancelled"),
                            ("failed", "Failed"),
                        ],
                        max_length=9,
                    ),
                ),
                ("token_count", models.IntegerField()),
                ("reserved_count", models.IntegerField()),
                ("moved_count", models.IntegerField()),
                ("created_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "closed_event",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("accept", "Accept"),
                            ("fulfill", "Fulfill"),
                            ("decline", "Decline"),
                            ("delete", "Delete"),
                            ("expire", "Expire"),
                        ],
                        max_length=7,
                    ),
                ),
                (
                    "closed_from",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("requested", "Requested"),
                            ("pending", "Pending"),
                            ("completed", "Completed"),
                            ("cancelled", "Cancelled"),
                            ("failed", "Failed"),
                        ],
                        db_default="",
                        max_length=9,
                    ),
                ),
                (
                    "closed_by",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
                (
                    "destination",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
                (
                    "originator",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["source", "number"], name="transfer_by_source"),
                    models.Index(fields=["destination", "number"], name="transfer_by_destination"),
                    models.Index(
                        condition=models.Q(
                            models.Q(("originator", models.F("source")), _negated=True),
                            models.Q(("originator", models.F("destination")), _negated=True),
                        ),
                        fields=["originator", "number"],
                        name="transfer_by_originator",
                    ),
                    models.Index(
                        condition=models.Q(("state", "completed"), _negated=True),
                        fields=["source", "number"],
                        name="transfer_undone_by_source",
                    ),
                    models.Index(
                        condition=models.Q(("state", "completed"), _negated=True),
                        fields=["destination", "number"],
                        name="transfer_undone_by_destination",
                    ),
                    models.Index(
                        condition=models.Q(("state", "pending")), fields=["source"], name="transfer_pending_by_source"
                    ),
                    models.Index(
                        condition=models.Q(("state__in", ["requested", "pending"])),
                        fields=["created_at"],
                        include=("state", "token_count", "reserved_count"),
                        name="transfer_open_by_age",
                    ),
                    models.Index(
                        condition=models.Q(
                            models.Q(("state", "completed"), _negated=True),
                            models.Q(("closed_event", ""), _negated=True),
                            _connector="OR",
                        ),
                        fields=["created_at", "state"],
                        name="transfer_slow_by_day",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Movement",
            fields=[
                ("id", models.BigIntegerField(editable=False, primary_key=True, serialize=False)),
                ("number", models.IntegerField()),
                ("processed_at", models.DateTimeField()),
                (
                    "destination",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
                (
                    "token",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.PROTECT,
                        related_name="movements",
                        to="wallets.token",
                    ),
                ),
                (
                    "transfer",
                    models.ForeignKey(
                        blank=True,
                        db_column="transfer_number",
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="movements",
                        to="transfers.transfer",
                        to_field="number",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("transfer__isnull", False)),
                        fields=["transfer"],
                        name="movement_by_transfer",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("token", "number"), name="movement_once_per_number"),
                ],
            },
        ),
    ]
