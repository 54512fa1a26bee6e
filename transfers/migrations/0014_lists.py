"""Transfers that were not closed when they were created, by the time of closing, for lists."""

from django.db import migrations, models
from django.db.models import F, Q

_IS_APART = Q(closed_at__gt=F("created_at")) | Q(closed_at__lt=F("created_at"))


class Migration(migrations.Migration):
    dependencies = [
        ("transfers", "0013_seals"),
        ("wallets", "0020_audit_scope"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                condition=_IS_APART & only,
                fields=[party, "closed_at", "number"],
                name=f"transfer_closed_by_{party}",
            ),
        )
        for party, only in (
            ("source", Q()),
            ("destination", Q()),
            ("originator", ~Q(originator=F("source")) & ~Q(originator=F("destination"))),
        )
    ]
