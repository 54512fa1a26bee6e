"""Acts that wait for a second operator."""

import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("desk", "0003_alerts"),
    ]

    operations = [
        migrations.CreateModel(
            name="Proposal",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("action", models.CharField(max_length=40)),
                ("object_id", models.CharField(blank=True, max_length=64)),
                ("title", models.CharField(max_length=254)),
                ("given", models.BinaryField(null=True)),
                ("shown", models.JSONField(blank=True, default=list)),
                ("reason", models.CharField(max_length=500)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("approved", "Approved"),
                            ("refused", "Refused"),
                            ("void", "Void"),
                        ],
                        default="open",
                        max_length=8,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                *(
                    (
                        name,
                        models.ForeignKey(
                            blank=is_null,
                            null=is_null,
                            on_delete=django.db.models.deletion.PROTECT,
                            related_name="+",
                            to=settings.AUTH_USER_MODEL,
                        ),
                    )
                    for name, is_null in (("decided_by", True), ("maker", False))
                ),
            ],
            options={
                "indexes": [models.Index(fields=["-created_at", "id"], name="proposal_by_age")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("decided_at", None), ("given__isnull", False), ("state", "open"))
                        | (
                            models.Q(("state", "open"), _negated=True)
                            & models.Q(("decided_at__isnull", False), ("given", None))
                        ),
                        name="proposal_is_open_until_decided",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state", "approved"), _negated=True)
                        | (
                            models.Q(("decided_by__isnull", False))
                            & models.Q(("decided_by", models.F("maker")), _negated=True)
                        ),
                        name="proposal_is_approved_by_another",
                    ),
                ],
            },
        ),
    ]
