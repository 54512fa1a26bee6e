"""Coins at rest that are checked, and the kind of task that does it."""

from django.db import migrations, models
from django.db.models import Q

KINDS = ["put", "take", "peek", "import", "find", "break", "fix", "health", "echo", "export", "transfer"]


class Migration(migrations.Migration):
    dependencies = [("lockers", "0009_settled_before")]

    operations = [
        migrations.AlterField("lockertask", "kind", models.CharField(choices=[(k, k) for k in KINDS], max_length=8)),
        migrations.RemoveConstraint("lockertask", "task_kind_is_known"),
        migrations.AddConstraint(
            "lockertask", models.CheckConstraint(condition=Q(kind__in=KINDS), name="task_kind_is_known")
        ),
        migrations.AddField("coin", "checked_at", models.DateTimeField(blank=True, null=True)),
    ]
