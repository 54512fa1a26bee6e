"""
The 25 servers of a local RAIDA network in one process, and the directory they live in.

    directory/lock            held while the network runs, so that no second one shares it
    directory/admin.key       32 hex digits, made at first start, readable by the owner only
    directory/control.sock    where `Control` gives orders while the network runs
    directory/raida-07/       one server's store
"""

import contextlib
import fcntl
import os
import random
import secrets
from collections import Counter
from pathlib import Path
from typing import Final

from lockers.localnet.faults import Fault
from lockers.localnet.server import RaidaServer
from lockers.raida.statuses import RAIDA_COUNT
from lockers.transport import Server

DEFAULT_BASE_PORT: Final = 50000
ADMIN_KEY_SIZE: Final = 16

# Free ports are looked for here, below those that the kernel gives to outgoing connections.
_FREE_BASES: Final = range(20000, 32000, RAIDA_COUNT)
_FREE_TRIES: Final = 50


class CannotStart(Exception):
    """The network cannot start; the message says why and what to do."""


class Fleet:
    """
    The 25 servers.

    `base_port` 0 takes any 25 free ports in a row. `live` adds the commands which only newer
    servers know; `legacy_bugs` copies the defects that are listed in `bookkeeping`.
    `admin_key` (16 bytes) replaces the one in the directory.
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        base_port: int = DEFAULT_BASE_PORT,
        live: bool = False,
        legacy_bugs: bool = False,
        admin_key: bytes | None = None,
    ) -> None:
        self.directory = directory
        self.host = host
        self.admin_key = b""
        self._base_port = base_port
        self._live = live
        self._legacy_bugs = legacy_bugs
        self._given_admin_key = admin_key
        self._servers: list[RaidaServer] = []
        self._peers: list[tuple[str, int]] = []
        self._lock: int | None = None

    @property
    def servers(self) -> tuple[Server, ...]:
        return tuple(Server(raida, host, port) for raida, (host, port) in enumerate(self._peers))

    async def open(self) -> None:
        """
        Start all 25.

        :raises CannotStart: the directory is in use or not usable, or a port is busy
        """
        try:
            self._lock = _take_lock(self.directory)
            self.admin_key = self._given_admin_key or read_or_make_admin_key(self.directory)
        except OSError as error:
            raise CannotStart(f"The directory {self.directory} cannot be used: {error.strerror}.") from error
        try:
            await self._open_servers()
        except BaseException:
            await self.close()
            raise

    async def _open_servers(self) -> None:
        if self._base_port:
            await self._open_at(self._base_port)
            return
        # Random, so that two networks that start together do not try the same ports.
        for base_port in random.sample(_FREE_BASES, _FREE_TRIES):
            with contextlib.suppress(CannotStart):
                await self._open_at(base_port)
                return
        raise CannotStart("No 25 free ports in a row were found.")

    async def _open_at(self, base_port: int) -> None:
        self._peers[:] = [(self.host, base_port + raida) for raida in range(RAIDA_COUNT)]
        for raida, (host, port) in enumerate(self._peers):
            server = RaidaServer(
                raida=raida,
                directory=self.directory / f"raida-{raida:02}",
                host=host,
                port=port,
                admin_key=self.admin_key,
                peers=self._peers,
                live=self._live,
                legacy_bugs=self._legacy_bugs,
            )
            self._servers.append(server)
            try:
                await server.listen()
            except (OSError, OverflowError) as error:
                await self._close_servers()
                raise CannotStart(
                    f"RAIDA {raida} cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}. "
                    "Stop what uses the port, or choose another base port."
                ) from error

    async def close(self) -> None:
        await self._close_servers()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _close_servers(self) -> None:
        for server in self._servers:
            await server.close()
        self._servers.clear()

    def server(self, raida: int) -> RaidaServer:
        return self._servers[raida]

    async def fault(self, raida: int, fault: Fault) -> None:
        """Add a fault to server `raida`."""
        await self._servers[raida].set_fault(fault)

    async def clear(self, raida: int | None = None) -> None:
        """
        Remove the faults of server `raida`, or of all.

        :raises OSError: its port was taken meanwhile
        """
        for server in self._servers if raida is None else [self._servers[raida]]:
            await server.clear_faults()

    def faults(self) -> dict[int, list[str]]:
        """The faults in force, as they are written, by server."""
        return {server.raida: sorted(map(str, server.faults.values())) for server in self._servers if server.faults}

    def seen(self) -> list[Counter[tuple[int, int]]]:
        """How many requests of each (group, code) every server has read."""
        return [server.seen.copy() for server in self._servers]


def read_admin_key(directory: Path) -> bytes:
    """
    The 16 bytes with which the network in `directory` lets coins be made.

    :raises CannotStart: there is no readable key
    """
    path = directory / "admin.key"
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError) as error:
        raise CannotStart(
            f"{path} cannot be read as an admin key; a network that was started there makes one."
        ) from error
    if len(key) != ADMIN_KEY_SIZE:
        raise CannotStart(f"{path} does not hold {2 * ADMIN_KEY_SIZE} hex digits.")
    return key


def read_or_make_admin_key(directory: Path) -> bytes:
    path = directory / "admin.key"
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(ADMIN_KEY_SIZE) + "\n")
    return read_admin_key(directory)


def _take_lock(directory: Path) -> int:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise CannotStart(f"Another local RAIDA network is running in {directory}.") from error
    return lock
