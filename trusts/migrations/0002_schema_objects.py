"""The order of trusts, the copy of when a managed wallet was created, and what never changes."""

from django.db import migrations

from wallets.sql_files import create_object


class Migration(migrations.Migration):
    dependencies = [("trusts", "0001_initial"), ("wallets", "0002_schema_objects")]

    operations = [
        create_object(
            "trusts",
            "trusts_trust_number",
            drop="ALTER TABLE trusts_trust ALTER COLUMN number DROP DEFAULT; DROP SEQUENCE trusts_trust_number",
        ),
        create_object("trusts", "trusts_know_the_managed", drop="DROP FUNCTION trusts_know_the_managed()"),
        create_object("trusts", "trust_knows_the_managed", drop="DROP TRIGGER trust_knows_the_managed ON trusts_trust"),
        create_object("trusts", "trust_managed_fixed", drop="DROP TRIGGER trust_managed_fixed ON trusts_trust"),
        create_object("trusts", "trust_parties_fixed", drop="DROP TRIGGER trust_parties_fixed ON trusts_trust"),
        create_object("trusts", "trust_kept", drop="DROP TRIGGER trust_kept ON trusts_trust"),
        create_object(
            "trusts", "trustchange_append_only", drop="DROP TRIGGER trustchange_append_only ON trusts_trustchange"
        ),
    ]
