"""Request and response bodies of the synchronous endpoints (seed 001)."""

from collections.abc import Mapping
from typing import Any, Final

from django.utils import timezone

from config.api.cloudcoin.fields import (
    AMOUNT_WORDS,
    CODE,
    CODE_WORDS,
    NEW_CODE_WORDS,
    TAG,
    TAG_WORDS,
    Amount,
    Denomination,
    denominations,
)
from config.api.cloudcoin.task_serializers import DOING, data_of
from config.api.errors import Invalid
from config.api.json_schemas import Named
from config.api.validation import Shape, Text
from lockers.queries import Contents, TaskView
from lockers.raida.coins import json_amount as coins
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import CoinState, TaskState
from lockers.worker.messages import Listing

WALLET_QUERY: Final = {"wallet": Text(maximum=254, required=False), "wallet_path": Text(maximum=254, required=False)}
# For the query and for the body; a repeated key is invalid.
PEEK_WITH_KEY: Final = Shape({"locker_key": CODE})
UPLOAD: Final = Shape(
    {
        **WALLET_QUERY,
        "locker_key": CODE,
        "amount": Amount(required=False),
        "denomination": Denomination(required=False),
        "memo": TAG,
    }
)
PUT_ONE: Final = Shape({**WALLET_QUERY, "locker_key": CODE, "denomination": Denomination(), "memo": TAG})
TASK_QUERY: Final = {"id": Text(required=False), "task_id": Text(required=False)}
TASK_SHAPE: Final = Shape(TASK_QUERY)
WALLET_SHAPE: Final = Shape(WALLET_QUERY)
DOWNLOAD: Final = Shape({**WALLET_QUERY, "locker_key": CODE, "memo": TAG})
_DENOMINATION_WORDS: Final = "The value of the coin: a power of ten from 0.00000001 to 1000000, as a number or a text."
_WALLET_WORDS: Final = {
    "wallet": "The name or the id of the wallet; by default the caller's.",
    "wallet_path": "Another name for `wallet`. Only one of the two may be sent.",
}
PEEK_BODY: Final = Named("PeekRequest", "The locker to look into.", PEEK_WITH_KEY, words={"locker_key": CODE_WORDS})
UPLOAD_BODY: Final = Named(
    "UploadRequest",
    "Coins to be put into a locker: either an `amount`, or one coin of a `denomination`.",
    UPLOAD,
    words={
        **_WALLET_WORDS,
        "locker_key": NEW_CODE_WORDS,
        "amount": AMOUNT_WORDS,
        "denomination": _DENOMINATION_WORDS,
        "memo": TAG_WORDS,
    },
)
PUT_ONE_BODY: Final = Named(
    "PutOneRequest",
    "A coin to be put into a locker.",
    PUT_ONE,
    words={
        **_WALLET_WORDS,
        "locker_key": NEW_CODE_WORDS,
        "denomination": _DENOMINATION_WORDS,
        "memo": TAG_WORDS,
    },
)
DOWNLOAD_BODY: Final = Named(
    "DownloadRequest",
    "The locker to be emptied, and the wallet that gets its coins.",
    DOWNLOAD,
    words={**_WALLET_WORDS, "locker_key": CODE_WORDS, "memo": TAG_WORDS},
)
_STATUSES: Final = {TaskState.RUNNING: "running", TaskState.COMPLETED: "success", TaskState.ERROR: "failed"}


def wallet_name(values: Mapping[str, Any], otherwise: str) -> str:
    """
    Return `wallet` or `wallet_path`, or `otherwise` if neither is given.

    :raises Invalid: both are given
    """
    if "wallet" in values and "wallet_path" in values:
        raise Invalid('Only one of "wallet" and "wallet_path" is allowed')
    return str(values.get("wallet", values.get("wallet_path", otherwise)))


def only_one(values: Mapping[str, Any], *names: str) -> str:
    """
    Return the one of the names that is given.

    :raises Invalid: none is given, or several
    """
    given = [name for name in names if name in values]
    if len(given) != 1:
        quoted = " and ".join(f'"{name}"' for name in names)
        raise Invalid(f"Exactly one of {quoted} is required")
    return given[0]


def peeked(listing: Listing, locker_key: str) -> dict[str, Any]:
    """Return the response of a successful peek."""
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
    """Return the response of the RAIDA protocol, section 10, and the amounts that were not stored."""
    result = view.task.result
    return {
        "status": _STATUSES[TaskState(view.task.state)],
        "operation": "locker-upload",
        "amount_uploaded": coins(result.get("total_stored", 0)),
        "coins_uploaded": view.stored_coins,
        "locker_key": locker_key,
        "successful_uploads": view.board.count("p"),
        "message": view.task.message or DOING[view.task.step],
        "task_id": str(view.task.pk),
        "amount_failed": coins(result.get("total_failed", 0)),
        "amount_unknown": coins(result.get("total_unknown", 0)),
        "receipt_id": view.task.receipt_id,
    }


def uploaded_one(view: TaskView, locker_key: str) -> dict[str, Any]:
    """Return the same for one coin, with its serial number, or None while its task runs."""
    return {
        **uploaded(view, locker_key),
        "operation": "locker-put-one-coin",
        "denomination": coins(view.task.amount or 0),
        "serial_number": view.stored_serial_number,
    }


def core_task(view: TaskView) -> dict[str, Any]:
    """Return a task in the form of the RAIDA protocol, section 10."""
    row = view.task
    data = {"phase": row.step, "wallet_path": row.wallet.name, "receipt_id": row.receipt_id}
    if row.state != TaskState.RUNNING:
        data |= data_of(view)
    return {
        "status": "success",
        "payload": {
            "id": str(row.pk),
            "status": _STATUSES[TaskState(row.state)],
            "progress": row.progress,
            "message": view.message or DOING[row.step],
            "data": data,
            "raida_responded": sum(letter in "pfeb" for letter in view.board),
            "elapsed_ms": round(((row.finished_at or timezone.now()) - row.created_at).total_seconds() * 1000),
            "timeout_ms": round((row.deadline - row.created_at).total_seconds() * 1000),
            "raida_total": RAIDA_COUNT,
        },
    }


def balance(contents: Contents) -> dict[str, Any]:
    """Return the response of `/api/wallets/balance`."""
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
    """Return the response of the RAIDA protocol, section 10, and the number of coins in limbo."""
    result = view.task.result
    graded = result.get("graded", {})
    saved = sum(graded.get(state, 0) for state in (CoinState.BANK, CoinState.FRACKED))
    return {
        "status": _STATUSES[TaskState(view.task.state)],
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
        "message": view.task.message or DOING[view.task.step],
        "receipt_id": view.task.receipt_id,
        # Not part of the protocol, so only present with a value.
        **({"amount_left": coins(result["total_left"])} if result.get("total_left") else {}),
        **({"continued_by": result["continued_by"]} if "continued_by" in result else {}),
        **({} if view.code_used is None else {"locker_key_used": view.code_used}),
    }
