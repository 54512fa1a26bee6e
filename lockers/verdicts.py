"""What a task that has ended tells: its state, a message, and the result with the sums of its coins."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from lockers import choosing, grading
from lockers.models import LockerTask
from lockers.states import CoinState, TaskKind, TaskState


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

    @classmethod
    def empty(cls) -> "Tally":
        return cls({}, {})

    def add(self, state: CoinState, counts: Mapping[int, int]) -> None:
        """So many coins of each denomination."""
        self.units[state] = self.units.get(state, 0) + choosing.total(counts)
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

    def result(self) -> dict[str, Any]:
        """Further fields of a task's result; none if nothing was left."""
        told: dict[str, Any] = {"total_left": self.units + self.waiting} if self.units or self.waiting else {}
        return told | ({"continued_by": str(self.successor_id)} if self.successor_id else {})

    def parts(self, where: str, again: str) -> list[str]:
        """What is said of it: `where` the coins still are, and how they are claimed `again`."""
        parts = []
        if self.waiting:
            who = f"task {self.successor_id} goes on with them" if self.successor_id else again
            parts.append(f"{grading.coins_text(self.waiting)} claimed by another task{where}: {who}")
        if self.units:
            parts.append(f"{grading.coins_text(self.units)} left: held, or being moved, in this service")
        return parts


def verdict(
    task: LockerTask, tally: Tally, reason: str, delivered: Mapping[str, Any] | None, left: Left
) -> tuple[TaskState, str, dict[str, Any]]:
    """
    Return the final state of a task, what is said of it, and its result.

    `delivered` is the result of a transfer or an export whose coins have left; `reason` tells why others went wrong.
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
            return _verdict_of_import(tally, reason, left)
        case TaskKind.FIND:
            return _verdict_of_find(tally, reason)
        case TaskKind.BREAK:
            return _verdict_of_break(tally, reason)
        case TaskKind.FIX:
            return _verdict_of_fix(tally, reason)
        case TaskKind.TRANSFER | TaskKind.EXPORT:
            return TaskState.ERROR, f"Nothing has left the wallet. {reason}".strip(), {}
        case _:
            return TaskState.ERROR, reason or "Stopped before the servers answered.", {}


def _verdict_of_put(task: LockerTask, tally: Tally, reason: str) -> tuple[TaskState, str, dict[str, Any]]:
    stored = tally.units_of(CoinState.LOCKED, CoinState.SENT)
    unknown = tally.units_for_locker_in_limbo
    failed = (task.amount or 0) - stored - unknown
    result = {"total_stored": stored, "total_failed": failed, "total_unknown": unknown}
    if stored and not failed and not unknown:
        return TaskState.COMPLETED, "Stored.", result
    parts = []
    if stored:
        parts.append(f"{grading.coins_text(stored)} stored")
    if failed:
        parts.append(f"{grading.coins_text(failed)} not stored and back in the wallet")
    if unknown:
        parts.append(
            f"{grading.coins_text(unknown)} unknown: too few servers answered, both secrets are kept and the"
            " servers will be asked again"
        )
    message = "; ".join(parts) + "." + (f" {reason}" if reason else "")
    return (TaskState.COMPLETED if stored else TaskState.ERROR), message, result


def _verdict_of_take(tally: Tally, reason: str, left: Left) -> tuple[TaskState, str, dict[str, Any]]:
    taken = tally.units_of(CoinState.BANK, CoinState.FRACKED)
    limbo = tally.units_of(CoinState.LIMBO)
    missed = tally.units_of(CoinState.MISSED, CoinState.COUNTERFEIT, CoinState.ERRORED)
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
        parts.append(f"{grading.coins_text(taken)} taken")
    if missed:
        parts.append(f"{grading.coins_text(missed)} were gone: somebody else may have emptied the locker")
    if limbo:
        parts.append(f"{grading.coins_text(limbo)} unknown: both secrets are kept and the servers will be asked again")
    if not parts:
        parts.append((not left_behind and reason) or "Nothing was taken")
        reason = reason if left_behind else ""
    parts += left_behind
    message = "; ".join(parts).removesuffix(".") + "." + (f" {reason}" if reason else "")
    return (TaskState.COMPLETED if taken else TaskState.ERROR), message, result


def _verdict_of_import(tally: Tally, reason: str, left: Left) -> tuple[TaskState, str, dict[str, Any]]:
    ours = tally.units_of(CoinState.BANK, CoinState.FRACKED)
    result = {
        "total": ours,
        "pown_results": {
            "total": sum(tally.count.values()),
            "authentic": tally.count_of(CoinState.BANK),
            "fracked": tally.count_of(CoinState.FRACKED),
            "counterfeit": tally.count_of(CoinState.COUNTERFEIT),
            "limbo": tally.count_of(CoinState.LIMBO),
            "errored": tally.count_of(CoinState.ERRORED),
        },
        **left.result(),
    }
    left_behind = ". ".join(left.parts("", "import the file again"))
    if ours or tally.count:
        done = "Imported." if ours else "No coin could be proved authentic. " + reason
        return TaskState.COMPLETED, f"{done} {left_behind}.".strip() if left_behind else done, result
    if left_behind:
        return TaskState.ERROR, f"Nothing was imported. {left_behind}. {reason}".strip(), result
    return TaskState.ERROR, reason or "No server could be reached; nothing was changed.", result


def _verdict_of_find(tally: Tally, reason: str) -> tuple[TaskState, str, dict[str, Any]]:
    result = {"found": {str(state): number for state, number in tally.count.items()}}
    still = tally.count_of(CoinState.LIMBO)
    message = f"{still} coins are still unknown. {reason}".strip() if still else "Every coin was found."
    return TaskState.COMPLETED, message, result


def _verdict_of_fix(tally: Tally, reason: str) -> tuple[TaskState, str, dict[str, Any]]:
    coins = sum(tally.count.values())
    result = {
        "coins_processed": coins,
        "coins_healed": tally.whole,
        "coins_fracked": tally.count_of(CoinState.FRACKED),
    }
    if tally.whole == coins:
        return TaskState.COMPLETED, "Every coin is accepted by all servers.", result
    left = f"{tally.whole} of {coins} coins are accepted by all servers; the others will be tried again"
    return TaskState.COMPLETED, f"{left}. {reason}".strip(), result


def _verdict_of_break(tally: Tally, reason: str) -> tuple[TaskState, str, dict[str, Any]]:
    broken = tally.units_of(CoinState.BROKEN)
    result = {
        "total": broken,
        "total_unknown": tally.units_of(CoinState.LIMBO),
        "graded": {str(state): number for state, number in tally.count.items()},
    }
    if broken:
        return TaskState.COMPLETED, "Broken into ten.", result
    if tally.units_of(CoinState.LIMBO):
        unknown = "It is unknown whether the coin was broken: its secrets are kept and the servers will be asked again."
        return TaskState.ERROR, f"{unknown} {reason}".strip(), result
    return TaskState.ERROR, f"The coin was not broken and is back in the wallet. {reason}".strip(), result
