"""
Transmit codes and the 25 locker keys made from one (the RAIDA protocol, section 3).

A code is the money. It is hashed as it is typed, case and dashes included: two clients
that normalised codes could not open each other's lockers.
"""

import hashlib
import re
from typing import Final

from lockers.raida import errors
from lockers.raida.authenticity import AN_SIZE, LOCKER_KEY_TAIL
from lockers.raida.statuses import RAIDA_COUNT

# The symbols of codes: no O, L, I, 0 and 1, which people mistake for each other.
ALPHABET: Final = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"

# 31^16 is 79 bits: servers do not limit peeks, so a code must not be guessable by asking.
SYMBOLS: Final = 16
GROUP: Final = 4

# Reduced modulo 31^16, this many random bytes leave a bias below 2^-170.
RANDOM_SIZE: Final = 32

# Seven symbols, the custom of other clients, are 35 bits.
_WEAK_BELOW_SYMBOLS: Final = 10
_WEAK_BELOW_DISTINCT: Final = 5

# A third part is the id of the coin a locker was bought with (DN and SN), which the client
# that writes such codes does not hash.
_THREE_PARTS = re.compile(r"([^-]+-[^-]+)-[0-9A-Fa-f]{10}", re.ASCII)


def verbatim(code: str) -> str:
    """
    The code as it is hashed: without white space around it, otherwise unchanged.

    :raises InvalidCode: nothing is left, or something that is not printable ASCII
    """
    code = code.strip()
    if not (code and code.isascii() and code.isprintable()):
        raise errors.InvalidCode("a transmit code is printable ASCII")
    return code


def locker_keys(code: str) -> tuple[bytes, ...]:
    """
    The locker keys (16 bytes) of the 25 servers, server 0 first.

    :raises InvalidCode: as `verbatim`
    """
    code = verbatim(code)
    return tuple(_locker_key(raida, code) for raida in range(RAIDA_COUNT))


def _locker_key(raida: int, code: str) -> bytes:
    digest = hashlib.md5(f"{raida}{code}".encode("ascii"), usedforsecurity=False).digest()
    return digest[: AN_SIZE - len(LOCKER_KEY_TAIL)] + LOCKER_KEY_TAIL


def candidates(code: str) -> tuple[str, ...]:
    """
    The codes which a typed text may mean, in the order to peek them.

    Of a three-part text the two-part prefix comes first, then the whole; any other text
    means itself.

    :raises InvalidCode: as `verbatim`
    """
    code = verbatim(code)
    match = _THREE_PARTS.fullmatch(code)
    return (match.group(1), code) if match else (code,)


def generate_code(random_bytes: bytes) -> str:
    """
    A new code of 79 bits, such as "7XKM-Q2VA-HTR9-ZD4W", from at least 32 random bytes.

    :raises Unencodable: there are fewer
    """
    if len(random_bytes) < RANDOM_SIZE:
        raise errors.Unencodable("a code is made from at least 32 random bytes")
    number = int.from_bytes(random_bytes, "big")
    symbols = []
    for _ in range(SYMBOLS):
        number, index = divmod(number, len(ALPHABET))
        symbols.append(ALPHABET[index])
    text = "".join(symbols)
    return "-".join(text[start : start + GROUP] for start in range(0, SYMBOLS, GROUP))


def is_weak(code: str) -> bool:
    """Whether somebody could hit upon the code: fewer than ten letters and digits, or fewer than five different."""
    symbols = [symbol for symbol in code if symbol.isalnum()]
    return len(symbols) < _WEAK_BELOW_SYMBOLS or len(set(symbols)) < _WEAK_BELOW_DISTINCT
