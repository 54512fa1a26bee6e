"""What of statements, receipts and accounts never changes."""

from django.db import migrations

from wallets.sql_files import create_object


class Migration(migrations.Migration):
    dependencies = [("lockers", "0001_initial"), ("wallets", "0002_schema_objects")]

    operations = [
        create_object("lockers", "account_kept", drop="DROP TRIGGER account_kept ON lockers_account"),
        create_object(
            "lockers",
            "statementline_append_only",
            drop="DROP TRIGGER statementline_append_only ON lockers_statementline",
        ),
        create_object("lockers", "receiptline_kept", drop="DROP TRIGGER receiptline_kept ON lockers_receiptline"),
        create_object(
            "lockers", "receiptline_append_only", drop="DROP TRIGGER receiptline_append_only ON lockers_receiptline"
        ),
        create_object(
            "lockers", "receiptline_settled_once", drop="DROP TRIGGER receiptline_settled_once ON lockers_receiptline"
        ),
    ]
