"""
What one server of the local network keeps on disk: the AN of each coin.

The store is one append-only journal. A command writes one record with all of its changes before it changes memory and
before it is answered, so a killed process loses nothing that it acknowledged, and a half-written record at the end is
cut off at the next start. Nothing is synced to disk: the store survives the process, not the machine.

Each possible coin has an AN from the beginning, as on a real server, which fills its pages with random numbers. Here
it is derived from a seed of the server and not stored.
"""

import hashlib
import hmac
import os
import secrets
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Final, NamedTuple

from lockers.raida.authenticity import is_locker_key
from lockers.raida.coins import COIN_SIZE, HIGHEST_DENOMINATION, LOWEST_DENOMINATION

# Real servers have 1,000 pages of 1,024 coins for each denomination (the RAIDA protocol, section 7.1).
SERIAL_NUMBERS: Final = 1000 * 1024

_LEGAL_DENOMINATIONS: Final = frozenset(
    number.to_bytes(1, "big", signed=True) for number in range(LOWEST_DENOMINATION, HIGHEST_DENOMINATION + 1)
)
_RECORD_HEAD: Final = struct.Struct(">II")
_ENTRY: Final = struct.Struct(f">{COIN_SIZE}sB16s")
# More than one command can change; a larger length means a damaged file.
_LARGEST_RECORD: Final = 64 * 1024 * 1024
# A journal is rewritten at start if it is this many times as long as its content.
_COMPACT_FACTOR: Final = 4
_COMPACT_FLOOR: Final = 1024 * 1024


class Change(NamedTuple):
    """One coin's new state: its five bytes on the wire, its 16-byte secret, and whether it is in circulation."""

    coin: bytes
    an: bytes
    in_use: bool


class DamagedStore(Exception):
    """The files of a store are not those that this program writes."""


class CoinStore:
    """
    The coins of one server, named by their five bytes on the wire.

    Not safe for two processes: the caller holds the lock of the whole directory.

    :raises DamagedStore: the seed has the wrong size
    :raises OSError: the directory or its files cannot be used
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._seed = _seed(directory / "seed")
        self._ans: dict[bytes, bytes] = {}
        self._in_use: set[bytes] = set()
        self._path = directory / "journal"
        self._replay()
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._size = os.fstat(self._file).st_size

    def close(self) -> None:
        os.close(self._file)

    @staticmethod
    def knows(coin: bytes) -> bool:
        """Whether the server has a page for this coin at all."""
        return coin[:1] in _LEGAL_DENOMINATIONS and int.from_bytes(coin[1:], "big") < SERIAL_NUMBERS

    def knows_all(self, coins: Iterable[bytes]) -> bool:
        return all(map(self.knows, set(coins).difference(self._ans)))

    def an(self, coin: bytes) -> bytes:
        """The secret of a coin that the server `knows`."""
        return self._ans.get(coin) or hmac.digest(self._seed, coin, hashlib.sha256)[:16]

    def ans(self, coins: Iterable[bytes]) -> list[bytes]:
        """The secrets of coins that the server `knows`."""
        coins = list(coins)
        return [an or self.an(coin) for coin, an in zip(coins, map(self._ans.get, coins), strict=True)]

    def is_in_use(self, coin: bytes) -> bool:
        return coin in self._in_use

    def coins_in_use(self) -> Iterator[bytes]:
        return iter(self._in_use)

    def free_serial_numbers(self, denomination: bytes, *, limit: int) -> list[int]:
        """The lowest serial numbers of a denomination (its byte) that are not in circulation."""
        found: list[int] = []
        for number in range(SERIAL_NUMBERS):
            if denomination + number.to_bytes(4, "big") not in self._in_use:
                found.append(number)
                if len(found) == limit:
                    break
        return found

    def lockers(self) -> dict[bytes, dict[bytes, int]]:
        """Coins by locker key, derived from their ANs, in the order in which they were last changed."""
        index: dict[bytes, dict[bytes, int]] = {}
        for coin, an in self._ans.items():
            if is_locker_key(an):
                index.setdefault(an, {})[coin] = 1
        return index

    def write(self, changes: Iterable[Change]) -> None:
        """
        Make all `changes` or, if the disk refuses, none.

        :raises OSError: nothing was changed
        """
        changes = list(changes)
        if not changes:
            return
        self._append(b"".join(_ENTRY.pack(change.coin, change.in_use, change.an) for change in changes))
        self._apply(changes)

    def write_alike(self, coins: Sequence[bytes], an: bytes) -> None:
        """
        `write` the same secret for all of these coins, which are in circulation then.

        :raises OSError: nothing was changed
        """
        if not coins:
            return
        rest = _ENTRY.pack(bytes(COIN_SIZE), True, an)[COIN_SIZE:]
        self._append(rest.join(coins) + rest)
        # Removed first, as in `_apply`; without a loop, because an upload of 200 coins is sent to 25 servers at once.
        deque(map(self._ans.pop, coins, repeat(None)), maxlen=0)
        self._ans.update(dict.fromkeys(coins, an))
        self._in_use.update(coins)

    def _append(self, body: bytes) -> None:
        record = _RECORD_HEAD.pack(len(body), zlib.crc32(body)) + body
        written = 0
        try:
            while written < len(record):
                written += os.write(self._file, record[written:])
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(record)

    def _apply(self, changes: Iterable[tuple[bytes, bytes, bool]]) -> None:
        for coin, an, in_use in changes:
            # Removed first, so that the dictionary keeps the order of the last changes.
            self._ans.pop(coin, None)
            self._ans[coin] = an
            if in_use:
                self._in_use.add(coin)
            else:
                self._in_use.discard(coin)

    def _replay(self) -> None:
        if not self._path.exists():
            return
        data = self._path.read_bytes()
        position = 0
        while position + _RECORD_HEAD.size <= len(data):
            length, checksum = _RECORD_HEAD.unpack_from(data, position)
            body = data[position + _RECORD_HEAD.size : position + _RECORD_HEAD.size + length]
            if length > _LARGEST_RECORD or len(body) < length or zlib.crc32(body) != checksum:
                break
            self._apply((coin, an, bool(in_use)) for coin, in_use, an in _ENTRY.iter_unpack(body))
            position += _RECORD_HEAD.size + length
        if position < len(data):
            os.truncate(self._path, position)
        if position > _COMPACT_FLOOR and position > _COMPACT_FACTOR * _ENTRY.size * len(self._ans):
            self._compact()

    def _compact(self) -> None:
        body = b"".join(_ENTRY.pack(coin, coin in self._in_use, an) for coin, an in self._ans.items())
        fresh = self._path.with_suffix(".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_RECORD_HEAD.pack(len(body), zlib.crc32(body)) + body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def _seed(path: Path) -> bytes:
    try:
        seed = path.read_bytes()
    except FileNotFoundError:
        seed = secrets.token_bytes(32)
        fresh = path.with_suffix(".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(seed)
        fresh.replace(path)
    if len(seed) != 32:
        raise DamagedStore(f"{path} is not 32 bytes long; remove the directory to begin anew")
    return seed
