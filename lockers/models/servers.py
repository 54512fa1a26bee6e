"""What is known of the 25 servers."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from lockers.raida.statuses import RAIDA_COUNT


class ServerHealth(models.Model):
    """
    The circuit breaker of a server that failed lately; advisory, used only to skip servers.

    `silences` is the number of consecutive failures; 0 if a request was cancelled and none was sent since.
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
    """The result of a server's last regular echo, for display to operators only."""

    raida = models.SmallIntegerField(primary_key=True)
    asked_at = models.DateTimeField(db_default=Now())
    # "answered", or the reason for no response.
    outcome = models.CharField(max_length=10)
    # Of the last answer, which may be earlier than `asked_at`.
    answered_at = models.DateTimeField(null=True, blank=True)
    latency_ms = models.IntegerField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(raida__gte=0, raida__lt=RAIDA_COUNT), name="reading_is_of_one_of_25"),
        ]

    def __str__(self) -> str:
        return f"RAIDA {self.raida}: {self.outcome}"
