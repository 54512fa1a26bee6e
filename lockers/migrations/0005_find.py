"""Indexes for the search of operators: by tags and references."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("lockers", "0004_locker_expiry")]

    operations = [
        migrations.AddIndex(
            model_name="locker",
            index=models.Index(condition=models.Q(("tag", ""), _negated=True), fields=["tag"], name="locker_by_tag"),
        ),
        migrations.AddIndex(
            model_name="lockertask",
            index=models.Index(condition=models.Q(("tag", ""), _negated=True), fields=["tag"], name="task_by_tag"),
        ),
        migrations.AddIndex(
            model_name="paymentrequest",
            index=models.Index(
                condition=models.Q(("reference", ""), _negated=True),
                fields=["reference"],
                name="payment_request_referring",
            ),
        ),
    ]
