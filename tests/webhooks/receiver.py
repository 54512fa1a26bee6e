"""A receiver of webhooks on a real socket, which can be hostile."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook as Verifier

# What a receiver does with the connection of a request that it has read.
Behaviour = Callable[["Receiver", socket.socket], None]


@dataclass
class Received:
    """A request as it came."""

    head: list[str]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in self.head[1:])}

    @property
    def message(self) -> Any:
        return json.loads(self.body)

    def verify(self, secret: str) -> Any:
        """Return the message if its signature is right. Raises otherwise."""
        return Verifier(secret).verify(self.body, self.headers)


def answers(status: int = 200, body: bytes = b"", **headers: str) -> Behaviour:
    def answer(_: "Receiver", connection: socket.socket) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    return answer


def silence(receiver: "Receiver", connection: socket.socket) -> None:
    """Answer nothing until the receiver is closed."""
    receiver.over.wait()


def drips(receiver: "Receiver", connection: socket.socket) -> None:
    """Send a byte of the head now and then, without end: each read of the sender is soon answered."""
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not receiver.over.wait(0.05):
            connection.sendall(b"a")


def drips_body(receiver: "Receiver", connection: socket.socket) -> None:
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not receiver.over.wait(0.05):
            connection.sendall(b"a")


def endless(receiver: "Receiver", connection: socket.socket) -> None:
    """Send a body without end, as fast as it is read; count what was taken."""
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not receiver.over.is_set():
            connection.sendall(b"1000\r\n" + b"a" * 4096 + b"\r\n")
            receiver.bytes_sent += 4096


def hangs_up(_: "Receiver", connection: socket.socket) -> None:
    """Close without an answer."""


@dataclass
class Receiver:
    port: int
    behaviour: Behaviour
    received: list[Received] = field(default_factory=list)
    bytes_sent: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    # Called when a request has been read, before the answer.
    on_request: Callable[[], object] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def ids(self) -> list[str]:
        return [each.headers["webhook-id"] for each in self.received]

    def types(self) -> list[str]:
        return [each.message["type"] for each in self.received]


def _serve(receiver: Receiver, connection: socket.socket) -> None:
    with suppress(OSError), connection:
        read = b""
        while b"\r\n\r\n" not in read:
            chunk = connection.recv(65536)
            if not chunk:
                return
            read += chunk
        head, _, body = read.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.lower().startswith("content-length"))
        while len(body) < length:
            body += connection.recv(65536)
        receiver.received.append(Received(lines, body))
        if receiver.on_request is not None:
            receiver.on_request()
        receiver.behaviour(receiver, connection)


_OK = answers()


@contextmanager
def receiving(behaviour: Behaviour = _OK, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Serve on a free port of 127.0.0.1, one thread for each connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    receiver = Receiver(listener.getsockname()[1], behaviour)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handshake, args=[connection], daemon=True).start()

    def handshake(connection: socket.socket) -> None:
        with suppress(OSError):
            _serve(receiver, connection if tls is None else tls.wrap_socket(connection, server_side=True))

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        # On Linux closing alone does not end an accept.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
