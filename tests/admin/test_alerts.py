"""Alerts are open while a tile of the home page is red and some minutes longer, and are told once each time."""

import threading
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from config import mail
from config.admin import alerts, notices, roles, tiles
from config.admin.models import Alert, AlertNotice, Backup
from lockers import reports as lockers
from lockers.models import LockerTask, ServerReading
from tests.support import replicas
from tests.support.desk_pages import confirm, url
from transfers.models import Issue
from transfers.seal_models import POSITIONS, Seal, SealMark
from wallets.models import AuditRun, OperatorAction, Token
from wallets.states import AuditResult
from webhooks.models import Webhook
from webhooks.states import DisabledBy

pytestmark = pytest.mark.django_db


def tokens_are_missing(ledger: SimpleNamespace) -> Callable[[], object]:
    def issue(tokens: int) -> None:
        Issue.objects.create(wallet=ledger.alice, tokens=tokens, issued_at=timezone.now())

    issue(3)
    return lambda: issue(-3)


def a_reservation_is_of_no_transfer(ledger: SimpleNamespace) -> Callable[[], object]:
    free = Token.objects.filter(transfer_pending_id=None).first()
    assert free is not None

    def reserve(transfer_id: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE wallets_token DISABLE TRIGGER USER")
        Token.objects.filter(pk=free.pk).update(transfer_pending_id=transfer_id)

    reserve(ledger.transfers["pending"].id)
    return lambda: reserve(None)


def an_audit_finds_something(ledger: SimpleNamespace) -> Callable[[], object]:
    now = timezone.now()
    AuditRun.objects.create(result=AuditResult.UNSOUND, findings_count=1, finished_at=now)
    return lambda: AuditRun.objects.create(result=AuditResult.SOUND, finished_at=now)


def a_task_is_past_its_deadline(ledger: SimpleNamespace) -> Callable[[], object]:
    LockerTask.objects.update(seen_at=timezone.now())
    LockerTask.objects.filter(pk=ledger.running.pk).update(deadline=timezone.now() - timedelta(minutes=1), seen_at=None)
    return lambda: LockerTask.objects.update(seen_at=timezone.now())


def a_webhook_is_disabled(ledger: SimpleNamespace) -> Callable[[], object]:
    of_it = Webhook.objects.filter(pk=ledger.webhook.pk)
    of_it.update(state="disabled", disabled_by="failures", disabled_at=timezone.now())
    return lambda: of_it.update(state="enabled", disabled_by="", disabled_at=None)


def sixteen_servers_answer(ledger: SimpleNamespace) -> Callable[[], object]:
    # One of them is silent for tasks.
    ServerReading.objects.filter(raida__lt=8).update(outcome="timeout")
    return lambda: ServerReading.objects.update(outcome="answered")


def a_backup_is_late(ledger: SimpleNamespace) -> Callable[[], object]:
    Backup.objects.create(made_at=timezone.now() - timedelta(hours=27), bytes=1)
    return lambda: Backup.objects.create(made_at=timezone.now() - timedelta(hours=25), bytes=1)


def the_replica_is_away(ledger: SimpleNamespace) -> Callable[[], object]:
    away = replicas.configured("postgresql://coppice@/coppice?host=/nowhere", SimpleNamespace(MIDDLEWARE=[]))
    away.__enter__()
    return lambda: away.__exit__(None, None, None)


def seals_are_late(ledger: SimpleNamespace) -> Callable[[], object]:
    empty = b"0" * 32
    Seal.objects.create(
        height=1, format=1, previous=empty, root=empty, leaves=1, sealed_at=timezone.now(), hash=empty, secret=empty,
        **dict.fromkeys(POSITIONS, 0),
    )  # fmt: skip
    SealMark.objects.create(id=1, complete_at=timezone.now() - timedelta(minutes=31))
    return lambda: SealMark.objects.update(complete_at=timezone.now() - timedelta(minutes=29))


REDDENED: dict[str, Callable[[SimpleNamespace], Callable[[], object]]] = {
    "tokens-held": tokens_are_missing,
    "tokens-reserved": a_reservation_is_of_no_transfer,
    "last-audit": an_audit_finds_something,
    "last-seal": seals_are_late,
    "tasks-in-need": a_task_is_past_its_deadline,
    "webhooks": a_webhook_is_disabled,
    "servers": sixteen_servers_answer,
    "last-backup": a_backup_is_late,
    "replica": the_replica_is_away,
}
NEVER_RED = {"oldest-transfer", "coins", "coins-in-doubt", "thin-coins"}


@pytest.fixture
def sound(ledger: SimpleNamespace, settings: Any) -> SimpleNamespace:
    """The ledger, with nothing that is red, and backups that are watched."""
    settings.BACKUP_HOURS = 26
    settings.ALERT_QUIET_MINUTES = 0
    settings.MAILERS, settings.ALERT_MAIL = mail.read("smtp://mail.example"), ["ops@coppice.example"]
    Alert.objects.all().delete()
    Backup.objects.create(made_at=timezone.now(), bytes=1)
    LockerTask.objects.filter(pk=ledger.failed.pk).update(seen_at=timezone.now())
    assert [tile.key for tile in tiles.computed(tiles.Readings()) if tile.is_bad] == []
    return ledger


def events() -> list[tuple[str, str, int]]:
    rows = AlertNotice.objects.order_by("created_at", "number")
    return list(rows.values_list("alert__kind", "event", "number"))


def test_each_tile_can_be_red_or_is_named_as_one_that_never_is() -> None:
    assert set(REDDENED) | NEVER_RED == set(tiles.KEYS)


@pytest.mark.parametrize("key", REDDENED)
def test_an_alert_is_open_exactly_while_its_tile_is_red(sound: SimpleNamespace, desk: Client, key: str) -> None:
    if key == "last-backup":
        Backup.objects.all().delete()
    undo = REDDENED[key](sound)

    first, second = alerts.check(), alerts.check()
    home = desk.get(reverse("admin:index"))

    # Tokens that are reserved are not missing, and so on: one cause, one alert.
    assert (first, second) == ((1, 0, 0), (0, 0, 0))
    (alert,) = Alert.objects.all()
    shown = {tile.key: tile for tile in home.context["home"].tiles}
    assert (alert.kind, [each for each in shown if shown[each].is_bad]) == (key, [key])
    # It is read later: "19 s ago" would not be true then.
    assert alert.state == shown[key].said
    assert " ago" not in alert.state
    assert f'href="{url("desk_alert_change", alert)}"' in home.content.decode()

    undo()
    third, fourth = alerts.check(), alerts.check()

    assert (third, fourth) == ((0, 0, 1), (0, 0, 0))
    assert not any(tile.is_bad for tile in tiles.computed(tiles.Readings()))
    assert events() == [(key, "opened", 1), (key, "closed", 2)]
    assert alerts.open_alerts() == []


def test_a_condition_that_comes_and_goes_is_one_alert(sound: SimpleNamespace, desk: Client, settings: Any) -> None:
    settings.ALERT_QUIET_MINUTES = 10
    undo = sixteen_servers_answer(sound)
    assert alerts.check() == (1, 0, 0)
    (alert,) = alerts.open_alerts()

    def without_it_for(minutes: float) -> alerts.Changes | None:
        undo()
        Alert.objects.update(seen_at=timezone.now() - timedelta(minutes=minutes))
        return alerts.check()

    assert without_it_for(9.9) == (0, 0, 0)
    home = desk.get(reverse("admin:tiles")).content.decode()
    assert "last seen 10 min ago" in home
    sixteen_servers_answer(sound)
    assert alerts.check() == (0, 0, 0)
    assert timezone.now() - alerts.open_alerts()[0].seen_at < timedelta(minutes=1)
    assert without_it_for(9.9) == (0, 0, 0)
    assert [each.pk for each in alerts.open_alerts()] == [alert.pk]
    assert events() == [("servers", "opened", 1)]

    assert without_it_for(10.1) == (0, 0, 1)
    assert events() == [("servers", "opened", 1), ("servers", "closed", 2)]
    sixteen_servers_answer(sound)
    assert alerts.check() == (1, 0, 0)
    assert Alert.objects.count() == 2


@pytest.mark.parametrize("by", DisabledBy)
def test_a_webhook_that_nobody_asked_to_disable_has_an_alert(
    sound: SimpleNamespace, desk: Client, by: DisabledBy
) -> None:
    now = timezone.now()
    Webhook.objects.filter(pk=sound.webhook.pk).update(state="disabled", disabled_by=by, disabled_at=now)
    is_told = by not in {DisabledBy.REQUEST, DisabledBy.OPERATOR}

    assert alerts.check() == (int(is_told), 0, 0)
    (tile,) = [each for each in tiles.computed(tiles.Readings()) if each.key == "webhooks"]
    assert tile.is_bad is is_told
    if is_told:
        # The list behind the tile has what the tile counts.
        assert [row.pk for row in desk.get(tile.url).context["cl"].result_list] == [sound.webhook.pk]


def test_each_disabled_webhook_has_an_alert(sound: SimpleNamespace) -> None:
    a_webhook_is_disabled(sound)
    alerts.check()
    other = Webhook.objects.get(pk=sound.webhook.pk)
    other._state.adding = True
    other.id = uuid4()
    other.save()

    assert alerts.check() == (1, 0, 0)
    assert {alert.subject for alert in alerts.open_alerts()} == {str(sound.webhook.pk), str(other.pk)}
    assert not any(sound.alice.name in f"{alert.title} {alert.state}" for alert in alerts.open_alerts())


def test_while_an_audit_runs_the_result_before_it_counts(sound: SimpleNamespace) -> None:
    an_audit_finds_something(sound)
    alerts.check()
    AuditRun.objects.create()

    assert alerts.check() == (0, 0, 0)
    (tile,) = [each for each in tiles.computed(tiles.Readings()) if each.key == "last-audit"]
    assert (tile.value, tile.css) == ("1 finding", "bad")
    assert tile.note.endswith("; one is running")


def test_a_tile_that_cannot_be_computed_opens_and_closes_nothing(
    sound: SimpleNamespace, desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sixteen_servers_answer(sound)
    alerts.check()
    a_webhook_is_disabled(sound)

    def broken() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")

    monkeypatch.setattr(lockers, "servers", broken)
    changes = alerts.check()
    monkeypatch.setattr(tiles.lockers, "servers", lambda: 1 / 0)
    again = alerts.check()
    shown = desk.get(reverse("admin:tiles"))

    # The others are computed, in the same transaction.
    assert (changes, again) == ((1, 0, 0), (0, 0, 0))
    assert {alert.kind for alert in alerts.open_alerts()} == {"servers", "webhooks"}
    (tile,) = [each for each in shown.context["tiles"] if each.key == "servers"]
    assert (tile.css, tile.mark, tile.is_bad, tile.is_known) == ("unknown", "–", False, False)


def test_an_alert_is_reported_again_until_it_is_acknowledged(sound: SimpleNamespace, settings: Any) -> None:
    sixteen_servers_answer(sound)
    alerts.check()
    # Without a repetition by setting none is made.
    Alert.objects.update(noticed_at=timezone.now() - timedelta(hours=4, seconds=1))
    settings.ALERT_REPEAT_HOURS = 0
    assert alerts.check() == (0, 0, 0)
    settings.ALERT_REPEAT_HOURS = 4
    assert [alerts.check(), alerts.check()] == [(0, 1, 0), (0, 0, 0)]

    Alert.objects.update(noticed_at=timezone.now() - timedelta(hours=5))
    (alert,) = alerts.open_alerts()
    alerts.acknowledge(alert, staff=User.objects.first(), note="seen")  # type: ignore[arg-type]

    assert alerts.check() == (0, 0, 0)
    assert [event for _, event, _ in events()] == ["opened", "repeated"]


def test_without_a_channel_alerts_are_on_the_desk_alone(sound: SimpleNamespace, settings: Any) -> None:
    settings.ALERT_MAIL = []
    sixteen_servers_answer(sound)

    assert alerts.check() == (1, 0, 0)
    assert events() == []


@pytest.fixture
def otto() -> Client:
    roles.ensure()
    user = User.objects.create_user("otto", is_staff=True)
    user.groups.set(roles.Group.objects.filter(name=roles.OPERATOR))
    client = Client()
    client.force_login(user)
    return client


def test_an_operator_acknowledges_an_alert_with_a_note(sound: SimpleNamespace, otto: Client) -> None:
    sixteen_servers_answer(sound)
    alerts.check()
    alert = Alert.objects.get()

    done = confirm(otto, url("acknowledge-alert", alert), reason="The data centre <knows>.")

    assert done.status_code == 302
    alert.refresh_from_db()
    assert (alert.note, alert.acknowledged_by.username) == ("The data centre <knows>.", "otto")  # type: ignore[union-attr]
    action = OperatorAction.objects.get(verb="acknowledged_alert")
    assert (action.object_kind, action.object_id, action.reason) == ("alert", str(alert.pk), alert.note)
    page = otto.get(url("desk_alert_change", alert))
    assert b"The data centre &lt;knows&gt;." in page.content
    assert otto.get(url("acknowledge-alert", alert)).status_code == 409
    assert b"acknowledged by otto: The data centre &lt;knows&gt;." in otto.get(reverse("admin:tiles")).content


def test_a_viewer_sees_alerts_and_acknowledges_none(sound: SimpleNamespace) -> None:
    roles.ensure()
    sixteen_servers_answer(sound)
    alerts.check()
    alert = Alert.objects.get()
    user = User.objects.create_user("vera", is_staff=True)
    user.groups.set(roles.Group.objects.filter(name=roles.VIEWER))
    vera = Client()
    vera.force_login(user)

    assert vera.get(url("desk_alert_change", alert)).status_code == 200
    assert vera.get(url("acknowledge-alert", alert)).status_code == 403
    assert vera.get(reverse("admin:tiles")).status_code == 200
    user.groups.clear()
    assert vera.get(reverse("admin:tiles")).status_code == 403
    assert vera.post(reverse("admin:tiles")).status_code == 405
    assert Client().get(reverse("admin:tiles")).status_code == 302
    alert.refresh_from_db()
    assert alert.acknowledged_at is None


def test_an_alert_that_has_ended_cannot_be_acknowledged(sound: SimpleNamespace, otto: Client) -> None:
    undo = sixteen_servers_answer(sound)
    alerts.check()
    alert = Alert.objects.get()
    undo()
    alerts.check()

    assert otto.get(url("acknowledge-alert", alert)).status_code == 409
    assert b"it has ended" in otto.get(url("desk_alert_change", alert)).content


def test_old_alerts_are_deleted_and_open_ones_kept(sound: SimpleNamespace) -> None:
    undo = sixteen_servers_answer(sound)
    alerts.check()
    Alert.objects.update(opened_at=timezone.now() - timedelta(days=400))
    assert alerts.purge() == 0
    undo()
    alerts.check()
    Alert.objects.update(closed_at=timezone.now() - timedelta(days=89))
    assert alerts.purge() == 0
    Alert.objects.update(closed_at=timezone.now() - timedelta(days=91))

    assert (alerts.purge(), AlertNotice.objects.count()) == (1, 0)


def test_the_address_in_a_notice_is_that_of_the_page(sound: SimpleNamespace, settings: Any) -> None:
    alert = Alert(title="x")

    assert notices.url_of(alert) == url("desk_alert_change", alert)


@pytest.mark.django_db(transaction=True)
def test_only_one_check_runs_at_once() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [alerts._CHECKING])
        found: list[Any] = []

        def other() -> None:
            found.append(alerts.check())
            connections.close_all()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(60)
        cursor.execute("SELECT pg_advisory_unlock(%s)", [alerts._CHECKING])

    assert found == [None]
