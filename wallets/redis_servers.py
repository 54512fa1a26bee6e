"""
The Redis-protocol server of `REDIS_URL`: its URL, one client per process, and counters for when it is unavailable.

`redis://`, `valkey://` (with TLS `rediss://`, `valkeys://`) and `unix://` name a server. With
`redis+sentinel://user:password@host1:26379,host2:26379/service/db` the sentinels name the current primary; user and
password are for that server, `?sentinel_username=…&sentinel_password=…` for the sentinels.

It is in the lowest app because all apps and `config` use it. It imports neither Django nor Celery.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

_log: Final = logging.getLogger("coppice.redis")

_SENTINEL: Final = "+sentinel"
_PLAIN: Final = {"redis": "redis", "valkey": "redis", "rediss": "rediss", "valkeys": "rediss", "unix": "unix"}
_SENTINEL_PORT: Final = 26379
ANSWER_SECONDS: Final = 2.0
# After a failure the server is not contacted for this time, so that not every request waits for a timeout.
PAUSE_SECONDS: Final = 5.0

_Said = TypeVar("_Said")


@dataclass(frozen=True, repr=False)
class Address:
    """The address of the server. `url` is in the form of redis-py; with sentinels it is empty."""

    url: str
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None


def read(url: str) -> Address:
    """
    Parse a URL.

    :raises ValueError: it names no supported server; the message contains no part of the URL, which has a password
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("is not a URL") from None
    scheme = parts.scheme.lower()
    if "cluster" in scheme:
        raise ValueError(
            "names a cluster, over which Celery cannot spread its queues; name a single server or sentinels"
        )
    if scheme.endswith(_SENTINEL):
        return _read_sentinels(parts, scheme.removesuffix(_SENTINEL))
    if scheme not in _PLAIN or not (parts.path if scheme == "unix" else parts.netloc):
        raise ValueError("must look like redis://host:port/0, unix:///path/to/socket?db=0 or redis+sentinel://…")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL with a number for its port") from None
    if scheme != "unix":
        if "," in parts.netloc.rpartition("@")[2]:
            raise ValueError("names several servers; several sentinels are redis+sentinel://host1,host2/service/0")
        if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
            raise ValueError("must end with the number of a database, such as /0")
    return Address(_PLAIN[scheme] + url[len(parts.scheme) :])


def _read_sentinels(parts: SplitResult, kind: str) -> Address:
    if _PLAIN.get(kind) == "rediss":
        raise ValueError("TLS to sentinels is not supported; use redis+sentinel:// through a tunnel, or one server")
    if _PLAIN.get(kind) != "redis":
        raise ValueError("must look like redis+sentinel://host1:26379,host2:26379/service/0")
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not hosts or not (database or "0").isdecimal():
        raise ValueError("must look like redis+sentinel://host1:26379,host2:26379/service/0")
    sentinels = []
    for host in hosts.split(","):
        try:
            one = urlsplit(f"//{host}")
            sentinels.append((one.hostname or "", one.port or _SENTINEL_PORT))
        except ValueError:
            raise ValueError("is not a URL with a number for its port") from None
    if not all(name for name, _ in sentinels):
        raise ValueError("must look like redis+sentinel://host1:26379,host2:26379/service/0")
    query = parse_qs(parts.query)
    return Address(
        "",
        tuple(sentinels),
        unquote(service),
        int(database or 0),
        unquote(username) or None,
        unquote(password) or None,
        query.get("sentinel_username", [None])[-1],
        query.get("sentinel_password", [None])[-1],
    )


def connect(url: str) -> redis.Redis:
    """Return a client with a connection pool. It connects on first use, with short timeouts."""
    address = read(url)
    # Retry once over a new connection: the old one may lead to a server that was restarted, or is no longer the
    # primary. Not after a timeout: a server that hangs would delay each caller three times as long.
    patience: dict[str, Any] = {
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": ANSWER_SECONDS,
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    }
    if not address.sentinels:
        return redis.Redis.from_url(address.url, **patience)
    for_sentinels = {**patience, "username": address.sentinel_username, "password": address.sentinel_password}
    sentinel = Sentinel(list(address.sentinels), sentinel_kwargs=for_sentinels)  # type: ignore[no-untyped-call]
    found: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        address.service, db=address.database, username=address.username, password=address.password, **patience
    )
    return found


@lru_cache(maxsize=16)
def client(url: str) -> redis.Redis:
    """Return this process's client of the server."""
    return connect(url)


class Away(Exception):
    """The server does not respond or refused the command, now or within the last `PAUSE_SECONDS`."""


_away_until: Final[dict[str, float]] = {}


def ask(url: str, question: Callable[[redis.Redis], _Said]) -> _Said:
    """
    Send a command for which the caller has a fallback. After a failure the server is not contacted for
    `PAUSE_SECONDS`.

    :raises Away: the caller uses its fallback, the counters of this process
    """
    return unless_away(url, lambda: question(client(url)))


def unless_away(server: str, act: Callable[[], _Said]) -> _Said:
    """
    Do something that needs this server. After a failure it is not tried for `PAUSE_SECONDS`.

    :raises Away: see `ask`
    """
    if time.monotonic() < _away_until.get(server, 0.0):
        raise Away
    try:
        return act()
    except (redis.RedisError, OSError) as error:
        _away_until[server] = time.monotonic() + PAUSE_SECONDS
        _log.warning("counting_in_this_process_alone", extra={"error": type(error).__name__})
        raise Away from error


class Counts:
    """Counters of this process, each with a time window, used while the server is unavailable."""

    _AT_MOST: Final = 50_000

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, float]] = {}
        # Callers hold it around reading a counter and acting on it.
        self.lock = threading.RLock()

    def count(self, key: str) -> int:
        """Return the value of the counter."""
        with self.lock:
            number, ends = self._counts.get(key, (0, 0.0))
            return number if time.monotonic() < ends else 0

    def seconds(self, key: str) -> int:
        """Return the seconds until the counter expires, at least 1."""
        with self.lock:
            return max(1, ceil(self._counts.get(key, (0, 0.0))[1] - time.monotonic()))

    def add(self, key: str, window_seconds: float) -> None:
        with self.lock:
            now = time.monotonic()
            number, ends = self._counts.get(key, (0, 0.0))
            if now >= ends:
                number, ends = 0, now + window_seconds
            if len(self._counts) >= self._AT_MOST:
                self._counts = {name: each for name, each in self._counts.items() if each[1] > now}
            self._counts[key] = number + 1, ends

    def take_back(self, key: str) -> None:
        with self.lock:
            if self.count(key):
                number, ends = self._counts[key]
                self._counts[key] = number - 1, ends


class SharedCounts:
    """
    Counters in the server, each with a time window that begins with its first count.

    While the server is unavailable each process counts alone. `url` is that of `REDIS_URL`.
    """

    def __init__(self, window_seconds: int) -> None:
        self._window_seconds = window_seconds
        self._here = Counts()

    def read(self, url: str, keys: Sequence[str]) -> list[tuple[int, int]]:
        """Return the value of each counter, and the seconds until it expires."""

        def read(server: redis.Redis) -> list[Any]:
            with server.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.get(key)
                    pipeline.ttl(key)
                return list(pipeline.execute())

        try:
            told = ask(url, read)
        except Away:
            return [(self._here.count(key), self._here.seconds(key)) for key in keys]
        return [(int(count or 0), int(seconds)) for count, seconds in zip(told[::2], told[1::2], strict=True)]

    def add(self, url: str, keys: Sequence[str]) -> list[tuple[int, int]]:
        """Add one to each counter, and return the same as `read`."""

        def add(server: redis.Redis) -> list[Any]:
            with server.pipeline(transaction=True) as pipeline:
                for key in keys:
                    pipeline.incr(key)
                    pipeline.expire(key, self._window_seconds, nx=True)
                    pipeline.ttl(key)
                return list(pipeline.execute())

        try:
            told = ask(url, add)
        except Away:
            for key in keys:
                self._here.add(key, self._window_seconds)
            return [(self._here.count(key), self._here.seconds(key)) for key in keys]
        return list(zip(told[::3], told[2::3], strict=True))
