"""
The times of each 1,024 numbers of transfers, in place of one spread for all, for lists by time and with dates.

The counts of lists begin again, so that both have one checkpoint: until all transfers are counted, 100,000 a run of
five seconds, totals count the others, and lists by time are read whole. A process of the version before, which reads
the columns that are removed, answers lists by time with an error.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("transfers", "0007_approvals"),
        ("wallets", "0010_claim_link_acts"),
    ]

    operations = [
        migrations.DeleteModel(name="ListMark"),
        migrations.DeleteModel(name="ListTally"),
        migrations.CreateModel(
            name="ListMark",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
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
            name="ListSpan",
            fields=[
                ("span", models.BigIntegerField(primary_key=True, serialize=False)),
                ("newest_at", models.DateTimeField()),
                ("oldest_at", models.DateTimeField()),
                ("spread", models.DurationField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["newest_at", "span"], name="list_span_by_newest"),
                    models.Index(fields=["oldest_at", "span"], name="list_span_by_oldest"),
                ],
            },
        ),
    ]
