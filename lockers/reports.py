"""How coins, tasks and servers stand, for operators: a fixed number of statements, and never a secret."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from lockers import coin_selection, current_results
from lockers.models import Attempt, Coin, Locker, LockerTask, ReceiptLine, ServerHealth, ServerReading
from lockers.queries import TaskView
from lockers.raida.statuses import RAIDA_COUNT
from lockers.server_letters import NOT_WAITED_FOR
from lockers.states import SPENDABLE, CoinState, LockerState, TaskKind, TaskState


class CoinCount(NamedTuple):
    """Coins in one state: how many, and their value in units of 10^-8."""

    state: CoinState
    coins: int
    units: int


def coins_by_state() -> list[CoinCount]:
    """Return how many coins are in each state that any is in, in the order of the states."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT state, denomination, count(*) FROM lockers_coin GROUP BY 1, 2")
        return _by_state(cursor.fetchall())


def _by_state(rows: Sequence[tuple[str, int, int]]) -> list[CoinCount]:
    return [
        CoinCount(
            state,
            sum(number for name, _, number in rows if name == state),
            sum(coin_selection.value_of(denomination) * number for name, denomination, number in rows if name == state),
        )
        for state in CoinState
        if any(name == state for name, _, _ in rows)
    ]


# A locker or a coin that stands on fewer servers bears few of them going away; 13 must be there.
THIN_BELOW: Final = 20


def thin_coins(coins: QuerySet[Coin]) -> QuerySet[Coin]:
    """Narrow coins to those in lockers and wallets that fewer than 20 servers are known to hold."""
    return coins.filter(state__in=[*SPENDABLE, CoinState.LOCKED], passes__lt=THIN_BELOW)


def thin_lockers(lockers: QuerySet[Locker]) -> QuerySet[Locker]:
    """Narrow lockers to those with such a coin. Their servers are asked again until all store it."""
    coins = Coin.objects.filter(locker=OuterRef("pk"), state=CoinState.LOCKED, passes__lt=THIN_BELOW)
    return lockers.filter(Exists(coins), mend_at__isnull=False)


def count_thin() -> tuple[int, int]:
    """Return how many lockers, and how many coins in wallets, stand on fewer than 20 servers."""
    in_wallets = thin_coins(Coin.objects.filter(state__in=SPENDABLE, task=None))
    return thin_lockers(Locker.objects.all()).count(), in_wallets.count()


@dataclass(frozen=True, slots=True)
class Checks:
    """Of the coins that a wallet may spend: how many stand on few servers, and when all were last asked about."""

    thin: int
    unchecked: int
    oldest: datetime | None


def checks_of(*, wallet_id: UUID) -> Checks | None:
    """Return it for a wallet's coins at rest, None if it has none."""
    told = Coin.objects.filter(wallet_id=wallet_id, state__in=SPENDABLE, task=None).aggregate(
        coins=Count("id"),
        thin=Count("id", filter=Q(passes__lt=THIN_BELOW)),
        unchecked=Count("id", filter=Q(checked_at=None)),
        oldest=Min("checked_at"),
    )
    return Checks(told["thin"], told["unchecked"], told["oldest"]) if told["coins"] else None


def with_servers(lockers: QuerySet[Locker]) -> QuerySet[Locker]:
    """Add on how many servers the coins stand that each locker holds: `fewest` and `most`, None if it holds none."""
    held = Coin.objects.filter(locker=OuterRef("pk"), state=CoinState.LOCKED).order_by().values("locker")
    return lockers.annotate(
        fewest=Subquery(held.annotate(number=Min("passes")).values("number")),
        most=Subquery(held.annotate(number=Max("passes")).values("number")),
    )


# --- tasks --------------------------------------------------------------------------------


def tasks_in_need(tasks: QuerySet[LockerTask]) -> QuerySet[LockerTask]:
    """
    Narrow tasks to those at which a human should look, and that no operator has marked as seen.

    These are running ones whose time is up, and ended ones that left coins of which it is still unknown what became of
    them. A find leaves only coins open that an earlier task left so, and is not counted beside that.
    """
    return tasks.filter(
        Q(state=TaskState.RUNNING, deadline__lt=Now())
        # By the few lines that are open, and not by all tasks.
        | Q(pk__in=ReceiptLine.objects.filter(current_results.OPEN).values("task"))
        & ~Q(state=TaskState.RUNNING)
        & ~Q(kind=TaskKind.FIND),
        seen_at=None,
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """A task as bars and cells show it: 25 letters (the RAIDA protocol, section 7.7), u where nothing is known yet."""

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
        """Whether it runs, or servers are listened to that its verdict did not wait for."""
        return self.is_running or NOT_WAITED_FOR in self.board


def progress_of(task_ids: Iterable[UUID]) -> list[Progress]:
    """Return how the tasks are getting on, in two statements; unknown ones are left out."""
    return _with_boards(LockerTask.objects.filter(pk__in=list(task_ids)))


def running_tasks(*, limit: int) -> list[Progress]:
    """Return the tasks at work, the oldest first."""
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
    What is known of one server: what it said to the last regular echo, and whether tasks found it silent.

    `silences` counts those one after the other; the last answer, `answered_at`, may be older than the last question.
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
    ailing = {row.raida: row for row in ServerHealth.objects.filter(silences__gt=0)}
    news = []
    for raida in range(RAIDA_COUNT):
        reading, sick = readings.get(raida), ailing.get(raida)
        news.append(
            ServerStatus(
                raida=raida,
                asked_at=reading.asked_at if reading else None,
                answered_at=reading.answered_at if reading else None,
                outcome=reading.outcome if reading else "",
                milliseconds=reading.latency_ms if reading else None,
                silences=sick.silences if sick else 0,
                silent_since=sick.silent_since if sick else None,
            )
        )
    return news


# --- one task, one locker -----------------------------------------------------------------

LOCKER_WORDS: Final = {
    LockerState.FILLING: "being filled",
    LockerState.FILLED: "at least 13 servers store its coins",
    LockerState.UNKNOWN: "coins in limbo; a find will tell",
    LockerState.FAILED: "nothing was stored",
    LockerState.EMPTIED: "every coin of it left",
}
COIN_WORDS: Final = {
    CoinState.WAITING: "claimed; another wallet's claim to it is decided first",
    CoinState.INCOMING: "imported or peeked, not yet ours",
    CoinState.BANK: "authentic, no server refused it",
    CoinState.FRACKED: "authentic, but some servers refuse it; fixing heals it",
    CoinState.LIMBO: "unknown: servers may hold either of two numbers, and both are kept; a find will tell",
    CoinState.COUNTERFEIT: "more than 12 servers said so themselves",
    CoinState.ERRORED: "more than 12 servers answered with an error; a find will tell",
    CoinState.LOCKED: "in a locker that may still hold it",
    CoinState.EXPORTED: "in a file that was made for its owner",
    CoinState.SENT: "left for somebody else",
    CoinState.CHANGE: "one of ten that a break may bring; worth nothing yet",
    CoinState.BROKEN: "broken into ten smaller coins",
    CoinState.VOID: "one of ten of a break that did not happen",
    CoinState.MISSED: "somebody else emptied the locker first",
}
ATTEMPTS_SHOWN: Final = 60


def attempts_of(*, task_id: UUID) -> list[Attempt]:
    """Return the last attempts of a task, in order."""
    return list(reversed(Attempt.objects.filter(task_id=task_id).order_by("-ordinal")[:ATTEMPTS_SHOWN]))


def coins_of_task(*, task_id: UUID) -> list[CoinCount]:
    """Return the coins that a task holds, or held when it ended, by what became of them since. Two statements."""
    return _counted(
        "SELECT state, denomination, count(*) FROM lockers_coin WHERE task_id = %(id)s GROUP BY 1, 2"
        " UNION ALL SELECT coalesce(became, state), denomination, count(*) FROM lockers_receiptline"
        " WHERE task_id = %(id)s GROUP BY 1, 2",
        task_id,
    )


def coins_of_locker(*, locker_id: UUID) -> list[CoinCount]:
    """Return the coins that were put into a locker, by the state in which they are now."""
    return _counted(
        "SELECT state, denomination, count(*) FROM lockers_coin WHERE locker_id = %(id)s GROUP BY 1, 2", locker_id
    )


def _counted(statement: str, row_id: UUID) -> list[CoinCount]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"id": row_id})
        return _by_state(cursor.fetchall())


# What of a result is a value in units of 10^-8.
_VALUES: Final = frozenset({"total", "total_stored", "total_failed", "total_unknown"})


# What of a result is a number or a sentence; lists of coins and of servers have places of their own.
def result_of(task: LockerTask) -> list[tuple[str, object, bool]]:
    """Return what a task's result says in single words and numbers; True for a value in units of 10^-8."""
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
    """On how many servers coins stand, in words."""
    spread = f"{fewest} of {RAIDA_COUNT}" if fewest == most else f"{fewest} to {most} of {RAIDA_COUNT}"
    return f"{spread}, thin" if fewest < THIN_BELOW else spread
