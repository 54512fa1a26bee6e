"""Descriptions of up to 10,000 characters. PostgreSQL changes no column that a generated one is made of."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("wallets", "0003_wallet_cover_url")]

    operations = [
        migrations.RemoveField(model_name="wallet", name="written"),
        migrations.AlterField(
            model_name="wallet",
            name="about",
            field=models.CharField(blank=True, max_length=10_000),
        ),
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
