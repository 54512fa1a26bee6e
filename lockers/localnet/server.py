"""
One server of the local network: a UDP and a TCP port, and its faults.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lockers.localnet.bookkeeping import Bookkeeping, Died
from lockers.localnet.faults import MOMENTARY, Fault
from lockers.localnet.payloads import Outcome
from lockers.localnet.store import CoinStore
from lockers.localnet.wire import (
    KIND_OFFSET,
    UDP_SERVER_LIMIT,
    AnswerFrame,
    Memory,
    Reading,
    Refused,
    header_size,
    read_body,
    read_header,
    refuse_wide,
)
from lockers.raida import errors, frames
from lockers.raida.coins import COIN_SIZE
from lockers.raida.commands import Command
from lockers.raida.frames import HEADER_SIZE
from lockers.raida.statuses import Status

log = logging.getLogger(__name__)

# Real servers wait 32 seconds for each other, longer than a client waits for them.
PEER_SECONDS: Final = 3.0
# Real servers wait for the rest of a half-sent request without limit; this one does not, or tests would leak sockets.
IDLE_SECONDS: Final = 60.0


class RaidaServer:
    """
    Server `raida` on one port for UDP and TCP. All methods belong to one event loop.

    `peers` are the addresses of all 25, filled in by the owner before the first request.
    `seen` counts requests by (group, code), with any outcome.

    :raises OSError: the store cannot be opened
    """

    def __init__(
        self,
        *,
        raida: int,
        directory: Path,
        host: str,
        port: int,
        admin_key: bytes,
        peers: Sequence[tuple[str, int]],
        live: bool = False,
        legacy_bugs: bool = False,
    ) -> None:
        self.raida = raida
        self.host = host
        self.port = port
        self.seen: Counter[tuple[int, int]] = Counter()
        self.faults: dict[str, Fault] = {}
        self._cleared = asyncio.Event()
        self._directory = directory
        self._admin_key = admin_key
        self._peers = peers
        self._live = live
        self._legacy_bugs = legacy_bugs
        self._is_dead = False
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._udp_memory = Memory()
        self._store = CoinStore(directory)
        self._books = self._new_books()

    def _new_books(self) -> Bookkeeping:
        return Bookkeeping(
            raida=self.raida,
            store=self._store,
            admin_key=self._admin_key,
            live=self._live,
            legacy_bugs=self._legacy_bugs,
        )

    # --- life ----------------------------------------------------------------------------

    async def listen(self) -> None:
        """
        Open both ports.

        :raises OSError: a port is in use
        """
        tcp = _bound(socket.SOCK_STREAM, self.host, self.port)
        try:
            udp = _bound(socket.SOCK_DGRAM, self.host, self.port)
        except OSError:
            tcp.close()
            raise
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        self._tcp = await asyncio.start_server(self._connected, sock=tcp, backlog=128)

    async def deafen(self) -> None:
        """Close both ports and drop all connections."""
        if self._udp is not None:
            self._udp.close()
            self._udp = None
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None
        await self._drop_everyone()

    async def _drop_everyone(self) -> None:
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        await self.deafen()
        self._store.close()

    async def restart(self, *, forget_lockers: bool = False) -> None:
        """Reload the state from disk, as after a crash; what was only in memory is lost."""
        await self._drop_everyone()
        self._store.close()
        self._store = CoinStore(self._directory)
        self._books = self._new_books()
        self._udp_memory = Memory()
        self._apply_faults_to_books()
        if forget_lockers:
            self._books.forget_lockers()

    # --- faults --------------------------------------------------------------------------

    async def set_fault(self, fault: Fault) -> None:
        """Add a fault to those in force."""
        if fault.name in MOMENTARY:
            await self.restart(forget_lockers=fault.name == "forget")
            return
        self.faults[fault.name] = fault
        self._apply_faults_to_books()
        if fault.name == "down":
            await self.deafen()

    async def clear_faults(self) -> None:
        """
        Remove all faults; a crashed server restarts from disk.

        :raises OSError: the port was taken meanwhile
        """
        self.faults.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()
        self._apply_faults_to_books()
        if self._is_dead:
            await self.restart()
            self._is_dead = False
        if self._tcp is None:
            await self.listen()

    def _apply_faults_to_books(self) -> None:
        self._books.hold_wrong_secrets("wrong-secret" in self.faults)

    async def _die(self) -> None:
        self._is_dead = True
        await self.deafen()

    def _seconds(self, name: str) -> float:
        fault = self.faults.get(name)
        return 0.0 if fault is None or fault.argument is None else fault.argument

    # --- transports ----------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return bool(self._tasks)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task that ends with this server."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def answer_datagram(self, data: bytes, address: Any) -> None:
        """Answer one datagram; one that is shorter than a header gets no answer."""
        started = time.perf_counter()
        data = data[:UDP_SERVER_LIMIT]
        if len(data) <= KIND_OFFSET or len(data) < header_size(data[KIND_OFFSET]):
            return
        # A copy: while a fix waits for other servers, requests that arrive meanwhile have their own.
        memory = replace(self._udp_memory)
        replies = await self._replies(data, memory, started)
        self._udp_memory = memory
        for reply in replies:
            if self._udp is not None:
                self._udp.sendto(reply, address)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._serve_connection(reader, writer)
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            # The client disconnected, or this server is closing.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started = time.perf_counter()
        start = await reader.readexactly(KIND_OFFSET + 1)
        header = start + await reader.readexactly(header_size(start[KIND_OFFSET]) - len(start))
        memory = Memory()
        try:
            # Read first to learn the length of the body; a refused header is answered without waiting for it.
            body = await reader.readexactly(self._read_header(header, Memory()).body_size)
        except Refused:
            body = b""
        replies = await self._replies(header + body, memory, started)
        if "silent" in self.faults:
            await reader.read()
        # A connection carries one request and one answer.
        for reply in replies[-1:]:
            writer.write(reply)
            await writer.drain()

    async def _replies(self, data: bytes, memory: Memory, started: float) -> list[bytes]:
        """Return the datagrams (or the bytes on a connection) that answer a request, with the faults applied."""
        self.seen[data[4], data[5]] += 1
        if "silent" in self.faults:
            return []
        if "late" in self.faults:
            await asyncio.sleep(self._seconds("late"))
        if "crash-before" in self.faults:
            await self._die()
            return []
        try:
            reply = await self._reply(data, memory, started)
        except Died:
            await self._die()
            return []
        if "crash" in self.faults:
            await self._die()
            return []
        if "delay" in self.faults:
            await asyncio.sleep(self._seconds("delay"))
        if "hold" in self.faults:
            await self._cleared.wait()
        return self._distort(reply)

    def _distort(self, reply: bytes) -> list[bytes]:
        if "drop-reply" in self.faults:
            return []
        if "garbage" in self.faults:
            return [secrets.token_bytes(max(HEADER_SIZE, len(reply)))]
        changed = bytearray(reply)
        if "wrong-id" in self.faults:
            changed[0] = (changed[0] + 1) % 25
        if "wrong-echo" in self.faults:
            changed[6] ^= 0xFF
        if "wrong-signature" in self.faults:
            changed[16] ^= 0xFF
        if "huge" in self.faults:
            changed[9:12] = b"\xff\xff\xff"
        if "truncate" in self.faults:
            del changed[len(changed) // 2 :]
        replies = [bytes(changed)]
        if "stale" in self.faults:
            changed[6] ^= 0xFF
            replies.insert(0, bytes(changed))
        if "twice" in self.faults:
            replies.append(replies[-1])
        return replies

    # --- one request ---------------------------------------------------------------------

    async def _reply(self, data: bytes, memory: Memory, started: float) -> bytes:
        reading = None
        try:
            reading = self._read_header(data, memory)
            payload = read_body(data, reading, memory)
            if "status" in self.faults:
                outcome = Outcome(Status(int(self._seconds("status"))))
            else:
                outcome = await self._work(reading, payload)
        except Refused as refusal:
            outcome = Outcome(refusal.status)
        answer = AnswerFrame(
            raida=self.raida,
            status=outcome.status,
            payload=outcome.payload,
            execution_microseconds=int((time.perf_counter() - started) * 1_000_000),
        )
        return answer.encode(memory, reading)

    def _read_header(self, data: bytes, memory: Memory) -> Reading:
        return read_header(data, memory, raida=self.raida, knows=self._books.knows, find_key=self._books.find_key)

    async def _work(self, reading: Reading, payload: bytes | None) -> Outcome:
        refuse_wide(reading)
        try:
            return await self._books.answer(reading.group, reading.code, payload, ask_peer=self._ask_peer)
        except OSError:
            log.exception("RAIDA %d cannot write to its store", self.raida)
            return Outcome(Status.FILESYSTEM)

    async def _ask_peer(self, raida: int, ticket: int) -> list[bytes]:
        """Return the coins that another server confirms for its ticket; none if it does not answer."""
        request = frames.build_request(
            raida=raida,
            command=Command.VALIDATE_TICKET,
            payload=bytes((self.raida,)) + ticket.to_bytes(4, "big"),
            challenge12=secrets.token_bytes(12),
            nonce=secrets.token_bytes(8),
        )
        host, port = self._peers[raida]
        try:
            async with asyncio.timeout(PEER_SECONDS):
                data = await _exchange(host, port, request.encode())
            response = frames.decode_response(data, request=request)
        except (OSError, EOFError, TimeoutError, errors.WireError):
            return []
        if response.status != Status.SUCCESS or not frames.matches(response, request):
            return []
        return [response.payload[start : start + COIN_SIZE] for start in range(0, len(response.payload), COIN_SIZE)]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: RaidaServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._server.begin(self._server.answer_datagram(data, address))


def _bound(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM:
            # Listen now, so that a port in use is detected here.
            sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


async def _exchange(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        header = await reader.readexactly(HEADER_SIZE)
        return header + await reader.readexactly(frames.response_size(header) - HEADER_SIZE)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
