"""Deleting tasks that only looked."""

from datetime import timedelta
from typing import Final

from django.db.models.functions import Now

from lockers.models import LockerTask
from lockers.states import TaskKind

# Whoever asked has read the answer by then.
_LOOKS_ARE_KEPT: Final = timedelta(days=1)


_PURGED_AT_ONCE: Final = 1000


def purge() -> int:
    """Delete peeks and echoes that ended a day ago, and return how many."""
    old = LockerTask.objects.filter(kind__in=[TaskKind.PEEK, TaskKind.ECHO], finished_at__lt=Now() - _LOOKS_ARE_KEPT)
    total = 0
    while ids := list(old.order_by("finished_at").values_list("pk", flat=True)[:_PURGED_AT_ONCE]):
        LockerTask.objects.filter(pk__in=ids).delete()
        total += len(ids)
    return total
