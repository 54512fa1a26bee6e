"""
Alerts: each is open from when a tile of the home page turns red, or reports the alert's subject, until it was not red
for `ALERT_QUIET_MINUTES`. A tile that turns red again before that continues the same alert.

`check` compares the open alerts with the tiles as they are now. One that cannot be computed opens and
closes nothing.
`config.admin.notices` sends what `check` writes: at the opening and at the end of an alert, and again every
`ALERT_REPEAT_HOURS` while it is open and not acknowledged.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from config.admin import tiles
from config.admin.models import Alert, AlertNotice, NoticeChannel, NoticeEvent

# The key of the advisory lock of a check.
_CHECKING: Final = 20261204
# How long an alert is kept after its end.
KEPT: Final = timedelta(days=90)
_TEXT: Final = 254


class Changes(NamedTuple):
    """The numbers of alerts that a check opened, reported again and closed."""

    opened: int
    repeated: int
    closed: int


def open_alerts() -> list[Alert]:
    """Return the open alerts, the latest first."""
    return list(Alert.objects.filter(closed_at=None).select_related("acknowledged_by").order_by("-opened_at", "-id"))


def check() -> Changes | None:
    """
    Open, update and close alerts as the tiles are now. Return None if another check runs.

    One transaction from reading to writing, under a lock: a check that read earlier cannot reopen what a
    later one closed.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_CHECKING])
            if not cursor.fetchone()[0]:
                return None
        readings = tiles.Readings()
        return _compare(tiles.computed(readings, guard=transaction.atomic), readings.now)


def _compare(shown: Sequence[tiles.Tile], now: datetime) -> Changes:
    red = {
        (tile.key, subject): (title, tile.said[:_TEXT])
        for tile in shown
        if tile.is_bad
        for subject, title in (tile.subjects or {"": tile.what}).items()
    }
    unknown = {tile.key for tile in shown if not tile.is_known}
    there = {(alert.kind, alert.subject): alert for alert in Alert.objects.select_for_update().filter(closed_at=None)}
    repeated = closed = 0
    for key, alert in there.items():
        if key in red:
            alert.title, alert.state = red[key]
            alert.seen_at = now
            if _is_due_again(alert, now):
                _notify(alert, NoticeEvent.REPEATED, now)
                repeated += 1
        elif alert.kind not in unknown and alert.seen_at <= now - timedelta(minutes=settings.ALERT_QUIET_MINUTES):
            alert.closed_at = now
            _notify(alert, NoticeEvent.CLOSED, now)
            closed += 1
        alert.save()
    new = [key for key in red if key not in there]
    for kind, subject in new:
        title, state = red[kind, subject]
        alert = Alert.objects.create(
            kind=kind, subject=subject, title=title, state=state, opened_at=now, seen_at=now, noticed_at=now
        )
        _notify(alert, NoticeEvent.OPENED, now)
        alert.save()
    return Changes(len(new), repeated, closed)


def _is_due_again(alert: Alert, now: datetime) -> bool:
    hours = settings.ALERT_REPEAT_HOURS
    return bool(hours) and alert.acknowledged_at is None and alert.noticed_at <= now - timedelta(hours=hours)


def channels() -> list[NoticeChannel]:
    """Return how alerts are reported."""
    return [
        *([NoticeChannel.MAIL] if settings.MAILERS and settings.ALERT_MAIL else []),
        *([NoticeChannel.CALL] if settings.ALERT_URL else []),
    ]


def _notify(alert: Alert, event: NoticeEvent, now: datetime) -> None:
    alert.notices += 1
    alert.noticed_at = now
    AlertNotice.objects.bulk_create(
        AlertNotice(
            alert=alert,
            number=alert.notices,
            channel=channel,
            event=event,
            text=alert.state,
            due_at=now,
            created_at=now,
        )
        for channel in channels()
    )


def acknowledge(alert: Alert, *, staff: User, note: str) -> None:
    """Acknowledge an open alert, whose row is locked: it is not reported again until it has ended."""
    alert.acknowledged_at, alert.acknowledged_by, alert.note = timezone.now(), staff, note[:500]
    alert.save(update_fields=["acknowledged_at", "acknowledged_by", "note"])


def notices_of(alert_id: UUID) -> QuerySet[AlertNotice]:
    """Return what was and will be sent about an alert, in order."""
    return AlertNotice.objects.filter(alert_id=alert_id).order_by("number", "channel")


def purge() -> int:
    """Delete alerts 90 days after their end, and return how many."""
    deleted, by_model = Alert.objects.filter(closed_at__lt=timezone.now() - KEPT).delete()
    return by_model.get(Alert._meta.label, 0) if deleted else 0
