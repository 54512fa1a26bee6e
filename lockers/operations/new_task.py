"""
Creating a task row: what all commands share.

Each operation is one transaction and sends nothing to the servers; a worker does that afterwards
(`lockers.worker.runner`). A transfer or an export needs no server unless a coin must be broken: its transaction
completes it. Lock order: trust, export, coins, task, locker, accounts.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from lockers import (
    coin_import,
    dispatch,
    errors,
    fair_queue,
    queries,
    task_events,
    vault,
    wrong_code_limits,
)
from lockers.models import LockerTask
from lockers.raida import codes
from lockers.raida.errors import InvalidCode
from lockers.states import Step, TaskKind, TaskState
from lockers.worker import task_store
from trusts import queries as trusts
from wallets.models import Wallet


@dataclass(frozen=True, slots=True)
class Started:
    """A new task, a warning for the caller, and the outcomes of an import's files."""

    task: LockerTask
    warning: str = ""
    files: Sequence[coin_import.FileOutcome] = ()


def controlled_wallet(actor: Wallet, name: str | None) -> Wallet:
    """
    Return the named wallet, or the actor's own; the actor's control of it is locked until the transaction ends.

    A restricted key need not reach the wallet of its owner, which is refused like that of another.

    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: the actor neither is nor manages it
    """
    wallet = actor if name is None else queries.wallet_named(actor=actor, name=name)
    if not trusts.controls_until_commit(actor_id=actor.pk, wallet_id=wallet.pk):
        raise queries.not_controlled(name or wallet.name)
    return wallet


def check_lockers_are_on() -> None:
    """:raises LockersOff: no RAIDA servers are configured"""
    if not settings.RAIDA_HOSTS:
        raise errors.LockersOff


def open_task(
    kind: TaskKind, *, wallet: Wallet, actor: Wallet, coins: int = 0, is_bounded: bool = True, **fields: Any
) -> LockerTask:
    """
    Insert an open task and enqueue it on commit. Its deadline allows for `coins` coins.

    :raises LockersOff: no RAIDA servers are configured
    :raises TooManyTasks: `is_bounded`, and the actor has the maximum number of open tasks
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
    dispatch.enqueue_on_commit(task.pk)
    return task


def create_finished(kind: TaskKind, *, wallet: Wallet, actor: Wallet, message: str, **fields: Any) -> LockerTask:
    """Insert a completed task for work that the caller's transaction does without a server."""
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
    """
    Return a transmit code as the servers' keys are derived from it.

    :raises InvalidLockerRequest: the text cannot be a code, or not that of a new locker
    """
    try:
        return codes.for_new_locker(code) if is_new else codes.verbatim(code)
    except InvalidCode:
        raise errors.InvalidLockerRequest(errors.NO_NEW_CODE if is_new else errors.NO_CODE) from None


@sensitive_variables("code")
def open_with_code(
    kind: TaskKind,
    *,
    actor: Wallet,
    code: str,
    address: str,
    name: str | None = None,
    tag: str = "",
    task_id: UUID | None = None,
) -> LockerTask:
    """
    Insert an open task that opens a locker with a transmit code, for the named wallet or the actor's.

    `address` is the caller's, for counting wrong codes. With `task_id` the caller chooses the id of the task.

    :raises InvalidLockerRequest: the text cannot be a code
    :raises TooManyWrongCodes: the wallet or the address has sent too many wrong codes
    :raises WalletNotFound, WalletNotControlled, TooManyTasks: as for `put.start`
    """
    code = valid_code(code)
    asked_from = wrong_code_limits.fingerprint(address)
    wrong_code_limits.refuse_guesser(wallet_id=actor.pk, address=asked_from)
    with transaction.atomic(savepoint=False):
        task_id = task_id or uuid4()
        return open_task(
            kind,
            wallet=controlled_wallet(actor, name),
            actor=actor,
            id=task_id,
            tag=tag,
            code=vault.seal_task_code(code, task_id=task_id),
            plan={"from": asked_from},
        )


def store_result(task: LockerTask, result: Mapping[str, Any]) -> None:
    """Store the result of a task from `create_finished`, and write its event."""
    task.result = dict(result)
    task.save(update_fields=["result"])
    task_events.record_settled(
        task_id=task.pk,
        kind=task.kind,
        wallet_id=task.wallet_id,
        locker_id=task.locker_id,
        state=task.state,
        result=task.result,
    )
