"""
Request bodies: read whole, within limits of size, time and memory, and decompressed.

A body of more than 16 KiB, a compressed one, or one of unknown length arrives in pieces. All such bodies of a process
share `ROOM_FOR_BODIES` bytes of memory.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, Final, Protocol

from config.api import error_codes as codes
from config.api.error_codes import ErrorCode

# The largest import of coins, and the largest other body: a form.
LARGEST_IMPORT: Final = 21 * 1024 * 1024
LARGEST_BODY: Final = 5 * 1024 * 1024
# Larger bodies arrive in pieces and count against ROOM_FOR_BODIES.
SMALL: Final = 16 * 1024
ROOM_FOR_BODIES: Final = 96 * 1024 * 1024
# A body or a response slower than this is cut off after `COPPICE_REQUEST_SECONDS`.
BYTES_A_SECOND: Final = 16 * 1024
# How much of a too large body is read before the refusal; the configurations in docker/proxy let no more through.
_DISCARDED: Final = 32 * 1024 * 1024
# Each piece costs the event loop as much as a small request.
_MOST_PIECES: Final = 20_000
# For zlib: a gzip header and trailer, the largest window.
_GZIP: Final = 16 + zlib.MAX_WBITS
_PART_BYTES: Final = 256 * 1024
_NO_GZIP: Final = "Malformed request: the body is not gzip"


class Refused(Exception):
    """A request that is refused before a thread takes it."""

    def __init__(
        self, code: ErrorCode, message: str, *, is_over: bool = True, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        # The rest of the body is not read, and the connection is closed.
        self.is_over = is_over
        self.headers = headers


class Connection(Protocol):
    """granian's side of a request. The `response_*` methods may be called from any thread."""

    def __call__(self) -> Awaitable[bytes]: ...
    def __aiter__(self) -> Any: ...
    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...
    def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None: ...


class Body:
    """A body that arrives in pieces: its size so far and the time of the last piece."""

    __slots__ = ("_deadline", "last", "size")

    def __init__(self, deadline: asyncio.Timeout, now: float) -> None:
        self._deadline = deadline
        self.last = now
        self.size = 0

    def end_at(self, moment: float) -> None:
        """Move the deadline, unless it has passed already."""
        if not self._deadline.expired():
            self._deadline.reschedule(moment)


class Gzip:
    """Decompresses a body with `Content-Encoding: gzip` as it arrives, in parts of at most 256 KiB."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        # Whether the last member is complete.
        self.is_whole = False

    def decompressed(self, piece: bytes) -> Iterator[bytes]:
        """:raises Refused: 400, the body is not gzip"""
        try:
            while piece:
                if self.is_whole:
                    # A gzip file may consist of several members (RFC 1952).
                    self._member, self.is_whole = zlib.decompressobj(_GZIP), False
                yield self._member.decompress(piece, _PART_BYTES)
                self.is_whole = self._member.eof
                piece = self._member.unused_data if self.is_whole else self._member.unconsumed_tail
        except zlib.error:
            raise Refused(codes.MALFORMED_REQUEST, _NO_GZIP) from None


def _gzip_of(codings: str) -> Gzip | None:
    """
    Return a decompressor for this `Content-Encoding`, or None for an uncompressed body.

    :raises Refused: 415, an unsupported coding
    """
    match [coding for each in codings.split(",") if (coding := each.strip().lower()) not in {"", "identity"}]:
        case []:
            return None
        case ["gzip" | "x-gzip"]:
            return Gzip()
    message = "Invalid content encoding. API only supports gzip"
    raise Refused(codes.CONTENT_ENCODING_UNSUPPORTED, message, headers=[("accept-encoding", "gzip")])


class Room:
    """
    The memory that large bodies share, from their first byte until they are answered.

    When it is full, the body that has been silent longest is dropped, if it has been silent for a second.
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
        """:raises Refused: 503, memory is full and no body has been silent for a second"""
        body.size += size
        self._free -= size
        body.last = now
        if self._free >= 0:
            return
        slowest = min(self._arriving, key=lambda each: each.last)
        if slowest is body or now - slowest.last < 1:
            raise Refused(codes.SERVICE_BUSY, "Service busy, try again", headers=[("retry-after", "5")])
        slowest.end_at(now)
        self.leave(slowest)


async def read(
    environ: dict[str, Any], connection: Connection, *, room: Room, largest: int, seconds: float
) -> tuple[bytearray, Body]:
    """
    Read a body that is large, compressed or of unknown length, and write its length into the environ.

    The limits hold for the bytes received and for the decompressed bytes. A too large body is read to its end, up to
    32 MiB, before it is refused: a proxy that is still sending when the connection closes would answer 502.

    :raises Refused: 400, 408, 413, 415 or 503
    """
    announced = environ.get("CONTENT_LENGTH")
    loop = asyncio.get_running_loop()
    is_too_large = announced is not None and int(announced) > largest
    if announced is not None and is_too_large and (int(announced) > _DISCARDED or "HTTP_EXPECT" in environ):
        raise Refused(codes.BODY_TOO_LARGE, "Request entity too large")
    gzip = _gzip_of(environ.pop("HTTP_CONTENT_ENCODING", ""))
    content, pieces, received = bytearray(), 0, 0
    began = loop.time()
    deadline = asyncio.timeout_at(began + seconds)
    body = Body(deadline, began)
    room.enter(body)
    try:
        async with deadline:
            ends = 0
            async for piece in connection:
                # granian yields b"" at the end, and a second time if the body was cut off.
                ends += not piece
                if not piece:
                    continue
                now = loop.time()
                received += len(piece)
                pieces += 1
                if received > _DISCARDED or pieces > _MOST_PIECES:
                    raise Refused(codes.BODY_TOO_LARGE, "Request entity too large")
                body.end_at(began + seconds + received / BYTES_A_SECOND)
                if is_too_large:
                    continue
                for part in (piece,) if gzip is None else gzip.decompressed(piece):
                    content += part
                    room.take(body, len(part), now)
                    if max(body.size, received) > largest:
                        is_too_large = True
                        content.clear()
                        room.leave(body)
                        break
                    if gzip is not None:
                        # Let the event loop serve other requests between two parts.
                        await asyncio.sleep(0)
        if is_too_large:
            raise Refused(codes.BODY_TOO_LARGE, "Request entity too large")
        if ends != 1 or (announced is not None and received != int(announced)):
            raise Refused(codes.MALFORMED_REQUEST, "Malformed request")
        if gzip is not None and received and not gzip.is_whole:
            raise Refused(codes.MALFORMED_REQUEST, _NO_GZIP)
    except TimeoutError:
        room.leave(body)
        raise Refused(codes.REQUEST_TIMEOUT, "Request timeout") from None
    except BaseException:
        room.leave(body)
        raise
    room.arrived(body)
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(body.size)
    return content, body
