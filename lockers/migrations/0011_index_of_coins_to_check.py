"""
The index by which the clock finds coins to check, built while the web servers go on writing to the table of coins.

A concurrent build waits for open transactions and blocks none, so neither of the connection's limits applies to it. One
that was cut off leaves an invalid index, which is dropped first.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q

WITHOUT_LIMITS = ["SET statement_timeout = 0", "SET lock_timeout = 0"]
WITH_LIMITS = ["RESET statement_timeout", "RESET lock_timeout"]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("lockers", "0010_coins_that_are_checked")]

    operations = [
        migrations.RunSQL(WITHOUT_LIMITS, WITH_LIMITS),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS coin_to_check", migrations.RunSQL.noop),
        AddIndexConcurrently(
            "coin",
            models.Index(
                F("checked_at").asc(nulls_first=True),
                condition=Q(state__in=["bank", "fracked", "locked"], task=None),
                name="coin_to_check",
            ),
        ),
        migrations.RunSQL(WITH_LIMITS, WITHOUT_LIMITS),
    ]
