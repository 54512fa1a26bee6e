"""
The order of trusts, what each kind of trust gives, and what never changes.

Decided 2026-11-29 for the powers, against conditions on request_type in each query (about ten, in Python and SQL),
against a view with one branch per kind of trust (PostgreSQL locks no row through a UNION), and against generated
columns (another kind would rewrite the table). A question takes one index probe where it took two, one per kind.
"""

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
        create_object("trusts", "trusts_kind", drop="DROP VIEW trusts_kind"),
        create_object("trusts", "trusts_power", drop="DROP VIEW trusts_power"),
        create_object("trusts", "trusts_fill_power", drop="DROP FUNCTION trusts_fill_power()"),
        create_object("trusts", "trust_power_filled", drop="DROP TRIGGER trust_power_filled ON trusts_trust"),
        create_object("trusts", "trust_power_fixed", drop="DROP TRIGGER trust_power_fixed ON trusts_trust"),
        create_object("trusts", "trust_parties_fixed", drop="DROP TRIGGER trust_parties_fixed ON trusts_trust"),
        create_object("trusts", "trust_kept", drop="DROP TRIGGER trust_kept ON trusts_trust"),
        create_object(
            "trusts", "trustchange_append_only", drop="DROP TRIGGER trustchange_append_only ON trusts_trustchange"
        ),
    ]
