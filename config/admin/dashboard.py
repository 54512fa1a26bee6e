"""The data of the home page, collected with a fixed number of statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.urls import get_script_prefix, reverse
from django.utils.safestring import SafeString

from config.admin import alerts, charts, filters, server_grid, tiles
from config.admin.links import list_url
from config.admin.models import Alert
from lockers import reports as lockers
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from transfers import reports as transfers
from transfers.models import Transfer
from transfers.states import TransferState
from wallets import reports as wallets
from wallets.models import OperatorAction, Wallet

PERIODS: Final = (30, 90)
RUNNING_SHOWN: Final = 10
ACTIONS_SHOWN: Final = 8
# The order of the states in the chart, from the bottom up.
STACK: Final = (
    TransferState.COMPLETED,
    TransferState.PENDING,
    TransferState.REQUESTED,
    TransferState.CANCELLED,
    TransferState.FAILED,
)


def days_asked(text: str | None) -> int:
    """Return the period that the query asks for, by default the shortest."""
    return next((days for days in PERIODS if str(days) == text), PERIODS[0])


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the setup checklist. `hint` says how, or who may; it is a link if there is a URL."""

    title: str
    hint: str
    is_done: bool
    url: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A state in the legend of the chart."""

    name: str
    css: str
    count: int
    url: str


@dataclass(frozen=True, slots=True)
class Age:
    """The number of open transfers of one age."""

    name: str
    pending: int
    pending_url: str
    bar: SafeString
    requested: int
    requested_url: str
    other_bar: SafeString


@dataclass(frozen=True, slots=True)
class Task:
    """A running task, with the cells of its servers."""

    id: UUID
    kind: str
    wallet: str
    state: str
    step: str
    progress: int
    message: str
    tag: str
    amount: int | None
    created_at: datetime
    cells: Sequence[server_grid.Cell]


@dataclass(frozen=True, slots=True)
class Home:
    """The context of the template."""

    days: int
    summary: transfers.LedgerSummary
    tiles: Sequence[tiles.Tile]
    alerts: Sequence[Alert]
    ages: Sequence[Age]
    columns: Sequence[charts.Column]
    running: Sequence[Task]
    running_is_more: bool
    server_cells: Sequence[server_grid.Cell]
    servers_up: int
    servers_asked: bool
    guide: str
    lockers_are_off: bool
    coins: Sequence[lockers.CoinCount]
    actions: Sequence[OperatorAction]
    steps: Sequence[Step]
    periods: Sequence[int] = PERIODS
    quorum: int = QUORUM
    raida_count: int = RAIDA_COUNT
    server_legend: Sequence[tuple[str, str, str]] = server_grid.SERVER_LEGEND

    @property
    def transfers_total(self) -> int:
        return sum(column.total for column in self.columns)

    @property
    def highest(self) -> int:
        return max((column.total for column in self.columns), default=0)

    @property
    def picture(self) -> SafeString:
        return charts.stacked(
            self.columns,
            label=f"Transfers of the last {self.days} days by state: {self.transfers_total:,} in all."
            " The table below has the numbers.",
        )

    @property
    def legend(self) -> Sequence[Entry]:
        return [
            Entry(
                state.value,
                f"s-{state.value}",
                sum(column.parts[place][2] for column in self.columns),
                f"{list_url(Transfer)}?state={state.value}",
            )
            for place, state in enumerate(STACK)
        ]

    @property
    def columns_with_transfers(self) -> Sequence[charts.Column]:
        """The days with transfers, the newest first."""
        return [column for column in reversed(self.columns) if column.total]

    @property
    def open_steps(self) -> Sequence[Step]:
        """The steps of the checklist, or none when all are done."""
        return self.steps if any(not step.is_done for step in self.steps) else ()


def collected(*, days: int, user: User) -> Home:
    """Return the data of the home page. The setup checklist links to what the user may do."""
    readings = tiles.Readings()
    now, summary, servers = readings.now, readings.summary, readings.servers
    first = now.date() - timedelta(days=days - 1)
    setup_checklist = wallets.setup_checklist()
    running = lockers.running_tasks(limit=RUNNING_SHOWN + 1)
    return Home(
        days=days,
        summary=summary,
        tiles=tiles.computed(readings),
        alerts=alerts.open_alerts(),
        ages=_ages(summary),
        columns=_columns(transfers.days(since=first), first=first, days=days),
        running=[_task(each) for each in running[:RUNNING_SHOWN]],
        running_is_more=len(running) > RUNNING_SHOWN,
        server_cells=[server_grid.of_server(server, now=now) for server in servers],
        servers_up=readings.answers.lately,
        servers_asked=any(readings.answers),
        guide=f"{get_script_prefix()}docs/partners/",
        lockers_are_off=not settings.RAIDA_HOSTS,
        coins=readings.coins,
        actions=list(wallets.recent_actions(limit=ACTIONS_SHOWN)),
        steps=_steps(setup_checklist, summary, user, is_audited=bool(readings.recent_audits)),
    )


def _steps(
    setup_checklist: wallets.Beginnings, summary: transfers.LedgerSummary, user: User, *, is_audited: bool
) -> list[Step]:
    guide = f"{get_script_prefix()}docs/partners/"

    def act(title: str, name: str, who: str, is_done: bool, url: str, hint: str) -> Step:
        may = user.has_perm(f"wallets.{name}")
        return Step(title, hint, is_done, url) if may else Step(title, f"{who} does this", is_done)

    create_wallet, create_key = reverse("admin:create-wallet"), reverse("admin:create-api-key")
    return [
        act("Create a wallet", "act_create_wallet", "an operator", setup_checklist.has_wallet, create_wallet, "create"),
        act(
            "Give a partner an API key", "act_create_api_key", "an administrator", setup_checklist.has_api_key,
            create_key, "create a key",
        ),
        act(
            "Issue the first tokens", "act_issue_tokens", "an administrator", summary.issued > 0,
            list_url(Wallet), "choose a wallet, and issue tokens on its page",
        ),
        Step("Let a wallet log in", "the partner's application does this", setup_checklist.has_login, guide),
        Step("Send a first transfer", "the partner's application does this", summary.has_transfers, guide),
        act(
            "Audit the books", "act_run_audit", "an operator", is_audited, reverse("admin:run-audit"), "run one"
        ),
    ]  # fmt: skip


def _ages(summary: transfers.LedgerSummary) -> list[Age]:
    pending, requested = summary.pending.by_age, summary.requested.by_age
    highest = max(*pending, *requested, 1)
    here = list_url(Transfer)
    return [
        Age(
            name,
            pending[place],
            f"{here}?state=pending&waits={key}",
            charts.share(pending[place], highest, css="s-pending"),
            requested[place],
            f"{here}?state=requested&waits={key}",
            charts.share(requested[place], highest, css="s-requested"),
        )
        for place, (key, (name, _, _)) in enumerate(filters.AGES.items())
    ]


def _task(each: lockers.Progress) -> Task:
    return Task(
        each.id,
        each.kind,
        each.wallet,
        each.state,
        each.step,
        each.progress,
        each.message,
        each.tag,
        each.amount,
        each.created_at,
        server_grid.of_board(each.board),
    )


def _columns(found: Sequence[transfers.Day], *, first: date, days: int) -> list[charts.Column]:
    by_day: dict[date, dict[str, int]] = {}
    for row in found:
        by_day.setdefault(row.day, {})[row.state] = row.transfers
    return [
        charts.Column(
            (first + timedelta(days=offset)).isoformat(),
            [
                (f"s-{state.value}", state.value, by_day.get(first + timedelta(days=offset), {}).get(state.value, 0))
                for state in STACK
            ],
        )
        for offset in range(days)
    ]
