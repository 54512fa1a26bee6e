"""A local network that a test runs in its own process, and its control socket."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from lockers.localnet.control import control_socket
from lockers.localnet.faults import parse_fault
from lockers.localnet.fleet import Fleet
from lockers.localnet.payloads import Outcome
from lockers.raida.commands import Command
from lockers.raida.statuses import RAIDA_COUNT
from lockers.transport import Server

Result = TypeVar("Result")


class LocalNetwork:
    """
    A local RAIDA network for callers without an event loop: it runs in its own thread.

    Takes the arguments of `Fleet`, is a context manager, and can be started again after it was stopped: what was
    acknowledged is still there.
    """

    # Those of this process, by their addresses.
    running: ClassVar[dict[tuple[str, ...], "LocalNetwork"]] = {}

    def __init__(self, directory: Path, **options: Any) -> None:
        self._make_fleet: Callable[[], Fleet] = lambda: Fleet(directory, **options)
        self._fleet: Fleet | None = None
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """
        Return when all 25 listen.

        :raises CannotStart: they cannot
        """
        if self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local RAIDA network", daemon=True)
        self._thread.start()
        fleet = self._make_fleet()
        try:
            self._run(fleet.open())
        except BaseException:
            self._end_thread()
            raise
        self._fleet = fleet
        self.running[tuple(self.hosts)] = self
        return self

    def stop(self) -> None:
        if self._fleet is not None:
            del self.running[tuple(self.hosts)]
            self._run(self._fleet.close())
            self._fleet = None
            self._end_thread()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def fleet(self) -> Fleet:
        assert self._fleet is not None, "the network is not running"
        return self._fleet

    @property
    def servers(self) -> tuple[Server, ...]:
        return self.fleet.servers

    @property
    def hosts(self) -> list[str]:
        """The addresses as the setting RAIDA_HOSTS wants them."""
        return [f"{server.host}:{server.port}" for server in self.servers]

    @property
    def admin_key(self) -> bytes:
        return self.fleet.admin_key

    def fault(self, raida: int | Iterable[int], *faults: str) -> None:
        """
        Add faults (see `faults`) to one server or several.

        :raises InvalidFault: a text names no fault
        """
        for number in [raida] if isinstance(raida, int) else raida:
            for fault in map(parse_fault, faults):
                self._run(self.fleet.fault(number, fault))

    def clear(self, raida: int | Iterable[int] | None = None) -> None:
        """Remove the faults of one server, several or all; crashed ones restart from disk."""
        for number in [raida] if raida is None or isinstance(raida, int) else raida:
            self._run(self.fleet.clear(number))

    def seen(self, command: Command, raida: int | None = None) -> int:
        """How many requests of one command one server, or all of them together, have read."""
        counters = self._run(self._on_loop(self.fleet.seen))
        chosen: Sequence[Counter[tuple[int, int]]] = counters if raida is None else [counters[raida]]
        return sum(counter[command.value] for counter in chosen)

    @property
    def is_sound(self) -> bool:
        """Whether all servers listen, and none has a fault."""
        servers = [self.fleet.server(raida) for raida in range(RAIDA_COUNT)]
        return not any(server.faults or server._tcp is None for server in servers)

    def answers(self, command: Command, payloads: Sequence[bytes]) -> list[Outcome]:
        """What each server answers to its payload, without the wire, which takes most of the time of a question."""

        async def ask() -> list[Outcome]:
            outcomes = []
            for raida, payload in enumerate(payloads):
                server = self.fleet.server(raida)
                server.seen[command.value] += 1
                outcomes.append(await server._books.answer(*command.value, payload, ask_peer=_no_peer))
            return outcomes

        return self._run(ask())

    @property
    def is_busy(self) -> bool:
        """Whether a server is executing a request."""
        return any(self.fleet.server(raida).is_busy for raida in range(RAIDA_COUNT))

    def forget_seen(self) -> None:
        """Count from zero again."""
        self._run(self._on_loop(lambda: [self.fleet.server(raida).seen.clear() for raida in range(RAIDA_COUNT)]))

    @staticmethod
    async def _on_loop(function: Callable[[], Result]) -> Result:
        return function()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _no_peer(raida: int, ticket: int) -> list[bytes]:
    raise AssertionError("a command that asks other servers goes over the wire")


@contextmanager
def listening(network: LocalNetwork) -> Iterator[None]:
    """Open the control socket of a network, as `make run` does."""
    orders = control_socket(network.fleet)
    asyncio.run_coroutine_threadsafe(orders.__aenter__(), network._loop).result()
    yield
    asyncio.run_coroutine_threadsafe(orders.__aexit__(None, None, None), network._loop).result()
