from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("wallets", "0002_schema_objects")]

    operations = [
        migrations.AddField(
            model_name="wallet",
            name="cover_url",
            field=models.CharField(blank=True, max_length=2048, null=True),
        ),
    ]
