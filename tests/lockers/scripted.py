"""Servers that answer what a test has them say, in the place of the transport."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lockers import transport
from lockers.raida.commands import Command
from lockers.raida.statuses import Status

# Status and body of the answer of each server that gives one.
Said = Mapping[int, tuple[Status, bytes]]


class Servers:
    """Answers calls with what the test has them say; servers that say nothing are silent."""

    def __init__(self) -> None:
        # For each command what is said to one call after the other; the last one is repeated.
        self.says: dict[Command, list[Said]] = {}
        self.calls: list[transport.Call] = []
        # How long each call waits for more answers after 13 servers have decided.
        self.graces: list[transport.GraceWindow | None] = []
        # What happens while the servers are asked.
        self.meanwhile: Callable[[], object] = lambda: None

    @property
    def asked(self) -> list[Command]:
        return [call.command for call in self.calls]

    @property
    def asked_whom(self) -> list[tuple[Command, list[int]]]:
        """Each command with the servers that it was sent to."""
        return [(call.command, sorted(call.payloads)) for call in self.calls]

    def ask(self, servers: Any, call: transport.Call, **how: Any) -> transport.Results:
        self.calls.append(call)
        self.graces.append(how.get("grace"))
        self.meanwhile()
        left = self.says.get(call.command, [{}])
        said = left.pop(0) if len(left) > 1 else left[0]
        return {
            raida: transport.Answer(raida, *said[raida], 0.0)
            if raida in said
            else transport.NoResponse(raida, "timeout", sent=True)
            for raida in call.payloads
        }


def from_each(raidas: Iterable[int], status: Status, body: bytes = b"") -> Said:
    return dict.fromkeys(raidas, (status, body))
