"""The index of receipt lines by task alone is dropped: that of the unique constraint begins with the task."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("lockers", "0006_newest_first")]

    operations = [
        migrations.AlterField(
            "receiptline",
            "task",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="receipt_lines",
                to="lockers.lockertask",
            ),
        ),
    ]
