"""What is known of the 25 servers."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from lockers.raida.statuses import RAIDA_COUNT


class ServerHealth(models.Model):
    """
    A server that fell silent lately: a hint for whom to spare, never a reason for anything else.

    `silences` counts those one after the other; 0 is one that was given up on and not asked since.
    """

    raida = models.SmallIntegerField(primary_key=True)
    silences = models.IntegerField(default=0)
    silent_since = models.DateTimeField(db_default=Now())
    rest_until = models.DateTimeField(null=True, blank=True)
    probed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(raida__gte=0, raida__lt=RAIDA_COUNT), name="server_is_one_of_25"),
        ]

    def __str__(self) -> str:
        return f"RAIDA {self.raida}"


class ServerReading(models.Model):
    """What a server said to the last regular echo, for operators: nothing is decided by it."""

    raida = models.SmallIntegerField(primary_key=True)
    asked_at = models.DateTimeField(db_default=Now())
    # "answered", or why the silence (`network.SilenceReason`).
    outcome = models.CharField(max_length=10)
    # Of the last answer, which may be older than the last question.
    answered_at = models.DateTimeField(null=True, blank=True)
    latency_ms = models.IntegerField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(raida__gte=0, raida__lt=RAIDA_COUNT), name="reading_is_of_one_of_25"),
        ]

    def __str__(self) -> str:
        return f"RAIDA {self.raida}: {self.outcome}"
