"""Audits of all rows, and audits of what is new: one of each kind may run."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("wallets", "0019_session_events")]

    operations = [
        migrations.AddField(model_name="auditrun", name="is_of_all", field=models.BooleanField(db_default=True)),
        migrations.RemoveConstraint(model_name="auditrun", name="audit_run_one_at_a_time"),
        migrations.AddConstraint(
            model_name="auditrun",
            constraint=models.UniqueConstraint(
                condition=models.Q(("result", "running")), fields=("is_of_all",), name="audit_run_one_at_a_time"
            ),
        ),
    ]
