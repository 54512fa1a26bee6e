"""Echo: ask all servers whether they are there."""

from django.db import transaction

from lockers.operations import new_task
from lockers.operations.new_task import Started
from lockers.states import TaskKind
from wallets.models import Wallet


def start(*, actor: Wallet) -> Started:
    """Begin to ask all servers whether they are there."""
    with transaction.atomic(savepoint=False):
        return Started(new_task.open_task(TaskKind.ECHO, wallet=actor, actor=actor))
