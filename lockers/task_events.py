"""
Events of tasks and coins in the event feed, written in the transaction that settles a task or changes a balance.

A task that moves coins is settled when it ends, and again each time a later task has settled coins that it left in
limbo. Payloads name tasks, wallets and amounts in coins: no transmit code, no serial number, no text of the user.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from lockers.raida.coins import json_amount
from lockers.states import TaskKind, TaskState
from wallets import operations as wallet_operations
from wallets.models import Wallet
from wallets.states import EventType

TYPE_OF: Final = {
    TaskKind.PUT: EventType.LOCKER_PUT_SETTLED,
    TaskKind.TAKE: EventType.LOCKER_TAKE_SETTLED,
    TaskKind.IMPORT: EventType.COINS_IMPORT_SETTLED,
    TaskKind.EXPORT: EventType.COINS_EXPORT_SETTLED,
    TaskKind.TRANSFER: EventType.COINS_TRANSFER_SETTLED,
}
# Fields of a task's result with an amount in units of 10^-8, and the field of the payload.
_AMOUNTS: Final = {
    "total_failed": "amountFailed",
    "total_unknown": "amountUnknown",
    "total_left": "amountLeft",
}


def record_settled(
    *,
    task_id: UUID,
    kind: str,
    wallet_id: UUID,
    locker_id: UUID | None,
    state: str,
    result: Mapping[str, Any],
    settled_by: UUID | None = None,
) -> None:
    """
    Write the event of a task that has ended, or whose result a later task has changed (`settled_by`).

    Kinds that move no coins have none. The caller has opened the transaction of the change.
    """
    event_type = TYPE_OF.get(TaskKind(kind))
    if event_type is None:
        return
    payload: dict[str, Any] = {
        "taskId": task_id,
        "taskState": TaskState(state).value,
        "amount": json_amount(result.get("total_stored" if kind == TaskKind.PUT else "total", 0)),
    }
    payload |= {field: json_amount(result[name]) for name, field in _AMOUNTS.items() if result.get(name)}
    if kind == TaskKind.PUT and locker_id is not None:
        payload["lockerId"] = locker_id
    if kind == TaskKind.TRANSFER and "to" in result:
        payload["walletReceiver"] = result["to"]
    if settled_by is not None:
        payload["settledBy"] = settled_by
    wallet_operations.record_events([(wallet_id, event_type, payload)])


def record_received(*, task_id: UUID, received: Sequence[tuple[UUID, int, int, str, UUID | None]]) -> None:
    """
    Write an event for each wallet whose balance a task has raised.

    `received` has the wallet, the amount and the new balance in units of 10^-8, the type of the line in the statement,
    and the wallet that sent, if one did. The caller has opened the transaction of the change.
    """
    if not received:
        return
    senders = Wallet.objects.in_bulk([sender for *_, sender in received if sender is not None])
    wallet_operations.record_events(
        [
            (
                wallet_id,
                EventType.COINS_RECEIVED,
                {
                    "taskId": task_id,
                    "amount": json_amount(units),
                    "balance": json_amount(balance),
                    "lineType": line_type,
                    **({} if sender is None else {"walletSender": senders[sender].name}),
                },
            )
            for wallet_id, units, balance, line_type, sender in received
        ]
    )
