"""Show a task, and record when its transmit code was shown first."""

from uuid import UUID

from django.db.models.functions import Now

from lockers import queries
from lockers.models import LockerTask
from wallets.models import Wallet


def show(*, actor: Wallet, task_id: UUID) -> queries.TaskView:
    """
    Return a task, with the transmit code of a put if it may still be shown, and record when it was shown first.

    :raises TaskNotFound: no such task, or not visible to the actor
    """
    view = queries.task_visible_to(actor=actor, task_id=task_id)
    if view.code is not None and view.task.code_shown_at is None:
        # Recorded before the response is sent: a client that lost the response may ask again for a while.
        LockerTask.objects.filter(pk=task_id, code_shown_at=None).update(code_shown_at=Now())
    return view
