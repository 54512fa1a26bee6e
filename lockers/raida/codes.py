"""
Transmit codes and the 25 locker keys made from one (the RAIDA protocol, section 3).

Anyone with the code can take the coins. It is hashed as typed, case and dashes included, as UTF-8: a client that
normalised codes could not open the lockers of others.
"""

import hashlib
import re
import unicodedata
from typing import Final

from lockers.raida import errors
from lockers.raida.authenticity import AN_SIZE, LOCKER_KEY_TAIL
from lockers.raida.statuses import RAIDA_COUNT

# The symbols of codes: without O, L, I, 0 and 1, which look alike.
ALPHABET: Final = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"

# 31^16 is 79 bits: servers do not limit peeks, so a code must not be guessable by trying.
SYMBOLS: Final = 16
GROUP: Final = 4

# Reduced modulo 31^16, this many random bytes leave a bias below 2^-170.
RANDOM_SIZE: Final = 32

# Seven symbols, as other clients use, are 35 bits.
_WEAK_BELOW_SYMBOLS: Final = 10
_WEAK_BELOW_DISTINCT: Final = 5

# A third part is the id (DN and SN) of the coin that paid for the locker; the client that writes such codes does not
# hash it.
_THREE_PARTS = re.compile(r"([^-]+-[^-]+)-[0-9A-Fa-f]{10}", re.ASCII)


# Replaces bytes that are not UTF-8: the original text is lost.
_REPLACEMENT: Final = "\ufffd"

_AS_GENERATED: Final = re.compile(f"[{ALPHABET}]{{{SYMBOLS}}}")


def verbatim(code: str) -> str:
    """
    Return the code as it is hashed: without surrounding white space, otherwise unchanged.

    Any text may be the code of a locker that another client filled.

    :raises InvalidCode: nothing is left, it contains NUL, or UTF-8 cannot encode it
    """
    code = code.strip()
    if not code or "\0" in code or _REPLACEMENT in code:
        raise errors.InvalidCode("a transmit code is text in UTF-8")
    try:
        code.encode()
    except UnicodeEncodeError:
        # A lone surrogate. The error would show the code.
        raise errors.InvalidCode("a transmit code is text in UTF-8") from None
    return code


def for_new_locker(code: str) -> str:
    """
    Return the code as `verbatim` does, if a locker may be filled under it.

    Characters beyond ASCII have several encodings that look the same, so the recipient might type another code.

    :raises InvalidCode: nothing is left, or something that is not printable ASCII
    """
    code = verbatim(code)
    if not (code.isascii() and code.isprintable()):
        raise errors.InvalidCode("the code of a new locker is printable ASCII")
    return code


def locker_keys(code: str) -> tuple[bytes, ...]:
    """
    The locker keys (16 bytes) of the 25 servers, server 0 first.

    :raises InvalidCode: as `verbatim`
    """
    code = verbatim(code)
    return tuple(_locker_key(raida, code) for raida in range(RAIDA_COUNT))


def _locker_key(raida: int, code: str) -> bytes:
    digest = hashlib.md5(f"{raida}{code}".encode(), usedforsecurity=False).digest()
    return digest[: AN_SIZE - len(LOCKER_KEY_TAIL)] + LOCKER_KEY_TAIL


def candidates(code: str) -> tuple[str, ...]:
    """
    Return the one or two codes that a typed text may mean, in the order to peek them.

    Of a three-part text the two-part prefix comes first, then the whole. Any other text means
    itself, and then the code as `generate_code` writes it if it has the same symbols.

    :raises InvalidCode: as `verbatim`
    """
    code = verbatim(code)
    match = _THREE_PARTS.fullmatch(code)
    if match:
        return match.group(1), code
    rewritten = _as_generated(code)
    return (code,) if rewritten is None or rewritten == code else (code, rewritten)


def _as_generated(text: str) -> str | None:
    """Return the generated code with the letters and digits of the text, in any case and width; None if it has none."""
    symbols = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text)))
    # Outside of ASCII an upper-case form may have more letters than were typed.
    symbols = symbols.upper() if symbols.isascii() else ""
    return _grouped(symbols) if _AS_GENERATED.fullmatch(symbols) else None


def _grouped(symbols: str) -> str:
    return "-".join(symbols[start : start + GROUP] for start in range(0, SYMBOLS, GROUP))


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
    return _grouped("".join(symbols))


def is_weak(code: str) -> bool:
    """Whether the code is guessable: fewer than ten letters and digits, or fewer than five different ones."""
    symbols = [symbol for symbol in code if symbol.isalnum()]
    return len(symbols) < _WEAK_BELOW_SYMBOLS or len(set(symbols)) < _WEAK_BELOW_DISTINCT
