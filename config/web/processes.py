"""The processes of the web server: granian's, with limits of ours, and replaced when they die."""

import ctypes
import os
import resource
import signal
import socket
import sys
import time
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import logger
from granian.server.mp import MPServer

# Connections of one process, stalled ones included; each takes some 40 kB.
CONNECTIONS: Final = 4000
# The whole head of a request, and what of an answer waits in the process.
BUFFER_BYTES: Final = 32 * 1024
# A process that ends by itself and is no older cannot start: the next would end as well.
YOUNG_SECONDS: Final = 5.5
# A process that was killed is replaced at once, but not more often.
PAUSE_SECONDS: Final = 0.5
EVERYWHERE: Final = "::"
_PR_SET_PDEATHSIG: Final = 1


class WebServer(MPServer):
    """
    granian, whose processes are replaced whenever one dies.

    Granian's own way ends the server when a process dies within 5.5 seconds of having replaced another, and may
    overlook one that dies while another is being replaced.
    """

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        while True:
            self.main_loop_interrupt.wait()
            # Before the dead are counted: who dies from now on sets it again.
            self.main_loop_interrupt.clear()
            if self.interrupt_signal:
                return
            if self.reload_signal:
                self._reload(spawn_target, target_loader)  # type: ignore[no-untyped-call]
            while self.interrupt_children:
                index = self.interrupt_children[0]
                dead = self.wrks[index]
                age = time.monotonic() - dead.birth
                if not _was_killed(dead.inner.exitcode) and age < YOUNG_SECONDS:
                    # `shutdown` reads from the list that the server ends with status 1.
                    logger.error(f"worker-{index + 1} cannot start")
                    return
                time.sleep(max(0.0, PAUSE_SECONDS - age))
                self._respawn_workers([index], spawn_target, target_loader)
                self.interrupt_children.remove(index)


def _was_killed(exit_code: int | None) -> bool:
    return exit_code is not None and exit_code < 0


def end_with_the_parent() -> None:
    """Have this process end when its parent does, `kill -9` included: it would go on to answer with old code."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def serve(*, host: str, port: int, processes: int, stop_seconds: int, request_seconds: float) -> None:
    """
    Serve until a signal says to stop; requests in hand have `stop_seconds` then.

    `host` "::" serves IPv6 and IPv4 with one socket, and IPv4 alone where there is no IPv6.

    A connection has `request_seconds` for the head of a request, and as long again until the next one.

    :raises SystemExit: a process could not start
    """
    _allow(2 * CONNECTIONS + 500)
    if host == EVERYWHERE and not _has_ipv6():
        host = "0.0.0.0"  # noqa: S104 - what was asked for, on a machine without IPv6
    WebServer(
        "config.web.rsgi:entry",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=processes,
        backlog=2048,
        backpressure=CONNECTIONS,
        loop=Loops.uvloop,
        # HTTP/2 has no deadline for headers; and before the first byte, neither has a server that would take both.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=int(request_seconds * 1000), max_buffer_size=BUFFER_BYTES),
        websockets=False,
        workers_kill_timeout=stop_seconds,
    ).serve()


def _has_ipv6() -> bool:
    """Tell whether a socket can be opened for all addresses of both kinds. Containers often have IPv4 alone."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tried:
            tried.bind((EVERYWHERE, 0))
    except OSError:
        return False
    return True


def _allow(files: int) -> None:
    """Raise the limit of open files, as far as it may be: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
