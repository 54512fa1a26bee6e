"""The check of a transfer has an expression for each state, of which only those that are reached are prepared."""

from django.db import migrations

from wallets.sql_files import create_object, load


class Migration(migrations.Migration):
    dependencies = [("transfers", "0015_approved")]

    operations = [
        create_object(
            "transfers", "transfers_check_transfer__3", drop=load("transfers", "schema/transfers_check_transfer__2")
        ),
    ]
