"""Take: all coins of a locker into a wallet."""

from uuid import UUID

from django.views.decorators.debug import sensitive_variables

from lockers.operations import new_task
from lockers.operations.new_task import Started
from lockers.states import TaskKind
from wallets.models import Wallet


@sensitive_variables("code")
def start(
    *, actor: Wallet, name: str, code: str, tag: str = "", address: str = "", task_id: UUID | None = None
) -> Started:
    """
    Start to take all coins out of the locker of the code, into the named wallet; as `new_task.open_with_code`.

    :raises IntegrityError: there is a task with the `task_id`
    """
    return Started(
        new_task.open_with_code(
            TaskKind.TAKE, actor=actor, name=name, code=code, tag=tag, address=address, task_id=task_id
        )
    )
