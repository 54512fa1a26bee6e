"""
The result of a task that has ended: its state, a message, and the sums of its coins.

Everything is derived from counts: of coins by final state, and of servers that answered. `verdict` is called when the
task ends, and again when a later task has settled coins that it left in limbo (`lockers.current_results`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection

from lockers.coin_outcomes import amount_verb, coins_text
from lockers.models import LockerTask
from lockers.raida.coins import total_value
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import DOUBTFUL, SPENDABLE, CoinState, TaskKind, TaskState
from wallets.wording import counted, verb

# The next step for coins in limbo, and what happens automatically.
ASKED_AGAIN: Final = (
    "The servers are asked again automatically, at first after about 10 seconds and then at least once an hour;"
    " POST /api/v1/find asks at once."
)


@dataclass(slots=True)
class Tally:
    """Value, in units of 10^-8, and number of a task's coins by final state."""

    units: dict[CoinState, int]
    count: dict[CoinState, int]
    # The value of the coins that counted as balance before the task ended.
    spendable_before: int = 0
    # The number of coins that all 25 servers accept.
    whole: int = 0
    # In limbo on the way into a locker; coins in limbo in a break are left out.
    units_for_locker_in_limbo: int = 0
    # Whether an earlier task had left any of them in limbo.
    had_doubtful: bool = False

    @classmethod
    def empty(cls) -> "Tally":
        return cls({}, {})

    def add(self, state: CoinState, counts: Mapping[int, int]) -> None:
        """Add `counts[denomination]` coins of each denomination."""
        self.units[state] = self.units.get(state, 0) + total_value(counts)
        self.count[state] = self.count.get(state, 0) + sum(counts.values())

    def units_of(self, *states: CoinState) -> int:
        return sum(self.units.get(state, 0) for state in states)

    def count_of(self, *states: CoinState) -> int:
        return sum(self.count.get(state, 0) for state in states)


@dataclass(frozen=True, slots=True)
class Left:
    """
    The coins that a take or an import left out, in units of 10^-8.

    `units` are in wallets of this ledger, or claimed by another task of the same wallet. `waiting` have an earlier
    claim of another wallet; `successor_id` is the task that continues with them, None if they were abandoned.
    """

    units: int = 0
    waiting: int = 0
    successor_id: UUID | None = None

    @classmethod
    def of_result(cls, result: Mapping[str, Any]) -> "Left":
        """Return what the result of an ended task records."""
        units, successor = int(result.get("total_left", 0)), result.get("continued_by")
        return cls(0, units, UUID(successor)) if successor else cls(units)

    def result(self) -> dict[str, Any]:
        """Return the fields of a task's result that record this; none if nothing was left out."""
        fields: dict[str, Any] = {"total_left": self.units + self.waiting} if self.units or self.waiting else {}
        return fields | ({"continued_by": str(self.successor_id)} if self.successor_id else {})

    def parts(self, where: str, again: str) -> list[str]:
        """Return up to two clauses for the message: `where` the coins still are, and how to claim them `again`."""
        parts = []
        if self.waiting:
            who = f"task {self.successor_id} continues with them" if self.successor_id else again
            parts.append(f"{coins_text(self.waiting)} claimed by another task{where}: {who}")
        if self.units:
            parts.append(
                f"{coins_text(self.units)} left out: already in a wallet of this service, or on the way into one"
            )
        return parts


@dataclass(frozen=True, slots=True)
class Rest:
    """
    The coins of an expired locker that a task did not take back, in units of 10^-8, without those in limbo.

    `taken` were taken by another holder of the code; fewer than 13 servers said where the `unknown` ones are.
    """

    taken: int = 0
    unknown: int = 0

    @classmethod
    def of_result(cls, result: Mapping[str, Any]) -> "Rest":
        """Return what the result of an ended task records."""
        return cls(int(result.get("total_taken_by_another", 0)), int(result.get("total_not_known", 0)))

    def result(self) -> dict[str, Any]:
        """Return the fields of a task's result that record this."""
        units = {"total_taken_by_another": self.taken, "total_not_known": self.unknown}
        return {name: each for name, each in units.items() if each}


def servers_that_answered(task_id: UUID) -> int:
    """Return how many servers answered at least one request of a task, with any status."""
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
    rest: Rest = Rest(),
    *,
    answered: int,
) -> tuple[TaskState, str, dict[str, Any]]:
    """
    Return the final state of a task, its message, and its result.

    `delivered` is the result of a transfer or an export that was carried out. `reason` is a sentence about the cause of
    a failure, and `answered` the number of servers that answered.
    """
    if delivered is not None:
        done = "Transferred." if task.kind == TaskKind.TRANSFER else "Exported."
        return TaskState.COMPLETED, done, dict(delivered)
    match task.kind:
        case TaskKind.PUT:
            return _verdict_of_put(task, tally, reason)
        case TaskKind.TAKE if task.locker_id is not None:
            return _verdict_of_take_back(tally, reason, left, rest)
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
        whole = f"Nothing left the wallet: {coins_text(back)} {amount_verb(back, 'was', 'were')} not stored."
        return state, _sentences(whole, broken, reason), result
    parts = []
    if stored:
        parts.append(f"{coins_text(stored)} stored")
    if back > 0:
        parts.append(f"{coins_text(back)} not stored and back in the wallet")
    if refused:
        parts.append(f"{coins_text(refused)} rejected as counterfeit by more than 12 servers")
    if unknown:
        parts.append(
            f"{coins_text(unknown)} in limbo: in the locker or still in the wallet,"
            f" which fewer than {QUORUM} of {RAIDA_COUNT} servers have confirmed"
        )
    repeat = f"Do not repeat this order. {ASKED_AGAIN}" if unknown else ""
    return state, _sentences("; ".join(parts) + ".", repeat, broken, reason), result


def _result_of_take(tally: Tally, left: Left) -> dict[str, Any]:
    return {
        "total": tally.units_of(*SPENDABLE),
        "total_unknown": tally.units_of(*DOUBTFUL),
        "total_failed": tally.units_of(CoinState.MISSED, CoinState.COUNTERFEIT),
        "graded": {str(state): number for state, number in tally.count.items()},
        **left.result(),
    }


def _verdict_of_take_back(tally: Tally, reason: str, left: Left, rest: Rest) -> tuple[TaskState, str, dict[str, Any]]:
    """Return how the taking back of an expired locker ended; servers that are silent are asked again, so no failure."""
    result = _result_of_take(tally, left) | rest.result()
    taken, limbo = result["total"], result["total_unknown"]
    left_behind = left.parts(" and still in the locker", "they are taken back later")
    if taken and not limbo and not rest.taken and not rest.unknown and not left_behind:
        return TaskState.COMPLETED, "Taken back: the locker had expired.", result
    parts = []
    if taken:
        parts.append(f"{coins_text(taken)} taken back")
    if rest.taken:
        parts.append(
            f"{coins_text(rest.taken)} {amount_verb(rest.taken, 'was', 'were')} taken by another holder of the code"
        )
    if limbo:
        parts.append(f"{coins_text(limbo)} in limbo: the servers have not confirmed yet that the wallet owns them")
    if rest.unknown:
        parts.append(
            f"fewer than {QUORUM} of {RAIDA_COUNT} servers said where {coins_text(rest.unknown)}"
            f" {amount_verb(rest.unknown)}; they are asked again automatically"
        )
    parts += left_behind
    message = "; ".join(parts or ["nothing was left to take back"]).removesuffix(".") + "."
    return (
        TaskState.COMPLETED,
        _sentences("The locker had expired:", message, ASKED_AGAIN if limbo else "", reason),
        result,
    )


def _verdict_of_take(tally: Tally, reason: str, left: Left) -> tuple[TaskState, str, dict[str, Any]]:
    result = _result_of_take(tally, left)
    taken, limbo, missed = result["total"], result["total_unknown"], result["total_failed"]
    left_behind = left.parts(" and still in the locker", "take again later with the same code")
    if taken and not limbo and not missed and not left_behind:
        return TaskState.COMPLETED, "Taken.", result
    parts = []
    if taken:
        parts.append(f"{coins_text(taken)} taken")
    if missed:
        parts.append(
            f"{coins_text(missed)} {amount_verb(missed, 'was', 'were')} no longer in the locker, perhaps taken by"
            f" another holder"
            " of its code"
        )
    if limbo:
        parts.append(
            f"{coins_text(limbo)} in limbo: the servers have not confirmed yet that the wallet owns them;"
            " do not repeat the take"
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
    left_behind = [f"{part}." for part in left.parts("", "import the file again later")]
    if not coins:
        if left_behind:
            return TaskState.ERROR, _sentences("Nothing was imported.", *left_behind, reason), result
        return TaskState.ERROR, reason or nothing_changed(answered), result
    if good == coins:
        return TaskState.COMPLETED, _sentences("Imported.", *left_behind, reason), result
    head = f"{good} of {counted(coins, 'coin')} imported." if good else "No coin could be proved authentic."
    parts = [head]
    if refused := tally.count_of(CoinState.COUNTERFEIT):
        parts.append(f"{counted(refused, 'coin')} {verb(refused)} counterfeit: rejected by more than 12 servers.")
    if missed := tally.count_of(CoinState.MISSED):
        parts.append(f"{counted(missed, 'coin')} now {verb(missed, 'belongs', 'belong')} to another owner.")
    if doubtful:
        parts.append(
            f"{counted(doubtful, 'coin')} {verb(doubtful)} in limbo: the servers have not confirmed yet that the wallet"
            f" owns {verb(doubtful, 'it', 'them')}. Do not import {verb(doubtful, 'it', 'them')} again. {ASKED_AGAIN}"
        )
    return TaskState.COMPLETED, _sentences(*parts, *left_behind, reason), result


def nothing_changed(answered: int) -> str:
    """Return why nothing is known about any coin, given the number of servers that answered."""
    if not answered:
        return "No server answered; nothing was changed."
    if answered < QUORUM:
        return f"Only {answered} of {RAIDA_COUNT} servers answered, and {QUORUM} must; nothing was changed."
    return (
        f"{answered} of {RAIDA_COUNT} servers answered, but fewer than {QUORUM} said whether they accept the coins;"
        " nothing was changed."
    )


def seconds_until_quiet() -> int:
    """Return the seconds after which a repeated find may learn more: earlier requests have arrived or timed out."""
    return max(1, math.ceil(2 * settings.RAIDA_TIMEOUT_SECONDS))


def _verdict_of_find(tally: Tally, reason: str) -> tuple[TaskState, str, dict[str, Any]]:
    result = {"found": {str(state): number for state, number in tally.count.items()}}
    still = tally.count_of(*DOUBTFUL)
    if not still:
        return TaskState.COMPLETED, "Every coin was found.", result
    message = (
        f"{counted(still, 'coin')} {verb(still)} still in limbo: too few servers have confirmed who owns"
        f" {verb(still, 'it', 'them')}. Ask again in {counted(seconds_until_quiet(), 'second')}"
        " or later (POST /api/v1/find); the servers are asked again automatically within the hour."
    )
    return TaskState.COMPLETED, _sentences(message, reason), result


def _verdict_of_fix(tally: Tally, reason: str) -> tuple[TaskState, str, dict[str, Any]]:
    coins = sum(tally.count.values())
    if not coins:
        # Its deadline passed before it had checked which coins to fix.
        return TaskState.ERROR, reason or "Stopped before the servers answered.", {}
    result = {
        "coins_processed": coins,
        "coins_healed": tally.whole,
        "coins_fracked": tally.count_of(CoinState.FRACKED),
    }
    if tally.whole == coins:
        return TaskState.COMPLETED, "Every coin is accepted by all servers.", result
    message = (
        f"All servers accept {tally.whole} of {counted(coins, 'coin')}. The others can be spent, but some"
        f" servers do not"
        " accept them yet; they are fixed again automatically."
    )
    return TaskState.COMPLETED, _sentences(message, reason), result


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
        message = "It is unknown whether the coin was broken; its value is not lost. Do not repeat this order."
        return TaskState.ERROR, _sentences(message, ASKED_AGAIN, reason), result
    if tally.units_of(*SPENDABLE):
        whole = "Nothing left the wallet: the coin was not broken and is back in it."
        return TaskState.ERROR, _sentences(whole, reason), result
    return TaskState.ERROR, _sentences("The coin was not broken.", reason), result
