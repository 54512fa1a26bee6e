"""Pages of webhooks and of their deliveries."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config.admin import base, filters
from config.admin.base import Fact
from config.admin.csv_export import attributes
from config.admin.links import link, list_url
from config.admin.templatetags import formats
from wallets import names
from wallets.wording import counted
from webhooks import reports
from webhooks.models import Webhook, WebhookDelivery
from webhooks.states import DeliveryState, DisabledBy, WebhookState

DELIVERIES_SHOWN = 20


class WebhookStateFilter(filters.StateFilter):
    values = [(state.value, state.value) for state in WebhookState]


class DisabledByFilter(filters.StateFilter):
    title = "disabled by"
    parameter_name = "disabled_by"
    values = [(each.value, each.value.replace("_", " ")) for each in DisabledBy]


class NeedFilter(filters.Choice):
    title = "needs attention"
    parameter_name = "need"
    values = (("failing", "its last delivery failed"), ("disabled", "disabled lately, without being asked"))

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == "disabled":
            return queryset.filter(reports.are_given_up())
        return queryset.filter(state=WebhookState.ENABLED, failing_since__isnull=False)


def shown_url(url: str) -> str:
    """Return a URL without its query, which may hold a secret of the receiver."""
    before, mark, _ = url.partition("?")
    return f"{before}?…" if mark else before


def _pill(webhook: Webhook) -> object:
    if webhook.state == WebhookState.DISABLED:
        return formats.pill("ended", "disabled")
    return formats.pill("failed", "failing") if webhook.failing_since else formats.pill("valid", "enabled")


@admin.register(Webhook)
class WebhookPage(base.LedgerPage):
    """URLs to which events are sent."""

    list_display = ("receiver", "of_wallet", "status", "why", "made")
    list_filter = (WebhookStateFilter, DisabledByFilter, NeedFilter, filters.WalletFilter, filters.made("created_at"))
    sorts = {"made": ("created_at", "id")}
    ordering = ("-created_at", "-id")
    search_help_text = "a webhook's id"
    detail_template = "desk/webhook.html"
    empty = "No webhook yet. Wallets create them over the API."
    is_partners_work = True
    csv_columns = (
        *attributes("id", "wallet.name", "owner.name"),
        ("url", lambda webhook: shown_url(webhook.url)),
        ("types", lambda webhook: " ".join(webhook.event_types)),
        *attributes("state", "disabled_by", "disabled_at", "failing_since", "created_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Webhook]:
        rows = Webhook.objects.select_related("wallet", "owner")
        return rows.defer("secret", "previous_secret", "wallet__password", "owner__password")

    receiver = base.column("URL", lambda webhook: shown_url(webhook.url))
    of_wallet = base.column("events of", lambda webhook: link(webhook.wallet))
    status = base.column("state", _pill)
    why = base.column("disabled by", lambda webhook: webhook.disabled_by.replace("_", " ") or "–")
    made = base.column("made", lambda webhook: formats.moment(webhook.created_at))

    def detail(self, request: HttpRequest, row: Webhook) -> dict[str, Any]:
        of_webhook = WebhookDelivery.objects.filter(webhook=row)
        deliveries = of_webhook.select_related("message").defer("message__body").order_by("-created_at", "-id")
        return {
            "title": f"Webhook {formats.short(row.pk)}",
            "deliveries": [(each, _answer(each)) for each in deliveries[:DELIVERIES_SHOWN]],
            "deliveries_url": f"{list_url(WebhookDelivery)}?webhook={row.pk}",
            "facts": [
                Fact("state", _pill(row), note=row.disabled_by.replace("_", " ")),
                Fact("URL", shown_url(row.url)),
                Fact("events of", link(row.wallet)),
                Fact("URL set by", link(row.owner)),
                Fact("types", ", ".join(row.event_types) or "all"),
                Fact("waiting", f"{of_webhook.filter(state=DeliveryState.PENDING).count():,}"),
                Fact("fails since", formats.full(row.failing_since) or "–"),
                Fact("disabled", formats.full(row.disabled_at) or "–"),
                Fact("made", formats.full(row.created_at), note=formats.ago(row.created_at)),
                Fact("id", row.pk),
            ],
        }


class DeliveryStateFilter(filters.StateFilter):
    values = [(state.value, state.value) for state in DeliveryState]


class WebhookFilter(filters.Typed):
    title = "webhook"
    parameter_name = "webhook"
    hint = "id"

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        webhook_id = names.parse_uuid(value)
        return queryset.none() if webhook_id is None else queryset.filter(webhook_id=webhook_id)


def _answer(delivery: WebhookDelivery) -> str:
    return str(delivery.status or delivery.error.replace("_", " ") or "–")


@admin.register(WebhookDelivery)
class DeliveryPage(base.LedgerPage):
    """Messages to webhooks, with their last attempt."""

    called = ("delivery", "deliveries")
    list_display = ("kind", "to", "outcome", "answer", "tries", "made")
    numbers = ("tries",)
    list_filter = (DeliveryStateFilter, WebhookFilter, filters.made("created_at"), filters.AgeFilter)
    sorts = {"made": ("created_at", "id")}
    ordering = ("-created_at", "-id")
    search_help_text = "the id of a delivery or of its event"
    id_columns = ("pk", "message_id")

    @property
    def empty(self) -> str:  # type: ignore[override]
        return f"No delivery in the last {counted(settings.DELIVERY_DAYS, 'day')}. Older ones are deleted by week."

    csv_columns = (
        *attributes("id", "webhook_id"),
        ("to", lambda delivery: shown_url(delivery.webhook.url)),
        *attributes("message_id"),
        ("type", lambda delivery: delivery.message.type),
        *attributes("state", "attempt", "status", "error", "sent_at", "created_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookDelivery]:
        rows = WebhookDelivery.objects.select_related("message", "webhook")
        return rows.defer("message__body", "webhook__secret", "webhook__previous_secret")

    kind = base.column("type", lambda delivery: delivery.message.type)
    to = base.column("to", lambda delivery: link(delivery.webhook, shown_url(delivery.webhook.url)))
    outcome = base.column("state", lambda delivery: formats.pill(delivery.state))
    answer = base.column("answer", _answer)
    tries = base.column("attempts", lambda delivery: f"{delivery.attempt:,}")
    made = base.column("made", lambda delivery: formats.moment(delivery.created_at))

    def detail(self, request: HttpRequest, row: WebhookDelivery) -> dict[str, Any]:
        is_open = row.state == DeliveryState.PENDING
        return {
            "title": f"Delivery {formats.short(row.pk)}",
            "facts": [
                Fact("state", formats.pill(row.state)),
                Fact("type", row.message.type),
                Fact("to", link(row.webhook, shown_url(row.webhook.url))),
                Fact("message", row.message_id, note="the header webhook-id"),
                Fact("attempts", f"{row.attempt:,}"),
                Fact("answer", _answer(row), note=f"after {row.milliseconds:,} ms" if row.milliseconds else ""),
                Fact("start of the body", row.response or "–"),
                Fact("last attempt", formats.full(row.sent_at) or "–"),
                Fact("next attempt", formats.full(row.due_at) if is_open else "–"),
                Fact("made", formats.full(row.created_at), note=formats.ago(row.created_at)),
                Fact("id", row.pk),
            ],
        }
