"""Import: coins of files into a wallet."""

from collections.abc import Sequence
from uuid import uuid4

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from lockers import coin_import, competing_claims, vault
from lockers.models import Upload
from lockers.operations import new_task
from lockers.operations.new_task import Started
from lockers.states import TaskKind
from lockers.worker import task_store
from wallets.models import Wallet


@sensitive_variables("uploads")
def start(*, actor: Wallet, name: str, uploads: Sequence[tuple[str, bytes]], tag: str = "") -> Started:
    """
    Store the coins of files with a fresh number proposed for each server, and start to have the servers swap them.

    `uploads` are pairs of file name and content. Afterwards other copies of the coins are worthless. Files too large
    for a request to read are stored, sealed, for a worker; the task reports what is wrong with them.

    :raises WalletNotFound, WalletNotControlled, TooManyTasks: as for `put.start`
    :raises InvalidLockerRequest: they unfold to more bytes, or hold more coins, than one import takes
    :raises NothingToImport: no file held a coin that could be imported; each file's outcome is in `extra`
    :raises ImportUnderWay: the same, and another task of the wallet has claimed some of the coins
    """
    if not coin_import.is_small(uploads):
        return _store_for_worker(actor=actor, name=name, uploads=uploads, tag=tag)
    found = coin_import.read(uploads)
    with transaction.atomic(savepoint=False):
        wallet = new_task.controlled_wallet(actor, name)
        if not found.records:
            raise coin_import.refusal(found)
        task = new_task.open_task(
            TaskKind.IMPORT,
            wallet=wallet,
            actor=actor,
            coins=len(found.records),
            is_long=task_store.is_long(len(found.records)),
            tag=tag,
        )
        saved = coin_import.save(found, task_id=task.pk, wallet_id=wallet.pk)
        if not saved:
            raise coin_import.refusal(found, is_busy=bool(saved.busy))
        competing_claims.park_if_all_wait(task.pk, saved)
        task.plan = {"two_secrets": found.two_secrets}
        task.result = {"files": [coin_import.outcome_as_json(outcome) for outcome in found.outcomes]}
        task.save(update_fields=["plan", "result"])
    return Started(task, files=found.outcomes)


@sensitive_variables("uploads", "sealed")
def _store_for_worker(*, actor: Wallet, name: str, uploads: Sequence[tuple[str, bytes]], tag: str) -> Started:
    task_id = uuid4()
    sealed = vault.seal_upload(uploads, task_id=task_id)
    with transaction.atomic(savepoint=False):
        wallet = new_task.controlled_wallet(actor, name)
        # The number of coins is not known yet: the deadline allows for the maximum.
        task = new_task.open_task(
            TaskKind.IMPORT,
            wallet=wallet,
            actor=actor,
            id=task_id,
            coins=coin_import.MAXIMUM_COINS,
            is_long=True,
            tag=tag,
            plan={"uploaded": True},
        )
        Upload.objects.create(pk=task.pk, content=sealed)
    return Started(task)
