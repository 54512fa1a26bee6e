"""
What a task that has ended tells: its state, a message, and the result with the sums of its coins.

Every sentence follows from counts, of coins by what became of them and of servers that answered, so that it is true of
any: each says no more than its counts do. The same function tells it when the task ends, and again when a later task
has settled what was left open (`lockers.current_results`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection

from lockers import coin_outcomes, coin_selection
from lockers.models import LockerTask
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import DOUBTFUL, SPENDABLE, CoinState, TaskKind, TaskState
from wallets.wording import counted, verb

# What a client or an operator does about unknown coins, and what happens without them.
ASKED_AGAIN: Final = (
    "The servers are asked again automatically, at first after about 10 seconds and then at least once an hour;"
    " POST /api/v1/find asks at once."
)


@dataclass(slots=True)
class Tally:
    """Value and number of coins by what became of them."""

    units: dict[CoinState, int]
    count: dict[CoinState, int]
    # Of those coins that counted as balance before the task ended.
    spendable_before: int = 0
    # How many coins all 25 servers accept.
    whole: int = 0
    # In limbo on the way into a locker, and not as a coin that was to be broken.
    units_for_locker_in_limbo: int = 0
    # Whether an earlier task had left any of them open.
    had_doubtful: bool = False

    @classmethod
    def empty(cls) -> "Tally":
        return cls({}, {})

    def add(self, state: CoinState, counts: Mapping[int, int]) -> None:
        """So many coins of each denomination."""
        self.units[state] = self.units.get(state, 0) + coin_selection.total(counts)
        self.count[state] = self.count.get(state, 0) + sum(counts.values())

    def units_of(self, *states: CoinState) -> int:
        return sum(self.units.get(state, 0) for state in states)

    def count_of(self, *states: CoinState) -> int:
        return sum(self.count.get(state, 0) for state in states)


@dataclass(frozen=True, slots=True)
class Left:
    """
    What a take or an import did not get, in units.

    `units` are held by wallets of this ledger, or claimed by another task of the same wallet. `waiting` are claimed
    by others; `successor_id` is the task that goes on with them, None if they were given up.
    """

    units: int = 0
    waiting: int = 0
    successor_id: UUID | None = None

    @classmethod
    def of_result(cls, result: Mapping[str, Any]) -> "Left":
        """Return what the result of a task that has ended says of it."""
        units, successor = int(result.get("total_left", 0)), result.get("continued_by")
        return cls(0, units, UUID(successor)) if successor else cls(units)

    def result(self) -> dict[str, Any]:
        """Further fields of a task's result; none if nothing was left."""
        told: dict[str, Any] = {"total_left": self.units + self.waiting} if self.units or self.waiting else {}
        return told | ({"continued_by": str(self.successor_id)} if self.successor_id else {})

    def parts(self, where: str, again: str) -> list[str]:
        """What is said of it: `where` the coins still are, and how they are claimed `again`."""
        parts = []
        if self.waiting:
            who = f"task {self.successor_id} goes on with them" if self.successor_id else again
            parts.append(f"{coin_outcomes.coins_text(self.waiting)} claimed by another task{where}: {who}")
        if self.units:
            parts.append(f"{coin_outcomes.coins_text(self.units)} left: held, or being moved, in this service")
        return parts


def servers_that_answered(task_id: UUID) -> int:
    """Return how many servers answered at least one question of a task, with whatever status."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT position)"
            "  FROM lockers_attempt, unnest(answers) WITH ORDINALITY AS each (code, position)"
            " WHERE task_id = %s AND code >= 0",
            [task_id],
        )
        return int(cursor.fetchone()[0])


def verdict(
    task: LockerTask,
    tally: Tally,
    reason: str = "",
    delivered: Mapping[str, Any] | None = None,
    left: Left = Left(),
    *,
    answered: int,
) -> tuple[TaskState, str, dict[str, Any]]:
    """
    Return the final state of a task, what is said of it, and its result.

    `delivered` is the result of a transfer or an export whose coins have left; `reason` tells why others went wrong;
    `answered` is how many of the servers answered at all.
    """
    if delivered is not None:
        done = "Transferred." if task.kind == TaskKind.TRANSFER else "Exported."
        return TaskState.COMPLETED, done, dict(delivered)
    match task.kind:
        case TaskKind.PUT:
            return _verdict_of_put(task, tally, reason)
        case TaskKind.TAKE:
            return _verdict_of_take(tally, reason, left)
        case TaskKind.IMPORT:
            return _verdict_of_import(tally, reason, answered, left)
        case TaskKind.FIND:
            return _verdict_of_find(tally, reason)
        case TaskKind.BREAK:
            return _verdict_of_break(tally, reason)
        case TaskKind.FIX:
            return _verdict_of_fix(tally, reason)
        case TaskKind.TRANSFER | TaskKind.EXPORT:
            broken = _unknown_break(tally.count_of(*DOUBTFUL))
            return TaskState.ERROR, _sentences("Nothing has left the wallet.", broken, reason), {}
        case _:
            return TaskState.ERROR, reason or "Stopped before the servers answered.", {}


def _sentences(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _were(units: int) -> str:
    return verb(1 if units == UNITS_PER_COIN else 2, "was", "were")


def _unknown_break(coins: int) -> str:
    if not coins:
        return ""
    whether = f"It is unknown whether {counted(coins, 'coin')} {verb(coins, 'was', 'were')} broken."
    return f"{whether} Do not repeat this order before that is known. {ASKED_AGAIN}"


def _verdict_of_put(task: LockerTask, tally: Tally, reason: str) -> tuple[TaskState, str, dict[str, Any]]:
    stored = tally.units_of(CoinState.LOCKED, CoinState.SENT)
    unknown = tally.units_for_locker_in_limbo
    refused = tally.units_of(CoinState.COUNTERFEIT)
    failed = (task.amount or 0) - stored - unknown
    back = failed - refused
    result = {"total_stored": stored, "total_failed": failed, "total_unknown": unknown}
    if stored and not failed and not unknown:
        return TaskState.COMPLETED, "Stored.", result
    state = TaskState.COMPLETED if stored else TaskState.ERROR
    broken = _unknown_break(tally.count_of(*DOUBTFUL)) if not unknown else ""
    if not stored and not unknown and not refused:
        whole = f"Nothing left the wallet: {coin_outcomes.coins_text(back)} {_were(back)} not stored."
        return state, _sentences(whole, broken, reason), result
    parts = []
    if stored:
        parts.append(f"{coin_outcomes.coins_text(stored)} stored")
    if back > 0:
        parts.append(f"{coin_outcomes.coins_text(back)} not stored and back in the wallet")
    if refused:
        parts.append(f"{coin_outcomes.coins_text(refused)} called counterfeit by more than 12 servers")
    if unknown:
        parts.append(
            f"{coin_outcomes.coins_text(unknown)} unknown and perhaps in the locker:"
            f" fewer than {QUORUM} of {RAIDA_COUNT} servers have said what became of it"
        )
    repeat = f"Do not repeat this order. {ASKED_AGAIN}" if unknown else ""
    return state, _sentences("; ".join(parts) + ".", repeat, broken, reason), result


def _verdict_of_take(tally: Tally, reason: str, left: Left) -> tuple[TaskState, str, dict[str, Any]]:
    taken = tally.units_of(*SPENDABLE)
    limbo = tally.units_of(*DOUBTFUL)
    missed = tally.units_of(CoinState.MISSED, CoinState.COUNTERFEIT)
    result = {
        "total": taken,
        "total_unknown": limbo,
        "total_failed": missed,
        "graded": {str(state): number for state, number in tally.count.items()},
        **left.result(),
    }
    left_behind = left.parts(" and still in the locker", "its code still opens it")
    if taken and not limbo and not missed and not left_behind:
        return TaskState.COMPLETED, "Taken.", result
    parts = []
    if taken:
        parts.append(f"{coin_outcomes.coins_text(taken)} taken")
    if missed:
        parts.append(
            f"{coin_outcomes.coins_text(missed)} {_were(missed)} gone: somebody else may have emptied the locker"
        )
    if limbo:
        parts.append(
            f"{coin_outcomes.coins_text(limbo)} unknown: both secrets are kept, so nothing has to be taken again"
        )
    if not parts:
        parts.append((not left_behind and reason) or "Nothing was taken")
        reason = reason if left_behind else ""
    parts += left_behind
    message = "; ".join(parts).removesuffix(".") + "."
    return (
        TaskState.COMPLETED if taken else TaskState.ERROR,
        _sentences(message, ASKED_AGAIN if limbo else "", reason),
        result,
    )


def _verdict_of_import(tally: Tally, reason: str, answered: int, left: Left) -> tuple[TaskState, str, dict[str, Any]]:
    ours = tally.units_of(*SPENDABLE)
    good, coins = tally.count_of(*SPENDABLE), sum(tally.count.values())
    doubtful = tally.count_of(*DOUBTFUL)
    result = {
        "total": ours,
        "pown_results": {
            "total": coins,
            "authentic": tally.count_of(CoinState.BANK),
            "fracked": tally.count_of(CoinState.FRACKED),
            "counterfeit": tally.count_of(CoinState.COUNTERFEIT),
            "limbo": tally.count_of(CoinState.LIMBO),
            "errored": tally.count_of(CoinState.ERRORED),
        },
        **left.result(),
    }
    left_behind = [f"{part}." for part in left.parts("", "import the file again")]
    if not coins:
        if left_behind:
            return TaskState.ERROR, _sentences("Nothing was imported.", *left_behind, reason), result
        return TaskState.ERROR, reason or nothing_changed(answered), result
    if good == coins:
        return TaskState.COMPLETED, _sentences("Imported.", *left_behind, reason), result
    head = f"{good} of {counted(coins, 'coin')} imported." if good else "No coin could be proved authentic."
    parts = [head]
    if refused := tally.count_of(CoinState.COUNTERFEIT):
        parts.append(f"{counted(refused, 'coin')} {verb(refused)} counterfeit by the word of more than 12 servers.")
    if missed := tally.count_of(CoinState.MISSED):
        parts.append(f"{counted(missed, 'coin')} {verb(missed)} somebody else's by now.")
    if doubtful:
        parts.append(
            f"{counted(doubtful, 'coin')} {verb(doubtful)} unknown: both secrets are kept, and"
            f" {verb(doubtful, 'it has', 'they have')} not to be sent again. {ASKED_AGAIN}"
        )
    return TaskState.COMPLETED, _sentences(*parts, *left_behind, reason), result


def nothing_changed(answered: int) -> str:
    """Say why nothing is known of any coin, when so many servers answered."""
    if not answered:
        return "No server answered; nothing was changed."
    if answered < QUORUM:
        return f"Only {answered} of {RAIDA_COUNT} servers answered, and {QUORUM} decide; nothing was changed."
    return (
        f"{answered} of {RAIDA_COUNT} servers answered, but fewer than {QUORUM} said what they hold of the coins;"
        " nothing was changed."
    )


def seconds_until_quiet() -> int:
    """How long after a find the next one may learn more: whatever was sent before has arrived then."""
    return max(1, math.ceil(2 * settings.RAIDA_TIMEOUT_SECONDS))


def _verdict_of_find(tally: Tally, reason: str) -> tuple[TaskState, str, dict[str, Any]]:
    result = {"found": {str(state): number for state, number in tally.count.items()}}
    still = tally.count_of(*DOUBTFUL)
    if not still:
        return TaskState.COMPLETED, "Every coin was found.", result
    message = (
        f"{counted(still, 'coin')} {verb(still)} still unknown. Ask again in {counted(seconds_until_quiet(), 'second')}"
        " or later (POST /api/v1/find); the servers are asked again automatically within the hour."
    )
    return TaskState.COMPLETED, _sentences(message, reason), result


def _verdict_of_fix(tally: Tally, reason: str) -> tuple[TaskState, str, dict[str, Any]]:
    coins = sum(tally.count.values())
    if not coins:
        # Its time was over before it had looked which coins there are to heal.
        return TaskState.ERROR, reason or "Stopped before the servers answered.", {}
    result = {
        "coins_processed": coins,
        "coins_healed": tally.whole,
        "coins_fracked": tally.count_of(CoinState.FRACKED),
    }
    if tally.whole == coins:
        return TaskState.COMPLETED, "Every coin is accepted by all servers.", result
    left = f"All servers accept {tally.whole} of {counted(coins, 'coin')}; the rest will be tried again"
    return TaskState.COMPLETED, _sentences(f"{left}.", reason), result


def _verdict_of_break(tally: Tally, reason: str) -> tuple[TaskState, str, dict[str, Any]]:
    broken, unknown = tally.units_of(CoinState.BROKEN), tally.units_of(*DOUBTFUL)
    result = {
        "total": broken,
        "total_unknown": unknown,
        "graded": {str(state): number for state, number in tally.count.items()},
    }
    if broken:
        return TaskState.COMPLETED, "Broken into ten.", result
    if unknown:
        message = "It is unknown whether the coin was broken: its secrets are kept. Do not repeat this order."
        return TaskState.ERROR, _sentences(message, ASKED_AGAIN, reason), result
    if tally.units_of(*SPENDABLE):
        whole = "Nothing left the wallet: the coin was not broken and is back in it."
        return TaskState.ERROR, _sentences(whole, reason), result
    return TaskState.ERROR, _sentences("The coin was not broken.", reason), result
