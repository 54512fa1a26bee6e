"""
Wallets, tokens, API keys, bearer tokens, events, stored answers, the log of operators' actions, and audits.

This app imports no other app. A token's reservation therefore refers to its transfer by id; a migration of the
transfers app adds the foreign key.
"""

import uuid
from typing import Final

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Now

from wallets.states import AuditResult, EventType, KeyScope, OperatorVerb, OriginMeans

LONGEST_ABOUT: Final = 10_000


class Wallet(models.Model):
    """
    A holder of tokens and coins, and the caller of every API request.

    `name` is kept as given; `name_key` (NFKC, case folded) is what is unique. A wallet
    without a password (empty string) cannot authenticate: only its manager acts for it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=254)
    name_key = models.CharField(max_length=1024, unique=True)
    password = models.CharField(max_length=256, blank=True)
    # The public service takes any length; here a page of 2,000 wallets stays below 20 million characters.
    about = models.CharField(max_length=LONGEST_ABOUT, blank=True)
    display_name = models.CharField(max_length=30, blank=True)
    logo_url = models.CharField(max_length=2048, null=True, blank=True)  # noqa: DJ001 - the contract says null
    cover_url = models.CharField(max_length=2048, null=True, blank=True)  # noqa: DJ001 - as logo_url
    created_at = models.DateTimeField(db_default=Now())
    # Which transfers of its tokens need an approval (`transfers.approvals`): of more tokens than this, and to wallets
    # to which it never sent. NULL, which takes no space, if it demands none.
    approval_above = models.IntegerField(null=True, blank=True)
    approval_of_new_receivers = models.BooleanField(null=True, blank=True)
    # Pre-rendered JSON prefix for list responses, up to the token counts (denormalised for speed). PostgreSQL
    # maintains it (sql/schema/wallets_written.sql).
    written = models.GeneratedField(
        expression=Func("id", "name", "about", "logo_url", "created_at", function="wallets_written"),
        output_field=models.TextField(),
        db_persist=True,
    )

    # Required by Django REST framework of `request.user`.
    is_authenticated = True
    is_anonymous = False
    is_active = True

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(name="") & ~Q(name_key=""), name="wallet_has_a_name"),
        ]
        # For operators, who search by a part of a name. The last one is for parts without trigrams.
        indexes = [
            GinIndex(fields=["name_key"], opclasses=["gin_trgm_ops"], name="wallet_by_part_of_name"),
            GinIndex(
                fields=["display_name"],
                opclasses=["gin_trgm_ops"],
                condition=~Q(display_name=""),
                name="wallet_by_part_of_display",
            ),
            models.Index(
                fields=["display_name"], include=["id"], condition=~Q(display_name=""), name="wallet_by_display_name"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Token(models.Model):
    """
    One planted tree. A token is a row, not a balance: rows are locked, never the wallet.

    Only `transfers.ledger` and the import of a Treetracker database write here. Every move rewrites all indexes, so
    each has a query that needs it. The wallet has no foreign key constraint, which would lock the row of a busy wallet
    once for every token that it receives.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    capture_id = models.UUIDField(unique=True)
    wallet = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="tokens", db_index=False, db_constraint=False
    )
    transfer_pending_id = models.UUIDField(null=True, blank=True)
    # How often the token moved: its history has the numbers 0 (issue) to `moves`.
    moves = models.IntegerField(default=0)
    # Position in the order of arrival, taken after the row was locked: the newest is highest.
    arrival = models.BigIntegerField()
    # A random number for shuffling. Bundles are selected from a random start position, so that concurrent selections
    # do not meet at one end of the index. With the primary key in this role, the planner may choose to scan it.
    lot = models.IntegerField()
    claim = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["wallet", "lot"], condition=Q(transfer_pending_id=None), name="token_free_by_lot"),
            models.Index(fields=["wallet", "arrival"], name="token_by_arrival"),
            models.Index(
                fields=["transfer_pending_id"],
                condition=Q(transfer_pending_id__isnull=False),
                name="token_by_reservation",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class ApiKey(models.Model):
    """A partner application's key. Stored as a SHA-256 digest; shown once, at creation."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12)
    digest = models.BinaryField(max_length=32, unique=True)
    batch_access = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class BearerToken(models.Model):
    """
    The credential of a wallet that has authenticated; clients call it a session. Stored as a SHA-256 digest, revocable.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="bearer_tokens")
    # The first characters of the secret part: see `wallets.bearer_tokens`.
    prefix = models.CharField(max_length=12)
    digest = models.BinaryField(max_length=32, unique=True)
    # With which key and from where the wallet logged in. NULL for tokens from before these were recorded.
    api_key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    address = models.GenericIPAddressField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        # For operators: by the digits that they see, and the newest of all wallets.
        indexes = [
            models.Index(fields=["prefix"], opclasses=["varchar_pattern_ops"], name="bearer_token_by_prefix"),
            models.Index(fields=["-created_at", "-id"], name="bearer_token_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…"


class RestrictedKey(models.Model):
    """
    A credential that a wallet makes for a program: some scopes, on some wallets, from some networks. Stored as a
    SHA-256 digest.

    It stands in place of a bearer token of the wallet, and reaches those of `wallet_ids` that the wallet controls now:
    see `wallets.restrictions`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="restricted_keys")
    name = models.CharField(max_length=64)
    # The first characters: see `wallets.restricted_keys`.
    prefix = models.CharField(max_length=16)
    digest = models.BinaryField(max_length=32, unique=True)
    scopes = ArrayField(models.CharField(max_length=24, choices=KeyScope))
    # Wallets are never deleted.
    wallet_ids = ArrayField(models.UUIDField())
    # Addresses and networks in CIDR notation; none: all.
    networks = ArrayField(models.CharField(max_length=43), default=list, blank=True)
    # The bearer token that made it. For an approval both are one credential.
    made_with = models.UUIDField(null=True, blank=True)
    tokens_per_transfer = models.IntegerField(null=True, blank=True)
    # Those that were moved or reserved on the day `spent_on` (UTC) are `spent`.
    tokens_per_day = models.IntegerField(null=True, blank=True)
    spent_on = models.DateField(null=True, blank=True)
    spent = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(scopes=[]) & ~Q(wallet_ids=[]), name="key_has_scopes_and_wallets"),
            models.CheckConstraint(
                condition=(Q(tokens_per_transfer=None) | Q(tokens_per_transfer__gt=0))
                & (Q(tokens_per_day=None) | Q(tokens_per_day__gte=F("spent"))),
                name="key_within_its_limits",
            ),
        ]
        # For operators: the newest of all wallets.
        indexes = [models.Index(fields=["-created_at", "-id"], name="restricted_key_newest")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def event_payload(self) -> dict[str, object]:
        """The payload of an event about the key."""
        return {"keyId": self.pk, "keyName": self.name, "keyScopes": self.scopes}


class KnownOrigin(models.Model):
    """
    An address or an API key from which an account has logged in, as a keyed digest. See `wallets.origins`.
    """

    # Which accounts: those of wallets ("wallet"), or of operators.
    kind = models.CharField(max_length=16)
    account = models.CharField(max_length=150)
    means = models.CharField(max_length=8, choices=OriginMeans)
    digest = models.BinaryField(max_length=32)
    last_login_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "account", "digest"], name="known_origin_once"),
        ]

    def __str__(self) -> str:
        return f"{self.means} of {self.kind} {self.account}"


class Event(models.Model):
    """
    An event of a wallet, written in the transaction of its effect. Append-only (a trigger).

    The table is partitioned by time (`config.ops.event_retention`); each partition has unique indexes of id and number.

    Something that happens to two wallets is two events. The creation of a transfer is not stored: `transfers.events`
    reads it from the transfer.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # The position among all events: see `wallets.event_sequence`.
    number = models.BigIntegerField(unique=True, editable=False)
    # Without a foreign key constraint: with one, dropping a partition locks the table of wallets. Wallets are never
    # deleted.
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    type = models.CharField(max_length=41, choices=EventType)
    payload = models.JSONField()
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["wallet", "number"], name="event_by_wallet")]

    def __str__(self) -> str:
        return f"{self.type} {self.wallet_id}"


class EventPosition(models.Model):
    """
    One row: the number up to which the order of events is final, for standby servers, and when it was written; and the
    number from which events are kept (`config.ops.event_retention`), and when it was changed last.
    """

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    # See `wallets.event_sequence`.
    settled = models.BigIntegerField()
    at = models.DateTimeField()
    kept_from = models.BigIntegerField(default=0, db_default=0)
    kept_from_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="event_position_is_one_row")]

    def __str__(self) -> str:
        return str(self.settled)


class IdempotentAnswer(models.Model):
    """
    The answer to a request that carried an Idempotency-Key, written in the transaction of its effect. Kept for 7 days.

    Each week has a partition (`config.ops.partitions`), with a unique index of wallet and key, and none of the id. The
    trigger `idempotentanswer_once` refuses a key that a row of the next or the last week has.

    It is a status and an encrypted body, since an answer may hold a transmit code; or only the id of what the request
    created (a transfer), from which the API rebuilds the same answer.
    """

    # Without a foreign key constraint, which would lock the wallet's row for each transfer. Wallets are never deleted.
    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    status = models.SmallIntegerField(null=True)
    body = models.BinaryField(null=True)
    result_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    # The Monday of its week (UTC): selects the partition.
    week = models.DateField(
        db_default=models.Func(
            template="date_trunc('week', statement_timestamp() AT TIME ZONE 'UTC')::date",
            output_field=models.DateField(),
        )
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["wallet", "key", "week"], name="idempotency_key_is_used_once"),
        ]

    def __str__(self) -> str:
        return f"{self.result_id or self.status}, of {self.created_at}"


class OperatorAction(models.Model):
    """
    An operator's action, written in the transaction of its effect. Append-only (a trigger).

    `before` and `after` hold what the confirmation showed and the result, never a secret. The object is named by kind
    and id, because it may belong to any app, or have no row.
    """

    id = models.BigAutoField(primary_key=True)
    staff = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    verb = models.CharField(max_length=24, choices=OperatorVerb)
    object_kind = models.CharField(max_length=24)
    object_id = models.CharField(max_length=64, blank=True)
    # The name of the object at that time.
    object_label = models.CharField(max_length=254, blank=True)
    # All objects that it concerns, in the form of `operator_log.thing`: the object first, then what else was changed.
    things = ArrayField(models.CharField(max_length=128), default=list, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    # A confirmation has one effect, however often it is sent.
    confirmation = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["object_kind", "object_id", "-id"], name="operator_action_by_object"),
            GinIndex(fields=["things"], name="operator_action_by_thing"),
        ]
        # One for each action of the admin; `config.admin.roles` assigns them to roles.
        permissions = [
            ("act_create_wallet", "Can create wallets"),
            ("act_set_password", "Can set the passwords of wallets"),
            ("act_revoke_bearer_tokens", "Can revoke all bearer tokens of a wallet"),
            ("act_revoke_bearer_token", "Can revoke a bearer token"),
            ("act_end_restricted_key", "Can end restricted keys of wallets"),
            ("act_end_restricted_keys", "Can end all restricted keys of a wallet"),
            ("act_create_api_key", "Can create API keys"),
            ("act_rotate_api_key", "Can rotate API keys"),
            ("act_revoke_api_key", "Can revoke API keys"),
            ("act_issue_tokens", "Can issue tokens"),
            ("act_end_trust", "Can end trusts between wallets"),
            ("act_cancel_transfer", "Can cancel transfers in the name of others"),
            ("act_cancel_payment_request", "Can cancel payment requests in the name of others"),
            ("act_cancel_action_token", "Can cancel claim links of others"),
            ("act_start_find", "Can look for coins in doubt"),
            ("act_start_fix", "Can fix coins"),
            ("act_check_coins", "Can check coins"),
            ("act_retry_task", "Can begin tasks again"),
            ("act_roll_back_task", "Can roll tasks back"),
            ("act_mark_task_seen", "Can mark tasks as seen"),
            ("act_run_audit", "Can run the audit"),
            ("act_pseudonymise_wallet", "Can pseudonymise closed wallets"),
            ("act_rehearse_outage", "Can let servers of the local network misbehave"),
        ]

    def __str__(self) -> str:
        return f"{self.get_verb_display()}: {self.object_label or self.object_kind}"


class AuditRun(models.Model):
    """
    One audit: when, by whom (NULL: by schedule), and what it found.

    It reads all rows, or (`is_of_all` is false) what is new and a sample. At most one of each kind is RUNNING; a
    finished one never changes (a trigger). `findings` holds the first findings only, `findings_count` the number of
    all.
    """

    id = models.BigAutoField(primary_key=True)
    staff = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    is_of_all = models.BooleanField(db_default=True)
    result = models.CharField(max_length=8, choices=AuditResult, default=AuditResult.RUNNING)
    findings_count = models.IntegerField(default=0)
    findings = models.JSONField(default=list, blank=True)
    # Why it failed.
    error = models.CharField(max_length=250, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(result=AuditResult.RUNNING, finished_at=None)
                | Q(result__in=[AuditResult.SOUND, AuditResult.UNSOUND, AuditResult.FAILED], finished_at__isnull=False),
                name="audit_run_is_finished_when_final",
            ),
            models.CheckConstraint(
                condition=Q(result=AuditResult.UNSOUND, findings_count__gt=0)
                | (~Q(result=AuditResult.UNSOUND) & Q(findings_count=0)),
                name="audit_run_is_unsound_with_findings",
            ),
            models.UniqueConstraint(
                fields=["is_of_all"], condition=Q(result=AuditResult.RUNNING), name="audit_run_one_at_a_time"
            ),
        ]

    def __str__(self) -> str:
        return f"audit of {self.started_at:%Y-%m-%d %H:%M}: {self.get_result_display().lower()}"
