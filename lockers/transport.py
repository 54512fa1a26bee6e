"""
Sends one command to many RAIDA servers at once, over real sockets, with one deadline.

This module knows bytes and sockets, and neither coins nor rows. Each server has a result: an `Answer`, or a
`NoResponse` that says whether the request may have arrived.
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lockers.raida.commands import Command
from lockers.raida.statuses import RAIDA_COUNT
from lockers.server_request import (
    Answer,
    Call,
    NoResponse,
    Result,
    Results,
    Server,
    ServerRequest,
    cancel,
    flush_backlog,
    flush_wait,
)

__all__ = ["Answer", "Call", "NoResponse", "Result", "Results", "Server"]

# A server that fixes a coin connects to all others before it answers. The requests are sent this far apart, or all
# servers would connect to each one at the same moment; connections that are overlooked nevertheless are flushed here.
_FIX_GAP_SECONDS: Final = 0.02
_MOST_FLUSHES_FOR_A_FIX: Final = 30

# Answers that were sent at the same moment are read at most this far apart on an idle machine.
_SHORTEST_GRACE_SECONDS: Final = 0.001


class InvalidServers(ValueError):
    """A list of servers does not name 25 of them as host:port."""


def servers_from_settings(hosts: Sequence[str]) -> tuple[Server, ...]:
    """
    Return the servers of a list of `host:port`, RAIDA 0 first.

    :raises InvalidServers: there are not 25, or one is not of that form
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
    How long the call waits for further answers once there are enough of them.

    Each answer extends the wait by the greater of `seconds` and `share` times the time until there were enough. The
    whole wait is limited to `most` such extensions, and to the time until there were enough plus one extension.
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
# Late answers that arrive at most this far apart are passed to a listener together.
_LATE_GAP_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Listener:
    """
    Receives the results at the decision, and later answers after it.

    `on_verdict` receives all results when the grace window ends; pending requests appear as "cancelled" but continue.
    If any were pending, `on_late` then receives groups of their results, each server once, the last group no later
    than the deadline. Both run in the thread that called `ask`.
    """

    on_verdict: Callable[[Results], None]
    on_late: Callable[[Results], None]


def within(seconds: float) -> float:
    """Return the deadline for `ask` that is `seconds` from now, on the monotonic clock."""
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
    Send `call` to every server that it has a payload for, all at once, and return the results by server number.

    The call ends at `until` on the monotonic clock. No byte of a request is sent after that, even if the process was
    suspended meanwhile. `on_result` receives each result when it arrives. Once `enough` returns True for the results
    so far, the call waits for the others as long as `grace` allows and then cancels them. With a `listener`, the
    listener receives the results at that moment, and the call continues until all have answered or the deadline
    passes. `ask` runs its own event loop, so it must not be called inside one.

    :raises Unencodable: a payload does not fit into a request; nothing was sent
    """
    wanted = [server for server in servers if server.raida in call.payloads]
    gap = _FIX_GAP_SECONDS if call.command is Command.FIX else 0.0
    # Built before the first byte is sent: a payload that cannot be encoded stops the whole call.
    requests = [ServerRequest(server, call, until, delay=gap * position) for position, server in enumerate(wanted)]
    try:
        # Before the event loop is set up: the servers work meanwhile.
        for request in requests:
            request.send_ahead()
        asking = _ask_all(requests, on_result, enough, grace, listener)
        return asyncio.run(_while_flushing(servers, until, asking) if call.command is Command.FIX else asking)
    finally:
        for request in requests:
            request.close()


async def _while_flushing(servers: Sequence[Server], until: float, asking: Coroutine[Any, Any, Results]) -> Results:
    """Flush the backlogs of all servers while they connect to each other for a fix."""
    wait, made = flush_wait(until), list[Server]()
    flushing = [
        asyncio.create_task(flush_backlog(server, until, wait=wait, times=_MOST_FLUSHES_FOR_A_FIX, made=made))
        for server in servers
    ]
    try:
        return await asking
    finally:
        await cancel(*flushing)


async def _ask_all(
    requests: Sequence[ServerRequest],
    on_result: Callable[[Result], None] | None,
    enough: Callable[[Results], bool] | None,
    grace: GraceWindow,
    listener: Listener | None,
) -> Results:
    results: Results = {}
    begun = time.monotonic()
    decided: float | None = None
    cancel_at: float | None = None
    tasks = {asyncio.create_task(request.run()): request for request in requests}
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
                request.raida: request.no_response("cancelled") for task, request in tasks.items() if task in pending
            }
            listener.on_verdict(dict(sorted((results | cancelled).items())))
            results |= await _listen(pending, listener.on_late)
            pending = set()
    finally:
        await cancel(*pending)
    for task in pending:
        # An answer may have arrived just before the cancellation.
        result = tasks[task].no_response("cancelled") if task.cancelled() else task.result()
        results[result.raida] = result
        if on_result is not None:
            on_result(result)
    return dict(sorted(results.items()))


async def _listen(pending: set[asyncio.Task[Result]], on_late: Callable[[Results], None]) -> Results:
    """Wait for pending requests until their deadline, and pass their results on in groups."""
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
