"""Pseudonymising a closed wallet: its name in events and in the operators' log may be replaced."""

from django.db import migrations

from wallets.sql_files import create_object, load


def _replaced(name: str) -> str:
    return load("wallets", f"schema/{name}").replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER")


class Migration(migrations.Migration):
    dependencies = [
        ("wallets", "0014_newest_first"),
    ]

    operations = [
        create_object("wallets", "event_append_only__2", drop=_replaced("event_append_only")),
        create_object("wallets", "event_pseudonymised", drop="DROP TRIGGER event_pseudonymised ON wallets_event"),
        create_object("wallets", "operatoraction_append_only__2", drop=_replaced("operatoraction_append_only")),
        create_object(
            "wallets",
            "operatoraction_pseudonymised",
            drop="DROP TRIGGER operatoraction_pseudonymised ON wallets_operatoraction",
        ),
    ]
