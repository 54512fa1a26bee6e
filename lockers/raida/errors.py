"""
The exceptions of this package.

No message contains a byte of what was read: it may be a secret.
"""


class RaidaError(Exception):
    """The base of all exceptions of this package."""


class Unencodable(RaidaError, ValueError):
    """The caller passed a value that the wire or the file format cannot hold."""


class InvalidAmount(RaidaError, ValueError):
    """A text is not an amount of at most eight decimals."""


class InvalidCode(RaidaError, ValueError):
    """A text can never be a transmit code."""


class WireError(RaidaError):
    """Bytes from a server are not an answer of the protocol."""


class Truncated(WireError):
    """An answer has fewer bytes than a header, or than its header announces."""


class BadLength(WireError):
    """A body or payload is shorter or longer than its kind can be."""


class BadTerminator(WireError):
    """A body does not end with 3E 3E."""


class NotDivisible(WireError):
    """A list is not a whole number of records."""


class BadCoin(WireError):
    """A denomination is outside -8..6."""


class BadPayload(WireError):
    """A field of a payload has an impossible value."""


class UnexpectedStatus(WireError):
    """The status of an answer has no meaning for the command."""


class CoinFileError(RaidaError):
    """Bytes are not a readable coin file."""


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

    def __init__(self) -> None:
        super().__init__("these are legacy coins: they have to be upgraded before a locker takes them")


class TooLarge(CoinFileError):
    """A coin file has more members, coins or bytes than the limits allow."""
