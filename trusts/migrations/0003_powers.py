"""
What a trust gives, as columns and one view.

Decided 2026-11-29, against conditions on request_type in each query (about ten, in Python and SQL), against a view
with one branch per kind of trust (PostgreSQL locks no row through a UNION), and against generated columns (another
kind would rewrite the table). A question takes one index probe where it took two, one per kind.
"""

from django.db import migrations, models

from wallets.sql_files import create_object, load

MANAGED_BEFORE = """
CREATE FUNCTION trusts_know_the_managed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.managed_created_at := (
        SELECT created_at FROM wallets_wallet
         WHERE id = CASE NEW.request_type WHEN 'manage' THEN NEW.target_id WHEN 'yield' THEN NEW.actor_id END);
    RETURN NEW;
END $$;
CREATE TRIGGER trust_knows_the_managed BEFORE INSERT ON trusts_trust
    FOR EACH ROW EXECUTE FUNCTION trusts_know_the_managed();
CREATE TRIGGER trust_managed_fixed BEFORE UPDATE OF managed_created_at ON trusts_trust FOR EACH ROW
    WHEN (OLD.managed_created_at IS DISTINCT FROM NEW.managed_created_at)
    EXECUTE FUNCTION coppice_refuse('only the state of a trust changes');
"""
MANAGED_AFTER = """
DROP TRIGGER trust_managed_fixed ON trusts_trust;
DROP TRIGGER trust_knows_the_managed ON trusts_trust;
DROP FUNCTION trusts_know_the_managed();
"""


class Migration(migrations.Migration):
    dependencies = [("trusts", "0002_schema_objects")]

    operations = [
        migrations.RunSQL(MANAGED_AFTER, MANAGED_BEFORE),
        migrations.AddField("trust", "holder_id", models.UUIDField(editable=False, null=True)),
        migrations.AddField("trust", "subject_id", models.UUIDField(editable=False, null=True)),
        create_object("trusts", "trusts_kind", drop="DROP VIEW trusts_kind"),
        migrations.RunSQL(load("trusts", "schema/trust_power_backfill"), migrations.RunSQL.noop),
        migrations.AlterField("trust", "holder_id", models.UUIDField(editable=False)),
        migrations.AlterField("trust", "subject_id", models.UUIDField(editable=False)),
        migrations.AlterField(
            "trust",
            "type",
            models.CharField(choices=[("send", "Send"), ("manage", "Manage")], editable=False, max_length=6),
        ),
        migrations.RemoveConstraint("trust", "trust_type_fits_request_type"),
        migrations.RemoveIndex("trust", "trust_manages"),
        migrations.RemoveIndex("trust", "trust_yields"),
        migrations.AddIndex(
            "trust",
            models.Index(
                fields=["holder_id", "subject_id", "type"], condition=models.Q(state="trusted"), name="trust_power"
            ),
        ),
        migrations.AddIndex(
            "trust",
            models.Index(
                fields=["holder_id", "managed_created_at", "subject_id"],
                condition=models.Q(state="trusted", type="manage", managed_created_at__isnull=False),
                name="trust_managed",
            ),
        ),
        create_object("trusts", "trusts_power", drop="DROP VIEW trusts_power"),
        create_object("trusts", "trusts_fill_power", drop="DROP FUNCTION trusts_fill_power()"),
        create_object("trusts", "trust_power_filled", drop="DROP TRIGGER trust_power_filled ON trusts_trust"),
        create_object("trusts", "trust_power_fixed", drop="DROP TRIGGER trust_power_fixed ON trusts_trust"),
    ]
