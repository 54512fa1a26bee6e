"""A function counts the free tokens for a request, and the checks of movements and tokens have short expressions."""

from django.db import migrations

from wallets.sql_files import create_object, load


class Migration(migrations.Migration):
    dependencies = [("transfers", "0016_check_transfer")]

    operations = [
        create_object(
            "transfers",
            "transfers_count_available",
            drop="DROP FUNCTION transfers_count_available(uuid, integer)",
        ),
        *(
            create_object(
                "transfers",
                f"{name}__2",
                drop=load("transfers", f"schema/{name}").replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
            )
            for name in ("transfers_check_movement", "transfers_check_token")
        ),
    ]
