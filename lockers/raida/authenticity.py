"""
Authenticity numbers (ANs): the 16-byte secrets, one per coin and server, and how new ones are derived
(the RAIDA protocol, sections 3 and 6).
"""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from lockers.raida import errors
from lockers.raida.coins import Coin

AN_SIZE: Final = 16

# The end that distinguishes a locker key from any other authenticity number.
LOCKER_KEY_TAIL: Final = b"\xff\xff\xff\xff"

# created_an() hashes this much of the coin list, which takes four coins of five bytes.
_CREATION_SALT_SIZE: Final = 16


def is_locker_key(number: bytes) -> bool:
    """Whether these 16 bytes end as every locker key does."""
    return len(number) == AN_SIZE and number.endswith(LOCKER_KEY_TAIL)


def is_safe_pan(number: bytes) -> bool:
    """
    Whether 16 bytes may be proposed as a coin's new AN.

    A number that ends with FFFFFFFF is a locker key to servers: one that rebuilds its lockers from its coins would put
    the coin into a locker.
    """
    return len(number) == AN_SIZE and not number.endswith(LOCKER_KEY_TAIL)


def xor(left: bytes, right: bytes) -> bytes:
    """
    The XOR of two 16-byte numbers. A summed pown XORs each AN with the delta.

    :raises Unencodable: one has another size
    """
    return xor_sum((left, right))


def xor_sum(numbers: Iterable[bytes]) -> bytes:
    """
    The XOR of all 16-byte `numbers`, which is zero for none.

    :raises Unencodable: one has another size
    """
    return xor_sums([list(numbers)])[0]


def xor_sums(columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    """
    `xor_sum` of each of several equally long columns of numbers.

    :raises Unencodable: a number has another size
    """
    if not set(map(len, chain.from_iterable(columns))) <= {AN_SIZE}:
        raise errors.Unencodable("an authenticity number is 16 bytes")
    # All numbers as one integer, of which one half is XORed with the other until a row is left: an upload of 10,000
    # coins sums 250,000 numbers.
    total = int.from_bytes(b"".join(chain.from_iterable(zip(*columns, strict=True))), "big")
    rows, bits = len(columns[0]) if columns else 0, 8 * AN_SIZE * len(columns)
    while rows > 1:
        rows = (rows + 1) // 2
        total = (total >> rows * bits) ^ (total & ((1 << rows * bits) - 1))
    sums = total.to_bytes(AN_SIZE * len(columns), "big")
    return [sums[start : start + AN_SIZE] for start in range(0, len(sums), AN_SIZE)]


def fix_an(*, raida: int, coin: Coin, pg: bytes) -> bytes:
    """The AN that server `raida` gives to a coin that it fixes with the PAN generator `pg` (16 bytes)."""
    return _md5(bytes([raida]) + coin.to_bytes() + pg)


def download_an(*, coin: Coin, seed: bytes) -> bytes:
    """The AN that a server gives to a coin downloaded from a locker with that server's `seed` (16 bytes)."""
    return _md5(coin.to_bytes() + seed)


def created_an(*, raida: int, coin: Coin, created: Sequence[Coin]) -> bytes:
    """
    The AN that server `raida` gives to one coin of the list `created` by the admin command.

    The hash covers the first 16 bytes of the list on the wire, so fewer than four coins
    would make it depend on bytes beyond the list.

    :raises Unencodable: `created` has fewer than four coins
    """
    salt = b"".join(other.to_bytes() for other in created[:4])[:_CREATION_SALT_SIZE]
    if len(salt) < _CREATION_SALT_SIZE:
        raise errors.Unencodable("coins are created at least four at a time")
    return _md5(f"{raida}{coin.serial_number}{salt.hex()}".encode("ascii"))


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
