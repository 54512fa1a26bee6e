import uuid

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now

from wallets.sql_files import create_object


class Migration(migrations.Migration):
    initial = True

    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        create_object("wallets", "wallets_written", drop="DROP FUNCTION wallets_written"),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                ("prefix", models.CharField(max_length=12)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("batch_access", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("last_used_at", models.DateTimeField(blank=True, null=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="KnownOrigin",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=16)),
                ("account", models.CharField(max_length=150)),
                ("means", models.CharField(choices=[("address", "Address"), ("api_key", "API key")], max_length=8)),
                ("digest", models.BinaryField(max_length=32)),
                ("last_login_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("kind", "account", "digest"), name="known_origin_once")]
            },
        ),
        migrations.CreateModel(
            name="Wallet",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=254)),
                ("name_key", models.CharField(max_length=1024, unique=True)),
                ("password", models.CharField(blank=True, max_length=256)),
                ("about", models.CharField(blank=True, max_length=250)),
                ("display_name", models.CharField(blank=True, max_length=30)),
                ("logo_url", models.CharField(blank=True, max_length=2048, null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                (
                    "written",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Func(
                            "id", "name", "about", "logo_url", "created_at", function="wallets_written"
                        ),
                        output_field=models.TextField(),
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("name", ""), _negated=True), models.Q(("name_key", ""), _negated=True)
                        ),
                        name="wallet_has_a_name",
                    )
                ]
            },
        ),
        migrations.CreateModel(
            name="BearerToken",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("prefix", models.CharField(max_length=12)),
                ("digest", models.BinaryField(max_length=32, unique=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("last_used_at", models.DateTimeField(blank=True, null=True)),
                ("expires_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "wallet",
                    models.ForeignKey(on_delete=models.CASCADE, related_name="bearer_tokens", to="wallets.wallet"),
                ),
            ],
        ),
        migrations.CreateModel(
            name="AuditRun",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "result",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("sound", "Sound"),
                            ("unsound", "found something"),
                            ("failed", "did not end"),
                        ],
                        default="running",
                        max_length=8,
                    ),
                ),
                ("findings_count", models.IntegerField(default=0)),
                ("findings", models.JSONField(blank=True, default=list)),
                ("error", models.CharField(blank=True, max_length=250)),
                ("request_id", models.CharField(blank=True, max_length=64)),
                ("started_at", models.DateTimeField(db_default=Now())),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "staff",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at", None), ("result", "running")),
                            models.Q(("finished_at__isnull", False), ("result__in", ["sound", "unsound", "failed"])),
                            _connector="OR",
                        ),
                        name="audit_run_is_finished_when_final",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("findings_count__gt", 0), ("result", "unsound")),
                            models.Q(models.Q(("result", "unsound"), _negated=True), ("findings_count", 0)),
                            _connector="OR",
                        ),
                        name="audit_run_is_unsound_with_findings",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("result", "running")), fields=("result",), name="audit_run_one_at_a_time"
                    ),
                ]
            },
        ),
        migrations.CreateModel(
            name="OperatorAction",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "verb",
                    models.CharField(
                        choices=[
                            ("issued_tokens", "issued tokens"),
                            ("created_wallet", "created a wallet"),
                            ("set_password", "set a password"),
                            ("created_api_key", "created an API key"),
                            ("rotated_api_key", "rotated an API key"),
                            ("revoked_api_key", "revoked an API key"),
                            ("revoked_bearer_tokens", "revoked bearer tokens"),
                            ("ended_trust", "ended a trust"),
                            ("cancelled_transfer", "cancelled a transfer"),
                            ("retried_task", "retried a task"),
                            ("started_find", "began to find coins"),
                            ("rolled_back_task", "rolled a task back"),
                            ("saw_task", "marked a task as seen"),
                            ("started_fix", "began to fix coins"),
                            ("checked_coins", "began to check coins"),
                            ("ran_audit", "ran the audit"),
                            ("set_fault", "set a fault of the local network"),
                            ("created_person", "created an account"),
                            ("changed_role", "changed a role"),
                            ("changed_mail", "changed a mail address"),
                            ("activated_person", "activated an account"),
                            ("deactivated_person", "deactivated an account"),
                            ("set_person_password", "set the password of an account"),
                            ("changed_own_password", "changed the own password"),
                            ("set_up_second_factor", "set up a second factor"),
                            ("reset_second_factor", "reset a second factor"),
                            ("ended_sessions", "ended sessions"),
                        ],
                        max_length=24,
                    ),
                ),
                ("object_kind", models.CharField(max_length=24)),
                ("object_id", models.CharField(blank=True, max_length=64)),
                ("object_label", models.CharField(blank=True, max_length=254)),
                (
                    "things",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=128), blank=True, default=list, size=None
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("before", models.JSONField(blank=True, default=dict)),
                ("after", models.JSONField(blank=True, default=dict)),
                ("request_id", models.CharField(blank=True, max_length=64)),
                ("confirmation", models.CharField(max_length=64, unique=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("staff", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
            ],
            options={
                "permissions": [
                    ("act_create_wallet", "Can create wallets"),
                    ("act_set_password", "Can set the passwords of wallets"),
                    ("act_revoke_bearer_tokens", "Can revoke all bearer tokens of a wallet"),
                    ("act_revoke_bearer_token", "Can revoke a bearer token"),
                    ("act_create_api_key", "Can create API keys"),
                    ("act_rotate_api_key", "Can rotate API keys"),
                    ("act_revoke_api_key", "Can revoke API keys"),
                    ("act_issue_tokens", "Can issue tokens"),
                    ("act_end_trust", "Can end trusts between wallets"),
                    ("act_cancel_transfer", "Can cancel transfers in the name of others"),
                    ("act_start_find", "Can look for coins in doubt"),
                    ("act_start_fix", "Can fix coins"),
                    ("act_check_coins", "Can check coins"),
                    ("act_retry_task", "Can begin tasks again"),
                    ("act_roll_back_task", "Can roll tasks back"),
                    ("act_mark_task_seen", "Can mark tasks as seen"),
                    ("act_run_audit", "Can run the audit"),
                    ("act_rehearse_outage", "Can let servers of the local network misbehave"),
                ],
                "indexes": [
                    models.Index(fields=["object_kind", "object_id", "-id"], name="operator_action_by_object"),
                    django.contrib.postgres.indexes.GinIndex(fields=["things"], name="operator_action_by_thing"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Token",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("capture_id", models.UUIDField(unique=True)),
                ("transfer_pending_id", models.UUIDField(blank=True, null=True)),
                ("moves", models.IntegerField(default=0)),
                ("arrival", models.BigIntegerField()),
                ("lot", models.IntegerField()),
                ("claim", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("updated_at", models.DateTimeField(db_default=Now())),
                (
                    "wallet",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.PROTECT,
                        related_name="tokens",
                        to="wallets.wallet",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("transfer_pending_id", None)),
                        fields=["wallet", "lot"],
                        name="token_free_by_lot",
                    ),
                    models.Index(fields=["wallet", "arrival"], name="token_by_arrival"),
                    models.Index(
                        condition=models.Q(("transfer_pending_id__isnull", False)),
                        fields=["transfer_pending_id"],
                        name="token_by_reservation",
                    ),
                ]
            },
        ),
        migrations.CreateModel(
            name="IdempotentAnswer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=255)),
                ("fingerprint", models.BinaryField(max_length=32)),
                ("status", models.SmallIntegerField(null=True)),
                ("body", models.BinaryField(null=True)),
                ("result_id", models.UUIDField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now(), db_index=True)),
                (
                    "wallet",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.CASCADE,
                        related_name="+",
                        to="wallets.wallet",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("wallet", "key"), name="idempotency_key_is_used_once")]
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("number", models.BigIntegerField(editable=False, unique=True)),
                (
                    "type",
                    models.CharField(
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
                        ],
                        max_length=41,
                    ),
                ),
                ("payload", models.JSONField()),
                ("created_at", models.DateTimeField()),
                (
                    "wallet",
                    models.ForeignKey(db_index=False, on_delete=models.PROTECT, related_name="+", to="wallets.wallet"),
                ),
            ],
            options={"indexes": [models.Index(fields=["wallet", "number"], name="event_by_wallet")]},
        ),
    ]
