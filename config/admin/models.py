"""
The admin's tables: sessions, second factors, recovery codes, alerts, backups, former names, the request log, proposals.
"""

import uuid
from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from config.admin.states import ProposalState
from config.ops import request_log
from wallets.models import ApiKey, RestrictedKey, Wallet


class Session(models.Model):
    """
    A browser in which a user is signed in, stored under a digest of the session key in its cookie.

    The database and its backups therefore give no access, and `id` may appear in URLs and logs. Deleting the row ends
    the session.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    digest = models.BinaryField(max_length=32, unique=True)
    # Signed, not encrypted; see `config.admin.sessions` for the content.
    data = models.TextField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+")
    address = models.CharField(max_length=45, blank=True)
    agent = models.CharField(max_length=300, blank=True)
    has_second_factor = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        permissions = [
            ("act_end_session", "Can end sessions of others"),
            ("act_create_person", "Can create accounts of people"),
            ("act_change_role", "Can change roles of people"),
            ("act_change_mail", "Can change mail addresses of people"),
            ("act_change_active", "Can deactivate and activate people"),
            ("act_set_person_password", "Can set passwords of people"),
            ("act_reset_second_factor", "Can reset second factors of people"),
        ]

    def __str__(self) -> str:
        return f"session {str(self.id)[:8]}"


class SecondFactor(models.Model):
    """
    A person's authenticator app (TOTP, RFC 6238: SHA-1, 6 digits, 30 seconds).

    The secret is sealed with the vault key. `last_step` is the time step of the last code that was accepted: only
    later ones are. `failures` in a row make the next attempt wait, from `failed_at` on.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="second_factor")
    secret = models.BinaryField()
    last_step = models.BigIntegerField()
    failures = models.IntegerField(default=0)
    failed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"second factor of {self.user_id}"


class RecoveryCode(models.Model):
    """A code that replaces the authenticator app once. Stored as a SHA-256 digest of 80 random bits."""

    id = models.BigAutoField(primary_key=True)
    factor = models.ForeignKey(SecondFactor, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.BinaryField(max_length=32, unique=True)
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"recovery code {self.pk}"


class Identity(models.Model):
    """
    The person of an OpenID Connect provider to whom an account belongs: the subject is unique at the issuer.

    Such an account has no password that is accepted (`config.admin.backends`).
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="identity"
    )
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="identity_is_of_one_account")]

    def __str__(self) -> str:
        return f"identity of {self.user_id}"


class Alert(models.Model):
    """
    Something that must be acted on, from when it was first seen until it was no longer so.

    `kind` is the key of the tile that is red (`config.admin.tiles`), and `subject` the id of what it reports if it
    reports more than one. `state` is what the tile said last. At most one alert of a kind and subject is open.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=32)
    subject = models.CharField(max_length=64, blank=True, default="")
    title = models.CharField(max_length=120)
    state = models.CharField(max_length=254)
    opened_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    # The number of the last notice, which is sent again while the alert is open and not acknowledged.
    notices = models.IntegerField(default=0)
    noticed_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    note = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "subject"], condition=Q(closed_at=None), name="alert_is_open_once"),
            models.CheckConstraint(
                condition=Q(acknowledged_at=None, acknowledged_by=None, note="")
                | Q(acknowledged_at__isnull=False, acknowledged_by__isnull=False),
                name="alert_is_acknowledged_by_someone",
            ),
        ]
        indexes = [models.Index(fields=["-opened_at", "-id"], name="alert_newest")]
        permissions = [("act_acknowledge_alert", "Can acknowledge alerts")]

    def __str__(self) -> str:
        return self.title

    @property
    def is_quiet(self) -> bool:
        """Whether it is open although the last check, of which there is one a minute, did not see it."""
        return self.closed_at is None and timezone.now() - self.seen_at > timedelta(minutes=2)


class NoticeEvent(StrEnum):
    OPENED = "opened"
    REPEATED = "repeated"
    CLOSED = "closed"


class NoticeChannel(StrEnum):
    MAIL = "mail"
    CALL = "call"  # an HTTP request


class NoticeState(StrEnum):
    PENDING = "pending"  # is sent, or sent again, when it is due
    SENT = "sent"
    FAILED = "failed"  # every attempt failed


class AlertNotice(models.Model):
    """
    A mail or a call that reports an alert: `number` counts those of an alert in each channel.

    `lease_until` is the end of the lease of the worker of `attempt`, NULL without a worker; the write of that worker is
    fenced by the attempt number.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="+", db_index=False)
    number = models.IntegerField()
    channel = models.CharField(max_length=4, choices=[(each, each) for each in NoticeChannel])
    event = models.CharField(max_length=8, choices=[(each, each) for each in NoticeEvent])
    # What the tile said when the notice was made.
    text = models.CharField(max_length=254)
    state = models.CharField(max_length=7, default=NoticeState.PENDING, choices=[(each, each) for each in NoticeState])
    attempt = models.IntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    # Of the last attempt that failed, in one word.
    error = models.CharField(max_length=40, blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["alert", "channel", "number"], name="notice_of_an_alert_is_one"),
            models.CheckConstraint(condition=Q(state__in=list(NoticeState)), name="notice_state_is_known"),
            models.CheckConstraint(
                condition=Q(state=NoticeState.PENDING) | Q(lease_until=None), name="notice_is_leased_while_pending"
            ),
        ]
        indexes = [
            models.Index(fields=["channel", "due_at"], condition=Q(state=NoticeState.PENDING), name="notice_pending"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.channel}"


class Backup(models.Model):
    """A backup that `manage.py backup` completed. The backup itself does not hold its row."""

    id = models.BigAutoField(primary_key=True)
    made_at = models.DateTimeField(db_index=True)
    bytes = models.BigIntegerField()

    def __str__(self) -> str:
        return f"backup of {self.made_at:%Y-%m-%d %H:%M}"

    @classmethod
    def latest(cls) -> datetime | None:
        """Return when the data of the last backup was read, or None without one."""
        return cls.objects.order_by("-made_at").values_list("made_at", flat=True).first()


def _summaries(column: str, *, name: str, values: int) -> BrinIndex:
    """Return an index that has a Bloom filter for each 32 blocks, of at most this number of values."""
    operators = f"text_bloom_ops(n_distinct_per_range={values})"
    return BrinIndex(fields=[column], name=name, opclasses=[operators], pages_per_range=32, autosummarize=True)


class FormerName(models.Model):
    """
    The name of a wallet before it was pseudonymised, until requests that began earlier have ended.

    `config.ops.pseudonyms` writes and deletes it.
    """

    wallet = models.OneToOneField(Wallet, primary_key=True, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=254)
    due_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"former name of {self.wallet_id}"


class Request(models.Model):
    """
    A request that was answered. `config.ops.request_log` writes and drops the rows.

    The table has a partition for each day, by `id`, which is the time. Foreign keys have no constraints: each would
    lock the row of a busy wallet for every request.
    """

    id = models.BigIntegerField(primary_key=True)
    request_id = models.CharField(max_length=64, blank=True)
    method = models.CharField(max_length=7)
    # The pattern of the path, as in metrics and logs.
    route = models.CharField(max_length=200)
    status = models.SmallIntegerField()
    milliseconds = models.FloatField()
    client = models.CharField(max_length=45, blank=True)
    api_key = models.ForeignKey(
        ApiKey, on_delete=models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    wallet = models.ForeignKey(
        Wallet, on_delete=models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    # The restricted key that was sent in place of a bearer token.
    restricted_key = models.ForeignKey(
        RestrictedKey, on_delete=models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    # The operator, of a page of the admin.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        null=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    # The name of the error, in `config.api.error_codes`.
    error = models.CharField(max_length=40, blank=True)

    class Meta:
        # A successful request is in the primary key and the first four only, with a restricted key also in the fifth.
        # The two of summaries cost next to nothing: they hold a summary for each 32 blocks. In the B-trees the newest
        # is read first. Rows that were refused or failed are few, and what readers look for.
        # tests/benchmarks/README.md has the figures.
        indexes = [
            models.Index(fields=["api_key", "id"], condition=Q(api_key__isnull=False), name="request_by_key"),
            models.Index(fields=["wallet", "id"], condition=Q(wallet__isnull=False), name="request_by_wallet"),
            _summaries("route", name="request_route_summary", values=100),
            _summaries("request_id", name="request_id_summary", values=2000),
            models.Index(
                fields=["restricted_key", "id"],
                condition=Q(restricted_key__isnull=False),
                name="request_by_restricted_key",
            ),
            # A status that is not in it is that of many rows.
            models.Index(fields=["status", "id"], condition=~Q(status__in=(200, 201)), name="request_by_status"),
            models.Index(fields=["error", "id"], condition=~Q(error=""), name="request_by_error"),
            models.Index(fields=["id"], condition=Q(status__gte=400), name="request_refused"),
            models.Index(fields=["id"], condition=Q(status__gte=500), name="request_failed"),
            models.Index(
                fields=["api_key", "id"],
                condition=Q(api_key__isnull=False, status__gte=400),
                name="request_refused_by_key",
            ),
            models.Index(
                fields=["wallet", "id"],
                condition=Q(wallet__isnull=False, status__gte=400),
                name="request_refused_by_wallet",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.route}"

    @property
    def at(self) -> datetime:
        """When it was answered."""
        return request_log.time_of(self.id)


class Proposal(models.Model):
    """
    An operator's action that waits for a second operator: see `config.admin.four_eyes`.

    `proposer` is the operator who proposed it. `given` is the input of the form, sealed with the vault key, until it is
    decided. `shown` is the preview that the proposer confirmed.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    proposer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_column="maker_id"
    )
    # The name of the action, and the id of its row, empty if it has none.
    action = models.CharField(max_length=40)
    object_id = models.CharField(max_length=64, blank=True)
    title = models.CharField(max_length=254)
    given = models.BinaryField(null=True)
    shown = models.JSONField(default=list, blank=True)
    reason = models.CharField(max_length=500)
    state = models.CharField(max_length=8, choices=ProposalState, default=ProposalState.OPEN)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state=ProposalState.OPEN, decided_at=None, given__isnull=False)
                | (~Q(state=ProposalState.OPEN) & Q(decided_at__isnull=False, given=None)),
                name="proposal_is_open_until_decided",
            ),
            models.CheckConstraint(
                condition=~Q(state=ProposalState.APPROVED)
                | (Q(decided_by__isnull=False) & ~Q(decided_by=models.F("proposer"))),
                name="proposal_is_approved_by_another",
            ),
        ]
        indexes = [models.Index(fields=["-created_at", "id"], name="proposal_by_age")]

    def __str__(self) -> str:
        return self.title
