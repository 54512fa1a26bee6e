"""
What granian serves: requests whole, and answers that nobody waits for.

A body is complete before the request takes a thread, and has a deadline; an answer leaves its thread whole. So a client
that sends or reads slowly costs a connection, and no thread. The threads run Django's WSGI application; which of them
answers what, `config.api.pools` says.

No adapter from PyPI does this. a2wsgi and asgiref run WSGI applications on ASGI, where each request takes two trips
through the event loop more than on granian's own interface; neither limits the size of a body or the time that it
takes, and both hold a thread until the client has read. The measurements are in tests/benchmarks/README.md.
"""

# Loads the settings and the applications, which all that follows needs.
from config.wsgi import application

# isort: split
import asyncio
import io
import logging
import os
import sys
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from secrets import token_hex
from typing import IO, Any, Final, Protocol

import orjson
from django.urls import get_resolver
from granian._granian import RSGIProtocolClosed

from config.api import errors
from config.api.pools import SIZES, Pool, pool_of
from config.environment import environment
from config.ops import request_metrics
from config.urls import LARGE_BODIES
from config.web import cors
from config.web.forwarded import Proxies, network, peer_address
from config.web.processes import end_with_the_parent
from config.web.slow_readers import watch
from config.web.threads import Threads

log = logging.getLogger("coppice.web")
access = logging.getLogger("coppice.access")

# An import of coins is the largest body that any view reads; forms are the largest of the others.
LARGEST_IMPORT: Final = 21 * 1024 * 1024
LARGEST_BODY: Final = 3 * 1024 * 1024
# What is larger comes in pieces, and takes of the room that all such bodies of this process share.
_SMALL: Final = 16 * 1024
# What is read of a body that is too large; the configurations in docker/proxy let no more through.
_DISCARDED: Final = 32 * 1024 * 1024
# Each piece costs the event loop as much as a small request.
_MOST_PIECES: Final = 20_000
ROOM_FOR_BODIES: Final = 96 * 1024 * 1024
# A body, or an answer, that is slower than this is cut off when `COPPICE_REQUEST_SECONDS` have passed.
BYTES_A_SECOND: Final = 16 * 1024
# Of answers whose length is not known in advance: a longer one is written to a file first.
_IN_MEMORY: Final = 1024 * 1024
# Granian opens a file that it is told to send within milliseconds, and does not say when.
_OPENED_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0
_NOTICE_SECONDS: Final = 0.1

# Said twice, these would leave it to chance which one counts.
_SINGLE: Final = {
    "HTTP_AUTHORIZATION": "authorization",
    "HTTP_HOST": "host",
    "HTTP_IDEMPOTENCY_KEY": "idempotency-key",
    "HTTP_TREETRACKER_API_KEY": "treetracker-api-key",
    "HTTP_X_CSRFTOKEN": "x-csrftoken",
    "CONTENT_TYPE": "content-type",
    "CONTENT_LENGTH": "content-length",
}
_HOP_BY_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "trailers",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_MOST_NAMES: Final = 500
_SOON: Final = [("retry-after", errors.RETRY_AFTER_SECONDS)]
# For zlib: a gzip header and trailer, the largest window.
_GZIP: Final = 16 + zlib.MAX_WBITS
_PART_BYTES: Final = 256 * 1024
_NO_GZIP: Final = "Malformed request: the body is not gzip"


class Refused(Exception):
    """A request is answered before any thread has it."""

    def __init__(
        self, status: int, message: str, *, is_over: bool = True, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        # What is left of the body is not read: the connection ends.
        self.is_over = is_over
        self.headers = headers


class Scope(Protocol):
    """What granian tells of a request."""

    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    headers: Any


class Connection(Protocol):
    """How granian is answered. The methods that answer may be called from any thread."""

    def __call__(self) -> Awaitable[bytes]: ...
    def __aiter__(self) -> Any: ...
    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...
    def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None: ...


class File:
    """`wsgi.file_wrapper`: a file that Django sends."""

    def __init__(self, file: IO[bytes], block_size: int = 65536) -> None:
        self.file = file
        self.block_size = block_size

    def __iter__(self) -> Iterable[bytes]:
        return iter(lambda: self.file.read(self.block_size), b"")

    def close(self) -> None:
        self.file.close()


class Body:
    """A body that comes in pieces, and when it last did."""

    __slots__ = ("_deadline", "last", "size")

    def __init__(self, deadline: asyncio.Timeout, now: float) -> None:
        self._deadline = deadline
        self.last = now
        self.size = 0

    def end_at(self, moment: float) -> None:
        """Move the deadline, unless it has passed: then the body is being given up already."""
        if not self._deadline.expired():
            self._deadline.reschedule(moment)


class Gzip:
    """Unfolds a body with `Content-Encoding: gzip` as it comes, in parts of bounded size."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        # The last member is complete: nothing may be missing.
        self.is_whole = False

    def unfolded(self, piece: bytes) -> Iterator[bytes]:
        """:raises Refused: 400, it is not gzip"""
        try:
            while piece:
                if self.is_whole:
                    # A file of several members is what they hold one after the other (RFC 1952).
                    self._member, self.is_whole = zlib.decompressobj(_GZIP), False
                yield self._member.decompress(piece, _PART_BYTES)
                self.is_whole = self._member.eof
                piece = self._member.unused_data if self.is_whole else self._member.unconsumed_tail
        except zlib.error:
            raise Refused(400, _NO_GZIP) from None


def _gzip_of(codings: str) -> Gzip | None:
    """
    Return what unfolds a body with this `Content-Encoding`; None if nothing is to be done.

    :raises Refused: 415, another coding
    """
    match [coding for each in codings.split(",") if (coding := each.strip().lower()) not in {"", "identity"}]:
        case []:
            return None
        case ["gzip" | "x-gzip"]:
            return Gzip()
    raise Refused(415, "Invalid content encoding. API only supports gzip", headers=[("accept-encoding", "gzip")])


class Room:
    """
    What large bodies may take of memory together, from their first byte until they are answered.

    When it is full, the one that has sent nothing for longest makes room, if it lags behind.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._arriving: set[Body] = set()

    def enter(self, body: Body) -> None:
        self._arriving.add(body)

    def arrived(self, body: Body) -> None:
        self._arriving.discard(body)

    def leave(self, body: Body) -> None:
        self._arriving.discard(body)
        self._free += body.size
        body.size = 0

    def take(self, body: Body, size: int, now: float) -> None:
        """:raises Refused: 503, there is no room, and nobody lags"""
        body.size += size
        self._free -= size
        body.last = now
        if self._free >= 0:
            return
        slowest = min(self._arriving, key=lambda each: each.last)
        if slowest is body or now - slowest.last < 1:
            raise Refused(503, "Service busy, try again", headers=[("retry-after", "5")])
        slowest.end_at(now)
        self.leave(slowest)


class Entry:
    """The application in the terms of RSGI, granian's own interface."""

    def __init__(self, wsgi: Callable[..., Any] = application) -> None:
        self._wsgi = wsgi
        self._pool_of = pool_of(get_resolver().url_patterns)
        self._seconds = environment().request_seconds
        self._prefix = environment().prefix
        named = environment().trusted_proxies
        self._proxies = Proxies([network(each) for each in named]) if named else None
        self._names = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
        self._room = Room(ROOM_FOR_BODIES)
        self._base = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SCRIPT_NAME": self._prefix,
            "SERVER_SOFTWARE": "Coppice",
            "wsgi.version": (1, 0),
            "wsgi.errors": sys.stderr,
            "wsgi.input_terminated": True,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": File,
        }
        # Answered by a thread, and not yet noticed by the event loop.
        self._answered: deque[asyncio.Future[None]] = deque()
        self._in_hand = 0
        self._looks_again = False
        self._loop: asyncio.AbstractEventLoop
        self._pools: dict[Pool, Threads[_Job]]

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        end_with_the_parent()
        self._loop = loop
        self._pools = {pool: Threads(pool, size, self._work) for pool, size in SIZES.items()}
        watch(patience_seconds=self._seconds, bytes_a_second=BYTES_A_SECOND)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        for threads in self._pools.values():
            threads.stop(patience_seconds=_STOP_SECONDS)
        self._notice()
        loop.run_until_complete(asyncio.sleep(0))

    async def __rsgi__(self, scope: Scope, connection: Connection) -> None:
        began = time.monotonic()
        body: Body | None = None
        path = self._path(scope.path)
        environ: dict[str, Any] = self._base.copy()
        try:
            self._fill(environ, scope, path)
            length = environ.get("CONTENT_LENGTH")
            if length is not None or "HTTP_TRANSFER_ENCODING" in environ:
                content: bytes | bytearray
                if length is not None and int(length) <= _SMALL and "HTTP_CONTENT_ENCODING" not in environ:
                    try:
                        async with asyncio.timeout(self._seconds):
                            content = await connection()
                    except TimeoutError:
                        raise Refused(408, "Request timeout") from None
                else:
                    content, body = await self._read(path, environ, connection)
                environ["wsgi.input"] = io.BytesIO(content)
            self._notice()
            done: asyncio.Future[None] = self._loop.create_future()
            if not self._pools[self._pool_of(path)].take((environ, connection, done)):
                raise Refused(503, "Service busy, try again", is_over=False, headers=_SOON)
            await self._until(done)
        except Refused as refused:
            self._refuse(environ, connection, path, refused, time.monotonic() - began)
        except RSGIProtocolClosed:
            # The client has gone while it sent.
            pass
        except Exception:
            log.exception("unexpected_error")
            self._refuse(environ, connection, path, Refused(500, "Unknown error"), time.monotonic() - began)
        finally:
            if body is not None:
                self._room.leave(body)

    async def _until(self, done: "asyncio.Future[None]") -> None:
        self._in_hand += 1
        if not self._looks_again:
            self._looks_again = True
            self._loop.call_later(_NOTICE_SECONDS, self._look_again)
        try:
            await done
        finally:
            self._in_hand -= 1

    def _notice(self) -> None:
        """
        Let the requests end that threads have answered.

        The client has its answer already. To wake the event loop for each costs a tenth of a small request, so it
        notices them when the next request comes, or a moment later.
        """
        while self._answered:
            done = self._answered.popleft()
            # The client may have gone meanwhile.
            if not done.done():
                done.set_result(None)

    def _look_again(self) -> None:
        self._notice()
        # Those that were just noticed are still counted.
        self._looks_again = self._in_hand > 0
        if self._looks_again:
            self._loop.call_later(_NOTICE_SECONDS, self._look_again)

    # --- the request ---------------------------------------------------------------------

    def _path(self, path: str) -> str:
        """Return a path without the prefix of the public URL. A proxy may have removed it already."""
        prefix = self._prefix
        if prefix and path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
            return path[len(prefix) :] or "/"
        return path

    def _fill(self, environ: dict[str, Any], scope: Scope, path: str) -> None:
        """
        Write the request into the environ as PEP 3333 has it, without its body; `path` is without the prefix.

        :raises Refused: 400, a header that must stand once stands twice, or is not text
        """
        server, _, port = scope.server.rpartition(":")
        environ["REQUEST_METHOD"] = scope.method
        environ["PATH_INFO"] = path if path.isascii() else path.encode().decode("latin-1")
        environ["QUERY_STRING"] = scope.query_string
        environ["SERVER_PROTOCOL"] = "HTTP/1.0" if scope.http_version == "1" else "HTTP/" + scope.http_version
        environ["SERVER_NAME"] = server
        environ["SERVER_PORT"] = port
        environ["REMOTE_ADDR"] = peer_address(scope.client)
        environ["wsgi.url_scheme"] = scope.scheme
        environ["wsgi.input"] = io.BytesIO()
        names = self._names
        headers = scope.headers
        items = headers.items()
        twice = ""
        for name, value in items:
            key = names.get(name) or self._name(name)
            if not key:
                continue
            if key not in environ:
                environ[key] = value
            elif key in _SINGLE:
                twice = name
            else:
                environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + value
        # Before any refusal, which is logged with the client's address.
        if self._proxies is not None:
            self._proxies.correct(environ)
        if twice:
            raise Refused(400, f"Only one {twice} header is allowed")
        # Granian leaves out a value that is not ASCII. Without its key, a request would be done twice.
        if len(headers.keys()) != len({name for name, _ in items}):
            for key, name in _SINGLE.items():
                if name in headers and key not in environ:
                    raise Refused(400, f"The {name} header must be ASCII")

    def _name(self, name: str) -> str:
        """Return a header's name in the environ; "" if it is not passed on."""
        # It would become the same as the name with a dash.
        if "_" in name:
            return ""
        key = "HTTP_" + name.upper().replace("-", "_")
        if len(self._names) < _MOST_NAMES:
            self._names[name] = key
        return key

    async def _read(self, path: str, environ: dict[str, Any], connection: Connection) -> tuple[bytearray, Body]:
        """
        Read a body that is large, compressed or of unknown length. Afterwards the environ tells its length.

        All limits hold for what was sent and for what it unfolds to. The rest of a body that is too large is read and
        discarded before it is refused: a proxy that still sends when the connection ends answers 502 in our place.

        :raises Refused: 400, 408, 413, 415 or 503
        """
        announced = environ.get("CONTENT_LENGTH")
        largest = LARGEST_IMPORT if LARGE_BODIES.match(path) else LARGEST_BODY
        is_too_large = announced is not None and int(announced) > largest
        if announced is not None and is_too_large and (int(announced) > _DISCARDED or "HTTP_EXPECT" in environ):
            raise Refused(413, "Request entity too large")
        gzip = _gzip_of(environ.pop("HTTP_CONTENT_ENCODING", ""))
        content, pieces, received = bytearray(), 0, 0
        began = self._loop.time()
        deadline = asyncio.timeout_at(began + self._seconds)
        body = Body(deadline, began)
        self._room.enter(body)
        try:
            async with deadline:
                ends = 0
                async for piece in connection:
                    # Granian yields nothing once at the end, and once more where the body broke off.
                    ends += not piece
                    if not piece:
                        continue
                    now = self._loop.time()
                    received += len(piece)
                    pieces += 1
                    if received > _DISCARDED or pieces > _MOST_PIECES:
                        raise Refused(413, "Request entity too large")
                    body.end_at(began + self._seconds + received / BYTES_A_SECOND)
                    if is_too_large:
                        continue
                    for part in (piece,) if gzip is None else gzip.unfolded(piece):
                        content += part
                        self._room.take(body, len(part), now)
                        if max(body.size, received) > largest:
                            is_too_large = True
                            content.clear()
                            self._room.leave(body)
                            break
                        if gzip is not None:
                            # Others are served between two parts.
                            await asyncio.sleep(0)
            if is_too_large:
                raise Refused(413, "Request entity too large")
            if ends != 1 or (announced is not None and received != int(announced)):
                raise Refused(400, "Malformed request")
            if gzip is not None and received and not gzip.is_whole:
                raise Refused(400, _NO_GZIP)
        except TimeoutError:
            self._room.leave(body)
            raise Refused(408, "Request timeout") from None
        except BaseException:
            self._room.leave(body)
            raise
        self._room.arrived(body)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ["CONTENT_LENGTH"] = str(body.size)
        return content, body

    def _refuse(
        self, environ: dict[str, Any], connection: Connection, path: str, refused: Refused, seconds: float
    ) -> None:
        status = refused.status
        request_id = token_hex(8)
        headers = [
            ("content-type", "application/json"), ("cache-control", "no-store"), ("x-request-id", request_id),
        ]  # fmt: skip
        if refused.is_over:
            headers.append(("connection", "close"))
        headers += refused.headers
        headers += cors.headers_of(environ)
        connection.response_bytes(status, headers, orjson.dumps(errors.body_of(path, status, refused.message)))
        method = request_metrics.method_of(environ["REQUEST_METHOD"])
        request_metrics.count(method, request_metrics.NO_ROUTE, status, seconds)
        access.info(
            "request",
            extra={
                "request_id": request_id,
                "method": method,
                "route": "-",
                "status": status,
                "ms": round(seconds * 1000, 1),
                "client": environ["REMOTE_ADDR"],
            },
        )

    # --- the answer, on a thread of a pool -------------------------------------------------

    def _work(self, job: "_Job") -> None:
        environ, connection, done = job
        try:
            self._answer(environ, connection)
        except BaseException:
            log.exception("unexpected_error")
            path = environ["PATH_INFO"]
            body = orjson.dumps(errors.body_of(path, 500, "Unknown error"))
            # Without effect if it has been answered.
            headers = [("content-type", "application/json"), *cors.headers_of(environ)]
            connection.response_bytes(500, headers, body)
        finally:
            self._answered.append(done)

    def _answer(self, environ: dict[str, Any], connection: Connection) -> None:
        status, headers = 500, list[tuple[str, str]]()

        def start_response(line: str, given: list[tuple[str, str]], exc_info: Any = None) -> None:
            nonlocal status, headers
            status = int(line[:3])
            headers = [each for each in given if each[0].lower() not in _HOP_BY_HOP]

        result = self._wsgi(environ, start_response)
        try:
            if isinstance(result, File):
                name = getattr(result.file, "name", None)
                if isinstance(name, str) and os.path.isabs(name) and result.file.tell() == 0:
                    connection.response_file(status, headers, name)
                    return
            if not getattr(result, "streaming", True) or isinstance(result, list):
                content = b"".join(result)
            else:
                spooled = self._spooled(result)
                if isinstance(spooled, str):
                    connection.response_file(status, headers, spooled)
                    return
                content = spooled
            connection.response_bytes(status, headers, content)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _spooled(self, pieces: Iterable[bytes]) -> bytes | str:
        """Return an answer of unknown length, or where it lies: in a file that has no name and ends by itself."""
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
            for piece in pieces:
                spool.write(piece)
            if not spool._rolled or sys.platform != "linux":  # type: ignore[attr-defined]
                spool.seek(0)
                return spool.read()
            spool.flush()
            kept = os.dup(spool.fileno())
        self._loop.call_soon_threadsafe(self._loop.call_later, _OPENED_SECONDS, os.close, kept)
        return f"/proc/self/fd/{kept}"


_Job = tuple[dict[str, Any], Connection, "asyncio.Future[None]"]


entry = Entry()
