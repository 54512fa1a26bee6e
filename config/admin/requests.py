"""The pages of the request log: which request was refused, and why."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.db import OperationalError, connection, transaction
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import get_script_prefix
from django.utils.html import format_html
from django.utils.safestring import SafeString
from psycopg.errors import QueryCanceled

from config.admin import base, filters
from config.admin.base import Fact
from config.admin.csv_export import attributes
from config.admin.links import link, list_url
from config.admin.models import Request
from config.admin.templatetags import formats
from config.api.error_codes import CODES
from config.ops import redis_status, request_log
from wallets import names
from wallets.models import ApiKey, RestrictedKey

_LIST_SECONDS: Final = 5
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)?[T ]?(?:(?<!\d)(\d\d:\d\d)(?::(\d\d))?)?(?: ?(?:Z|UTC))?", re.ASCII)
# Those that are answered. A search for another one would read all rows.
_BELOW_300: Final = frozenset({200, 201, 202, 204, 206})
# How far around a time the requests are that a link shows.
_AROUND: Final = timedelta(minutes=1)


def moment_in(text: str) -> tuple[datetime, datetime] | None:
    """Return begin and end of the day, minute or second (UTC) that a text names, or None. Without a day it is today."""
    found = _TIME.fullmatch(text.strip())
    if found is None or not (found[1] or found[2]):
        return None
    day, minute, second = found.groups(default="")
    day = day or datetime.now(UTC).date().isoformat()
    try:
        begin = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}").replace(tzinfo=UTC)
        length = timedelta(seconds=1) if second else timedelta(minutes=1) if minute else timedelta(days=1)
        return begin, begin + length
    except (ValueError, OverflowError):
        return None


class _OfKey(filters.Typed):
    """Rows of one key, by its id or the first characters that are stored of it, or of all keys with a name."""

    model: ClassVar[type[Model]]
    column: ClassVar[str]
    # How many characters of a longer text are compared with those that are stored; None for all.
    compared: ClassVar[int | None] = None

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        key_id = names.parse_uuid(value)
        if key_id is not None:
            return queryset.filter(**{self.column: key_id})
        # Few, and as values: the planner then knows how common they are.
        keys = self.model._default_manager.filter(Q(name__iexact=value) | Q(prefix=value[: self.compared]))
        return queryset.filter(**{f"{self.column}__in": list(keys.values_list("pk", flat=True)[:50])})


class KeyFilter(_OfKey):
    title = "API key"
    parameter_name = "api_key"
    hint = "name or id"
    model = ApiKey
    column = "api_key_id"
    compared = 6


class RestrictedKeyFilter(_OfKey):
    title = "restricted key"
    parameter_name = "restricted_key"
    hint = "name, prefix or id"
    model = RestrictedKey
    column = "restricted_key_id"


class StatusFilter(filters.Typed):
    title = "status"
    parameter_name = "status"
    hint = "403 or 4xx"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if re.fullmatch("[2-5]xx", value, re.IGNORECASE):
            first = int(value[0]) * 100
            return queryset.filter(status__gte=first, status__lt=first + 100)
        if value.lower() == "refused":
            return queryset.filter(status__gte=400)
        if not re.fullmatch("[2-5][0-9][0-9]", value, re.ASCII) or (value < "300" and int(value) not in _BELOW_300):
            return queryset.none()
        return queryset.filter(status=int(value))


class RouteFilter(filters.Typed):
    """Rows of a route, such as `/transfers`, or of a method and a route, such as `POST /transfers`."""

    title = "route"
    parameter_name = "route"
    hint = "/transfers"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        method, _, route = value.rpartition(" ")
        return queryset.filter(route=route, **({"method": method.strip().upper()} if method else {}))


class ErrorFilter(filters.Typed):
    title = "error"
    parameter_name = "error"
    hint = "the whole code"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(error=value).exclude(error="")


class SinceFilter(filters.Typed):
    title = "from (UTC)"
    parameter_name = "since"
    hint = "10:00 or a day"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        found = moment_in(value)
        return queryset.none() if found is None else queryset.filter(id__gte=request_log.first_id(found[0]))


class UntilFilter(filters.Typed):
    """Up to the end of the day, minute or second that is given."""

    title = "to (UTC)"
    parameter_name = "until"
    hint = "10:15 or a day"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        found = moment_in(value)
        return queryset.none() if found is None else queryset.filter(id__lt=request_log.first_id(found[1]))


def _help(code: str) -> str:
    return f"{get_script_prefix()}docs/errors#{code}" if code in CODES else ""


def _error(row: Request) -> SafeString | str:
    if not row.error:
        return "–"
    url = _help(row.error)
    return format_html('<a href="{}">{}</a>', url, row.error) if url else row.error


def _restricted_key(row: Request) -> SafeString | str:
    # It may have been deleted since.
    return link(row.restricted_key) if row.restricted_key else str(row.restricted_key_id)


def _status(status: int) -> SafeString:
    kind = "failed" if status >= 500 else "cancelled" if status >= 400 else "valid"
    return formats.pill(kind, str(status))


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:,.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


@admin.register(Request)
class RequestPage(base.LedgerPage):
    """The requests of the last days."""

    called = ("request", "requests")
    list_display = ("when", "what", "answer", "code", "took", "key", "caller", "client")
    numbers = ("took",)
    list_filter = (
        SinceFilter, UntilFilter, KeyFilter, RestrictedKeyFilter, filters.WalletFilter, RouteFilter, StatusFilter,
        ErrorFilter,
    )  # fmt: skip
    ordering = ("-id",)
    search_help_text = "a request id"
    csv_columns = (
        ("time (UTC)", lambda row: row.at),
        ("request", lambda row: f"{row.method} {row.route}"),
        *attributes("status", "error"),
        ("took", lambda row: row.milliseconds),
        ("API key", lambda row: row.api_key and row.api_key.name),
        ("wallet", lambda row: row.wallet and row.wallet.name),
        *attributes("client", "request_id", "api_key_id", "wallet_id", "restricted_key_id"),
        ("operator", lambda row: row.user and row.user.get_username()),
    )

    @property
    def empty(self) -> str:  # type: ignore[override]
        if not settings.REQUEST_LOG_DAYS:
            return "No requests are recorded: COPPICE_REQUEST_LOG_DAYS is 0."
        return "No request yet. Each request appears here a second after its answer."

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(request_id=term)

    def is_exactly(self, row: Request, term: str) -> bool:
        return row.request_id == term

    def get_queryset(self, request: HttpRequest) -> QuerySet[Request]:
        # What a row names may be gone, and is then None.
        rows = Request.objects.select_related("wallet", "api_key", "restricted_key", "user")
        return rows.defer("wallet__password", "api_key__digest", "restricted_key__digest", "user__password")

    when = base.column("time (UTC)", lambda row: f"{row.at:%Y-%m-%d %H:%M:%S}")
    what = base.column("request", lambda row: f"{row.method} {row.route}")
    answer = base.column("status", lambda row: _status(row.status))
    code = base.column("error", _error)
    took = base.column("took", lambda row: _duration(row.milliseconds))
    key = base.column("API key", lambda row: link(row.api_key, row.api_key.name) if row.api_key else "–")
    caller = base.column("wallet", lambda row: link(row.wallet) if row.wallet else "–")

    def _list(self, request: HttpRequest, extra_context: dict[str, Any] | None) -> HttpResponse:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    # A plan for any values would not know which of them are rare.
                    cursor.execute(
                        "SELECT set_config('statement_timeout', %s, true),"
                        " set_config('plan_cache_mode', 'force_custom_plan', true)",
                        [f"{_LIST_SECONDS}s"],
                    )
                return super()._list(request, {"list_note": _note(), **(extra_context or {})})
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
            messages.error(
                request, f"This list takes longer than {_LIST_SECONDS} seconds. Add a shorter time: from, to."
            )
            return HttpResponseRedirect(request.path)

    def detail(self, request: HttpRequest, row: Request) -> dict[str, Any]:
        code = CODES.get(row.error)
        return {
            "title": f"{row.method} {row.route}",
            "facts": [
                Fact("status", _status(row.status)),
                *([Fact("error", row.error, _help(row.error), note=code.title if code else "")] if row.error else []),
                *([Fact("cause", code.cause), Fact("cure", code.cure)] if code else []),
                Fact("time", f"{row.at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC", note=formats.ago(row.at)),
                Fact("took", _duration(row.milliseconds)),
                Fact(
                    "API key",
                    link(row.api_key, row.api_key.name) if row.api_key else "none, or refused before it was read",
                ),
                Fact("wallet", link(row.wallet) if row.wallet else "none, or refused before it was known"),
                *([Fact("restricted key", _restricted_key(row))] if row.restricted_key_id else []),
                *([Fact("operator", link(row.user))] if row.user else []),
                Fact("client address", row.client or "not known"),
                Fact("request id", row.request_id or "none"),
                *requests_fact(
                    request,
                    "before and after",
                    "requests of this caller, from a minute before to a minute after",
                    row.at,
                    wallet=row.wallet_id,
                    api_key=None if row.wallet_id else row.api_key_id,
                ),
            ],
        }


def _note() -> str:
    """Return what the list says about requests that it does not have, or ""."""
    since = datetime.now(UTC).date() - timedelta(days=settings.REQUEST_LOG_DAYS - 1)
    try:
        lost = {day: number for day, number in request_log.lost().items() if day >= since}
    except redis_status.BrokerSilent:
        return "Whether all requests were recorded is not known: the broker does not answer."
    if not lost:
        return ""
    days = ", ".join(f"{number:,} on {day:%Y-%m-%d}" for day, number in sorted(lost.items(), reverse=True))
    total = sum(lost.values())
    return f"{total:,} {'request was' if total == 1 else 'requests were'} not recorded: {days}."


def requests_fact(
    request: HttpRequest, label: str, words: str, at: datetime | None = None, **filters: UUID | str | None
) -> Iterator[Fact]:
    """
    Yield a link to the requests that match the filters: the one with an id, or those in the minutes around a time.

    Nothing if the user may not see them, or no request of that time is kept.
    """
    kept = timedelta(days=settings.REQUEST_LOG_DAYS)
    if not request.user.has_perm("desk.view_request") or not kept or (at is not None and at < datetime.now(UTC) - kept):
        return
    asked = {name: str(value) for name, value in filters.items() if value}
    if at is not None and "q" not in asked:
        asked |= {"since": f"{at - _AROUND:%Y-%m-%d %H:%M:%S}", "until": f"{at + _AROUND:%Y-%m-%d %H:%M:%S}"}
    yield Fact(label, words, f"{list_url(Request)}?{urlencode(asked)}")
