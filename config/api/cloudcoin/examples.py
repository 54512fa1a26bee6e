"""Examples with words of wallets, statements, receipts, lockers and calls that wait, for the API description."""

from typing import Any, Final

from config.api.cloudcoin.task_examples import (
    AMOUNT,
    CODE,
    CODE_USED,
    CODE_USED_WORDS,
    CONTINUED,
    EXPIRY_OR_NONE,
    EXPIRY_WORDS,
    EXPORT_TYPE,
    FILE_NAME,
    ID,
    LEFT,
    NOTHING,
    PERHAPS,
    PROGRESS,
    RAIDA,
    RECEIPT_ID,
    RECEIPT_ID_WORDS,
    SECONDS,
    SERVERS_OR_NONE,
    SERVERS_WORDS,
    SETTLED,
    SETTLED_WORDS,
    TAG,
    TASK_ID,
    TASK_KIND,
    VALUE,
)
from config.api.error_schemas import DENOMINATION_WORDS as _DENOMINATION
from config.api.error_schemas import IMPORTED_FILE
from config.api.error_schemas import SERIAL_NUMBER_WORDS as _SN
from config.api.json_schemas import Either, Example, Keyed, Named, Nullable, OneOf, Open, Sometimes
from config.api.page_schemas import page
from lockers.states import LineType, LockerState, Step, TaskState

GRADE: Final = Named(
    "CoinGrade",
    "The coins of a wallet in one state.",
    {"coins": 2, "total": AMOUNT},
    words={"coins": "The number of coins.", "total": "Their sum."},
)
_COIN_WALLET: Final[dict[str, Any]] = {
    "name": "alice",
    "balance": AMOUNT,
    "denominations": Keyed({"10": 2}),
    "contents": Keyed({"bank": GRADE, "fracked": Example(GRADE, {"coins": 0, "total": 0})}),
}
_COIN_WALLET_WORDS: Final[dict[str, str | Named]] = {
    "name": "The name of the wallet.",
    "balance": "The sum of the coins that can be spent, without those that tasks have reserved.",
    "denominations": "The number of these coins by their value.",
    "contents": "The coins by state: `bank`, `fracked`, `limbo` and others; `reserved`, `in_locker`, `sent`.",
}
LINE_TYPE: Final = Named(
    "StatementLineType",
    "Why the balance of a wallet changed.",
    OneOf(*(each.value for each in LineType)),
    words={
        LineType.PUT_TO_LOCKER.value: "A put.",
        LineType.GET_FROM_LOCKER.value: "A take.",
        LineType.IMPORTED.value: "An import.",
        LineType.EXPORTED.value: "An export.",
        LineType.TRANSFER_IN.value: "Coins came from another wallet.",
        LineType.TRANSFER_OUT.value: "Coins went to another wallet.",
        LineType.ADJUSTMENT.value: "A find, a fix or a break decided about coins.",
    },
)
LINE_DETAILS: Final = Named(
    "StatementLineDetails",
    "What a line of a statement is about.",
    {"number": 7, "task_id": ID, "wallet": Sometimes("bob")},
    words={
        "number": "The number of the line; later lines have higher ones.",
        "task_id": TASK_ID,
        "wallet": "The name of the other wallet of a transfer. Absent for other lines.",
    },
)
LINE: Final = Named(
    "StatementLine",
    "A change of a wallet's balance.",
    {
        "amount": Example(AMOUNT, -20),
        "message": "for Bob",
        "type": LINE_TYPE,
        "datetime": "2026-11-21T12:00:00.000Z",
        "receiptid": RECEIPT_ID,
        "details": LINE_DETAILS,
        "running_balance": AMOUNT,
    },
    words={
        "amount": "By how much, negative if coins left the wallet.",
        "message": "The tag of the task; empty if it has none.",
        "type": "Why.",
        "datetime": "When, in UTC with milliseconds.",
        "receiptid": "The id of the receipt of the task.",
        "details": "Number, task and other wallet.",
        "running_balance": "The balance after it.",
    },
)
STATEMENT: Final = Named(
    "Statement",
    "A page of the statement of a wallet.",
    {"name": "alice", "balance": AMOUNT, "reserved": NOTHING, "transactions": [LINE]},
    words={
        "name": "The name of the wallet.",
        "balance": "The balance, reserved coins included.",
        "reserved": "What running tasks have reserved of it.",
        "transactions": "The lines of the page, newest first.",
    },
)
WALLET: Final = Named(
    "CoinWallet",
    "The coins of a wallet.",
    {**_COIN_WALLET, "transactions": Sometimes([LINE])},
    words={
        **_COIN_WALLET_WORDS,
        "transactions": "The 20 newest lines of its statement, newest first. In the answer about a single wallet.",
    },
)
COIN_WALLETS: Final = Named(
    "CoinWallets",
    "The coins of several wallets.",
    {"wallets": [WALLET]},
    words={"wallets": "The caller's wallet first, then those that it manages."},
)
RECEIPT_COIN: Final = Named(
    "ReceiptCoin",
    "What a task did with a coin.",
    {
        "sn": 1234,
        "denomination": 1,
        "value": Either(10, 0.5),
        "pown": RAIDA,
        "result_at_first": Sometimes("limbo"),
        "result": "locked",
    },
    words={
        "sn": _SN,
        "denomination": _DENOMINATION,
        "value": VALUE,
        "pown": "A letter for each of the 25 servers, RAIDA 0 first.",
        "result_at_first": "The state at the end of the task, if a later task changed it.",
        "result": "The state of the coin: `bank`, `fracked`, `limbo`, `counterfeit`, `locked` and others.",
    },
)
RECEIPT: Final = Named(
    "Receipt",
    "What a task did with each coin.",
    {
        "receipt_id": RECEIPT_ID,
        "task_id": ID,
        "type": TASK_KIND,
        "wallet": "alice",
        "tag": "for Bob",
        "status": OneOf(TaskState.COMPLETED.value, TaskState.ERROR.value),
        "message": "Stored.",
        "settled": Sometimes(SETTLED),
        "started": 1790000000,
        "finished": Nullable(1790000002),
        "servers": SERVERS_OR_NONE,
        "expiry": EXPIRY_OR_NONE,
        "coins": [RECEIPT_COIN],
    },
    words={
        "receipt_id": "The id of the receipt.",
        "task_id": TASK_ID,
        "type": "What the task did.",
        "wallet": "The name of the wallet.",
        "tag": TAG,
        "status": "`completed` or `error`.",
        "message": "What the task did, or why it failed.",
        "settled": SETTLED_WORDS,
        "started": f"When the task was begun, {SECONDS}.",
        "finished": f"When it ended, {SECONDS}.",
        "servers": f"{SERVERS_WORDS[:-1]}. Absent if no server does.",
        "expiry": EXPIRY_WORDS,
        "coins": "The coins.",
    },
)
LOCKER_STATE: Final = Named(
    "LockerState",
    "The state of a locker.",
    OneOf(LockerState.FILLED.value, *(state.value for state in LockerState if state != LockerState.FILLED)),
    words={
        LockerState.FILLING.value: "The put is running.",
        LockerState.FILLED.value: "At least 13 servers store at least one coin.",
        LockerState.UNKNOWN.value: "Its coins are in limbo: a later task decides.",
        LockerState.FAILED.value: "Nothing was stored.",
        LockerState.EMPTIED.value: "Every coin was taken out.",
    },
)
LOCKER: Final = Named(
    "Locker",
    "A locker that a wallet filled. The code is not shown.",
    {
        "id": ID,
        "wallet": "alice",
        "state": LOCKER_STATE,
        "tag": "for Bob",
        "amount": AMOUNT,
        "remaining": AMOUNT,
        "coins": 2,
        "created": 1790000000,
        "changed": 1790000002,
        "expiry": EXPIRY_OR_NONE,
    },
    words={
        "id": "The id of the locker.",
        "wallet": "The name of the wallet that filled it.",
        "state": "Its state.",
        "tag": TAG,
        "amount": "What was asked to be put into it.",
        "remaining": "What is in it, as far as is known here.",
        "coins": "The number of coins in it.",
        "created": f"When it was created, {SECONDS}.",
        "changed": f"When its state last changed, {SECONDS}.",
        "expiry": "What is known now of its coins. Absent if it does not expire.",
    },
)
LOCKER_PAGE: Final = page("LockerPage", {"lockers": [LOCKER]})
LOCKER_CODE: Final = Named(
    "LockerCode",
    "The code of a locker. Everyone who has it can take the coins.",
    {"transmit_code": CODE},
    words={"transmit_code": "The code."},
)
EXPORT: Final = Named(
    "Export",
    "Coins of a wallet that are in a file.",
    {
        "id": ID,
        "wallet": "alice",
        "type": EXPORT_TYPE,
        "file": "20 CloudCoin #2 'backup'.bin",
        "tag": "backup",
        "amount": AMOUNT,
        "coins": 2,
        "remaining": AMOUNT,
        "fetched": 1,
        "confirmed": Nullable(1790000002),
        "created": 1790000000,
        "receipt_id": RECEIPT_ID,
    },
    words={
        "id": "The id of the export.",
        "wallet": "The name of the wallet.",
        "type": "The type of the file.",
        "file": FILE_NAME,
        "tag": TAG,
        "amount": "What was exported.",
        "coins": "The number of coins.",
        "remaining": "What is in the file still, as far as is known here: not recalled, imported by no wallet here.",
        "fetched": "How often the file was fetched.",
        "confirmed": f"When its arrival was confirmed, {SECONDS}; null if it was not.",
        "created": f"When it was exported, {SECONDS}.",
        "receipt_id": RECEIPT_ID_WORDS,
    },
)
EXPORT_PAGE: Final = page("ExportPage", {"exports": [EXPORT]})

_KEY_WORDS: Final = "The transmit code, as it was sent."
LOCKER_CONTENTS: Final = Named(
    "LockerContents",
    "The coins in a locker.",
    {"total_value": AMOUNT, "coin_count": 2, "denominations": Keyed({"10": 2})},
    words={
        "total_value": "Their sum.",
        "coin_count": "Their number.",
        "denominations": "Their number by their value.",
    },
)
PEEKED: Final = Named(
    "PeekedLocker",
    "What is in a locker.",
    {
        "command": "locker-peek",
        "success": True,
        "message": "Locker contents retrieved",
        "coins": LOCKER_CONTENTS,
        "locker_key": CODE,
        "locker_key_used": CODE_USED,
    },
    words={
        "command": "Always `locker-peek`.",
        "success": "Always true.",
        "message": "A sentence that says so.",
        "coins": "The coins in it.",
        "locker_key": _KEY_WORDS,
        "locker_key_used": CODE_USED_WORDS,
    },
)
_OUTCOME: Final = OneOf("success", "running")
_OUTCOME_WORDS: Final = "`success`, or `running` if the task has not ended within 25 seconds: then ask for the task."
_UPLOADED: Final[dict[str, Any]] = {
    "status": _OUTCOME,
    "operation": "locker-upload",
    "amount_uploaded": AMOUNT,
    "coins_uploaded": 2,
    "locker_key": CODE,
    "successful_uploads": 25,
    "message": "Stored.",
    "task_id": ID,
    "amount_failed": NOTHING,
    "amount_unknown": NOTHING,
    "receipt_id": RECEIPT_ID,
    "warning": Sometimes(
        "This transmit code is short enough to be guessed, and anyone who has the code can take the coins."
    ),
}
_UPLOADED_WORDS: Final = {
    "status": _OUTCOME_WORDS,
    "operation": "The name of the operation.",
    "amount_uploaded": "What is in the locker.",
    "coins_uploaded": "The number of coins in it.",
    "locker_key": _KEY_WORDS,
    "successful_uploads": "The number of servers that accepted.",
    "message": "What the task did or does.",
    "task_id": TASK_ID,
    "amount_failed": "What was not stored, and is free again.",
    "amount_unknown": "What is in limbo until a later task decides.",
    "receipt_id": RECEIPT_ID_WORDS,
    "warning": "A reason to use another transmit code. Absent if there is none.",
}
UPLOADED: Final = Named(
    "UploadedCoins",
    "Coins that were put into a locker.",
    {
        **_UPLOADED,
        "denomination": Sometimes(Example(AMOUNT, 10)),
        "serial_number": Sometimes(Nullable(1234)),
    },
    words={
        **_UPLOADED_WORDS,
        "denomination": "The value of the coin, in the answer of `put-one-coin`.",
        "serial_number": "Its serial number, in the answer of `put-one-coin`; null while the task runs.",
    },
)
UPLOADED_ONE: Final = Example(UPLOADED, {"operation": "locker-put-one-coin"})
CORE_TASK: Final = Named(
    "SystemTask",
    "The answer to `GET /api/system/tasks`.",
    {
        "status": OneOf("success"),
        "payload": Named(
            "SystemTaskPayload",
            "A task, with the field names of `/api/system`.",
            {
                "id": ID,
                "status": OneOf("success", "running", "failed"),
                "progress": 100,
                "message": "Stored.",
                "data": Named(
                    "SystemTaskData",
                    "What a task is about, and its result when it has ended. The further fields are those of its"
                    " result, as in `LockerTaskResult`.",
                    Open({"phase": Step.DONE.value, "wallet_path": "alice", "receipt_id": RECEIPT_ID}),
                    words={
                        "phase": "What it is doing, as `step` of a `LockerTask`.",
                        "wallet_path": "The name of the wallet.",
                        "receipt_id": RECEIPT_ID_WORDS,
                    },
                ),
                "raida_responded": 24,
                "elapsed_ms": 1800,
                "timeout_ms": 80_000,
                "raida_total": 25,
            },
            words={
                "id": TASK_ID,
                "status": "`running`; `success` or `failed` when it has ended.",
                "progress": PROGRESS,
                "message": "What it does, what it did, or why it failed.",
                "data": "What it is about, and its result.",
                "raida_responded": "The number of servers that answered.",
                "elapsed_ms": "The milliseconds that it ran.",
                "timeout_ms": "The milliseconds that it may run.",
                "raida_total": "Always 25.",
            },
        ),
    },
    words={"status": "Always `success`, whatever the state of the task.", "payload": "The task."},
)
_FOLDERS: Final = {"bank": "that no server refuses", "fracked": "that some servers refuse", "limbo": "in limbo"}
BALANCE: Final = Named(
    "CoinBalance",
    "The balance of a wallet.",
    {
        "command": "wallet-balance",
        "success": True,
        "wallet_path": "alice",
        "wallet_name": "alice",
        "total_coins": 2,
        "total_value": AMOUNT,
        "folders": Named(
            "BalanceFolders",
            "The coins of a wallet by state.",
            {
                f"{folder}_{what}": example
                for folder, number in (("bank", 2), ("fracked", 0), ("limbo", 0))
                for what, example in (("coins", number), ("value", AMOUNT if number else NOTHING))
            },
            words={
                f"{folder}_{what}": f"The {what_words} of the coins {words}."
                for folder, words in _FOLDERS.items()
                for what, what_words in (("coins", "number"), ("value", "sum"))
            },
        ),
    },
    words={
        "command": "Always `wallet-balance`.",
        "success": "Always true.",
        "wallet_path": "The name of the wallet.",
        "wallet_name": "The same.",
        "total_coins": "The number of its coins in these states.",
        "total_value": "Their sum.",
        "folders": "The coins by state.",
    },
)
DOWNLOADED: Final = Named(
    "DownloadedCoins",
    "Coins that were taken out of a locker.",
    {
        "status": _OUTCOME,
        "operation": "locker-download",
        "coins_found": 2,
        "coins_saved": 2,
        "total_value": AMOUNT,
        "graded_to_bank": 2,
        "graded_to_fracked": 0,
        "graded_to_counterfeit": 0,
        "wallet_path": "bob",
        "locker_key": CODE,
        "raida_success": 25,
        "task_id": ID,
        "graded_to_limbo": 0,
        "message": "Taken.",
        "receipt_id": RECEIPT_ID,
        "amount_left": PERHAPS,
        "continued_by": Sometimes(ID),
        "locker_key_used": CODE_USED,
    },
    words={
        "status": _OUTCOME_WORDS,
        "operation": "Always `locker-download`.",
        "coins_found": "The number of coins in the locker.",
        "coins_saved": "How many of these the wallet can spend.",
        "total_value": "What the wallet has got.",
        "graded_to_bank": "The number of coins that no server refuses.",
        "graded_to_fracked": "The number of coins that some servers refuse.",
        "graded_to_counterfeit": "The number of coins that most servers refuse.",
        "wallet_path": "The name of the wallet.",
        "locker_key": _KEY_WORDS,
        "raida_success": "The number of servers that accepted.",
        "task_id": TASK_ID,
        "graded_to_limbo": "The number of coins in limbo.",
        "message": "What the task did or does.",
        "receipt_id": RECEIPT_ID_WORDS,
        "amount_left": LEFT,
        "continued_by": CONTINUED,
        "locker_key_used": CODE_USED_WORDS,
    },
)
NOT_IMPORTED: Final = {"files": [IMPORTED_FILE]}
