"""Peek: list the coins of a locker."""

from django.views.decorators.debug import sensitive_variables

from lockers.operations import new_task
from lockers.operations.new_task import Started
from lockers.states import TaskKind
from wallets.models import Wallet


@sensitive_variables("code")
def start(*, actor: Wallet, code: str, address: str = "") -> Started:
    """Start to list the coins in the locker of the code; as `new_task.open_with_code`."""
    return Started(new_task.open_with_code(TaskKind.PEEK, actor=actor, code=code, address=address))
