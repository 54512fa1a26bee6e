"""
One HTTP request to a receiver that may be hostile: slow, endless, redirecting, or with a name that changes its address.

`httpcore2` connects to nothing itself: `_CheckedBackend` resolves the name, refuses if any of its addresses is not
allowed (`webhooks.addresses`), and connects to an address that was checked. TLS still verifies the name of the URL. No
proxy, redirect, cookie or credential is involved; at most `RESPONSE_BYTES` of the answer are read, and all of it takes
no longer than `DEADLINE`.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore2

from webhooks import addresses
from webhooks.states import DEADLINE, LONGEST_RETRY_AFTER, RESPONSE_BYTES

# Look-ups cannot be interrupted: a name server that is silent keeps a thread after the deadline. With threads for the
# look-ups of all requests, and of as many after their deadline, no other request waits for a thread.
_LOOK_UPS_OF_A_REQUEST: Final = 2
# Of several addresses the next is tried when one does not answer for so long.
_CONNECT_SECONDS: Final = 5.0
# Connections that stay open after a request, for the next within seconds: of each origin, and of how many origins.
_KEPT_PER_ORIGIN: Final = 2
_ORIGINS_KEPT: Final = 200


class AddressRefused(Exception):
    """The name resolves to an address to which no webhook is sent."""


class NameUnknown(Exception):
    """The name resolves to no address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What came of a request: the status and the beginning of the body, or an error in one word.

    `retry_after` is what the receiver asked for, at most a day.
    """

    status: int | None = None
    error: str = ""
    response: str = field(default="", repr=False)
    retry_after: timedelta | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name, in the order in which to try them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class _CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(self, *, is_https: bool, executor: ThreadPoolExecutor, look_up: Resolve) -> None:
        self._is_https = is_https
        self._executor = executor
        self._look_up = look_up
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._executor, self._look_up, host, port)
        except (OSError, UnicodeError) as error:
            raise NameUnknown from error
        if not found:
            raise NameUnknown
        if not all(addresses.may_call(ip_address(each), is_https=self._is_https) for each in found):
            raise AddressRefused
        for each in found[:-1]:
            with contextlib.suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                return await self._inner.connect_tcp(each, port, timeout=_CONNECT_SECONDS)
        return await self._inner.connect_tcp(found[-1], port, timeout=_CONNECT_SECONDS)

    async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        raise AddressRefused

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Client:
    """
    Sends requests, at most `at_once` at the same time. `look_up` and `trust` replace the system's, for tests.

    Each origin has its own pool of connections: httpcore2 looks at all connections of a pool for each request.
    """

    def __init__(self, *, at_once: int, look_up: Resolve = resolve, trust: ssl.SSLContext | None = None) -> None:
        self._at_once = at_once
        self._look_up = look_up
        self._trust = trust or ssl.create_default_context()
        self._executor = ThreadPoolExecutor(_LOOK_UPS_OF_A_REQUEST * at_once, "webhook-names")
        self._pools: dict[tuple[str, str], httpcore2.AsyncConnectionPool] = {}

    def _pool(self, url: str) -> httpcore2.AsyncConnectionPool:
        parts = urlsplit(url)
        is_https = parts.scheme == "https"
        origin = (parts.scheme, parts.netloc.lower())
        if origin not in self._pools:
            backend = _CheckedBackend(is_https=is_https, executor=self._executor, look_up=self._look_up)
            self._pools[origin] = httpcore2.AsyncConnectionPool(
                ssl_context=self._trust,
                max_connections=self._at_once,
                max_keepalive_connections=_KEPT_PER_ORIGIN,
                keepalive_expiry=5.0,
                network_backend=backend,
            )
        return self._pools[origin]

    async def _close_one(self) -> None:
        """If there are many pools, close the oldest of those that have no request now."""
        if len(self._pools) <= _ORIGINS_KEPT:
            return
        for origin, pool in self._pools.items():
            if all(each.is_idle() for each in pool.connections):
                del self._pools[origin]
                await pool.aclose()
                return

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def post(self, url: str, body: str, headers: Mapping[str, str], *, deadline: timedelta = DEADLINE) -> Answer:
        """Send a request. Never raises, except if it is cancelled."""
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                return await self._post(url, body, headers)
        except TimeoutError:
            return Answer(error="timeout")
        except AddressRefused:
            return Answer(error="address_refused")
        except NameUnknown:
            return Answer(error="name_unknown")
        except (httpcore2.ConnectTimeout, httpcore2.TimeoutException):
            return Answer(error="timeout")
        except httpcore2.ConnectError as error:
            return Answer(error="tls_failed" if _is_tls(error) else "connection_failed")
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol):
            return Answer(error="no_http_answer")
        except (OSError, ValueError):
            return Answer(error="connection_failed")

    async def _post(self, url: str, body: str, headers: Mapping[str, str]) -> Answer:
        await self._close_one()
        async with self._pool(url).stream(
            "POST", url, headers=list(headers.items()), content=body.encode()
        ) as response:
            read = await _beginning(response.aiter_stream())
            return Answer(
                status=response.status,
                response=read.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}"),
                retry_after=_retry_after(_named(response.headers)),
            )


def _named(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return next((value for name, value in headers if name.lower() == b"retry-after"), b"")


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


async def _beginning(stream: AsyncIterator[bytes]) -> bytes:
    """Read up to `RESPONSE_BYTES`. The connection of a longer body is closed when the response is."""
    read = bytearray()
    async for chunk in stream:
        read += chunk
        if len(read) >= RESPONSE_BYTES:
            break
    return bytes(read[:RESPONSE_BYTES])


def _retry_after(value: bytes) -> timedelta | None:
    """Read a `Retry-After` of seconds or a date; None for another. Never negative, at most a day."""
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        wanted = timedelta(seconds=min(int(text[:9]), 10**6))
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        wanted = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(wanted, timedelta()), LONGEST_RETRY_AFTER)
