"""
What lists of managed wallets are sorted and filtered by, in the trust that gives the control.

A trust of 200,000 managed wallets is written anew once.
"""

from django.db import migrations, models

from wallets.sql_files import create_object, load

_FILL = """
UPDATE trusts_trust AS trust
   SET managed_name = wallet.name, managed_name_key = wallet.name_key, managed_has_password = wallet.password <> ''
  FROM wallets_wallet AS wallet
 WHERE wallet.id = trust.subject_id AND trust.type = 'manage'
"""
_IS_MANAGED = models.Q(("managed_created_at__isnull", False), ("state", "trusted"), ("type", "manage"))


class Migration(migrations.Migration):
    dependencies = [("trusts", "0003_trust_managers"), ("wallets", "0004_long_about")]

    operations = [
        migrations.AddField("trust", "managed_name", models.CharField(max_length=254, null=True, editable=False)),
        migrations.AddField("trust", "managed_name_key", models.CharField(max_length=1024, null=True, editable=False)),
        migrations.AddField("trust", "managed_has_password", models.BooleanField(null=True, editable=False)),
        create_object(
            "trusts",
            "trusts_fill_power__2",
            drop=load("trusts", "schema/trusts_fill_power").replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
        ),
        create_object("trusts", "trusts_copy_managed", drop="DROP FUNCTION trusts_copy_managed()"),
        create_object("trusts", "managed_wallet_copied", drop="DROP TRIGGER managed_wallet_copied ON wallets_wallet"),
        create_object(
            "trusts",
            "trusts_power__2",
            drop=f"DROP VIEW trusts_power; {load('trusts', 'schema/trusts_power')}",
        ),
        # A statement without a schema object.
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(_FILL, migrations.RunSQL.noop)],
        ),
        migrations.RemoveIndex("trust", "trust_managed"),
        migrations.AddIndex(
            "trust",
            models.Index(
                condition=_IS_MANAGED,
                fields=["holder_id", "managed_created_at", "subject_id"],
                include=["managed_name_key", "managed_has_password", "request_type"],
                name="trust_managed",
            ),
        ),
        migrations.AddIndex(
            "trust",
            models.Index(
                condition=_IS_MANAGED,
                fields=["holder_id", "managed_name", "subject_id"],
                include=["managed_created_at", "managed_name_key", "managed_has_password", "request_type"],
                name="trust_managed_by_name",
            ),
        ),
    ]
