"""Reports of tokens and coins over whole days (UTC), the statement of a wallet, and their CSV files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from config.admin import charts, csv_export, filters
from config.admin.links import list_url, page_url
from config.admin.templatetags import formats
from lockers import reports as lockers
from lockers.models import Coin, LockerTask
from transfers import balances, token_reports
from transfers import reports as transfers
from transfers.models import Transfer
from transfers.states import TransferState
from transfers.token_reports import Month, Period, WalletTotal
from trusts.models import Trust
from wallets import names
from wallets.models import Wallet

_ROWS: Final = 50
_LINES: Final = 100
_LINES_OF_CSV: Final = 2000
# By what tokens are summed up; coins are a report of their own.
KINDS: Final[Mapping[str, str]] = {
    "wallets": "Tokens by wallet",
    "managers": "Tokens by manager",
    "months": "Tokens by month",
    "coins": "Coins by denomination",
}
# Days that PostgreSQL and Python both have, and the day after the last too.
_FIRST_DAY, _LAST_DAY = date(1900, 1, 1), date(9998, 12, 31)


class PeriodForm(forms.Form):
    """Two days, both included; by default this month until today."""

    start = forms.DateField(required=False)
    end = forms.DateField(required=False)

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        today = timezone.now().date()
        start, end = values.get("start") or today.replace(day=1), values.get("end") or today
        if not self.errors:
            if not _FIRST_DAY <= start <= _LAST_DAY or not _FIRST_DAY <= end <= _LAST_DAY:
                raise forms.ValidationError("Give days from 1900 to 9998.")
            if end < start:
                raise forms.ValidationError("The last day is before the first.")
        return {"start": start, "end": end}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for. `end` is the last day, the period ends after it."""

    start: date
    end: date
    error: str

    @property
    def period(self) -> Period:
        return Period(self.start, self.end + timedelta(days=1))

    @property
    def moments(self) -> tuple[datetime, datetime]:
        return filters.midnight(self.period.start), filters.midnight(self.period.end)

    @property
    def query(self) -> dict[str, str]:
        return {"start": self.start.isoformat(), "end": self.end.isoformat()}


def _asked(request: HttpRequest) -> Asked:
    form = PeriodForm({"start": request.GET.get("start", ""), "end": request.GET.get("end", "")})
    if form.is_valid():
        return Asked(form.cleaned_data["start"], form.cleaned_data["end"], "")
    today = timezone.now().date()
    told = [str(text) for texts in form.errors.values() for text in texts]
    return Asked(today.replace(day=1), today, " ".join(told) + " This month is shown instead.")


def _url(name: str, query: Mapping[str, object], *args: object) -> str:
    return f"{reverse(f'admin:{name}', args=args)}?{urlencode(query)}"


# --- tokens and coins --------------------------------------------------------------------------


@require_safe
def report(request: HttpRequest, *, site: AdminSite, kind: str) -> HttpResponseBase:
    """Show one of `KINDS`, a page of it, or send it whole as CSV."""
    if not request.user.has_perm("lockers.view_coin" if kind == "coins" else "wallets.view_wallet"):
        raise PermissionDenied
    asked = _asked(request)
    if request.GET.get("format") == "csv":
        columns, rows = _csv(kind, asked)
        return csv_export.response(columns, rows, file_name=f"{kind}-{asked.start}-{asked.end}.csv")
    request.current_app = site.name
    return TemplateResponse(
        request,
        "desk/report.html",
        {
            **site.each_context(request),
            "title": KINDS[kind],
            "kind": kind,
            "kinds": [(each, title, _url(f"report_{each}", asked.query)) for each, title in KINDS.items()],
            "asked": asked,
            "csv_url": _url(f"report_{kind}", asked.query | {"format": "csv"}),
            **_content(kind, asked, names.parse_uuid(request.GET.get("after", ""))),
        },
    )


_TOTALS: Final[Sequence[csv_export.Column]] = (
    ("id", lambda row: row.id),
    ("name", lambda row: row.name),
    ("held at the end", lambda row: row.held),
    ("received", lambda row: row.received),
    ("sent", lambda row: row.sent),
    ("issued", lambda row: row.issued),
)
_MONTHS: Final[Sequence[csv_export.Column]] = (
    ("month", lambda row: f"{row.month:%Y-%m}"),
    ("tokens at the end", lambda row: row.held),
    ("moved", lambda row: row.moved),
    ("issued", lambda row: row.issued),
)
_COINS: Final[Sequence[csv_export.Column]] = (
    ("denomination", lambda row: formats.denomination(row.denomination)),
    ("put", lambda row: row.put),
    ("taken", lambda row: row.taken),
    ("imported", lambda row: row.imported),
    ("held now", lambda row: row.held),
)


def _csv(kind: str, asked: Asked) -> tuple[Sequence[csv_export.Column], Iterator[Any]]:
    if kind == "coins":
        return _COINS, iter(lockers.coins_by_denomination(*asked.moments))
    if kind == "months":
        return _MONTHS, iter(token_reports.months(asked.period))
    by_manager = kind == "managers"
    managed = (("managed wallets", lambda row: row.managed),) if by_manager else ()
    return (*_TOTALS, *managed), token_reports.all_totals(asked.period, by_manager=by_manager)


def _content(kind: str, asked: Asked, after: UUID | None) -> dict[str, Any]:
    if kind == "coins":
        return _coins(asked)
    if kind == "months":
        return _months(asked)
    by_manager = kind == "managers"
    found = token_reports.totals(asked.period, by_manager=by_manager, limit=_ROWS + 1, after=after)
    name = f"report_{kind}"
    shown = found[:_ROWS]
    return {
        "rows": [_row(row, asked) for row in shown],
        "first": _url(name, asked.query) if after else "",
        "next": _url(name, asked.query | {"after": shown[-1].id}) if len(found) > _ROWS else "",
        "by_manager": by_manager,
    }


def _row(row: WalletTotal, asked: Asked) -> dict[str, Any]:
    return {
        "total": row,
        "url": _url("report_wallet", asked.query, row.id),
        "managed_url": f"{list_url(Trust)}?wallet={row.id}",
    }


def _months(asked: Asked) -> dict[str, Any]:
    months = token_reports.months(asked.period)
    completed: dict[date, int] = {}
    for day in transfers.days(since=asked.start.replace(day=1)):
        if day.state == TransferState.COMPLETED and day.day < asked.period.end:
            month = day.day.replace(day=1)
            completed[month] = completed.get(month, 0) + day.transfers
    return {
        "months": [
            {"month": each, "transfers": completed.get(each.month, 0), "url": _month_url(each, asked)}
            for each in months
        ],
        "charts": [
            _chart("Tokens moved", [(each, each.moved) for each in months]),
            _chart("Completed transfers", [(each, completed.get(each.month, 0)) for each in months]),
        ],
        "transfers_url": list_url(Transfer),
    }


def _month_url(month: Month, asked: Asked) -> str:
    """Return the report by wallet of the part of a month that is in the period."""
    last = (month.month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    start, end = max(month.month, asked.start), min(last, asked.end)
    return _url("report_wallets", {"start": start, "end": end})


def _chart(title: str, values: Sequence[tuple[Month, int]]) -> dict[str, Any]:
    columns = [charts.Column(f"{each.month:%B %Y}", [("s-completed", title.lower(), value)]) for each, value in values]
    return {
        "title": title,
        "highest": max((value for _, value in values), default=0),
        "picture": charts.stacked(columns, label=f"{title} by month. The table below has the same numbers."),
        "first": columns[0].name if columns else "",
        "last": columns[-1].name if columns else "",
    }


def _coins(asked: Asked) -> dict[str, Any]:
    tasks = list_url(LockerTask)
    return {
        "coins": [
            {"count": each, "url": f"{list_url(Coin)}?denomination={each.denomination}"}
            for each in lockers.coins_by_denomination(*asked.moments)
        ],
        "coins_url": list_url(Coin),
        "task_urls": {kind: f"{tasks}?kind={kind}" for kind in ("put", "take", "import")},
    }


# --- the statement of a wallet -----------------------------------------------------------------


@require_safe
def wallet(request: HttpRequest, object_id: str, *, site: AdminSite) -> HttpResponseBase:
    """Show what moved the tokens of a wallet between two days, or send it as CSV."""
    if not request.user.has_perm("wallets.view_wallet"):
        raise PermissionDenied
    wallet_id = names.parse_uuid(object_id)
    row = None if wallet_id is None else Wallet.objects.defer("password").filter(pk=wallet_id).first()
    if row is None:
        raise Http404
    asked = _asked(request)
    if request.GET.get("format") == "csv":
        return csv_export.response(
            _LINE_COLUMNS, _all_lines(row, asked), file_name=f"statement-{row.pk}-{asked.start}-{asked.end}.csv"
        )
    start, end = asked.moments
    found = balances.statement(
        wallet_id=row.pk, start=start, end=end, limit=_LINES + 1, after=_position(request.GET.get("after", ""))
    )
    shown = found.lines[:_LINES]
    following = ""
    if len(found.lines) > _LINES:
        at, kind, number = shown[-1].position
        following = _url("report_wallet", asked.query | {"after": f"{at.isoformat()} {kind} {number}"}, row.pk)
    request.current_app = site.name
    return TemplateResponse(
        request,
        "desk/statement.html",
        {
            **site.each_context(request),
            "title": f"Statement of {row.name}"[:100],
            "row": row,
            "asked": asked,
            "statement": found,
            "lines": [
                {
                    "line": line,
                    "url": page_url(Transfer, line.transfer_id) if line.transfer_id else "",
                    "other_url": page_url(Wallet, line.other_id) if line.other_id else "",
                }
                for line in shown
            ],
            "is_first": "after" not in request.GET,
            "next": following,
            "first": _url("report_wallet", asked.query, row.pk),
            "wallet_url": page_url(Wallet, row.pk),
            "csv_url": _url("report_wallet", asked.query | {"format": "csv"}, row.pk),
        },
    )


def _position(text: str) -> tuple[datetime, int, int] | None:
    """Return the position after which a page begins; None for the first page and for what is none."""
    try:
        at, kind, number = text.rsplit(" ", 2)
        moment = datetime.fromisoformat(at)
        place = int(kind), int(number)
    except ValueError:
        return None
    if moment.tzinfo is None or not 0 <= place[0] <= 2 or not 0 <= place[1] < 2**63:
        return None
    return moment, *place


_LINE_COLUMNS: Final[Sequence[csv_export.Column]] = (
    ("time", lambda line: line.at),
    ("type", lambda line: line.word),
    ("transfer", lambda line: line.transfer_id),
    ("counterparty", lambda line: line.other),
    ("amount", lambda line: line.tokens),
    ("balance", lambda line: line.balance),
)


def _all_lines(row: Wallet, asked: Asked) -> Iterator[balances.Line]:
    start, end = asked.moments
    after: tuple[datetime, int, int] | None = None
    while True:
        found = balances.statement(wallet_id=row.pk, start=start, end=end, limit=_LINES_OF_CSV, after=after)
        yield from found.lines
        if len(found.lines) < _LINES_OF_CSV:
            return
        # What moves meanwhile is not in the file.
        after, end = found.lines[-1].position, found.end
