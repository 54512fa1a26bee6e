"""Events reach receivers, signed, each once and again until they are taken; a failing receiver delays no other."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from coppice_client import verify_webhook
from django.db.models import F
from django.db.models.functions import Now
from standardwebhooks.webhooks import WebhookVerificationError

from tests.webhooks import receiver as behaviours
from tests.webhooks.receiver import answers, receiving
from transfers import events
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.models import Event, Wallet
from wallets.states import EventType
from webhooks import operations
from webhooks.models import Webhook, WebhookDelivery, WebhookMessage
from webhooks.sender import session
from webhooks.sender.http import Client
from webhooks.states import RETRY_DELAYS, DeliveryState

DEADLINE = timedelta(seconds=0.6)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender with a short deadline, for receivers that never answer."""
    post = Client.post

    async def hurried(client: Client, url: str, body: str, headers: Any) -> Any:
        return await post(client, url, body, headers, deadline=DEADLINE)

    monkeypatch.setattr(Client, "post", hurried)


def happen(wallet: Wallet, number: int = 1) -> None:
    wallets.record_events([(wallet.pk, EventType.LOGIN, {"wallet": wallet.name})] * number)


def delivery() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


def due_now() -> None:
    WebhookDelivery.objects.filter(state=DeliveryState.PENDING).update(due_at=Now())


def test_an_event_arrives_signed_as_the_feed_has_it(alice: Wallet) -> None:
    with receiving() as receiver:
        created = operations.create(actor=alice, url=receiver.url)
        happen(alice)
        assert session.run() == 1

    [request] = receiver.received
    rows, _ = events.page_of(events.wallets_of(actor_id=alice.pk, wallet="alice"), limit=10)
    row = rows[-1]
    message = request.verify(created.secret)
    assert verify_webhook(request.body, request.headers, created.secret) == message
    assert message == {
        "type": "login",
        "timestamp": message["data"]["created_at"],
        "data": {
            "id": str(row.id),
            "wallet_id": str(alice.pk),
            "type": "login",
            "created_at": row.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "payload": {"wallet": "alice"},
        },
    }
    assert request.head[0] == "POST /hook HTTP/1.1"
    assert request.headers["webhook-id"] == str(row.id)
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        request.verify("whsec_" + "A" * 43 + "=")
    done = delivery()
    assert (done.state, done.status, done.attempt, done.failures, done.error) == ("delivered", 200, 1, 0, "")
    assert session.run() == 0
    assert len(receiver.received) == 1


def test_only_events_of_its_types_since_it_exists_arrive_in_their_order(alice: Wallet, bob: Wallet) -> None:
    happen(alice)
    with receiving() as receiver:
        operations.create(actor=alice, url=receiver.url, event_types=["wallet_created"])
        happen(alice, 3)
        for name in ("sapling", "seedling"):
            trusts.open_managed_wallet(actor=alice, name=name)
        wallets.create_wallet(name="other", creator=bob)
        session.run()

    assert {request.message["data"]["payload"]["childWallet"] for request in receiver.received} == {
        "sapling", "seedling",
    }  # fmt: skip
    assert set(receiver.types()) == {"wallet_created"}
    assert WebhookMessage.objects.count() == len(receiver.received) == 2


def test_while_a_secret_is_rotated_both_sign_and_then_the_new_one_alone(alice: Wallet) -> None:
    with receiving() as receiver:
        first = operations.create(actor=alice, url=receiver.url)
        second = operations.rotate_secret(actor=alice, webhook_id=first.webhook.pk)
        happen(alice)
        session.run()
        Webhook.objects.update(previous_until=Now() - timedelta(seconds=1))
        happen(alice)
        session.run()

    during, after = receiver.received
    assert during.verify(first.secret) == during.verify(second.secret)
    assert after.verify(second.secret)["type"] == "login"
    with pytest.raises(WebhookVerificationError):
        after.verify(first.secret)


@pytest.mark.parametrize("status", [300, 301, 302, 307, 400, 401, 404, 429, 500, 503])
def test_an_answer_that_is_not_2xx_is_tried_again_and_no_redirect_is_followed(alice: Wallet, status: int) -> None:
    with receiving() as elsewhere, receiving(answers(status, b"no\0pe", Location=elsewhere.url)) as receiver:
        operations.create(actor=alice, url=receiver.url)
        happen(alice)
        before = datetime.now(UTC)
        session.run()

    assert (len(receiver.received), elsewhere.received) == (1, [])
    failed = delivery()
    assert (failed.state, failed.status, failed.failures, failed.response) == (
        "pending",
        status,
        1,
        "no\N{REPLACEMENT CHARACTER}pe",
    )
    assert RETRY_DELAYS[0] <= failed.due_at - before
    assert Webhook.objects.get().failing_since is not None


def test_the_schedule_has_ten_attempts_in_three_days_with_jitter(alice: Wallet) -> None:
    delays = []
    with receiving(answers(500)) as receiver:
        operations.create(actor=alice, url=receiver.url)
        happen(alice)
        while delivery_is_open():
            due_now()
            session.run()
            state = delivery()
            delays.append((state.due_at - (state.sent_at or state.due_at)).total_seconds())

    assert len(set(receiver.ids())) == 1
    assert (len(receiver.received), delivery().state, delivery().failures) == (10, "failed", 10)
    for delay, expected in zip(delays, RETRY_DELAYS, strict=False):
        assert expected.total_seconds() <= delay <= expected.total_seconds() * 1.2 + 60
    assert timedelta(days=3) <= sum(RETRY_DELAYS, timedelta()) <= timedelta(days=3.5)


def delivery_is_open() -> bool:
    found = WebhookDelivery.objects.first()
    return found is None or found.state == DeliveryState.PENDING


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120, 200),
        ("0", 5, 70),
        ("a date in an hour", 3000, 3700),
        ("999999999999", 86000, 86500),
        ("soon", 5, 70),
        ("-5", 5, 70),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 5, 70),
        ("\N{SUPERSCRIPT TWO}", 5, 70),
    ],
)
def test_retry_after_is_obeyed_up_to_a_day(alice: Wallet, value: str, least: int, most: int) -> None:
    if value == "a date in an hour":
        value = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)

    def answer(_: Any, connection: Any) -> None:
        head = f"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nretry-after: {value}\r\n\r\n"
        connection.sendall(head.encode("latin-1"))

    with receiving(answer) as receiver:
        operations.create(actor=alice, url=receiver.url)
        happen(alice)
        session.run()

    failed = delivery()
    assert failed.status == 503
    assert failed.sent_at is not None
    assert least <= (failed.due_at - failed.sent_at).total_seconds() <= most


def test_410_disables_with_an_event_and_cancels_what_waits(alice: Wallet) -> None:
    with receiving(answers(410)) as receiver:
        created = operations.create(actor=alice, url=receiver.url)
        happen(alice)
        session.run()
        happen(alice)
        session.run()

    webhook = Webhook.objects.get()
    assert (webhook.state, webhook.disabled_by, len(receiver.received)) == ("disabled", "gone", 1)
    assert (delivery().state, delivery().status) == ("failed", 410)
    told = Event.objects.get(type="webhook.disabled")
    assert (told.wallet_id, told.payload) == (
        alice.pk,
        {"webhookId": str(created.webhook.pk), "disabledBy": "gone"},
    )


def test_five_days_of_failures_disable_and_a_success_before_begins_them_anew(alice: Wallet) -> None:
    with receiving(answers(500)) as receiver:
        operations.create(actor=alice, url=receiver.url)
        happen(alice, 2)
        session.run()
        Webhook.objects.update(failing_since=F("failing_since") - timedelta(days=5))
        receiver.behaviour = answers(200)
        due_now()
        session.run()
        assert Webhook.objects.get().failing_since is None

        receiver.behaviour = answers(500)
        happen(alice, 2)
        session.run()
        Webhook.objects.update(failing_since=F("failing_since") - timedelta(days=4, hours=23))
        due_now()
        session.run()
        assert Webhook.objects.get().state == "enabled"
        Webhook.objects.update(failing_since=F("failing_since") - timedelta(hours=2))
        due_now()
        session.run()

    webhook = Webhook.objects.get()
    assert (webhook.state, webhook.disabled_by) == ("disabled", "failures")
    assert Event.objects.filter(type="webhook.disabled").count() == 1
    assert {each.state for each in WebhookDelivery.objects.all()} == {"delivered", "cancelled"}


@pytest.mark.parametrize("behaviour", [behaviours.silence, behaviours.drips, behaviours.drips_body])
def test_a_slow_answer_ends_at_the_deadline(alice: Wallet, impatient: None, behaviour: Any) -> None:
    with receiving(behaviour) as receiver:
        operations.create(actor=alice, url=receiver.url)
        happen(alice)
        session.run()

        failed = delivery()
        assert (failed.state, failed.error, failed.status) == ("pending", "timeout", None)
        assert len(receiver.received) == 1


def test_of_an_endless_body_a_kilobyte_is_read(alice: Wallet) -> None:
    with receiving(behaviours.endless) as receiver:
        operations.create(actor=alice, url=receiver.url)
        happen(alice)
        session.run()

        done = delivery()
        assert (done.state, done.status, done.response) == ("delivered", 200, "a" * 1024)
        # What fits into the buffers of two sockets.
        assert receiver.bytes_sent < 50_000_000


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (behaviours.hangs_up, "no_http_answer"),
        (lambda _, connection: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"), "no_http_answer"),
        (lambda _, connection: connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000), "no_http_answer"),
    ],
)
def test_what_is_no_answer_is_a_failure(alice: Wallet, behaviour: Any, error: str) -> None:
    with receiving(behaviour) as receiver:
        operations.create(actor=alice, url=receiver.url)
        happen(alice)
        session.run()

    assert (delivery().state, delivery().error, delivery().status) == ("pending", error, None)


def test_a_port_without_a_receiver_is_a_failure(alice: Wallet) -> None:
    with receiving() as receiver:
        url = receiver.url
    operations.create(actor=alice, url=url)
    happen(alice)
    session.run()

    assert (delivery().state, delivery().error) == ("pending", "connection_failed")


def test_dead_receivers_delay_no_other(alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bob's receiver is silent until alice's has everything: what it had to wait for would never come."""
    monkeypatch.setattr(session, "HEALTHY_AT_ONCE", 10)
    monkeypatch.setattr(session, "FAILING_AT_ONCE", 2)
    # Nothing is sent again, however long this takes.
    monkeypatch.setattr(session.deliveries, "delay_after", lambda failures: timedelta(hours=1))
    with receiving() as good, receiving(behaviours.silence) as dead:
        operations.create(actor=alice, url=good.url)
        operations.create(actor=bob, url=dead.url)
        happen(bob, 50)
        happen(alice, 50)
        good.on_request = lambda: dead.over.set() if len(good.received) == 50 else None
        session.run()

    assert sorted(good.ids()) == sorted(
        str(each) for each in WebhookDelivery.objects.filter(webhook__wallet=alice).values_list("message_id", flat=True)
    )
    assert len(good.received) == 50
    # At most five at once until the first failed, then one at a time.
    assert len(set(dead.ids())) == len(dead.received)


def test_a_webhook_gets_at_most_five_at_once_and_one_while_it_fails(alice: Wallet, impatient: None) -> None:
    with receiving(behaviours.silence) as receiver:
        operations.create(actor=alice, url=receiver.url)
        happen(alice, 20)
        operations.fan_out()
        first = session.deliveries.claim(healthy=100, failing=100)
        assert (len(first), session.deliveries.claim(healthy=100, failing=100)) == (5, [])
        WebhookDelivery.objects.update(lease_until=None)
        Webhook.objects.update(failing_since=Now())
        assert len(session.deliveries.claim(healthy=100, failing=100)) == 1
        assert receiver.received == []


def test_a_disabled_webhook_gets_nothing_and_an_enabled_one_what_happens_from_then_on(alice: Wallet) -> None:
    with receiving() as receiver:
        created = operations.create(actor=alice, url=receiver.url)
        happen(alice)
        operations.fan_out()
        disable = operations.WebhookState.DISABLED
        operations.change(actor=alice, webhook_id=created.webhook.pk, state=disable)
        happen(alice)
        session.run()
        assert receiver.received == []
        assert delivery().state == "cancelled"
        operations.change(actor=alice, webhook_id=created.webhook.pk, state=operations.WebhookState.ENABLED)
        session.run()
        assert receiver.received == []
        happen(alice)
        session.run()

    assert len(receiver.received) == 1
    # At its own request: no event.
    assert not Event.objects.filter(type="webhook.disabled").exists()


def test_a_test_and_a_delivery_that_is_sent_again_are_sent_at_once(alice: Wallet) -> None:
    with receiving(answers(500)) as receiver:
        created = operations.create(actor=alice, url=receiver.url, event_types=["transfer_completed"])
        tested = operations.send_test(actor=alice, webhook_id=created.webhook.pk)
        session.run()
        receiver.behaviour = answers(204)
        again = operations.resend(actor=alice, webhook_id=created.webhook.pk, delivery_id=tested.pk)
        assert (again.state, again.failures) == ("pending", 0)
        session.run()

    assert receiver.types() == ["webhook.test"] * 2
    assert len(set(receiver.ids())) == 1
    assert receiver.received[0].verify(created.secret)["data"]["payload"] == {
        "webhookId": str(created.webhook.pk),
        "wallet": "alice",
    }
    assert (delivery().state, delivery().status) == ("delivered", 204)


def test_nothing_is_done_where_no_webhook_was_ever_created(alice: Wallet) -> None:
    happen(alice)
    began = time.monotonic()

    assert session.run() == 0

    assert (operations.WebhookMessage.objects.count(), time.monotonic() - began < 60) == (0, True)
