"""Webhooks, the messages that are sent to them, and the deliveries of these."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from wallets.models import Wallet
from webhooks.states import DeliveryState, DisabledBy, WebhookState


class Webhook(models.Model):
    """
    An endpoint to which the events of a wallet are sent.

    `owner` is the wallet that set the URL: events are sent only while it controls `wallet`. `secret` and
    `previous_secret` are sealed (`webhooks.secrets`); the second signs too until `previous_until`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="webhooks", db_index=False)
    owner = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    url = models.CharField(max_length=2048)
    # Empty: events of all types.
    event_types = ArrayField(models.CharField(max_length=41), default=list, blank=True)
    state = models.CharField(max_length=8, default=WebhookState.ENABLED, choices=[(s, s) for s in WebhookState])
    disabled_by = models.CharField(max_length=12, blank=True, default="", choices=[(s, s) for s in DisabledBy])
    disabled_at = models.DateTimeField(null=True, blank=True)
    secret = models.BinaryField()
    previous_secret = models.BinaryField(null=True, blank=True)
    previous_until = models.DateTimeField(null=True, blank=True)
    # Only events with a larger number are sent (`wallets.event_sequence`): those since it was enabled.
    after_number = models.BigIntegerField()
    # The first failed attempt since the last success, NULL if that was the last attempt.
    failing_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state=WebhookState.ENABLED, disabled_by="", disabled_at=None)
                | Q(state=WebhookState.DISABLED, disabled_by__in=list(DisabledBy), disabled_at__isnull=False),
                name="webhook_is_disabled_by_something",
            ),
            models.CheckConstraint(
                condition=Q(previous_secret=None, previous_until=None)
                | Q(previous_secret__isnull=False, previous_until__isnull=False),
                name="webhook_previous_secret_ends",
            ),
        ]
        indexes = [
            models.Index(fields=["wallet", "created_at", "id"], name="webhook_of_wallet"),
            models.Index(fields=["-created_at", "-id"], name="webhook_newest"),
            # Of wallets that the owner manages, or managed: the sender looks every few seconds whether it still does.
            models.Index(fields=["owner"], condition=~Q(owner=models.F("wallet")), name="webhook_of_managed"),
        ]
        permissions = [
            ("act_disable_webhook", "Can disable webhooks"),
            ("act_enable_webhook", "Can enable webhooks"),
            ("act_test_webhook", "Can send tests to webhooks"),
            ("act_resend_delivery", "Can send deliveries again"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class WebhookMessage(models.Model):
    """
    What is sent: the body that reports an event, the same for all webhooks and attempts.

    Messages are partitioned by week, as deliveries are (`config.ops.partitions`). Each partition has a unique index of
    the id.
    """

    # Sent as `webhook-id`: that of the event.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    type = models.CharField(max_length=41)
    body = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class WebhookDelivery(models.Model):
    """
    The delivery of a message to a webhook. `status`, `error` and `response` are those of the last attempt.

    `lease_until` is the end of the lease of the worker of `attempt`, NULL without a worker; the write of that worker is
    fenced by the attempt number. `failures` counts the failed attempts of the schedule of retries.

    Deliveries are partitioned by week. Each partition has unique indexes of the id, and of webhook and message. Rows of
    different weeks need none: the fan-out reads each event once.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    # Without a foreign key constraint, which would need one unique index of the ids of all weeks.
    message = models.ForeignKey(
        WebhookMessage, on_delete=models.CASCADE, related_name="deliveries", db_constraint=False
    )
    state = models.CharField(max_length=9, default=DeliveryState.PENDING, choices=[(s, s) for s in DeliveryState])
    attempt = models.IntegerField(default=0, db_default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    failures = models.SmallIntegerField(default=0, db_default=0)
    due_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    milliseconds = models.IntegerField(null=True, blank=True)
    status = models.SmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=40, blank=True, default="", db_default="")
    response = models.TextField(blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=list(DeliveryState)), name="delivery_state_is_known"),
            models.CheckConstraint(
                condition=Q(state=DeliveryState.PENDING) | Q(lease_until=None), name="delivery_is_leased_while_pending"
            ),
            models.UniqueConstraint(fields=["webhook", "message"], name="delivery_of_a_message_is_one"),
        ]
        indexes = [
            models.Index(
                fields=["webhook", "due_at"], condition=Q(state=DeliveryState.PENDING), name="delivery_pending"
            ),
            # The deliveries that a worker has: few.
            models.Index(fields=["webhook"], condition=Q(lease_until__isnull=False), name="delivery_leased"),
            models.Index(fields=["webhook", "-created_at", "-id"], name="delivery_of_webhook"),
            # Few among many that were delivered.
            models.Index(
                fields=["webhook", "state", "-created_at", "-id"],
                condition=Q(state__in=[DeliveryState.FAILED, DeliveryState.CANCELLED]),
                name="delivery_given_up",
            ),
            models.Index(fields=["-created_at", "-id"], name="delivery_newest"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class FanOut(models.Model):
    """One row: the number of the last event of which deliveries were created."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    number = models.BigIntegerField()
    # Until when one worker sends: a second one that begins meanwhile ends at once.
    sender_until = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="fan_out_is_one_row")]

    def __str__(self) -> str:
        return str(self.number)
