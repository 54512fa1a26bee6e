"""Payment requests for coins, and their payments."""

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("lockers", "0002_schema_objects"),
        ("wallets", "0006_payment_request_events"),
    ]

    operations = [
        migrations.CreateModel(
            name="PaymentRequest",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("amount", models.BigIntegerField()),
                ("paid", models.BigIntegerField(default=0)),
                (
                    "mode",
                    models.CharField(
                        choices=[
                            ("single", "single"),
                            ("partial", "partial"),
                        ],
                        max_length=7,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "open"),
                            (
                                "partly_paid",
                                "partly_paid",
                            ),
                            ("paid", "paid"),
                            (
                                "cancelled",
                                "cancelled",
                            ),
                            (
                                "expired",
                                "expired",
                            ),
                        ],
                        default="open",
                        max_length=11,
                    ),
                ),
                ("description", models.CharField(max_length=500)),
                ("reference", models.CharField(blank=True, max_length=255)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "actor",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
                (
                    "wallet",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="payment_requests",
                        to="wallets.wallet",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Payment",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("credited", "credited"),
                            ("failed", "failed"),
                        ],
                        default="pending",
                        max_length=8,
                    ),
                ),
                ("expected", models.BigIntegerField(default=0)),
                ("units", models.BigIntegerField(default=0)),
                ("is_late", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "payer",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
                (
                    "task",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="payment", to="lockers.lockertask"
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="payments",
                        to="lockers.paymentrequest",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="paymentrequest",
            index=models.Index(fields=["wallet", "-created_at", "-id"], name="payment_request_of_wallet"),
        ),
        migrations.AddIndex(
            model_name="paymentrequest",
            index=models.Index(
                condition=models.Q(("reference", ""), _negated=True),
                fields=["wallet", "reference"],
                name="payment_request_by_reference",
            ),
        ),
        migrations.AddIndex(
            model_name="paymentrequest",
            index=models.Index(
                condition=models.Q(
                    ("expires_at__isnull", False),
                    (
                        "state__in",
                        ["open", "partly_paid"],
                    ),
                ),
                fields=["expires_at"],
                name="payment_request_to_expire",
            ),
        ),
        migrations.AddIndex(
            model_name="paymentrequest",
            index=models.Index(fields=["-created_at", "-id"], name="payment_request_newest"),
        ),
        migrations.AddConstraint(
            model_name="paymentrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "open",
                            "partly_paid",
                            "paid",
                            "cancelled",
                            "expired",
                        ],
                    )
                ),
                name="payment_request_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(("mode__in", ["single", "partial"])),
                name="payment_request_mode_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0), ("paid__gte", 0)), name="payment_request_asks_for_coins"
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("paid", 0), ("state", "open")),
                    models.Q(
                        ("paid__gt", 0),
                        ("paid__lt", models.F("amount")),
                        ("state", "partly_paid"),
                    ),
                    models.Q(("paid__gte", models.F("amount")), ("state", "paid")),
                    (
                        "state__in",
                        [
                            "cancelled",
                            "expired",
                        ],
                    ),
                    _connector="OR",
                ),
                name="payment_request_state_fits_what_is_paid",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("closed_at", None),
                        (
                            "state__in",
                            [
                                "open",
                                "partly_paid",
                            ],
                        ),
                    ),
                    models.Q(
                        models.Q(
                            (
                                "state__in",
                                [
                                    "open",
                                    "partly_paid",
                                ],
                            ),
                            _negated=True,
                        ),
                        ("closed_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="payment_request_is_closed_when_final",
            ),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["request", "created_at", "id"], name="payment_of_request"),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(
                condition=models.Q(("state", "pending")),
                fields=["request"],
                name="payment_pending",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "pending",
                            "credited",
                            "failed",
                        ],
                    )
                ),
                name="payment_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("expected__gte", 0),
                        ("settled_at", None),
                        ("state", "pending"),
                        ("units__gte", 0),
                    ),
                    models.Q(
                        ("expected", 0),
                        ("settled_at__isnull", False),
                        ("state", "credited"),
                        ("units__gt", 0),
                    ),
                    models.Q(
                        ("expected", 0),
                        ("settled_at__isnull", False),
                        ("state", "failed"),
                        ("units", 0),
                    ),
                    _connector="OR",
                ),
                name="payment_state_fits_its_units",
            ),
        ),
    ]
