"""
Names of wallets: which texts are allowed, and when two texts are the same name.

Text in the form of a UUID is always an id, so a wallet may not have such a name. Two names are the same if Unicode's
NFKC_Casefold maps them to the same text: that covers case, width, ligatures, the order of combining marks, and
invisible characters. Decided 2026-11-29: names that only look alike in print (`a` and the Cyrillic `а`, `1` and `l`,
`rn` and `m`) are different names. The skeletons of UTS 39, which would match them, also match `tree1` with `treel`,
or `modern` with `modem`: names that partners assign by number would collide, and a name that is taken cannot be
assigned.
"""

import re
import unicodedata
from bisect import bisect_right
from typing import Final
from uuid import UUID

from wallets import errors

MINIMUM_LENGTH: Final = 3
MAXIMUM_LENGTH: Final = 254
MAXIMUM_KEY_LENGTH: Final = 1024

# "The request will work if any or all of the hyphens are removed", but they are allowed nowhere else.
_UUID: Final = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
# PostgreSQL accepts a UUID in braces and with hyphens in other places; Python accepts urn:uuid: and the digits of every
# script too. Quotes and look-alikes of the hyphen are printed like an id. A name that leaves 32 hexadecimal digits
# without these, that is without everything but letters and digits, is refused.
_PREFIX: Final = re.compile(r"urn:|uuid:")
_DIGITS: Final = re.compile(r"[0-9a-f]{32}")
# A letter that is printed as a dash.
_PROLONGED_SOUND_MARK: Final = "\u30fc"
_SHORTEST_ID: Final = 32
# Names that need no further check: visible ASCII, shorter than an id.
PLAIN: Final = r"^[!-~]{3,31}$"
_PLAIN: Final = re.compile(r"[!-~]{3,31}")

# Default_Ignorable_Code_Point, from DerivedCoreProperties.txt of Unicode 17.0.0: 4,174 code points, the same since
# Unicode 14.0.0, for the unassigned ones among them are reserved for characters that are not seen.
_IGNORABLE: Final = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
# Characters without the property that fonts draw as nothing or as an empty space: the blank pattern of Braille, the
# half fill space, the object replacement character, interlinear annotation, the null notehead, the fillers of Khitan
# and of hieroglyphs, the joiners of Tifinagh and Brahmi.
_BLANK: Final = frozenset(
    "\u2800\u303f\ufff9\ufffa\ufffb\ufffc\u2d7f\U0001107f\U00013441\U00013442\U00016fe4\U0001d159"
)
_BEGINNINGS: Final = [first for first, _ in _IGNORABLE]


def is_invisible(character: str) -> bool:
    """Return whether a character is default-ignorable, or rendered as nothing."""
    if character <= "~":
        return False
    index = bisect_right(_BEGINNINGS, ord(character)) - 1
    return (index >= 0 and ord(character) <= _IGNORABLE[index][1]) or character in _BLANK


def name_key(name: str) -> str:
    """Return the key by which names are compared: Unicode's NFKC_Casefold, without blank characters."""
    if name.isascii():
        return name.lower()
    seen = "".join(character for character in name if not is_invisible(character))
    # Case folding may produce text that is not in NFKC, hence the second pass.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())


def is_writable(name: str) -> bool:
    """Return whether a name is free of white space, control, format and unassigned characters."""
    # Invisible and direction-changing characters (category Cf) make different names look the same.
    return not any(unicodedata.category(character)[0] in "CZ" for character in name)


def parse_uuid(text: str) -> UUID | None:
    """Return the UUID that `text` writes with or without hyphens, or None."""
    return UUID(text) if _UUID.fullmatch(text) else None


def is_like_id(name: str) -> bool:
    """Return whether the letters and digits of a name, in any script or width, are an id, whatever stands between."""
    key = name_key(name)
    if len(key) < _SHORTEST_ID:
        return False
    bare = (
        str(unicodedata.decimal(each, each))
        for each in _PREFIX.sub("", key)
        if each.isalnum() and each != _PROLONGED_SOUND_MARK
    )
    return bool(_DIGITS.fullmatch("".join(bare)))


def refusal(name: str) -> errors.InvalidWalletName | errors.WalletNameLength | None:
    """Return why a new wallet may not have the name, or None if it may."""
    if _PLAIN.fullmatch(name):
        return None
    unseen = next((character for character in name if is_invisible(character)), None)
    if unseen is not None:
        return errors.MisleadingWalletName(f"invalid wallet name:{name} holds the invisible U+{ord(unseen):04X}")
    if not is_writable(name):
        return errors.InvalidWalletName(f"invalid wallet name:{name}")
    if len(name) < MINIMUM_LENGTH:
        return errors.WalletNameLength(f'"wallet" length must be at least {MINIMUM_LENGTH} characters long')
    # Normalisation may make a character eighteen.
    if len(name) > MAXIMUM_LENGTH or len(name_key(name)) > MAXIMUM_KEY_LENGTH:
        return errors.WalletNameLength(
            f'"wallet" length must be less than or equal to {MAXIMUM_LENGTH} characters long'
        )
    if is_like_id(name):
        return errors.MisleadingWalletName(f"invalid wallet name:{name} has the form of an id")
    return None


def is_storable(name: str) -> bool:
    """Return whether PostgreSQL can store the name: it accepts neither NUL nor lone surrogates."""
    return not any(character == "\0" or unicodedata.category(character) == "Cs" for character in name)


def shown(name: str) -> str:
    """Return the name for display, with invisible characters written as their code points."""
    return "".join(
        f"\\u{{{ord(character):04X}}}" if is_invisible(character) or not is_writable(character) else character
        for character in name
    )
