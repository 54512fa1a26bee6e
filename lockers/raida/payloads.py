"""
Payloads of requests and answers (the RAIDA protocol, section 6), for both ends of the wire.

A payload is what stands between the challenge and the terminator. `encode_x` and
`decode_x` are the request of command x: whatever `decode_x` accepts, `encode_x` turns back
into the same bytes. `decode_x_reply` takes the status of the answer too, since it tells
what the payload can be, and `encode_x_reply` gives both; a payload of None is an answer
without a body.

Sizes: an authenticity number, a key, a sum and a seed have 16 bytes, a coin 5; tickets,
sessions and serial numbers are u32.

Every decoder may raise `BadLength` (status 16), `NotDivisible` (39: a list is not a whole
number of records) and `BadCoin` (40: a denomination outside -8..6); a decoder of replies
also `UnexpectedStatus`, so look at the status first if it may be an error. Other errors
are named where they are raised. Encoders raise `Unencodable`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from typing import Final, TypeVar

from lockers.raida import errors
from lockers.raida.authenticity import AN_SIZE, is_locker_key, xor_sum, xor_sums
from lockers.raida.coins import COIN_SIZE, Coin
from lockers.raida.statuses import NO_SUCH_LOCKER, RAIDA_COUNT, Status

TICKET_SIZE: Final = 4
VERSION_SIZE: Final = 8

# What the admin command sends where others have a session id.
ADMIN_SESSION: Final = 0xEEEEEEEE

# A coin breaks into this many of the next lower denomination.
CHANGE_COUNT: Final = 10

# The most serial numbers in one answer.
MAXIMUM_SERIALS: Final = 64

_COIN_AN_SIZE: Final = COIN_SIZE + AN_SIZE
_COIN_AN_PAN_SIZE: Final = COIN_SIZE + 2 * AN_SIZE

Item = TypeVar("Item")
Verdict = tuple[Status, bytes | None]


@dataclass(frozen=True, slots=True)
class CoinAn:
    """A coin and the AN which the addressed server holds for it."""

    coin: Coin
    an: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CoinPan:
    """A coin and the AN proposed for it."""

    coin: Coin
    pan: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CoinAnPan:
    """A coin, the AN which the addressed server holds, and the one proposed."""

    coin: Coin
    an: bytes = field(repr=False)
    pan: bytes = field(repr=False)


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


def _encode_coin(coin: Coin) -> bytes:
    return coin.to_bytes()


def _encode_coin_an(record: CoinAn) -> bytes:
    return record.coin.to_bytes() + _exactly(AN_SIZE, record.an)


def _decode_coin_an(data: bytes) -> CoinAn:
    return CoinAn(Coin.from_bytes(data[:COIN_SIZE]), data[COIN_SIZE:])


def _encode_coin_pan(record: CoinPan) -> bytes:
    return record.coin.to_bytes() + _exactly(AN_SIZE, record.pan)


def _decode_coin_pan(data: bytes) -> CoinPan:
    return CoinPan(Coin.from_bytes(data[:COIN_SIZE]), data[COIN_SIZE:])


def _encode_coin_an_pan(record: CoinAnPan) -> bytes:
    return record.coin.to_bytes() + _exactly(AN_SIZE, record.an) + _exactly(AN_SIZE, record.pan)


def _decode_coin_an_pan(data: bytes) -> CoinAnPan:
    return CoinAnPan(Coin.from_bytes(data[:COIN_SIZE]), data[COIN_SIZE:_COIN_AN_SIZE], data[_COIN_AN_SIZE:])


def encode_coins(coins: Sequence[Coin]) -> bytes:
    """A list of coins, five bytes each."""
    return _join(coins, _encode_coin)


def encode_records(coins: Sequence[bytes], *numbers: Sequence[bytes]) -> bytes:
    """
    Coins of five bytes, each followed by its number in every one of `numbers`.

    With ANs it is the payload of detect, with ANs and PANs that of pown and find, with PANs the end of a remove's,
    all without an object for each record.
    """
    if not coins or any(len(column) != len(coins) for column in numbers):
        raise errors.Unencodable("a list in a payload has at least one record, and every record all of its numbers")
    if {*map(len, coins)} != {COIN_SIZE} or any({*map(len, column)} != {AN_SIZE} for column in numbers):
        raise errors.Unencodable("a coin is five bytes and a number sixteen")
    return b"".join(chain.from_iterable(zip(coins, *numbers, strict=True)))


def decode_coins(data: bytes) -> tuple[Coin, ...]:
    """The coins of a list, in its order and with its repetitions."""
    return _split(data, COIN_SIZE, Coin.from_bytes)


def _decode_exactly(size: int, payload: bytes) -> bytes:
    if len(payload) != size:
        raise errors.BadLength("the payload of this command has one size")
    return payload


def _split_tail(payload: bytes, size: int) -> tuple[bytes, bytes]:
    """The list of coins in front, and the `size` bytes of fixed fields behind it."""
    if len(payload) < COIN_SIZE + size:
        raise errors.BadLength("the payload is too short for its command")
    return payload[:-size], payload[-size:]


# Answers of the kind "all, none, some of them" (section 5).


def encode_bitmap(flags: Sequence[bool], *, size: int | None = None) -> bytes:
    """
    One bit per flag, the least significant bit first, in `size` bytes or as few as hold them.

    >>> encode_bitmap([True, False, True]).hex()
    '05'
    """
    size = _bitmap_size(len(flags)) if size is None else size
    bitmap = sum(1 << index for index, flag in enumerate(flags) if flag)
    return bitmap.to_bytes(size, "little")


def decode_bitmap(data: bytes, *, count: int, size: int | None = None) -> tuple[bool, ...]:
    """
    The first `count` bits of a bitmap which has `size` bytes or as few as hold them.

    Bits beyond `count` mean nothing and are not looked at.
    """
    if len(data) != (_bitmap_size(count) if size is None else size):
        raise errors.BadLength("a bitmap has another size than its coins need")
    bitmap = int.from_bytes(data, "little")
    return tuple(bool(bitmap >> index & 1) for index in range(count))


def _bitmap_size(count: int) -> int:
    return -(-count // 8)


def _verdict(passed: Sequence[bool]) -> Status:
    if all(passed):
        return Status.ALL_PASS
    return Status.MIXED if any(passed) else Status.ALL_FAIL


def encode_verdicts(passed: Sequence[bool]) -> Verdict:
    """The answer to detect, pown, fix, store multiple and store without sum: a body only if it is mixed."""
    status = _verdict(passed)
    return status, encode_bitmap(passed) if status is Status.MIXED else None


def decode_verdicts(status: int, payload: bytes, *, count: int) -> tuple[bool, ...]:
    """Which of `count` coins (or lockers) passed."""
    if status == Status.MIXED:
        return decode_bitmap(payload, count=count)
    if status not in (Status.ALL_PASS, Status.ALL_FAIL):
        raise errors.UnexpectedStatus("the answer says neither all, none nor some")
    _decode_exactly(0, payload)
    return (status == Status.ALL_PASS,) * count


def decode_verdict(status: int, payload: bytes) -> bool:
    """Whether all coins passed: the answer to put and to the commands with a sum, which know no middle."""
    if status == Status.MIXED:
        raise errors.UnexpectedStatus("a command with a sum passes or fails as a whole")
    return decode_verdicts(status, payload, count=1)[0]


def decode_done(status: int, payload: bytes) -> None:
    """Accept the answer to break, join and make change, which is success without a body."""
    if status not in (Status.SUCCESS, Status.ALL_PASS):
        raise errors.UnexpectedStatus("the answer is not success")
    _decode_exactly(0, payload)


# Status (group 0).


def encode_empty() -> bytes:
    """The payload of echo and version."""
    return b""


def decode_empty(payload: bytes) -> None:
    """Accept the payload of echo and version."""
    _decode_exactly(0, payload)


def encode_version_reply(version: str) -> Verdict:
    """The answer to version: a date in eight digits, such as "20250323"."""
    if not (version.isascii() and version.isprintable()):
        raise errors.Unencodable("a version is printable ASCII")
    return Status.SUCCESS, _exactly(VERSION_SIZE, version.encode("ascii"))


def decode_version_reply(status: int, payload: bytes) -> str:
    """
    The version, eight characters.

    :raises BadPayload: it is not printable ASCII
    """
    _require_success(status)
    text = _decode_exactly(VERSION_SIZE, payload).decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        raise errors.BadPayload("a version is printable ASCII")
    return text


def _require_success(status: int) -> None:
    if status != Status.SUCCESS:
        raise errors.UnexpectedStatus("the answer is not success")


# Detect and pown (group 1).


@dataclass(frozen=True, slots=True)
class CoinsSum:
    """Coins and the XOR of their ANs."""

    coins: tuple[Coin, ...]
    total: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PownSum:
    """Coins, the XOR of their ANs, and the delta with which each AN is XORed."""

    coins: tuple[Coin, ...]
    total: bytes = field(repr=False)
    delta: bytes = field(repr=False)


def encode_detect(records: Sequence[CoinAn]) -> bytes:
    return _join(records, _encode_coin_an)


def decode_detect(payload: bytes) -> tuple[CoinAn, ...]:
    return _split(payload, _COIN_AN_SIZE, _decode_coin_an)


def encode_detect_sum(request: CoinsSum) -> bytes:
    return encode_coins(request.coins) + _exactly(AN_SIZE, request.total)


def decode_detect_sum(payload: bytes) -> CoinsSum:
    coins, total = _split_tail(payload, AN_SIZE)
    return CoinsSum(decode_coins(coins), total)


def encode_pown(records: Sequence[CoinAnPan]) -> bytes:
    return _join(records, _encode_coin_an_pan)


def decode_pown(payload: bytes) -> tuple[CoinAnPan, ...]:
    return _split(payload, _COIN_AN_PAN_SIZE, _decode_coin_an_pan)


def encode_pown_sum(request: PownSum) -> bytes:
    return encode_coins(request.coins) + _exactly(AN_SIZE, request.total) + _exactly(AN_SIZE, request.delta)


def decode_pown_sum(payload: bytes) -> PownSum:
    coins, tail = _split_tail(payload, 2 * AN_SIZE)
    return PownSum(decode_coins(coins), tail[:AN_SIZE], tail[AN_SIZE:])


# Tickets, find and fix (group 2).


@dataclass(frozen=True, slots=True)
class TicketReply:
    """Which coins a server vouches for, and the ticket that says so; None when there are none."""

    passed: tuple[bool, ...]
    ticket: int | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class TicketCheck:
    """One server asks another what a ticket is for."""

    raida: int
    ticket: int = field(repr=False)


class Found(IntEnum):
    """Which number of a coin a server holds: a byte of the mixed answer to find."""

    NEITHER = 0
    AN = 1
    PAN = 2


@dataclass(frozen=True, slots=True)
class FixRequest:
    """Coins to fix, the generator of their new ANs, and 25 tickets, 0 where there is none."""

    coins: tuple[Coin, ...]
    pg: bytes = field(repr=False)
    tickets: tuple[int, ...] = field(repr=False)


def encode_get_ticket(records: Sequence[CoinAn]) -> bytes:
    return encode_detect(records)


def decode_get_ticket(payload: bytes) -> tuple[CoinAn, ...]:
    return decode_detect(payload)


def encode_get_ticket_sum(request: CoinsSum) -> bytes:
    return encode_detect_sum(request)


def decode_get_ticket_sum(payload: bytes) -> CoinsSum:
    return decode_detect_sum(payload)


def encode_get_ticket_reply(passed: Sequence[bool], ticket: int) -> Verdict:
    """The answer to both ways of getting a ticket; the ticket is left out if no coin passed."""
    status = _verdict(passed)
    if status is Status.ALL_FAIL:
        return status, None
    bitmap = encode_bitmap(passed) if status is Status.MIXED else b""
    return status, bitmap + _u32(ticket)


def decode_get_ticket_reply(status: int, payload: bytes, *, count: int) -> TicketReply:
    """What `count` coins got; a request by sum, passing or failing whole, has the same answer."""
    if status == Status.ALL_FAIL:
        return TicketReply(decode_verdicts(status, payload, count=count), None)
    if len(payload) < TICKET_SIZE:
        raise errors.BadLength("the answer is too short for a ticket")
    verdict, ticket = payload[:-TICKET_SIZE], payload[-TICKET_SIZE:]
    return TicketReply(decode_verdicts(status, verdict, count=count), int.from_bytes(ticket, "big"))


def encode_validate_ticket(request: TicketCheck) -> bytes:
    return _u8(request.raida) + _u32(request.ticket)


def decode_validate_ticket(payload: bytes) -> TicketCheck:
    _decode_exactly(1 + TICKET_SIZE, payload)
    return TicketCheck(payload[0], int.from_bytes(payload[1:], "big"))


def encode_validate_ticket_reply(coins: Sequence[Coin]) -> Verdict:
    return Status.SUCCESS, encode_coins(coins)


def decode_validate_ticket_reply(status: int, payload: bytes) -> tuple[Coin, ...]:
    """The coins a ticket vouches for."""
    _require_success(status)
    return decode_coins(payload)


def encode_find(records: Sequence[CoinAnPan]) -> bytes:
    return encode_pown(records)


def decode_find(payload: bytes) -> tuple[CoinAnPan, ...]:
    return decode_pown(payload)


_FOUND_ALIKE: Final = {
    Status.FIND_NEITHER: Found.NEITHER,
    Status.FIND_ALL_AN: Found.AN,
    Status.FIND_ALL_PAN: Found.PAN,
}


def encode_find_reply(found: Sequence[Found]) -> Verdict:
    """A byte per coin, or no body if it is the same for all."""
    for status, alike in _FOUND_ALIKE.items():
        if all(one is alike for one in found):
            return status, None
    return Status.FIND_MIXED, bytes(found)


def decode_find_reply(status: int, payload: bytes, *, count: int) -> tuple[Found, ...]:
    """
    What the server holds for each of `count` coins.

    :raises BadPayload: a byte is none of the three
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


def encode_fix(request: FixRequest) -> bytes:
    if len(request.tickets) != RAIDA_COUNT:
        raise errors.Unencodable("a fix carries 25 tickets")
    return encode_coins(request.coins) + _exactly(AN_SIZE, request.pg) + _join(request.tickets, _u32)


def decode_fix(payload: bytes) -> FixRequest:
    coins, tail = _split_tail(payload, AN_SIZE + RAIDA_COUNT * TICKET_SIZE)
    tickets = _split(tail[AN_SIZE:], TICKET_SIZE, lambda ticket: int.from_bytes(ticket, "big"))
    return FixRequest(decode_coins(coins), tail[:AN_SIZE], tickets)


# Administration (group 3).


@dataclass(frozen=True, slots=True)
class CreationRequest:
    """Coins which the owner of a server brings into being, and the proof that it is the owner."""

    coins: tuple[Coin, ...]
    admin_key: bytes = field(repr=False)
    session: int = ADMIN_SESSION


def encode_create_coins(request: CreationRequest) -> bytes:
    return _u32(request.session) + _exactly(AN_SIZE, request.admin_key) + encode_coins(request.coins)


def decode_create_coins(payload: bytes) -> CreationRequest:
    front = 4 + AN_SIZE
    if len(payload) < front + COIN_SIZE:
        raise errors.BadLength("the payload is too short for its command")
    session = int.from_bytes(payload[:4], "big")
    return CreationRequest(decode_coins(payload[front:]), payload[4:front], session)


def encode_create_coins_reply(old_ans: Sequence[bytes]) -> Verdict:
    """The ANs which the coins had before; `authenticity.created_an` tells the new ones."""
    return Status.SUCCESS, _join(old_ans, lambda an: _exactly(AN_SIZE, an))


def decode_create_coins_reply(status: int, payload: bytes, *, count: int) -> tuple[bytes, ...]:
    """The ANs which `count` coins had before."""
    _require_success(status)
    return _split(_decode_exactly(count * AN_SIZE, payload), AN_SIZE, bytes)


# Lockers (group 8).


@dataclass(frozen=True, slots=True)
class LockerDeposit:
    """Coins, the XOR of their ANs, and the addressed server's key of the locker they go into."""

    coins: tuple[Coin, ...]
    total: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RemoveRequest:
    """The addressed server's key of a locker, and coins to take out of it with the ANs they get."""

    key: bytes = field(repr=False)
    records: tuple[CoinPan, ...]


@dataclass(frozen=True, slots=True)
class RemoveReply:
    """Whether there is such a locker, and which of the coins were taken out of it."""

    locker_exists: bool
    passed: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """The addressed server's key of a locker to empty, and the seed of the coins' new ANs."""

    key: bytes = field(repr=False)
    seed: bytes = field(repr=False)


def deposit(records: Sequence[CoinAn], key: bytes) -> LockerDeposit:
    """
    What to put into a locker, its sum made from the coins' ANs.

    A coin that is there twice cancels out of the sum, so that servers would take it without
    knowing its AN: it is refused here.

    :raises Unencodable: no coins, one twice, or a key which does not end with FFFFFFFF
    """
    coins = tuple(record.coin for record in records)
    if len(set(coins)) != len(coins):
        raise errors.Unencodable("a coin goes into a locker once")
    if not is_locker_key(key):
        raise errors.Unencodable("a locker key is 16 bytes and ends with FFFFFFFF")
    return LockerDeposit(coins, xor_sum(record.an for record in records), key)


def encode_put(records: Sequence[CoinAn], key: bytes) -> bytes:
    """`encode_put_sum` of `deposit` with the same arguments."""
    return encode_put_sum(deposit(records, key))


def encode_put_to_each(
    coins: Sequence[Coin], ans: Mapping[int, Sequence[bytes]], keys: Mapping[int, bytes]
) -> dict[int, bytes]:
    """
    `encode_put` of the same coins for several servers, which have each their own ANs and key.

    :raises Unencodable: as `deposit`
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


def encode_put_sum(request: LockerDeposit) -> bytes:
    return encode_coins(request.coins) + _exactly(AN_SIZE, request.total) + _exactly(AN_SIZE, request.key)


def decode_put(payload: bytes) -> LockerDeposit:
    """
    What to put into a locker.

    :raises BadLockerKey: the key does not end with FFFFFFFF (status 199)
    """
    coins, tail = _split_tail(payload, 2 * AN_SIZE)
    if len(coins) % COIN_SIZE:
        raise errors.NotDivisible("a list in a payload is not a whole number of records")
    total, key = tail[:AN_SIZE], tail[AN_SIZE:]
    if not is_locker_key(key):
        raise errors.BadLockerKey("a locker key ends with FFFFFFFF")
    return LockerDeposit(decode_coins(coins), total, key)


def encode_peek(key: bytes) -> bytes:
    return _exactly(AN_SIZE, key)


def decode_peek(payload: bytes) -> bytes:
    """The locker key; a server says "empty" to one of any form."""
    return _decode_exactly(AN_SIZE, payload)


def encode_peek_reply(coins: Sequence[Coin]) -> Verdict:
    """What a locker holds; nothing, if it is empty or there is none."""
    return (Status.ALL_PASS, encode_coins(coins)) if coins else (Status.ALL_FAIL, None)


def decode_peek_reply(status: int, payload: bytes) -> tuple[Coin, ...]:
    """The coins of a locker in the order they came, one perhaps twice; () if it is empty or there is none."""
    if status in NO_SUCH_LOCKER:
        _decode_exactly(0, payload)
        return ()
    # Other builds are described with 250 where recorded ones say 241.
    if status not in (Status.ALL_PASS, Status.SUCCESS):
        raise errors.UnexpectedStatus("the answer says nothing about a locker")
    return decode_coins(payload)


def encode_remove(request: RemoveRequest) -> bytes:
    return _exactly(AN_SIZE, request.key) + _join(request.records, _encode_coin_pan)


def decode_remove(payload: bytes) -> RemoveRequest:
    if len(payload) < AN_SIZE + _COIN_AN_SIZE:
        raise errors.BadLength("the payload is too short for its command")
    return RemoveRequest(payload[:AN_SIZE], _split(payload[AN_SIZE:], _COIN_AN_SIZE, _decode_coin_pan))


def encode_remove_reply(reply: RemoveReply) -> Verdict:
    """A bitmap whatever the status, if there is such a locker."""
    if not reply.locker_exists:
        return Status.ALL_FAIL, None
    return _verdict(reply.passed), encode_bitmap(reply.passed, size=_remove_bitmap_size(len(reply.passed)))


def decode_remove_reply(status: int, payload: bytes, *, count: int) -> RemoveReply:
    """
    Which of `count` coins were taken out.

    Recorded servers send a bitmap whatever the status, one byte longer than it has to be for a multiple of eight;
    servers are described that send none where all passed, or no byte too many. Both mean what they say.

    :raises BadPayload: status and bitmap contradict each other
    """
    if status in NO_SUCH_LOCKER and not payload:
        return RemoveReply(False, (False,) * count)
    if status == Status.ALL_PASS and not payload:
        return RemoveReply(True, (True,) * count)
    if status not in (Status.ALL_PASS, Status.ALL_FAIL, Status.MIXED):
        raise errors.UnexpectedStatus("the answer says neither all, none nor some")
    is_shorter = len(payload) == _bitmap_size(count)
    passed = decode_bitmap(payload, count=count, size=None if is_shorter else _remove_bitmap_size(count))
    if (status == Status.ALL_PASS and not all(passed)) or (status == Status.ALL_FAIL and any(passed)):
        raise errors.BadPayload("the bitmap contradicts the status")
    return RemoveReply(True, passed)


def _remove_bitmap_size(count: int) -> int:
    # One byte more than needed when the count is a multiple of eight.
    return count // 8 + 1


def encode_store_multiple(deposits: Sequence[LockerDeposit]) -> bytes:
    """Several lockers at once, at most 255 of at most 65535 coins each."""
    return _u8(len(deposits)) + _join(deposits, _encode_counted_deposit)


def _encode_counted_deposit(request: LockerDeposit) -> bytes:
    if len(request.coins) > 0xFFFF:
        raise errors.Unencodable("one locker takes at most 65535 coins at once")
    return len(request.coins).to_bytes(2, "big") + encode_put_sum(request)


def decode_store_multiple(payload: bytes) -> tuple[LockerDeposit, ...]:
    """What to put into each of several lockers; the keys are not looked at."""
    if not payload or payload[0] == 0:
        raise errors.BadLength("the payload names at least one locker")
    deposits = []
    start = 1
    for _ in range(payload[0]):
        coins_start = start + 2
        coins_end = coins_start + COIN_SIZE * int.from_bytes(payload[start:coins_start], "big")
        total_end = coins_end + AN_SIZE
        end = total_end + AN_SIZE
        if len(payload) < end:
            raise errors.BadLength("the payload is shorter than its counts say")
        coins = decode_coins(payload[coins_start:coins_end])
        deposits.append(LockerDeposit(coins, payload[coins_end:total_end], payload[total_end:end]))
        start = end
    if len(payload) > start:
        raise errors.BadLength("the payload is longer than its counts say")
    return tuple(deposits)


def encode_store_without_sum(records: Sequence[CoinAnPan]) -> bytes:
    """Coins with their ANs; the PAN of each is the addressed server's locker key."""
    return encode_pown(records)


def decode_store_without_sum(payload: bytes) -> tuple[CoinAnPan, ...]:
    return decode_pown(payload)


def encode_download(request: DownloadRequest) -> bytes:
    return _exactly(AN_SIZE, request.key) + _exactly(AN_SIZE, request.seed)


def decode_download(payload: bytes) -> DownloadRequest:
    _decode_exactly(2 * AN_SIZE, payload)
    return DownloadRequest(payload[:AN_SIZE], payload[AN_SIZE:])


def encode_download_reply(coins: Sequence[Coin]) -> Verdict:
    return encode_peek_reply(coins)


def decode_download_reply(status: int, payload: bytes) -> tuple[Coin, ...]:
    """The coins that were in the locker."""
    return decode_peek_reply(status, payload)


# Change (group 9).


class SerialsOperation(IntEnum):
    """What free serial numbers are wanted for."""

    BREAK = 1
    JOIN = 2


@dataclass(frozen=True, slots=True)
class SerialsRequest:
    """A question for free serial numbers of a denomination."""

    session: int
    operation: SerialsOperation
    denomination: int


@dataclass(frozen=True, slots=True)
class SerialsReply:
    """Up to 64 free serial numbers of a denomination."""

    denomination: int
    serial_numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BreakRequest:
    """A coin to break, and the ten coins it breaks into with the ANs they get."""

    session: int
    broken: CoinAn
    change: tuple[CoinPan, ...]


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Ten coins, and the coin they are joined to with the AN it gets."""

    session: int
    joined: CoinPan
    change: tuple[CoinAn, ...]


@dataclass(frozen=True, slots=True)
class MakeChangeRequest:
    """A coin to break into ten with consecutive serial numbers from `starting_sn`, and the ANs they get."""

    broken: CoinAn
    starting_sn: int
    pans: tuple[bytes, ...] = field(repr=False)


def encode_make_change(request: MakeChangeRequest) -> bytes:
    _require_ten(request.pans)
    pans = _join(request.pans, lambda pan: _exactly(AN_SIZE, pan))
    return _encode_coin_an(request.broken) + _u32(request.starting_sn) + pans


def decode_make_change(payload: bytes) -> MakeChangeRequest:
    _decode_exactly(_COIN_AN_SIZE + 4 + CHANGE_COUNT * AN_SIZE, payload)
    broken, rest = payload[:_COIN_AN_SIZE], payload[_COIN_AN_SIZE:]
    starting_sn, pans = int.from_bytes(rest[:4], "big"), _split(rest[4:], AN_SIZE, bytes)
    return MakeChangeRequest(_decode_coin_an(broken), starting_sn, pans)


def _require_ten(change: Sequence[object]) -> None:
    if len(change) != CHANGE_COUNT:
        raise errors.Unencodable("a coin breaks into ten")


def encode_get_available_sns(request: SerialsRequest) -> bytes:
    return _u32(request.session) + _u8(request.operation) + Coin(request.denomination, 0).to_bytes()[:1]


def decode_get_available_sns(payload: bytes) -> SerialsRequest:
    """
    A question for free serial numbers.

    :raises BadPayload: the operation is neither 1 nor 2
    """
    _decode_exactly(6, payload)
    if payload[4] not in (SerialsOperation.BREAK, SerialsOperation.JOIN):
        raise errors.BadPayload("serial numbers are wanted to break or to join")
    session = int.from_bytes(payload[:4], "big")
    return SerialsRequest(session, SerialsOperation(payload[4]), _decode_denomination(payload[5:]))


def _decode_denomination(byte: bytes) -> int:
    return Coin.from_bytes(byte + bytes(4)).denomination


def encode_get_available_sns_reply(reply: SerialsReply) -> Verdict:
    if len(reply.serial_numbers) > MAXIMUM_SERIALS:
        raise errors.Unencodable("an answer has at most 64 serial numbers")
    serial_numbers = b"".join(_u32(number) for number in reply.serial_numbers)
    return Status.SUCCESS, Coin(reply.denomination, 0).to_bytes()[:1] + serial_numbers


def decode_get_available_sns_reply(status: int, payload: bytes) -> SerialsReply:
    """Free serial numbers, none at all perhaps."""
    _require_success(status)
    if not 1 <= len(payload) <= 1 + 4 * MAXIMUM_SERIALS:
        raise errors.BadLength("an answer has a denomination and at most 64 serial numbers")
    if len(payload) % 4 != 1:
        raise errors.NotDivisible("a list in a payload is not a whole number of records")
    numbers = tuple(int.from_bytes(payload[start : start + 4], "big") for start in range(1, len(payload), 4))
    return SerialsReply(_decode_denomination(payload[:1]), numbers)


def encode_break(request: BreakRequest) -> bytes:
    _require_ten(request.change)
    return _u32(request.session) + _encode_coin_an(request.broken) + _join(request.change, _encode_coin_pan)


def decode_break(payload: bytes) -> BreakRequest:
    session, big, change = _split_change(payload)
    return BreakRequest(session, _decode_coin_an(big), _split(change, _COIN_AN_SIZE, _decode_coin_pan))


def encode_join(request: JoinRequest) -> bytes:
    _require_ten(request.change)
    return _u32(request.session) + _encode_coin_pan(request.joined) + _join(request.change, _encode_coin_an)


def decode_join(payload: bytes) -> JoinRequest:
    session, big, change = _split_change(payload)
    return JoinRequest(session, _decode_coin_pan(big), _split(change, _COIN_AN_SIZE, _decode_coin_an))


def _split_change(payload: bytes) -> tuple[int, bytes, bytes]:
    _decode_exactly(4 + (1 + CHANGE_COUNT) * _COIN_AN_SIZE, payload)
    big_end = 4 + _COIN_AN_SIZE
    return int.from_bytes(payload[:4], "big"), payload[4:big_end], payload[big_end:]
