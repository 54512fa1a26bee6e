"""
Payloads of requests and answers (the RAIDA protocol, section 6), the client's half.

A payload is the part of a body between the challenge and the terminator. `encode_x` builds the request of command x,
`decode_x_reply` parses its answer, given its status too, which determines the form of the payload.

Sizes: an authenticity number, a key and a sum have 16 bytes, a coin 5; tickets, sessions and serial numbers are u32.

Every decoder may raise `BadLength`, `NotDivisible` (a list is not a whole number of records), `BadCoin` (a
denomination outside -8..6) and `UnexpectedStatus` (an error status, for instance); `BadPayload` is named where it is
raised. Encoders raise `Unencodable`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from typing import Final, TypeVar

from lockers.raida import errors
from lockers.raida.authenticity import AN_SIZE, is_locker_key, xor_sums
from lockers.raida.coins import COIN_SIZE, Coin
from lockers.raida.statuses import NO_SUCH_LOCKER, RAIDA_COUNT, Status

TICKET_SIZE: Final = 4

# The session of the admin command.
ADMIN_SESSION: Final = 0xEEEEEEEE

# A coin breaks into this many of the next lower denomination.
CHANGE_COUNT: Final = 10

# The most serial numbers in one answer.
MAXIMUM_SERIALS: Final = 64

Item = TypeVar("Item")


# Records.


def _exactly(size: int, value: bytes) -> bytes:
    if len(value) != size:
        raise errors.Unencodable(f"a field of this payload has {size} bytes")
    return value


def _u32(value: int) -> bytes:
    if not 0 <= value <= 0xFFFFFFFF:
        raise errors.Unencodable("a field of this payload is an unsigned 32-bit number")
    return value.to_bytes(4, "big")


def _u8(value: int) -> bytes:
    if not 0 <= value <= 0xFF:
        raise errors.Unencodable("a field of this payload is a byte")
    return bytes((value,))


def _join(items: Sequence[Item], encode: Callable[[Item], bytes]) -> bytes:
    if not items:
        raise errors.Unencodable("a list in a payload has at least one record")
    return b"".join(encode(item) for item in items)


def _split(data: bytes, size: int, decode: Callable[[bytes], Item]) -> tuple[Item, ...]:
    if len(data) < size:
        raise errors.BadLength("a list in a payload has at least one record")
    if len(data) % size:
        raise errors.NotDivisible("a list in a payload is not a whole number of records")
    return tuple(decode(data[start : start + size]) for start in range(0, len(data), size))


def encode_coins(coins: Sequence[Coin]) -> bytes:
    """Encode a list of coins, five bytes each."""
    return _join(coins, Coin.to_bytes)


def encode_records(coins: Sequence[bytes], *numbers: Sequence[bytes]) -> bytes:
    """
    Encode coins of five bytes, each followed by its number in each of `numbers`.

    With ANs it is the payload of detect and get ticket, with ANs and PANs that of pown and find, with PANs the end of a
    remove's. It creates no object per record.
    """
    if not coins or any(len(column) != len(coins) for column in numbers):
        raise errors.Unencodable("a list in a payload has at least one record, and every record all of its numbers")
    if {*map(len, coins)} != {COIN_SIZE} or any({*map(len, column)} != {AN_SIZE} for column in numbers):
        raise errors.Unencodable("a coin is five bytes and a number sixteen")
    return b"".join(chain.from_iterable(zip(coins, *numbers, strict=True)))


def decode_coins(data: bytes) -> tuple[Coin, ...]:
    """Decode a list of coins, in its order and with its repetitions."""
    return _split(data, COIN_SIZE, Coin.from_bytes)


def _decode_exactly(size: int, payload: bytes) -> bytes:
    if len(payload) != size:
        raise errors.BadLength("the payload of this command has one size")
    return payload


# Answers of the kind "all, none, some of them" (section 5).


def decode_bitmap(data: bytes, *, count: int, size: int | None = None) -> tuple[bool, ...]:
    """
    Return the first `count` bits of a bitmap of `size` bytes (default: the smallest size), lowest bit first.

    Bits beyond `count` are ignored.
    """
    if len(data) != (_bitmap_size(count) if size is None else size):
        raise errors.BadLength("a bitmap has another size than its coins need")
    bitmap = int.from_bytes(data, "little")
    return tuple(bool(bitmap >> index & 1) for index in range(count))


def _bitmap_size(count: int) -> int:
    return -(-count // 8)


def decode_verdicts(status: int, payload: bytes, *, count: int) -> tuple[bool, ...]:
    """Which of `count` coins (or lockers) passed."""
    if status == Status.MIXED:
        return decode_bitmap(payload, count=count)
    if status not in (Status.ALL_PASS, Status.ALL_FAIL):
        raise errors.UnexpectedStatus("the answer says neither all, none nor some")
    _decode_exactly(0, payload)
    return (status == Status.ALL_PASS,) * count


def decode_verdict(status: int, payload: bytes) -> bool:
    """Whether all coins passed: the answer to put, which accepts all coins or none."""
    if status == Status.MIXED:
        raise errors.UnexpectedStatus("a command with a sum passes or fails as a whole")
    return decode_verdicts(status, payload, count=1)[0]


def decode_done(status: int, payload: bytes) -> None:
    """Check the answer to break and join, which is success without a body."""
    if status not in (Status.SUCCESS, Status.ALL_PASS):
        raise errors.UnexpectedStatus("the answer is not success")
    _decode_exactly(0, payload)


# Status (group 0).


def encode_empty() -> bytes:
    """The payload of an echo."""
    return b""


# Detect and pown (group 1), tickets, find and fix (group 2).


@dataclass(frozen=True, slots=True)
class TicketReply:
    """Which coins a server confirms, and the ticket that proves it; None if there are none."""

    passed: tuple[bool, ...]
    ticket: int | None = field(repr=False)


class Found(IntEnum):
    """Which number of a coin a server holds; the values are the bytes of a mixed answer to find."""

    NEITHER = 0
    AN = 1
    PAN = 2


def decode_get_ticket_reply(status: int, payload: bytes, *, count: int) -> TicketReply:
    """Return which of `count` coins the server confirms, and its ticket."""
    if status == Status.ALL_FAIL:
        return TicketReply(decode_verdicts(status, payload, count=count), None)
    if len(payload) < TICKET_SIZE:
        raise errors.BadLength("the answer is too short for a ticket")
    verdict, ticket = payload[:-TICKET_SIZE], payload[-TICKET_SIZE:]
    return TicketReply(decode_verdicts(status, verdict, count=count), int.from_bytes(ticket, "big"))


_FOUND_ALIKE: Final = {
    Status.FIND_NEITHER: Found.NEITHER,
    Status.FIND_ALL_AN: Found.AN,
    Status.FIND_ALL_PAN: Found.PAN,
}


def decode_find_reply(status: int, payload: bytes, *, count: int) -> tuple[Found, ...]:
    """
    Return which number the server holds for each of `count` coins.

    :raises BadPayload: a byte has another value than the three of `Found`
    """
    if status == Status.FIND_MIXED:
        _decode_exactly(count, payload)
        if any(byte > Found.PAN for byte in payload):
            raise errors.BadPayload("a found coin is 0, 1 or 2")
        return tuple(Found(byte) for byte in payload)
    for alike_status, alike in _FOUND_ALIKE.items():
        if status == alike_status:
            _decode_exactly(0, payload)
            return (alike,) * count
    raise errors.UnexpectedStatus("the answer says nothing about what was found")


def encode_fix(coins: Sequence[Coin], pg: bytes, tickets: Sequence[int]) -> bytes:
    """Encode coins to fix, the generator of their new ANs, and 25 tickets; 0 means no ticket."""
    if len(tickets) != RAIDA_COUNT:
        raise errors.Unencodable("a fix carries 25 tickets")
    return encode_coins(coins) + _exactly(AN_SIZE, pg) + _join(tickets, _u32)


# Administration (group 3).


def encode_create_coins(coins: Sequence[Coin], admin_key: bytes) -> bytes:
    """The request of the owner of a server for new coins; `authenticity.created_an` returns their ANs."""
    return _u32(ADMIN_SESSION) + _exactly(AN_SIZE, admin_key) + encode_coins(coins)


# Lockers (group 8).


def encode_put_to_each(
    coins: Sequence[Coin], ans: Mapping[int, Sequence[bytes]], keys: Mapping[int, bytes]
) -> dict[int, bytes]:
    """
    Build the puts of the same coins for several servers, each of which has its own ANs and locker key.

    A payload is the coins, the XOR of their ANs and the key. A coin that is listed twice cancels out of the sum, so
    that servers would take it without a proof of its AN: it is refused here.

    :raises Unencodable: no coins, one twice, an AN missing, or a key that does not end with FFFFFFFF
    """
    if len(set(coins)) != len(coins):
        raise errors.Unencodable("a coin goes into a locker once")
    if not all(map(is_locker_key, keys.values())):
        raise errors.Unencodable("a locker key is 16 bytes and ends with FFFFFFFF")
    if any(len(numbers) != len(coins) for numbers in ans.values()):
        raise errors.Unencodable("every coin has one AN on each server")
    listed = encode_coins(coins)
    sums = xor_sums(list(ans.values()))
    return {server: listed + total + keys[server] for server, total in zip(ans, sums, strict=True)}


def encode_peek(key: bytes) -> bytes:
    return _exactly(AN_SIZE, key)


def decode_peek_reply(status: int, payload: bytes) -> tuple[Coin, ...]:
    """Return the coins of a locker in stored order, possibly with repetitions; () if it is empty or does not exist."""
    if status in NO_SUCH_LOCKER:
        _decode_exactly(0, payload)
        return ()
    # Some builds answer 250 where the recorded ones answer 241.
    if status not in (Status.ALL_PASS, Status.SUCCESS):
        raise errors.UnexpectedStatus("the answer says nothing about a locker")
    return decode_coins(payload)


def decode_remove_reply(status: int, payload: bytes, *, count: int) -> tuple[bool, ...]:
    """
    Return which of `count` coins were taken out: none if there is no such locker.

    Recorded servers send a bitmap with every status, one byte too long for a multiple of eight. Other servers are
    documented to send none if all passed, or one of exact size. Both are accepted.

    :raises BadPayload: status and bitmap contradict each other
    """
    if status in NO_SUCH_LOCKER and not payload:
        return (False,) * count
    if status == Status.ALL_PASS and not payload:
        return (True,) * count
    if status not in (Status.ALL_PASS, Status.ALL_FAIL, Status.MIXED):
        raise errors.UnexpectedStatus("the answer says neither all, none nor some")
    is_shorter = len(payload) == _bitmap_size(count)
    passed = decode_bitmap(payload, count=count, size=None if is_shorter else _remove_bitmap_size(count))
    if (status == Status.ALL_PASS and not all(passed)) or (status == Status.ALL_FAIL and any(passed)):
        raise errors.BadPayload("the bitmap contradicts the status")
    return passed


def _remove_bitmap_size(count: int) -> int:
    # One byte more than needed when the count is a multiple of eight.
    return count // 8 + 1


# Change (group 9).


class SerialsOperation(IntEnum):
    """The purpose of a request for free serial numbers."""

    BREAK = 1
    JOIN = 2


@dataclass(frozen=True, slots=True)
class SerialsReply:
    """Up to 64 free serial numbers of a denomination."""

    denomination: int
    serial_numbers: tuple[int, ...]


def encode_get_available_sns(session: int, operation: SerialsOperation, denomination: int) -> bytes:
    """Encode a request for free serial numbers, for breaking or joining coins of a denomination."""
    return _u32(session) + _u8(operation) + Coin(denomination, 0).to_bytes()[:1]


def decode_get_available_sns_reply(status: int, payload: bytes) -> SerialsReply:
    """Return free serial numbers, perhaps none."""
    if status != Status.SUCCESS:
        raise errors.UnexpectedStatus("the answer is not success")
    if not 1 <= len(payload) <= 1 + 4 * MAXIMUM_SERIALS:
        raise errors.BadLength("an answer has a denomination and at most 64 serial numbers")
    if len(payload) % 4 != 1:
        raise errors.NotDivisible("a list in a payload is not a whole number of records")
    numbers = tuple(int.from_bytes(payload[start : start + 4], "big") for start in range(1, len(payload), 4))
    return SerialsReply(Coin.from_bytes(payload[:1] + bytes(4)).denomination, numbers)


def encode_change(session: int, coins: Sequence[bytes], numbers: Sequence[bytes]) -> bytes:
    """
    Encode a break or a join: a coin of five bytes and the ten that it breaks into, each with its number.

    Of a break, the coin has its AN and the ten their proposed ones; of a join, the coin has its proposed AN.
    """
    if len(coins) != 1 + CHANGE_COUNT:
        raise errors.Unencodable("a coin breaks into ten")
    return _u32(session) + encode_records(coins, numbers)
