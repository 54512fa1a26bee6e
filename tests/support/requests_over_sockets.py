"""Requests that are written to a socket byte by byte."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.error_codes import check


@contextmanager
def connected(address: str, sent: bytes, *, window: int | None = None) -> Iterator[socket.socket]:
    host, _, port = address.partition(":")
    with socket.socket() as connection:
        if window:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        connection.settimeout(20)
        connection.connect((host, int(port)))
        connection.sendall(sent)
        yield connection


def everything(connection: socket.socket) -> bytes:
    """Read until the server ends the connection, however it does."""
    received = b""
    try:
        while piece := connection.recv(1 << 16):
            received += piece
    except ConnectionResetError:
        pass
    return received


def answered(address: str, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a request whose answer ends the connection, and return status, headers and body."""
    with connected(address, sent) as connection:
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    status, headers = int(line.split()[1]), dict(field.lower().split(": ", 1) for field in fields)
    check(sent.split()[1].decode(), status, headers)
    return status, headers, body


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n"
