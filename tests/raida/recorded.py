"""The recorded vectors of data/vectors.json, and values derived from them."""

import functools
import hashlib
import json
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

from lockers.raida.coins import Coin

PATH = pathlib.Path(__file__).parent / "data" / "vectors.json"

VECTORS = json.loads(PATH.read_text())

# Some exchanges are encrypted with keys which the recording does not name. The locker key
# stands in a clear request of the same recording; the ANs are those which the admin
# command gave to coins of a list that began so.
_CREATED_SALT = "00000003e800000003e900000003ea01"
_LOCKER_KEYS = {bytes.fromhex("f557e26538"): bytes.fromhex("f557e26538692ee6a7c2aaa3ffffffff")}

# These two ask with a key that the server does not know.
_WITHOUT_KEY = {"server:peek_t2_unknown raida 5", "server:peek_t1_nocoin raida 5"}

# This one names a coin, and encrypts with something that is not its AN.
WRONG_KEY = "server:peek_t1_wrong_an raida 5"


@dataclass(frozen=True)
class Exchange:
    """A request that was sent, and the answer that came."""

    name: str
    request: bytes
    answer: bytes
    key: bytes | None
    masked: tuple[tuple[int, int], ...]
    parsed: dict[str, object] | None

    @property
    def raida(self) -> int:
        return self.answer[0]

    @property
    def status(self) -> int:
        return self.answer[2]

    def find_key(self, kind: int, reference: bytes) -> bytes | None:
        if self.name in _WITHOUT_KEY:
            return None
        if self.key is not None:
            return self.key
        if kind == 2:
            return _LOCKER_KEYS.get(reference)
        text = f"{self.raida}{int.from_bytes(reference[1:], 'big')}{_CREATED_SALT}"
        return hashlib.md5(text.encode()).digest()

    def mask(self, data: bytes) -> bytes:
        """The answer without the bytes that differ from run to run."""
        shown = bytearray(data)
        for start, end in self.masked:
            shown[start:end] = bytes(end - start)
        return bytes(shown)


# Offsets of a header that servers ignore, or where other clients name another shard or packet.
_FREE = {3: 0, 8: 1, 14: 0, 15: 1}


def as_ours(request: bytes) -> bytes:
    """A recorded request with the values that our client writes into the fields that servers ignore."""
    changed = bytearray(request)
    for offset, value in _FREE.items():
        changed[offset] = value
    return bytes(changed)


def exchanges() -> list[Exchange]:
    return [
        Exchange(
            name=vector["name"],
            request=bytes.fromhex(vector["inputs"]["request_hex"]),
            answer=bytes.fromhex(vector["expected_hex"]),
            key=bytes.fromhex(vector["inputs"]["key"]) if vector["inputs"].get("key") else None,
            masked=tuple((start, end) for start, end in vector["mask_bytes"]),
            parsed=vector.get("parsed"),
        )
        for vector in VECTORS
        if "request_hex" in vector["inputs"]
    ]


def named(prefix: str) -> list[dict]:
    """The vectors whose name has this prefix; a prefix without vectors fails, since it would test nothing."""
    found = [vector for vector in VECTORS if vector["name"].startswith(prefix)]
    assert found, prefix
    return found


def case_name(case: object) -> str:
    return case["name"] if isinstance(case, dict) else case.name


@functools.cache
def an(raida: int, coin: Coin, word: str = "AN") -> bytes:
    """The number which the recorded client's coins have: MD5 of "AN<raida>:<dn>:<sn>", or of "PAN…"."""
    return hashlib.md5(f"{word}{raida}:{coin.denomination}:{coin.serial_number}".encode()).digest()


def cuts(data: bytes) -> list[bytes]:
    return [data[:length] for length in range(len(data))]


def refused_cuts(data: bytes, read: Callable[[bytes], object], error: type[Exception]) -> int:
    """The number of truncations of the bytes that `read` refuses with `error`; other exceptions propagate."""
    refused = 0
    for cut in cuts(data):
        try:
            read(cut)
        except error:
            refused += 1
    return refused
