"""The index by which the clock finds coins to check. Writes to the table of coins wait while it is built."""

from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    dependencies = [("lockers", "0010_coins_that_are_checked")]

    operations = [
        migrations.AddIndex(
            "coin",
            models.Index(
                F("checked_at").asc(nulls_first=True),
                condition=Q(state__in=["bank", "fracked", "locked"], task=None),
                name="coin_to_check",
            ),
        ),
    ]
