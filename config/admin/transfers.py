"""Pages of transfers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from config.admin import base, filters
from config.admin.base import Fact
from config.admin.csv_export import attributes
from config.admin.links import link, list_url
from config.admin.requests import requests_fact
from config.admin.templatetags import formats
from transfers import reports
from transfers.models import Transfer
from transfers.states import OPEN, TransferState
from wallets.models import Token

TOKENS_SHOWN = 50
# The transfers that are found by a reference which is an id too.
_MOST_REFERRING = 1000


class TransferStateFilter(filters.Choice):
    title = "state"
    parameter_name = "state"
    values = (("open", "open: pending or requested"), *((state.value, state.value) for state in TransferState))

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == "open":
            return queryset.filter(state__in=OPEN)
        if value == TransferState.COMPLETED:
            return queryset.filter(state=value)
        # Repeats the predicate of the partial index on transfers that did not complete at once.
        return queryset.filter(~Q(state=TransferState.COMPLETED) | ~Q(closed_event=""), state=value)


class PartyFilter(filters.WalletFilter):
    columns = ("source", "destination")


class WaitFilter(filters.AgeFilter):
    """Open transfers by age; only these have an index by age."""

    title = "waits for"
    parameter_name = "waits"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return super().narrowed(queryset.filter(state__in=OPEN), value)


class NeedFilter(filters.Choice):
    title = "needs action"
    parameter_name = "need"
    values = (("yes", "open for more than a day"),)

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return reports.stale(queryset)


def closed_by(transfer: Transfer) -> str:
    """Return the event that closed the transfer, or why there is none."""
    if reports.was_closed_before_import(transfer):
        return "before import"
    return transfer.closed_event or ("at once" if transfer.state == TransferState.COMPLETED else "")


def terms_facts(transfer: Transfer) -> Iterator[Fact]:
    """Yield the terms of a transfer, as far as it has some."""
    terms = reports.terms_of(transfer)
    if terms is not None and terms.reference:
        yield Fact("reference", terms.reference, note="unique" if terms.unique_reference else "")
    if terms is not None and terms.metadata:
        yield Fact("metadata", "; ".join(f"{key}: {value}" for key, value in terms.metadata.items()))
    if transfer.expires_at is not None:
        yield Fact("expires", formats.full(transfer.expires_at), note=formats.ago(transfer.expires_at))


@admin.register(Transfer)
class TransferPage(base.LedgerPage):
    """Transfers of tokens."""

    list_display = ("identity", "status", "tokens", "from_wallet", "to_wallet", "made", "closed")
    numbers = ("tokens",)
    list_filter = (
        TransferStateFilter, NeedFilter, WaitFilter, PartyFilter, filters.TokensFrom, filters.TokensTo,
        filters.made("created_at"),
    )  # fmt: skip
    search_help_text = "a transfer's id or a reference"
    detail_template = "desk/transfer.html"
    empty = "No transfer yet. Wallets create them over the API."
    is_partners_work = True
    csv_columns = (
        *attributes("id", "state"),
        ("tokens", lambda transfer: transfer.token_count),
        *attributes("source.name", "destination.name", "originator.name", "created_at"),
        ("closed at", lambda transfer: None if reports.was_closed_before_import(transfer) else transfer.closed_at),
        ("closed by", closed_by),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Transfer]:
        sides = ("source", "destination", "originator")
        return Transfer.objects.select_related(*sides).defer(*(f"{side}__password" for side in sides))

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        numbers = reports.transfers_with_reference(term)
        condition = self.with_id(term)
        if condition is None:
            return queryset.filter(number__in=numbers)
        # Many partners refer by ids. As a list: with a subquery in a disjunction, every transfer would be read.
        return queryset.filter(condition | Q(number__in=list(numbers[:_MOST_REFERRING])))

    def sorts_for(self, request: HttpRequest) -> Mapping[str, Sequence[str]]:
        return {"made": tuple(name.removeprefix("-") for name in self.get_ordering(request))}

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # Each order has an index that matches its filter; the oldest open transfer is the most urgent.
        asked = request.GET
        if asked.get("state") in ("open", *OPEN) or asked.get("need") or asked.get("waits"):
            return ("created_at", "number")
        if asked.get("state") in (TransferState.CANCELLED, TransferState.FAILED):
            return ("-created_at", "-number")
        return ("-number",)

    identity = base.column("transfer", lambda transfer: formats.short(transfer.pk))
    status = base.column("state", lambda transfer: formats.pill(transfer.state))
    tokens = base.column("tokens", lambda transfer: f"{transfer.token_count:,}")
    from_wallet = base.column("from", lambda transfer: link(transfer.source))
    to_wallet = base.column("to", lambda transfer: link(transfer.destination))
    made = base.column("made", lambda transfer: formats.moment(transfer.created_at))

    @admin.display(description="closed")
    def closed(self, transfer: Transfer) -> SafeString | str:
        if transfer.closed_at is None:
            return "–"
        return "before import" if reports.was_closed_before_import(transfer) else formats.moment(transfer.closed_at)

    def detail(self, request: HttpRequest, row: Transfer) -> dict[str, Any]:
        tokens = reports.tokens_in(transfer=row, limit=TOKENS_SHOWN)
        return {
            "title": f"Transfer {formats.short(row.pk)}",
            "strip": reports.timeline(row, acts=row.operator_actions),  # type: ignore[attr-defined]
            "possible": reports.allowed_events(row),
            "tokens": tokens,
            "detached": len(tokens) < min(row.moved_count, TOKENS_SHOWN),
            "tokens_shown": TOKENS_SHOWN,
            "token_page": list_url(Token),
            "facts": [
                Fact("state", formats.pill(row.state)),
                Fact("from", link(row.source)),
                Fact("to", link(row.destination)),
                Fact("asked by", link(row.originator)),
                Fact("tokens", f"{row.token_count:,}", note=reports.tokens_as_asked(row)),
                Fact("reserved now", f"{row.reserved_count:,}"),
                Fact("moved", f"{row.moved_count:,}"),
                *terms_facts(row),
                *requests_fact(
                    request, "requests", "requests of its originator around that time", row.created_at,
                    wallet=row.originator_id,
                ),
                Fact("id", row.pk),
            ],
        }  # fmt: skip
