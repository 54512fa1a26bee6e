"""Example responses of the locker API: the source of its API description; a test compares real responses with them."""

from typing import Final

from config.api.json_schemas import Either, Keyed, Nullable, OneOf, Sometimes
from lockers.states import FileType, LineType, LockerState, Step, TaskKind, TaskState

_ID: Final = "8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1"
RECEIPT_ID: Final = "5f0c4a4e9d3b4b7c8f8e2a1d6c7b9e01"
CODE: Final = "7KQ4-M2XW-9TRD-HB6P"

# An amount is an integer for whole coins, and a decimal string if a double cannot represent it exactly.
_AMOUNT: Final = Either(20, 0.5, "10000000.00000001")
_PERHAPS: Final = Sometimes(_AMOUNT)
_RAIDA: Final = "p" * 24 + "n"

_FILE: Final = {
    "name": "coins.bin",
    "accepted": 30,
    "refused": 0,
    "waiting": Sometimes(2),
    "reason": Sometimes("The file is encrypted"),
    "note": Sometimes("The coins of this file name no denomination and were read as coins of 1."),
    "refusals": Sometimes([{"sn": 1234, "denomination": 1, "reason": "This coin is held in this ledger already"}]),
}
STARTED: Final = {
    "id": _ID,
    "status": OneOf(TaskState.RUNNING.value),
    "progress": 0,
    "warning": Sometimes(
        "This transmit code is short enough to be guessed, and anyone who has the code can take the coins."
    ),
}
# `files` is absent if a worker unpacks large archives; then the task reports the files.
IMPORT_STARTED: Final = {**STARTED, "files": Sometimes([_FILE])}

# Only if the locker was opened by another spelling of the code than the one sent.
_CODE_USED: Final = Sometimes(CODE)
_SERVERS: Final = Sometimes({"fewest": 24, "most": 25})
_PUT: Final = {
    "transmit_code": Sometimes(CODE),
    "locker_id": Sometimes(_ID),
    "receipt_id": RECEIPT_ID,
    "total_stored": _AMOUNT,
    "total_failed": Either(0, 0.5, "10000000.00000001"),
    "total_unknown": _PERHAPS,
    "servers": _SERVERS,
    "coins_on_fewer_servers": Sometimes([{"sn": 1234, "denomination": 1, "servers": 13}]),
}
_TAKE: Final = {
    "total": _AMOUNT,
    "receipt_id": RECEIPT_ID,
    "total_unknown": _PERHAPS,
    "total_failed": _PERHAPS,
    "total_left": _PERHAPS,
    "continued_by": Sometimes(_ID),
    "graded": Sometimes(Keyed({"bank": 2})),
    "servers": _SERVERS,
    "transmit_code_used": _CODE_USED,
}
_PEEK: Final = {
    "total": _AMOUNT,
    "coins": [{"sn": 1234, "denomination": 1, "value": Either(10, 0.5)}],
    "transmit_code_used": _CODE_USED,
}
_IMPORT: Final = {
    "total": _AMOUNT,
    "pown_results": Keyed({"total": 30, "authentic": 30, "fracked": 0, "counterfeit": 0, "limbo": 0, "errored": 0}),
    "files": [_FILE],
    "total_left": _PERHAPS,
    "continued_by": Sometimes(_ID),
    "left_out": Sometimes([{"sn": 1234, "denomination": 1}]),
    "receipt_id": RECEIPT_ID,
    "servers": _SERVERS,
}
_FIND: Final = {"found": Keyed({"bank": 1}), "receipt_id": RECEIPT_ID}
_BREAK: Final = {"total": _AMOUNT, "receipt_id": RECEIPT_ID, "total_unknown": _PERHAPS}
_HEALTH: Final = {
    "coins_checked": 30,
    "coins_refused": 3,
    "coins_doubtful": 0,
    "receipt_id": RECEIPT_ID,
    "servers": _SERVERS,
}
_FIX: Final = {"coins_processed": 5, "coins_healed": 5, "coins_fracked": 0, "receipt_id": RECEIPT_ID}
_ECHO: Final = {"online": 24, "pownstring": _RAIDA, "pownarray": [1] * 24 + [0], "latencies": [Nullable(12)]}
_EXPORT: Final = {
    "total": _AMOUNT,
    "coins": 2,
    "type": OneOf(*(each.value for each in FileType)),
    "file": "20 CloudCoin #2 'backup'.bin",
    "url": f"/api/v1/exports/{_ID}/file",
    "receipt_id": RECEIPT_ID,
}
_TRANSFER: Final = {"total": _AMOUNT, "coins": 2, "srcname": "alice", "dstname": "bob", "receipt_id": RECEIPT_ID}
_ONLY_A_RECEIPT: Final = {"receipt_id": RECEIPT_ID}
_RESULT: Final = Sometimes(
    Either(_PUT, _TAKE, _PEEK, _IMPORT, _EXPORT, _TRANSFER, _BREAK, _FIX, _HEALTH, _FIND, _ECHO, _ONLY_A_RECEIPT)
)
# Completed at once, unless a larger coin must be broken first: then the task is still running.
_DONE: Final = {"id": _ID, "status": OneOf(TaskState.COMPLETED.value, TaskState.RUNNING.value), "progress": 100}
EXPORTED: Final = {**_DONE, "message": Sometimes("Exported."), "data": Sometimes(_EXPORT)}
TRANSFERRED: Final = {**_DONE, "message": Sometimes("Transferred."), "data": Sometimes(_TRANSFER)}
# The later task that settled its unknown coins; state, message and result are updated by it.
_SETTLED: Final = Sometimes({"at": 1790000060, "task_id": _ID, "type": OneOf(*(kind.value for kind in TaskKind))})
TASK: Final = {
    "id": _ID,
    "type": OneOf(*(kind.value for kind in TaskKind)),
    "status": OneOf(TaskState.COMPLETED.value, TaskState.RUNNING.value, TaskState.ERROR.value),
    "progress": 100,
    "message": "Stored.",
    "settled": _SETTLED,
    "started": 1790000000,
    "finished": Nullable(1790000002),
    "step": OneOf(Step.DONE.value, *(step.value for step in Step if step is not Step.DONE)),
    "raida": list(_RAIDA),
    "steps": [{"command": "put", "batch": 0, "asked": 25, "answered": 24, "done": True}],
    "data": _RESULT,
    "details": _RESULT,
}

WALLET: Final = {
    "name": "alice",
    "balance": _AMOUNT,
    "denominations": Keyed({"10": 2}),
    "contents": Keyed({"bank": {"coins": 2, "total": _AMOUNT}, "fracked": {"coins": 0, "total": 0}}),
}
_LINE: Final = {
    "amount": Either(-20, -0.5, "-10000000.00000001"),
    "message": "for Bob",
    "type": OneOf(*(each.value for each in LineType)),
    "datetime": "2026-11-21T12:00:00.000Z",
    "receiptid": RECEIPT_ID,
    "details": {"number": 7, "task_id": _ID, "wallet": Sometimes("bob")},
    "running_balance": _AMOUNT,
}
STATEMENT: Final = {"name": "alice", "balance": _AMOUNT, "reserved": Either(0, 0.5), "transactions": [_LINE]}
WALLET_WITH_TRANSACTIONS: Final = {**WALLET, "transactions": [_LINE]}
RECEIPT: Final = {
    "receipt_id": RECEIPT_ID,
    "task_id": _ID,
    "type": OneOf(*(kind.value for kind in TaskKind)),
    "wallet": "alice",
    "tag": "for Bob",
    "status": OneOf(TaskState.COMPLETED.value, TaskState.ERROR.value),
    "message": "Stored.",
    "settled": _SETTLED,
    "started": 1790000000,
    "finished": Nullable(1790000002),
    "servers": _SERVERS,
    "coins": [
        {
            "sn": 1234,
            "denomination": 1,
            "value": Either(10, 0.5),
            "pown": _RAIDA,
            "result_at_first": Sometimes("limbo"),
            "result": "locked",
        }
    ],
}
LOCKER: Final = {
    "id": _ID,
    "wallet": "alice",
    "state": OneOf(LockerState.FILLED.value, *(state.value for state in LockerState if state != LockerState.FILLED)),
    "tag": "for Bob",
    "amount": _AMOUNT,
    "remaining": _AMOUNT,
    "coins": 2,
    "created": 1790000000,
    "changed": 1790000002,
}
EXPORT: Final = {
    "id": _ID,
    "wallet": "alice",
    "type": OneOf(*(each.value for each in FileType)),
    "file": "20 CloudCoin #2 'backup'.bin",
    "tag": "backup",
    "amount": _AMOUNT,
    "coins": 2,
    "remaining": _AMOUNT,
    "fetched": 1,
    "confirmed": Nullable(1790000002),
    "created": 1790000000,
    "receipt_id": RECEIPT_ID,
}

PEEKED: Final = {
    "command": "locker-peek",
    "success": True,
    "message": "Locker contents retrieved",
    "coins": {"total_value": _AMOUNT, "coin_count": 2, "denominations": Keyed({"10": 2})},
    "locker_key": CODE,
    "locker_key_used": _CODE_USED,
}
_OUTCOME: Final = OneOf("success", "running")
_NOTHING: Final = Either(0, 0.5, "10000000.00000001")
UPLOADED: Final = {
    "status": _OUTCOME,
    "operation": "locker-upload",
    "amount_uploaded": _AMOUNT,
    "coins_uploaded": 2,
    "locker_key": CODE,
    "successful_uploads": 25,
    "message": "Stored.",
    "task_id": _ID,
    "amount_failed": _NOTHING,
    "amount_unknown": _NOTHING,
    "receipt_id": RECEIPT_ID,
    "warning": Sometimes(
        "This transmit code is short enough to be guessed, and anyone who has the code can take the coins."
    ),
}
UPLOADED_ONE: Final = {
    **UPLOADED,
    "denomination": Either(10, 0.5, "10000000.00000001"),
    "serial_number": Nullable(1234),
}
CORE_TASK: Final = {
    "status": OneOf("success"),
    "payload": {
        "id": _ID,
        "status": OneOf("success", "running", "failed"),
        "progress": 100,
        "message": "Stored.",
        "data": {"phase": Step.DONE.value, "wallet_path": "alice", "receipt_id": RECEIPT_ID},
        "raida_responded": 24,
        "elapsed_ms": 1800,
        "timeout_ms": 80_000,
        "raida_total": 25,
    },
}
BALANCE: Final = {
    "command": "wallet-balance",
    "success": True,
    "wallet_path": "alice",
    "wallet_name": "alice",
    "total_coins": 2,
    "total_value": _AMOUNT,
    "folders": {
        "bank_coins": 2,
        "bank_value": _AMOUNT,
        "fracked_coins": 0,
        "fracked_value": _NOTHING,
        "limbo_coins": 0,
        "limbo_value": _NOTHING,
    },
}
DOWNLOADED: Final = {
    "status": _OUTCOME,
    "operation": "locker-download",
    "coins_found": 2,
    "coins_saved": 2,
    "total_value": _AMOUNT,
    "graded_to_bank": 2,
    "graded_to_fracked": 0,
    "graded_to_counterfeit": 0,
    "wallet_path": "bob",
    "locker_key": CODE,
    "raida_success": 25,
    "task_id": _ID,
    "graded_to_limbo": 0,
    "message": "Taken.",
    "receipt_id": RECEIPT_ID,
    "amount_left": _PERHAPS,
    "continued_by": Sometimes(_ID),
    "locker_key_used": _CODE_USED,
}
NOT_IMPORTED: Final = {"files": [_FILE]}
