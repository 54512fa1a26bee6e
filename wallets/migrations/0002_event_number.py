"""The order of events."""

from django.db import migrations

FORWARDS = "CREATE SEQUENCE wallets_event_number OWNED BY wallets_event.number"
BACKWARDS = "DROP SEQUENCE wallets_event_number"


class Migration(migrations.Migration):
    dependencies = [("wallets", "0001_initial")]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
