"""Summaries of coins, tasks and servers for operators: a fixed number of statements each, and never a secret."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from lockers import current_results
from lockers.models import Attempt, Coin, Locker, LockerTask, ReceiptLine, ServerHealth, ServerReading
from lockers.queries import TaskView
from lockers.raida.coins import value_of
from lockers.raida.statuses import RAIDA_COUNT
from lockers.server_letters import NOT_WAITED_FOR
from lockers.states import SPENDABLE, CoinState, LockerState, TaskKind, TaskState
from wallets.sql_files import load


class CoinCount(NamedTuple):
    """Coins in one state: how many, and their value in units of 10^-8."""

    state: CoinState
    coins: int
    units: int


def coins_by_state() -> list[CoinCount]:
    """Return the count and value of the coins in each state that has any, in the order of `CoinState`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT state, denomination, count(*) FROM lockers_coin GROUP BY 1, 2")
        return _by_state(cursor.fetchall())


def _by_state(rows: Sequence[tuple[str, int, int]]) -> list[CoinCount]:
    return [
        CoinCount(
            state,
            sum(number for name, _, number in rows if name == state),
            sum(value_of(denomination) * number for name, denomination, number in rows if name == state),
        )
        for state in CoinState
        if any(name == state for name, _, _ in rows)
    ]


class DenominationCount(NamedTuple):
    """Numbers of coins of one denomination: what tasks put, took and imported, and those to spend now."""

    denomination: int
    put: int
    taken: int
    imported: int
    held: int


def coins_by_denomination(start: datetime, end: datetime) -> list[DenominationCount]:
    """Return what tasks that ended from `start` on and before `end` brought about, the largest denomination first."""
    with connection.cursor() as cursor:
        cursor.execute(load("lockers", "report_by_denomination"), {"start": start, "end": end})
        return [DenominationCount(*map(int, row)) for row in cursor.fetchall()]


# 13 servers must accept a coin. One that fewer than this many hold is lost after few more server failures: it is thin.
THIN_BELOW: Final = 20


def thin_coins(coins: QuerySet[Coin]) -> QuerySet[Coin]:
    """Filter coins in lockers and wallets that fewer than 20 servers are known to hold."""
    return coins.filter(state__in=[*SPENDABLE, CoinState.LOCKED], passes__lt=THIN_BELOW)


def thin_lockers(lockers: QuerySet[Locker]) -> QuerySet[Locker]:
    """Filter lockers that hold a thin coin and are still being repaired."""
    coins = Coin.objects.filter(locker=OuterRef("pk"), state=CoinState.LOCKED, passes__lt=THIN_BELOW)
    return lockers.filter(Exists(coins), mend_at__isnull=False)


def lockers_not_known(lockers: QuerySet[Locker]) -> QuerySet[Locker]:
    """Filter lockers that have expired and may still hold coins."""
    return lockers.filter(take_back_at__isnull=False, expires_at__lte=Now())


def count_thin() -> tuple[int, int]:
    """Return how many lockers, and how many coins at rest in wallets, are thin."""
    in_wallets = thin_coins(Coin.objects.filter(state__in=SPENDABLE, task=None))
    return thin_lockers(Locker.objects.all()).count(), in_wallets.count()


@dataclass(frozen=True, slots=True)
class Checks:
    """
    Health checks of the coins at rest in a wallet.

    `thin` and `unchecked` are numbers of coins; `oldest` is the earliest of their last checks.
    """

    thin: int
    unchecked: int
    oldest: datetime | None


def checks_of(*, wallet_id: UUID) -> Checks | None:
    """Return the health checks of a wallet's coins at rest, or None if it has no such coin."""
    told = Coin.objects.filter(wallet_id=wallet_id, state__in=SPENDABLE, task=None).aggregate(
        coins=Count("id"),
        thin=Count("id", filter=Q(passes__lt=THIN_BELOW)),
        unchecked=Count("id", filter=Q(checked_at=None)),
        oldest=Min("checked_at"),
    )
    return Checks(told["thin"], told["unchecked"], told["oldest"]) if told["coins"] else None


def with_servers(lockers: QuerySet[Locker]) -> QuerySet[Locker]:
    """Annotate lockers with the `fewest` and `most` servers that hold one of their coins; None without coins."""
    held = Coin.objects.filter(locker=OuterRef("pk"), state=CoinState.LOCKED).order_by().values("locker")
    return lockers.annotate(
        fewest=Subquery(held.annotate(number=Min("passes")).values("number")),
        most=Subquery(held.annotate(number=Max("passes")).values("number")),
    )


# --- tasks --------------------------------------------------------------------------------


def tasks_in_need(tasks: QuerySet[LockerTask]) -> QuerySet[LockerTask]:
    """
    Filter tasks that need an operator and that no operator has marked as seen.

    These are running tasks past their deadline, and ended tasks with coins in limbo. A find is left out: its coins are
    those of an earlier task.
    """
    return tasks.filter(
        Q(state=TaskState.RUNNING, deadline__lt=Now())
        # A subquery on the partial index of open lines, instead of a scan of all tasks.
        | Q(pk__in=ReceiptLine.objects.filter(current_results.OPEN).values("task"))
        & ~Q(state=TaskState.RUNNING)
        & ~Q(kind=TaskKind.FIND),
        seen_at=None,
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """A task as the admin shows it. `board` has 25 letters (the RAIDA protocol, section 7.7), u for unknown."""

    id: UUID
    kind: str
    wallet: str
    wallet_id: UUID
    state: str
    step: str
    progress: int
    message: str
    tag: str
    amount: int | None
    attempt: int
    created_at: datetime
    deadline: datetime
    finished_at: datetime | None
    board: str

    @property
    def is_running(self) -> bool:
        return self.state == TaskState.RUNNING

    @property
    def may_change(self) -> bool:
        """Whether the task runs, or late answers of servers may still arrive."""
        return self.is_running or NOT_WAITED_FOR in self.board


def progress_of(task_ids: Iterable[UUID]) -> list[Progress]:
    """Return the progress of tasks, in two statements; ids that do not exist are left out."""
    return _with_boards(LockerTask.objects.filter(pk__in=list(task_ids)))


def running_tasks(*, limit: int) -> list[Progress]:
    """Return the running tasks, oldest first."""
    return _with_boards(LockerTask.objects.filter(state=TaskState.RUNNING).order_by("created_at", "pk")[:limit])


def _with_boards(found: QuerySet[LockerTask]) -> list[Progress]:
    tasks = list(found.select_related("wallet"))
    latest: dict[UUID, list[Attempt]] = {}
    for attempt in (
        Attempt.objects.filter(task_id__in=[task.pk for task in tasks])
        .order_by("task_id", "command", "-ordinal")
        .distinct("task_id", "command")
    ):
        latest.setdefault(attempt.task_id, []).append(attempt)
    return [
        Progress(
            task.pk, task.kind, task.wallet.name, task.wallet_id, task.state, task.step, task.progress, task.message,
            task.tag, task.amount, task.attempt, task.created_at, task.deadline, task.finished_at,
            TaskView(task, latest.get(task.pk, []), None).board,
        )
        for task in tasks
    ]  # fmt: skip


# --- servers ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """
    What is known of one server: the result of the last regular echo, and failures that tasks met.

    `silences` is the number of consecutive failures; `answered_at` may be earlier than `asked_at`.
    """

    raida: int
    asked_at: datetime | None
    answered_at: datetime | None
    outcome: str
    milliseconds: int | None
    silences: int
    silent_since: datetime | None

    @property
    def is_silent(self) -> bool:
        return self.silences > 0 or self.outcome not in ("", "answered")


def servers() -> list[ServerStatus]:
    """Return what is known of each of the 25 servers, in two statements."""
    readings = {row.raida: row for row in ServerReading.objects.all()}
    failing = {row.raida: row for row in ServerHealth.objects.filter(silences__gt=0)}
    statuses = []
    for raida in range(RAIDA_COUNT):
        reading, health = readings.get(raida), failing.get(raida)
        statuses.append(
            ServerStatus(
                raida=raida,
                asked_at=reading.asked_at if reading else None,
                answered_at=reading.answered_at if reading else None,
                outcome=reading.outcome if reading else "",
                milliseconds=reading.latency_ms if reading else None,
                silences=health.silences if health else 0,
                silent_since=health.silent_since if health else None,
            )
        )
    return statuses


# --- one task, one locker -----------------------------------------------------------------

LOCKER_WORDS: Final = {
    LockerState.FILLING: "being filled",
    LockerState.FILLED: "at least 13 servers store its coins",
    LockerState.UNKNOWN: "coins in limbo: they may be in it or in the wallet; a find decides",
    LockerState.FAILED: "nothing was stored",
    LockerState.EMPTIED: "every coin was taken out",
}
COIN_WORDS: Final = {
    CoinState.WAITING: "claimed; the servers decide another wallet's claim first",
    CoinState.INCOMING: "being imported or taken; not the wallet's yet",
    CoinState.BANK: "authentic: no server rejects it",
    CoinState.FRACKED: "authentic, but some servers reject it; a fix repairs that",
    CoinState.LIMBO: "undecided: each server may hold either of two numbers, both of which are kept; a find decides",
    CoinState.COUNTERFEIT: "rejected by more than 12 servers",
    CoinState.ERRORED: "undecided: more than 12 servers answered with an error; a find decides",
    CoinState.LOCKED: "in a locker that was filled here",
    CoinState.EXPORTED: "in a file that was exported for its owner",
    CoinState.SENT: "taken by another owner, or back in the ledger as another row",
    CoinState.CHANGE: "one of the ten of an unfinished break; worth nothing yet",
    CoinState.BROKEN: "broken into ten smaller coins",
    CoinState.VOID: "one of the ten of a break that was not carried out",
    CoinState.MISSED: "another holder of the code took it first",
}
ATTEMPTS_SHOWN: Final = 60


def attempts_of(*, task_id: UUID) -> list[Attempt]:
    """Return the last attempts of a task, in order."""
    return list(reversed(Attempt.objects.filter(task_id=task_id).order_by("-ordinal")[:ATTEMPTS_SHOWN]))


def coins_of_task(*, task_id: UUID) -> list[CoinCount]:
    """Return the coins that a task holds, or held when it ended, by their latest known state."""
    return _counted(
        "SELECT state, denomination, count(*) FROM lockers_coin WHERE task_id = %(id)s GROUP BY 1, 2"
        " UNION ALL SELECT coalesce(became, state), denomination, count(*) FROM lockers_receiptline"
        " WHERE task_id = %(id)s GROUP BY 1, 2",
        task_id,
    )


def coins_as_ended(*, task_id: UUID) -> list[CoinCount]:
    """Return the coins of a task that has ended, by the state in which it left them."""
    return _counted(
        "SELECT state, denomination, count(*) FROM lockers_receiptline WHERE task_id = %(id)s GROUP BY 1, 2", task_id
    )


def coins_of_locker(*, locker_id: UUID) -> list[CoinCount]:
    """Return the coins that were put into a locker, by their present state."""
    return _counted(
        "SELECT state, denomination, count(*) FROM lockers_coin WHERE locker_id = %(id)s GROUP BY 1, 2", locker_id
    )


def _counted(statement: str, row_id: UUID) -> list[CoinCount]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"id": row_id})
        return _by_state(cursor.fetchall())


# Fields of a result that are values in units of 10^-8.
_VALUES: Final = frozenset(
    {"total", "total_stored", "total_failed", "total_unknown", "total_taken_by_another", "total_not_known"}
)


def result_of(task: LockerTask) -> list[tuple[str, object, bool]]:
    """
    Return the scalar fields of a task's result as (name, value, whether the value is in units of 10^-8).

    Lists of coins and of servers are shown elsewhere.
    """
    told: list[tuple[str, object, bool]] = [
        (name.replace("_", " "), value, name in _VALUES)
        for name, value in task.result.items()
        if isinstance(value, str | int | float) and name not in {"raida", "pownstring", "spelling"}
    ]
    if "spelling" in task.result:
        told.append(("transmit code", "opened the locker in another spelling than the one sent", False))
    if servers := task.result.get("servers"):
        told.append(("servers that hold each coin", spread_text(servers["fewest"], servers["most"]), False))
    return told


def spread_text(fewest: int, most: int) -> str:
    """Return on how many servers coins are, e.g. "13 to 25 of 25, thin"."""
    spread = f"{fewest} of {RAIDA_COUNT}" if fewest == most else f"{fewest} to {most} of {RAIDA_COUNT}"
    return f"{spread}, thin" if fewest < THIN_BELOW else spread
