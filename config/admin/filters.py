"""Filters of the lists: by state, age, day, wallet and tag."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from lockers.raida.coins import UNITS_PER_COIN
from wallets import queries
from wallets.errors import DomainError


class Choice(admin.SimpleListFilter):
    """A filter with a few values. A subclass gives `title`, `parameter_name`, `values` and `narrowed`."""

    template = "desk/filter.html"
    values: ClassVar[Sequence[tuple[str, str]]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return self.values

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if value not in dict(self.values):
            raise IncorrectLookupParameters
        return self.narrowed(queryset, value)

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        raise NotImplementedError


class StateFilter(Choice):
    """The column `state`. A subclass gives the values."""

    title = "state"
    parameter_name = "state"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(**{self.parameter_name: value})


# Of a number of tokens, which an integer column holds.
_MOST_DIGITS: Final = 9

AGES: Final[dict[str, tuple[str, timedelta | None, timedelta | None]]] = {
    "hour": ("under 1 hour", None, timedelta(hours=1)),
    "day": ("1 hour to 1 day", timedelta(hours=1), timedelta(days=1)),
    "3-days": ("1 to 3 days", timedelta(days=1), timedelta(days=3)),
    "week": ("3 to 7 days", timedelta(days=3), timedelta(days=7)),
    "older": ("over 7 days", timedelta(days=7), None),
}


class AgeFilter(Choice):
    """How long ago a row was made."""

    title = "age"
    parameter_name = "age"
    values = [(key, label) for key, (label, _, _) in AGES.items()]

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        _, least, most = AGES[value]
        now = timezone.now()
        if least is not None:
            queryset = queryset.filter(created_at__lte=now - least)
        if most is not None:
            queryset = queryset.filter(created_at__gt=now - most)
        return queryset


class Typed(admin.SimpleListFilter):
    """A filter with a text field. A subclass gives `title`, `parameter_name` and `narrowed`."""

    template = "desk/filter_typed.html"
    hint: ClassVar[str] = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        # Django hides a filter without lookups.
        return [("", "")]

    def choices(self, changelist: ChangeList) -> Any:
        """Return the context of the template: the value, and the other parameters of the list, which are kept."""
        kept = [
            (key, value)
            for key, values in changelist.filter_params.items()
            if key != self.parameter_name
            for value in values
        ]
        without = changelist.get_query_string(remove=[str(self.parameter_name)])
        return [{"value": self.value() or "", "kept": kept, "query_string": without}]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = (self.value() or "").strip()
        return self.narrowed(queryset, value) if value and "\0" not in value else queryset

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        raise NotImplementedError


class DateFilter(admin.SimpleListFilter):
    """Rows made on or after a day and up to another, both in UTC and both included."""

    title = "made"
    template = "desk/filter_dates.html"
    parameter_name = "since"
    until_name: ClassVar[str] = "until"
    # The column, which an index serves or whose table is short.
    column: ClassVar[str] = "created_at"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: type[Model], model_admin: Any) -> None:
        until = params.pop(self.until_name, None)
        super().__init__(request, params, model, model_admin)
        if until is not None:
            self.used_parameters[self.until_name] = until[-1]

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        # Django hides a filter without lookups.
        return [("", "")]

    def expected_parameters(self) -> list[str | None]:
        return [self.parameter_name, self.until_name]

    def _day(self, name: str) -> date | None:
        text = self.used_parameters.get(name)
        if not text:
            return None
        try:
            day = date.fromisoformat(text)
            # One day more must be a time that PostgreSQL and Python know.
            day + timedelta(days=1)
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters from error
        return day

    def choices(self, changelist: ChangeList) -> Any:
        """Return the context of the template: the two days, and the other parameters of the list, which are kept."""
        names = (str(self.parameter_name), self.until_name)
        kept = [(key, each) for key, found in changelist.filter_params.items() if key not in names for each in found]
        without = changelist.get_query_string(remove=list(names))
        since, until = (self.used_parameters.get(name) or "" for name in names)
        return [{"since": since, "until": until, "kept": kept, "query_string": without}]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        since, until = self._day(str(self.parameter_name)), self._day(self.until_name)
        if since is not None:
            queryset = queryset.filter(**{f"{self.column}__gte": midnight(since)})
        if until is not None:
            queryset = queryset.filter(**{f"{self.column}__lt": midnight(until + timedelta(days=1))})
        return queryset


def midnight(day: date) -> datetime:
    """Return the time (UTC) at which a day begins."""
    return datetime.combine(day, time(), tzinfo=UTC)


def made(column: str, title: str = "made") -> type[DateFilter]:
    """Return a filter by the days of a column."""
    return type("DateFilter", (DateFilter,), {"column": column, "title": title})


class WalletFilter(Typed):
    """Rows of one wallet, by its name or id. `columns` are the foreign keys that are searched."""

    title = "wallet"
    parameter_name = "wallet"
    hint = "name or id"
    columns: ClassVar[Sequence[str]] = ("wallet",)

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        try:
            wallet_id = queries.wallet_by_name_or_id(value).pk
        except DomainError:
            return queryset.none()
        return queryset.filter(self.condition(wallet_id))

    def condition(self, wallet_id: UUID) -> Q:
        condition = Q()
        for column in self.columns:
            condition |= Q(**{f"{column}_id": wallet_id})
        return condition


class _Tokens(Typed):
    """Rows by the number of their tokens."""

    hint = "number"
    comparison: ClassVar[str]

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        digits = value.replace(",", "")
        if not (digits.isdecimal() and digits.isascii() and len(digits) <= _MOST_DIGITS):
            return queryset.none()
        return queryset.filter(**{f"token_count__{self.comparison}": int(digits)})


class TokensFrom(_Tokens):
    title = "tokens from"
    parameter_name = "tokens_from"
    comparison = "gte"


class TokensTo(_Tokens):
    title = "tokens to"
    parameter_name = "tokens_to"
    comparison = "lte"


_COINS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,8})?")


class _Coins(Typed):
    """Rows by their amount, given in coins."""

    hint = "coins"
    comparison: ClassVar[str]

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        found = _COINS.fullmatch(value.replace(",", ""))
        if found is None:
            return queryset.none()
        return queryset.filter(**{f"amount__{self.comparison}": int(Decimal(found[0]) * UNITS_PER_COIN)})


class CoinsFrom(_Coins):
    title = "coins from"
    parameter_name = "coins_from"
    comparison = "gte"


class CoinsTo(_Coins):
    title = "coins to"
    parameter_name = "coins_to"
    comparison = "lte"


class TagFilter(Typed):
    """Rows with exactly this tag."""

    title = "tag"
    parameter_name = "tag"
    hint = "the whole tag"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(tag=value)
