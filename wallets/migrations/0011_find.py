"""Indexes for the search of operators: by any part of a wallet's name, and by how a bearer token begins."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("wallets", "0010_claim_link_acts")]

    operations = [
        # A trusted extension: the owner of the database may create it.
        TrigramExtension(),
        migrations.AddIndex(
            model_name="bearertoken",
            index=models.Index(fields=["prefix"], name="bearer_token_by_prefix", opclasses=["varchar_pattern_ops"]),
        ),
        migrations.AddIndex(
            model_name="wallet",
            index=GinIndex(fields=["name_key"], name="wallet_by_part_of_name", opclasses=["gin_trgm_ops"]),
        ),
        migrations.AddIndex(
            model_name="wallet",
            index=GinIndex(
                condition=models.Q(("display_name", ""), _negated=True),
                fields=["display_name"],
                name="wallet_by_part_of_display",
                opclasses=["gin_trgm_ops"],
            ),
        ),
        migrations.AddIndex(
            model_name="wallet",
            index=models.Index(
                condition=models.Q(("display_name", ""), _negated=True),
                fields=["display_name"],
                include=("id",),
                name="wallet_by_display_name",
            ),
        ),
    ]
