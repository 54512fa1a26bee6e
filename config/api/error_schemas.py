"""The components of the API description for errors."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from config.api import errors
from config.api.json_schemas import Named, OneOf, Sometimes

_WORDS: Final = {
    "code": "The HTTP status.",
    "message": "What was refused, and why.",
}
ERROR: Final = Named(
    "Error", "An error of the Treetracker API.", {"code": 404, "message": "Cannot GET /nowhere"}, words=_WORDS
)
LOCKER_ERROR: Final = Named(
    "LockerError",
    "An error below `/api/`.",
    {"status": OneOf("error"), "error": True, "message": "There is no task with that id", "code": 404},
    words={
        "status": "Always `error`: a client that polls a task by its `status` stops.",
        "error": "Always true.",
        **_WORDS,
    },
)
PROBLEM: Final = Named(
    "Problem",
    "An error as problem details (RFC 9457), of the endpoints of webhooks and payment requests.",
    {
        "type": "https://trees.example/docs/errors#path_unknown",
        "title": "There is no such path",
        "status": 404,
        "detail": "Cannot GET /nowhere",
        "code": "path_unknown",
        "instance": Sometimes("9f86d081884c7d65"),
    },
    words={
        "type": "The address of the documentation of the code.",
        "title": "What the code means. The same for every error of the code.",
        "status": "The HTTP status.",
        "detail": "What was refused, and why.",
        "code": "The code, as in the header `Error-Code`.",
        "instance": "The id of the request, as in the header `X-Request-Id`. The logs of the server name it.",
    },
)
ROW_PROBLEM: Final = Named(
    "RowProblem",
    "Why a row of a CSV file is refused.",
    {"line": 4, "column": "wallet_name", "message": "invalid wallet name:no body"},
    words={
        "line": "The line of the file, from 1. The header is line 1.",
        "column": "The name of the column, or `column` and its number if it has no name. Empty if it is the whole row.",
        "message": "What is wrong.",
    },
)

SERIAL_NUMBER_WORDS: Final = "The serial number of the coin."
DENOMINATION_WORDS: Final = "The exponent of ten of the coin's value: 0 for a coin of 1, -8 to 6."
NOTED_COIN: Final = Named(
    "NotedCoin",
    "A coin of which a task notes something.",
    {
        "sn": 1234,
        "denomination": 1,
        "servers": Sometimes(13),
        "reason": Sometimes("This coin is held in this ledger already"),
    },
    words={
        "sn": SERIAL_NUMBER_WORDS,
        "denomination": DENOMINATION_WORDS,
        "servers": "The number of servers that store it, in `coins_on_fewer_servers`.",
        "reason": "Why it is not imported, in `refusals`.",
    },
)
IMPORTED_FILE: Final = Named(
    "ImportedFile",
    "What became of a file of an import.",
    {
        "name": "coins.bin",
        "accepted": 30,
        "refused": 0,
        "waiting": Sometimes(2),
        "reason": Sometimes("The file is encrypted"),
        "note": Sometimes("The coins of this file name no denomination and were read as coins of 1."),
        "refusals": Sometimes([NOTED_COIN]),
    },
    words={
        "name": "The name of the file, or its place in `items`.",
        "accepted": "The number of coins that the servers are asked about.",
        "refused": "The number of coins that are not imported.",
        "waiting": "The number of coins that another wallet claims too. Absent if there are none.",
        "reason": "Why no coin of the file is imported. Absent if some are.",
        "note": "What was assumed when the file was read. Absent if nothing was.",
        "refusals": "Coins that are not imported, up to a limit. Absent if there are none.",
    },
)
# Further fields, which other errors of the same status lack: an example and words by field.
_MORE: Final[Mapping[str, Mapping[str, tuple[Any, str | Named]]]] = {
    "RowsError": {"rows": ([ROW_PROBLEM], ROW_PROBLEM)},
    "FilesError": {"files": ([IMPORTED_FILE], IMPORTED_FILE)},
    "ServersError": {
        "locker_key": ("7KQ4-M2XW-9TRD-HB6P", "The transmit code of the request."),
        "raida_success": (0, "The number of servers, of 25, that accepted."),
        "raida_status_code": (179, "The status that most servers answered, a number of the RAIDA protocol."),
        "detail": ("LOCKER_EMPTY_OR_NOT_EXISTS", "The name of that status."),
        "task_id": (
            "8c6b9f53-8f4e-4ef4-a5ae-5ad9f2b9a0a1",
            "The id of the task that failed: `GET /api/v1/task/{task_id}` has its details. Absent after a peek.",
        ),
        "task_message": ("No locker with this code", "Why the task failed. Absent after a peek."),
    },
}


def _extended(name: str, about: str, base: Named) -> Named:
    more = {field: Sometimes(example) for field, (example, _) in _MORE[name].items()}
    words = {field: each for field, (_, each) in _MORE[name].items()}
    return Named(name, about, {**base.of, **more}, words={**base.words, **words})


_EXTENDED: Final = (
    _extended("RowsError", "An error of a batch; `rows` is present if rows of the file are refused.", ERROR),
    _extended(
        "FilesError",
        "An error of an import; `files` is present if no file had a coin that could be imported.",
        LOCKER_ERROR,
    ),
    _extended(
        "ServersError",
        "An error of a call that waits for the servers; what they said is present if they are its reason.",
        LOCKER_ERROR,
    ),
)


def component_of(path: str, extra: Iterable[str]) -> Named:
    """
    Return the component of errors in the format of the path, of which some have these further fields.

    :raises LookupError: there is none
    """
    names = set(extra)
    if not names:
        return PROBLEM if errors.is_problem_path(path) else LOCKER_ERROR if errors.is_locker_path(path) else ERROR
    for each in _EXTENDED:
        if names <= set(each.words):
            return each
    raise LookupError(f"no component of errors has {', '.join(sorted(names))}")
