"""The name of a wallet before it was pseudonymised, until requests that began earlier have ended."""

from django.db import migrations, models
from django.db.models.deletion import CASCADE


class Migration(migrations.Migration):
    dependencies = [
        ("desk", "0007_request_log"),
        ("wallets", "0020_audit_scope"),
    ]

    operations = [
        migrations.CreateModel(
            name="FormerName",
            fields=[
                (
                    "wallet",
                    models.OneToOneField(
                        on_delete=CASCADE, primary_key=True, related_name="+", serialize=False, to="wallets.wallet"
                    ),
                ),
                ("name", models.CharField(max_length=254)),
                ("due_at", models.DateTimeField()),
            ],
        ),
    ]
