"""
Closes connections whose clients read too slowly.

A response is buffered in the server's memory until the client has read it, and neither granian nor hyper limits how
long that takes. Linux reports the unread bytes of a connection (SIOCOUTQ) and the acknowledged ones (TCP_INFO); on
other systems no connection is closed.
"""

import fcntl
import logging
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

log = logging.getLogger("coppice.web")

LONGEST_PAUSE_SECONDS: Final = 2.0
# Bytes that the kernel may buffer for all slow readers of one process.
ROOM: Final = 128 * 1024 * 1024
_SIOCOUTQ: Final = 0x5411
# Offset of `tcpi_bytes_acked` in `struct tcp_info`, since Linux 4.1.
_ACKED_AT: Final = 120


def watch(*, patience_seconds: float, bytes_a_second: int) -> None:
    """Start the thread that closes connections slower than `bytes_a_second` for `patience_seconds`."""
    if sys.platform != "linux":
        return

    pause = min(LONGEST_PAUSE_SECONDS, patience_seconds / 3)

    def work() -> None:
        slow: dict[str, tuple[int, float]] = {}
        while True:
            time.sleep(pause)
            slow = look(slow, now=time.monotonic(), patience_seconds=patience_seconds, bytes_a_second=bytes_a_second)

    threading.Thread(target=work, name="slow-readers", daemon=True).start()


def look(
    slow: dict[str, tuple[int, float]], *, now: float, patience_seconds: float, bytes_a_second: int
) -> dict[str, tuple[int, float]]:
    """
    Close the connections that have been slow for too long, and return those that are slow.

    The value of each is the number of acknowledged bytes when it was first found slow, and the time of that. If all
    together hold more than `ROOM`, one second is too long.
    """
    found: dict[str, tuple[int, float]] = {}
    room = ROOM
    for name, connection in _served():
        with connection, suppress(OSError):
            unread: int = struct.unpack("i", fcntl.ioctl(connection, _SIOCOUTQ, bytes(4)))[0]
            if not unread:
                continue
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            acked: int = struct.unpack_from("Q", info, _ACKED_AT)[0]
            before, since = slow.get(name, (acked, now))
            if acked - before >= bytes_a_second * max(now - since, 1.0):
                before, since = acked, now
            # If the server closes the connection meanwhile, the kernel would retransmit for minutes.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * patience_seconds))
            room -= unread
            if now - since < (patience_seconds if room >= 0 else 1.0):
                found[name] = before, since
                continue
            room += unread
            log.info("slow_reader", extra={"client": connection.getpeername()[0], "unread": unread})
            # Otherwise the kernel would keep the unread bytes.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)
    return found


def _served() -> Iterator[tuple[str, socket.socket]]:
    """Yield duplicates of this process's client connections, each with a unique name."""
    listening = set[int]()
    for _, copy in _copies(listening=True):
        with copy:
            listening.add(copy.getsockname()[1])
    for name, copy in _copies(listening=False):
        with suppress(OSError):
            if copy.getsockname()[1] in listening:
                yield name, copy
        copy.close()


def _copies(*, listening: bool) -> Iterator[tuple[str, socket.socket]]:
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            name = os.readlink(f"/proc/self/fd/{entry}")
            if not name.startswith("socket:"):
                continue
            copy = socket.socket(fileno=os.dup(int(entry)))
            is_tcp = copy.family in (socket.AF_INET, socket.AF_INET6) and copy.type == socket.SOCK_STREAM
            if is_tcp and bool(copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) == listening:
                yield name, copy
            else:
                copy.close()
