"""
One request to one RAIDA server, over UDP, TCP or both, with a deadline.

The result is an `Answer`, or a `NoResponse` that says whether the server may have received the request. A command
that is not safe to repeat is sent exactly once.
"""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

from lockers.raida import errors, frames
from lockers.raida.commands import REPEATABLE, Command
from lockers.raida.encryption import CHALLENGE_RANDOM_SIZE, KIND_LOCKER, NONCE_SIZE, PLAIN, Encryption
from lockers.raida.frames import HEADER_SIZE, UDP_SAFE_SIZE, Request, Response
from lockers.raida.statuses import RAIDA_COUNT, UNREADABLE, Status

# The longest answer accepted where the request does not determine the length: 200,000 coins of a locker.
_LARGEST_ANSWER: Final = 1_000_000
_OPEN_ENDED: Final = frozenset({Command.PEEK, Command.DOWNLOAD})
# Sent by UDP although the answer may not fit into a datagram: most lockers are small, and UDP saves a round trip. If
# no answer arrives within this time, perhaps because the network drops large datagrams, the request is repeated by TCP.
_UDP_FIRST: Final = frozenset({Command.PEEK})
_DATAGRAM_SECONDS: Final = 0.3
# Covers every answer of fixed size; a ticket's list of at most 4,096 coins is longer.
_SMALL_ANSWER: Final = 512
_TICKET_ANSWER: Final = 5 * 4096
# A bitmap of the 1,024,000 serial numbers of a denomination.
_ALL_SERIALS_ANSWER: Final = 5 + 128_000

# A repeatable command without an answer after this share of the deadline is sent again, by TCP: datagrams get lost,
# and some servers overlook one of two connections that arrive together until the next one arrives.
_FIRST_SHARE: Final = 0.25
# Such a server stays one connection behind: it serves each connection only when another one arrives. After this share
# of the deadline without an answer, idle connections are opened, one at a time, to flush its backlog. Each is preceded
# by an echo over UDP: a server that does not answer datagrams hangs, and more connections would make it worse.
_FLUSH_SHARE: Final = 0.05
_MOST_FLUSHES: Final = 100
# Servers that did not answer the last request over TCP of this process without a flush: flushed at once.
_lagging: Final[set["Server"]] = set()

_LARGEST_DATAGRAM: Final = 65_536
_CHUNK: Final = 65_536

NoResponseReason = Literal["timeout", "refused", "network", "mismatch", "garbage", "cancelled"]


@dataclass(frozen=True, slots=True)
class Server:
    """The address of server number `raida`, for both UDP and TCP."""

    raida: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Call:
    """
    One command, with a payload and an encryption for each server.

    Servers without a payload get no request; servers without an encryption get it in clear. With `falls_back` a
    server that answers that it cannot decrypt the request, and so did nothing, gets it again in clear.
    """

    command: Command
    payloads: Mapping[int, bytes] = field(repr=False)
    encryption: Mapping[int, Encryption] = field(default_factory=dict)
    falls_back: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that matches the request. `status` is a plain int if `Status` does not have it."""

    raida: int
    status: Status | int
    payload: bytes = field(repr=False)
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class NoResponse:
    """
    No valid answer.

    `sent` False guarantees that the server has not received a byte of the request; True guarantees nothing.
    "cancelled" says nothing about the server: the answers of other servers were enough.
    """

    raida: int
    reason: NoResponseReason
    sent: bool


Result = Answer | NoResponse
Results = dict[int, Result]


class _Rejected(Exception):
    """What arrived over the socket is not an answer to the request."""

    def __init__(self, reason: Literal["mismatch", "garbage"]) -> None:
        super().__init__(reason)
        self.reason = reason


class ServerRequest:
    """One request to one server, over one or two sockets that no other request uses."""

    def __init__(self, server: Server, call: Call, until: float, *, delay: float = 0.0) -> None:
        self._server = server
        self._call = call
        self._until = until
        self._delay = delay
        self._started = 0.0
        self._may_have_arrived = False
        # The socket of a datagram that was sent before `run`, or why it was not.
        self._outstanding: socket.socket | NoResponse | None = None
        # Why there is no answer yet: nothing arrived, or only invalid data.
        self._reason: NoResponseReason = "timeout"
        self._encryption = call.encryption.get(server.raida, PLAIN)
        self._request = self._new_request()
        self._largest_answer = _largest_answer(call.command, call.payloads[server.raida])

    def _new_request(self) -> Request:
        raida = self._server.raida
        return frames.build_request(
            raida=raida,
            command=self._call.command,
            payload=self._call.payloads[raida],
            challenge12=secrets.token_bytes(CHALLENGE_RANDOM_SIZE),
            nonce=secrets.token_bytes(NONCE_SIZE),
            encryption=self._encryption,
        )

    @property
    def raida(self) -> int:
        return self._server.raida

    def no_response(self, reason: NoResponseReason | None = None) -> NoResponse:
        """The result if the request ends now without an answer."""
        return NoResponse(self._server.raida, reason or self._reason, sent=self._may_have_arrived)

    def send_ahead(self) -> None:
        """Send the request if it goes by UDP to a numeric address; `run` then waits for the answer."""
        if self._delay or not self._fits_a_datagram():
            return
        with contextlib.suppress(socket.gaierror):
            found = _numeric_addresses(self._server.host, self._server.port, socket.SOCK_DGRAM)
            self._started = time.monotonic()
            self._outstanding = self._send_to_one_of(found)

    def close(self) -> None:
        if isinstance(self._outstanding, socket.socket):
            self._outstanding.close()

    async def run(self) -> Result:
        self._started = self._started or time.monotonic()
        try:
            # The loop's clock is the monotonic one.
            async with asyncio.timeout_at(self._until):
                if self._delay:
                    await asyncio.sleep(self._delay)
                if self._call.command in REPEATABLE:
                    return await self._perhaps_twice()
                return await self._once()
        except TimeoutError:
            return self.no_response()

    def _most_flushes(self) -> int:
        # An echo over UDP precedes each flush, and would be as unanswered as this one.
        return 0 if self._call.command is Command.ECHO else _MOST_FLUSHES

    def _fits_a_datagram(self) -> bool:
        size = self._request.size
        return size < UDP_SAFE_SIZE and (
            HEADER_SIZE + self._largest_answer <= UDP_SAFE_SIZE or self._call.command in _UDP_FIRST
        )

    async def _once(self) -> Result:
        result = await self._over_either()
        if not self._must_fall_back(result):
            return result
        self._encryption = PLAIN
        self._request = self._new_request()
        return await self._over_either()

    def _must_fall_back(self, result: Result) -> bool:
        return (
            self._call.falls_back
            and self._encryption is not PLAIN
            and isinstance(result, Answer)
            and result.status in UNREADABLE
            # No locker has this key yet, but one may be filled under it later: the key must not travel in clear.
            and not (self._encryption.kind == KIND_LOCKER and result.status == Status.INVALID_ENCRYPTION)
        )

    async def _over_either(self) -> Result:
        return await (self._over_udp() if self._fits_a_datagram() else self._over_tcp())

    def _is_too_late(self) -> bool:
        return time.monotonic() >= self._until

    async def _perhaps_twice(self) -> Result:
        first = asyncio.create_task(self._once())
        try:
            patience = (self._until - time.monotonic()) * _FIRST_SHARE
            if self._call.command in _UDP_FIRST:
                patience = min(patience, _DATAGRAM_SECONDS)
            await asyncio.wait([first], timeout=patience)
            # The end of a connection is final; a datagram may have been lost.
            if first.done() and (isinstance(first.result(), Answer) or not self._fits_a_datagram()):
                return first.result()
            second = asyncio.create_task(self._over_tcp())
            try:
                return await self._first_answer(first, second)
            finally:
                await cancel(second)
        finally:
            await cancel(first)

    async def _first_answer(self, first: asyncio.Task[Result], second: asyncio.Task[Result]) -> Result:
        done, pending = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        for task in sorted(done, key=lambda task: task is first):
            if isinstance(task.result(), Answer):
                return task.result()
        for task in pending:
            result = await task
            if isinstance(result, Answer):
                return result
        # Report the reason of the second attempt, which is more recent.
        latest = second.result()
        assert isinstance(latest, NoResponse)
        return self.no_response(latest.reason)

    # --- UDP -----------------------------------------------------------------------------

    async def _over_udp(self) -> Result:
        opened = self._outstanding or await self._send_by_udp()
        self._outstanding = None
        if isinstance(opened, NoResponse):
            return opened
        try:
            # Datagrams that are not the answer are dropped.
            while True:
                try:
                    return self._read(
                        await asyncio.get_running_loop().sock_recv(opened, _LARGEST_DATAGRAM), self._request
                    )
                except _Rejected as rejection:
                    self._reason = rejection.reason
                    # `sock_recv` does not yield while data is waiting: a flood must not stop other requests.
                    await asyncio.sleep(0)
        except ConnectionRefusedError:
            return self.no_response("refused")
        except OSError:
            return self.no_response("network")
        finally:
            opened.close()

    async def _send_by_udp(self) -> socket.socket | NoResponse:
        """Send the request by UDP and return the socket on which the answer arrives."""
        try:
            found = await _addresses(self._server, socket.SOCK_DGRAM)
        except OSError:
            return self.no_response("network")
        return self._send_to_one_of(found)

    def _send_to_one_of(self, found: Sequence[tuple[Any, ...]]) -> socket.socket | NoResponse:
        """Send the request to the first address that accepts it, without waiting."""
        for family, _, _, _, address in found:
            opened = socket.socket(family, socket.SOCK_DGRAM)
            opened.setblocking(False)
            try:
                opened.connect(address)
            except OSError:
                opened.close()
                continue
            if self._is_too_late():
                opened.close()
                return self.no_response("timeout")
            try:
                data = self._request.encode()
                self._may_have_arrived = True
                opened.send(data)
            except OSError as error:
                opened.close()
                return self.no_response("refused" if isinstance(error, ConnectionRefusedError) else "network")
            return opened
        return self.no_response("network")

    # --- TCP -----------------------------------------------------------------------------

    async def _over_tcp(self) -> Result:
        # A repetition is a new request with its own challenge and echo.
        request = self._new_request() if self._may_have_arrived else self._request
        try:
            opened = await _connected(self._server)
        except ConnectionRefusedError:
            return self.no_response("refused")
        except OSError:
            return self.no_response("network")
        chores: list[asyncio.Task[None]] = []
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = request.encode()
            if self._is_too_late():
                return self.no_response("timeout")
            self._may_have_arrived = True
            sent = opened.send(data)
            wait = 0.0 if self._server in _lagging else flush_wait(self._until)
            # Until it answers without a flush.
            _lagging.add(self._server)
            flushes: list[Server] = []
            flushing = flush_backlog(self._server, self._until, wait=wait, times=self._most_flushes(), made=flushes)
            chores = [asyncio.create_task(flushing)]
            if sent < len(data):
                chores.append(asyncio.create_task(self._send(opened, data[sent:])))
            answer = self._read(await self._read_stream(opened), request)
            if not flushes:
                _lagging.discard(self._server)
            return answer
        except _Rejected as rejection:
            # A connection carries one answer: no other can follow.
            return self.no_response(rejection.reason)
        except OSError:
            return self.no_response("network")
        finally:
            try:
                await cancel(*chores)
            finally:
                opened.close()

    @staticmethod
    async def _send(opened: socket.socket, data: bytes) -> None:
        # A server that refuses the header answers and closes before it has read everything.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(opened, data)

    async def _read_stream(self, opened: socket.socket) -> bytes:
        data = await _received(opened, b"", HEADER_SIZE)
        if not data:
            raise ConnectionResetError
        size = frames.response_size(data) if len(data) >= HEADER_SIZE else 0
        if not HEADER_SIZE <= size <= HEADER_SIZE + self._largest_answer:
            raise _Rejected("garbage")
        data = await _received(opened, data, size)
        if len(data) < size:
            raise _Rejected("garbage")
        return data[:size]

    # --- both ----------------------------------------------------------------------------

    def _read(self, data: bytes, request: Request) -> Answer:
        if len(data) > HEADER_SIZE + self._largest_answer:
            raise _Rejected("garbage")
        try:
            response = frames.decode_response(data, request=request)
        except errors.WireError as error:
            raise _Rejected("garbage") from error
        if not frames.matches(response, request):
            raise _Rejected("mismatch")
        return self._answer(response)

    def _answer(self, response: Response) -> Answer:
        return Answer(self._server.raida, response.status, response.payload, time.monotonic() - self._started)


def flush_wait(until: float) -> float:
    return (until - time.monotonic()) * _FLUSH_SHARE


async def flush_backlog(server: Server, until: float, *, wait: float, times: int, made: list[Server]) -> None:
    """
    Open idle connections to a server, so that it serves those it overlooked, while it answers echoes.

    `made` receives an entry for each connection.
    """
    await asyncio.sleep(wait)
    echo = Call(Command.ECHO, {server.raida: b""})
    for _ in range(times):
        # The answer also shows that the previous connection was accepted: of two at once one may be overlooked.
        if not isinstance(await ServerRequest(server, echo, until)._over_udp(), Answer):
            return
        try:
            opened = await _connected(server)
        except OSError:
            return
        opened.close()
        made.append(server)


async def _connected(server: Server) -> socket.socket:
    """
    Return a connection to the server: a plain socket, as 25 asyncio streams take milliseconds more to set up.

    :raises OSError: the server has no address, or none that accepts a connection
    """
    failure = OSError("no address")
    for family, _, _, _, address in await _addresses(server, socket.SOCK_STREAM):
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setblocking(False)
            await asyncio.get_running_loop().sock_connect(opened, address)
        except OSError as error:
            opened.close()
            failure = error
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise failure


async def _addresses(server: Server, kind: socket.SocketKind) -> Sequence[tuple[Any, ...]]:
    """
    Return the addresses of the server.

    :raises OSError: the name cannot be resolved
    """
    try:
        return _numeric_addresses(server.host, server.port, kind)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(server.host, server.port, type=kind)


@lru_cache(maxsize=4 * RAIDA_COUNT)
def _numeric_addresses(host: str, port: int, kind: socket.SocketKind) -> Sequence[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)


async def _received(opened: socket.socket, data: bytes, size: int) -> bytes:
    """Read until `data` has `size` bytes or the connection ends."""
    chunks = [data]
    missing = size - len(data)
    while missing > 0:
        chunk = await asyncio.get_running_loop().sock_recv(opened, _CHUNK)
        if not chunk:
            break
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)


async def cancel(*tasks: asyncio.Task[Result] | asyncio.Task[None]) -> None:
    """
    Cancel tasks and return when all have ended, also if the caller is cancelled meanwhile.

    A second cancellation must not reach them: it would interrupt what they do to close their sockets.

    :raises CancelledError: the caller was cancelled meanwhile
    """
    for task in tasks:
        task.cancel()
    was_cancelled = False
    ended = asyncio.gather(*tasks, return_exceptions=True)
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            was_cancelled = True
    if was_cancelled:
        raise asyncio.CancelledError


def _largest_answer(command: Command, payload: bytes) -> int:
    """The longest valid answer, in bytes after the header."""
    if command in _OPEN_ENDED:
        return _LARGEST_ANSWER
    if command is Command.VALIDATE_TICKET:
        return _TICKET_ANSWER
    if command is Command.GET_ALL_SNS:
        return _SMALL_ANSWER + _ALL_SERIALS_ANSWER
    if command is Command.CREATE_COINS:
        # 16 bytes for each 5 of the request.
        return _SMALL_ANSWER + 4 * len(payload)
    # Bitmaps, and the one byte per coin of FIND, are shorter than the request.
    return _SMALL_ANSWER + len(payload) // 21
