"""
The letter of one server in a server grid, in a receipt and in a coin's row, and the words for it.

The table of letters is `lockers.raida.letters`; here they are derived from what an attempt records.
"""

from typing import Final

from lockers.models import Attempt
from lockers.raida.letters import DROPPED, ERROR, FAILED, LETTERS, NO_REPLY, NOT_WAITED_FOR, PASSED, UNTRIED
from lockers.raida.statuses import Status

__all__ = ["DESCRIPTION", "NOT_WAITED_FOR", "of_answer", "of_peek"]

DESCRIPTION: Final = (
    "Each of the 25 letters is one server, RAIDA 0 first: "
    + ", ".join(f"`{each.letter}` {each.words}" for each in LETTERS.values())
    + ". A task ends when 13 servers agree. Letters `w` become others within seconds, when those servers answer or"
    " the deadline passes; after a put the servers that lack the coins are asked again, and given them. `servers` says"
    " on how many servers the coin with the fewest and the one with the most is stored; it changes with the letters."
)


def of_answer(code: int | None) -> str:
    """The letter for what an attempt records of a server: a status, or an `Attempt.Unanswered`, which is negative."""
    match code:
        case None | Attempt.Unanswered.SENT:
            return UNTRIED
        case Status.ALL_PASS | Status.SUCCESS | Status.FIND_ALL_AN | Status.FIND_ALL_PAN | Status.FIND_MIXED:
            return PASSED
        case Status.ALL_FAIL | Status.MIXED | Status.LOCKER_EMPTY_OR_NOT_EXISTS | Status.FIND_NEITHER:
            return FAILED
        case Attempt.Unanswered.REFUSED:
            return DROPPED
        case Attempt.Unanswered.AWAITED:
            return NOT_WAITED_FOR
        case _:
            return NO_REPLY if code < 0 else ERROR


def of_peek(code: int | None) -> str:
    """The letter for an answer to a peek."""
    match code:
        case None:
            return UNTRIED
        case Status.ALL_PASS:
            return PASSED
        case Status.ALL_FAIL | Status.LOCKER_EMPTY_OR_NOT_EXISTS:
            return FAILED
        case Attempt.Unanswered.GIVEN_UP:
            return NOT_WAITED_FOR
        case _:
            return NO_REPLY if code < 0 else ERROR
