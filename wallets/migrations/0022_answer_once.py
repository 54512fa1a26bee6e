"""The function decides when a key is looked up: each statement would parse a condition of the trigger."""

from django.db import migrations

from wallets.sql_files import create_object, load


class Migration(migrations.Migration):
    dependencies = [("wallets", "0021_events_by_time")]

    operations = [
        create_object(
            "wallets",
            "wallets_answer_once__2",
            drop=load("wallets", "schema/wallets_answer_once").replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
        ),
        create_object(
            "wallets",
            "idempotentanswer_once__2",
            drop=load("wallets", "schema/idempotentanswer_once").replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER"),
        ),
    ]
