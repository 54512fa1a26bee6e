"""
Creating a task: what every command shares.

Each operation is one transaction and talks to no network; a worker does that afterwards
(`lockers.worker.runner`). Transfers between wallets and exports need no server: they are done when the
call returns. Lock order: trust, export, coins, task, locker, accounts.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from lockers import coin_import, competing_claims, dispatch, errors, fair_queue, queries
from lockers.competing_claims import Arrivals
from lockers.models import LockerTask
from lockers.raida import codes
from lockers.raida.errors import InvalidCode
from lockers.states import Step, TaskKind, TaskState
from lockers.worker import task_store
from trusts import queries as trusts
from wallets.errors import WalletNotControlled
from wallets.models import Wallet


@dataclass(frozen=True, slots=True)
class Started:
    """A task that was just begun, and what the caller should be told besides."""

    task: LockerTask
    warning: str = ""
    files: Sequence[coin_import.FileOutcome] = ()


def controlled_wallet(actor: Wallet, name: str) -> Wallet:
    """
    The named wallet; the actor's control of it holds until the transaction ends.

    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: it is somebody else's
    """
    wallet = queries.wallet_of(actor=actor, name=name)
    if not trusts.controls_until_commit(actor_id=actor.pk, wallet_id=wallet.pk):
        raise WalletNotControlled(f"The wallet {name} is not yours, and you do not manage it")
    return wallet


def check_lockers_are_on() -> None:
    """:raises LockersOff: no RAIDA servers are named"""
    if not settings.RAIDA_HOSTS:
        raise errors.LockersOff


def open_task(
    kind: TaskKind, *, wallet: Wallet, actor: Wallet, coins: int = 0, is_bounded: bool = True, **fields: Any
) -> LockerTask:
    """
    :raises LockersOff: no RAIDA servers are named
    :raises TooManyTasks: the actor has as many open tasks as it may have, and `is_bounded`
    """
    check_lockers_are_on()
    if is_bounded:
        fair_queue.admit(actor_id=actor.pk)
    task = LockerTask.objects.create(
        kind=kind,
        wallet=wallet,
        actor=actor,
        receipt_id=secrets.token_hex(16),
        deadline=timezone.now() + task_store.time_for(coins),
        **fields,
    )
    dispatch.ring_on_commit(task.pk)
    return task


def create_finished(kind: TaskKind, *, wallet: Wallet, actor: Wallet, message: str, **fields: Any) -> LockerTask:
    """A task for work that needs no server, and that the running transaction does whole."""
    now = timezone.now()
    return LockerTask.objects.create(
        kind=kind,
        wallet=wallet,
        actor=actor,
        state=TaskState.COMPLETED,
        step=Step.DONE,
        progress=100,
        message=message,
        receipt_id=secrets.token_hex(16),
        deadline=now,
        finished_at=now,
        **fields,
    )


@sensitive_variables("code")
def valid_code(code: str, *, is_new: bool = False) -> str:
    try:
        return codes.for_new_locker(code) if is_new else codes.verbatim(code)
    except InvalidCode:
        raise errors.InvalidLockerRequest(errors.NO_NEW_CODE if is_new else errors.NO_CODE) from None


def park_if_all_wait(task: LockerTask, arrivals: Arrivals) -> None:
    """Let no worker take a task that has nothing to do yet; the sweep does not lose sight of it."""
    if not arrivals.saved and arrivals.waiting:
        LockerTask.objects.filter(pk=task.pk).update(
            is_parked=True,
            step=Step.WAITING,
            deadline=Now() + competing_claims.PATIENCE + task_store.time_for(len(arrivals.waiting)),
        )


def store_result(task: LockerTask, result: Mapping[str, Any]) -> None:
    task.result = dict(result)
    task.save(update_fields=["result"])
