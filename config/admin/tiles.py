"""
The tiles of the admin's home page: whether the ledger, its servers and its receivers are as expected.

A tile is red (`bad`) exactly while there is something to report: `config.admin.alerts` opens an alert for each red
tile, or for each of its `subjects`. Nothing here needs a URL, so that a worker loads no pages for them.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db.models import Model, Subquery
from django.utils import timezone

from config.admin import server_grid
from config.admin.links import list_url
from config.admin.models import Backup
from config.admin.templatetags import formats
from config.postgresql import replica
from lockers import reports as lockers
from lockers.models import Coin, Locker, LockerTask
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import SPENDABLE, CoinState
from transfers import partitions
from transfers import reports as transfers
from transfers.models import Transfer
from transfers.seal_models import Seal, SealMark
from wallets import reports as wallets
from wallets.models import AuditRun, Token
from wallets.states import AuditResult
from wallets.wording import counted
from webhooks import reports as webhooks
from webhooks.models import Webhook

_log: Final = logging.getLogger("coppice.admin")

# Fewer servers than this leave too few for a quorum when some of them fail as well.
FEW_SERVERS: Final = 17
# The number of intervals without a seal after which the tile of seals is red.
SEALS_MISSED: Final = 3
# The most subjects of one tile.
SUBJECTS: Final = 20
# The class of a tile that must be acted on, and of one that could not be computed.
BAD: Final = "bad"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Tile:
    """
    A number at the top of the page; mark and CSS class show whether it is as expected.

    `model` and `query` are the list behind it, without a model `query` is a place on the page. `subjects` are the
    things that a red tile reports, by id, if it reports more than one. `lasting` is what an alert says instead of value
    and note, if these say how long ago something was: alerts are kept, and read later.
    """

    what: str
    value: str
    note: str
    model: type[Model] | None
    query: str = ""
    css: str = ""
    mark: str = ""
    key: str = ""
    subjects: Mapping[str, str] = field(default_factory=dict)
    lasting: str = ""

    @property
    def said(self) -> str:
        return self.lasting or f"{self.value}: {self.note}"

    @property
    def url(self) -> str:
        return self.query if self.model is None else f"{list_url(self.model)}{self.query}"

    @property
    def is_bad(self) -> bool:
        return self.css == BAD

    @property
    def is_known(self) -> bool:
        return self.css != UNKNOWN


class Answers(NamedTuple):
    """How many servers answered lately, answered earlier and were not asked since, and are silent."""

    lately: int
    earlier: int
    silent: int


class Readings:
    """What the tiles and the home page show, each read once, when it is first needed."""

    def __init__(self) -> None:
        self.now = timezone.now()

    @cached_property
    def summary(self) -> transfers.LedgerSummary:
        return transfers.ledger_summary()

    @cached_property
    def recent_audits(self) -> Sequence[AuditRun]:
        # One of each kind runs at a time, so that one of these has ended.
        return wallets.recent_audits(limit=3)

    @cached_property
    def ended_audit(self) -> AuditRun | None:
        return wallets.deciding_audit()

    @cached_property
    def coins(self) -> Sequence[lockers.CoinCount]:
        return lockers.coins_by_state()

    @cached_property
    def servers(self) -> Sequence[lockers.ServerStatus]:
        return lockers.servers()

    @cached_property
    def answers(self) -> Answers:
        ages = [self.now - each.answered_at for each in self.servers if each.answered_at and not each.is_silent]
        lately = sum(age <= server_grid.OLD_ANSWER for age in ages)
        return Answers(lately, len(ages) - lately, sum(each.is_silent for each in self.servers))


def computed(readings: Readings, *, guard: Callable[[], AbstractContextManager[Any]] = nullcontext) -> list[Tile]:
    """
    Return all tiles. One that cannot be computed is neither green nor red, and hides no other.

    `guard` is entered around each: a savepoint, where an error would otherwise end a transaction of the caller.
    """
    found = []
    for keys, source in _SOURCES.items():
        try:
            with guard():
                tiles = source(readings)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one must not hide the others
            _log.warning("tile_not_computed", extra={"error": type(error).__name__, "operation": keys[0]})
            tiles = [
                Tile(key.replace("-", " "), "unknown", "could not be read", None, "#", UNKNOWN, "–") for key in keys
            ]
        found += [replace(tile, key=key) for key, tile in zip(keys, tiles, strict=True)]
    return [tile for tile in found if tile.value]


def _ledger_tiles(readings: Readings) -> list[Tile]:
    summary = readings.summary
    whole = summary.issued == summary.held
    difference = f"{abs(summary.issued - summary.held):,} {'missing' if summary.issued > summary.held else 'too many'}"
    agrees = summary.reserved_tokens == summary.reserved_by_transfers
    in_links = summary.reserved_by_transfers - summary.pending.tokens
    by_links = f", {counted(in_links, 'token')} by claim links" if in_links else ""
    oldest = min(
        (at for at in (summary.pending.oldest_at, summary.requested.oldest_at) if at is not None), default=None
    )
    is_late = oldest is not None and oldest < readings.now - transfers.LONG
    if not summary.issued and not summary.held:
        return [
            Tile("tokens issued = held", "0", "no token was issued yet", Token),
            Tile("tokens reserved", "0", "no token was issued yet", Transfer, "?state=pending"),
            Tile("oldest open transfer", "none", "no transfer is open", Transfer, "?state=open"),
        ]
    return [
        Tile(
            "tokens issued = held",
            f"{summary.issued:,}",
            "all of them are in wallets" if whole else f"{summary.held:,} held: {difference}. Run an audit",
            Token,
            "",
            "good" if whole else BAD,
            "✓" if whole else "!",
        ),
        Tile(
            "tokens reserved",
            f"{summary.reserved_tokens:,}",
            f"by {counted(summary.pending.transfers, 'pending transfer')}{by_links}"
            if agrees
            else f"but pending transfers and claim links say {summary.reserved_by_transfers:,}. Run an audit",
            Transfer,
            "?state=pending",
            "good" if agrees else BAD,
            "✓" if agrees else "!",
        ),
        Tile(
            "oldest open transfer",
            formats.span((readings.now - oldest).total_seconds()) if oldest else "none",
            "pending or requested" if oldest else "no transfer is open",
            Transfer,
            "?state=open",
            "wait" if is_late else "good",
            "◔" if is_late else "✓",
        ),
    ]


def _audit_tile(readings: Readings) -> list[Tile]:
    """While an audit runs, the result of the one before counts: it is what is known."""
    recent, ended = readings.recent_audits, readings.ended_audit
    if not recent:
        return [Tile("last audit", "never", "run one to compare all books", AuditRun, "", "wait", "◔")]
    if ended is None:
        return [
            Tile("last audit", "running", formats.ago(recent[0].started_at, readings.now), AuditRun, "", "wait", "▸")
        ]
    words, css, mark = {
        AuditResult.SOUND: ("sound", "good", "✓"),
        AuditResult.UNSOUND: (counted(ended.findings_count, "finding"), BAD, "!"),
        AuditResult.FAILED: ("did not end", BAD, "!"),
    }[AuditResult(ended.result)]
    every = settings.AUDIT_EVERY_MINUTES
    if every and ended.started_at < readings.now - 3 * timedelta(minutes=every) and css == "good":
        css, mark = "wait", "◔"
    note = formats.ago(ended.started_at, readings.now)
    is_running = recent[0].result == AuditResult.RUNNING
    lasting = f"{words}: the audit of {formats.full(ended.started_at)}"
    note = f"{note}; one is running" if is_running else note
    return [Tile("last audit", words, note, AuditRun, "", css, mark, lasting=lasting)]


def _seal_tile(readings: Readings) -> list[Tile]:
    every = settings.SEAL_EVERY_MINUTES
    if not every:
        return [Tile("last seal", "off", "history is not sealed", None, "#", "wait", "◐")]
    marked = Subquery(SealMark.objects.values("complete_at")[:1])
    newest = Seal.objects.annotate(complete_at=marked).order_by("-height").first()
    if newest is None or newest.complete_at is None:
        return [Tile("last seal", "none", "nothing is sealed yet", None, "#", "wait", "◔")]
    note = f"{counted(newest.height, 'block')}, {'signed' if newest.key_id else 'not signed'}"
    if elsewhere := sum(not each.is_here for each in partitions.detached()):
        note += f"; {counted(elsewhere, 'partition')} elsewhere, not compared"
    is_late = newest.complete_at < readings.now - SEALS_MISSED * timedelta(minutes=every)
    value = formats.ago(newest.complete_at, readings.now)
    css, mark = (BAD, "!") if is_late else ("good", "✓")
    lasting = f"of {formats.full(newest.complete_at)}: {note}"
    return [Tile("last seal", value, note, None, "#", css, mark, lasting=lasting)]


def _coin_tiles(readings: Readings) -> list[Tile]:
    spendable = [count for count in readings.coins if count.state in SPENDABLE]
    doubtful = {
        count.state: count.coins for count in readings.coins if count.state in (CoinState.LIMBO, CoinState.ERRORED)
    }
    in_doubt = sum(doubtful.values())
    shown = CoinState.LIMBO if doubtful.get(CoinState.LIMBO) or not in_doubt else CoinState.ERRORED
    return [
        Tile(
            "coins in wallets",
            formats.coins(sum(count.units for count in spendable)),
            f"{counted(sum(count.coins for count in spendable), 'coin')} in bank and fracked",
            Coin,
            "?state=bank",
        ),
        Tile(
            "coins in doubt",
            f"{in_doubt:,}",
            "limbo or errored; find tasks ask for them" if in_doubt else "none in limbo, none errored",
            Coin,
            f"?state={shown}",
            *_mark(in_doubt, is_any=bool(readings.coins), mark="?"),
        ),
    ]


def _mark(count: int, *, is_any: bool, mark: str) -> tuple[str, str]:
    """Return CSS class and mark of a count that should be 0: no mark where there is nothing to count."""
    return ("wait", mark) if count else ("good", "✓") if is_any else ("", "")


def _thin_tile(readings: Readings) -> list[Tile]:
    thin_lockers, thin_coins = lockers.count_thin()
    is_thin = bool(thin_lockers or thin_coins)
    return [
        Tile(
            "thin lockers and coins",
            f"{thin_lockers:,} and {thin_coins:,}",
            f"on fewer than {lockers.THIN_BELOW} servers; the others are retried"
            if is_thin
            else "none on too few servers",
            Coin if thin_coins and not thin_lockers else Locker,
            "?servers=thin",
            *_mark(thin_lockers + thin_coins, is_any=bool(readings.coins), mark="◔"),
        )
    ]


def _need_tile(readings: Readings) -> list[Tile]:
    in_need = lockers.tasks_in_need(LockerTask.objects.all()).count()
    return [
        Tile(
            "tasks that need action",
            f"{in_need:,}",
            "coins unknown, or past the deadline" if in_need else "no coin unknown, no deadline passed",
            LockerTask,
            "?need=yes",
            BAD if in_need else "good",
            "!" if in_need else "✓",
        )
    ]


def _webhook_tile(readings: Readings) -> list[Tile]:
    found = webhooks.trouble()
    if found.given_up:
        note = f"after failures, a 410 or the loss of control; {found.failing:,} more fail now"
        subjects = {str(each): f"webhook {formats.short(each)}" for each in webhooks.given_up(limit=SUBJECTS)}
        value = f"{found.given_up:,} disabled"
        return [Tile("webhooks", value, note, Webhook, "?need=disabled", BAD, "!", subjects=subjects)]
    if found.failing:
        value, note = f"{found.failing:,} failing", "their last delivery failed"
        return [Tile("webhooks", value, note, Webhook, "?need=failing", "wait", "◔")]
    if not found.total:
        return [Tile("webhooks", "0", "none yet", Webhook)]
    return [Tile("webhooks", f"{found.total:,}", "all deliveries arrive", Webhook, "", "good", "✓")]


def _server_tile(readings: Readings) -> list[Tile]:
    place = "#h-raida"
    if not settings.RAIDA_HOSTS:
        return [Tile("servers", "off", "lockers are off", None, place, "wait", "◐")]
    up, old, silent = readings.answers
    value = f"{up} of {RAIDA_COUNT}"
    if not up and not old and not silent:
        return [Tile("servers", "not asked", "a worker asks them every 30 seconds", None, place, "wait", "◔")]
    if up + old < QUORUM:
        return [Tile("servers", value, f"below the quorum of {QUORUM}", None, place, BAD, "!")]
    if up + old < FEW_SERVERS:
        return [Tile("servers", value, f"fewer than {FEW_SERVERS}; the quorum is {QUORUM}", None, place, BAD, "!")]
    if old:
        return [Tile("servers", value, f"{old} not asked lately: does a worker run?", None, place, "wait", "◷")]
    if up < RAIDA_COUNT:
        return [Tile("servers", value, f"the quorum is {QUORUM}", None, place, "wait", "◐")]
    return [Tile("servers", value, "all answer", None, place, "good", "✓")]


def _backup_tile(readings: Readings) -> list[Tile]:
    hours = settings.BACKUP_HOURS
    if not hours:
        return [Tile("last backup", "", "", None)]
    limit = f"one is due every {counted(hours, 'hour')}"
    at = Backup.latest()
    if at is None:
        return [Tile("last backup", "never", limit, None, "#", BAD, "!")]
    is_late = at < readings.now - timedelta(hours=hours)
    value = formats.ago(at, readings.now)
    css, mark = (BAD, "!") if is_late else ("good", "✓")
    return [Tile("last backup", value, limit, None, "#", css, mark, lasting=f"of {formats.full(at)}: {limit}")]


def _replica_tile(readings: Readings) -> list[Tile]:
    if not replica.is_configured():
        return [Tile("replica", "", "", None)]
    try:
        found = replica.state()
    except replica.TooFarBehind as error:
        value = f"{formats.span(error.lag_seconds)} behind"
        return [Tile("replica", value, "too far; the primary is read instead", None, "#", BAD, "!")]
    except replica.Unusable as error:
        return [Tile("replica", "not read", f"it {error}; the primary is read instead", None, "#", BAD, "!")]
    note = "lists, reports, exports and audits read from it"
    return [Tile("replica", f"{found.lag_seconds:.0f} s behind", note, None, "#", "good", "✓")]


_SOURCES: Final[Mapping[tuple[str, ...], Callable[[Readings], list[Tile]]]] = {
    ("tokens-held", "tokens-reserved", "oldest-transfer"): _ledger_tiles,
    ("last-audit",): _audit_tile,
    ("last-seal",): _seal_tile,
    ("coins", "coins-in-doubt"): _coin_tiles,
    ("thin-coins",): _thin_tile,
    ("tasks-in-need",): _need_tile,
    ("webhooks",): _webhook_tile,
    ("servers",): _server_tile,
    ("last-backup",): _backup_tile,
    ("replica",): _replica_tile,
}
KEYS: Final = tuple(key for keys in _SOURCES for key in keys)
