"""Bodies of the locker surface: plain values in, the seeds' shapes out. No queries, no rules."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from config.api.errors import Invalid
from config.api.validation import Flag, ListOf, Number, Shape, Text
from lockers import coin_selection
from lockers.models import LockerTask, StatementLine
from lockers.operations import Started
from lockers.queries import Contents, ExportView, LockerContents, Receipt, Statement, TaskView
from lockers.raida.coins import HIGHEST_DENOMINATION, LOWEST_DENOMINATION, UNITS_PER_COIN, format_amount, parse_amount
from lockers.raida.errors import InvalidAmount
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import CoinState, FileType, TaskKind, TaskState
from lockers.worker.messages import Listing

# All coins that there can be of every denomination are worth less than this many units.
_HIGHEST_AMOUNT: Final = 9 * 10**10


@dataclass(frozen=True)
class Amount:
    """An amount in coins, read as units: a whole number, or a decimal text with at most eight decimals."""

    required: bool = True

    def read(self, path: str, value: Any) -> int:
        if isinstance(value, str):
            try:
                units = parse_amount(value)
            except InvalidAmount:
                raise Invalid(f'"{path}" must be a whole number, or a decimal text such as "0.5"') from None
        elif isinstance(value, float) and not value.is_integer():
            # What the client wrote is no longer known exactly.
            raise Invalid(f'"{path}" must be a whole number, or a decimal text such as "0.5"')
        else:
            units = Number().read(path, value) * UNITS_PER_COIN
        if units < 1:
            raise Invalid(f'"{path}" must be greater than 0')
        if units > _HIGHEST_AMOUNT * UNITS_PER_COIN:
            raise Invalid(f'"{path}" must be less than or equal to {_HIGHEST_AMOUNT}')
        return units

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": _HIGHEST_AMOUNT},
                {"type": "string", "pattern": "^[0-9]{1,10}(\\.[0-9]{1,8})?$"},
            ]
        }


_COIN_VALUES: Final = {
    denomination: format_amount(coin_selection.value_of(denomination))
    for denomination in range(LOWEST_DENOMINATION, HIGHEST_DENOMINATION + 1)
}


@dataclass(frozen=True)
class Denomination:
    """The value of one coin, as a text or a number, read as its exponent of ten."""

    required: bool = True

    def read(self, path: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise Invalid(f'"{path}" must be a string or a number')
        for denomination, text in _COIN_VALUES.items():
            if value == (text if isinstance(value, str) else float(text)):
                return denomination
        raise Invalid(f'"{path}" must be the value of one coin, from 0.00000001 to 1000000 in powers of ten')

    @property
    def schema(self) -> dict[str, Any]:
        texts = list(_COIN_VALUES.values())
        return {"anyOf": [{"type": "string", "enum": texts}, {"type": "number", "enum": [float(one) for one in texts]}]}


# As mail and `base64` write it, with a line end after 64 or 76 characters.
_WHITE_SPACE: Final = re.compile(r"[ \t\r\n]+")
# As `FileReader.readAsDataURL` in a browser writes it.
_DATA_URI: Final = re.compile(r"\Adata:[^,]{0,200};base64,", re.IGNORECASE)

_NAME: Final = Text(maximum=254)
_TAG: Final = Text(maximum=250, may_be_empty=True, required=False)
CODE: Final = Text(maximum=1000)

PUT: Final = Shape(
    {
        "name": _NAME,
        "amount": Amount(),
        "tag": _TAG,
        "transmit_code": Text(maximum=1000, required=False),
    }
)
TAKE: Final = Shape({"name": _NAME, "tag": _TAG})
TAKE_WITH_CODE: Final = Shape({"name": _NAME, "transmit_code": CODE, "tag": _TAG})
PEEK: Final = Shape({"transmit_code": CODE})
FIND: Final = Shape({"name": _NAME})
FIX: Final = Shape({"name": _NAME})
HEALTH: Final = Shape({"name": _NAME})
BREAK: Final = Shape({"name": _NAME, "denomination": Denomination()})
NEW_WALLET: Final = Shape(
    {
        "name": Text(),
        # Clients send both, empty or not. Nothing here would be what they are for there.
        "email": Text(maximum=0, may_be_empty=True, required=False),
        "password": Text(maximum=0, may_be_empty=True, required=False),
    }
)
IMPORT: Final = Shape(
    {
        "name": _NAME,
        "items": ListOf(
            Shape(
                {
                    "type": Text(choices=("inline",), required=False),
                    "name": Text(maximum=255, required=False),
                    "data": Text(),
                }
            ),
            minimum=1,
            maximum=1000,
        ),
        "tag": _TAG,
    }
)
IMPORT_FORM: Final = Shape({"name": _NAME, "tag": _TAG})
EXPORT: Final = Shape(
    {
        "name": _NAME,
        "amount": Amount(required=False),
        "all": Flag(required=False),
        "tag": _TAG,
        "type": Text(choices=tuple(FileType)),
    }
)
TRANSFER: Final = Shape({"srcname": _NAME, "dstname": _NAME, "amount": Amount(), "tag": _TAG})
# Of a query string as of a body: a key that is given twice is none.
PEEK_WITH_KEY: Final = Shape({"locker_key": CODE})
UPLOAD: Final = Shape(
    {
        "wallet": Text(maximum=254, required=False),
        "wallet_path": Text(maximum=254, required=False),
        "locker_key": CODE,
        "amount": Amount(required=False),
        "denomination": Denomination(required=False),
        "memo": _TAG,
    }
)
PUT_ONE: Final = Shape(
    {
        "wallet": Text(maximum=254, required=False),
        "wallet_path": Text(maximum=254, required=False),
        "locker_key": CODE,
        "denomination": Denomination(),
        "memo": _TAG,
    }
)
TASK_QUERY: Final = {"id": Text(required=False), "task_id": Text(required=False)}
TASK_SHAPE: Final = Shape(TASK_QUERY)
WALLET_QUERY: Final = {"wallet": Text(maximum=254, required=False), "wallet_path": Text(maximum=254, required=False)}
WALLET_SHAPE: Final = Shape(WALLET_QUERY)
DOWNLOAD: Final = Shape(
    {
        "wallet": Text(maximum=254, required=False),
        "wallet_path": Text(maximum=254, required=False),
        "locker_key": CODE,
        "memo": _TAG,
    }
)


def wallet_name(values: Mapping[str, Any], otherwise: str) -> str:
    """
    Return the name in `wallet` or `wallet_path`, for which clients of the other product have a default too.

    :raises Invalid: both were given
    """
    if "wallet" in values and "wallet_path" in values:
        raise Invalid('Only one of "wallet" and "wallet_path" is allowed')
    return str(values.get("wallet", values.get("wallet_path", otherwise)))


def only_one(values: Mapping[str, Any], *names: str) -> str:
    """
    Return which of the names was given.

    :raises Invalid: none, or several
    """
    given = [name for name in names if name in values]
    if len(given) != 1:
        quoted = " and ".join(f'"{name}"' for name in names)
        raise Invalid(f"Exactly one of {quoted} is required")
    return given[0]


def amount_or_all(values: Mapping[str, Any]) -> int | None:
    """
    Return the units to export, or None for all.

    :raises Invalid: neither or both are asked for
    """
    if ("amount" in values) == values.get("all", False):
        raise Invalid('Either "amount" is required, or "all" must be true')
    return values.get("amount")


def inline_files(items: Sequence[Mapping[str, Any]]) -> list[tuple[str, bytes]]:
    """
    Decode the base64 items of an import, which may be broken into lines, or be `data:` URIs (RFC 2397).

    :raises Invalid: one is not base64
    """
    uploads = []
    for index, item in enumerate(items):
        text = _WHITE_SPACE.sub("", item["data"])
        try:
            content = base64.b64decode(_DATA_URI.sub("", text, count=1), validate=True)
        except (binascii.Error, ValueError):
            raise Invalid(f'"items[{index}].data" must be base64') from None
        uploads.append((item.get("name", f"items[{index}]"), content))
    return uploads


def coins(units: int) -> int | float | str:
    """
    An amount in coins as a JSON number, or as a decimal text if no number can say it exactly.

    >>> coins(2000000000), coins(50000000)
    (20, 0.5)
    """
    if units % UNITS_PER_COIN == 0:
        return units // UNITS_PER_COIN
    # A double carries 15 digits; beyond them the number read back would not be the amount.
    return float(format_amount(units)) if units < 10**15 else format_amount(units)


def denominations(counts: Mapping[int, int]) -> dict[str, int]:
    """Counts keyed by the value of one coin, largest first, with zeros in between as the seed shows them."""
    if not counts:
        return {}
    return {
        format_amount(coin_selection.value_of(denomination)): counts.get(denomination, 0)
        for denomination in range(max(counts), min(counts) - 1, -1)
    }


def started(begun: Started) -> dict[str, Any]:
    body: dict[str, Any] = {"id": str(begun.task.pk), "status": TaskState.RUNNING.value, "progress": 0}
    if begun.warning:
        body["warning"] = begun.warning
    if begun.files:
        body["files"] = begun.task.result["files"]
    return body


def done(begun: Started) -> dict[str, Any]:
    """A task that is over when its beginning is answered, or one that has to wait for a coin to be broken."""
    row = begun.task
    if row.state == TaskState.RUNNING:
        return started(begun)
    return {
        "id": str(row.pk),
        "status": row.state,
        "progress": row.progress,
        "message": row.message,
        "data": _data(TaskView(row, (), None)),
    }


def task(view: TaskView) -> dict[str, Any]:
    """The task resource of seed 000, with the 25 letters of its board and its steps beside it."""
    row = view.task
    body: dict[str, Any] = {
        "id": str(row.pk),
        "status": row.state,
        "progress": row.progress,
        "message": row.message or _DOING[row.step],
    }
    if row.state == TaskState.COMPLETED:
        body["data"] = _data(view)
    elif row.state == TaskState.ERROR and row.result:
        # What is known although it did not end well; `data` is for completed tasks alone.
        body["details"] = _data(view)
    return (
        body
        | _settled(row)
        | {
            "started": _seconds(row.created_at),
            "finished": _seconds(row.finished_at),
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


def _settled(row: LockerTask) -> dict[str, Any]:
    """Which later task settled what this one had left open, and when; nothing if none did."""
    if row.settled_by is None:
        return {}
    by = {"at": _seconds(row.settled_at), "task_id": str(row.settled_by_id), "type": row.settled_by.kind}
    return {"settled": by}


_DOING: Final = {
    "reserved": "Waiting for a worker",
    "reading": "Reading the files",
    "waiting": "Waiting for another claim to the same coins",
    "peeking": "Looking into the locker",
    "finding": "Asking the servers what they hold",
    "breaking": "Breaking a bigger coin",
    "healing": "Healing coins that some servers do not accept",
    "sending": "Talking to the servers",
    "asking": "Asking servers that did not answer",
    "returning": "Taking coins back",
    "checking": "Checking the coins",
    "releasing": "Giving coins fresh numbers",
    "done": "",
}


def _data(view: TaskView) -> dict[str, Any]:
    row, result = view.task, view.task.result
    if row.kind in (TaskKind.TRANSFER, TaskKind.EXPORT) and row.state != TaskState.COMPLETED:
        return {"receipt_id": row.receipt_id}
    match row.kind:
        case TaskKind.PUT:
            # Told already, the code is had from the locker alone.
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
            return data | _servers(result)
        case TaskKind.TAKE:
            data = {"total": coins(result.get("total", 0)), "receipt_id": row.receipt_id}
            for name in ("total_unknown", "total_failed", "total_left"):
                if result.get(name):
                    data[name] = coins(result[name])
            return (
                data
                | {name: result[name] for name in ("graded", "continued_by") if name in result}
                | _servers(result)
                | _code_used(view)
            )
        case TaskKind.PEEK:
            listed = result.get("coins", [])
            return {
                "total": coins(result.get("total", 0)),
                "coins": [{**coin, "value": coins(coin_selection.value_of(coin["denomination"]))} for coin in listed],
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
                **_servers(result),
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
                **_servers(result),
            }
        case TaskKind.FIND:
            return {"found": result.get("found", {}), "receipt_id": row.receipt_id}
        case _:
            return {name: value for name, value in result.items() if name != "raida"}


def _code_used(view: TaskView) -> dict[str, str]:
    return {} if view.code_used is None else {"transmit_code_used": view.code_used}


def _servers(result: Mapping[str, Any]) -> dict[str, Any]:
    """On how many servers the coins stand that a task stored or brought in: the fewest, and the most."""
    return {"servers": result["servers"]} if "servers" in result else {}


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def peeked(listing: Listing, locker_key: str) -> dict[str, Any]:
    """The success of seed 001."""
    counts: dict[int, int] = {}
    for coin in listing.coins:
        counts[coin.denomination] = counts.get(coin.denomination, 0) + 1
    return {
        "command": "locker-peek",
        "success": True,
        "message": "Locker contents retrieved",
        "coins": {
            "total_value": coins(sum(coin.value for coin in listing.coins)),
            "coin_count": len(listing.coins),
            "denominations": denominations(counts),
        },
        "locker_key": locker_key,
        **({} if listing.code_used is None else {"locker_key_used": listing.code_used}),
    }


def uploaded(view: TaskView, locker_key: str) -> dict[str, Any]:
    """The answer of the RAIDA protocol, section 10, and what it lacks: what was not stored."""
    result = view.task.result
    return {
        "status": _WORDS[TaskState(view.task.state)],
        "operation": "locker-upload",
        "amount_uploaded": coins(result.get("total_stored", 0)),
        "coins_uploaded": view.stored_coins,
        "locker_key": locker_key,
        "successful_uploads": view.board.count("p"),
        "message": view.task.message or _DOING[view.task.step],
        "task_id": str(view.task.pk),
        "amount_failed": coins(result.get("total_failed", 0)),
        "amount_unknown": coins(result.get("total_unknown", 0)),
        "receipt_id": view.task.receipt_id,
    }


def uploaded_one(view: TaskView, locker_key: str) -> dict[str, Any]:
    """The same for a single coin, and which one it was, or None as long as its task runs."""
    return {
        **uploaded(view, locker_key),
        "operation": "locker-put-one-coin",
        "denomination": coins(view.task.amount or 0),
        "serial_number": view.stored_serial_number,
    }


def core_task(view: TaskView) -> dict[str, Any]:
    """A task as the RAIDA protocol, section 10, shows it."""
    row = view.task
    data = {"phase": row.step, "wallet_path": row.wallet.name, "receipt_id": row.receipt_id}
    if row.state != TaskState.RUNNING:
        data |= _data(view)
    return {
        "status": "success",
        "payload": {
            "id": str(row.pk),
            "status": _WORDS[TaskState(row.state)],
            "progress": row.progress,
            "message": row.message or _DOING[row.step],
            "data": data,
            "raida_responded": sum(letter in "pfeb" for letter in view.board),
            "elapsed_ms": round(((row.finished_at or timezone.now()) - row.created_at).total_seconds() * 1000),
            "timeout_ms": round((row.deadline - row.created_at).total_seconds() * 1000),
            "raida_total": RAIDA_COUNT,
        },
    }


def balance(contents: Contents) -> dict[str, Any]:
    """The answer of `/api/wallets/balance` of the same product."""
    folders: dict[str, Any] = {}
    total_coins = total_units = 0
    for grade in ("bank", "fracked", "limbo"):
        number, units = contents.grades[grade]
        folders |= {f"{grade}_coins": number, f"{grade}_value": coins(units)}
        total_coins, total_units = total_coins + number, total_units + units
    return {
        "command": "wallet-balance",
        "success": True,
        "wallet_path": contents.wallet.name,
        "wallet_name": contents.wallet.name,
        "total_coins": total_coins,
        "total_value": coins(total_units),
        "folders": folders,
    }


def downloaded(view: TaskView, locker_key: str) -> dict[str, Any]:
    """The answer of the RAIDA protocol, section 10, and what it lacks: coins in limbo."""
    result = view.task.result
    graded = result.get("graded", {})
    saved = sum(graded.get(state, 0) for state in (CoinState.BANK, CoinState.FRACKED))
    return {
        "status": _WORDS[TaskState(view.task.state)],
        "operation": "locker-download",
        "coins_found": sum(graded.values()),
        "coins_saved": saved,
        "total_value": coins(result.get("total", 0)),
        "graded_to_bank": graded.get(CoinState.BANK, 0),
        "graded_to_fracked": graded.get(CoinState.FRACKED, 0),
        "graded_to_counterfeit": graded.get(CoinState.COUNTERFEIT, 0),
        "wallet_path": view.task.wallet.name,
        "locker_key": locker_key,
        "raida_success": view.board.count("p"),
        "task_id": str(view.task.pk),
        "graded_to_limbo": graded.get(CoinState.LIMBO, 0),
        "message": view.task.message or _DOING[view.task.step],
        "receipt_id": view.task.receipt_id,
        # Only where there is something to say: the other product has no fields for it.
        **({"amount_left": coins(result["total_left"])} if result.get("total_left") else {}),
        **({"continued_by": result["continued_by"]} if "continued_by" in result else {}),
        **({} if view.code_used is None else {"locker_key_used": view.code_used}),
    }


_WORDS: Final = {TaskState.RUNNING: "running", TaskState.COMPLETED: "success", TaskState.ERROR: "failed"}


def wallet(contents: Contents) -> dict[str, Any]:
    return {
        "name": contents.wallet.name,
        "balance": coins(contents.balance),
        "denominations": denominations(contents.denominations),
        "contents": {
            grade: {"coins": number, "total": coins(units)} for grade, (number, units) in contents.grades.items()
        },
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
        "message": row.message,
        **_settled(row),
        "started": _seconds(row.created_at),
        "finished": _seconds(row.finished_at),
        **_servers(row.result),
        "coins": [
            {
                "sn": line.serial_number,
                "denomination": line.denomination,
                "value": coins(coin_selection.value_of(line.denomination)),
                "pown": line.pown,
                "result": line.became or line.state,
                **({} if line.became is None else {"result_at_first": line.state}),
            }
            for line in found.lines
        ],
    }


def wallet_with_transactions(contents: Contents, found: Statement) -> dict[str, Any]:
    return {**wallet(contents), "transactions": [statement_line(line) for line in found.lines]}


def statement_head(found: Statement) -> dict[str, Any]:
    return {"name": found.wallet.name, "balance": coins(found.balance), "reserved": coins(found.reserved)}


def statement_line(line: StatementLine) -> dict[str, Any]:
    """One entry of a wallet's transactions, as the RAIDA protocol, section 9, names its fields."""
    details = {"number": line.number, "task_id": str(line.task_id)}
    if line.other_wallet is not None:
        details["wallet"] = line.other_wallet.name
    return {
        "amount": coins(int(line.amount)),
        "message": line.task.tag,
        "type": line.type,
        "datetime": line.created_at,
        "receiptid": line.task.receipt_id,
        "details": details,
        "running_balance": coins(int(line.running_balance)),
    }


def locker(each: LockerContents) -> dict[str, Any]:
    return {
        "id": str(each.locker.pk),
        "wallet": each.locker.wallet.name,
        "state": each.locker.state,
        "tag": each.locker.tag,
        "amount": coins(each.locker.amount),
        "remaining": coins(each.units),
        "coins": each.coins,
        "created": _seconds(each.locker.created_at),
        "changed": _seconds(each.locker.changed_at),
    }


def export(each: ExportView) -> dict[str, Any]:
    row = each.export
    return {
        "id": str(row.pk),
        "wallet": row.wallet.name,
        "type": row.type,
        "file": row.file_name,
        "tag": row.task.tag,
        "amount": coins(row.task.amount or 0),
        "coins": row.coin_count,
        "remaining": coins(each.units),
        "fetched": row.fetched,
        "confirmed": _seconds(row.confirmed_at),
        "created": _seconds(row.created_at),
        "receipt_id": row.task.receipt_id,
    }
