"""
Waits for servers by condition: timeouts would make tests slow, and fail on a busy machine.

A server that was told not to answer is silent as soon as it has read the request and done what its fault lets
it do; one that behaves is waited for, however long it takes, also where 13 others have settled the matter. What
real deadlines do is tested by `test_network` and `test_early_verdicts`, which go by the clock.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import pytest

from lockers import server_request, transport
from lockers.localnet.server import RaidaServer
from tests.support.local_network import LocalNetwork

# Longer than any test may take.
_FOREVER = 300.0
_POLL_SECONDS = 0.001
# Nothing comes from these, or only after every deadline; they differ in whether the work is done.
_LATE = frozenset({"late", "delay", "hold"})
_MUTE = _LATE | {"silent"}
_MUTE_AFTER_WORK = frozenset({"drop-reply", "crash", "crash-before"})
# What comes from these is dropped, and the client goes on waiting.
_DISTORTING = frozenset({"garbage", "wrong-id", "wrong-echo", "wrong-signature", "truncate", "huge"})

_run = server_request.ServerRequest.run
_send_ahead = server_request.ServerRequest.send_ahead
_shortest_grace = transport._SHORTEST_GRACE_SECONDS


def wait_by_condition(network: LocalNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the servers of this network by condition, until the test ends."""

    def send_ahead(request: server_request.ServerRequest) -> None:
        seen_before[request] = _seen_by(request, network)
        _send_ahead(request)

    async def run(request: server_request.ServerRequest) -> transport.Result:
        server = network.fleet.server(request._server.raida)
        request._until += _FOREVER
        before = seen_before.get(request, _seen_by(request, network))

        def is_over() -> bool:
            return _is_over(request, server, _seen_by(request, network) > before)

        asking = asyncio.create_task(_run(request))
        try:
            while not asking.done() and not is_over():
                # A server that behaves may take its time; nothing has to be watched then.
                await asyncio.wait([asking], timeout=_POLL_SECONDS if server.faults else None)
            # What is late here came after every deadline, even where it was quicker than the look that was to find so.
            is_answered = asking.done() and not (server.faults.keys() & _LATE and is_over())
            return asking.result() if is_answered else request.no_response()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    seen_before = WeakKeyDictionary[server_request.ServerRequest, int]()
    monkeypatch.setattr(server_request.ServerRequest, "send_ahead", send_ahead)
    monkeypatch.setattr(server_request.ServerRequest, "run", run)
    monkeypatch.setattr(transport, "_SHORTEST_GRACE_SECONDS", _FOREVER)


def _seen_by(request: server_request.ServerRequest, network: LocalNetwork) -> int:
    return network.fleet.server(request._server.raida).seen[request._call.command.value]


def _is_over(request: server_request.ServerRequest, server: RaidaServer, is_read: bool) -> bool:
    """Return whether no answer that counts can still arrive."""
    faults = server.faults.keys()
    if not is_read:
        return False
    if faults & _MUTE:
        return True
    if faults & _MUTE_AFTER_WORK:
        return not server.is_busy
    return bool(faults & _DISTORTING) and request._reason != "timeout"


@contextmanager
def by_the_clock() -> Iterator[None]:
    """Use real timeouts while the context lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_request.ServerRequest, "run", _run)
        patch.setattr(transport, "_SHORTEST_GRACE_SECONDS", _shortest_grace)
        yield
