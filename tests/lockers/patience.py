"""
Waiting for servers by condition, where waiting by the clock would make tests slow, and fail on a busy machine.

A server that was told not to answer is silent as soon as it has read the request and done what its fault lets
it do; one that behaves is waited for, however long it takes, also where 13 others have settled the matter. What
real deadlines do is tested by `test_network` and `test_early_verdicts`, which go by the clock.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import pytest

from lockers import transport as wire
from lockers.localnet.fleet import LocalNetwork
from lockers.localnet.server import RaidaServer

# Longer than any test may take.
_FOREVER = 300.0
_POLL_SECONDS = 0.001
# Nothing comes from these, or only after every deadline; they differ in whether the work is done.
_LATE = frozenset({"late", "delay", "hold"})
_MUTE = _LATE | {"silent"}
_MUTE_AFTER_WORK = frozenset({"drop-reply", "crash", "crash-before"})
# What comes from these is dropped, and the client goes on waiting.
_DISTORTING = frozenset({"garbage", "wrong-id", "wrong-echo", "wrong-signature", "truncate", "huge"})

_run = wire._Inquiry.run
_send_ahead = wire._Inquiry.send_ahead
_shortest_grace = wire._SHORTEST_GRACE_SECONDS


def wait_by_condition(network: LocalNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait so for the servers of this network, until the test ends."""

    def send_ahead(inquiry: wire._Inquiry) -> None:
        seen_before[inquiry] = _seen_by(inquiry, network)
        _send_ahead(inquiry)

    async def run(inquiry: wire._Inquiry) -> wire.Result:
        server = network.fleet.server(inquiry._server.raida)
        inquiry._until += _FOREVER
        before = seen_before.get(inquiry, _seen_by(inquiry, network))

        def is_over() -> bool:
            return _is_over(inquiry, server, _seen_by(inquiry, network) > before)

        asking = asyncio.create_task(_run(inquiry))
        try:
            while not asking.done() and not is_over():
                # A server that behaves may take its time; nothing has to be watched then.
                await asyncio.wait([asking], timeout=_POLL_SECONDS if server.faults else None)
            # What is late here came after every deadline, even where it was quicker than the look that was to find so.
            is_answered = asking.done() and not (server.faults.keys() & _LATE and is_over())
            return asking.result() if is_answered else inquiry.silence()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    seen_before = WeakKeyDictionary[wire._Inquiry, int]()
    monkeypatch.setattr(wire._Inquiry, "send_ahead", send_ahead)
    monkeypatch.setattr(wire._Inquiry, "run", run)
    monkeypatch.setattr(wire, "_SHORTEST_GRACE_SECONDS", _FOREVER)


def _seen_by(inquiry: wire._Inquiry, network: LocalNetwork) -> int:
    return network.fleet.server(inquiry._server.raida).seen[inquiry._call.command.value]


def _is_over(inquiry: wire._Inquiry, server: RaidaServer, is_read: bool) -> bool:
    """Whether no answer can come that would be believed."""
    faults = server.faults.keys()
    if not is_read:
        return False
    if faults & _MUTE:
        return True
    if faults & _MUTE_AFTER_WORK:
        return not server.is_busy
    return bool(faults & _DISTORTING) and inquiry._reason != "timeout"


@contextmanager
def by_the_clock() -> Iterator[None]:
    """Go by the clock after all, for as long as the context lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire._Inquiry, "run", _run)
        patch.setattr(wire, "_SHORTEST_GRACE_SECONDS", _shortest_grace)
        yield
