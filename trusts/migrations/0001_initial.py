import uuid

from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    initial = True

    dependencies = [("wallets", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Trust",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("number", models.BigIntegerField(editable=False, unique=True)),
                (
                    "type",
                    models.CharField(choices=[("send", "Send"), ("manage", "Manage")], editable=False, max_length=6),
                ),
                ("holder_id", models.UUIDField(editable=False)),
                ("subject_id", models.UUIDField(editable=False)),
                (
                    "request_type",
                    models.CharField(
                        choices=[("send", "Send"), ("receive", "Receive"), ("manage", "Manage"), ("yield", "Yield")],
                        max_length=32,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("requested", "Requested"),
                            ("trusted", "Trusted"),
                            ("cancelled_by_originator", "Cancelled By Originator"),
                            ("cancelled_by_target", "Cancelled By Target"),
                        ],
                        max_length=23,
                    ),
                ),
                ("withdrawn", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("updated_at", models.DateTimeField(db_default=Now())),
                ("managed_created_at", models.DateTimeField(editable=False, null=True)),
                (
                    "actor",
                    models.ForeignKey(db_index=False, on_delete=models.PROTECT, related_name="+", to="wallets.wallet"),
                ),
                (
                    "originator",
                    models.ForeignKey(db_index=False, on_delete=models.PROTECT, related_name="+", to="wallets.wallet"),
                ),
                (
                    "target",
                    models.ForeignKey(db_index=False, on_delete=models.PROTECT, related_name="+", to="wallets.wallet"),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("number__gt", 0)), fields=["actor", "number"], name="trust_by_actor"
                    ),
                    models.Index(
                        condition=models.Q(("number__gt", 0)), fields=["target", "number"], name="trust_by_target"
                    ),
                    models.Index(
                        condition=models.Q(
                            models.Q(("originator", models.F("actor")), _negated=True), ("number__gt", 0)
                        ),
                        fields=["originator", "number"],
                        name="trust_by_originator",
                    ),
                    models.Index(
                        condition=models.Q(("state", "trusted")),
                        fields=["holder_id", "subject_id", "type"],
                        name="trust_power",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("managed_created_at__isnull", False), ("state", "trusted"), ("type", "manage")
                        ),
                        fields=["holder_id", "managed_created_at", "subject_id"],
                        name="trust_managed",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ("requested", "trusted"))),
                        fields=("actor", "target", "request_type"),
                        name="trust_open_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["requested", "trusted", "cancelled_by_originator", "cancelled_by_target"])
                        ),
                        name="trust_state_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("actor", models.F("target")), _negated=True),
                        name="trust_between_two_wallets",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "cancelled_by_originator"), ("withdrawn", False), _negated=True),
                            models.Q(("state", "trusted"), ("withdrawn", True), _negated=True),
                        ),
                        name="trust_withdrawn_fits_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("managed_created_at__isnull", False), ("type", "manage")),
                            models.Q(("managed_created_at", None), ("type", "send")),
                            _connector="OR",
                        ),
                        name="trust_knows_the_managed",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TrustChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "event",
                    models.CharField(
                        blank=True,
                        choices=[("accept", "Accept"), ("decline", "Decline"), ("delete", "Delete"), ("end", "End")],
                        max_length=7,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("requested", "Requested"),
                            ("trusted", "Trusted"),
                            ("cancelled_by_originator", "Cancelled By Originator"),
                            ("cancelled_by_target", "Cancelled By Target"),
                        ],
                        max_length=23,
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=Now())),
                (
                    "actor",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=models.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
                ("trust", models.ForeignKey(on_delete=models.PROTECT, related_name="changes", to="trusts.trust")),
            ],
        ),
    ]
