"""
The part of a task's order that is still to be done, and the next safe step for an operator.

The admin pages, the confirmation of a retry and the retry use these functions. The retry holds the lock of the task's
row, which is also taken by a later task that settles coins of this one (`lockers.current_results`).
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from lockers import coin_outcomes, current_results, queries, retry_schedule
from lockers.coin_outcomes import amount_verb
from lockers.models import Coin, LockerTask, ReceiptLine
from lockers.raida.coins import total_value
from lockers.raida.statuses import RAIDA_COUNT
from lockers.states import DOUBTFUL, SPENDABLE, CoinState, TaskKind, TaskState
from wallets.audit import listed
from wallets.models import OperatorAction
from wallets.states import OperatorVerb
from wallets.wording import counted, verb

_NOTHING: Final = "nothing is left to do"


@dataclass(frozen=True, slots=True)
class Remaining:
    """
    What a retry of a task would do.

    `todo` describes it, with numbers; if it is empty, `why_not` says why the task cannot be retried. `units` is the
    amount that a put has yet to store. `unknown_coins` are in limbo, worth `unknown_units`; `asked_by` is the task that
    asks the servers about some of them now. If there is none, a find begins automatically at `next_find_at`.
    """

    todo: str = ""
    why_not: str = ""
    units: int = 0
    unknown_coins: int = 0
    unknown_units: int = 0
    asked_by: UUID | None = None
    next_find_at: datetime | None = None
    # Later puts of the same amount from the same wallet.
    later_puts: int = 0


def of(task: LockerTask) -> Remaining:
    """Return what a retry of an ended task would do."""
    coins, units = current_results.open_coins(task_id=task.pk)
    asked_by, next_find_at = _who_asks(task.pk) if coins else (None, None)
    unknown = Remaining(unknown_coins=coins, unknown_units=units, asked_by=asked_by, next_find_at=next_find_at)
    if successor := _successor(task):
        why = f"it was retried already, as task {successor}; retry that task instead"
        return replace(unknown, why_not=why)
    if coins and asked_by is not None:
        return replace(unknown, why_not=f"{_unknown(coins, units)}, and task {asked_by} is asking the servers now")
    if coins and task.kind != TaskKind.FIND:
        return replace(unknown, why_not=f"{_unknown(coins, units)}: start a find first")
    return _left_of(task, unknown)


def _unknown(coins: int, units: int) -> str:
    return f"{counted(coins, 'coin')}, worth {coin_outcomes.grouped_coins_text(units)}, {verb(coins)} in limbo"


def _left_of(task: LockerTask, unknown: Remaining) -> Remaining:
    def left(todo: str, units: int = 0, later_puts: int = 0) -> Remaining:
        return replace(unknown, todo=todo, units=units, later_puts=later_puts)

    def nothing(why: str = "") -> Remaining:
        done = f"{_NOTHING}: it is done" if task.state == TaskState.COMPLETED else _NOTHING
        return replace(unknown, why_not=why or done)

    failed = task.state == TaskState.ERROR
    match task.kind:
        case TaskKind.PUT:
            if task.amount is None:
                return nothing("its amount is not known")
            units = task.amount - _units(task, CoinState.LOCKED, CoinState.SENT, CoinState.COUNTERFEIT)
            if units <= 0:
                return nothing()
            worth = coin_outcomes.grouped_coins_text(units)
            were, are = amount_verb(units, "was", "were"), amount_verb(units)
            todo = f"{worth} {were} not stored and {are} back in the wallet: put {worth} again"
            later = LockerTask.objects.filter(
                wallet_id=task.wallet_id, kind=TaskKind.PUT, amount=task.amount, created_at__gt=task.created_at
            )
            return left(todo, units, later.count())
        case TaskKind.BREAK:
            if not failed or task.amount is None:
                return nothing()
            return left(f"1 coin of {coin_outcomes.grouped_coins_text(task.amount)} was not broken: break one again")
        case TaskKind.TAKE:
            if "payment_request" in task.plan:
                return nothing("the payer's code is not kept: who pays sends it again" if failed else "")
            if not failed or task.receipt_lines.exists():
                return nothing()
            return left("nothing was taken: look again with the same code")
        case TaskKind.FIND:
            number = Coin.objects.filter(wallet_id=task.wallet_id, state__in=DOUBTFUL, task=None).count()
            return (
                left(f"{counted(number, 'coin')} {verb(number)} in limbo: ask the servers again")
                if number
                else nothing()
            )
        case TaskKind.FIX:
            number = coins_to_fix(wallet_id=task.wallet_id)
            todo = f"{counted(number, 'coin')} {verb(number)} not accepted by all servers: fix them again"
            if not number and failed:
                return left("nothing is known yet: ask the servers again")
            return left(todo) if number else nothing()
        case TaskKind.PEEK | TaskKind.ECHO | TaskKind.HEALTH:
            return left("nothing is known yet: ask again") if failed else nothing()
        case TaskKind.IMPORT:
            kept = "the file is not kept: its owner sends it again, and no coin is taken twice"
            return nothing(kept if failed else "")
        case _:
            return nothing("nothing left the wallet: its owner gives the order again" if failed else "")


def coins_to_fix(*, wallet_id: UUID) -> int:
    return Coin.objects.filter(wallet_id=wallet_id, state__in=SPENDABLE, task=None, passes__lt=RAIDA_COUNT).count()


def _units(task: LockerTask, *states: CoinState) -> int:
    lines = ReceiptLine.objects.filter(Q(state__in=states) | Q(became__in=states), task=task)
    return total_value(queries.count_by_denomination(lines))


def _successor(task: LockerTask) -> str:
    """Return the id of the task with which an operator retried this one, or "" for none."""
    made = (
        OperatorAction.objects.filter(verb=OperatorVerb.RETRIED_TASK, object_kind="task", object_id=str(task.pk))
        .order_by("-id")
        .values_list("after__task", flat=True)
    )
    return next((each for each in made if each and each != str(task.pk)), "")


def _who_asks(task_id: UUID) -> tuple[UUID | None, datetime | None]:
    with connection.cursor() as cursor:
        cursor.execute(_WHO_ASKS, [task_id])
        row = cursor.fetchone()
    return (None, None) if row is None else (row[0], row[1])


# The task that holds one of the coins, or when a find begins automatically (`retry_schedule.wallets_to_find`).
_WHO_ASKS: Final = f"""
SELECT coin.task_id, greatest(coin.changed_at + interval '10 seconds', (
           SELECT max(task.finished_at + {retry_schedule.PAUSE}) FROM lockers_lockertask AS task
            WHERE task.wallet_id = coin.wallet_id AND task.kind = '{TaskKind.FIND}'
              AND task.finished_at IS NOT NULL)) AS at
  FROM lockers_receiptline AS line
 CROSS JOIN LATERAL (
    SELECT task_id, wallet_id, created_at, changed_at FROM lockers_coin AS same
     WHERE same.denomination = line.denomination AND same.serial_number = line.serial_number
       AND same.state IN {listed(DOUBTFUL)} OFFSET 0) AS coin
 WHERE line.task_id = %s AND {current_results.OPEN_SQL.format("line")}
 ORDER BY coin.task_id NULLS LAST, at LIMIT 1
"""  # noqa: S608 - constants


def advice(task: LockerTask, *, now: datetime) -> str:
    """Return a sentence or two for the operator: the state of a task and the next safe step."""
    if task.state == TaskState.RUNNING:
        if task.deadline < now:
            return (
                "Its deadline has passed and no worker has ended it: check that a worker runs. Nothing is lost: the"
                " next worker asks the servers which numbers they hold before it does anything else."
            )
        if task.is_parked:
            return (
                "It waits until the servers have decided another wallet's claim to the same coins, and then continues"
                " automatically. Wait: at its deadline it ends and reports the coins that it left."
            )
        if task.lease_until is None or task.lease_until < now:
            return "No worker is processing it; the sweep enqueues it again every few seconds. Wait."
        return "A worker is processing it. Wait: it ends automatically, at the latest at its deadline."
    remaining = of(task)
    parts = []
    if remaining.unknown_coins:
        parts.append(f"{_unknown(remaining.unknown_coins, remaining.unknown_units)}. Do not repeat the order.")
        if remaining.asked_by is not None:
            parts.append(f"Task {remaining.asked_by} is asking the servers now.")
        elif remaining.next_find_at is not None:
            at = max(remaining.next_find_at, now)
            parts.append(
                f"The servers are asked again automatically from {at:%Y-%m-%d %H:%M:%S} UTC on; “Find coins”"
                " on the page of the wallet asks at once."
            )
        if remaining.todo:
            parts.append("Retry does the same.")
    elif remaining.todo:
        parts.append(f"{remaining.todo[0].upper()}{remaining.todo[1:]}. Retry does that.")
        if remaining.later_puts:
            parts.append(
                f"The wallet has started {counted(remaining.later_puts, 'put')} of the same amount since: ask its owner"
                " first."
            )
    else:
        parts.append(f"{remaining.why_not[0].upper()}{remaining.why_not[1:]}.")
    return " ".join(parts)


def why_not_retry(task: LockerTask) -> str:
    """Return why a task cannot be retried, or "" if it can."""
    if task.state == TaskState.RUNNING:
        return "a worker is processing it" if task.lease_until is not None and task.lease_until > timezone.now() else ""
    return of(task).why_not
