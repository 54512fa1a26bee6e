"""
Asking RAIDA servers: all at once, over real sockets, with one deadline.

This module knows bytes and sockets, and neither coins nor rows. It never calls silence a
failure: for every server there is an `Answer`, or a `NoResponse` that says whether the
request may have arrived. What cannot be repeated without harm is sent exactly once.
"""

import asyncio
import contextlib
import math
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

from lockers.raida import errors, frames
from lockers.raida.commands import REPEATABLE, Command
from lockers.raida.encryption import CHALLENGE_RANDOM_SIZE, KIND_LOCKER, NONCE_SIZE, PLAIN, Encryption
from lockers.raida.frames import HEADER_SIZE, UDP_SAFE_SIZE, Request, Response
from lockers.raida.statuses import RAIDA_COUNT, UNREADABLE, Status

# Answers whose length the request does not tell. A locker may hold any number of coins:
# this is 200,000, two hundred times what anybody was seen to store.
_LARGEST_ANSWER: Final = 1_000_000
_OPEN_ENDED: Final = frozenset({Command.PEEK, Command.DOWNLOAD})
# Most lockers hold so little that a datagram tells it, which takes one trip where a connection takes two. What does not
# come at once, perhaps because a network drops large datagrams, is asked for again over a connection.
_PERHAPS_SHORT: Final = frozenset({Command.PEEK})
_DATAGRAM_SECONDS: Final = 0.3
# Enough for every answer of fixed size, and for the list of a ticket's at most 4,096 coins.
_SMALL_ANSWER: Final = 512
_TICKET_ANSWER: Final = 5 * 4096
# One bit for each of a denomination's 1,024,000 serial numbers.
_ALL_SERIALS_ANSWER: Final = 5 + 128_000

# A repeatable command that is not answered by this share of the deadline is asked once more,
# over TCP: datagrams get lost, and some servers overlook one of two connections that arrive
# together until the next one comes. Neither should cost an answer.
_FIRST_SHARE: Final = 0.25
# Such a server never makes up for it: from then on each connection waits for as many later ones as it once overlooked.
# What has not been answered after this share of the deadline is helped by connections that say nothing, one after the
# other and only while the server answers datagrams: if it stands still, they would make it worse.
_FLUSH_SHARE: Final = 0.05
_MOST_FLUSHES: Final = 100
# Servers that did not answer this process by themselves when it last asked over TCP: there it flushes at once.
_lagging: Final[set["Server"]] = set()
# A server that is told to fix a coin connects to all others before it answers. They are told one after the other, or
# all would connect to each at the same moment; and where one was overlooked nevertheless, it is let in from here.
_FIX_GAP_SECONDS: Final = 0.02
_MOST_FLUSHES_FOR_A_FIX: Final = 30

# Answers that were sent at the same moment are read so far apart, even where nothing else is done.
_SHORTEST_GRACE_SECONDS: Final = 0.001

_LARGEST_DATAGRAM: Final = 65_536
_CHUNK: Final = 65_536

SilenceReason = Literal["timeout", "refused", "network", "mismatch", "garbage", "cancelled"]


class InvalidServers(ValueError):
    """A list of servers does not name 25 of them as host:port."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where server number `raida` listens, for UDP and TCP alike."""

    raida: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Call:
    """
    One command with a payload for each server that shall get it, and how to encrypt it there.

    Servers without a payload are not asked; servers without an encryption are asked in clear. With
    `falls_back` a server that says that it cannot read the request, and so did nothing, gets it in clear.
    """

    command: Command
    payloads: Mapping[int, bytes] = field(repr=False)
    encryption: Mapping[int, Encryption] = field(default_factory=dict)
    falls_back: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to this very request. `status` is a plain int if it is in no table."""

    raida: int
    status: Status | int
    payload: bytes = field(repr=False)
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class NoResponse:
    """
    No answer that could be trusted.

    `sent` False promises that the server has not seen a byte of the request; True promises nothing.
    "cancelled" says nothing about the server: the answers of the others were enough.
    """

    raida: int
    reason: SilenceReason
    sent: bool


Result = Answer | NoResponse
Results = dict[int, Result]


def servers_from_settings(hosts: Sequence[str]) -> tuple[Server, ...]:
    """
    The servers in a list of `host:port`, RAIDA 0 first.

    :raises InvalidServers: there are not 25, or one does not read so
    """
    if len(hosts) != RAIDA_COUNT:
        raise InvalidServers(f"there are {RAIDA_COUNT} RAIDA servers, not {len(hosts)}")
    servers = []
    for raida, text in enumerate(hosts):
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise InvalidServers(f"RAIDA {raida}: {text!r} is not host:port")
        servers.append(Server(raida, host.strip("[]"), int(port)))
    return tuple(servers)


@dataclass(frozen=True, slots=True)
class GraceWindow:
    """
    How much later than the one before an answer may come, once there are enough of them.

    `share` is of the time until there were enough, but it is never less than `seconds`. All that wait together
    get no more than `most` times as much as that, and no more than the time until there were enough.
    """

    share: float
    seconds: float
    most: float = math.inf

    def gap(self, decided: float) -> float:
        return max(_SHORTEST_GRACE_SECONDS, self.seconds, self.share * decided)

    def total(self, decided: float) -> float:
        gap = self.gap(decided)
        return min(self.most * gap, decided + gap)


NO_GRACE: Final = GraceWindow(0.0, 0.0)
# Answers that come no further apart are told to a listener together.
_LATE_GAP_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Listener:
    """
    Lets a caller go on while servers that are no longer waited for may still answer.

    `on_verdict` is told the results as they are when the others would be given up; those appear as given up. Unless
    there was nothing left to wait for, `on_late` is then told groups of later results, each server once: the last
    group comes at the latest with the deadline. Both run in the thread that asks.
    """

    on_verdict: Callable[[Results], None]
    on_late: Callable[[Results], None]


def within(seconds: float) -> float:
    """The moment so many seconds from now, as `ask` wants its deadline."""
    return time.monotonic() + seconds


def ask(
    servers: Sequence[Server],
    call: Call,
    *,
    until: float,
    on_result: Callable[[Result], None] | None = None,
    enough: Callable[[Results], bool] | None = None,
    grace: GraceWindow = NO_GRACE,
    listener: Listener | None = None,
) -> Results:
    """
    Ask every server that `call` has a payload for, all at once, and return what each of them said.

    All have answered, or fallen silent, at the moment `until` of the monotonic clock, and from that
    moment on not a byte of a request leaves: a process that was stopped does not send when it wakes.
    `on_result` is told each result as it comes. As soon as `enough` says so of the results until
    then, the others may come in too for as long as the `grace` says; whoever does not is given up, and
    appears as silent. With a `listener` it is told the results at that moment instead, and the call goes on until all
    have answered or the deadline has come. Runs its own event loop, so not inside of one.

    :raises Unencodable: a payload does not fit into a request; nothing was sent
    """
    wanted = [server for server in servers if server.raida in call.payloads]
    gap = _FIX_GAP_SECONDS if call.command is Command.FIX else 0.0
    # All of them before the first byte leaves: a payload that cannot be sent stops everybody.
    inquiries = [_Inquiry(server, call, until, delay=gap * position) for position, server in enumerate(wanted)]
    try:
        # Before there is a loop, and before anything else is set up: the servers can work meanwhile.
        for inquiry in inquiries:
            inquiry.send_ahead()
        asking = _ask_all(inquiries, on_result, enough, grace, listener)
        return asyncio.run(_while_flushing(servers, until, asking) if call.command is Command.FIX else asking)
    finally:
        for inquiry in inquiries:
            inquiry.close()


async def _while_flushing(servers: Sequence[Server], until: float, asking: Coroutine[Any, Any, Results]) -> Results:
    """Let servers in to each other, for as long as they are asked for what makes them ask each other."""
    wait, made = _flush_wait(until), list[Server]()
    flushing = [
        asyncio.create_task(_flush_backlog(server, until, wait=wait, times=_MOST_FLUSHES_FOR_A_FIX, made=made))
        for server in servers
    ]
    try:
        return await asking
    finally:
        await cancel(*flushing)


async def _ask_all(
    inquiries: Sequence["_Inquiry"],
    on_result: Callable[[Result], None] | None,
    enough: Callable[[Results], bool] | None,
    grace: GraceWindow,
    listener: Listener | None,
) -> Results:
    results: Results = {}
    begun = time.monotonic()
    decided: float | None = None
    cancel_at: float | None = None
    tasks = {asyncio.create_task(inquiry.run()): inquiry for inquiry in inquiries}
    pending = set(tasks)
    try:
        while pending:
            patience = None if cancel_at is None else cancel_at - time.monotonic()
            if patience is not None and patience <= 0:
                break
            done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                result = task.result()
                results[result.raida] = result
                if on_result is not None:
                    on_result(result)
            if decided is None and enough is not None and enough(results):
                decided = time.monotonic() - begun
            if decided is not None and done:
                cancel_at = min(time.monotonic() + grace.gap(decided), begun + decided + grace.total(decided))
        if pending and listener is not None:
            cancelled = {
                inquiry.raida: inquiry.silence("cancelled") for task, inquiry in tasks.items() if task in pending
            }
            listener.on_verdict(dict(sorted((results | cancelled).items())))
            results |= await _listen(pending, listener.on_late)
            pending = set()
    finally:
        await cancel(*pending)
    for task in pending:
        # Its answer may have come in the moment in which it was given up.
        result = tasks[task].silence("cancelled") if task.cancelled() else task.result()
        results[result.raida] = result
        if on_result is not None:
            on_result(result)
    return dict(sorted(results.items()))


async def _listen(pending: set[asyncio.Task[Result]], on_late: Callable[[Results], None]) -> Results:
    """Wait for the others until their deadline, and tell of them in groups that came together."""
    heard: Results = {}
    group: Results = {}
    try:
        while pending:
            timeout = _LATE_GAP_SECONDS if group else None
            done, pending = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            group |= {task.result().raida: task.result() for task in done}
            if not done or not pending:
                on_late(dict(sorted(group.items())))
                heard, group = heard | group, {}
    finally:
        await cancel(*pending)
    return heard


class _Rejected(Exception):
    """An answer came over the right socket and is not one to the request."""

    def __init__(self, reason: Literal["mismatch", "garbage"]) -> None:
        super().__init__(reason)
        self.reason = reason


class _Inquiry:
    """One request to one server, over one or two connected sockets of its own."""

    def __init__(self, server: Server, call: Call, until: float, *, delay: float = 0.0) -> None:
        self._server = server
        self._call = call
        self._until = until
        self._delay = delay
        self._started = 0.0
        self._may_have_arrived = False
        # A datagram was sent, and nobody listens for its answer yet.
        self._outstanding: socket.socket | NoResponse | None = None
        # Why there is no answer yet: nothing came, or only what could not be believed.
        self._reason: SilenceReason = "timeout"
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

    def silence(self, reason: SilenceReason | None = None) -> NoResponse:
        """What there is to report if this inquiry ends now without an answer."""
        return NoResponse(self._server.raida, reason or self._reason, sent=self._may_have_arrived)

    def send_ahead(self) -> None:
        """Send what goes as a datagram to an address that is a number. `run` listens for what it brings."""
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
            return self.silence()

    def _most_flushes(self) -> int:
        # A server that leaves an echo unanswered is not told to be awake by another one.
        return 0 if self._call.command is Command.ECHO else _MOST_FLUSHES

    def _fits_a_datagram(self) -> bool:
        size = frames.request_size(self._request.header)
        return size < UDP_SAFE_SIZE and (
            HEADER_SIZE + self._largest_answer <= UDP_SAFE_SIZE or self._call.command in _PERHAPS_SHORT
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
            # There is no locker with this key, and somebody may fill it yet: the key must not be read on the way.
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
            if self._call.command in _PERHAPS_SHORT:
                patience = min(patience, _DATAGRAM_SECONDS)
            await asyncio.wait([first], timeout=patience)
            # A connection that ended has told what there is to tell; a datagram that did not arrive has not.
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
        # What the second attempt met is the newer news; the first one's bytes stay sent.
        silence = second.result()
        assert isinstance(silence, NoResponse)
        return self.silence(silence.reason)

    # --- UDP -----------------------------------------------------------------------------

    async def _over_udp(self) -> Result:
        opened = self._outstanding or await self._send_by_udp()
        self._outstanding = None
        if isinstance(opened, NoResponse):
            return opened
        try:
            # Anything on this socket that is not our answer is dropped, and we go on waiting.
            while True:
                try:
                    return self._read(
                        await asyncio.get_running_loop().sock_recv(opened, _LARGEST_DATAGRAM), self._request
                    )
                except _Rejected as rejection:
                    self._reason = rejection.reason
                    # What is there already is read without a pause: whoever floods us stops nobody else.
                    await asyncio.sleep(0)
        except ConnectionRefusedError:
            return self.silence("refused")
        except OSError:
            return self.silence("network")
        finally:
            opened.close()

    async def _send_by_udp(self) -> socket.socket | NoResponse:
        """Send the request; what answers it comes to the socket."""
        try:
            found = await _addresses(self._server, socket.SOCK_DGRAM)
        except OSError:
            return self.silence("network")
        return self._send_to_one_of(found)

    def _send_to_one_of(self, found: Sequence[tuple[Any, ...]]) -> socket.socket | NoResponse:
        """Send the request to the first address that lets us; nothing of it waits."""
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
                return self.silence("timeout")
            try:
                data = self._request.encode()
                self._may_have_arrived = True
                opened.send(data)
            except OSError as error:
                opened.close()
                return self.silence("refused" if isinstance(error, ConnectionRefusedError) else "network")
            return opened
        return self.silence("network")

    # --- TCP -----------------------------------------------------------------------------

    async def _over_tcp(self) -> Result:
        # A second sending is a request of its own: what answers it must answer it alone.
        request = self._new_request() if self._may_have_arrived else self._request
        try:
            opened = await _connected(self._server)
        except ConnectionRefusedError:
            return self.silence("refused")
        except OSError:
            return self.silence("network")
        chores: list[asyncio.Task[None]] = []
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = request.encode()
            if self._is_too_late():
                return self.silence("timeout")
            self._may_have_arrived = True
            sent = opened.send(data)
            wait = 0.0 if self._server in _lagging else _flush_wait(self._until)
            # Until it answers without a knock. Given up, it may not even have got one.
            _lagging.add(self._server)
            flushes: list[Server] = []
            flushing = _flush_backlog(self._server, self._until, wait=wait, times=self._most_flushes(), made=flushes)
            chores = [asyncio.create_task(flushing)]
            if sent < len(data):
                chores.append(asyncio.create_task(self._send(opened, data[sent:])))
            answer = self._read(await self._read_stream(opened), request)
            if not flushes:
                _lagging.discard(self._server)
            return answer
        except _Rejected as rejection:
            # There is one answer on a connection: nothing better can follow.
            return self.silence(rejection.reason)
        except OSError:
            return self.silence("network")
        finally:
            try:
                await cancel(*chores)
            finally:
                opened.close()

    @staticmethod
    async def _send(opened: socket.socket, data: bytes) -> None:
        # An answer to a refused header may come, and the connection end, while we still write.
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


def _flush_wait(until: float) -> float:
    return (until - time.monotonic()) * _FLUSH_SHARE


async def _flush_backlog(server: Server, until: float, *, wait: float, times: int, made: list[Server]) -> None:
    """Have a server that is awake let in connections that it overlooked; `made` gets an entry for each knock."""
    await asyncio.sleep(wait)
    echo = Call(Command.ECHO, {server.raida: b""})
    for _ in range(times):
        # Its answer also tells that the knock before was heard: two at once could be taken for one.
        if not isinstance(await _Inquiry(server, echo, until)._over_udp(), Answer):
            return
        try:
            opened = await _connected(server)
        except OSError:
            return
        opened.close()
        made.append(server)


async def _connected(server: Server) -> socket.socket:
    """
    A connection to the server. Plain sockets: of streams and transports 25 at once cost milliseconds.

    :raises OSError: the server has no address, or none that lets us connect
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
    Where the server may be.

    :raises OSError: nobody knows
    """
    try:
        return _numeric_addresses(server.host, server.port, kind)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(server.host, server.port, type=kind)


@lru_cache(maxsize=4 * RAIDA_COUNT)
def _numeric_addresses(host: str, port: int, kind: socket.SocketKind) -> Sequence[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)


async def _received(opened: socket.socket, data: bytes, size: int) -> bytes:
    """Read on until there are so many bytes, or the end."""
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
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError:
            was_cancelled = True
    if was_cancelled:
        raise asyncio.CancelledError


def _largest_answer(command: Command, payload: bytes) -> int:
    """How many bytes may follow the header of an honest answer."""
    if command in _OPEN_ENDED:
        return _LARGEST_ANSWER
    if command is Command.VALIDATE_TICKET:
        return _TICKET_ANSWER
    if command is Command.GET_ALL_SNS:
        return _SMALL_ANSWER + _ALL_SERIALS_ANSWER
    if command is Command.CREATE_COINS:
        # 16 bytes for every 5 of the request.
        return _SMALL_ANSWER + 4 * len(payload)
    # Bitmaps, and the one byte per coin of FIND, are shorter than what they answer.
    return _SMALL_ANSWER + len(payload) // 21
