import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("wallets", "0006_permissions_of_the_desk")]

    operations = [
        migrations.AlterField(
            model_name="idempotentanswer",
            name="wallet",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="wallets.wallet",
            ),
        ),
    ]
