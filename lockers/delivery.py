"""
Delivery of coins without a server: to another wallet of this ledger, or into a file.

Each function is a part of its caller's transaction. The coins are free and locked, or reserved for the task because a
larger coin had to be broken first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection

from lockers import account_ledger, errors, export_file_names, payment_ledger
from lockers.account_ledger import Posting
from lockers.coin_breaks import POOL
from lockers.models import Coin, Export, LockerTask
from lockers.raida.coins import value_of
from lockers.states import SPENDABLE, CoinState, FileType, LineType, TaskKind
from wallets.models import Wallet


def deliver(task: LockerTask) -> Mapping[str, Any]:
    """
    Deliver the reserved coins of a task that had a coin broken first, and return its result.

    :raises payment_ledger.Refused: they were to pay a payment request that is closed now
    """
    if "payment_request" in task.plan:
        payment_ledger.admit(task_id=task.pk, units=task.amount or 0)
    reserved = Coin.objects.filter(task=task, batch__gt=POOL).order_by("id")
    rows = list(reserved.select_for_update(no_key=True, of=("self",)).values_list("id", "denomination"))
    if sum(value_of(denomination) for _, denomination in rows) != task.amount:
        raise AssertionError("the coins that a task has reserved are not worth its amount")
    coin_ids = [coin_id for coin_id, _ in rows]
    if task.kind == TaskKind.TRANSFER:
        return hand_over(task=task, receiver=Wallet.objects.get(pk=task.plan["receiver"]), coin_ids=coin_ids)
    return write_out(task=task, file_type=FileType(task.plan["type"]), coin_ids=coin_ids)


def hand_over(*, task: LockerTask, receiver: Wallet, coin_ids: Sequence[UUID]) -> Mapping[str, Any]:
    """
    Move coins of the task's wallet, worth its amount, to another wallet, and return the result.

    :raises CoinsBusy: another transaction took some of them
    """
    giver, units = task.wallet, task.amount or 0
    _move(_HAND_OVER, receiver.pk, task, coin_ids)
    _write_receipt(task, coin_ids)
    account_ledger.post(
        task_id=task.pk,
        postings=[
            Posting(giver.pk, -units, LineType.TRANSFER_OUT, receiver.pk),
            Posting(receiver.pk, units, LineType.TRANSFER_IN, giver.pk),
        ],
    )
    return {"total": units, "coins": len(coin_ids), "from": giver.name, "to": receiver.name}


def write_out(*, task: LockerTask, file_type: FileType, coin_ids: Sequence[UUID]) -> Mapping[str, Any]:
    """
    Move coins of the task's wallet, worth its amount, into a new export, and return the result.

    :raises CoinsBusy: another transaction took some of them
    """
    units, number = task.amount or 0, len(coin_ids)
    if number == 1:
        number = Coin.objects.values_list("serial_number", flat=True).get(pk=coin_ids[0])
    file_name = export_file_names.file_name(units=units, number=number, tag=task.tag, extension=file_type)
    export = Export.objects.create(
        task=task, wallet=task.wallet, type=file_type, file_name=file_name, coin_count=len(coin_ids)
    )
    _move(_WRITE_OUT, export.pk, task, coin_ids)
    _write_receipt(task, coin_ids)
    account_ledger.post(task_id=task.pk, postings=[Posting(task.wallet_id, -units, LineType.EXPORTED)])
    return {"total": units, "coins": len(coin_ids), "type": file_type, "file": file_name}


def _move(statement: str, target: UUID, task: LockerTask, coin_ids: Sequence[UUID]) -> None:
    reserved_for = task.pk if task.plan.get("breaks") else None
    with connection.cursor() as cursor:
        cursor.execute(
            statement, [target, list(coin_ids), task.wallet_id, reserved_for, [str(state) for state in SPENDABLE]]
        )
        if cursor.rowcount != len(coin_ids):
            raise errors.CoinsBusy("Other tasks reserved the same coins first; try again")


_HAND_OVER: Final = """
UPDATE lockers_coin SET wallet_id = %s, changed_at = now(), task_id = NULL, batch = NULL, outcome = ''
 WHERE id = ANY(%s) AND wallet_id = %s AND task_id IS NOT DISTINCT FROM %s AND state = ANY(%s)
"""
_WRITE_OUT: Final = f"""
UPDATE lockers_coin SET state = '{CoinState.EXPORTED}', export_id = %s, changed_at = now(), task_id = NULL,
       batch = NULL, outcome = ''
 WHERE id = ANY(%s) AND wallet_id = %s AND task_id IS NOT DISTINCT FROM %s AND state = ANY(%s)
"""  # noqa: S608 - constants


def _write_receipt(task: LockerTask, coin_ids: Sequence[UUID]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lockers_receiptline (task_id, denomination, serial_number, pown, state)"
            " SELECT %s, denomination, serial_number, pown, state FROM lockers_coin WHERE id = ANY(%s)",
            [task.pk, list(coin_ids)],
        )
