"""The order of events, and what never changes."""

from django.db import migrations

from wallets.sql_files import create_object


class Migration(migrations.Migration):
    dependencies = [("wallets", "0001_initial")]

    operations = [
        create_object("wallets", "coppice_refuse", drop="DROP FUNCTION coppice_refuse()"),
        create_object("wallets", "wallets_event_number", drop="DROP SEQUENCE wallets_event_number"),
        create_object("wallets", "event_append_only", drop="DROP TRIGGER event_append_only ON wallets_event"),
        create_object("wallets", "wallet_kept", drop="DROP TRIGGER wallet_kept ON wallets_wallet"),
        create_object("wallets", "wallet_created_once", drop="DROP TRIGGER wallet_created_once ON wallets_wallet"),
        create_object(
            "wallets",
            "operatoraction_append_only",
            drop="DROP TRIGGER operatoraction_append_only ON wallets_operatoraction",
        ),
        create_object("wallets", "auditrun_final", drop="DROP TRIGGER auditrun_final ON wallets_auditrun"),
        create_object("wallets", "auditrun_kept", drop="DROP TRIGGER auditrun_kept ON wallets_auditrun"),
    ]
