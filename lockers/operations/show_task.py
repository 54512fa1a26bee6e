"""Showing a task, with the transmit code that it made."""

from uuid import UUID

from django.db.models.functions import Now

from lockers import queries
from lockers.models import LockerTask
from wallets.models import Wallet


def show(*, actor: Wallet, task_id: UUID) -> queries.TaskView:
    """
    Return a task, with the transmit code that it made if that may be told, and note when it was told first.

    :raises TaskNotFound: no such task, or somebody else's
    """
    view = queries.task_visible_to(actor=actor, task_id=task_id)
    if view.code is not None and view.task.code_shown_at is None:
        # Before the answer leaves: one that is lost was told too, and may be asked for again for a while.
        LockerTask.objects.filter(pk=task_id, code_shown_at=None).update(code_shown_at=Now())
    return view
