"""
What becomes of a coin when a task ends, from what each server said. Pure.

13 of 25 decide (the RAIDA protocol, section 8). A server that was silent never counts against
a coin; as long as silent servers could still tip the balance, the coin is in limbo and both of
its secrets are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from lockers.raida import grades
from lockers.raida.coins import format_amount
from lockers.raida.statuses import QUORUM
from lockers.states import SPENDABLE, CoinState, Mark, TaskKind

_STATES: Final = {
    grades.Grade.BANK: CoinState.BANK,
    grades.Grade.FRACKED: CoinState.FRACKED,
    grades.Grade.COUNTERFEIT: CoinState.COUNTERFEIT,
    grades.Grade.ERRORED: CoinState.ERRORED,
    grades.Grade.LIMBO: CoinState.LIMBO,
    grades.Grade.BADKEY: CoinState.ERRORED,
}
# Letters of the pown string (section 7.7) for the marks.
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
    """Which numbers to keep. With OLD, NEW and MIXED each server's one number is known."""

    OLD = "old"
    NEW = "new"
    MIXED = "mixed"  # the new number where the server passed, else the old one
    REVERTED = "reverted"  # the old ones, and again the keys of the locker beside them
    MIXED_BOTH = "mixed_both"  # the same, and the new ones beside it for servers that did not pass
    BOTH = "both"  # all old and all new ones
    UNTOUCHED = "untouched"


@dataclass(frozen=True, slots=True)
class Ending:
    """
    `state` is None for a coin that nothing was ever sent about and that never became ours.

    `pown` is what the row remembers, `shown` what the receipt says of this task.
    """

    state: CoinState | None
    pown: str
    shown: str
    secrets: Secrets
    stays_in_locker: bool = False
    stays_releasing: bool = False


def shown(marks: str) -> str:
    """The letters of a pown string that tell a user what these marks mean."""
    return marks.translate(_SHOWN)


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
        # A server that was not asked may hold any number that the row knows of, unless it refused the coin before.
        letters = "".join(
            "f" if mark == Mark.UNASKED and before == "f" else letter
            for mark, before, letter in zip(marks, pown, shown, strict=True)
        )
        kept = Secrets.UNTOUCHED if "n" in pown and state in SPENDABLE else Secrets.OLD
        return Ending(CoinState.LOCKED, letters, shown, kept, stays_in_locker=True)
    # Only where the put may have been carried out does "neither" tell that somebody was there.
    gone = sum(
        mark == Mark.GONE and (state is not CoinState.LIMBO or before == "n")
        for mark, before in zip(marks, pown, strict=True)
    )
    if gone >= QUORUM:
        # It was stored, and whoever has the code has taken it already.
        return Ending(CoinState.SENT, shown.replace("u", "f"), shown, Secrets.OLD, stays_in_locker=True)
    if set(marks) <= {Mark.UNASKED, Mark.UNREACHED} and state in SPENDABLE:
        return Ending(state, pown, shown, Secrets.UNTOUCHED)
    # What the server is known to hold of the *old* numbers.
    letters = "".join(_letter_of_old(mark, before) for mark, before in zip(marks, pown, strict=True))
    if letters.count("p") >= QUORUM and state is CoinState.LIMBO:
        # To be released first: whatever was silent once may have a request of ours still to come.
        return Ending(CoinState.LIMBO, letters, shown, Secrets.BOTH, stays_in_locker=True)
    if letters.count("p") >= QUORUM:
        grade = CoinState.FRACKED if "f" in letters else CoinState.BANK
        return Ending(grade, letters, shown, Secrets.BOTH if "n" in letters else Secrets.OLD)
    # Also where 13 deny a coin that they accepted before: servers that fail may come to their senses, and what
    # was once called false would be lost.
    return Ending(CoinState.LIMBO, letters, shown, Secrets.BOTH, stays_in_locker=True)


def ending_of_release(marks: str, pown: str) -> Ending:
    """
    Return how it ends for a coin whose old numbers are being replaced before it may be spent again.

    Where 13 servers hold neither number a late request has overtaken: then the question is again
    what it was before the release.
    """
    letters_shown = shown(marks)
    letters = "".join("p" if mark == Mark.NEW else "n" if mark in Mark.SENT + Mark.OLD else "f" for mark in marks)
    if letters.count("p") >= QUORUM:
        grade = CoinState.FRACKED if "f" in letters else CoinState.BANK
        kept = Secrets.MIXED_BOTH if "n" in letters else Secrets.MIXED
        return Ending(grade, letters, letters_shown, kept)
    if sum(mark in Mark.REFUSED + Mark.GONE + Mark.NEITHER for mark in marks) >= QUORUM:
        return Ending(CoinState.LIMBO, pown, letters_shown, Secrets.REVERTED, stays_in_locker=True)
    return Ending(CoinState.LIMBO, pown, letters_shown, Secrets.BOTH, stays_in_locker=True, stays_releasing=True)


def ending_of_fix(state: CoinState, marks: str, pown: str) -> Ending:
    """Return how a fix ends for a coin: nothing that a server knew before can be lost by one."""
    letters = "".join(
        "p" if mark == Mark.NEW else "n" if mark in Mark.SENT + Mark.ERROR else before
        for mark, before in zip(marks, pown, strict=True)
    )
    grade = CoinState.FRACKED if "f" in letters else CoinState.BANK
    if set(marks) <= {Mark.UNASKED, Mark.UNREACHED}:
        return Ending(grade, letters, letters, Secrets.UNTOUCHED)
    return Ending(grade, letters, letters, Secrets.MIXED_BOTH if "n" in letters else Secrets.MIXED)


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
    if set(marks) <= {Mark.UNASKED, Mark.UNREACHED}:
        if state is CoinState.INCOMING:
            return Ending(None, pown, shown, Secrets.UNTOUCHED)
        if state in SPENDABLE:
            return Ending(state, pown, shown, Secrets.UNTOUCHED)
    passes = marks.count(Mark.NEW)
    letters = "".join(_letter_of_new(mark, is_ours=passes >= QUORUM) for mark in marks)
    grade = _STATES[grades.grade(letters.replace("d", "n") if passes < QUORUM else letters)]
    if grade in SPENDABLE and passes < QUORUM:
        # Neither 13 for it nor 13 against it: not money, and not proved false.
        grade = CoinState.ERRORED
    if grade is CoinState.COUNTERFEIT and origin is TaskKind.TAKE:
        grade = CoinState.MISSED
    if grade not in SPENDABLE:
        return Ending(grade, letters, shown, Secrets.BOTH)
    if passes == len(marks):
        return Ending(grade, letters, shown, Secrets.NEW)
    # A server that refused may get the number later that it should have held before: what it would be given then is
    # kept for each that did not pass.
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
            # The server holds the number that the giver knows too: to be healed once the coin is ours.
            return "f" if is_ours else "n"
        case _:
            return "n"


@dataclass(frozen=True, slots=True)
class BreakEnding:
    """
    What becomes of a coin that was to be broken, and of its ten; `change` is None for ten that never were.

    `pown` and `change_pown` are what their rows remember.
    """

    broken: CoinState
    pown: str
    change: CoinState | None
    change_pown: str


def ending_of_break(*, state: CoinState, marks: str, pown: str) -> BreakEnding:
    """Return how a break ends for a coin that is in `state`, with these marks, and had `pown` before."""
    if set(marks) <= {Mark.UNASKED, Mark.UNREACHED}:
        return BreakEnding(state, pown, None, "u" * len(marks))
    of_change = "".join(_LETTERS_OF_CHANGE.get(mark, "f") for mark in marks)
    if marks.count(Mark.NEW) >= QUORUM:
        grade = CoinState.FRACKED if "f" in of_change else CoinState.BANK
        return BreakEnding(CoinState.BROKEN, pown, grade, of_change)
    letters = "".join(
        "f" if mark == Mark.NEW else _letter_of_old(mark, before) for mark, before in zip(marks, pown, strict=True)
    )
    if letters.count("p") >= QUORUM and state is not CoinState.LIMBO:
        grade = CoinState.FRACKED if "f" in letters else CoinState.BANK
        return BreakEnding(grade, letters, CoinState.VOID, of_change)
    return BreakEnding(CoinState.LIMBO, letters, CoinState.CHANGE, of_change)


# Where the break was refused or undone the server has none of the ten.
_LETTERS_OF_CHANGE: Final = {Mark.NEW: "p", Mark.SENT: "n", Mark.OLD: "n", Mark.ERROR: "n"}


def commonest(votes: Sequence[Mapping[str, int]]) -> str:
    """The letter that most coins have at each server; u where none has any."""
    return "".join(max(each, key=lambda letter: each[letter]) if each else "u" for each in votes)


def coins_text(units: int) -> str:
    """An amount as a user reads it."""
    return f"{format_amount(units)} CloudCoin"
