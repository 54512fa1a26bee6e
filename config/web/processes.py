"""The processes of the web server: granian's, with further limits, and replaced when they die."""

import asyncio
import ctypes
import errno
import gc
import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import logger
from granian.server.mp import MPServer

from config.dev import ports

# Connections that wait until a process accepts them.
BACKLOG: Final = 2048
# How long to wait for the port: processes whose main process was killed need a moment to exit.
BIND_SECONDS: Final = 5.0
# Connections of one process, stalled ones included, at about 40 kB each.
CONNECTIONS: Final = 4000
# The largest head of a request, and the buffered part of a response.
BUFFER_BYTES: Final = 32 * 1024
# A process that exits by itself before this age has failed to start, and its replacement would fail too.
YOUNG_SECONDS: Final = 5.5
# The minimum time between two replacements of a killed process.
PAUSE_SECONDS: Final = 0.5
EVERYWHERE: Final = "::"
_PR_SET_PDEATHSIG: Final = 1
# The default of Python 3.11, except the last: ten times as many collections of younger objects before a full one.
_COLLECTIONS: Final = (700, 10, 100)


class WebServer(MPServer):
    """
    granian's server, which replaces each process that is killed or exits.

    It stops if a process fails to start. granian itself stops if a replacement is killed within 5.5 seconds of its
    start, and may miss a process that dies while another is replaced.
    """

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        while True:
            self.main_loop_interrupt.wait()
            # Before the loop: a process that dies from here on sets the event again, so its death is not missed.
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
                    # The entry stays in `interrupt_children`, so granian's `shutdown` exits with status 1.
                    logger.error(f"worker-{index + 1} cannot start")
                    return
                with self._listening_for_the_replacement():
                    time.sleep(max(0.0, PAUSE_SECONDS - age))
                    self._respawn_workers([index], spawn_target, target_loader)
                self.interrupt_children.remove(index)

    @contextmanager
    def _listening_for_the_replacement(self) -> Iterator[None]:
        """
        If no process listens, open a listening socket and pass it to the replacement.

        Each process listens by itself, and a connection that none of them listens for would be refused. One socket for
        all would be simpler, but the first process that wakes accepts all connections of a pool
        (tests/benchmarks/README.md).
        """
        if _is_answered(self.bind_addr, self.bind_port):
            yield
            return
        spec = self._ssp
        with ports.bound(self.bind_addr, self.bind_port, socket.SO_REUSEPORT) as listening:
            listening.listen(BACKLOG)
            holder = SocketHolder(listening.fileno(), False, BACKLOG)  # type: ignore[call-arg]
            self._ssp, self._shd, self._sso = None, holder, listening  # type: ignore[assignment]
            try:
                yield
            finally:
                self._ssp, self._shd, self._sso = spec, None, None


def _is_answered(host: str, port: int) -> bool:
    """Return whether a socket listens on the port: only a refused connection says that none does."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def _was_killed(exit_code: int | None) -> bool:
    return exit_code is not None and exit_code < 0


def end_with_the_parent(loop: asyncio.AbstractEventLoop) -> None:
    """
    End this process when its parent ends, even by SIGKILL: otherwise it would continue to serve old code.

    `loop` does not run yet.
    """
    if sys.platform == "linux":
        # Recorded when this process started: the parent may have ended while this process loaded the application.
        started_by = multiprocessing.parent_process()
        parent = started_by.pid if started_by else os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit("The main process of the web server has ended.")

        def end_if_orphaned() -> None:
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)

        # uvloop drops a signal that arrives after its handler was added and before the loop runs.
        loop.call_soon(end_if_orphaned)


def exclude_from_garbage_collection() -> None:
    """
    Exclude what the process has loaded from garbage collection, and make full collections rarer.

    A full collection stops all threads, and visits 160,000 objects that live as long as the process; many open
    connections trigger it (tests/benchmarks/README.md). After `gc.freeze` few objects are tracked, so with the default
    thresholds a full collection would follow every 70,000 allocations.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)


def _hold(host: str, port: int) -> socket.socket:
    """
    Reserve the port until the returned socket is closed, so that no second server shares it.

    Waits up to `BIND_SECONDS` while another socket has the port.

    :raises SystemExit: the port cannot be used
    """
    end = time.monotonic() + BIND_SECONDS
    while True:
        try:
            return ports.reserve(port, host)
        except OSError as error:
            is_taken = error.errno == errno.EADDRINUSE
            if not is_taken or time.monotonic() >= end:
                reason = "another program uses it" if is_taken else error.strerror
                sys.exit(f"Coppice cannot start: it cannot listen on port {port} of {host}: {reason}.")
            time.sleep(0.2)


def serve(
    *, host: str, port: int, is_reserved: bool, processes: int, stop_seconds: int, request_seconds: float
) -> None:
    """
    Serve until a signal; running requests then have `stop_seconds` to finish.

    `host` "::" serves IPv6 and IPv4 with one socket, or IPv4 alone on a machine without IPv6. A connection has
    `request_seconds` for the head of a request, and as long between two requests. `is_reserved`: the process that
    starts this one has reserved the port.

    :raises SystemExit: a process could not start, or the port cannot be used
    """
    if host == EVERYWHERE and not _has_ipv6():
        host = "0.0.0.0"  # noqa: S104 - the operator chose all addresses
    with ExitStack() as held:
        if not is_reserved:
            reserved = held.enter_context(_hold(host, port))
            # Close the copy of each child process: one that outlives this process would keep the port reserved.
            os.register_at_fork(after_in_child=reserved.close)
        _allow(2 * CONNECTIONS + 500)
        _web_server(host, port, processes, stop_seconds, request_seconds).serve()


def _web_server(host: str, port: int, processes: int, stop_seconds: int, request_seconds: float) -> WebServer:
    return WebServer(
        "config.web.rsgi:entry",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=processes,
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
        loop=Loops.uvloop,
        # granian has no header timeout for HTTP/2, nor before the first byte with both versions.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=int(request_seconds * 1000), max_buffer_size=BUFFER_BYTES),
        websockets=False,
        workers_kill_timeout=stop_seconds,
    )


def _has_ipv6() -> bool:
    """Return whether a socket can be bound to all IPv6 addresses. Containers often have IPv4 alone."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tried:
            tried.bind((EVERYWHERE, 0))
    except OSError:
        return False
    return True


def _allow(files: int) -> None:
    """Raise the limit of open files, up to the hard limit: each connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
