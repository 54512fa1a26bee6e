"""The approvals that a wallet requires."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("wallets", "0012_restricted_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="wallet",
            name="approval_above",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="wallet",
            name="approval_of_new_receivers",
            field=models.BooleanField(blank=True, null=True),
        ),
    ]
