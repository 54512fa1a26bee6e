"""
How many requests a wallet and an API key may make in a minute, and how many calls of a wallet may wait at once.

Requests are counted in windows of a minute, in the Redis-protocol server, so that all web processes count together;
a limit that is off costs nothing. While that server does not answer, no limit is enforced. Responses report the
remaining quota in the header fields of draft-ietf-httpapi-ratelimit-headers. Waiting calls are counted in each process
separately: each occupies a thread of that process.

Once an action that begins a task has refused a caller with 429, it refuses that caller for a second before the database
is asked: a full check takes several times as long as such a refusal, and the other callers would wait for it. A request
with an Idempotency-Key is refused so only after its answer was looked for: it may repeat one that was accepted.
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
    """A limit, under the name by which the header fields call it, and the counter of one caller."""

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
    Count a request of the caller; `is_task` says that it begins a task, or asks the RAIDA servers.

    :raises RequestRefused: 429, there were too many in this minute
    """
    quotas = _quotas(found, is_task=is_task)
    if not quotas:
        return
    keys = [quota.key for quota in quotas]
    arguments = [WINDOW_SECONDS * 1000, *(quota.limit for quota in quotas)]
    try:
        *told, is_refused = redis_servers.ask(
            settings.REDIS_URL, lambda client: client.register_script(_SPEND)(keys=keys, args=arguments)
        )
    except redis_servers.Away:
        return
    left = [max(0, quota.limit - number) for quota, number in zip(quotas, told[::2], strict=True)]
    ends = [max(1, ceil(milliseconds / 1000)) for milliseconds in told[1::2]]
    # Written by `config.api.views`, on refusals too.
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
    """What a caller was refused with, and until when it is refused again."""

    until: float
    error: Exception
    credentials: queries.Credentials | None
    headers: Mapping[str, str]


# By the digest of the bearer token, and the action. No longer than any `Retry-After` that is sent.
_REFUSED_SECONDS: Final = 1.0
_REFUSED_AT_MOST: Final = 10_000
_refusals: Final[dict[tuple[bytes, str], _Refusal]] = {}


def refuse_again(request: HttpRequest, *, bearer: str, action: str) -> None:
    """
    Refuse a caller as the action refused it within the last second, with `note_refusal`.

    :raises Exception: the refusal of then
    """
    if not _refusals or not bearer:
        return
    refusal = _refusals.get((queries.digest(bearer), action))
    if refusal is None or time.monotonic() >= refusal.until:
        return
    # For the log, and as the first refusal had them. A request that was authenticated and counted has its own.
    if getattr(request, "credentials", None) is None:
        request.credentials = refusal.credentials  # type: ignore[attr-defined]
        request.limit_headers = refusal.headers  # type: ignore[attr-defined]
    raise refusal.error.with_traceback(None)


def note_refusal(request: HttpRequest, error: Exception, *, bearer: str, action: str) -> None:
    """Note that the action, which begins a task, has refused the caller with 429."""
    # Its frames would keep the request as long as the refusal is kept.
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
    """Forget all that `note_refusal` noted."""
    _refusals.clear()


_waiting: Final = Counter[UUID]()
_waiting_lock: Final = threading.Lock()


def begin_waiting(wallet_id: UUID) -> None:
    """
    Note that a call of the wallet begins to wait; `end_waiting` must follow.

    :raises TooManyWaiting: as many wait already as may
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
