"""Peek: list the coins of a locker."""

from uuid import uuid4

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from lockers import coin_secrets, wrong_code_limits
from lockers.operations import new_task
from lockers.operations.new_task import Started
from lockers.states import TaskKind
from wallets.models import Wallet


@sensitive_variables("code")
def start(*, actor: Wallet, code: str, address: str = "") -> Started:
    """
    Begin to look into the locker that the code opens. `address` is the caller's, for counting wrong codes.

    :raises InvalidLockerRequest: the text can never be a code
    :raises TooManyWrongCodes, TooManyTasks: as their names say
    """
    code = new_task.valid_code(code)
    asked_from = wrong_code_limits.fingerprint(address)
    wrong_code_limits.refuse_guesser(wallet_id=actor.pk, address=asked_from)
    with transaction.atomic(savepoint=False):
        task_id = uuid4()
        task = new_task.open_task(
            TaskKind.PEEK,
            wallet=actor,
            actor=actor,
            id=task_id,
            code=coin_secrets.seal_task_code(code, task_id=task_id),
            plan={"from": asked_from},
        )
    return Started(task)
