"""
Logging: one JSON object per line on stderr.

The origin of a record and the names of its fields decide what is written. No text is searched for secrets.

* Messages of Coppice's own loggers are constants, with ids, counts and class names as arguments (a test checks each).
* A library's message is its template, with numbers and class names as arguments; other arguments become "…". Text that
  is no constant of the library's source is omitted.
* Of an exception: its class, the chain of its causes, the place of each frame, and the attributes in `_facts`. Its
  message is omitted, since it may repeat a value.
* Of other fields: those in `FIELDS`.

Paths and queries are never written. The access log (`config.ops.access_log`) has the pattern of the path.
"""

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any, Final
from uuid import UUID

import orjson

from config.environment import ROOT
from wallets.request_id import current_request_id

OWN: Final = ("coppice", "config", "wallets", "trusts", "transfers", "lockers", "webhooks")
# Optional fields of a line.
FIELDS: Final = frozenset(
    {
        "request_id", "method", "route", "status", "ms", "client", "api_key", "wallet", "user", "error", "refused",
        "sqlstate", "operation", "status_code", "unread",
    }
)  # fmt: skip
LEFT_OUT: Final = "…"
TEXT_LEFT_OUT: Final = "(text left out)"
_FRAMES: Final = 50


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        is_own = record.name.partition(".")[0] in OWN
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage() if is_own else _foreign(record),
        }
        if not is_own:
            line["place"] = f"{_place(record.pathname)}:{record.lineno}"
        named = record.__dict__
        if (request_id := current_request_id()) and "request_id" not in named:
            line["request_id"] = request_id
        line |= {name: _plain(named[name]) for name in FIELDS & named.keys()}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["exception"] = described(error)
        return orjson.dumps(line, default=_named).decode()


def described(error: BaseException) -> str:
    """Return the classes of an exception and its causes, with their frames, one per line."""
    return "\n".join(_lines(error, set()))


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    yield " ".join([_named(error), *(f"{name}={value}" for name, value in _facts(error))])
    # May be Celery's copy of the traceback of another process.
    frame: TracebackType | None = error.__traceback__
    count = 0
    while frame is not None and count < _FRAMES:
        code = frame.tb_frame.f_code
        yield f"  {_place(code.co_filename)}:{frame.tb_lineno} {code.co_name}"
        frame, count = frame.tb_next, count + 1
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield "one of the group:"
            yield from _lines(each, seen)
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield "caused by" if error.__cause__ else "while handling"
        yield from _lines(before, seen)


def _facts(error: BaseException) -> Iterator[tuple[str, str | int]]:
    """Yield attributes of an exception that hold no value of a request: SQLSTATE, table, constraint, errno."""
    diag = getattr(error, "diag", None)
    for name, fact in (
        ("sqlstate", getattr(error, "sqlstate", None)),
        ("table", getattr(diag, "table_name", None)),
        ("constraint", getattr(diag, "constraint_name", None)),
    ):
        if isinstance(fact, str):
            yield name, fact
    if isinstance(error, OSError) and error.errno is not None:
        yield "errno", error.errno


def _foreign(record: logging.LogRecord) -> str:
    """Return a library's message without its arguments."""
    if not isinstance(record.msg, str):
        return TEXT_LEFT_OUT
    args = record.args
    if not _is_constant(record):
        return TEXT_LEFT_OUT
    if not args:
        return record.msg
    try:
        if isinstance(args, Mapping):
            # Of Celery's messages about a task; the other entries are its arguments and result.
            return record.msg % {key: _filled(value, key in {"name", "id"}) for key, value in args.items()}
        return record.msg % tuple(_filled(value, False) for value in args)
    except (TypeError, ValueError, KeyError):
        return record.msg


def _filled(value: object, is_known: bool) -> object:
    if isinstance(value, int | float) or (is_known and isinstance(value, str)):
        return value
    return _named(value) if isinstance(value, BaseException | type) else LEFT_OUT


def _is_constant(record: logging.LogRecord) -> bool:
    """Return whether the message is a constant of a function on the call stack, or of its module."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if record.msg in frame.f_code.co_consts or any(record.msg is value for value in frame.f_globals.values()):
            return True
        frame = frame.f_back
    return False


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | bool | int | float | UUID) else _named(value)


def _named(value: object) -> str:
    kind = value if isinstance(value, type) else type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _place(path: str) -> str:
    """Return the path of a file relative to the product or to site-packages."""
    return path.rpartition("/site-packages/")[2].removeprefix(f"{ROOT}/")


def is_unreported(record: logging.LogRecord) -> bool:
    """
    Return whether a record of `django.request` is the only report of an error.

    Django logs each response from 400 on. Errors of clients are in the access log, and `config.api.errors` has logged
    the unexpected errors of the API with their causes.
    """
    request = getattr(record, "request", None)
    return getattr(record, "status_code", 500) >= 500 and not getattr(request, "was_refused_knowingly", False)


def log_uncaught_exceptions() -> None:
    """
    Log, without messages, the exceptions that Python would print: of threads, of finalizers, and of logging itself.

    For processes whose stderr is a log.
    """
    threading.excepthook = _log_uncaught
    sys.unraisablehook = _log_uncaught
    logging.raiseExceptions = False


def _log_uncaught(what: Any) -> None:
    error = what.exc_value
    if error is not None and not isinstance(error, SystemExit):
        logging.getLogger("coppice").error("uncaught", exc_info=(type(error), error, error.__traceback__))


def settings(*, level: str) -> dict[str, Any]:
    """Return Django's `LOGGING`."""
    at_least_warning = max(logging.WARNING, logging.getLevelNamesMapping().get(level, 0))
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "filters": {"unreported": {"()": "django.utils.log.CallbackFilter", "callback": is_unreported}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.request": {"filters": ["unreported"], "level": level, "propagate": True},
            "httpx": {"level": "WARNING"},
            # Otherwise every scheduled task would be logged, several times a second.
            "celery.app.trace": {"level": at_least_warning},
            "celery.worker.strategy": {"level": at_least_warning},
            "celery.beat": {"level": at_least_warning},
        },
    }
