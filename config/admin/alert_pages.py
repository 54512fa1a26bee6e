"""Pages of alerts."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config.admin import alerts, base, filters, tiles
from config.admin.base import Fact
from config.admin.csv_export import attributes
from config.admin.links import page_url
from config.admin.models import Alert
from config.admin.templatetags import formats
from webhooks.models import Webhook


class OpenFilter(filters.Choice):
    title = "state"
    parameter_name = "state"
    values = [("open", "open"), ("unacknowledged", "not acknowledged"), ("ended", "ended")]

    def narrowed(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == "ended":
            return queryset.exclude(closed_at=None)
        still = queryset.filter(closed_at=None)
        return still if value == "open" else still.filter(acknowledged_at=None)


class KindFilter(filters.StateFilter):
    title = "kind"
    parameter_name = "kind"
    values = [(key, key.replace("-", " ")) for key in tiles.KEYS]


def _pill(alert: Alert) -> object:
    if alert.closed_at is not None:
        return formats.pill("ended", "ended")
    return formats.pill("running", "acknowledged") if alert.acknowledged_at else formats.pill("failed", "open")


@admin.register(Alert)
class AlertPage(base.LedgerPage):
    """What had to be acted on, from its beginning to its end."""

    list_display = ("what", "now", "status", "who", "begun", "ended")
    list_filter = (OpenFilter, KindFilter, filters.made("opened_at", "opened"))
    ordering = ("-opened_at", "-id")
    search_help_text = "an alert's id"
    detail_template = "desk/alert.html"
    empty = "No alert in the last 90 days."
    csv_columns = attributes(
        "id",
        "kind",
        "subject",
        "title",
        "state",
        "opened_at",
        "closed_at",
        "acknowledged_at",
        "acknowledged_by",
        "note",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        return Alert.objects.select_related("acknowledged_by").defer("acknowledged_by__password")

    what = base.column("alert", lambda alert: alert.title)
    now = base.column("last value", lambda alert: alert.state)
    status = base.column("state", _pill)
    who = base.column("acknowledged by", lambda alert: alert.acknowledged_by or "–")
    begun = base.column("began", lambda alert: formats.moment(alert.opened_at))
    ended = base.column("ended", lambda alert: "–" if alert.closed_at is None else formats.moment(alert.closed_at))

    def detail(self, request: HttpRequest, row: Alert) -> dict[str, Any]:
        about = page_url(Webhook, row.subject) if row.kind == "webhooks" and row.subject else ""
        acknowledged = f"{formats.full(row.acknowledged_at)} by {row.acknowledged_by}" if row.acknowledged_at else "no"
        return {
            "title": f"Alert: {row.title}",
            "notices": list(alerts.notices_of(row.pk)),
            "channels": alerts.channels(),
            "facts": [
                Fact("state", _pill(row)),
                Fact("alert", row.title, url=about),
                Fact("last value", row.state, note=f"seen {formats.ago(row.seen_at)}"),
                Fact("began", formats.full(row.opened_at), note=formats.ago(row.opened_at)),
                Fact("ended", formats.full(row.closed_at) or "–"),
                Fact("acknowledged", acknowledged),
                Fact("note", row.note or "–"),
                Fact("id", row.pk),
            ],
        }
