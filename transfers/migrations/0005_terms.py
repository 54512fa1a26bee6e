from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Q

from wallets.sql_files import create_object, load


def wallet_of_terms() -> "models.ForeignKey[Any, Any]":
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="wallets.wallet",
    )


class Migration(migrations.Migration):
    dependencies = [("transfers", "0004_list_orders"), ("wallets", "0004_long_about")]

    operations = [
        migrations.AddField(
            model_name="transfer", name="expires_at", field=models.DateTimeField(blank=True, null=True)
        ),
        migrations.AddField(model_name="transfer", name="has_terms", field=models.BooleanField(blank=True, null=True)),
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                condition=Q(("expires_at__isnull", False), ("state__in", ["requested", "pending"])),
                fields=["expires_at"],
                name="transfer_open_by_expiry",
            ),
        ),
        create_object(
            "transfers",
            "transfer_terms_fixed__2",
            drop=load("transfers", "schema/transfer_terms_fixed").replace(
                "CREATE TRIGGER", "CREATE OR REPLACE TRIGGER"
            ),
        ),
        migrations.CreateModel(
            name="TransferTerms",
            fields=[
                (
                    "transfer",
                    models.OneToOneField(
                        db_column="transfer_number",
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="terms",
                        serialize=False,
                        to="transfers.transfer",
                        to_field="number",
                    ),
                ),
                ("originator", wallet_of_terms()),
                ("source", wallet_of_terms()),
                ("destination", wallet_of_terms()),
                ("reference", models.CharField(blank=True, db_default="", max_length=255)),
                ("unique_reference", models.BooleanField()),
                ("metadata", models.JSONField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(condition=~Q(reference=""), fields=["source", "reference"], name="terms_by_source"),
                    models.Index(
                        condition=~Q(reference=""), fields=["destination", "reference"], name="terms_by_destination"
                    ),
                    models.Index(
                        condition=~Q(reference="") & ~Q(originator=F("source")) & ~Q(originator=F("destination")),
                        fields=["originator", "reference"],
                        name="terms_by_originator",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(unique_reference=True),
                        fields=("originator", "reference"),
                        name="terms_reference_is_used_once",
                    ),
                ],
            },
        ),
        create_object(
            "transfers", "terms_append_only", drop="DROP TRIGGER terms_append_only ON transfers_transferterms"
        ),
        create_object(
            "transfers", "transfers_terms_labels", drop="DROP FUNCTION transfers_terms_labels(jsonb, VARIADIC uuid[])"
        ),
        create_object("transfers", "terms_by_metadata", drop="DROP INDEX terms_by_metadata"),
    ]
