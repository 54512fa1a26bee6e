"""The chain of seals of settled history (`config.seals`)."""

import django.db.models.deletion
from django.db import migrations, models

from wallets.sql_files import create_object


class Migration(migrations.Migration):
    dependencies = [
        ("transfers", "0012_partitions"),
    ]

    operations = [
        migrations.CreateModel(
            name="Seal",
            fields=[
                ("height", models.BigIntegerField(primary_key=True, serialize=False)),
                ("format", models.SmallIntegerField()),
                ("previous", models.BinaryField(max_length=32)),
                ("root", models.BinaryField(max_length=32)),
                ("leaves", models.IntegerField()),
                ("sealed_at", models.DateTimeField()),
                ("hash", models.BinaryField(max_length=32, unique=True)),
                ("key_id", models.CharField(blank=True, max_length=16)),
                ("signature", models.BinaryField(blank=True, max_length=64)),
                ("secret", models.BinaryField(max_length=32)),
                ("transfers", models.BigIntegerField()),
                ("movements", models.BigIntegerField()),
                ("issues", models.BigIntegerField()),
                ("trust_changes", models.BigIntegerField()),
                ("statement_lines", models.BigIntegerField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["transfers", "height"], name="seal_by_transfers"),
                    models.Index(fields=["movements", "height"], name="seal_by_movements"),
                ],
            },
        ),
        migrations.CreateModel(
            name="SealMark",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("complete_at", models.DateTimeField()),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="seal_mark_is_one_row")],
            },
        ),
        migrations.CreateModel(
            name="LateTransfer",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "asked",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="transfers.seal",
                    ),
                ),
                (
                    "decided",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="transfers.seal",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["decided", "number"], name="late_transfer_by_decided")],
            },
        ),
        create_object("transfers", "seal_append_only", drop="DROP TRIGGER seal_append_only ON transfers_seal"),
    ]
