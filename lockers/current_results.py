"""
What a task tells when a later one has settled coins that it left open.

A task ends with coins in limbo or errored when servers are silent; a later one, mostly a find, learns what became of
them. In the transaction in which that one is concluded, the lines of the earlier receipts follow, and from the lines
each earlier task gets its state, message and result again, by the function that made them when it ended
(`verdicts.verdict`). Whoever reads a task, anywhere, reads its row.

Each function is a part of its caller's transaction. Lock order: after the coins of the later task the earlier tasks,
by their ids.
"""

import json
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from lockers import coin_outcomes, coin_selection, task_results
from lockers.models import LockerTask, ReceiptLine
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import DOUBTFUL, SPENDABLE, CoinState, TaskKind, TaskState
from lockers.task_results import Tally

# Lines of coins of which it is still not known what became of them.
OPEN: Final = Q(state__in=DOUBTFUL, settled_by=None)


def follow(*, later: LockerTask) -> list[UUID]:
    """
    Let the receipts of earlier tasks follow what `later` came to know of coins they left open, and derive them again.

    The lines of `later` are written already. Returns the ids of the tasks that changed.
    """
    with connection.cursor() as cursor:
        cursor.execute(_EARLIER, {"later": later.pk})
        # Locked one after the other in the order of their ids, before any line is touched.
        earlier = [row[0] for row in cursor.fetchall()]
        if not earlier:
            return []
        cursor.execute("SELECT id FROM lockers_lockertask WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [earlier])
        cursor.execute(_FOLLOW, {"later": later.pk, "earlier": earlier})
    for task in LockerTask.objects.filter(pk__in=earlier).select_related("locker").order_by("pk"):
        derive_again(task, by=later)
    return earlier


_EARLIER: Final = """
SELECT DISTINCT earlier.task_id FROM lockers_receiptline AS later
  JOIN lockers_receiptline AS earlier USING (denomination, serial_number)
 WHERE later.task_id = %(later)s AND earlier.task_id <> later.task_id
   AND earlier.state IN ('limbo', 'errored') AND earlier.settled_by_id IS NULL
   AND later.state <> coalesce(earlier.became, earlier.state)
"""
_FOLLOW: Final = """
UPDATE lockers_receiptline AS earlier
   SET became = later.state,
       settled_by_id = CASE WHEN later.state IN ('limbo', 'errored') THEN NULL ELSE later.task_id END
  FROM lockers_receiptline AS later
 WHERE later.task_id = %(later)s AND earlier.task_id = ANY(%(earlier)s)
   AND earlier.denomination = later.denomination AND earlier.serial_number = later.serial_number
   AND earlier.state IN ('limbo', 'errored') AND earlier.settled_by_id IS NULL
"""


def derive_again(task: LockerTask, *, by: LockerTask) -> None:
    """Write into a task that has ended, and whose row is locked, what its receipt says now."""
    tally, board, passes = as_it_is_now(task)
    left = task_results.Left.of_result(task.result)
    state, message, result = task_results.verdict(
        task, tally, left=left, answered=task_results.servers_that_answered(task.pk)
    )
    if board:
        result["raida"] = board
    if passes:
        result["servers"] = {"fewest": min(passes), "most": max(passes)}
    if task.kind == TaskKind.PUT:
        result["fewer"] = coins_on_fewer_servers(task_id=task.pk)
    if not tally.count_of(*DOUBTFUL):
        message = f"{message} Unknown at first; settled by a {by.kind} on {timezone.now():%Y-%m-%d at %H:%M:%S} UTC."
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lockers_lockertask SET state = %s, message = %s, result = result || %s::jsonb, settled_at = now(),"
            " settled_by_id = %s, seen_at = NULL, progress = CASE WHEN %s THEN 100 ELSE least(progress, 99) END"
            " WHERE id = %s",
            [state, message, json.dumps(result), by.pk, state is TaskState.COMPLETED, task.pk],
        )


def as_it_is_now(task: LockerTask) -> tuple[Tally, str, set[int]]:
    """
    Return the coins of an ended task by what became of them since, 25 letters, and on how many servers coins stand.

    The letters are "" if it had no coin; the numbers are of coins that it stored or made the wallet's.
    """
    tally = Tally.empty()
    stored = (CoinState.LOCKED, CoinState.SENT) if task.kind == TaskKind.PUT else (CoinState.LOCKED, *SPENDABLE)
    passes = set[int]()
    votes = [dict[str, int]() for _ in range(RAIDA_COUNT)]
    with connection.cursor() as cursor:
        cursor.execute(_NOW, {"task": task.pk})
        for name, denomination, letters, is_of_a_break, number in cursor.fetchall():
            state = CoinState(name)
            tally.add(state, {denomination: number})
            if letters == "p" * RAIDA_COUNT:
                tally.whole += number
            if state in DOUBTFUL and not is_of_a_break:
                tally.units_for_locker_in_limbo += coin_selection.value_of(denomination) * number
            if state in stored:
                passes.add(letters.count("p"))
            if task.kind == TaskKind.PUT and is_of_a_break:
                continue
            for raida, letter in enumerate(letters):
                votes[raida][letter] = votes[raida].get(letter, 0) + number
    return tally, coin_outcomes.commonest(votes) if any(votes) else "", passes


# The letters of a coin that was settled later are those that the later task saw.
_NOW: Final = """
SELECT coalesce(line.became, line.state), line.denomination, coalesce(later.pown, line.pown),
       coalesce(coin.family = coin.id, false), count(*)
  FROM lockers_receiptline AS line
  LEFT JOIN lockers_receiptline AS later
         ON later.task_id = line.settled_by_id AND later.denomination = line.denomination
        AND later.serial_number = line.serial_number
  LEFT JOIN lockers_coin AS coin
         ON coin.denomination = line.denomination AND coin.serial_number = line.serial_number
        AND coin.state IN ('limbo', 'errored') AND line.state IN ('limbo', 'errored') AND line.settled_by_id IS NULL
 WHERE line.task_id = %(task)s GROUP BY 1, 2, 3, 4 ORDER BY 1, 2
"""


# So many are named; the receipt has all.
_NAMED: Final = 50


def coins_on_fewer_servers(*, task_id: UUID) -> list[dict[str, int]]:
    """Return the coins that a put has stored on fewer servers than others of it, as its receipt has them now."""
    with connection.cursor() as cursor:
        cursor.execute(_ON_FEWER, {"task": task_id, "most": _NAMED})
        return [{"sn": number, "denomination": each, "servers": passes} for each, number, passes in cursor.fetchall()]


_ON_FEWER: Final = """
SELECT denomination, serial_number, passes FROM (
    SELECT *, max(passes) OVER () AS most FROM (
        SELECT line.id, line.denomination, line.serial_number,
               25 - length(replace(coalesce(later.pown, line.pown), 'p', '')) AS passes
          FROM lockers_receiptline AS line
          LEFT JOIN lockers_receiptline AS later
                 ON later.task_id = line.settled_by_id AND later.denomination = line.denomination
                AND later.serial_number = line.serial_number
         WHERE line.task_id = %(task)s AND coalesce(line.became, line.state) IN ('locked', 'sent')) AS stored) AS ranked
 WHERE passes < most ORDER BY id LIMIT %(most)s
"""


def open_coins(*, task_id: UUID) -> tuple[int, int]:
    """Return number and units of the coins of a task of which it is still unknown what became of them."""
    counts: dict[int, int] = {}
    for denomination in ReceiptLine.objects.filter(OPEN, task_id=task_id).values_list("denomination", flat=True):
        counts[denomination] = counts.get(denomination, 0) + 1
    return sum(counts.values()), coin_selection.total(counts)
