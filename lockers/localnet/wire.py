"""
The servers' half of the wire format (the RAIDA protocol, sections 1, 4 and 11): read requests, write answers.

Checks come in the order of real servers and fail with their status codes. Their quirks that clients must handle are
copied: an error in the header is answered with the group, echo and signature of the request that the server read
before, and status 27 comes with a header of 48 bytes.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lockers.raida import encryption
from lockers.raida.coins import COIN_SIZE
from lockers.raida.commands import Command
from lockers.raida.encryption import PLAIN, Encryption
from lockers.raida.frames import COIN_ID, HEADER_SIZE, TERMINATOR, VERSION
from lockers.raida.statuses import Status

# A real server reads this much of a datagram; a longer one is cut, and answered with status 16 (section 1.4).
UDP_SERVER_LIMIT: Final = 1440
HIGHEST_SHARD: Final = 3
HIGHEST_GROUP: Final = 15
# The encryption kind is at this offset; it determines the length of the header.
KIND_OFFSET: Final = 16

# The kinds of encryption with 256 bits: recognised, though no locker command works with them.
_ONE_COIN_256: Final = 4
_TWO_COINS_256: Final = 5
_NARROW: Final = (encryption.KIND_PLAIN, encryption.KIND_COIN, encryption.KIND_LOCKER)
_WIDE_HEADER: Final = 48
_HMAC_SIZE: Final = 32

# (group, code) -> whether the server knows the command.
KnowsCommand = Callable[[int, int], bool]
# (encryption kind 1 or 2, reference of 5 bytes) -> the key of 16 bytes, None if the server has none.
FindKey = Callable[[int, bytes], bytes | None]


class Refused(Exception):
    """A request is answered with an error status before its command is executed."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(slots=True)
class Memory:
    """What a server still holds of the last request when it begins to read the next one."""

    kind: int = encryption.KIND_PLAIN
    group: int = 0
    echo: bytes = bytes(2)
    signature: bytes = field(default=bytes(encryption.CHALLENGE_SIZE), repr=False)
    key_coin: bytes = bytes(COIN_SIZE)
    wide_echo: bytes = bytes(2)


@dataclass(slots=True)
class Reading:
    """A request whose header was accepted; `wide_key` is the key of the 256-bit kinds, else empty."""

    group: int
    code: int
    header_size: int
    body_size: int
    nonce: bytes = bytes(encryption.NONCE_SIZE)
    cipher: Encryption = PLAIN
    wide_key: bytes = field(default=b"", repr=False)

    @property
    def command(self) -> tuple[int, int]:
        return self.group, self.code


def header_size(kind: int) -> int:
    """How many bytes the header of a request with this encryption kind has."""
    return HEADER_SIZE if kind in _NARROW else _WIDE_HEADER


def read_header(data: bytes, memory: Memory, *, raida: int, knows: KnowsCommand, find_key: FindKey) -> Reading:
    """
    Read the header of a request to server `raida`; `memory` receives what an answer repeats.

    :raises Refused: a field has a value that real servers refuse, or the key is unknown
    """
    version, split, addressee, shard, group, code = data[:6]
    for is_wrong, status in (
        (version != VERSION, Status.INVALID_ROUTING),
        (split != 0, Status.INVALID_SPLIT_ID),
        (addressee != raida, Status.INVALID_RAIDA_ID),
        (group > HIGHEST_GROUP, Status.INVALID_COMMAND_GROUP),
        (shard > HIGHEST_SHARD, Status.INVALID_SHARD_ID),
        (not knows(group, code), Status.INVALID_COMMAND),
    ):
        if is_wrong:
            raise Refused(status)
    memory.group = group
    if int.from_bytes(data[6:8], "big") != COIN_ID:
        raise Refused(Status.INVALID_COIN_ID)
    memory.kind = kind = data[KIND_OFFSET]
    if kind in (_ONE_COIN_256, _TWO_COINS_256):
        return _read_wide_header(data, memory, find_key)
    if kind not in _NARROW:
        raise Refused(Status.INVALID_ENCRYPTION_CODE)
    reference, nonce = data[17:22], data[24:32]
    memory.echo = nonce[6:]
    memory.key_coin = reference if kind else bytes(COIN_SIZE)
    return Reading(
        group=group,
        code=code,
        header_size=HEADER_SIZE,
        body_size=int.from_bytes(data[22:24], "big"),
        nonce=nonce,
        cipher=_cipher(kind, reference, find_key),
    )


def _cipher(kind: int, reference: bytes, find_key: FindKey) -> Encryption:
    if kind == encryption.KIND_PLAIN:
        return PLAIN
    key = find_key(kind, reference)
    if key is None:
        raise Refused(Status.INVALID_ENCRYPTION)
    return Encryption(kind, reference, key)


def _read_wide_header(data: bytes, memory: Memory, find_key: FindKey) -> Reading:
    memory.key_coin = data[19:24]
    memory.wide_echo = data[46:48]
    coins = [data[19:24]] + ([data[24:29]] if memory.kind == _TWO_COINS_256 else [])
    known = [key for coin in coins if (key := find_key(encryption.KIND_COIN, coin)) is not None]
    if len(known) < len(coins):
        raise Refused(Status.ENCRYPTION_COIN_NOT_FOUND)
    return Reading(
        group=memory.group,
        code=data[5],
        header_size=_WIDE_HEADER,
        body_size=int.from_bytes(data[17:19], "big"),
        wide_key=hashlib.sha256(b"".join(known)).digest(),
    )


def read_body(data: bytes, reading: Reading, memory: Memory) -> bytes | None:
    """
    Return the decrypted payload of a request, None if the request has no body.

    :raises Refused: the body is cut, does not end with 3E 3E, or fails its checksum
    """
    # Bytes beyond the declared length are ignored.
    body = data[reading.header_size : reading.header_size + reading.body_size]
    if len(body) < reading.body_size:
        raise Refused(Status.INVALID_PACKET_LENGTH)
    if not body:
        return None
    if len(body) < len(TERMINATOR):
        raise Refused(Status.INVALID_PACKET_LENGTH)
    if not body.endswith(TERMINATOR):
        raise Refused(Status.INVALID_EOF)
    text = body[: -len(TERMINATOR)]
    if reading.wide_key:
        return _check_hmac(text, reading.wide_key)
    if len(text) < encryption.CHALLENGE_SIZE:
        raise Refused(Status.INVALID_PACKET_LENGTH)
    text = reading.cipher.apply(text, nonce=reading.nonce)
    challenge = text[: encryption.CHALLENGE_SIZE]
    # Kept before it is checked: an answer of status 37 is signed with the wrong challenge.
    memory.signature = reading.cipher.sign(challenge)
    if not encryption.is_challenge(challenge):
        raise Refused(Status.INVALID_CRC)
    return text[encryption.CHALLENGE_SIZE :]


def _check_hmac(text: bytes, key: bytes) -> bytes:
    if len(text) < _HMAC_SIZE:
        raise Refused(Status.INVALID_PACKET_LENGTH)
    ciphertext, given = text[:-_HMAC_SIZE], text[-_HMAC_SIZE:]
    if not hmac.compare_digest(hmac.digest(key, ciphertext, hashlib.sha256), given):
        raise Refused(Status.INVALID_HMAC)
    return ciphertext


def refuse_wide(reading: Reading) -> None:
    """
    Refuse every command but an echo in a request of a 256-bit kind.

    Commands need a challenge of 16 bytes, which these kinds do not have.

    :raises Refused: the command is another
    """
    if reading.wide_key and reading.command != Command.ECHO.value:
        raise Refused(Status.INVALID_PACKET_LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFrame:
    """An answer of server `raida`; one without a payload has no body, and so no terminator."""

    raida: int
    status: Status
    payload: bytes | None = field(default=None, repr=False)
    execution_microseconds: int = 0

    def encode(self, memory: Memory, reading: Reading | None) -> bytes:
        """Return the bytes to send; `reading` is the request's, None if its header was refused."""
        front = bytes((self.raida, 0, self.status, memory.group))
        time = (self.execution_microseconds & 0xFFFFFFFF).to_bytes(4, "big")
        if memory.kind not in _NARROW:
            nonce = secrets.token_bytes(22)
            kind = bytes((memory.kind,))
            return front + time + bytes(8) + kind + memory.key_coin + bytes(2) + nonce + memory.wide_echo
        body = b""
        if self.payload:
            cipher, nonce = (PLAIN, b"") if reading is None else (reading.cipher, reading.nonce)
            body = cipher.apply(self.payload, nonce=nonce) + TERMINATOR
        size = len(body).to_bytes(3, "big")
        return front + b"\x00\x01" + memory.echo + b"\x00" + size + time + memory.signature + body
