"""
Rate limits of wallets and API keys, and the limits of concurrent waiting calls, images, proofs and exports.

Requests are counted in windows of a minute in the Redis-protocol server, shared by all web processes. A process adds a
caller's requests to the shared counter once a second, or after 2 % of the limit if that is earlier: one round trip for
each request would add a quarter to the processor time of a transfer. So each process may admit up to 2 % more than a
limit allows. While that server does not answer, no limit is enforced. Responses report the remaining quota in the
header fields of draft-ietf-httpapi-ratelimit-headers. Waiting calls, images, proofs and exports are counted per
process, since each occupies a thread.

An inquiry is a peek or an echo. It moves no coins, so a wallet could begin inquiries without end; each occupies a
worker and asks 25 servers. Inquiries are therefore counted in windows of five seconds too.

An action that starts a task and has refused a caller with 429 repeats the refusal for a second without a query: a full
check takes several times as long, and other callers would wait for it. A request with an Idempotency-Key gets it only
after the look-up of its stored response: it may repeat an accepted request.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Final
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest

from config.api import error_codes as codes
from config.api.errors import RequestRefused
from config.api.pools import SIZES, Pool
from lockers.errors import TooManyWaiting
from wallets import queries, redis_servers
from wallets.sql_files import load_lua

WINDOW_SECONDS: Final = 60
# Short, so that those of one wallet never occupy a worker for long.
INQUIRY_WINDOW_SECONDS: Final = 5
_SPEND: Final = load_lua("config/api", "spend")


@dataclass(frozen=True, slots=True)
class _Quota:
    """A limit with its name in the header fields, and the key of the caller's counter."""

    name: str
    limit: int
    key: str
    window_seconds: int = WINDOW_SECONDS


def _quotas(found: queries.Credentials, *, is_task: bool, is_inquiry: bool) -> list[_Quota]:
    quotas = []
    if found.wallet is not None and settings.REQUESTS_PER_MINUTE:
        quotas.append(_Quota("wallet", settings.REQUESTS_PER_MINUTE, f"coppice:requests:wallet:{found.wallet.pk}"))
    if found.api_key_id is not None and settings.REQUESTS_PER_MINUTE_PER_KEY:
        quotas.append(
            _Quota("api-key", settings.REQUESTS_PER_MINUTE_PER_KEY, f"coppice:requests:key:{found.api_key_id}")
        )
    if is_task and found.wallet is not None and settings.TASKS_PER_MINUTE:
        quotas.append(_Quota("wallet-tasks", settings.TASKS_PER_MINUTE, f"coppice:tasks:wallet:{found.wallet.pk}"))
    if is_inquiry and found.wallet is not None and settings.INQUIRIES_PER_MINUTE:
        quotas.append(
            _Quota(
                "wallet-inquiries",
                ceil(settings.INQUIRIES_PER_MINUTE * INQUIRY_WINDOW_SECONDS / 60),
                f"coppice:inquiries:wallet:{found.wallet.pk}",
                INQUIRY_WINDOW_SECONDS,
            )
        )
    return quotas


@dataclass(slots=True)
class _Counter:
    """What this process knows of a shared counter. Times are monotonic."""

    value: int = 0
    ends: float = 0.0
    asked: float = 0.0
    # Requests of this process that are not in it yet.
    more: int = 0

    def admits(self, limit: int, now: float) -> bool:
        """Return whether the process may admit a request without asking the server."""
        is_current = now < self.ends and now - self.asked < _ASK_AFTER_SECONDS
        return is_current and self.more < limit // _ASK_AFTER_SHARE and self.value + self.more < limit


_ASK_AFTER_SECONDS: Final = 1.0
_ASK_AFTER_SHARE: Final = 50
_COUNTERS_AT_MOST: Final = 10_000
_counters: Final[dict[str, _Counter]] = {}
_counters_lock: Final = threading.Lock()

# The value of each counter after the request, and the seconds until its window ends.
_Counted = list[tuple[int, float]]


def _count_here(quotas: list[_Quota]) -> _Counted | None:
    """Count the request in this process alone; None if the server must be asked."""
    now = time.monotonic()
    with _counters_lock:
        counters = [_counters.get(quota.key) for quota in quotas]
        counted = []
        for quota, counter in zip(quotas, counters, strict=True):
            if counter is None or not counter.admits(quota.limit, now):
                return None
            counted.append((counter.value + counter.more + 1, counter.ends - now))
        for counter in counters:
            assert counter is not None
            counter.more += 1
    return counted


def _count_shared(quotas: list[_Quota]) -> tuple[_Counted, bool]:
    """
    Count the request, and those that only this process has counted, in the shared counters; say whether it is refused.

    :raises Away: the server does not answer
    """
    now = time.monotonic()
    arguments = list[int]()
    with _counters_lock:
        if len(_counters) >= _COUNTERS_AT_MOST:
            _counters.clear()
        for quota in quotas:
            counter = _counters.setdefault(quota.key, _Counter())
            # Those of an earlier window do not matter any more.
            arguments += [quota.window_seconds * 1000, quota.limit, counter.more if now < counter.ends else 0]
            counter.more = 0
    keys = [quota.key for quota in quotas]
    *told, is_refused = redis_servers.ask(
        settings.REDIS_URL, lambda client: client.register_script(_SPEND)(keys=keys, args=arguments)
    )
    counted = [(number, left / 1000) for number, left in zip(told[::2], told[1::2], strict=True)]
    with _counters_lock:
        for key, (number, seconds) in zip(keys, counted, strict=True):
            counter = _counters.setdefault(key, _Counter())
            counter.value, counter.ends, counter.asked = number, now + seconds, now
    return counted, bool(is_refused)


def count(request: HttpRequest, found: queries.Credentials, *, is_task: bool, is_inquiry: bool) -> None:
    """
    Count a request of the caller. `is_task`: it starts a task or asks the RAIDA servers.

    :raises RequestRefused: 429, a limit is exceeded
    """
    quotas = _quotas(found, is_task=is_task, is_inquiry=is_inquiry)
    if not quotas:
        return
    counted, is_refused = _count_here(quotas), False
    if counted is None:
        try:
            counted, is_refused = _count_shared(quotas)
        except redis_servers.Away:
            return
    left = [max(0, quota.limit - number) for quota, (number, _) in zip(quotas, counted, strict=True)]
    ends = [max(1, ceil(seconds)) for _, seconds in counted]
    # `config.api.views` adds these to all responses.
    request.limit_headers = {  # type: ignore[attr-defined]
        "RateLimit-Policy": ", ".join(f'"{quota.name}";q={quota.limit};w={quota.window_seconds}' for quota in quotas),
        "RateLimit": ", ".join(
            f'"{quota.name}";r={rest};t={end}' for quota, rest, end in zip(quotas, left, ends, strict=True)
        ),
    }
    if is_refused:
        wait = max(end for rest, end in zip(left, ends, strict=True) if rest == 0)
        raise RequestRefused(codes.TOO_MANY_REQUESTS, "Too many requests, try again later", {"Retry-After": str(wait)})


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


_sending_images: Final = set[UUID]()
_images_by_key: Final = Counter[UUID | None]()
# With one more, no thread of `Pool.IMAGES` would be left for the wallets of other keys.
IMAGES_PER_KEY: Final = SIZES[Pool.IMAGES].threads - 1
IMAGE_IN_HAND: Final = "Another image of this wallet is being stored, try again"
IMAGES_OF_KEY_IN_HAND: Final = "Other images with this API key are being stored, try again"


@contextmanager
def images_of(wallet_id: UUID, *, api_key_id: UUID | None) -> Iterator[None]:
    """
    Process the images of one request of the wallet: a thread of `Pool.IMAGES` stays free for other wallets and keys.

    :raises RequestRefused: 429, images of another request of the wallet, or of two with the key, are being processed
    """
    with _waiting_lock:
        if wallet_id in _sending_images:
            raise RequestRefused(codes.IMAGE_UPLOAD_IN_PROGRESS, IMAGE_IN_HAND, {"Retry-After": "1"})
        if _images_by_key[api_key_id] >= IMAGES_PER_KEY:
            raise RequestRefused(codes.IMAGE_UPLOADS_OF_KEY_IN_PROGRESS, IMAGES_OF_KEY_IN_HAND, {"Retry-After": "1"})
        _sending_images.add(wallet_id)
        _images_by_key[api_key_id] += 1
    try:
        yield
    finally:
        with _waiting_lock:
            _sending_images.remove(wallet_id)
            _images_by_key[api_key_id] -= 1
            if not _images_by_key[api_key_id]:
                del _images_by_key[api_key_id]


_proving: Final = set[UUID]()
PROOF_IN_HAND: Final = "Another proof for this wallet is being made, try again"


@contextmanager
def proof_for(wallet_id: UUID) -> Iterator[None]:
    """
    Make one proof for the wallet, which reads and hashes all rows of up to five blocks.

    :raises RequestRefused: 429, another one is being made for the wallet in this process
    """
    with _waiting_lock:
        if wallet_id in _proving:
            raise RequestRefused(codes.TOO_MANY_REQUESTS, PROOF_IN_HAND, {"Retry-After": "1"})
        _proving.add(wallet_id)
    try:
        yield
    finally:
        with _waiting_lock:
            _proving.remove(wallet_id)


# Each occupies a thread of `Pool.WAITING`, and reads one snapshot, for as long as its reader takes.
EXPORTS_AT_ONCE: Final = 2
EXPORT_IN_HAND: Final = "Another export is being sent, try again later"
_EXPORT_RETRY_SECONDS: Final = 10
# By wallet: the API key. One key has one, so that a partner with many wallets leaves room for the others.
_exporting: Final = dict[UUID, UUID | None]()
# An export may be closed by the garbage collector, in a thread that has the lock.
_exports_lock: Final = threading.RLock()


class Export:
    """
    The lines of the export of a wallet, counted until it is read to the end or closed.

    `lines` is called once the export is admitted: it may begin to read, in a transaction that closing it ends.

    :raises RequestRefused: 429, the wallet or the API key has another one, or others have `EXPORTS_AT_ONCE` in this
        process
    """

    def __init__(self, wallet_id: UUID, lines: Callable[[], Iterator[str]], *, api_key_id: UUID | None) -> None:
        self._wallet_id: UUID | None = None
        self._lines: Iterator[str] = iter(())
        with _exports_lock:
            is_of_key = api_key_id is not None and api_key_id in _exporting.values()
            if wallet_id in _exporting or is_of_key or len(_exporting) >= EXPORTS_AT_ONCE:
                retry = {"Retry-After": str(_EXPORT_RETRY_SECONDS)}
                raise RequestRefused(codes.EXPORT_IN_PROGRESS, EXPORT_IN_HAND, retry)
            _exporting[wallet_id] = api_key_id
            self._wallet_id = wallet_id
        self._lines = lines()

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._lines
        finally:
            self.close()

    def close(self) -> None:
        """End the count and the lines. Django calls it for each response, also for one that was not read."""
        with _exports_lock:
            wallet_id, self._wallet_id = self._wallet_id, None
            if wallet_id is not None:
                _exporting.pop(wallet_id, None)
        # Nothing is left to end after the last line.
        lines, self._lines = self._lines, iter(())
        close = getattr(lines, "close", None)
        if close is not None:
            close()

    def __del__(self) -> None:
        # A response that a failure of a middleware replaced is not closed.
        self.close()
