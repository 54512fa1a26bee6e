"""The servers' half of payloads (the RAIDA protocol, sections 5 and 6): rows of requests, answers of commands."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from lockers.localnet.wire import Refused
from lockers.raida.coins import COIN_SIZE
from lockers.raida.frames import BODY_OVERHEAD
from lockers.raida.statuses import Status


class Outcome(NamedTuple):
    """A status, and the payload of the answer if it has a body."""

    status: Status
    payload: bytes | None = None


def read_rows(payload: bytes, size: int, *, minimum: int) -> list[bytes]:
    """
    Split a payload into rows of `size` bytes.

    :raises Refused: the whole body has fewer than `minimum` bytes, or the last row is cut
    """
    if len(payload) + BODY_OVERHEAD < minimum:
        raise Refused(Status.INVALID_PACKET_LENGTH)
    return split(payload, size)


def coins_and_tail(payload: bytes, tail: int, *, minimum: int) -> tuple[list[bytes], bytes]:
    """
    Split a payload into coins of five bytes and `tail` bytes of fixed fields.

    :raises Refused: as `read_rows`
    """
    if len(payload) + BODY_OVERHEAD < minimum:
        raise Refused(Status.INVALID_PACKET_LENGTH)
    return split(payload[:-tail], COIN_SIZE), payload[-tail:]


def split(data: bytes, size: int) -> list[bytes]:
    """
    Split bytes into rows of `size`.

    :raises Refused: the last row is cut
    """
    if len(data) % size:
        raise Refused(Status.COINS_NOT_DIV)
    return [row for (row,) in struct.iter_unpack(f"{size}s", data)]


def encode_bitmap(flags: Sequence[bool], *, size: int | None = None) -> bytes:
    """
    One bit per flag, the least significant bit first, in `size` bytes or as few as hold them.

    >>> encode_bitmap([True, False, True]).hex()
    '05'
    """
    size = -(-len(flags) // 8) if size is None else size
    return sum(1 << index for index, flag in enumerate(flags) if flag).to_bytes(size, "little")


def verdict(passed: Sequence[bool]) -> Status:
    """The status for coins (or lockers) of which all, some or none passed."""
    if all(passed):
        return Status.ALL_PASS
    return Status.MIXED if any(passed) else Status.ALL_FAIL


def verdicts(passed: Sequence[bool]) -> Outcome:
    """The answer with a bitmap if only some passed, without a body otherwise."""
    status = verdict(passed)
    return Outcome(status, encode_bitmap(passed) if status is Status.MIXED else None)


def denomination_of(coin: bytes) -> int:
    """The denomination of a coin of five bytes."""
    return int.from_bytes(coin[:1], "big", signed=True)


def signed_byte(number: int) -> bytes:
    """A denomination as it is on the wire."""
    return number.to_bytes(1, "big", signed=True)
