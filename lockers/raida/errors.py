"""
Everything this package raises about bytes and texts it was given.

`WireError`s carry the status byte which a server answers to such a request (None where
it does not answer at all, or where the bytes were an answer). No message contains a
byte of what was read: it may be a secret.
"""

from typing import ClassVar

from lockers.raida.legacy import LegacyRecord
from lockers.raida.statuses import Status


class RaidaError(Exception):
    """Any complaint of this package."""


class Unencodable(RaidaError, ValueError):
    """Our own caller asked for something that the wire or the file format cannot say."""


class InvalidAmount(RaidaError, ValueError):
    """A text is not an amount of at most eight decimals."""


class InvalidCode(RaidaError, ValueError):
    """A text can never be a transmit code."""


class WireError(RaidaError):
    """Bytes from a peer are not a message of the protocol."""

    status: ClassVar[Status | None] = None


class Truncated(WireError):
    """Fewer bytes than a header, or than an answer's header promises."""


class BadHeader(WireError):
    """A header field has a value that is refused."""


class BadRouting(BadHeader):
    status = Status.INVALID_ROUTING


class BadSplit(BadHeader):
    status = Status.INVALID_SPLIT_ID


class WrongRaida(BadHeader):
    status = Status.INVALID_RAIDA_ID


class BadShard(BadHeader):
    status = Status.INVALID_SHARD_ID


class UnknownGroup(BadHeader):
    status = Status.INVALID_COMMAND_GROUP


class UnknownCommand(BadHeader):
    status = Status.INVALID_COMMAND


class BadCoinId(BadHeader):
    status = Status.INVALID_COIN_ID


class BadEncryption(BadHeader):
    status = Status.INVALID_ENCRYPTION_CODE


class UnknownKey(BadHeader):
    """The key reference names a coin or a locker that is not known here."""

    status = Status.INVALID_ENCRYPTION


class EmptyRequest(BadHeader):
    status = Status.EMPTY_REQUEST


class BadLength(WireError):
    """A body or payload is shorter or longer than its kind can be."""

    status = Status.INVALID_PACKET_LENGTH


class BadTerminator(WireError):
    status = Status.INVALID_EOF


class BadChallenge(WireError):
    """The CRC of the challenge is wrong, or the key it was decrypted with."""

    status = Status.INVALID_CRC


class NotDivisible(WireError):
    """A list is not a whole number of coin records."""

    status = Status.COINS_NOT_DIV


class BadCoin(WireError):
    """A denomination is outside -8..6."""

    status = Status.INVALID_SN_OR_DENOMINATION


class BadLockerKey(WireError):
    """A locker key does not end with FFFFFFFF."""

    status = Status.INVALID_PAN


class BadPayload(WireError):
    """A field of a payload has a value that it cannot have."""

    status = Status.INVALID_PARAMETER


class UnexpectedStatus(WireError):
    """An answer's status has no meaning for the command that was asked."""


class CoinFileError(RaidaError):
    """Bytes are not a coin file which can be read."""


class Unrecognised(CoinFileError):
    """The bytes begin like no coin file."""


class Damaged(CoinFileError):
    """A coin file is cut, contradicts itself, or fails its checksum."""


class Encrypted(CoinFileError):
    """A coin file is encrypted with its owner's key; the nonce rules are not public."""


class UnsupportedFormat(CoinFileError):
    """A coin file of a format that is known only by name (8, A, B, JPEG)."""


class LegacyCoin(CoinFileError):
    """A file holds coins of the previous network, which no locker takes until they are upgraded."""

    def __init__(self, coins: tuple[LegacyRecord, ...]) -> None:
        super().__init__("these are legacy coins: they have to be upgraded before a locker takes them")
        self.coins = coins


class TooLarge(CoinFileError):
    """A coin file has more members, coins or bytes than a reader should unfold."""
