"""
Orders to a running network, through a socket in its directory.

An order and its answer are one line of JSON each. An order is `{"fault": "3=silent"}`, `{"clear": "3"}`,
`{"state": true}`, or several of these; the answer has `"faults"` and `"seen"`, or `"error"`, a sentence.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

from lockers.localnet.faults import InvalidFault, parse_assignment, parse_servers
from lockers.localnet.fleet import Fleet

_NAME: Final = "control.sock"
_ANSWER_SECONDS: Final = 30.0
_LONGEST_LINE: Final = 1024 * 1024


class ControlFailed(Exception):
    """No network runs in the directory, or it refused the order; the message gives the reason."""


class Control:
    """The orders that can be given to the network which runs in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fault(self, assignment: str) -> None:
        """
        Set faults, as in `3=silent` or `0-11=delay:0.5,drop-reply`.

        :raises ControlFailed: no network runs in the directory, or the text is invalid
        """
        self._order({"fault": assignment})

    def clear(self, servers: str = "*") -> None:
        """
        Remove all faults of servers: `3`, `0-11` or `*`.

        :raises ControlFailed: no network runs in the directory, or the text is invalid
        """
        self._order({"clear": servers})

    def state(self) -> dict[str, Any]:
        """
        Return the faults in force by server, and the number of requests of each "group/code" that each server has read.

        :raises ControlFailed: no network runs in the directory
        """
        return self._order({"state": True})

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        try:
            with _short_path(self._directory) as path, socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(_ANSWER_SECONDS)
                sock.connect(path)
                sock.sendall(json.dumps(order).encode() + b"\n")
                with sock.makefile("rb") as file:
                    line = file.readline(_LONGEST_LINE)
            answer: dict[str, Any] = json.loads(line)
        except (OSError, ValueError) as error:
            raise ControlFailed(f"No local RAIDA network answers in {self._directory}.") from error
        if "error" in answer:
            raise ControlFailed(answer["error"])
        return answer


@contextlib.asynccontextmanager
async def control_socket(fleet: Fleet) -> AsyncIterator[None]:
    """Take orders for `fleet` as long as the context lasts. The fleet is open, so its directory is locked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await _obey(fleet, await reader.readline())
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError):
            # The client disconnected, or sent no line.
            pass
        finally:
            writer.close()

    # Left over from a network that was killed; this one holds the lock.
    (fleet.directory / _NAME).unlink(missing_ok=True)
    with _short_path(fleet.directory) as path:
        server = await asyncio.start_unix_server(serve, path)
        (fleet.directory / _NAME).chmod(0o600)
    try:
        yield
    finally:
        server.close()
        (fleet.directory / _NAME).unlink(missing_ok=True)


async def _obey(fleet: Fleet, line: bytes) -> dict[str, Any]:
    try:
        order = json.loads(line)
        for raida, fault in parse_assignment(order["fault"]) if "fault" in order else ():
            await fleet.fault(raida, fault)
        for raida in parse_servers(order["clear"]) if "clear" in order else ():
            await fleet.clear(raida)
    except InvalidFault as error:
        return {"error": str(error)}
    except (ValueError, TypeError, AttributeError):
        return {"error": "An order is one line of JSON."}
    except OSError as error:
        return {"error": f"A server cannot start again: {error.strerror or error}."}
    return {
        "faults": {str(raida): faults for raida, faults in fleet.faults().items()},
        "seen": [
            {f"{group}/{code}": count for (group, code), count in sorted(counter.items())} for counter in fleet.seen()
        ],
    }


@contextlib.contextmanager
def _short_path(directory: Path) -> Iterator[str]:
    # The path of a socket has at most 107 bytes; the directory may have more.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_NAME}"
    finally:
        os.close(descriptor)
