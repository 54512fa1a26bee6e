"""Pown strings and the grade of a coin (the RAIDA protocol, sections 7.7 and 8)."""

from enum import Enum
from typing import Final

from lockers.raida import errors
from lockers.raida.letters import BROKEN_KEY, ERROR, FAILED, LETTERS, NO_REPLY, PASSED
from lockers.raida.statuses import QUORUM, RAIDA_COUNT

# Each letter's half byte in a coin file (section 7.2).
_NIBBLES: Final = {each.letter: each.nibble for each in LETTERS.values() if each.nibble is not None}
_LETTERS: Final = {nibble: letter for letter, nibble in _NIBBLES.items()}
_FILLER_NIBBLE: Final = 0x9

POWN_SIZE: Final = 13


class Grade(Enum):
    """The state of a coin according to its pown string."""

    BANK = "bank"
    FRACKED = "fracked"
    COUNTERFEIT = "counterfeit"
    ERRORED = "errored"
    LIMBO = "limbo"
    BADKEY = "badkey"


_MAJORITIES: Final = (
    (FAILED, Grade.COUNTERFEIT),
    (ERROR, Grade.ERRORED),
    (NO_REPLY, Grade.LIMBO),
    (BROKEN_KEY, Grade.BADKEY),
)
_REMAINDERS: Final = (
    (NO_REPLY, Grade.LIMBO),
    (FAILED, Grade.FRACKED),
    (BROKEN_KEY, Grade.BADKEY),
)


def is_pown(text: str) -> bool:
    """Whether a text is 25 letters of a pown string, server 0 first."""
    return len(text) == RAIDA_COUNT and all(letter in _NIBBLES for letter in text)


def grade(pown: str) -> Grade:
    """
    The grade of a pown string, by the first rule that fits.

    13 servers decide. An outage never makes a coin counterfeit: only 13 servers that answer "not authentic" do.

    :raises Unencodable: not a pown string
    """
    _require_pown(pown)
    if pown.count(PASSED) >= QUORUM:
        return Grade.FRACKED if FAILED in pown else Grade.BANK
    for letter, verdict in _MAJORITIES:
        if pown.count(letter) >= QUORUM:
            return verdict
    for letter, verdict in _REMAINDERS:
        if letter in pown:
            return verdict
    return Grade.ERRORED


def encode_pown(pown: str) -> bytes:
    """
    Encode a pown string in 13 bytes, the high half first, the last half unused.

    :raises Unencodable: not a pown string
    """
    _require_pown(pown)
    number = 0
    for letter in pown:
        number = number << 4 | _NIBBLES[letter]
    return (number << 4 | _FILLER_NIBBLE).to_bytes(POWN_SIZE, "big")


def decode_pown(data: bytes) -> str | None:
    """Return the pown string of 13 bytes, None if they are something else."""
    letters = [_LETTERS.get(int(digit, 16)) for digit in data.hex()[:RAIDA_COUNT]]
    text = "".join(letter for letter in letters if letter is not None)
    return text if len(text) == RAIDA_COUNT else None


def _require_pown(pown: str) -> None:
    if not is_pown(pown):
        raise errors.Unencodable("a pown string is 25 of the letters p, f, u, n, e, b and d")
