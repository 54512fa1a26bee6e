"""Transfers that were not closed when they were created, by the time of closing, for lists."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("transfers", "0013_seals"),
        ("wallets", "0020_audit_scope"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                condition=models.Q(
                    ("closed_at__gt", models.F("created_at")),
                    ("closed_at__lt", models.F("created_at")),
                    _connector="OR",
                ),
                fields=["source", "closed_at", "number"],
                name="transfer_closed_by_source",
            ),
        ),
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                condition=models.Q(
                    ("closed_at__gt", models.F("created_at")),
                    ("closed_at__lt", models.F("created_at")),
                    _connector="OR",
                ),
                fields=["destination", "closed_at", "number"],
                name="transfer_closed_by_destination",
            ),
        ),
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                condition=models.Q(
                    models.Q(
                        ("closed_at__gt", models.F("created_at")),
                        ("closed_at__lt", models.F("created_at")),
                        _connector="OR",
                    ),
                    models.Q(("originator", models.F("source")), _negated=True),
                    models.Q(("originator", models.F("destination")), _negated=True),
                ),
                fields=["originator", "closed_at", "number"],
                name="transfer_closed_by_originator",
            ),
        ),
    ]
