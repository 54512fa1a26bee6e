"""
Updating the results of ended tasks after a later task has settled coins that they left open.

A task ends with coins in limbo or errored when servers do not respond; a later task, usually a find, learns their
state. The transaction that ends the later task updates the open lines of earlier receipts, and derives state, message
and result of each earlier task from its lines again, with the function that made them first (`task_results.verdict`).

Each function is a part of its caller's transaction. Lock order: after the coins of the later task the earlier tasks,
by their ids.
"""

import json
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from lockers import coin_outcomes, queries, task_events, task_results
from lockers.models import LockerTask, ReceiptLine
from lockers.raida.coins import total_value, value_of
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import DOUBTFUL, IN_LOCKER, SPENDABLE, CoinState, TaskKind, TaskState
from lockers.task_results import Tally
from wallets.audit import listed

# Receipt lines of coins whose state is still unknown: the condition of the partial indexes of `ReceiptLine`.
OPEN: Final = Q(state__in=DOUBTFUL, settled_by=None)
# The same in SQL, for a table or an alias.
OPEN_SQL: Final = f"{{0}}.state IN {listed(DOUBTFUL)} AND {{0}}.settled_by_id IS NULL"
_DOUBTFUL: Final = listed(DOUBTFUL)


def follow(*, later: LockerTask) -> list[UUID]:
    """
    Update the receipts of earlier tasks from the receipt of `later`, and derive their results again.

    The caller has written the lines of `later`. Return the ids of the tasks that changed.
    """
    with connection.cursor() as cursor:
        cursor.execute(_EARLIER, {"later": later.pk})
        # Locked in the order of their ids, before any line is changed.
        earlier = [row[0] for row in cursor.fetchall()]
        if not earlier:
            return []
        cursor.execute("SELECT id FROM lockers_lockertask WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", [earlier])
        cursor.execute(_FOLLOW, {"later": later.pk, "earlier": earlier})
    for task in LockerTask.objects.filter(pk__in=earlier).select_related("locker").order_by("pk"):
        derive_again(task, by=later)
    return earlier


_EARLIER: Final = f"""
SELECT DISTINCT earlier.task_id FROM lockers_receiptline AS later
  JOIN lockers_receiptline AS earlier USING (denomination, serial_number)
 WHERE later.task_id = %(later)s AND earlier.task_id <> later.task_id AND {OPEN_SQL.format("earlier")}
   AND later.state <> coalesce(earlier.became, earlier.state)
"""  # noqa: S608 - constants
_FOLLOW: Final = f"""
UPDATE lockers_receiptline AS earlier
   SET became = later.state,
       settled_by_id = CASE WHEN later.state IN {_DOUBTFUL} THEN NULL ELSE later.task_id END
  FROM lockers_receiptline AS later
 WHERE later.task_id = %(later)s AND earlier.task_id = ANY(%(earlier)s)
   AND earlier.denomination = later.denomination AND earlier.serial_number = later.serial_number
   AND {OPEN_SQL.format("earlier")}
"""  # noqa: S608 - constants


def derive_again(task: LockerTask, *, by: LockerTask) -> None:
    """Derive state, message and result of an ended task, whose row is locked, from its receipt again."""
    tally, board, passes = as_it_is_now(task)
    left = task_results.Left.of_result(task.result)
    state, message, result = task_results.verdict(
        task,
        tally,
        left=left,
        rest=task_results.Rest.of_result(task.result),
        answered=task_results.servers_that_answered(task.pk),
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
    task_events.record_settled(
        task_id=task.pk,
        kind=task.kind,
        wallet_id=task.wallet_id,
        locker_id=task.locker_id,
        state=state,
        result=task.result | result,
        settled_by=by.pk,
    )


def as_it_is_now(task: LockerTask) -> tuple[Tally, str, set[int]]:
    """
    Return the coins of an ended task by their latest known state, 25 letters, and on how many servers coins are.

    The letters are "" if the task had no coin. The numbers are of coins that the task put into a locker or a wallet.
    """
    tally = Tally.empty()
    stored = IN_LOCKER if task.kind == TaskKind.PUT else (CoinState.LOCKED, *SPENDABLE)
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
                tally.units_for_locker_in_limbo += value_of(denomination) * number
            if state in stored:
                passes.add(letters.count("p"))
            if task.kind == TaskKind.PUT and is_of_a_break:
                continue
            for raida, letter in enumerate(letters):
                votes[raida][letter] = votes[raida].get(letter, 0) + number
    return tally, coin_outcomes.commonest(votes) if any(votes) else "", passes


# The lines of a task with the latest known state of each coin, and the letters of the task that settled it. With OFFSET
# each line, and each coin, is looked up, whatever PostgreSQL knows of the table.
_LINES: Final = """
SELECT line.id, line.denomination, line.serial_number, line.settled_by_id, line.state AS first_state,
       coalesce(line.became, line.state) AS state, coalesce(later.pown, line.pown) AS pown
  FROM lockers_receiptline AS line
  LEFT JOIN LATERAL (
    SELECT pown FROM lockers_receiptline AS same
     WHERE same.task_id = line.settled_by_id AND same.denomination = line.denomination
       AND same.serial_number = line.serial_number OFFSET 0) AS later ON true
 WHERE line.task_id = %(task)s
"""
_NOW: Final = f"""
SELECT line.state, line.denomination, line.pown, coalesce(coin.is_of_a_break, false), count(*)
  FROM ({_LINES}) AS line
  LEFT JOIN LATERAL (
    SELECT family = id AS is_of_a_break FROM lockers_coin AS coin
     WHERE coin.denomination = line.denomination AND coin.serial_number = line.serial_number
       AND coin.state IN {_DOUBTFUL} AND line.first_state IN {_DOUBTFUL} AND line.settled_by_id IS NULL
    OFFSET 0) AS coin ON true
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2
"""  # noqa: S608 - constants


# The most coins that a result lists; the receipt has all.
_LISTED: Final = 50


def coins_on_fewer_servers(*, task_id: UUID) -> list[dict[str, int]]:
    """Return the coins that a put stored on fewer servers than its other coins, as its receipt has them now."""
    with connection.cursor() as cursor:
        cursor.execute(_ON_FEWER, {"task": task_id, "most": _LISTED})
        return [{"sn": number, "denomination": each, "servers": passes} for each, number, passes in cursor.fetchall()]


_ON_FEWER: Final = f"""
SELECT denomination, serial_number, passes FROM (
    SELECT *, max(passes) OVER () AS most FROM (
        SELECT *, {RAIDA_COUNT} - length(replace(pown, 'p', '')) AS passes FROM ({_LINES}) AS line
         WHERE state IN {listed(IN_LOCKER)}) AS stored) AS ranked
 WHERE passes < most ORDER BY id LIMIT %(most)s
"""  # noqa: S608 - constants


def open_coins(*, task_id: UUID) -> tuple[int, int]:
    """Return number and units of the coins of a task whose state is still unknown."""
    counts = queries.count_by_denomination(ReceiptLine.objects.filter(OPEN, task_id=task_id))
    return sum(counts.values()), total_value(counts)
