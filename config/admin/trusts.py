"""Pages of trusts."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest

from config.admin import base, filters
from config.admin.base import Fact
from config.admin.csv_export import attributes
from config.admin.links import link
from config.admin.templatetags import formats
from trusts import reports
from trusts.models import Trust
from trusts.states import TrustRequestType, TrustState


class TrustStateFilter(filters.StateFilter):
    values = [(state.value, state.value.replace("_", " ")) for state in TrustState]


class RequestTypeFilter(filters.StateFilter):
    title = "request"
    parameter_name = "request_type"
    values = [(kind.value, kind.value) for kind in TrustRequestType]


class PartyFilter(filters.WalletFilter):
    columns = ("actor", "target")

    def condition(self, wallet_id: UUID) -> Q:
        # The condition of the index of originators. An originator that is the actor is found as the actor.
        return super().condition(wallet_id) | Q(originator_id=wallet_id) & ~Q(originator=F("actor"))


@admin.register(Trust)
class TrustPage(base.LedgerPage):
    """Which wallet may act for another, and which may send without approval."""

    list_display = ("says", "request_type", "status", "made", "changed")
    list_filter = (
        TrustStateFilter,
        RequestTypeFilter,
        PartyFilter,
        filters.made("created_at", "asked"),
        filters.AgeFilter,
    )
    sorts = {"made": ("number",)}
    ordering = ("-number",)
    search_help_text = "a trust's id"
    detail_template = "desk/trust.html"
    empty = "No trust yet. Wallets request them over the API."
    is_partners_work = True
    csv_columns = (
        *attributes("id", "actor.name", "target.name", "originator.name"),
        ("request", lambda trust: trust.request_type),
        *attributes("state", "created_at", "updated_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Trust]:
        sides = ("actor", "target", "originator")
        # `number > 0` always holds. PostgreSQL uses the indexes of parties only with this condition.
        return Trust.objects.filter(number__gt=0).select_related(*sides).defer(*(f"{side}__password" for side in sides))

    says = base.column("trust", reports.meaning)
    status = base.column("state", lambda trust: formats.pill(trust.state))
    made = base.column("asked", lambda trust: formats.moment(trust.created_at))
    changed = base.column("changed", lambda trust: formats.moment(trust.updated_at))

    def detail(self, request: HttpRequest, row: Trust) -> dict[str, Any]:
        return {
            "title": reports.meaning(row),
            "changes": reports.changes_of(trust_id=row.pk),
            "facts": [
                Fact("state", formats.pill(row.state)),
                Fact(
                    "says", reports.meaning(row), note="" if row.state == TrustState.TRUSTED else "but is not in force"
                ),
                Fact("actor", link(row.actor), note="asks"),
                Fact("target", link(row.target), note="is asked"),
                Fact(
                    "originator",
                    link(row.originator),
                    note="was logged in when it was requested",
                ),
                Fact("request", row.request_type),
                Fact("asked", formats.full(row.created_at), note=formats.ago(row.created_at)),
                Fact("id", row.pk),
            ],
        }
