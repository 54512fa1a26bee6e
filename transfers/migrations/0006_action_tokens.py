"""
Claim links. They reserve tokens as transfers do, so the foreign key of a reservation becomes a trigger.

Decided 2026-11-30, against a second column of tokens for reservations by links: each statement that selects free tokens
would read it, and each index of free tokens hold it. A transfer that completes at once pays for the condition of a
trigger instead of for that of the foreign key.
"""

import uuid

import django.db.models.deletion
from django.db import migrations, models

from wallets.sql_files import create_object, load


class Migration(migrations.Migration):
    dependencies = [
        ("transfers", "0005_terms"),
        ("wallets", "0004_long_about"),
    ]

    operations = [
        migrations.CreateModel(
            name="ActionToken",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("token_count", models.IntegerField()),
                ("recipient_email", models.CharField(blank=True, db_default="", max_length=254)),
                ("email_must_match", models.BooleanField(db_default=False)),
                ("message", models.CharField(blank=True, db_default="", max_length=500)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("active", "Active"),
                            ("redeemed", "Redeemed"),
                            ("cancelled", "Cancelled"),
                            ("expired", "Expired"),
                        ],
                        db_default="active",
                        max_length=9,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "closed_by",
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
                    "originator",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
                (
                    "sender",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["sender", "-created_at", "id"], name="action_token_by_sender"),
                    models.Index(
                        condition=models.Q(("state", "active")),
                        fields=["sender"],
                        include=("token_count",),
                        name="action_token_active",
                    ),
                    models.Index(
                        condition=models.Q(("state", "active")), fields=["expires_at"], name="action_token_by_expiry"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("closed_at", None), ("state", "active")),
                            models.Q(("closed_at__isnull", False), ("state__in", ["redeemed", "cancelled", "expired"])),
                            _connector="OR",
                        ),
                        name="action_token_is_closed_when_decided",
                    ),
                    models.CheckConstraint(condition=models.Q(("token_count__gt", 0)), name="action_token_has_tokens"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("email_must_match", False),
                            models.Q(("recipient_email", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="action_token_has_what_must_match",
                    ),
                ],
            },
        ),
        create_object(
            "transfers",
            "action_token_closed_once",
            drop="DROP TRIGGER action_token_closed_once ON transfers_actiontoken",
        ),
        create_object("transfers", "action_token_kept", drop="DROP TRIGGER action_token_kept ON transfers_actiontoken"),
        create_object("transfers", "transfers_check_reservation", drop="DROP FUNCTION transfers_check_reservation()"),
        create_object(
            "transfers",
            "token_reserved",
            drop="DROP TRIGGER token_reserved ON wallets_token;\n"
            + load("transfers", "schema/token_reserved_by_a_transfer"),
        ),
    ]
