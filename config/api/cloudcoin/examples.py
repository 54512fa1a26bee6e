"""The components of the API description for the answers of the locker API, as examples with words."""

from typing import Any, Final

from config.api.error_schemas import DENOMINATION_WORDS as _DENOMINATION
from config.api.error_schemas import IMPORTED_FILE, NOTED_COIN
from config.api.error_schemas import SERIAL_NUMBER_WORDS as _SN
from config.api.json_schemas import Either, Example, Keyed, Named, Nullable, OneOf, Open, Sometimes
from config.api.page_schemas import page
from lockers.locker_expiry import Outcome
from lockers.states import FileType, LineType, LockerState, Step, TaskKind, TaskState

_ID: Final = "8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1"
RECEIPT_ID: Final = "5f0c4a4e9d3b4b7c8f8e2a1d6c7b9e01"
CODE: Final = "7KQ4-M2XW-9TRD-HB6P"

AMOUNT: Final = Named(
    "Amount",
    "An amount in coins. A JSON number where a double represents it exactly, otherwise a decimal text with up to eight"
    " decimals, so that no unit is lost.",
    Either(20, 0.5, "10000000.00000001"),
)
_NOTHING: Final = Example(AMOUNT, 0)
_PERHAPS: Final = Sometimes(AMOUNT)
_RAIDA: Final = "p" * 24 + "n"
# What fields of this name mean in every component.
_TASK_ID: Final = "The id of the task."
_RECEIPT: Final = "The id of its receipt, which says what became of each coin."
_VALUE: Final = "The value of the coin, in coins."
_SECONDS: Final = "in seconds since 1970 (UTC)"
_TAG: Final = "The tag that was sent; empty if there was none."
_PROGRESS: Final = "0 to 100."
_CODE_USED_WORDS: Final = (
    "The code that opened the locker, if it was opened by another spelling of the code than the one that was sent."
)
_LEFT: Final = "Coins that another claim holds back for now. Absent if there are none."
_CONTINUED: Final = "The id of the task that goes on with these coins."
_SERVERS_WORDS: Final = "How many servers store the coins."

TASK_KIND: Final = Named(
    "LockerTaskType",
    "What a task does.",
    OneOf(*(kind.value for kind in TaskKind)),
    words={
        TaskKind.PUT.value: "Puts coins into a locker.",
        TaskKind.TAKE.value: "Takes the coins out of a locker.",
        TaskKind.PEEK.value: "Lists the coins in a locker.",
        TaskKind.IMPORT.value: "Imports coins from files.",
        TaskKind.FIND.value: "Asks the servers about coins in limbo.",
        TaskKind.BREAK.value: "Breaks a coin into ten smaller ones.",
        TaskKind.FIX.value: "Repairs coins that some servers do not accept.",
        TaskKind.HEALTH.value: "Asks which servers accept the coins.",
        TaskKind.ECHO.value: "Asks which servers answer.",
        TaskKind.EXPORT.value: "Exports coins to a file.",
        TaskKind.TRANSFER.value: "Moves coins to another wallet.",
    },
)
TASK_STATE: Final = Named(
    "LockerTaskState",
    "The state of a task.",
    OneOf(TaskState.COMPLETED.value, TaskState.RUNNING.value, TaskState.ERROR.value),
    words={
        TaskState.COMPLETED.value: "It has ended, and `data` is its result.",
        TaskState.RUNNING.value: "It waits for a worker, or a worker carries it out.",
        TaskState.ERROR.value: "It has ended without its result; `message` says why.",
    },
)
_STEPS: Final = {
    Step.RESERVED: "Waits for a worker.",
    Step.READING: "Reads files.",
    Step.WAITING: "Waits until another claim to the same coins is decided.",
    Step.PEEKING: "Looks into the locker.",
    Step.FINDING: "Asks the servers what they hold.",
    Step.BREAKING: "Breaks a larger coin.",
    Step.HEALING: "Repairs coins that some servers do not accept.",
    Step.SENDING: "Sends requests to the servers.",
    Step.ASKING: "Asks servers that did not answer once more.",
    Step.RETURNING: "Takes coins back.",
    Step.CHECKING: "Checks the coins.",
    Step.RELEASING: "Gives coins new secrets.",
    Step.DONE: "Has ended.",
}
TASK_STEP: Final = Named(
    "LockerTaskStep",
    "What a task is doing.",
    OneOf(Step.DONE.value, *(step.value for step in Step if step is not Step.DONE)),
    words={step.value: words for step, words in _STEPS.items()},
)
STARTED: Final = Named(
    "StartedTask",
    "A task that has begun.",
    {
        "id": _ID,
        "status": OneOf(TaskState.RUNNING.value),
        "progress": 0,
        "warning": Sometimes(
            "This transmit code is short enough to be guessed, and anyone who has the code can take the coins."
        ),
        # Absent if a worker unpacks large archives; then the task reports the files.
        "files": Sometimes([IMPORTED_FILE]),
    },
    words={
        "id": "The id of the task: ask `GET /api/v1/task/{task_id}` for it.",
        "status": "Always `running`.",
        "progress": "Always 0.",
        "warning": "A reason to use another transmit code. Absent if there is none.",
        "files": "What became of each file, in the answer of an import. Absent if a worker reads them; then the task"
        " has it.",
    },
)
SERVERS: Final = Named(
    "StoringServers",
    "The number of servers, of 25, that store the coins of a task.",
    {"fewest": 24, "most": 25},
    words={
        "fewest": "Of the coin that the fewest store.",
        "most": "Of the coin that the most store.",
    },
)
# Only if the locker was opened by another spelling of the code than the one sent.
_CODE_USED: Final = Sometimes(CODE)
_SERVERS: Final = Sometimes(SERVERS)
_OUTCOMES: Final = {
    Outcome.TAKEN_BACK: "All of them came back into the wallet.",
    Outcome.PARTLY_TAKEN_BACK: "Some came back; another holder of the code took the others.",
    Outcome.TAKEN: "Another holder of the code took all of them.",
    Outcome.UNKNOWN: "It has expired, and where some of them are is not known yet: the servers are asked again.",
    Outcome.OPEN: "It has not expired, and may hold coins.",
    Outcome.NOTHING_STORED: "The put stored no coin.",
}
EXPIRY: Final = Named(
    "LockerExpiry",
    "What is known now of the coins of a locker that expires, whichever task is read.",
    {
        "expires_at": "2040-01-01T00:00:00.000Z",
        "outcome": Named(
            "LockerExpiryOutcome",
            "What became of the coins of a locker that expires.",
            OneOf(*(each.value for each in _OUTCOMES)),
            words={outcome.value: words for outcome, words in _OUTCOMES.items()},
        ),
        "message": "Taken back on 2040-01-01 at 00:00:03 UTC.",
        "returned": AMOUNT,
        "returned_at": Nullable("2040-01-01T00:00:03.000Z"),
        "taken": _NOTHING,
        "not_known": _NOTHING,
    },
    words={
        "expires_at": "When what is in it is taken back, in UTC with milliseconds.",
        "outcome": "What became of the coins.",
        "message": "The same in words.",
        "returned": "What came back into the wallet that filled it, also before it expired.",
        "returned_at": "When coins last came back; null if none did.",
        "taken": "What another holder of the code took, as far as is known.",
        "not_known": "What may still be in it.",
    },
)
_EXPIRY: Final = Sometimes(EXPIRY)
_EXPIRY_WORDS: Final = "What is known now of the locker. Absent if it does not expire."
PUT_RESULT: Final = Named(
    "PutResult",
    "The result of a put.",
    {
        "transmit_code": Sometimes(CODE),
        "locker_id": Sometimes(_ID),
        "receipt_id": RECEIPT_ID,
        "total_stored": AMOUNT,
        "total_failed": _NOTHING,
        "total_unknown": _PERHAPS,
        "servers": _SERVERS,
        "coins_on_fewer_servers": Sometimes([NOTED_COIN]),
        "expiry": _EXPIRY,
    },
    words={
        "transmit_code": "The code of the locker. Ten minutes after it was first shown `locker_id` takes its place.",
        "locker_id": "The id of the locker: `POST /api/v1/lockers/{locker_id}/code` returns its code.",
        "receipt_id": _RECEIPT,
        "total_stored": "What is in the locker.",
        "total_failed": "What was not stored, and is free again.",
        "total_unknown": "What is in limbo until a later task decides. Absent if nothing was.",
        "servers": _SERVERS_WORDS,
        "coins_on_fewer_servers": "Up to 50 coins that fewer servers store. Absent if there are none.",
        "expiry": _EXPIRY_WORDS,
    },
)
TAKE_RESULT: Final = Named(
    "TakeResult",
    "The result of a take.",
    {
        "total": AMOUNT,
        "receipt_id": RECEIPT_ID,
        "total_unknown": _PERHAPS,
        "total_failed": _PERHAPS,
        "total_left": _PERHAPS,
        "continued_by": Sometimes(_ID),
        "graded": Sometimes(Keyed({"bank": 2})),
        "servers": _SERVERS,
        "transmit_code_used": _CODE_USED,
        "total_taken_by_another": _PERHAPS,
        "total_not_known": _PERHAPS,
        "expiry": _EXPIRY,
    },
    words={
        "total": "What the wallet has got.",
        "receipt_id": _RECEIPT,
        "total_unknown": "What is in limbo until a later task decides. Absent if nothing is.",
        "total_failed": "What the servers refused. Absent if nothing was.",
        "total_left": _LEFT,
        "continued_by": _CONTINUED,
        "graded": "The number of coins by the state that they are in.",
        "servers": _SERVERS_WORDS,
        "transmit_code_used": _CODE_USED_WORDS,
        "total_taken_by_another": "What another holder of the code had taken, if an expired locker was emptied.",
        "total_not_known": "What fewer than 13 servers said where it is, if an expired locker was emptied.",
        "expiry": "What is known now of the locker, if an expired one was emptied.",
    },
)
PEEK_RESULT: Final = Named(
    "PeekResult",
    "The result of a peek.",
    {
        "total": AMOUNT,
        "coins": [
            Named(
                "Coin",
                "A coin.",
                {"sn": 1234, "denomination": 1, "value": Either(10, 0.5)},
                words={"sn": _SN, "denomination": _DENOMINATION, "value": _VALUE},
            )
        ],
        "transmit_code_used": _CODE_USED,
    },
    words={
        "total": "What is in the locker.",
        "coins": "The coins in it.",
        "transmit_code_used": _CODE_USED_WORDS,
    },
)
IMPORT_RESULT: Final = Named(
    "ImportResult",
    "The result of an import.",
    {
        "total": AMOUNT,
        "pown_results": Keyed({"total": 30, "authentic": 30, "fracked": 0, "counterfeit": 0, "limbo": 0, "errored": 0}),
        "files": [IMPORTED_FILE],
        "total_left": _PERHAPS,
        "continued_by": Sometimes(_ID),
        "left_out": Sometimes([NOTED_COIN]),
        "receipt_id": RECEIPT_ID,
        "servers": _SERVERS,
    },
    words={
        "total": "What the wallet has got.",
        "pown_results": "The number of coins by what the servers said, and their sum `total`.",
        "files": "What became of each file.",
        "total_left": _LEFT,
        "continued_by": _CONTINUED,
        "left_out": "Coins that were not asked about. Absent if there are none.",
        "receipt_id": _RECEIPT,
        "servers": _SERVERS_WORDS,
    },
)
FIND_RESULT: Final = Named(
    "FindResult",
    "The result of a find.",
    {"found": Keyed({"bank": 1}), "receipt_id": RECEIPT_ID},
    words={"found": "The number of coins by the state that they are in now.", "receipt_id": _RECEIPT},
)
BREAK_RESULT: Final = Named(
    "BreakResult",
    "The result of a break.",
    {"total": AMOUNT, "receipt_id": RECEIPT_ID, "total_unknown": _PERHAPS},
    words={
        "total": "The sum of the new coins.",
        "receipt_id": _RECEIPT,
        "total_unknown": "What is in limbo until a later task decides. Absent if nothing is.",
    },
)
HEALTH_RESULT: Final = Named(
    "HealthResult",
    "The result of a health check.",
    {
        "coins_checked": 30,
        "coins_refused": 3,
        "coins_doubtful": 0,
        "receipt_id": RECEIPT_ID,
        "servers": _SERVERS,
    },
    words={
        "coins_checked": "The number of coins that the servers were asked about.",
        "coins_refused": "How many of these fewer servers accept than before.",
        "coins_doubtful": "How many of these fewer than 13 servers accept; for them nothing is recorded.",
        "receipt_id": _RECEIPT,
        "servers": "How many servers accept the coins.",
    },
)
FIX_RESULT: Final = Named(
    "FixResult",
    "The result of a fix.",
    {"coins_processed": 5, "coins_healed": 5, "coins_fracked": 0, "receipt_id": RECEIPT_ID},
    words={
        "coins_processed": "The number of coins that were repaired or tried.",
        "coins_healed": "How many of these every server accepts now.",
        "coins_fracked": "How many of these some server still refuses.",
        "receipt_id": _RECEIPT,
    },
)
ECHO_RESULT: Final = Named(
    "EchoResult",
    "The result of an echo.",
    {
        "online": 24,
        "pownstring": _RAIDA,
        "pownarray": [1] * 24 + [0],
        "latencies": [Nullable(12)],
        "ailing": [
            Named(
                "AilingServer",
                "A server whose last request failed.",
                {"raida": 24, "silences": 3, "silent_since": 1790000000, "rests_until": Nullable(1790000060)},
                words={
                    "raida": "The number of the server, 0 to 24.",
                    "silences": "The number of requests in a row that it did not answer.",
                    "silent_since": f"When the first of these was sent, {_SECONDS}.",
                    "rests_until": f"Until when requests to it are omitted, {_SECONDS}; null if none are.",
                },
            )
        ],
    },
    words={
        "online": "The number of servers that answered.",
        "pownstring": "A letter for each server, RAIDA 0 first.",
        "pownarray": "1 for each server that answered, 0 for each other, RAIDA 0 first.",
        "ailing": "The servers whose last request failed.",
        "latencies": "The milliseconds until each answered, RAIDA 0 first; null for one that did not.",
    },
)
EXPORT_TYPE: Final = Named(
    "ExportType",
    "The type of a file of coins.",
    OneOf(*(each.value for each in FileType)),
    words={
        FileType.BIN.value: "One binary file.",
        FileType.PNG.value: "An image that holds the coins.",
        FileType.STACK.value: "A JSON file.",
        FileType.ZIP.value: "An archive with a binary file for each coin.",
    },
)
_FILE_NAME: Final = "The name of the file."
EXPORT_RESULT: Final = Named(
    "ExportResult",
    "The result of an export.",
    {
        "total": AMOUNT,
        "coins": 2,
        "type": EXPORT_TYPE,
        "file": "20 CloudCoin #2 'backup'.bin",
        "url": f"/api/v1/exports/{_ID}/file",
        "receipt_id": RECEIPT_ID,
    },
    words={
        "total": "What is in the file.",
        "coins": "The number of coins in it.",
        "type": "The type of the file.",
        "file": _FILE_NAME,
        "url": "The path at which it is fetched.",
        "receipt_id": _RECEIPT,
    },
)
TRANSFER_RESULT: Final = Named(
    "CoinTransferResult",
    "The result of a transfer of coins.",
    {"total": AMOUNT, "coins": 2, "srcname": "alice", "dstname": "bob", "receipt_id": RECEIPT_ID},
    words={
        "total": "What was moved.",
        "coins": "The number of coins.",
        "srcname": "The name of the wallet that had them.",
        "dstname": "The name of the wallet that got them.",
        "receipt_id": _RECEIPT,
    },
)
ONLY_A_RECEIPT: Final = Named(
    "ReceiptResult",
    "The result of an export or transfer that failed.",
    {"receipt_id": RECEIPT_ID},
    words={"receipt_id": _RECEIPT},
)
# The more fields a result must have, the earlier: a client that takes the first that fits takes the right one.
RESULT: Final = Named(
    "LockerTaskResult",
    "The result of a task. The task's `type` says which of these it is.",
    Either(
        PUT_RESULT,
        IMPORT_RESULT,
        EXPORT_RESULT,
        TRANSFER_RESULT,
        PEEK_RESULT,
        HEALTH_RESULT,
        FIX_RESULT,
        FIND_RESULT,
        ECHO_RESULT,
        TAKE_RESULT,
        BREAK_RESULT,
        ONLY_A_RECEIPT,
    ),
)
# Completed at once, unless a larger coin must be broken first: then the task is still running.
_DONE: Final[dict[str, Any]] = {
    "id": _ID,
    "status": OneOf(TaskState.COMPLETED.value, TaskState.RUNNING.value),
    "progress": 100,
}
_DONE_WORDS: Final = {
    "id": _TASK_ID,
    "status": "`completed`, or `running` if a larger coin must be broken first: then ask for the task.",
    "progress": _PROGRESS,
    "message": "What was done. Absent while the task runs.",
    "data": "Its result. Absent while the task runs.",
}
EXPORTED: Final = Named(
    "StartedExport",
    "An export.",
    {**_DONE, "message": Sometimes("Exported."), "data": Sometimes(EXPORT_RESULT)},
    words=_DONE_WORDS,
)
TRANSFERRED: Final = Named(
    "StartedCoinTransfer",
    "A transfer of coins.",
    {**_DONE, "message": Sometimes("Transferred."), "data": Sometimes(TRANSFER_RESULT)},
    words=_DONE_WORDS,
)
# The later task that settled its unknown coins; state, message and result are updated by it.
SETTLED: Final = Named(
    "SettledBy",
    "The later task that decided about the coins that a task had left in limbo.",
    {"at": 1790000060, "task_id": _ID, "type": TASK_KIND},
    words={"at": f"When it did, {_SECONDS}.", "task_id": _TASK_ID, "type": "What it does."},
)
_SETTLED_WORDS: Final = (
    "The later task that decided about the coins that this one had left in limbo. State, message and result are as it"
    " left them. Absent if there was none."
)
ATTEMPT: Final = Named(
    "LockerTaskAttempt",
    "One command to the servers.",
    {"command": "put", "batch": 0, "asked": 25, "answered": 24, "done": True},
    words={
        "command": "The command, as the RAIDA protocol names it.",
        "batch": "The number of the part of the coins that it was about, from 0.",
        "asked": "The number of servers that were asked.",
        "answered": "The number of servers that answered.",
        "done": "Whether its outcome is recorded.",
    },
)
TASK: Final = Named(
    "LockerTask",
    "A task: one command about coins, which a worker carries out.",
    {
        "id": _ID,
        "type": TASK_KIND,
        "status": TASK_STATE,
        "progress": 100,
        "message": "Stored.",
        "settled": Sometimes(SETTLED),
        "started": 1790000000,
        "finished": Nullable(1790000002),
        "step": TASK_STEP,
        "raida": list(_RAIDA),
        "steps": [ATTEMPT],
        "data": Sometimes(RESULT),
        "details": Sometimes(RESULT),
    },
    words={
        "id": _TASK_ID,
        "type": "What it does.",
        "status": "Its state.",
        "progress": _PROGRESS,
        "message": "What it does, what it did, or why it failed.",
        "settled": _SETTLED_WORDS,
        "started": f"When it was begun, {_SECONDS}.",
        "finished": f"When it ended, {_SECONDS}; null while it runs.",
        "step": "What it is doing.",
        "raida": "A letter for each server, RAIDA 0 first.",
        "steps": "The commands to the servers, in their order.",
        "data": "The result. Present if the task is completed.",
        "details": "What is known of the result of a task that failed. Absent if nothing is.",
    },
)

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
    {"number": 7, "task_id": _ID, "wallet": Sometimes("bob")},
    words={
        "number": "The number of the line; later lines have higher ones.",
        "task_id": _TASK_ID,
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
    {"name": "alice", "balance": AMOUNT, "reserved": _NOTHING, "transactions": [LINE]},
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
        "pown": _RAIDA,
        "result_at_first": Sometimes("limbo"),
        "result": "locked",
    },
    words={
        "sn": _SN,
        "denomination": _DENOMINATION,
        "value": _VALUE,
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
        "task_id": _ID,
        "type": TASK_KIND,
        "wallet": "alice",
        "tag": "for Bob",
        "status": OneOf(TaskState.COMPLETED.value, TaskState.ERROR.value),
        "message": "Stored.",
        "settled": Sometimes(SETTLED),
        "started": 1790000000,
        "finished": Nullable(1790000002),
        "servers": _SERVERS,
        "expiry": _EXPIRY,
        "coins": [RECEIPT_COIN],
    },
    words={
        "receipt_id": "The id of the receipt.",
        "task_id": _TASK_ID,
        "type": "What the task did.",
        "wallet": "The name of the wallet.",
        "tag": _TAG,
        "status": "`completed` or `error`.",
        "message": "What the task did, or why it failed.",
        "settled": _SETTLED_WORDS,
        "started": f"When the task was begun, {_SECONDS}.",
        "finished": f"When it ended, {_SECONDS}.",
        "servers": f"{_SERVERS_WORDS[:-1]}. Absent if no server does.",
        "expiry": _EXPIRY_WORDS,
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
        "id": _ID,
        "wallet": "alice",
        "state": LOCKER_STATE,
        "tag": "for Bob",
        "amount": AMOUNT,
        "remaining": AMOUNT,
        "coins": 2,
        "created": 1790000000,
        "changed": 1790000002,
        "expiry": _EXPIRY,
    },
    words={
        "id": "The id of the locker.",
        "wallet": "The name of the wallet that filled it.",
        "state": "Its state.",
        "tag": _TAG,
        "amount": "What was asked to be put into it.",
        "remaining": "What is in it, as far as is known here.",
        "coins": "The number of coins in it.",
        "created": f"When it was created, {_SECONDS}.",
        "changed": f"When its state last changed, {_SECONDS}.",
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
        "id": _ID,
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
        "file": _FILE_NAME,
        "tag": _TAG,
        "amount": "What was exported.",
        "coins": "The number of coins.",
        "remaining": "What is in the file still, as far as is known here: not recalled, imported by no wallet here.",
        "fetched": "How often the file was fetched.",
        "confirmed": f"When its arrival was confirmed, {_SECONDS}; null if it was not.",
        "created": f"When it was exported, {_SECONDS}.",
        "receipt_id": _RECEIPT,
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
        "locker_key_used": _CODE_USED,
    },
    words={
        "command": "Always `locker-peek`.",
        "success": "Always true.",
        "message": "A sentence that says so.",
        "coins": "The coins in it.",
        "locker_key": _KEY_WORDS,
        "locker_key_used": _CODE_USED_WORDS,
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
    "task_id": _ID,
    "amount_failed": _NOTHING,
    "amount_unknown": _NOTHING,
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
    "task_id": _TASK_ID,
    "amount_failed": "What was not stored, and is free again.",
    "amount_unknown": "What is in limbo until a later task decides.",
    "receipt_id": _RECEIPT,
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
                "id": _ID,
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
                        "receipt_id": _RECEIPT,
                    },
                ),
                "raida_responded": 24,
                "elapsed_ms": 1800,
                "timeout_ms": 80_000,
                "raida_total": 25,
            },
            words={
                "id": _TASK_ID,
                "status": "`running`; `success` or `failed` when it has ended.",
                "progress": _PROGRESS,
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
                for what, example in (("coins", number), ("value", AMOUNT if number else _NOTHING))
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
        "task_id": _ID,
        "graded_to_limbo": 0,
        "message": "Taken.",
        "receipt_id": RECEIPT_ID,
        "amount_left": _PERHAPS,
        "continued_by": Sometimes(_ID),
        "locker_key_used": _CODE_USED,
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
        "task_id": _TASK_ID,
        "graded_to_limbo": "The number of coins in limbo.",
        "message": "What the task did or does.",
        "receipt_id": _RECEIPT,
        "amount_left": _LEFT,
        "continued_by": _CONTINUED,
        "locker_key_used": _CODE_USED_WORDS,
    },
)
NOT_IMPORTED: Final = {"files": [IMPORTED_FILE]}
