"""How lists begin to show a wallet: the fields of `config.api.treetracker.wallet_serializers.WALLET_EXAMPLE` before its token counts."""

from django.db import migrations, models

# What it calls is declared stable, because settings and locales might matter; for these values and formats none does.
FORWARDS = """
CREATE FUNCTION wallets_written(id uuid, name text, about text, logo_url text, created_at timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT concat('{"id":"', id, '","name":', to_json(name), ',"about":', coalesce(to_json(nullif(about, '')), 'null'),
                  ',"logo_url":', coalesce(to_json(logo_url), 'null'), ',"created_at":"',
                  to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '"')
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("wallets", "0007_answers_lock_no_wallet")]

    operations = [
        migrations.RunSQL(FORWARDS, "DROP FUNCTION wallets_written"),
        migrations.AddField(
            model_name="wallet",
            name="written",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Func("id", "name", "about", "logo_url", "created_at", function="wallets_written"),
                output_field=models.TextField(),
            ),
        ),
    ]
