"""
Django's WSGI application behind granian's RSGI interface, with buffered request bodies and responses.

The body is complete before a request takes a thread, and the response leaves the thread as a whole. A client that sends
or reads slowly therefore occupies a connection but no thread. `config.api.pools` assigns requests to thread pools.

Alternatives: a2wsgi and asgiref run WSGI applications on ASGI, which costs each request two more passes through the
event loop; neither limits the size or the duration of a body, and both hold a thread until the client has read the
response. The measurements are in tests/benchmarks/README.md.
"""

# First: it loads the settings and the applications, which the other imports need.
from config.wsgi import application

# isort: split
import asyncio
import io
import logging
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from secrets import token_hex
from typing import IO, Any, Final, Protocol

import orjson
from django.urls import get_resolver
from granian._granian import RSGIProtocolClosed

from config.api import error_codes as codes
from config.api import errors
from config.api.pools import SIZES, Pool, pool_of
from config.environment import environment
from config.ops import access_log, request_log, request_metrics
from config.urls import LARGE_BODIES
from config.web import bodies, cors
from config.web.forwarded import Proxies, network, peer_address
from config.web.processes import end_with_the_parent, exclude_from_garbage_collection
from config.web.slow_readers import watch
from config.web.threads import Threads

log = logging.getLogger("coppice.web")

# A longer response of unknown length is written to a file first.
_IN_MEMORY: Final = 1024 * 1024
# granian opens the file of `response_file` within milliseconds, without reporting it.
_OPENED_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 30.0
_NOTICE_SECONDS: Final = 0.1
# For the last rows of the request log.
_LOG_SECONDS: Final = 1.0

# Headers that may occur once: with two of them it would be unclear which one counts.
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


def _lower(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers.items()]


class Scope(Protocol):
    """The request as granian describes it."""

    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    headers: Any


class File:
    """`wsgi.file_wrapper`: a file to send."""

    def __init__(self, file: IO[bytes], block_size: int = 65536) -> None:
        self.file = file
        self.block_size = block_size

    def __iter__(self) -> Iterable[bytes]:
        return iter(lambda: self.file.read(self.block_size), b"")

    def close(self) -> None:
        self.file.close()


class Entry:
    """The application that granian calls through RSGI."""

    def __init__(self, wsgi: Callable[..., Any] = application) -> None:
        self._wsgi = wsgi
        self._pool_of = pool_of(get_resolver().url_patterns)
        self._seconds = environment().request_seconds
        self._prefix = environment().prefix
        named = environment().trusted_proxies
        self._proxies = Proxies([network(each) for each in named]) if named else None
        self._names = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
        self._room = bodies.Room(bodies.ROOM_FOR_BODIES)
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
        # Requests that a thread has answered and the event loop has not yet completed.
        self._answered: deque[asyncio.Future[None]] = deque()
        # The deadlines of the small bodies that are arriving. A timer for each would cost more than a look at all.
        self._arriving: dict[asyncio.Task[Any], float] = {}
        self._in_hand = 0
        self._looks_again = False
        self._loop: asyncio.AbstractEventLoop
        self._pools: dict[Pool, Threads[_Job]]

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        end_with_the_parent(loop)
        self._loop = loop
        self._pools = {pool: Threads(pool, size, self._work) for pool, size in SIZES.items()}
        watch(patience_seconds=self._seconds, bytes_a_second=bodies.BYTES_A_SECOND)
        request_log.begin()
        exclude_from_garbage_collection()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        for threads in self._pools.values():
            threads.stop(patience_seconds=_STOP_SECONDS)
        self._notice()
        loop.run_until_complete(asyncio.sleep(0))
        request_log.end(patience_seconds=_LOG_SECONDS)

    async def __rsgi__(self, scope: Scope, connection: bodies.Connection) -> None:
        began = time.monotonic()
        body: bodies.Body | None = None
        path = self._path(scope.path)
        environ: dict[str, Any] = self._base.copy()
        self._in_hand += 1
        try:
            self._fill(environ, scope, path)
            if not self._looks_again:
                self._looks_again = True
                self._loop.call_later(_NOTICE_SECONDS, self._look_again)
            length = environ.get("CONTENT_LENGTH")
            if length is not None or "HTTP_TRANSFER_ENCODING" in environ:
                content: bytes | bytearray
                if length is not None and int(length) <= bodies.SMALL and "HTTP_CONTENT_ENCODING" not in environ:
                    task = asyncio.current_task()
                    assert task is not None
                    self._arriving[task] = began + self._seconds
                    try:
                        content = await connection()
                    except asyncio.CancelledError:
                        # Otherwise `_look_again` has cancelled it.
                        if task in self._arriving:
                            raise
                        raise bodies.Refused(codes.REQUEST_TIMEOUT, "Request timeout") from None
                    finally:
                        self._arriving.pop(task, None)
                else:
                    largest = bodies.LARGEST_IMPORT if LARGE_BODIES.match(path) else bodies.LARGEST_BODY
                    content, body = await bodies.read(
                        environ, connection, room=self._room, largest=largest, seconds=self._seconds
                    )
                environ["wsgi.input"] = io.BytesIO(content)
            self._notice()
            done: asyncio.Future[None] = self._loop.create_future()
            if not self._pools[self._pool_of(path, environ.get("CONTENT_TYPE", ""))].take((environ, connection, done)):
                raise bodies.Refused(codes.SERVICE_BUSY, "Service busy, try again", is_over=False, headers=_SOON)
            await done
        except bodies.Refused as refused:
            self._refuse(environ, connection, path, refused, time.monotonic() - began)
        except RSGIProtocolClosed:
            # The client closed the connection while sending.
            pass
        except Exception:
            log.exception("unexpected_error")
            fault = bodies.Refused(codes.INTERNAL_ERROR, "Unknown error")
            self._refuse(environ, connection, path, fault, time.monotonic() - began)
        finally:
            self._in_hand -= 1
            if body is not None:
                self._room.leave(body)

    def _notice(self) -> None:
        """
        Complete the requests that threads have answered.

        Their clients have the response already. Waking the event loop for each would cost a tenth of a small request,
        so they are completed when the next request arrives, or 0.1 s later.
        """
        while self._answered:
            done = self._answered.popleft()
            # It is done already if the client closed the connection.
            if not done.done():
                done.set_result(None)

    def _look_again(self) -> None:
        self._notice()
        now = time.monotonic()
        for task in [task for task, deadline in self._arriving.items() if deadline <= now]:
            del self._arriving[task]
            task.cancel()
        # Those that were just completed are still counted.
        self._looks_again = self._in_hand > 0
        if self._looks_again:
            self._loop.call_later(_NOTICE_SECONDS, self._look_again)

    # --- the request ---------------------------------------------------------------------

    def _path(self, path: str) -> str:
        """Return a path without the prefix of the public URL, which a proxy may have removed already."""
        prefix = self._prefix
        if prefix and path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
            return path[len(prefix) :] or "/"
        return path

    def _fill(self, environ: dict[str, Any], scope: Scope, path: str) -> None:
        """
        Fill the WSGI environ (PEP 3333), except for the body; `path` has no prefix.

        :raises Refused: 400, a header of `_SINGLE` occurs twice or is not ASCII
        """
        server, _, port = scope.server.rpartition(":")
        environ["REQUEST_METHOD"] = scope.method
        environ["PATH_INFO"] = path if path.isascii() else path.encode().decode("latin-1")
        # Some clients send it as UTF-8 without percent-encoding.
        query = scope.query_string
        environ["QUERY_STRING"] = query if query.isascii() else query.encode().decode("latin-1")
        environ["SERVER_PROTOCOL"] = "HTTP/1.0" if scope.http_version == "1" else "HTTP/" + scope.http_version
        environ["SERVER_NAME"] = server
        environ["SERVER_PORT"] = port
        environ["REMOTE_ADDR"] = peer_address(scope.client)
        environ["wsgi.url_scheme"] = scope.scheme
        environ["wsgi.input"] = io.BytesIO()
        names = self._names
        headers = scope.headers
        items = headers.items()
        repeated, twice = 0, ""
        for name, value in items:
            key = names.get(name) or self._name(name)
            if not key:
                continue
            if key not in environ:
                environ[key] = value
                continue
            repeated += 1
            if key in _SINGLE:
                twice = name
            else:
                environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + value
        # Before any refusal: its log line has the client's address.
        if self._proxies is not None:
            self._proxies.correct(environ)
        if twice:
            raise bodies.Refused(codes.HEADER_INVALID, f"Only one {twice} header is allowed")
        # granian drops a value that is not ASCII. A request without its Idempotency-Key could be executed twice.
        if len(headers.keys()) != len(items) - repeated:
            for key, name in _SINGLE.items():
                if name in headers and key not in environ:
                    raise bodies.Refused(codes.HEADER_INVALID, f"The {name} header must be ASCII")

    def _name(self, name: str) -> str:
        """Return a header's name in the environ, or "" for a header that is not passed on."""
        # In the environ it would collide with the same name with a dash.
        if "_" in name:
            return ""
        key = "HTTP_" + name.upper().replace("-", "_")
        if len(self._names) < _MOST_NAMES:
            self._names[name] = key
        return key

    def _refuse(
        self, environ: dict[str, Any], connection: bodies.Connection, path: str, refused: bodies.Refused, seconds: float
    ) -> None:
        code = refused.code
        request_id = token_hex(8)
        headers = [
            ("content-type", errors.content_type_of(path)), ("cache-control", "no-store"), ("x-request-id", request_id),
        ]  # fmt: skip
        if refused.is_over:
            headers.append(("connection", "close"))
        headers += refused.headers
        headers += _lower(errors.headers_of(code))
        headers += cors.headers_of(environ)
        body = orjson.dumps(errors.body_of(path, code, refused.message, request_id=request_id))
        connection.response_bytes(code.status, headers, body)
        method = request_metrics.method_of(environ["REQUEST_METHOD"])
        request_metrics.count(method, access_log.NO_ROUTE, code.status, seconds)
        access_log.write(
            request_id=request_id,
            method=method,
            route=access_log.NO_ROUTE,
            status=code.status,
            seconds=seconds,
            client=environ["REMOTE_ADDR"],
            error=code.name,
        )

    # --- the response, on a thread of a pool -------------------------------------------------

    def _work(self, job: "_Job") -> None:
        environ, connection, done = job
        try:
            self._answer(environ, connection)
        except BaseException:
            log.exception("unexpected_error")
            path = environ["PATH_INFO"]
            body = orjson.dumps(errors.body_of(path, codes.INTERNAL_ERROR, "Unknown error"))
            # No effect if the request was answered before the error.
            headers = [
                ("content-type", errors.content_type_of(path)),
                *_lower(errors.headers_of(codes.INTERNAL_ERROR)),
            ]
            headers += cors.headers_of(environ)
            connection.response_bytes(500, headers, body)
        finally:
            self._answered.append(done)

    def _answer(self, environ: dict[str, Any], connection: bodies.Connection) -> None:
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
        """Return a response of unknown length, or the path of an unlinked file that holds it."""
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


_Job = tuple[dict[str, Any], bodies.Connection, "asyncio.Future[None]"]


entry = Entry()
