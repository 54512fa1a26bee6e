"""Notifications of alerts, to real servers: once each, later if a server is away, and never with a secret."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from config import mail
from config.admin import notices
from config.admin.alerts import _notify
from config.admin.models import Alert, AlertNotice, NoticeChannel, NoticeEvent
from config.tasks import send_notices
from tests.concurrency.races import PATIENCE_SECONDS, race
from tests.support.mail_server import MailServer, receiving_mail
from tests.webhooks.receiver import Receiver, answers, receiving

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture
def post(settings: Any) -> Iterator[MailServer]:
    with receiving_mail() as server:
        settings.MAILERS = mail.read(f"smtp://127.0.0.1:{server.port}")
        settings.DEFAULT_FROM_EMAIL = "coppice@coppice.example"
        settings.ALERT_MAIL = ["ops@coppice.example", "night@coppice.example"]
        settings.PUBLIC_URL = "https://wallet.example"
        yield server


@pytest.fixture
def hook(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with receiving() as receiver:
        settings.ALERT_URL, settings.ALERT_SECRET = f"{receiver.url}?key=hidden", SECRET
        yield receiver


def alert(*events: NoticeEvent, kind: str = "servers") -> Alert:
    """Make an alert with notices of these events, as a check would."""
    now = timezone.now()
    made = Alert.objects.create(
        kind=kind, title=kind, state="16 of 25: fewer than 17", opened_at=now, seen_at=now, noticed_at=now
    )
    for event in events:
        if event is NoticeEvent.CLOSED:
            made.closed_at = now
        _notify(made, event, now)
    made.save()
    return made


def rows() -> list[tuple[str, str, int, str]]:
    found = AlertNotice.objects.order_by("created_at", "number", "channel")
    return list(found.values_list("event", "state", "attempt", "error"))


def due_now() -> None:
    AlertNotice.objects.update(due_at=timezone.now() - timedelta(seconds=1))


def test_a_mail_says_what_since_when_and_where(post: MailServer) -> None:
    made = alert(NoticeEvent.OPENED, NoticeEvent.CLOSED)

    assert (notices.send(), notices.send()) == (2, 0)

    opened, closed = post.mails
    assert post.recipients == [["ops@coppice.example", "night@coppice.example"]] * 2
    assert opened["Subject"] == "[Coppice wallet.example] servers: 16 of 25: fewer than 17"
    assert opened["From"] == "coppice@coppice.example"
    assert opened["Auto-Submitted"] == "auto-generated"
    assert opened.get_content().replace("\r\n", "\n") == (
        "servers: 16 of 25: fewer than 17\n\n"
        f"It began at {made.opened_at:%Y-%m-%d %H:%M} UTC.\n\n"
        f"https://wallet.example/admin/desk/alert/{made.pk}/change/\n"
    )
    assert closed["Subject"] == "[Coppice wallet.example] ended: servers: 16 of 25: fewer than 17"
    assert f"It was last seen at {made.seen_at:%Y-%m-%d %H:%M} UTC." in closed.get_content()
    assert opened["Message-ID"] != closed["Message-ID"]
    assert rows() == [("opened", "sent", 1, ""), ("closed", "sent", 1, "")]


def test_a_call_is_signed_and_says_the_same(hook: Receiver) -> None:
    made = alert(NoticeEvent.OPENED)

    assert notices.send() == 1

    (call,) = hook.received
    told = call.verify(SECRET)
    assert told["type"] == "alert.opened"
    assert told["data"] == {
        "id": str(made.pk), "kind": "servers", "subject": None, "title": "servers", "state": "16 of 25: fewer than 17",
        "opened_at": made.opened_at.isoformat().replace("+00:00", "Z"), "closed_at": None,
        "url": f"/admin/desk/alert/{made.pk}/change/",
    }  # fmt: skip
    assert told["text"] == f"servers: 16 of 25: fewer than 17 {told['data']['url']}"
    assert call.headers["webhook-id"] == str(AlertNotice.objects.get().pk)


def test_no_call_goes_to_a_private_network_or_follows_a_redirect(hook: Receiver, settings: Any) -> None:
    alert(NoticeEvent.OPENED)
    settings.WEBHOOK_ALLOWED_NETWORKS = []

    assert notices.send() == 0
    assert (hook.received, rows()) == ([], [("opened", "pending", 1, "address_refused")])

    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    hook.behaviour = answers(302, Location=f"http://127.0.0.1:{hook.port}/other")
    due_now()
    assert notices.send() == 0
    assert (len(hook.received), rows()) == (1, [("opened", "pending", 2, "status_302")])


def test_a_mail_server_that_is_away_is_tried_again_in_order(post: MailServer, settings: Any) -> None:
    options = settings.MAILERS["default"]["OPTIONS"]
    port, options["port"] = options["port"], 1
    alert(NoticeEvent.OPENED, NoticeEvent.CLOSED)
    alert(NoticeEvent.OPENED, kind="webhooks")

    # The first that fails ends the turn.
    assert notices.send() == 0
    assert rows() == [
        ("opened", "pending", 1, "connection_failed"), ("closed", "pending", 0, ""), ("opened", "pending", 0, ""),
    ]  # fmt: skip
    options["port"] = port
    assert notices.send() == 1
    assert [each["Subject"] for each in post.mails] == ["[Coppice wallet.example] webhooks: 16 of 25: fewer than 17"]
    waits = AlertNotice.objects.get(attempt=1, state="pending").due_at - timezone.now()
    assert timedelta() < waits <= notices.DELAYS[0]

    due_now()
    assert notices.send() == 2
    assert [each["Subject"].partition("] ")[2][:6] for each in post.mails[1:]] == ["server", "ended:"]


def test_after_a_day_it_is_given_up_and_what_follows_is_sent(post: MailServer) -> None:
    post.refuses = "550 Not this one"
    alert(NoticeEvent.OPENED, NoticeEvent.CLOSED)
    assert notices.send() == 0
    AlertNotice.objects.filter(number=1).update(created_at=timezone.now() - timedelta(days=1, seconds=1))
    due_now()

    assert notices.send() == 0
    assert rows() == [("opened", "failed", 2, "refused"), ("closed", "pending", 1, "refused")]


def test_a_refused_mail_holds_up_no_other(post: MailServer) -> None:
    alert(NoticeEvent.OPENED)
    alert(NoticeEvent.OPENED, kind="webhooks")
    post.refuses = "550 Not this one"

    assert notices.send() == 0
    assert [row[2:] for row in rows()] == [(1, "refused")] * 2


@pytest.mark.parametrize("password", ["right", "wrong"])
def test_the_login_is_that_of_the_url(settings: Any, post: MailServer, password: str) -> None:
    with receiving_mail(auth_require_tls=False) as server:
        settings.MAILERS = mail.read(f"smtp://us%40er:{password}@127.0.0.1:{server.port}")
        alert(NoticeEvent.OPENED)

        sent = notices.send()

    # A client tries each of its methods.
    assert set(server.logins) == {("us@er", password)}
    assert (sent, rows()[0][3]) == ((1, "") if password == "right" else (0, "login_refused"))


def test_a_server_that_does_not_answer_costs_its_timeout_alone(post: MailServer, settings: Any) -> None:
    with receiving(lambda receiver, _: None) as nothing:
        settings.MAILERS["default"]["OPTIONS"].update(port=nothing.port, timeout=0.5)
        alert(NoticeEvent.OPENED)

        assert notices.send() == 0

    assert rows() == [("opened", "pending", 1, "connection_failed")]


def test_two_senders_send_each_notice_once(post: MailServer, hook: Receiver) -> None:
    for number in range(4):
        alert(NoticeEvent.OPENED, NoticeEvent.CLOSED, kind=f"kind-{number}")

    def until_nothing_is_due() -> None:
        ends = time.monotonic() + PATIENCE_SECONDS
        while AlertNotice.objects.filter(state="pending").exists() and time.monotonic() < ends:
            notices.send()
        connections.close_all()

    race([until_nothing_is_due] * 3)

    assert len({each["Message-ID"] for each in post.mails}) == len(post.mails) == 8
    assert len(set(hook.ids())) == len(hook.received) == 8
    assert {row[1:] for row in rows()} == {("sent", 1, "")}


def test_a_sender_that_was_overtaken_writes_nothing(post: MailServer) -> None:
    alert(NoticeEvent.OPENED)
    first = notices.claim(NoticeChannel.MAIL)
    assert first is not None
    # Leased: nothing for a second sender, also no other notice of the channel.
    alert(NoticeEvent.OPENED, kind="webhooks")
    assert notices.claim(NoticeChannel.MAIL) is None
    AlertNotice.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    second = notices.claim(NoticeChannel.MAIL)
    assert second is not None

    assert notices.settle(first, error="timeout") is False
    assert notices.settle(second, error="") is True
    assert rows()[0] == ("opened", "sent", 2, "")


def test_a_sender_whose_time_is_over_gives_its_notice_back(post: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    alert(NoticeEvent.OPENED)

    def over(_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(notices, "_mail", over)
    with pytest.raises(KeyboardInterrupt):
        notices.send()

    assert rows() == [("opened", "pending", 1, "interrupted")]
    assert AlertNotice.objects.get().lease_until is None


def test_the_lease_is_longer_than_the_task() -> None:
    limit = send_notices.time_limit
    assert limit is not None
    assert notices.LEASE.total_seconds() > limit
    assert notices.SESSION.total_seconds() < send_notices.soft_time_limit < limit


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "ssl"),
    [
        ("smtp://mail.example", "mail.example", 25, False, False),
        ("smtp+starttls://u:p%3A@mail.example", "mail.example", 587, True, False),
        ("smtps://mail.example:4650/", "mail.example", 4650, False, True),
        ("smtp://[::1]:2525", "::1", 2525, False, False),
    ],
)
def test_the_url_of_a_mail_server_is_read(url: str, host: str, port: int, tls: bool, ssl: bool) -> None:
    found = mail.read(url)["default"]["OPTIONS"]

    assert [found[name] for name in ("host", "port", "use_tls", "use_ssl")] == [host, port, tls, ssl]
    assert (found["username"], found["password"]) == (("u", "p:") if "@" in url else ("", ""))


def test_without_a_url_there_is_no_mail_server() -> None:
    assert mail.read("") == {}


@pytest.mark.parametrize("url", ["mail.example", "http://mail.example", "smtp://", "smtp://h:x", "smtp://h/inbox"])
def test_what_is_no_mail_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        mail.read(url)
