"""
What the lists of a wallet count without counting (`transfers.list_counts`).

Until the first run, totals are counted; until all transfers are counted, 100,000 a run, totals count the others.
"""

import django.db.models.deletion
from django.db import migrations, models

from wallets.sql_files import create_object


def _wallet(*, is_indexed: bool) -> models.ForeignKey[models.Model]:
    return models.ForeignKey(
        db_constraint=False,
        db_index=is_indexed,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="wallets.wallet",
    )


class Migration(migrations.Migration):
    dependencies = [
        ("transfers", "0002_schema_objects"),
        ("trusts", "0003_trust_managers"),
        ("wallets", "0003_wallet_cover_url"),
    ]

    operations = [
        migrations.CreateModel(
            name="ListMark",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
                ("newest_at", models.DateTimeField(null=True)),
                ("spread", models.DurationField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="ListTally",
            fields=[
                (
                    "wallet",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="wallets.wallet",
                    ),
                ),
                ("own", models.BigIntegerField()),
                ("visible", models.BigIntegerField()),
                ("managed", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="ControlChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("holder", _wallet(is_indexed=True)),
                ("subject", _wallet(is_indexed=False)),
            ],
        ),
        create_object("transfers", "transfers_note_control", drop="DROP FUNCTION transfers_note_control()"),
        create_object("transfers", "trust_control_begins", drop="DROP TRIGGER trust_control_begins ON trusts_trust"),
        create_object("transfers", "trust_control_changes", drop="DROP TRIGGER trust_control_changes ON trusts_trust"),
    ]
