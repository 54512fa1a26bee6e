"""The pages of payment requests."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from config.admin import base, filters
from config.admin.base import Fact
from config.admin.csv_export import attributes
from config.admin.links import link
from config.admin.templatetags import formats
from lockers import payment_requests
from lockers.models import PaymentRequest
from lockers.states import PaymentRequestState


class PaymentRequestStateFilter(filters.Choice):
    title = "state"
    parameter_name = "state"
    values = [(state.value, state.value.replace("_", " ")) for state in PaymentRequestState]

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return payment_requests.in_state(queryset, PaymentRequestState(value))


class ReferenceFilter(filters.Typed):
    """Rows with exactly this reference."""

    title = "reference"
    parameter_name = "reference"
    hint = "the whole reference"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(reference=value)


def _until(request: PaymentRequest) -> str:
    return "no limit" if request.expires_at is None else formats.full(request.expires_at)


@admin.register(PaymentRequest)
class PaymentRequestPage(base.LedgerPage):
    """Requests of wallets to be paid coins."""

    called = ("payment request", "payment requests")
    list_display = ("identity", "status", "payee", "worth", "so_far", "words", "made", "until")
    numbers = ("worth", "so_far")
    list_filter = (
        PaymentRequestStateFilter, filters.WalletFilter, ReferenceFilter, filters.CoinsFrom, filters.CoinsTo,
        filters.made("created_at"), filters.AgeFilter,
    )  # fmt: skip
    sorts = {"made": ("created_at", "id")}
    ordering = ("-created_at", "-id")
    search_help_text = "a payment request's id or a reference"
    detail_template = "desk/payment_request.html"
    empty = "No payment request yet. Wallets create them over the API."
    is_partners_work = True
    csv_columns = (
        *attributes("id"),
        ("state", lambda request: payment_requests.state_now(request).value),
        *attributes("mode", "wallet.name"),
        ("amount", lambda request: formats.coins(request.amount).replace(",", "")),
        ("paid", lambda request: formats.coins(request.paid).replace(",", "")),
        *attributes("description", "reference", "created_at", "expires_at", "closed_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[PaymentRequest]:
        sides = ("wallet", "actor")
        return PaymentRequest.objects.select_related(*sides).defer(*(f"{side}__password" for side in sides))

    def found(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        referring = Q(reference=term) & ~Q(reference="")
        return queryset.filter(referring | (self.with_id(term) or Q()))

    identity = base.column("payment request", lambda request: formats.short(request.pk))
    status = base.column("state", lambda request: formats.pill(payment_requests.state_now(request)))
    payee = base.column("payee", lambda request: link(request.wallet))
    worth = base.column("amount", lambda request: formats.coins(request.amount))
    so_far = base.column("paid", lambda request: formats.coins(request.paid))
    words = base.column("for", lambda request: request.description[:60])
    made = base.column("made", lambda request: formats.moment(request.created_at))
    until = base.column(
        "until", lambda request: "no limit" if request.expires_at is None else formats.moment(request.expires_at)
    )

    def detail(self, request: HttpRequest, row: PaymentRequest) -> dict[str, Any]:
        seen = payment_requests.view(row, payments=payment_requests.payments_of(row))
        closed = row.closed_at
        ends = [] if closed is None else [Fact("closed", formats.full(closed), note=formats.ago(closed))]
        return {
            "title": f"Payment request {formats.short(row.pk)}",
            "payments": seen.payments,
            "facts": [
                Fact("state", formats.pill(seen.state)),
                Fact("payee", link(row.wallet)),
                Fact("asked by", link(row.actor)),
                Fact("for", row.description),
                Fact("reference", row.reference or "–"),
                Fact("amount", formats.coins(row.amount), note=f"paid in {row.mode} payments"),
                Fact("paid", formats.coins(row.paid)),
                Fact("pending", formats.coins(seen.pending), note="of payments that have not ended"),
                Fact("made", formats.full(row.created_at), note=formats.ago(row.created_at)),
                Fact("until", _until(row)),
                *ends,
                Fact("id", row.pk, note="anyone who knows it can read the request and pay"),
            ],
        }
