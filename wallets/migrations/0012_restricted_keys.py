"""Restricted keys, and events about them."""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("wallets", "0011_find"),
    ]

    operations = [
        migrations.AlterField(
            model_name="event",
            name="type",
            field=models.CharField(
                choices=[
                    ("login", "Login"),
                    ("wallet_created", "Wallet Created"),
                    ("trust_request", "Trust Request"),
                    ("trust_request_granted", "Trust Request Granted"),
                    ("trust_request_cancelled_by_target", "Trust Request Cancelled By Target"),
                    ("trust_request_cancelled_by_originator", "Trust Request Cancelled By Originator"),
                    ("management_ended", "Management Ended"),
                    ("transfer_requested", "Transfer Requested"),
                    ("transfer_completed", "Transfer Completed"),
                    ("transfer_request_cancelled_by_destination", "Transfer Request Cancelled By Destination"),
                    ("transfer_pending_cancelled_by_requestor", "Transfer Pending Cancelled By Requestor"),
                    ("transfer_failed", "Transfer Failed"),
                    ("locker.put.settled", "Locker Put Settled"),
                    ("locker.take.settled", "Locker Take Settled"),
                    ("coins.import.settled", "Coins Import Settled"),
                    ("coins.export.settled", "Coins Export Settled"),
                    ("coins.transfer.settled", "Coins Transfer Settled"),
                    ("coins.received", "Coins Received"),
                    ("payment_request.partly_paid", "Payment Request Partly Paid"),
                    ("payment_request.paid", "Payment Request Paid"),
                    ("payment_request.paid_late", "Payment Request Paid Late"),
                    ("payment_request.cancelled", "Payment Request Cancelled"),
                    ("payment_request.expired", "Payment Request Expired"),
                    ("webhook.disabled", "Webhook Disabled"),
                    ("key.created", "Key Created"),
                    ("key.ended", "Key Ended"),
                ],
                max_length=41,
            ),
        ),
        migrations.CreateModel(
            name="RestrictedKey",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=64)),
                ("prefix", models.CharField(max_length=16)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("wallets:read", "Wallets Read"),
                                ("tokens:read", "Tokens Read"),
                                ("transfers:read", "Transfers Read"),
                                ("transfers:write", "Transfers Write"),
                                ("transfers:pending-only", "Transfers Pending Only"),
                                ("trusts:read", "Trusts Read"),
                                ("trusts:write", "Trusts Write"),
                                ("events:read", "Events Read"),
                                ("webhooks:write", "Webhooks Write"),
                                ("coins:read", "Coins Read"),
                                ("coins:move", "Coins Move"),
                                ("lockers:peek", "Lockers Peek"),
                            ],
                            max_length=24,
                        ),
                        size=None,
                    ),
                ),
                ("wallet_ids", django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), size=None)),
                (
                    "networks",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=43), blank=True, default=list, size=None
                    ),
                ),
                ("made_with", models.UUIDField(blank=True, null=True)),
                ("tokens_per_transfer", models.IntegerField(blank=True, null=True)),
                ("tokens_per_day", models.IntegerField(blank=True, null=True)),
                ("spent_on", models.DateField(blank=True, null=True)),
                ("spent", models.BigIntegerField(default=0)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("last_used_at", models.DateTimeField(blank=True, null=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "wallet",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="restricted_keys", to="wallets.wallet"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("scopes", []), _negated=True), models.Q(("wallet_ids", []), _negated=True)
                        ),
                        name="key_has_scopes_and_wallets",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("tokens_per_transfer", None), ("tokens_per_transfer__gt", 0), _connector="OR"),
                            models.Q(
                                ("tokens_per_day", None), ("tokens_per_day__gte", models.F("spent")), _connector="OR"
                            ),
                        ),
                        name="key_within_its_limits",
                    ),
                ],
            },
        ),
    ]
