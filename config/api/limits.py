"""
Rate limits of wallets and API keys, and the limit of concurrent waiting calls of a wallet.

Requests are counted in windows of a minute in the Redis-protocol server, shared by all web processes. While that server
does not answer, no limit is enforced. Responses report the remaining quota in the header fields of
draft-ietf-httpapi-ratelimit-headers. Waiting calls are counted per process, since each occupies a thread.

An action that starts a task and has refused a caller with 429 repeats the refusal for a second without a query: a full
check takes several times as long, and other callers would wait for it. A request with an Idempotency-Key gets it only
after the look-up of its stored response: it may repeat an accepted request.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest

from config.api.errors import RequestRefused
from lockers.errors import TooManyWaiting
from wallets import queries, redis_servers
from wallets.sql_files import load_lua

WINDOW_SECONDS: Final = 60
_SPEND: Final = load_lua("config/api", "spend")


@dataclass(frozen=True, slots=True)
class _Quota:
    """A limit with its name in the header fields, and the key of the caller's counter."""

    name: str
    limit: int
    key: str


def _quotas(found: queries.Credentials, *, is_task: bool) -> list[_Quota]:
    quotas = []
    if found.wallet is not None and settings.REQUESTS_PER_MINUTE:
        quotas.append(_Quota("wallet", settings.REQUESTS_PER_MINUTE, f"coppice:requests:wallet:{found.wallet.pk}"))
    if found.api_key_id is not None and settings.REQUESTS_PER_MINUTE_PER_KEY:
        quotas.append(
            _Quota("api-key", settings.REQUESTS_PER_MINUTE_PER_KEY, f"coppice:requests:key:{found.api_key_id}")
        )
    if is_task and found.wallet is not None and settings.TASKS_PER_MINUTE:
        quotas.append(_Quota("wallet-tasks", settings.TASKS_PER_MINUTE, f"coppice:tasks:wallet:{found.wallet.pk}"))
    return quotas


def count(request: HttpRequest, found: queries.Credentials, *, is_task: bool) -> None:
    """
    Count a request of the caller. `is_task`: it starts a task or asks the RAIDA servers.

    :raises RequestRefused: 429, a limit is exceeded
    """
    quotas = _quotas(found, is_task=is_task)
    if not quotas:
        return
    keys = [quota.key for quota in quotas]
    arguments = [WINDOW_SECONDS * 1000, *(quota.limit for quota in quotas)]
    try:
        *counted, is_refused = redis_servers.ask(
            settings.REDIS_URL, lambda client: client.register_script(_SPEND)(keys=keys, args=arguments)
        )
    except redis_servers.Away:
        return
    left = [max(0, quota.limit - number) for quota, number in zip(quotas, counted[::2], strict=True)]
    ends = [max(1, ceil(milliseconds / 1000)) for milliseconds in counted[1::2]]
    # `config.api.views` adds these to all responses.
    request.limit_headers = {  # type: ignore[attr-defined]
        "RateLimit-Policy": ", ".join(f'"{quota.name}";q={quota.limit};w={WINDOW_SECONDS}' for quota in quotas),
        "RateLimit": ", ".join(
            f'"{quota.name}";r={rest};t={end}' for quota, rest, end in zip(quotas, left, ends, strict=True)
        ),
    }
    if is_refused:
        wait = max(end for rest, end in zip(left, ends, strict=True) if rest == 0)
        raise RequestRefused(429, "Too many requests, try again later", {"Retry-After": str(wait)})


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The refusal of a caller, and until when it is repeated."""

    until: float
    error: Exception
    credentials: queries.Credentials | None
    headers: Mapping[str, str]


# By digest of the bearer token and action. Not longer than the shortest `Retry-After`.
_REFUSED_SECONDS: Final = 1.0
_REFUSED_AT_MOST: Final = 10_000
_refusals: Final[dict[tuple[bytes, str], _Refusal]] = {}


def refuse_again(request: HttpRequest, *, bearer: str, action: str) -> None:
    """
    Repeat the refusal that `note_refusal` stored for the caller and the action within the last second.

    :raises Exception: that refusal
    """
    if not _refusals or not bearer:
        return
    refusal = _refusals.get((queries.digest(bearer), action))
    if refusal is None or time.monotonic() >= refusal.until:
        return
    # For the log and the header fields, as in the first refusal, unless the request itself was authenticated.
    if getattr(request, "credentials", None) is None:
        request.credentials = refusal.credentials  # type: ignore[attr-defined]
        request.limit_headers = refusal.headers  # type: ignore[attr-defined]
    raise refusal.error.with_traceback(None)


def note_refusal(request: HttpRequest, error: Exception, *, bearer: str, action: str) -> None:
    """Store that the action, which starts a task, has refused the caller with 429."""
    # Its frames would keep a reference to the request.
    error.__traceback__ = error.__context__ = error.__cause__ = None
    key, now = (queries.digest(bearer), action), time.monotonic()
    if (earlier := _refusals.get(key)) is not None and now < earlier.until:
        return
    if len(_refusals) >= _REFUSED_AT_MOST:
        _refusals.clear()
    _refusals[key] = _Refusal(
        now + _REFUSED_SECONDS,
        error,
        getattr(request, "credentials", None),
        getattr(request, "limit_headers", {}),
    )


def forget_refusals() -> None:
    """Delete all stored refusals."""
    _refusals.clear()


_waiting: Final = Counter[UUID]()
_waiting_lock: Final = threading.Lock()


def begin_waiting(wallet_id: UUID) -> None:
    """
    Count a waiting call of the wallet; `end_waiting` must follow.

    :raises TooManyWaiting: the limit is reached
    """
    with _waiting_lock:
        if _waiting[wallet_id] >= settings.WAITING_CALLS_PER_WALLET:
            raise TooManyWaiting(settings.WAITING_CALLS_PER_WALLET)
        _waiting[wallet_id] += 1


def end_waiting(wallet_id: UUID) -> None:
    with _waiting_lock:
        _waiting[wallet_id] -= 1
        if not _waiting[wallet_id]:
            del _waiting[wallet_id]
