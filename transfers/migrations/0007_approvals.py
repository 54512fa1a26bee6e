"""Transfers that await the approval of their own side, and what wallets demand approvals for."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now

from wallets.sql_files import create_object, load


def _wallet(*, is_null: bool = False, has_constraint: bool = False) -> "models.Field[Any, Any]":
    return models.ForeignKey(
        blank=is_null,
        db_constraint=has_constraint,
        db_index=False,
        null=is_null,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="wallets.wallet",
    )


class Migration(migrations.Migration):
    dependencies = [
        ("transfers", "0006_action_tokens"),
        ("wallets", "0013_approval"),
    ]

    operations = [
        migrations.AddField(
            "transfer",
            "approval_of",
            models.CharField(blank=True, choices=[("send", "Send"), ("fulfill", "Fulfill")], max_length=7, null=True),
        ),
        migrations.AddField("transfer", "approval_asked_by", _wallet(is_null=True)),
        migrations.AddField("transfer", "approval_asked_with", models.UUIDField(blank=True, null=True)),
        migrations.AddField("transfer", "approved_by", _wallet(is_null=True)),
        migrations.AddField("transfer", "approved_with", models.UUIDField(blank=True, null=True)),
        migrations.AddField("transfer", "approved_at", models.DateTimeField(blank=True, null=True)),
        migrations.AlterField(
            "transfer",
            "closed_event",
            models.CharField(
                blank=True,
                choices=[
                    ("accept", "Accept"),
                    ("fulfill", "Fulfill"),
                    ("decline", "Decline"),
                    ("delete", "Delete"),
                    ("expire", "Expire"),
                    ("approve", "Approve"),
                    ("refuse", "Refuse"),
                ],
                max_length=7,
            ),
        ),
        migrations.CreateModel(
            name="KnownReceiver",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("receiver", _wallet()),
                ("wallet", _wallet()),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("wallet", "receiver"), name="known_receiver_once")],
            },
        ),
        migrations.CreateModel(
            name="ApprovalChange",
            fields=[
                (
                    "wallet",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="wallets.wallet",
                    ),
                ),
                ("above", models.IntegerField(blank=True, null=True)),
                ("new_receivers", models.BooleanField()),
                ("asked_with", models.UUIDField(blank=True, null=True)),
                ("asked_at", models.DateTimeField(db_default=Now())),
                ("asked_by", _wallet(has_constraint=True)),
            ],
        ),
        create_object(
            "transfers",
            "transfers_is_new_receiver",
            drop="DROP FUNCTION transfers_is_new_receiver(uuid, uuid)",
        ),
        create_object(
            "transfers",
            "transfer_terminal__2",
            drop=load("transfers", "schema/transfer_terminal").replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER"),
        ),
        create_object(
            "transfers",
            "transfer_approval_fixed",
            drop="DROP TRIGGER transfer_approval_fixed ON transfers_transfer",
        ),
        create_object("transfers", "transfer_approved", drop="DROP TRIGGER transfer_approved ON transfers_transfer"),
    ]
