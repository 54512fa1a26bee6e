"""Merkle trees as in RFC 6962: a leaf is hashed with the prefix 0x00, two nodes with the prefix 0x01."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

EMPTY: Final = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\0" + data).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a tree with these leaves."""
    if not hashes:
        return EMPTY
    level = list(hashes)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes with which the root follows from the leaf at an index, from the leaf upwards."""
    level, found = list(hashes), []
    while len(level) > 1:
        if (beside := index ^ 1) < len(level):
            found.append(level[beside])
        level, index = _above(level), index // 2
    return found


def _above(level: list[bytes]) -> list[bytes]:
    """
    Return the nodes above.

    A last node without a sibling moves up as it is. That gives the trees of RFC 6962, which splits at the largest power
    of two below the number of leaves.
    """
    pairs = [sha256(b"\1" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs
