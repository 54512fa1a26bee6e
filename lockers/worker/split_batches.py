"""
Finding out which coins make servers refuse a question as a whole.

A server that is asked about a serial number which it does not keep answers with one status for all coins of the request
(the RAIDA protocol, section 6). Where most servers do so, they are asked again in halves, the largest part first, down
to the coins that are refused by themselves. Only for commands that change nothing: those may be asked twice.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from lockers.raida.commands import Command
from lockers.raida.statuses import Status
from lockers.transport import Answer
from lockers.worker.messages import Reply, Results, Targets

HALVED: Final = frozenset({Command.FIND, Command.DETECT})
# Further questions after one that was refused: enough to find two coins among a thousand, or four among fifty. What is
# left then stays unanswered, like a silence.
MOST: Final = 40

Replies = dict[int, tuple[Reply, ...]]


def refusing(results: Results) -> set[int]:
    """Return the servers that refused a request because of some coin in it."""
    return {
        raida
        for raida, result in results.items()
        if isinstance(result, Answer) and result.status == Status.INVALID_SN_OR_DENOMINATION
    }


def ask(chosen: Targets, question: Callable[[Targets], tuple[Replies, set[int]]]) -> Replies:
    """
    Return what `question` tells of the chosen coins, asking in halves where most servers refuse a part as a whole.

    `question` returns the replies, and the servers that refused.
    """
    told, refused = question(chosen)
    if not _is_refused(chosen, refused):
        return told
    found = {raida: dict(zip(chosen[raida], replies, strict=True)) for raida, replies in told.items()}
    parts: deque[Targets] = deque([{raida: chosen[raida] for raida in refused}])
    asked = 0
    while parts and asked < MOST:
        for half in _halves(parts.popleft()):
            told, refused = question(half)
            asked += 1
            for raida, replies in told.items():
                found[raida] |= dict(zip(half[raida], replies, strict=True))
            if _is_refused(half, refused):
                parts.append({raida: half[raida] for raida in refused})
    return {raida: tuple(found[raida][index] for index in indices) for raida, indices in chosen.items()}


def _is_refused(chosen: Targets, refused: set[int]) -> bool:
    return 2 * len(refused) > len(chosen)


def _halves(part: Targets) -> list[Targets]:
    """Two parts of the coins, none if it is one coin."""
    indices = sorted({index for each in part.values() for index in each})
    if len(indices) < 2:
        return []
    middle = indices[len(indices) // 2]
    halves: list[Targets] = [
        {raida: tuple(index for index in each if index < middle) for raida, each in part.items()},
        {raida: tuple(index for index in each if index >= middle) for raida, each in part.items()},
    ]
    return [{raida: each for raida, each in half.items() if each} for half in halves]
