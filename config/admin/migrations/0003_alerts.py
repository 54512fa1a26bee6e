import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("desk", "0002_find"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Backup",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("made_at", models.DateTimeField(db_index=True)),
                ("bytes", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Alert",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=32)),
                ("subject", models.CharField(blank=True, default="", max_length=64)),
                ("title", models.CharField(max_length=120)),
                ("state", models.CharField(max_length=254)),
                ("opened_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("notices", models.IntegerField(default=0)),
                ("noticed_at", models.DateTimeField()),
                ("acknowledged_at", models.DateTimeField(blank=True, null=True)),
                ("note", models.CharField(blank=True, default="", max_length=500)),
                (
                    "acknowledged_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "permissions": [("act_acknowledge_alert", "Can acknowledge alerts")],
            },
        ),
        migrations.CreateModel(
            name="AlertNotice",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("number", models.IntegerField()),
                (
                    "channel",
                    models.CharField(
                        choices=[
                            ("mail", "mail"),
                            ("call", "call"),
                        ],
                        max_length=4,
                    ),
                ),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("opened", "opened"),
                            ("repeated", "repeated"),
                            ("closed", "closed"),
                        ],
                        max_length=8,
                    ),
                ),
                ("text", models.CharField(max_length=254)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("sent", "sent"),
                            ("failed", "failed"),
                        ],
                        default="pending",
                        max_length=7,
                    ),
                ),
                ("attempt", models.IntegerField(default=0)),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("due_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                ("error", models.CharField(blank=True, default="", max_length=40)),
                ("created_at", models.DateTimeField()),
                (
                    "alert",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="desk.alert"
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(fields=["-opened_at", "-id"], name="alert_newest"),
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.UniqueConstraint(
                condition=models.Q(("closed_at", None)), fields=("kind", "subject"), name="alert_is_open_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("acknowledged_at", None), ("acknowledged_by", None), ("note", "")),
                    models.Q(("acknowledged_at__isnull", False), ("acknowledged_by__isnull", False)),
                    _connector="OR",
                ),
                name="alert_is_acknowledged_by_someone",
            ),
        ),
        migrations.AddIndex(
            model_name="alertnotice",
            index=models.Index(
                condition=models.Q(("state", "pending")),
                fields=["channel", "due_at"],
                name="notice_pending",
            ),
        ),
        migrations.AddConstraint(
            model_name="alertnotice",
            constraint=models.UniqueConstraint(fields=("alert", "channel", "number"), name="notice_of_an_alert_is_one"),
        ),
        migrations.AddConstraint(
            model_name="alertnotice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "pending",
                            "sent",
                            "failed",
                        ],
                    )
                ),
                name="notice_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="alertnotice",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "pending"), ("lease_until", None), _connector="OR"),
                name="notice_is_leased_while_pending",
            ),
        ),
    ]
