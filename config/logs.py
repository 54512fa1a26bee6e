"""
Logging: one JSON object a line on stderr, from structlog and from the standard library alike.

Secrets are struck out in one place, whoever logs: by the name of a field, and in text by the
shape of a credential.
"""

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

STRUCK_OUT = "[secret]"
SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)|secret|token|authoriz|api[-_]?key|vault|cookie|locker_key|transmit|^code$|^key$|^keys$|^ans?$|^pans?$",
    re.IGNORECASE,
)
SECRET_TEXT = re.compile(
    r"(?P<bearer>bearer\s+)[\w.~+/=-]+"
    r"|(?P<url>[a-z+]+://[^\s:/@]*:)[^\s@/]+(?=@)"
    # Whatever follows a segment that speaks of lockers may be a code, mistyped paths and those of other products
    # included; our own words behind one are not.
    r"|(?P<path>/[a-z-]*locker[a-z-]*/+)(?!(?:peek|take|upload|download|put|put-one-coin|put-no-sum)(?:[\s/?\"']|$))[^\s?\"']+"
    r"|(?P<query>(?:locker_key|api_key|password|code|token)=)[^\s&\"']+",
    re.IGNORECASE,
)


def strike_out_text(text: str) -> str:
    """Replace bearer tokens, passwords in URLs, transmit codes in paths and secret query parameters in a text."""
    return SECRET_TEXT.sub(lambda found: next(part for part in found.groups() if part) + STRUCK_OUT, text)


def strike_out(value: Any, name: str = "") -> Any:
    """Replace whatever is secret by its field's name or its shape, at any depth."""
    if name and SECRET_NAME.search(name):
        return STRUCK_OUT
    if isinstance(value, str):
        return strike_out_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return {key: strike_out(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [strike_out(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    # Whatever else is logged is shown as text; a request's text holds its query string.
    return strike_out_text(str(value))


def strike_out_event(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in list(event):
        if not name.startswith("_"):
            event[name] = strike_out(event[name], name)
    return event


def as_json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def is_news(record: logging.LogRecord) -> bool:
    """
    Tell whether a line of `django.request` says what nothing else says.

    It writes one for each answer from 400 on. What a client did wrong stands in the access log, and
    what the API could not answer was logged by `config.api.errors` already, with its cause.
    """
    request = getattr(record, "request", None)
    return getattr(record, "status_code", 500) >= 500 and not getattr(request, "was_refused_knowingly", False)


def settings(*, level: str) -> dict[str, Any]:
    """Set structlog up and return Django's `LOGGING`."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    strike_out_event,
                    structlog.processors.JSONRenderer(serializer=as_json),
                ],
            }
        },
        "filters": {"news": {"()": "django.utils.log.CallbackFilter", "callback": is_news}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.request": {"filters": ["news"], "level": level, "propagate": True},
            # The web server's access log writes paths as they came. Here codes are struck out of them.
            "granian.access": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            # It writes whole URLs at INFO.
            "httpx": {"level": "WARNING"},
            # Every two seconds a ring of beat is received and answered.
            "celery.app.trace": {"level": max(logging.WARNING, logging.getLevelNamesMapping().get(level, 0))},
            "celery.worker.strategy": {"level": max(logging.WARNING, logging.getLevelNamesMapping().get(level, 0))},
            "celery.beat": {"level": max(logging.WARNING, logging.getLevelNamesMapping().get(level, 0))},
        },
    }
