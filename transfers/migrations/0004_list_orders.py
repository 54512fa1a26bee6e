"""Indexes of transfers that are not completed, by state. Creating them takes seconds for a million transfers."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("transfers", "0003_list_counts"),
        ("wallets", "0003_wallet_cover_url"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="transfer",
            name="transfer_undone_by_source",
        ),
        migrations.RemoveIndex(
            model_name="transfer",
            name="transfer_undone_by_destination",
        ),
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                condition=models.Q(("state", "completed"), _negated=True),
                fields=["source", "state", "number"],
                name="transfer_undone_by_source",
            ),
        ),
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                condition=models.Q(("state", "completed"), _negated=True),
                fields=["destination", "state", "number"],
                name="transfer_undone_by_destination",
            ),
        ),
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                condition=models.Q(
                    models.Q(("state", "completed"), _negated=True),
                    models.Q(("originator", models.F("source")), _negated=True),
                    models.Q(("originator", models.F("destination")), _negated=True),
                ),
                fields=["originator", "state", "number"],
                name="transfer_undone_by_originator",
            ),
        ),
    ]
