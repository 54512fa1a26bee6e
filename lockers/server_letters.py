"""
The letter of one server on a board, in a receipt and in a coin's row, and the words for it.

They are those of the RAIDA protocol, section 7.7, and one more: a verdict needs 13 servers, and does not wait for the
others. Such a letter becomes another when the server answers or the deadline has passed.
"""

from collections.abc import Mapping
from typing import Final

from lockers.models import Attempt
from lockers.raida.statuses import Status

NOT_WAITED_FOR: Final = "w"

WORDS: Final[Mapping[str, str]] = {
    "p": "accepted",
    "f": "refused",
    NOT_WAITED_FOR: "not waited for yet",
    "n": "no answer",
    "e": "answered with an error",
    "d": "not reached",
    "b": "could not read the request",
    "u": "not asked or not answered yet",
}

DESCRIPTION: Final = (
    "Each of the 25 letters is one server, RAIDA 0 first: "
    + ", ".join(f"`{letter}` {words}" for letter, words in WORDS.items())
    + ". A task ends when 13 servers agree. Letters `w` become others within seconds, when those servers answer or"
    " the deadline passes; after a put the servers that lack the coins are asked again, and given them. `servers` says"
    " on how many servers the coin with the fewest and the one with the most is stored; it changes with the letters."
)


def of_answer(code: int | None) -> str:
    """The letter for what an attempt records of a server: a status, or an `Attempt.Unanswered` below 0."""
    match code:
        case None | Attempt.Unanswered.SENT:
            return "u"
        case Status.ALL_PASS | Status.SUCCESS | Status.FIND_ALL_AN | Status.FIND_ALL_PAN | Status.FIND_MIXED:
            return "p"
        case Status.ALL_FAIL | Status.MIXED | Status.LOCKER_EMPTY_OR_NOT_EXISTS | Status.FIND_NEITHER:
            return "f"
        case Attempt.Unanswered.REFUSED:
            return "d"
        case Attempt.Unanswered.AWAITED:
            return NOT_WAITED_FOR
        case _:
            return "n" if code < 0 else "e"


def of_peek(code: int | None) -> str:
    """The letter for an answer to a peek."""
    match code:
        case None:
            return "u"
        case Status.ALL_PASS:
            return "p"
        case Status.ALL_FAIL | Status.LOCKER_EMPTY_OR_NOT_EXISTS:
            return "f"
        case Attempt.Unanswered.GIVEN_UP:
            return NOT_WAITED_FOR
        case _:
            return "n" if code < 0 else "e"
