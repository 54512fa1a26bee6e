"""Response bodies of tasks and receipts."""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from config.api.cloudcoin.fields import seconds
from config.api.renderers import milliseconds
from lockers.locker_expiry import Expiry
from lockers.models import LockerTask
from lockers.operations.new_task import Started
from lockers.queries import Receipt, TaskView
from lockers.raida.coins import json_amount as coins
from lockers.raida.coins import value_of
from lockers.states import TaskKind, TaskState


def started(begun: Started) -> dict[str, Any]:
    body: dict[str, Any] = {"id": str(begun.task.pk), "status": TaskState.RUNNING.value, "progress": 0}
    if begun.warning:
        body["warning"] = begun.warning
    if begun.files:
        body["files"] = begun.task.result["files"]
    return body


def done(begun: Started) -> dict[str, Any]:
    """Return a task that has ended already, or a running one that first has to break a coin."""
    row = begun.task
    if row.state == TaskState.RUNNING:
        return started(begun)
    return {
        "id": str(row.pk),
        "status": row.state,
        "progress": row.progress,
        "message": row.message,
        "data": data_of(TaskView(row, (), None)),
    }


def task(view: TaskView) -> dict[str, Any]:
    """Return the task resource of seed 000, with the letters of the 25 servers and the steps."""
    row = view.task
    body: dict[str, Any] = {
        "id": str(row.pk),
        "status": row.state,
        "progress": row.progress,
        "message": view.message or DOING[row.step],
    }
    if row.state == TaskState.COMPLETED:
        body["data"] = data_of(view)
    elif row.state == TaskState.ERROR and row.result:
        # The known results of a failed task; `data` is for completed tasks alone.
        body["details"] = data_of(view)
    return (
        body
        | settled(row)
        | {
            "started": seconds(row.created_at),
            "finished": seconds(row.finished_at),
            "type": row.kind,
            "step": row.step,
            "raida": list(view.board),
            "steps": [
                {
                    "command": attempt.command.lower(),
                    "batch": attempt.batch,
                    "asked": sum(answer is not None for answer in attempt.answers),
                    "answered": sum(answer is not None and answer >= 0 for answer in attempt.answers),
                    "done": attempt.settled_at is not None,
                }
                for attempt in view.attempts
            ],
        }
    )


def settled(row: LockerTask) -> dict[str, Any]:
    """Return the later task that settled the coins which this task left unknown, and when."""
    if row.settled_by is None:
        return {}
    by = {"at": seconds(row.settled_at), "task_id": str(row.settled_by_id), "type": row.settled_by.kind}
    return {"settled": by}


DOING: Final = {
    "reserved": "Waiting for a worker",
    "reading": "Reading the files",
    "waiting": "Waiting for another claim to the same coins",
    "peeking": "Looking into the locker",
    "finding": "Asking the servers what they hold",
    "breaking": "Breaking a bigger coin",
    "healing": "Fixing coins that some servers do not accept",
    "sending": "Talking to the servers",
    "asking": "Asking servers that did not answer",
    "returning": "Taking coins back",
    "checking": "Checking the coins",
    "releasing": "Giving coins fresh numbers",
    "done": "",
}


def data_of(view: TaskView) -> dict[str, Any]:
    row, result = view.task, view.task.result
    if row.kind in (TaskKind.TRANSFER, TaskKind.EXPORT) and row.state != TaskState.COMPLETED:
        return {"receipt_id": row.receipt_id}
    match row.kind:
        case TaskKind.PUT:
            # Once shown, the code is only available from the locker.
            data: dict[str, Any] = (
                {"locker_id": str(row.locker_id)} if view.code is None else {"transmit_code": view.code}
            )
            data |= {
                "receipt_id": row.receipt_id,
                "total_stored": coins(result.get("total_stored", 0)),
                "total_failed": coins(result.get("total_failed", 0)),
            }
            if result.get("total_unknown") or row.settled_at is not None:
                data["total_unknown"] = coins(result.get("total_unknown", 0))
            if result.get("fewer"):
                data["coins_on_fewer_servers"] = result["fewer"]
            return data | servers(result) | expiry(view.expiry)
        case TaskKind.TAKE:
            data = {"total": coins(result.get("total", 0)), "receipt_id": row.receipt_id}
            for name in ("total_unknown", "total_failed", "total_left", "total_taken_by_another", "total_not_known"):
                if result.get(name):
                    data[name] = coins(result[name])
            return (
                data
                | {name: result[name] for name in ("graded", "continued_by") if name in result}
                | servers(result)
                | _code_used(view)
                | expiry(view.expiry)
            )
        case TaskKind.PEEK:
            listed = result.get("coins", [])
            return {
                "total": coins(result.get("total", 0)),
                "coins": [{**coin, "value": coins(value_of(coin["denomination"]))} for coin in listed],
                **_code_used(view),
            }
        case TaskKind.IMPORT:
            return {
                "total": coins(result.get("total", 0)),
                "pown_results": result.get("pown_results", {}),
                "files": result.get("files", []),
                **({"left_out": result["left_out"]} if "left_out" in result else {}),
                "receipt_id": row.receipt_id,
                **({"total_left": coins(result["total_left"])} if result.get("total_left") else {}),
                **{name: result[name] for name in ("continued_by",) if name in result},
                **servers(result),
            }
        case TaskKind.EXPORT:
            return {
                "total": coins(result["total"]),
                "coins": result["coins"],
                "type": result["type"],
                "file": result["file"],
                "url": f"{settings.PATH_PREFIX}/api/v1/exports/{row.pk}/file",
                "receipt_id": row.receipt_id,
            }
        case TaskKind.TRANSFER:
            return {
                "total": coins(result["total"]),
                "coins": result["coins"],
                "srcname": result["from"],
                "dstname": result["to"],
                "receipt_id": row.receipt_id,
            }
        case TaskKind.BREAK:
            broken = {"total": coins(result.get("total", 0)), "receipt_id": row.receipt_id}
            if result.get("total_unknown"):
                broken["total_unknown"] = coins(result["total_unknown"])
            return broken
        case TaskKind.FIX:
            return {
                "coins_processed": result.get("coins_processed", 0),
                "coins_healed": result.get("coins_healed", 0),
                "coins_fracked": result.get("coins_fracked", 0),
                "receipt_id": row.receipt_id,
            }
        case TaskKind.HEALTH:
            return {
                "coins_checked": result.get("coins_checked", 0),
                "coins_refused": result.get("coins_refused", 0),
                "coins_doubtful": result.get("coins_doubtful", 0),
                "receipt_id": row.receipt_id,
                **servers(result),
            }
        case TaskKind.FIND:
            return {"found": result.get("found", {}), "receipt_id": row.receipt_id}
        case _:
            return {name: value for name, value in result.items() if name != "raida"}


def _code_used(view: TaskView) -> dict[str, str]:
    return {} if view.code_used is None else {"transmit_code_used": view.code_used}


def servers(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lowest and the highest number of servers that hold a coin of the task."""
    return {"servers": result["servers"]} if "servers" in result else {}


def expiry(found: Expiry | None) -> dict[str, Any]:
    """Return what is known now of a locker that expires; nothing for one that does not."""
    if found is None:
        return {}
    return {
        "expiry": {
            "expires_at": milliseconds(found.expires_at),
            "outcome": found.outcome,
            "message": found.message,
            "returned": coins(found.returned),
            "returned_at": None if found.returned_at is None else milliseconds(found.returned_at),
            "taken": coins(found.taken),
            "not_known": coins(found.unknown),
        }
    }


def receipt(found: Receipt) -> dict[str, Any]:
    row: LockerTask = found.task
    return {
        "receipt_id": row.receipt_id,
        "task_id": str(row.pk),
        "type": row.kind,
        "wallet": row.wallet.name,
        "tag": row.tag,
        "status": row.state,
        "message": found.message,
        **settled(row),
        "started": seconds(row.created_at),
        "finished": seconds(row.finished_at),
        **servers(row.result),
        **expiry(found.expiry),
        "coins": [
            {
                "sn": line.serial_number,
                "denomination": line.denomination,
                "value": coins(value_of(line.denomination)),
                "pown": line.pown,
                "result": line.became or line.state,
                **({} if line.became is None else {"result_at_first": line.state}),
            }
            for line in found.lines
        ],
    }
