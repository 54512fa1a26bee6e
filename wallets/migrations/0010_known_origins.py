from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("wallets", "0009_name_keys_without_invisible"),
    ]

    operations = [
        migrations.CreateModel(
            name="KnownOrigin",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=16)),
                ("account", models.CharField(max_length=150)),
                ("means", models.CharField(choices=[("address", "Address"), ("api_key", "API key")], max_length=8)),
                ("digest", models.BinaryField(max_length=32)),
                ("last_login_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "account", "digest"), name="known_origin_once")
                ],
            },
        ),
    ]
