"""Echo: ask all servers for a sign of life."""

from django.db import transaction

from lockers.operations import new_task
from lockers.operations.new_task import Started
from lockers.states import TaskKind
from wallets.models import Wallet


def start(*, actor: Wallet) -> Started:
    """Start to ask all servers for a sign of life."""
    with transaction.atomic(savepoint=False):
        return Started(new_task.open_task(TaskKind.ECHO, wallet=new_task.controlled_wallet(actor, None), actor=actor))
