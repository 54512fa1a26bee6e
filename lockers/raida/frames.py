"""
Requests and answers as bytes (the RAIDA protocol, section 1), the client's half.

A client builds a `Request`, sends `encode()` of it, and passes it to `decode_response` and `matches`. Nothing here
reads a clock, makes a random number or opens a socket. The servers' half is in `lockers.localnet.wire`.
"""

from dataclasses import dataclass, field
from typing import Final

from lockers.raida import errors
from lockers.raida.commands import Command
from lockers.raida.encryption import CHALLENGE_SIZE, NONCE_SIZE, PLAIN, Encryption
from lockers.raida.encryption import challenge as challenge_of
from lockers.raida.statuses import HEADER_STAGE, RAIDA_COUNT, UNSIGNED, Status

HEADER_SIZE: Final = 32
TERMINATOR: Final = b"\x3e\x3e"

# The smallest body: a challenge and the terminator.
BODY_OVERHEAD: Final = CHALLENGE_SIZE + len(TERMINATOR)
MAXIMUM_BODY: Final = 0xFFFF

# Servers read 1440 bytes of a datagram; below this size no route has to fragment it (section 1.4).
UDP_SAFE_SIZE: Final = 1400

VERSION: Final = 1
COIN_ID: Final = 6

# After status 27 a server that takes the request for one of a 256-bit kind answers with a header of this size, in
# which only the first three bytes have their usual meaning.
_WIDE_HEADER_SIZE: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request of `command` to server `raida`: its challenge (16 bytes), and its payload in clear."""

    raida: int
    command: Command
    # With the signature of the answer the challenge would reveal the key.
    challenge: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    nonce: bytes = bytes(NONCE_SIZE)
    encryption: Encryption = PLAIN

    @property
    def echo(self) -> bytes:
        """The two bytes that the answer repeats."""
        return self.nonce[6:]

    @property
    def size(self) -> int:
        """How many bytes `encode` returns."""
        return HEADER_SIZE + BODY_OVERHEAD + len(self.payload)

    def encode(self) -> bytes:
        """Return the bytes to send."""
        text = self.encryption.apply(self.challenge + self.payload, nonce=self.nonce)
        return b"".join(
            (
                bytes((VERSION, 0, self.raida, 0, self.command.group, self.command.code)),
                COIN_ID.to_bytes(2, "big"),
                # Presentation 1, application 0, no compression, no translations, packet 0 of 1.
                bytes((1, 0, 0, 0, 0, 0, 0, 1)),
                bytes((self.encryption.kind,)),
                self.encryption.reference,
                (BODY_OVERHEAD + len(self.payload)).to_bytes(2, "big"),
                self.nonce,
                text,
                TERMINATOR,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """
    An answer with its payload in clear, which is empty if it has no body.

    `status` is a plain int if `Status` does not have it. If it is an error of the header, `echo` (2 bytes) and
    `signature` (16 bytes) may belong to another request.
    """

    raida: int
    status: Status | int
    echo: bytes
    signature: bytes = field(repr=False)
    payload: bytes = field(default=b"", repr=False)


def build_request(
    *,
    raida: int,
    command: Command,
    payload: bytes = b"",
    challenge12: bytes,
    nonce: bytes = bytes(NONCE_SIZE),
    encryption: Encryption = PLAIN,
) -> Request:
    """
    Build a request of `command` to server `raida`.

    `challenge12` is 12 fresh random bytes; `nonce` is 8 bytes, unique per key, the last two being the echo.

    :raises Unencodable: an argument does not fit into its field
    """
    if not 0 <= raida < RAIDA_COUNT:
        raise errors.Unencodable("a server's number is 0 to 24")
    if len(nonce) != NONCE_SIZE:
        raise errors.Unencodable("a nonce is 8 bytes")
    if BODY_OVERHEAD + len(payload) > MAXIMUM_BODY:
        raise errors.Unencodable("a request's body has at most 65535 bytes")
    return Request(
        raida=raida,
        command=command,
        challenge=challenge_of(challenge12),
        payload=payload,
        nonce=nonce,
        encryption=encryption,
    )


def response_size(header: bytes) -> int:
    """
    How many bytes the answer with this header (its first 32 bytes) has on a connection.

    The header can announce up to 16 MiB: the caller limits what it reads.

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


def decode_response(data: bytes, *, request: Request) -> Response:
    """
    Decode the answer in a datagram, or in everything read from a connection.

    `request` is what was sent: its key decrypts the payload. `matches` checks whether the answer belongs to it. Of an
    answer of status 27 only `raida` and `status` have a meaning.

    :raises Truncated: fewer bytes than a header, or than the header announces
    :raises BadLength: more bytes than the header announces, or a body of one byte
    :raises BadTerminator: the body does not end with 3E 3E
    """
    size = response_size(data)
    if len(data) < size:
        raise errors.Truncated("an answer is shorter than its header says")
    if len(data) > size:
        raise errors.BadLength("an answer is longer than its header says")
    payload = b""
    body = b"" if _is_wide(data) else data[HEADER_SIZE:]
    if body:
        if len(body) < len(TERMINATOR):
            raise errors.BadLength("an answer's body has at least two bytes")
        if not body.endswith(TERMINATOR):
            raise errors.BadTerminator("an answer's body ends with 3E 3E")
        payload = request.encryption.apply(body[: -len(TERMINATOR)], nonce=request.nonce)
    return Response(
        raida=data[0], status=_status(data[2]), echo=data[6:8], signature=data[16:HEADER_SIZE], payload=payload
    )


def _status(byte: int) -> Status | int:
    try:
        return Status(byte)
    except ValueError:
        return byte


def matches(response: Response, request: Request) -> bool:
    """
    Whether an answer that arrived on the socket of `request` belongs to it (section 1.3).

    Errors of the header stage are matched by the socket alone: their echo and signature are stale, and a server that
    is addressed by another number answers with its own. Errors from before the challenge was read are matched by
    server and echo, all other answers by server, echo and signature.
    """
    if response.status in HEADER_STAGE:
        return response.status == Status.INVALID_RAIDA_ID or response.raida == request.raida
    if response.raida != request.raida or response.echo != request.echo:
        return False
    return response.status in UNSIGNED or response.signature == request.encryption.sign(request.challenge)
