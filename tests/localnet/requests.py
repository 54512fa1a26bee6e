"""
Requests as any client may send them, in both directions.

The product's client builds only the requests that it sends (`lockers.raida.payloads`) and parses none, and the local
network parses rows where it executes a command. Tests build and read what other clients send as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lockers.localnet import wire
from lockers.localnet.payloads import encode_bitmap, signed_byte, verdict
from lockers.raida import errors
from lockers.raida.authenticity import AN_SIZE, xor_sum
from lockers.raida.coins import COIN_SIZE, Coin
from lockers.raida.commands import Command
from lockers.raida.encryption import Encryption
from lockers.raida.frames import Request
from lockers.raida.payloads import encode_change, encode_coins, encode_records
from lockers.raida.statuses import Status

_ROW = COIN_SIZE + AN_SIZE


@dataclass(frozen=True)
class CoinAn:
    """A coin and the AN that the addressed server holds for it."""

    coin: Coin
    an: bytes


@dataclass(frozen=True)
class CoinPan:
    """A coin and the AN proposed for it."""

    coin: Coin
    pan: bytes


@dataclass(frozen=True)
class CoinAnPan:
    """A coin, the AN that the addressed server holds, and the proposed one."""

    coin: Coin
    an: bytes
    pan: bytes


def detect(records: Sequence[CoinAn]) -> bytes:
    """As the product's client builds it; get ticket is the same."""
    return encode_records([each.coin.to_bytes() for each in records], [each.an for each in records])


def pown(records: Sequence[CoinAnPan]) -> bytes:
    """As the product's client builds it."""
    coins = [each.coin.to_bytes() for each in records]
    return encode_records(coins, [each.an for each in records], [each.pan for each in records])


def change(session: int, one: CoinAn | CoinPan, ten: Sequence[CoinAn | CoinPan]) -> bytes:
    """A break or a join, as the product's client builds it."""
    rows = [one, *ten]
    numbers = [each.an if isinstance(each, CoinAn) else each.pan for each in rows]
    return encode_change(session, [each.coin.to_bytes() for each in rows], numbers)


@dataclass(frozen=True)
class Deposit:
    """Coins, the XOR of their ANs, and the key of the locker they go into."""

    coins: tuple[Coin, ...]
    total: bytes
    key: bytes


@dataclass(frozen=True, kw_only=True)
class RequestHeader:
    """The 32 clear bytes at the front of a request, in any combination; `free` are offsets 8 to 15."""

    raida: int
    group: int
    code: int
    body_length: int
    version: int = 1
    split: int = 0
    shard: int = 0
    coin_id: int = 6
    free: bytes = bytes((1, 0, 0, 0, 0, 0, 0, 1))
    encryption_kind: int = 0
    reference: bytes = bytes(5)
    nonce: bytes = bytes(8)

    @property
    def command(self) -> Command | None:
        return Command((self.group, self.code)) if knows(self.group, self.code) else None

    def encode(self) -> bytes:
        return (
            bytes((self.version, self.split, self.raida, self.shard, self.group, self.code))
            + self.coin_id.to_bytes(2, "big")
            + self.free
            + bytes((self.encryption_kind,))
            + self.reference
            + self.body_length.to_bytes(2, "big")
            + self.nonce
        )

    @classmethod
    def decode(cls, data: bytes) -> "RequestHeader":
        return cls(
            version=data[0],
            split=data[1],
            raida=data[2],
            shard=data[3],
            group=data[4],
            code=data[5],
            coin_id=int.from_bytes(data[6:8], "big"),
            free=data[8:16],
            encryption_kind=data[16],
            reference=data[17:22],
            body_length=int.from_bytes(data[22:24], "big"),
            nonce=data[24:32],
        )


def _columns(coins: Sequence[Coin], *columns: Sequence[bytes]) -> bytes:
    return b"".join(coin.to_bytes() + b"".join(numbers) for coin, *numbers in zip(coins, *columns, strict=True))


def rows_an(records: Sequence[CoinAn]) -> bytes:
    """The request of detect and get ticket."""
    return _columns([record.coin for record in records], [record.an for record in records])


def rows_an_pan(records: Sequence[CoinAnPan]) -> bytes:
    """The request of pown, find, and store without sum, where the PAN is the locker key."""
    return _columns([r.coin for r in records], [r.an for r in records], [r.pan for r in records])


def put(records: Sequence[CoinAn], key: bytes) -> bytes:
    return put_sum(Deposit(tuple(record.coin for record in records), xor_sum(record.an for record in records), key))


def put_sum(deposit: Deposit) -> bytes:
    return encode_coins(deposit.coins) + deposit.total + deposit.key


def store_multiple(deposits: Sequence[Deposit]) -> bytes:
    return bytes((len(deposits),)) + b"".join(
        len(deposit.coins).to_bytes(2, "big") + put_sum(deposit) for deposit in deposits
    )


def remove(key: bytes, records: Sequence[CoinPan]) -> bytes:
    return key + _columns([record.coin for record in records], [record.pan for record in records])


def make_change(broken: CoinAn, starting_sn: int, pans: Sequence[bytes]) -> bytes:
    return rows_an([broken]) + starting_sn.to_bytes(4, "big") + b"".join(pans)


def create_coins(coins: Sequence[Coin], admin_key: bytes, session: int) -> bytes:
    return session.to_bytes(4, "big") + admin_key + encode_coins(coins)


# The other direction.


def _split(data: bytes, size: int) -> list[bytes]:
    if len(data) < size or len(data) % size:
        raise errors.BadLength("a list is not a whole number of rows")
    return [data[start : start + size] for start in range(0, len(data), size)]


def read_coins(data: bytes) -> tuple[Coin, ...]:
    return tuple(map(Coin.from_bytes, _split(data, COIN_SIZE)))


def read_an(data: bytes) -> list[CoinAn]:
    return [CoinAn(Coin.from_bytes(row[:COIN_SIZE]), row[COIN_SIZE:]) for row in _split(data, _ROW)]


def read_pan(data: bytes) -> list[CoinPan]:
    return [CoinPan(record.coin, record.an) for record in read_an(data)]


def read_an_pan(data: bytes) -> list[CoinAnPan]:
    rows = _split(data, _ROW + AN_SIZE)
    return [CoinAnPan(Coin.from_bytes(row[:COIN_SIZE]), row[COIN_SIZE:_ROW], row[_ROW:]) for row in rows]


def read_store_multiple(data: bytes) -> list[Deposit]:
    deposits = []
    start = 1
    for _ in range(data[0]):
        end = start + 2 + COIN_SIZE * int.from_bytes(data[start : start + 2], "big")
        coins, total, key = read_coins(data[start + 2 : end]), data[end : end + AN_SIZE], data[end + AN_SIZE :]
        deposits.append(Deposit(coins, total, key[:AN_SIZE]))
        start = end + 2 * AN_SIZE
    return deposits


def read_request(
    data: bytes, find_key: wire.FindKey = lambda kind, reference: None, raida: int | None = None
) -> Request:
    """
    The request in a whole message, as the local network reads it, for the client to have built.

    :raises Refused: the local network refuses it, or does not answer bytes that end within a header
    """
    if len(data) <= wire.KIND_OFFSET or len(data) < wire.header_size(data[wire.KIND_OFFSET]):
        raise wire.Refused(Status.INVALID_PACKET_LENGTH)
    memory = wire.Memory()
    raida = data[2] if raida is None else raida
    reading = wire.read_header(data, memory, raida=raida, knows=knows, find_key=find_key)
    payload = wire.read_body(data, reading, memory)
    if payload is None:
        raise wire.Refused(Status.EMPTY_REQUEST)
    # The signature is the challenge, encrypted: signing it again returns the challenge.
    encryption = reading.cipher if reading.cipher.kind else Encryption(0, data[17:22])
    return Request(
        raida=data[2],
        command=Command(reading.command),
        challenge=reading.cipher.sign(memory.signature),
        payload=payload,
        nonce=reading.nonce,
        encryption=encryption,
    )


def knows(group: int, code: int) -> bool:
    return any(command.value == (group, code) for command in Command)


def respond(data: bytes, status: int, payload: bytes | None = None, find_key: wire.FindKey | None = None) -> bytes:
    """Return what the local network would answer to a whole message."""
    memory = wire.Memory()
    find_key = find_key or (lambda kind, reference: None)
    reading = wire.read_header(data, memory, raida=data[2], knows=knows, find_key=find_key)
    wire.read_body(data, reading, memory)
    return wire.AnswerFrame(raida=data[2], status=Status(status), payload=payload).encode(memory, reading)


def peek_reply(coins: Sequence[Coin]) -> tuple[Status, bytes | None]:
    """What a server answers to a peek at a locker of these coins."""
    return (Status.ALL_PASS, encode_coins(coins)) if coins else (Status.ALL_FAIL, None)


def remove_reply(passed: Sequence[bool]) -> tuple[Status, bytes]:
    """What a server answers to a remove from a locker."""
    return verdict(passed), encode_bitmap(passed, size=len(passed) // 8 + 1)


def serials_reply(denomination: int, numbers: Sequence[int]) -> tuple[Status, bytes]:
    """What a server answers to a request for free serial numbers."""
    return Status.SUCCESS, signed_byte(denomination) + b"".join(number.to_bytes(4, "big") for number in numbers)
