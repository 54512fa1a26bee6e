"""Examples with words of tasks and their results, for the API description."""

from typing import Any, Final

from config.api.error_schemas import DENOMINATION_WORDS as _DENOMINATION
from config.api.error_schemas import IMPORTED_FILE, NOTED_COIN
from config.api.error_schemas import SERIAL_NUMBER_WORDS as _SN
from config.api.json_schemas import Either, Example, Keyed, Named, Nullable, OneOf, Sometimes
from lockers.locker_expiry import Outcome
from lockers.states import FileType, Step, TaskKind, TaskState

ID: Final = "8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1"
RECEIPT_ID: Final = "5f0c4a4e9d3b4b7c8f8e2a1d6c7b9e01"
CODE: Final = "7KQ4-M2XW-9TRD-HB6P"

AMOUNT: Final = Named(
    "Amount",
    "An amount in coins. A JSON number where a double represents it exactly, otherwise a decimal text with up to eight"
    " decimals, so that no unit is lost.",
    Either(20, 0.5, "10000000.00000001"),
)
NOTHING: Final = Example(AMOUNT, 0)
PERHAPS: Final = Sometimes(AMOUNT)
RAIDA: Final = "p" * 24 + "n"
# What fields of this name mean in every component.
TASK_ID: Final = "The id of the task."
RECEIPT_ID_WORDS: Final = "The id of its receipt, which says what became of each coin."
VALUE: Final = "The value of the coin, in coins."
SECONDS: Final = "in seconds since 1970 (UTC)"
TAG: Final = "The tag that was sent; empty if there was none."
PROGRESS: Final = "0 to 100."
CODE_USED_WORDS: Final = (
    "The code that opened the locker, if it was opened by another spelling of the code than the one that was sent."
)
LEFT: Final = "Coins that another claim holds back for now. Absent if there are none."
CONTINUED: Final = "The id of the task that goes on with these coins."
SERVERS_WORDS: Final = "How many servers store the coins."

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
        "id": ID,
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
CODE_USED: Final = Sometimes(CODE)
SERVERS_OR_NONE: Final = Sometimes(SERVERS)
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
        "taken": NOTHING,
        "not_known": NOTHING,
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
EXPIRY_OR_NONE: Final = Sometimes(EXPIRY)
EXPIRY_WORDS: Final = "What is known now of the locker. Absent if it does not expire."
PUT_RESULT: Final = Named(
    "PutResult",
    "The result of a put.",
    {
        "transmit_code": Sometimes(CODE),
        "locker_id": Sometimes(ID),
        "receipt_id": RECEIPT_ID,
        "total_stored": AMOUNT,
        "total_failed": NOTHING,
        "total_unknown": PERHAPS,
        "servers": SERVERS_OR_NONE,
        "coins_on_fewer_servers": Sometimes([NOTED_COIN]),
        "expiry": EXPIRY_OR_NONE,
    },
    words={
        "transmit_code": "The code of the locker. Ten minutes after it was first shown `locker_id` takes its place.",
        "locker_id": "The id of the locker: `POST /api/v1/lockers/{locker_id}/code` returns its code.",
        "receipt_id": RECEIPT_ID_WORDS,
        "total_stored": "What is in the locker.",
        "total_failed": "What was not stored, and is free again.",
        "total_unknown": "What is in limbo until a later task decides. Absent if nothing was.",
        "servers": SERVERS_WORDS,
        "coins_on_fewer_servers": "Up to 50 coins that fewer servers store. Absent if there are none.",
        "expiry": EXPIRY_WORDS,
    },
)
TAKE_RESULT: Final = Named(
    "TakeResult",
    "The result of a take.",
    {
        "total": AMOUNT,
        "receipt_id": RECEIPT_ID,
        "total_unknown": PERHAPS,
        "total_failed": PERHAPS,
        "total_left": PERHAPS,
        "continued_by": Sometimes(ID),
        "graded": Sometimes(Keyed({"bank": 2})),
        "servers": SERVERS_OR_NONE,
        "transmit_code_used": CODE_USED,
        "total_taken_by_another": PERHAPS,
        "total_not_known": PERHAPS,
        "expiry": EXPIRY_OR_NONE,
    },
    words={
        "total": "What the wallet has got.",
        "receipt_id": RECEIPT_ID_WORDS,
        "total_unknown": "What is in limbo until a later task decides. Absent if nothing is.",
        "total_failed": "What the servers refused. Absent if nothing was.",
        "total_left": LEFT,
        "continued_by": CONTINUED,
        "graded": "The number of coins by the state that they are in.",
        "servers": SERVERS_WORDS,
        "transmit_code_used": CODE_USED_WORDS,
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
                words={"sn": _SN, "denomination": _DENOMINATION, "value": VALUE},
            )
        ],
        "transmit_code_used": CODE_USED,
    },
    words={
        "total": "What is in the locker.",
        "coins": "The coins in it.",
        "transmit_code_used": CODE_USED_WORDS,
    },
)
IMPORT_RESULT: Final = Named(
    "ImportResult",
    "The result of an import.",
    {
        "total": AMOUNT,
        "pown_results": Keyed({"total": 30, "authentic": 30, "fracked": 0, "counterfeit": 0, "limbo": 0, "errored": 0}),
        "files": [IMPORTED_FILE],
        "total_left": PERHAPS,
        "continued_by": Sometimes(ID),
        "left_out": Sometimes([NOTED_COIN]),
        "receipt_id": RECEIPT_ID,
        "servers": SERVERS_OR_NONE,
    },
    words={
        "total": "What the wallet has got.",
        "pown_results": "The number of coins by what the servers said, and their sum `total`.",
        "files": "What became of each file.",
        "total_left": LEFT,
        "continued_by": CONTINUED,
        "left_out": "Coins that were not asked about. Absent if there are none.",
        "receipt_id": RECEIPT_ID_WORDS,
        "servers": SERVERS_WORDS,
    },
)
FIND_RESULT: Final = Named(
    "FindResult",
    "The result of a find.",
    {"found": Keyed({"bank": 1}), "receipt_id": RECEIPT_ID},
    words={"found": "The number of coins by the state that they are in now.", "receipt_id": RECEIPT_ID_WORDS},
)
BREAK_RESULT: Final = Named(
    "BreakResult",
    "The result of a break.",
    {"total": AMOUNT, "receipt_id": RECEIPT_ID, "total_unknown": PERHAPS},
    words={
        "total": "The sum of the new coins.",
        "receipt_id": RECEIPT_ID_WORDS,
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
        "servers": SERVERS_OR_NONE,
    },
    words={
        "coins_checked": "The number of coins that the servers were asked about.",
        "coins_refused": "How many of these fewer servers accept than before.",
        "coins_doubtful": "How many of these fewer than 13 servers accept; for them nothing is recorded.",
        "receipt_id": RECEIPT_ID_WORDS,
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
        "receipt_id": RECEIPT_ID_WORDS,
    },
)
ECHO_RESULT: Final = Named(
    "EchoResult",
    "The result of an echo.",
    {
        "online": 24,
        "pownstring": RAIDA,
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
                    "silent_since": f"When the first of these was sent, {SECONDS}.",
                    "rests_until": f"Until when requests to it are omitted, {SECONDS}; null if none are.",
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
FILE_NAME: Final = "The name of the file."
EXPORT_RESULT: Final = Named(
    "ExportResult",
    "The result of an export.",
    {
        "total": AMOUNT,
        "coins": 2,
        "type": EXPORT_TYPE,
        "file": "20 CloudCoin #2 'backup'.bin",
        "url": f"/api/v1/exports/{ID}/file",
        "receipt_id": RECEIPT_ID,
    },
    words={
        "total": "What is in the file.",
        "coins": "The number of coins in it.",
        "type": "The type of the file.",
        "file": FILE_NAME,
        "url": "The path at which it is fetched.",
        "receipt_id": RECEIPT_ID_WORDS,
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
        "receipt_id": RECEIPT_ID_WORDS,
    },
)
ONLY_A_RECEIPT: Final = Named(
    "ReceiptResult",
    "The result of an export or transfer that failed.",
    {"receipt_id": RECEIPT_ID},
    words={"receipt_id": RECEIPT_ID_WORDS},
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
    "id": ID,
    "status": OneOf(TaskState.COMPLETED.value, TaskState.RUNNING.value),
    "progress": 100,
}
_DONE_WORDS: Final = {
    "id": TASK_ID,
    "status": "`completed`, or `running` if a larger coin must be broken first: then ask for the task.",
    "progress": PROGRESS,
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
    {"at": 1790000060, "task_id": ID, "type": TASK_KIND},
    words={"at": f"When it did, {SECONDS}.", "task_id": TASK_ID, "type": "What it does."},
)
SETTLED_WORDS: Final = (
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
        "id": ID,
        "type": TASK_KIND,
        "status": TASK_STATE,
        "progress": 100,
        "message": "Stored.",
        "settled": Sometimes(SETTLED),
        "started": 1790000000,
        "finished": Nullable(1790000002),
        "step": TASK_STEP,
        "raida": list(RAIDA),
        "steps": [ATTEMPT],
        "data": Sometimes(RESULT),
        "details": Sometimes(RESULT),
    },
    words={
        "id": TASK_ID,
        "type": "What it does.",
        "status": "Its state.",
        "progress": PROGRESS,
        "message": "What it does, what it did, or why it failed.",
        "settled": SETTLED_WORDS,
        "started": f"When it was begun, {SECONDS}.",
        "finished": f"When it ended, {SECONDS}; null while it runs.",
        "step": "What it is doing.",
        "raida": "A letter for each server, RAIDA 0 first.",
        "steps": "The commands to the servers, in their order.",
        "data": "The result. Present if the task is completed.",
        "details": "What is known of the result of a task that failed. Absent if nothing is.",
    },
)
