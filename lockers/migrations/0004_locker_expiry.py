"""Lockers that expire, and what came back from them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("lockers", "0003_payment_requests")]

    operations = [
        migrations.AddField(
            model_name="locker",
            name="expires_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="locker",
            name="returned",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="locker",
            name="returned_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="locker",
            name="take_back_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="locker",
            name="take_backs",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddIndex(
            model_name="locker",
            index=models.Index(
                condition=models.Q(("take_back_at__isnull", False)), fields=["take_back_at"], name="locker_to_take_back"
            ),
        ),
        migrations.AddConstraint(
            model_name="locker",
            constraint=models.CheckConstraint(
                condition=models.Q(("take_back_at", None), ("expires_at__isnull", False), _connector="OR"),
                name="locker_is_taken_back_if_it_expires",
            ),
        ),
        migrations.AddConstraint(
            model_name="locker",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("returned", 0), ("returned_at", None)),
                    models.Q(("returned__gt", 0), ("returned_at__isnull", False)),
                    _connector="OR",
                ),
                name="locker_returned_at_some_time",
            ),
        ),
    ]
