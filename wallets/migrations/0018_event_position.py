"""The row from which standby servers know how far the order of events is final."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("wallets", "0017_kept_answers"),
    ]

    operations = [
        migrations.CreateModel(
            name="EventPosition",
            fields=[
                ("id", models.SmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("settled", models.BigIntegerField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=Q(id=1), name="event_position_is_one_row")],
            },
        ),
    ]
