"""The data of the home page, collected with a fixed number of statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from config.admin import base, charts, server_grid
from config.admin.links import list_url
from config.admin.templatetags import formats
from lockers import reports as lockers
from lockers.models import Coin, Locker, LockerTask
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import SPENDABLE, CoinState
from transfers import reports as transfers
from transfers.models import Transfer
from transfers.states import TransferState
from wallets import reports as wallets
from wallets.models import AuditRun, OperatorAction, Token, Wallet
from wallets.states import AuditResult
from webhooks import reports as webhooks
from webhooks.models import Webhook

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
    """A step of the setup checklist."""

    title: str
    hint: str
    is_done: bool
    url: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top of the page; mark and CSS class show whether it is as expected."""

    what: str
    value: str
    note: str
    url: str
    css: str = ""
    mark: str = ""


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
    tiles: Sequence[Tile]
    ages: Sequence[Age]
    columns: Sequence[charts.Column]
    running: Sequence[Task]
    running_is_more: bool
    server_cells: Sequence[server_grid.Cell]
    servers_up: int
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


def collected(*, days: int) -> Home:
    """Return the data of the home page."""
    now = timezone.now()
    first = now.date() - timedelta(days=days - 1)
    summary = transfers.ledger_summary()
    setup_checklist = wallets.setup_checklist()
    audit = wallets.latest_audit()
    coins = lockers.coins_by_state()
    running = lockers.running_tasks(limit=RUNNING_SHOWN + 1)
    servers = lockers.servers()
    in_need = lockers.tasks_in_need(LockerTask.objects.all()).count()
    servers_up = sum(1 for server in servers if not server.is_silent)
    return Home(
        days=days,
        summary=summary,
        tiles=[
            *_ledger_tiles(summary),
            _audit_tile(audit, now),
            *_coin_tiles(coins),
            _thin_tile(*lockers.count_thin()),
            _need_tile(in_need),
            _webhook_tile(webhooks.trouble()),
            _server_tile(servers_up, any(server.asked_at for server in servers)),
        ],
        ages=_ages(summary),
        columns=_columns(transfers.days(since=first), first=first, days=days),
        running=[_task(each) for each in running[:RUNNING_SHOWN]],
        running_is_more=len(running) > RUNNING_SHOWN,
        server_cells=[server_grid.of_server(server, now=now) for server in servers],
        servers_up=servers_up,
        lockers_are_off=not settings.RAIDA_HOSTS,
        coins=coins,
        actions=list(wallets.recent_actions(limit=ACTIONS_SHOWN)),
        steps=_steps(setup_checklist, summary, audit),
    )


def _steps(setup_checklist: wallets.Beginnings, summary: transfers.LedgerSummary, audit: AuditRun | None) -> list[Step]:
    has_tokens = summary.issued > 0
    make_key = reverse("admin:create-api-key")
    return [
        Step("Create a wallet", "create_wallet NAME", setup_checklist.has_wallet, reverse("admin:create-wallet")),
        Step("Give a partner an API key", "create_api_key NAME", setup_checklist.has_api_key, make_key),
        Step("Issue the first tokens", "issue_tokens --wallet NAME --count 10", has_tokens, list_url(Wallet)),
        Step("Let a wallet log in", "POST /auth", setup_checklist.has_login),
        Step("Send a first transfer", "POST /transfers", summary.has_transfers),
        Step("Audit the books", "audit", audit is not None, reverse("admin:run-audit")),
    ]


def _ledger_tiles(summary: transfers.LedgerSummary) -> list[Tile]:
    transfer_list = list_url(Transfer)
    whole = summary.issued == summary.held
    difference = f"{abs(summary.issued - summary.held):,} {'missing' if summary.issued > summary.held else 'too many'}"
    agrees = summary.reserved_tokens == summary.reserved_by_transfers
    in_links = summary.reserved_by_transfers - summary.pending.tokens
    by_links = f", {in_links:,} by claim links" if in_links else ""
    oldest = min(
        (at for at in (summary.pending.oldest_at, summary.requested.oldest_at) if at is not None), default=None
    )
    is_late = oldest is not None and oldest < timezone.now() - transfers.LONG
    return [
        Tile(
            "tokens issued = held",
            f"{summary.issued:,}",
            "all of them are in wallets" if whole else f"{summary.held:,} held: {difference}. Run an audit",
            list_url(Token),
            "good" if whole else "bad",
            "✓" if whole else "!",
        ),
        Tile(
            "tokens reserved",
            f"{summary.reserved_tokens:,}",
            f"by {summary.pending.transfers:,} pending transfers{by_links}"
            if agrees
            else f"but pending transfers and claim links say {summary.reserved_by_transfers:,}. Run an audit",
            f"{transfer_list}?state=pending",
            "good" if agrees else "bad",
            "✓" if agrees else "!",
        ),
        Tile(
            "oldest open transfer",
            formats.span((timezone.now() - oldest).total_seconds()) if oldest else "none",
            "pending or requested" if oldest else "no transfer is open",
            f"{transfer_list}?state=open",
            "wait" if is_late else "good",
            "◔" if is_late else "✓",
        ),
    ]


def _audit_tile(audit: AuditRun | None, now: datetime) -> Tile:
    url = list_url(AuditRun)
    if audit is None:
        return Tile("last audit", "never", "`manage.py audit` runs one", url, "wait", "◔")
    words, css, mark = {
        AuditResult.RUNNING: ("running", "wait", "▸"),
        AuditResult.SOUND: ("sound", "good", "✓"),
        AuditResult.UNSOUND: (f"{audit.findings_count:,} findings", "bad", "!"),
        AuditResult.FAILED: ("did not end", "bad", "!"),
    }[AuditResult(audit.result)]
    every = settings.AUDIT_EVERY_MINUTES
    if every and audit.started_at < now - 3 * timedelta(minutes=every) and css == "good":
        css, mark = "wait", "◔"
    return Tile("last audit", words, formats.ago(audit.started_at, now), url, css, mark)


def _coin_tiles(coins: Sequence[lockers.CoinCount]) -> list[Tile]:
    url = list_url(Coin)
    spendable = [count for count in coins if count.state in SPENDABLE]
    doubtful = {count.state: count.coins for count in coins if count.state in (CoinState.LIMBO, CoinState.ERRORED)}
    in_doubt = sum(doubtful.values())
    return [
        Tile(
            "coins in wallets",
            formats.coins(sum(count.units for count in spendable)),
            f"{sum(count.coins for count in spendable):,} coins in bank and fracked",
            f"{url}?state=bank",
        ),
        Tile(
            "coins in doubt",
            f"{in_doubt:,}",
            "limbo or errored; find tasks ask for them" if in_doubt else "none in limbo, none errored",
            f"{url}?state={CoinState.LIMBO if doubtful.get(CoinState.LIMBO) or not in_doubt else CoinState.ERRORED}",
            "wait" if in_doubt else "good",
            "?" if in_doubt else "✓",
        ),
    ]


def _thin_tile(thin_lockers: int, thin_coins: int) -> Tile:
    model = Coin if thin_coins and not thin_lockers else Locker
    is_any = bool(thin_lockers or thin_coins)
    return Tile(
        "thin lockers and coins",
        f"{thin_lockers:,} and {thin_coins:,}",
        f"on fewer than {lockers.THIN_BELOW} servers; the others are retried" if is_any else "none on too few servers",
        f"{list_url(model)}?servers=thin",
        "wait" if is_any else "good",
        "◔" if is_any else "✓",
    )


def _need_tile(in_need: int) -> Tile:
    return Tile(
        "tasks that need action",
        f"{in_need:,}",
        "coins unknown, or past the deadline" if in_need else "no coin unknown, no deadline passed",
        f"{list_url(LockerTask)}?need=yes",
        "bad" if in_need else "good",
        "!" if in_need else "✓",
    )


def _webhook_tile(found: webhooks.Trouble) -> Tile:
    url = list_url(Webhook)
    if found.given_up:
        note = f"disabled after five days of failures; {found.failing:,} more fail now"
        return Tile("webhooks", f"{found.given_up:,} given up", note, f"{url}?disabled_by=failures", "bad", "!")
    if found.failing:
        return Tile(
            "webhooks", f"{found.failing:,} failing", "their last delivery failed", f"{url}?need=failing", "wait", "◔"
        )
    return Tile(
        "webhooks", f"{found.total:,}", "all deliveries arrive" if found.total else "none yet", url, "good", "✓"
    )


def _server_tile(up: int, is_known: bool) -> Tile:
    if not settings.RAIDA_HOSTS:
        return Tile("servers", "off", "lockers are off", "#h-raida", "wait", "◐")
    value = f"{up} of {RAIDA_COUNT}"
    if up < QUORUM:
        return Tile("servers", value, f"below the quorum of {QUORUM}", "#h-raida", "bad", "!")
    if up < RAIDA_COUNT:
        return Tile("servers", value, f"the quorum is {QUORUM}", "#h-raida", "wait", "◐")
    return Tile("servers", value, "all answer" if is_known else "not polled yet", "#h-raida", "good", "✓")


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
        for place, (key, (name, _, _)) in enumerate(base.AGES.items())
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
