"""The letters of servers: one for each of the 25 in a pown string (the RAIDA protocol, sections 7.2 and 7.7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Letter:
    """
    A letter, the words and the symbol for it on pages, and its half byte in a coin file.

    `nibble` is None for a letter that no coin file has.
    """

    letter: str
    words: str
    symbol: str
    nibble: int | None


PASSED: Final = "p"
FAILED: Final = "f"
UNTRIED: Final = "u"
NO_REPLY: Final = "n"
ERROR: Final = "e"
BROKEN_KEY: Final = "b"
DROPPED: Final = "d"
# A task's result needs 13 servers and does not wait for the others. This letter is replaced when the server answers or
# the deadline passes; it is not part of the protocol.
NOT_WAITED_FOR: Final = "w"

LETTERS: Final[Mapping[str, Letter]] = {
    each.letter: each
    for each in (
        Letter(PASSED, "accepted", "✓", 0xA),
        Letter(FAILED, "refused", "✗", 0xF),
        Letter(NOT_WAITED_FOR, "answer outstanding", "›", None),
        Letter(NO_REPLY, "no answer", "?", 0xC),
        Letter(ERROR, "answered with an error", "!", 0xE),
        Letter(DROPPED, "not reached", "–", 0xD),
        Letter(BROKEN_KEY, "could not read the request", "!", 0xB),
        Letter(UNTRIED, "not asked or not answered yet", "·", 0x0),
    )
}
