"""Ports that belong to one test, whatever else runs on the machine."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """
    Give a port for a server of the test that shares it, as granian does (SO_REUSEPORT).

    Closed before the server listens, the socket would let the kernel lend the port to another process.
    """
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield held.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[int]:
    """Give a port that refuses connections and datagrams, as a free one does, and that no other process can take."""
    with ExitStack() as stack:
        while True:
            tcp = stack.enter_context(socket.socket())
            udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            # Connected to itself, it receives nothing from others, and a sender is refused at once, as at a free port.
            udp.connect(udp.getsockname())
            yield tcp.getsockname()[1]
            return


@contextmanager
def silent_ports(count: int) -> Iterator[list[int]]:
    with ExitStack() as stack:
        yield [stack.enter_context(silent_port()) for _ in range(count)]
