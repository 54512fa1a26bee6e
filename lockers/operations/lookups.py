"""Peeks and echoes: tasks that change nothing, and are deleted after a day."""

from datetime import timedelta
from typing import Final

from django.db.models.functions import Now

from lockers.models import LockerTask
from lockers.states import TaskKind

# Clients have polled the result by then.
_KEPT_FOR: Final = timedelta(days=1)


_BATCH: Final = 1000


def purge() -> int:
    """Delete peeks and echoes that ended a day ago, and return how many."""
    old = LockerTask.objects.filter(kind__in=[TaskKind.PEEK, TaskKind.ECHO], finished_at__lt=Now() - _KEPT_FOR)
    total = 0
    while ids := list(old.order_by("finished_at").values_list("pk", flat=True)[:_BATCH]):
        LockerTask.objects.filter(pk__in=ids).delete()
        total += len(ids)
    return total
