"""Approvals are checked with the other rules of a transfer: each statement would parse the condition of a trigger."""

from django.db import migrations

from wallets.sql_files import create_object, load


class Migration(migrations.Migration):
    dependencies = [("transfers", "0014_lists")]

    operations = [
        create_object(
            "transfers",
            "transfers_check_transfer__2",
            drop=load("transfers", "schema/transfers_check_transfer").replace(
                "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
            ),
        ),
        create_object("transfers", "transfer_approved__2", drop=load("transfers", "schema/transfer_approved")),
    ]
