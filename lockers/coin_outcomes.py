"""
The final state of a coin when a task ends, from the responses of the servers. Pure.

13 of 25 servers decide (the RAIDA protocol, section 8). A server that did not respond never counts against a coin.
While such servers could still change the outcome, the coin is in limbo and both of its secrets are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from lockers.raida import grades
from lockers.raida.coins import UNITS_PER_COIN, format_amount
from lockers.raida.statuses import QUORUM
from lockers.states import SPENDABLE, CoinState, Mark, TaskKind
from wallets.wording import verb

_STATES: Final = {
    grades.Grade.BANK: CoinState.BANK,
    grades.Grade.FRACKED: CoinState.FRACKED,
    grades.Grade.COUNTERFEIT: CoinState.COUNTERFEIT,
    grades.Grade.ERRORED: CoinState.ERRORED,
    grades.Grade.LIMBO: CoinState.LIMBO,
    grades.Grade.BADKEY: CoinState.ERRORED,
}
# The letter of the pown string (section 7.7) for each mark.
_SHOWN: Final = str.maketrans(
    {
        Mark.UNASKED: "u",
        Mark.SENT: "n",
        Mark.OLD: "n",
        Mark.NEW: "p",
        Mark.REFUSED: "f",
        Mark.GONE: "f",
        Mark.NEITHER: "f",
        Mark.KEPT: "f",
        Mark.ERROR: "e",
        Mark.UNREADABLE: "b",
        Mark.UNREACHED: "d",
    }
)


class Secrets(Enum):
    """Which authenticity numbers to keep. With OLD, NEW and MIXED the number that each server holds is known."""

    OLD = "old"
    NEW = "new"
    MIXED = "mixed"  # the new number where the server passed, else the old one
    REVERTED = "reverted"  # the old numbers, with the locker's keys as the proposed ones again
    MIXED_BOTH = "mixed_both"  # as MIXED, and the new numbers as proposed ones for servers that did not pass
    BOTH = "both"  # all old and all new ones
    UNTOUCHED = "untouched"


@dataclass(frozen=True, slots=True)
class Ending:
    """
    How a task ends for one coin: its state, letters and numbers.

    `state` is None for an incoming coin about which no request was sent; its row is deleted. `pown` is stored with the
    coin, `shown` with the task's receipt.
    """

    state: CoinState | None
    pown: str
    shown: str
    secrets: Secrets
    stays_in_locker: bool = False
    stays_releasing: bool = False


def shown(marks: str) -> str:
    """Return the pown string that shows 25 marks to a user."""
    return marks.translate(_SHOWN)


def _grade_of(letters: str) -> CoinState:
    """Return the state of a coin that 13 servers accept: fracked if a server refuses it."""
    return CoinState.FRACKED if "f" in letters else CoinState.BANK


def _was_never_sent(marks: str) -> bool:
    return set(marks) <= {Mark.UNASKED, Mark.UNREACHED}


# Most coins of a batch have the same marks.
@lru_cache(maxsize=1024)
def ending(*, state: CoinState, is_put: bool, is_release: bool, origin: TaskKind, marks: str, pown: str) -> Ending:
    """Return how a task ends for a coin that is in `state` with these marks, and had `pown` before."""
    if is_release:
        return ending_of_release(marks, pown)
    if is_put:
        return _ending_of_put(state, marks, pown)
    return _ending_of_arrival(state, origin, marks, pown)


def _ending_of_put(state: CoinState, marks: str, pown: str) -> Ending:
    shown = marks.translate(_SHOWN)
    if marks.count(Mark.NEW) >= QUORUM:
        # A server that was not asked may hold either number of the row, unless it refused the coin before.
        letters = "".join(
            "f" if mark == Mark.UNASKED and before == "f" else letter
            for mark, before, letter in zip(marks, pown, shown, strict=True)
        )
        kept = Secrets.UNTOUCHED if "n" in pown and state in SPENDABLE else Secrets.OLD
        return Ending(CoinState.LOCKED, letters, shown, kept, stays_in_locker=True)
    # A server that holds neither number proves a take only if it may have carried out the put.
    gone = sum(
        mark == Mark.GONE and (state is not CoinState.LIMBO or before == "n")
        for mark, before in zip(marks, pown, strict=True)
    )
    if gone >= QUORUM:
        # It was stored, and another holder of the code has taken it since.
        return Ending(CoinState.SENT, shown.replace("u", "f"), shown, Secrets.OLD, stays_in_locker=True)
    if _was_never_sent(marks) and state in SPENDABLE:
        return Ending(state, pown, shown, Secrets.UNTOUCHED)
    # Per server, whether it still holds the old number.
    letters = "".join(_letter_of_old(mark, before) for mark, before in zip(marks, pown, strict=True))
    if letters.count("p") >= QUORUM and state is CoinState.LIMBO:
        # Released first: a delayed request may still reach a server that did not respond.
        return Ending(CoinState.LIMBO, letters, shown, Secrets.BOTH, stays_in_locker=True)
    if letters.count("p") >= QUORUM:
        return Ending(_grade_of(letters), letters, shown, Secrets.BOTH if "n" in letters else Secrets.OLD)
    # Do not mark counterfeit, not even if 13 servers refuse a coin that they accepted before: faulty servers may
    # recover, and COUNTERFEIT is terminal.
    return Ending(CoinState.LIMBO, letters, shown, Secrets.BOTH, stays_in_locker=True)


def ending_of_release(marks: str, pown: str) -> Ending:
    """
    Return how a release ends: the replacement of a coin's old numbers before it may be spent again.

    If 13 servers hold neither number, a delayed request was executed first: the coin is again as before the release.
    """
    letters_shown = shown(marks)
    letters = "".join("p" if mark == Mark.NEW else "n" if mark in Mark.SENT + Mark.OLD else "f" for mark in marks)
    if letters.count("p") >= QUORUM:
        kept = Secrets.MIXED_BOTH if "n" in letters else Secrets.MIXED
        return Ending(_grade_of(letters), letters, letters_shown, kept)
    if sum(mark in Mark.REFUSED + Mark.GONE + Mark.NEITHER for mark in marks) >= QUORUM:
        return Ending(CoinState.LIMBO, pown, letters_shown, Secrets.REVERTED, stays_in_locker=True)
    return Ending(CoinState.LIMBO, pown, letters_shown, Secrets.BOTH, stays_in_locker=True, stays_releasing=True)


def ending_of_fix(state: CoinState, marks: str, pown: str) -> Ending:
    """Return how a fix ends for a coin. A fix never takes a number away from a server."""
    letters = "".join(
        "p" if mark == Mark.NEW else "n" if mark in Mark.SENT + Mark.ERROR else before
        for mark, before in zip(marks, pown, strict=True)
    )
    if _was_never_sent(marks):
        return Ending(_grade_of(letters), letters, letters, Secrets.UNTOUCHED)
    return Ending(_grade_of(letters), letters, letters, Secrets.MIXED_BOTH if "n" in letters else Secrets.MIXED)


def _letter_of_old(mark: str, before: str) -> str:
    match mark:
        case Mark.KEPT:
            return "p"
        case Mark.NEITHER | Mark.GONE:
            return "f"
        case Mark.UNASKED | Mark.UNREACHED | Mark.UNREADABLE | Mark.REFUSED:
            return before
        case _:
            return "n"


def _ending_of_arrival(state: CoinState, origin: TaskKind, marks: str, pown: str) -> Ending:
    shown = marks.translate(_SHOWN)
    if _was_never_sent(marks) and (state is CoinState.INCOMING or state in SPENDABLE):
        return Ending(state if state in SPENDABLE else None, pown, shown, Secrets.UNTOUCHED)
    passes = marks.count(Mark.NEW)
    letters = "".join(_letter_of_new(mark, is_ours=passes >= QUORUM) for mark in marks)
    grade = _STATES[grades.grade(letters)]
    if grade in SPENDABLE and passes < QUORUM:
        # Neither 13 passes nor 13 refusals: not spendable, and not proved counterfeit.
        grade = CoinState.ERRORED
    if grade is CoinState.COUNTERFEIT and origin is TaskKind.TAKE:
        grade = CoinState.MISSED
    if grade not in SPENDABLE:
        return Ending(grade, letters, shown, Secrets.BOTH)
    if passes == len(marks):
        return Ending(grade, letters, shown, Secrets.NEW)
    # A server that did not pass may still receive the proposed number later, in a fix: keep it.
    return Ending(grade, letters, shown, Secrets.MIXED_BOTH)


def _letter_of_new(mark: str, *, is_ours: bool) -> str:
    match mark:
        case Mark.NEW:
            return "p"
        case Mark.REFUSED | Mark.NEITHER | Mark.GONE:
            return "f"
        case Mark.ERROR:
            return "e"
        case Mark.OLD | Mark.KEPT | Mark.UNASKED | Mark.UNREACHED | Mark.UNREADABLE:
            # The server holds the number that the giver knows too: refused, so that a fix replaces it.
            return "f" if is_ours else "n"
        case _:
            return "n"


@dataclass(frozen=True, slots=True)
class BreakEnding:
    """
    The final states of a broken coin and of its ten; `change` is None if the ten were never requested.

    `pown` and `change_pown` are stored with their rows.
    """

    broken: CoinState
    pown: str
    change: CoinState | None
    change_pown: str


def ending_of_break(*, state: CoinState, marks: str, pown: str) -> BreakEnding:
    """Return how a break ends for a coin that is in `state`, with these marks, and had `pown` before."""
    if _was_never_sent(marks):
        return BreakEnding(state, pown, None, "u" * len(marks))
    of_change = "".join(_LETTERS_OF_CHANGE.get(mark, "f") for mark in marks)
    if marks.count(Mark.NEW) >= QUORUM:
        return BreakEnding(CoinState.BROKEN, pown, _grade_of(of_change), of_change)
    letters = "".join(
        "f" if mark == Mark.NEW else _letter_of_old(mark, before) for mark, before in zip(marks, pown, strict=True)
    )
    if letters.count("p") >= QUORUM and state is not CoinState.LIMBO:
        return BreakEnding(_grade_of(letters), letters, CoinState.VOID, of_change)
    return BreakEnding(CoinState.LIMBO, letters, CoinState.CHANGE, of_change)


# A server with any other mark refused the break or undid it, and has none of the ten.
_LETTERS_OF_CHANGE: Final = {Mark.NEW: "p", Mark.SENT: "n", Mark.OLD: "n", Mark.ERROR: "n"}


def commonest(votes: Sequence[Mapping[str, int]]) -> str:
    """Return for each server the letter that most coins have there; u if no coin has one."""
    return "".join(max(each, key=lambda letter: each[letter]) if each else "u" for each in votes)


def coins_text(units: int) -> str:
    """Return an amount of units of 10^-8 with its currency, e.g. "1.5 CloudCoin"."""
    return f"{format_amount(units)} CloudCoin"


def grouped_coins_text(units: int) -> str:
    """
    Return the same with thousands separators, for the pages of operators. Messages of the API have none.

    >>> grouped_coins_text(1234 * 10**8 + 5 * 10**7)
    '1,234.5 CloudCoin'
    """
    whole, point, part = format_amount(units).partition(".")
    return f"{int(whole):,}{point}{part} CloudCoin"


def amount_verb(units: int, one: str = "is", many: str = "are") -> str:
    """Return the form of a verb that follows `coins_text(units)`: singular for exactly 1 CloudCoin."""
    return verb(1 if units == UNITS_PER_COIN else 2, one, many)
