"""Which connections of slow readers are closed, within one process; the rest is in tests/api/test_slow_clients.py."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from config.web import slow_readers

RATE = 16 * 1024
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's figures are those of Linux")


@pytest.fixture
def readers() -> Iterator[list[socket.socket]]:
    """Two clients that read nothing, of a server in this process: the first leaves more unread than the second."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        clients = []
        for buffered in (1 << 20, 1 << 14):
            clients.append(stack.enter_context(socket.create_connection(listener.getsockname())))
            served = stack.enter_context(listener.accept()[0])
            served.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffered)
            served.setblocking(False)
            try:
                while True:
                    served.send(bytes(1 << 16))
            except BlockingIOError:
                pass
        yield clients


def is_open(client: socket.socket) -> bool:
    """Return whether the server has not closed the connection of a client, which reads all that has arrived."""
    client.settimeout(0.5)
    try:
        while client.recv(1 << 20):
            pass
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False
    return False


def look(slow: dict[str, tuple[int, float]], now: float) -> dict[str, tuple[int, float]]:
    return slow_readers.look(slow, now=now, patience_seconds=60, bytes_a_second=RATE)


def test_what_a_closed_connection_held_is_free_for_the_next(
    readers: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = look({}, 100.0)
    assert len(first) == 2
    # The first client alone is beyond it.
    monkeypatch.setattr(slow_readers, "ROOM", 200_000)
    assert look(first, 100.5).keys() == first.keys()
    left = look(first, 102.0)
    assert len(left) == 1
    assert [is_open(client) for client in readers] == [False, True]


def test_a_connection_that_is_slow_for_too_long_is_closed(readers: list[socket.socket]) -> None:
    slow = look({}, 100.0)
    assert look(slow, 159.0).keys() == slow.keys()
    assert look(slow, 160.0) == {}
    assert [is_open(client) for client in readers] == [False, False]


def test_connections_to_clients_alone_are_looked_at(readers: list[socket.socket], tmp_path: Path) -> None:
    """Not those to PostgreSQL or the broker over a UNIX socket, nor one that this process began, nor datagrams."""
    peers = [client.getsockname() for client in readers]
    with ExitStack() as stack:
        for left in socket.socketpair():
            stack.enter_context(left)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", 0))
        served = [(name, copy.getpeername()) for name, copy in slow_readers._served()]

    assert sorted(peer for _, peer in served) == sorted(peers)
    assert len({name for name, _ in served}) == 2
