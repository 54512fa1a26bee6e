"""Take: all coins out of a locker, into a wallet."""

from uuid import uuid4

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from lockers import coin_secrets, wrong_code_limits
from lockers.operations import new_task
from lockers.operations.new_task import Started
from lockers.states import TaskKind
from wallets.models import Wallet


@sensitive_variables("code")
def start(*, actor: Wallet, name: str, code: str, tag: str = "", address: str = "") -> Started:
    """
    Begin to take all coins out of the locker that the code opens, into the named wallet.

    `address` is the caller's, for counting wrong codes.

    :raises WalletNotFound, WalletNotControlled, InvalidLockerRequest: as for `put.start`
    :raises TooManyWrongCodes, TooManyTasks: as their names say
    """
    code = new_task.valid_code(code)
    asked_from = wrong_code_limits.fingerprint(address)
    wrong_code_limits.refuse_guesser(wallet_id=actor.pk, address=asked_from)
    with transaction.atomic(savepoint=False):
        wallet = new_task.controlled_wallet(actor, name)
        task_id = uuid4()
        task = new_task.open_task(
            TaskKind.TAKE,
            wallet=wallet,
            actor=actor,
            id=task_id,
            tag=tag,
            code=coin_secrets.seal_task_code(code, task_id=task_id),
            plan={"from": asked_from},
        )
    return Started(task)
