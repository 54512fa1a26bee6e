"""The 25 servers as a grid of cells. Each state has its own mark, so that no information is given by colour only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from lockers.models import Attempt
from lockers.raida.letters import LETTERS
from lockers.raida.statuses import Status
from lockers.reports import ServerStatus


@dataclass(frozen=True, slots=True)
class Cell:
    """One server: CSS class, mark, and a text for the tooltip and screen readers."""

    raida: int
    css: str
    mark: str
    title: str
    note: str = ""


# CSS class of each letter.
_CLASSES: Final = {
    "p": "c-pass",
    "f": "c-fail",
    "w": "c-wait",
    "n": "c-silent",
    "e": "c-error",
    "d": "c-down",
    "b": "c-error",
    "u": "c-none",
}


def of_board(board: str) -> list[Cell]:
    """Return the cells of 25 letters."""
    return [
        Cell(raida, _CLASSES[letter], LETTERS[letter].symbol, f"RAIDA {raida}: {LETTERS[letter].words}")
        for raida, letter in enumerate(board)
    ]


def _of_answer(code: int | None) -> tuple[str, str, str]:
    match code:
        case None:
            return "c-none", "·", "not asked"
        case Attempt.Unanswered.SENT:
            return "c-none", "…", "sent, no answer recorded"
        case Attempt.Unanswered.AWAITED:
            return "c-wait", "›", Attempt.Unanswered.AWAITED.label
        case Attempt.Unanswered.GIVEN_UP:
            return "c-none", "·", Attempt.Unanswered.GIVEN_UP.label
        case Attempt.Unanswered.TIMEOUT:
            return "c-silent", "?", "silent until the deadline"
        case Attempt.Unanswered.REFUSED | Attempt.Unanswered.NETWORK:
            return "c-down", "–", Attempt.Unanswered(code).label
        case Attempt.Unanswered.MISMATCH | Attempt.Unanswered.GARBAGE:
            return "c-error", "!", Attempt.Unanswered(code).label
        case Status.ALL_PASS | Status.SUCCESS | Status.FIND_ALL_AN | Status.FIND_ALL_PAN | Status.FIND_MIXED:
            return "c-pass", "✓", _name(code)
        case Status.ALL_FAIL | Status.MIXED | Status.LOCKER_EMPTY_OR_NOT_EXISTS | Status.FIND_NEITHER:
            return "c-fail", "✗", _name(code)
        case _:
            return "c-error", "!", _name(code)


def _name(code: int) -> str:
    known = {status.value: status.name.lower().replace("_", " ") for status in Status}
    return f"answered {code}, {known[code]}" if code in known else f"answered {code}"


def of_answers(answers: Sequence[int | None]) -> list[Cell]:
    """Return the cells of an attempt's 25 answers."""
    found = []
    for raida, code in enumerate(answers):
        css, mark, words = _of_answer(code)
        found.append(Cell(raida, css, mark, f"RAIDA {raida}: {words}"))
    return found


# An answer from this latency on is shown as slow.
SLOW_MILLISECONDS: Final = 1000
# A worker polls the servers every 30 seconds.
OLD_ANSWER: Final = timedelta(minutes=5)


def of_server(server: ServerStatus, *, now: datetime) -> Cell:
    """Return the cell of one server on the home page."""
    name = f"RAIDA {server.raida}"
    if server.is_silent:
        why = (
            f"silent {server.silences:,} times in a row"
            if server.silences > 1
            else f"silent ({server.outcome or 'to a task'})"
        )
        last = f", last answer {server.answered_at:%Y-%m-%d %H:%M:%S} UTC" if server.answered_at else ", never answered"
        return Cell(server.raida, "c-down", "–", f"{name}: {why}{last}", "silent")
    if server.answered_at is None or server.milliseconds is None:
        return Cell(server.raida, "c-none", "·", f"{name}: not asked yet", "not asked")
    took = f"{server.milliseconds:,} ms"
    detail = f"{took}, last answer {server.answered_at:%Y-%m-%d %H:%M:%S} UTC"
    if server.milliseconds >= SLOW_MILLISECONDS:
        return Cell(server.raida, "c-silent", "~", f"{name}: slow, {detail}", took)
    if now - server.answered_at > OLD_ANSWER:
        return Cell(server.raida, "c-none", "◷", f"{name}: answered, but not lately: {detail}", "old")
    return Cell(server.raida, "c-pass", "✓", f"{name}: up, {detail}", took)


SERVER_LEGEND: Final = (
    ("c-pass", "✓", "answered"),
    ("c-silent", "~", "slow"),
    ("c-down", "–", "silent"),
    ("c-none", "◷", "not asked lately"),
)
ANSWER_LEGEND: Final = (
    ("c-pass", "✓", "accepted"),
    ("c-fail", "✗", "refused"),
    ("c-wait", "›", "answer outstanding"),
    ("c-silent", "?", "silent"),
    ("c-down", "–", "not reached"),
    ("c-error", "!", "error"),
    ("c-none", "·", "not asked"),
)
