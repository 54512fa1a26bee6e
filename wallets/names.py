"""Names of wallets: which texts may be one, and when two texts are the same name."""

import re
import unicodedata
from typing import Final
from uuid import UUID

MINIMUM_LENGTH: Final = 3
MAXIMUM_LENGTH: Final = 254
MAXIMUM_KEY_LENGTH: Final = 1024

# "The request will work if any or all of the hyphens are removed", but they stand nowhere else.
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


def name_key(name: str) -> str:
    """Return what two names share when they are one name: NFKC, without regard to case."""
    # Folding may leave what NFKC would change again, hence the second pass.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def is_writable(name: str) -> bool:
    """Tell whether a name is free of white space, control, format and unassigned characters."""
    # Invisible and direction-changing characters (category Cf) make two names look like one.
    return not any(unicodedata.category(character)[0] in "CZ" for character in name)


def parse_uuid(text: str) -> UUID | None:
    """Return the UUID that `text` writes with or without hyphens, or None."""
    return UUID(text) if _UUID.fullmatch(text) else None
