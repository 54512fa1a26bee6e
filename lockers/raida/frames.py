"""
Requests and answers as bytes (the RAIDA protocol, section 1), for both ends of the wire.

A client builds a `Request`, sends `encode()` of it, and gives it again to
`decode_response` and `matches`. A server calls `decode_request`, which makes every check
that comes before the command's own in the order of real servers and raises the error whose
`status` they answer with; then `answer` makes the `Response`.

Nothing here reads a clock, makes a random number or opens a socket.
"""

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from lockers.raida import errors
from lockers.raida.commands import ALL, Command
from lockers.raida.encryption import (
    CHALLENGE_SIZE,
    KIND_COIN,
    KIND_LOCKER,
    KIND_PLAIN,
    NONCE_SIZE,
    PLAIN,
    REFERENCE_SIZE,
    Encryption,
    is_challenge,
)
from lockers.raida.encryption import challenge as challenge_of
from lockers.raida.statuses import HEADER_STAGE, RAIDA_COUNT, UNSIGNED, Status

HEADER_SIZE: Final = 32
TERMINATOR: Final = b"\x3e\x3e"

# The smallest body: a challenge and the terminator.
BODY_OVERHEAD: Final = CHALLENGE_SIZE + len(TERMINATOR)
MAXIMUM_BODY: Final = 0xFFFF
MAXIMUM_RESPONSE_BODY: Final = 0xFFFFFF

# A real server reads this much of a datagram; what is longer is cut and answered with 16
# (section 1.4). Clients stay below the smaller number, so that no route has to fragment.
UDP_SERVER_LIMIT: Final = 1440
UDP_SAFE_SIZE: Final = 1400

VERSION: Final = 1
COIN_ID: Final = 6
HIGHEST_SHARD: Final = 3

# After status 27 a server that takes the request for one of a 256-bit type answers with a
# header of this size, in which only the first three bytes mean what they mean elsewhere.
_WIDE_HEADER_SIZE: Final = 48

FindKey = Callable[[int, bytes], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeader:
    """
    The 32 clear bytes at the front of a request, each field as it is on the wire.

    Any 32 bytes are a header and encode back to themselves; `check_header` says what is
    wrong with one. `reference` and `nonce` are bytes, `nonce[6:]` is the echo.
    """

    raida: int
    group: int
    code: int
    body_length: int
    version: int = VERSION
    split: int = 0
    shard: int = 0
    coin_id: int = COIN_ID
    presentation: int = 1
    application: int = 0
    compression: int = 0
    translation: int = 0
    ai_translation: int = 0
    packet_index: int = 0
    packet_count: int = 1
    encryption_kind: int = 0
    reference: bytes = field(default=bytes(REFERENCE_SIZE), repr=False)
    nonce: bytes = bytes(NONCE_SIZE)

    @property
    def echo(self) -> bytes:
        """The two bytes which the answer repeats."""
        return self.nonce[6:]

    @property
    def command(self) -> Command | None:
        """The command, or None if it is not one of ours."""
        try:
            return Command((self.group, self.code))
        except ValueError:
            return None

    def encode(self) -> bytes:
        return b"".join(
            (
                bytes((self.version, self.split, self.raida, self.shard, self.group, self.code)),
                self.coin_id.to_bytes(2, "big"),
                bytes((self.presentation,)),
                self.application.to_bytes(2, "big"),
                bytes((self.compression, self.translation, self.ai_translation)),
                bytes((self.packet_index, self.packet_count, self.encryption_kind)),
                self.reference,
                self.body_length.to_bytes(2, "big"),
                self.nonce,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "RequestHeader":
        """
        The header at the front of `data`.

        :raises Truncated: there are fewer than 32 bytes
        """
        if len(data) < HEADER_SIZE:
            raise errors.Truncated("a request has at least 32 bytes")
        return cls(
            version=data[0],
            split=data[1],
            raida=data[2],
            shard=data[3],
            group=data[4],
            code=data[5],
            coin_id=int.from_bytes(data[6:8], "big"),
            presentation=data[8],
            application=int.from_bytes(data[9:11], "big"),
            compression=data[11],
            translation=data[12],
            ai_translation=data[13],
            packet_index=data[14],
            packet_count=data[15],
            encryption_kind=data[16],
            reference=data[17:22],
            body_length=int.from_bytes(data[22:24], "big"),
            nonce=data[24:32],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    A whole request, its payload in clear.

    `challenge` is 16 bytes, or empty for the header-only echo, which has no body at all.
    """

    header: RequestHeader
    # With the signature of its answer the challenge would tell the key.
    challenge: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    encryption: Encryption = PLAIN

    def encode(self) -> bytes:
        """The bytes to send."""
        if not self.challenge:
            return self.header.encode()
        text = self.encryption.apply(self.challenge + self.payload, nonce=self.header.nonce)
        return self.header.encode() + text + TERMINATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """
    A whole answer, its payload in clear.

    `status` is a plain int if it is in no table. `group`, `echo` (2 bytes) and `signature`
    (16 bytes) may belong to another request where the status tells of an error in the
    header. `has_body` keeps apart no body and a body of the terminator alone. `wide` holds
    the rest of the odd header that follows some answers of status 27, else it is empty.
    """

    raida: int
    status: Status | int
    group: int
    echo: bytes
    signature: bytes = field(repr=False)
    payload: bytes = field(default=b"", repr=False)
    has_body: bool = False
    shard: int = 0
    frames: int = 1
    reserved: int = 0
    execution_microseconds: int = 0
    wide: bytes = field(default=b"", repr=False)

    def encode(self, *, encrypt: Encryption = PLAIN, nonce: bytes = bytes(NONCE_SIZE)) -> bytes:
        """
        The bytes to send, the payload encrypted as the request was.

        :raises Unencodable: the payload is too long for the size field
        """
        body = encrypt.apply(self.payload, nonce=nonce) + TERMINATOR if self.has_body else b""
        if len(body) > MAXIMUM_RESPONSE_BODY:
            raise errors.Unencodable("an answer's body is shorter than 16 MiB")
        return b"".join(
            (
                bytes((self.raida, self.shard, self.status, self.group)),
                self.frames.to_bytes(2, "big"),
                self.echo,
                bytes((self.reserved,)),
                len(body).to_bytes(3, "big"),
                self.execution_microseconds.to_bytes(4, "big"),
                self.signature,
                body,
                self.wide,
            )
        )


def build_request(
    *,
    raida: int,
    command: Command,
    payload: bytes = b"",
    challenge12: bytes | None,
    nonce: bytes = bytes(NONCE_SIZE),
    encryption: Encryption = PLAIN,
    shard: int = 0,
    presentation: int = 1,
    packet_index: int = 0,
    packet_count: int = 1,
) -> Request:
    """
    A request of `command` to server `raida`.

    `challenge12` is 12 fresh random bytes; `nonce` is 8, unique per key, its last two
    being the echo. `challenge12` None is the header-only echo.

    :raises Unencodable: an argument does not fit into its field
    """
    if not 0 <= raida < RAIDA_COUNT:
        raise errors.Unencodable("a server's number is 0 to 24")
    if len(nonce) != NONCE_SIZE:
        raise errors.Unencodable("a nonce is 8 bytes")
    for number in (shard, presentation, packet_index, packet_count):
        if not 0 <= number <= 0xFF:
            raise errors.Unencodable("a header field is a byte")
    if challenge12 is None:
        if payload or command is not Command.ECHO:
            raise errors.Unencodable("only an echo goes without a body")
        challenge, body_length = b"", 0
    else:
        challenge, body_length = challenge_of(challenge12), BODY_OVERHEAD + len(payload)
    if body_length > MAXIMUM_BODY:
        raise errors.Unencodable("a request's body has at most 65535 bytes")
    header = RequestHeader(
        raida=raida,
        group=command.group,
        code=command.code,
        body_length=body_length,
        shard=shard,
        presentation=presentation,
        packet_index=packet_index,
        packet_count=packet_count,
        encryption_kind=encryption.kind,
        reference=encryption.reference,
        nonce=nonce,
    )
    return Request(header=header, challenge=challenge, payload=payload, encryption=encryption)


def check_header(header: RequestHeader, *, raida: int | None = None, commands: Collection[Command] = ALL) -> None:
    """
    Refuse a header as real servers do, the first fault in their order.

    `raida` is the server's own number, None for any; `commands` are those it knows.

    :raises BadHeader: the subclass whose `status` is the answer
    """
    if header.version != VERSION:
        raise errors.BadRouting("the first byte of a request is 1")
    if header.split != 0:
        raise errors.BadSplit("the split id is 0")
    if header.raida >= RAIDA_COUNT or raida not in (None, header.raida):
        raise errors.WrongRaida("the request is for another server")
    if all(command.group != header.group for command in commands):
        raise errors.UnknownGroup("no such command group")
    if header.shard > HIGHEST_SHARD:
        raise errors.BadShard("the shard id is 0 to 3")
    if header.command is None or header.command not in commands:
        raise errors.UnknownCommand("no such command")
    if header.coin_id != COIN_ID:
        raise errors.BadCoinId("the coin id is 6")
    if header.encryption_kind not in (KIND_PLAIN, KIND_COIN, KIND_LOCKER):
        raise errors.BadEncryption("encryption is of kind 0, 1 or 2")


def no_key(kind: int, reference: bytes) -> None:
    """Know no key: the `find_key` of a reader who can read only what is not encrypted."""


def decode_request(
    data: bytes,
    *,
    find_key: FindKey = no_key,
    raida: int | None = None,
    commands: Collection[Command] = ALL,
) -> Request:
    """
    The request in a datagram, or in everything read from a connection.

    `find_key` is asked with the encryption kind (1 coin, 2 locker) and the 5-byte
    reference for the 16-byte key; it is not asked for kind 0. `raida` and `commands` are
    those of `check_header`.

    :raises Truncated: there are fewer than 32 bytes, which nobody answers
    :raises BadHeader: a subclass says which field is refused
    :raises BadLength: the body's length is not the declared one, or below 18
    :raises BadTerminator: the last two bytes are not 3E 3E
    :raises BadChallenge: the challenge's CRC is wrong, perhaps for a wrong key
    """
    header = RequestHeader.decode(data)
    check_header(header, raida=raida, commands=commands)
    cipher = _encryption_of(header, find_key)
    body = data[HEADER_SIZE:]
    if len(body) != header.body_length:
        raise errors.BadLength("the body is not as long as the header says")
    if not body:
        if header.command is not Command.ECHO:
            raise errors.EmptyRequest("only an echo goes without a body")
        return Request(header=header, challenge=b"", payload=b"", encryption=cipher)
    if len(body) < BODY_OVERHEAD:
        raise errors.BadLength("a body has at least 18 bytes")
    if not body.endswith(TERMINATOR):
        raise errors.BadTerminator("a body ends with 3E 3E")
    text = cipher.apply(body[: -len(TERMINATOR)], nonce=header.nonce)
    challenge, payload = text[:CHALLENGE_SIZE], text[CHALLENGE_SIZE:]
    if not is_challenge(challenge):
        raise errors.BadChallenge("the challenge fails its CRC")
    return Request(header=header, challenge=challenge, payload=payload, encryption=cipher)


def _encryption_of(header: RequestHeader, find_key: FindKey) -> Encryption:
    if header.encryption_kind == KIND_PLAIN:
        # Some clients name a coin here although nothing is encrypted with it.
        return Encryption(KIND_PLAIN, header.reference)
    key = find_key(header.encryption_kind, header.reference)
    if key is None:
        raise errors.UnknownKey("the key reference is not known here")
    return Encryption(header.encryption_kind, header.reference, key)


def request_size(header: RequestHeader) -> int:
    """How many bytes the request with this header has on a connection."""
    return HEADER_SIZE + header.body_length


def answer(
    request: Request,
    *,
    status: Status,
    payload: bytes | None = None,
    execution_microseconds: int = 0,
) -> Response:
    """
    The answer to a request that was decoded: echo and signature are the request's.

    `payload` None is an answer without a body. The caller encodes it with the request's
    encryption and nonce.
    """
    challenge = request.challenge or bytes(CHALLENGE_SIZE)
    return Response(
        raida=request.header.raida,
        status=status,
        group=request.header.group,
        echo=request.header.echo,
        signature=request.encryption.sign(challenge),
        payload=payload or b"",
        has_body=payload is not None,
        execution_microseconds=execution_microseconds,
    )


def encode_response(
    *,
    request: Request,
    status: Status,
    payload: bytes | None = None,
    execution_microseconds: int = 0,
) -> bytes:
    """The bytes of `answer` with the same arguments, encrypted as the request was."""
    response = answer(request, status=status, payload=payload, execution_microseconds=execution_microseconds)
    return response.encode(encrypt=request.encryption, nonce=request.header.nonce)


def response_size(header: bytes) -> int:
    """
    How many bytes the answer with this header (its first 32 bytes) has on a connection.

    It can be up to 16 MiB: whoever reads bounds it.

    :raises Truncated: there are fewer than 32 bytes
    """
    if len(header) < HEADER_SIZE:
        raise errors.Truncated("an answer has at least 32 bytes")
    if _is_wide(header):
        return _WIDE_HEADER_SIZE
    return HEADER_SIZE + int.from_bytes(header[9:12], "big")


def _is_wide(data: bytes) -> bool:
    # An ordinary header has the frame count 1 at 4..5, the wide one has its size field there.
    return data[2] == Status.INVALID_ENCRYPTION_CODE and data[4:6] != b"\x00\x01"


def decode_response(data: bytes, *, request: Request | None = None) -> Response:
    """
    The answer in a datagram, or in everything read from a connection.

    `request` is what was asked: its key decrypts the payload. Whether the answer is one to
    it, `matches` tells. Of an answer of status 27 only `raida`, `shard` and `status` mean
    something.

    :raises Truncated: fewer bytes than a header, or than the header says
    :raises BadLength: more bytes than the header says, or a body of one byte
    :raises BadTerminator: the body does not end with 3E 3E
    """
    size = response_size(data)
    if len(data) < size:
        raise errors.Truncated("an answer is shorter than its header says")
    if len(data) > size:
        raise errors.BadLength("an answer is longer than its header says")
    header = Response(
        raida=data[0],
        shard=data[1],
        status=_status(data[2]),
        group=data[3],
        frames=int.from_bytes(data[4:6], "big"),
        echo=data[6:8],
        reserved=data[8],
        execution_microseconds=int.from_bytes(data[12:16], "big"),
        signature=data[16:32],
    )
    if _is_wide(data):
        return dataclasses.replace(header, wide=data[HEADER_SIZE:])
    body = data[HEADER_SIZE:]
    if not body:
        return header
    if len(body) < len(TERMINATOR):
        raise errors.BadLength("an answer's body has at least two bytes")
    if not body.endswith(TERMINATOR):
        raise errors.BadTerminator("an answer's body ends with 3E 3E")
    payload = body[: -len(TERMINATOR)]
    if request is not None:
        payload = request.encryption.apply(payload, nonce=request.header.nonce)
    return dataclasses.replace(header, payload=payload, has_body=True)


def _status(byte: int) -> Status | int:
    try:
        return Status(byte)
    except ValueError:
        return byte


def matches(response: Response, request: Request) -> bool:
    """
    Whether an answer that came over the socket of `request` is one to it (section 1.3).

    Errors of the header stage count by the socket alone: their echo, signature and group
    are stale, and a server that is told it is another one answers with its own number.
    Errors from before the challenge was read count by server and echo. Everything else,
    success first of all, counts by server, echo and signature. An echo without a body has
    no challenge that could be signed.
    """
    if response.status in HEADER_STAGE:
        return response.status == Status.INVALID_RAIDA_ID or response.raida == request.header.raida
    if response.raida != request.header.raida or response.echo != request.header.echo:
        return False
    if response.status in UNSIGNED or not request.challenge:
        return True
    return response.signature == request.encryption.sign(request.challenge)
