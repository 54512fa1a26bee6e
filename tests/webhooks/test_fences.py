"""
A sender that dies loses nothing, and one that was overtaken changes nothing: the steps between its statements, in turn.

A receiver may get a message twice, under one id: that is the most that a killed process can cause.
"""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from tests.concurrency.races import beside, race
from tests.webhooks.receiver import receiving
from trusts import operations as trusts
from trusts.models import Trust
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Event, Wallet
from wallets.sql_files import load
from wallets.states import EventType
from webhooks import operations
from webhooks.errors import TooManyWebhooks
from webhooks.models import FanOut, Webhook, WebhookDelivery, WebhookMessage
from webhooks.sender import deliveries, session
from webhooks.sender.deliveries import Claim, Result
from webhooks.sender.http import Answer, Client

URL = "http://127.0.0.1:9/hook"
OK = Answer(status=200, response="thanks")


def happen(wallet: Wallet, number: int = 1) -> None:
    wallets.record_events([(wallet.pk, EventType.LOGIN, {"wallet": wallet.name})] * number)


@pytest.fixture
def claimed(alice: Wallet) -> Claim:
    """A delivery that a worker has claimed and not sent yet."""
    operations.create(actor=alice, url=URL)
    happen(alice)
    operations.fan_out()
    [claim] = deliveries.claim(healthy=10, failing=10)
    return claim


def result_of(claim: Claim, answer: Answer = OK) -> Result:
    return Result(claim, answer, timezone.now(), 12)


def rows() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Webhook, WebhookDelivery, WebhookMessage)]


def take_over() -> Claim:
    WebhookDelivery.objects.update(lease_until=Now() - timedelta(seconds=1))
    [later] = deliveries.claim(healthy=10, failing=10)
    return later


def _taken_over(_: Wallet, claim: Claim) -> None:
    assert take_over().attempt == claim.attempt + 1


def _settled_by_another(_: Wallet, claim: Claim) -> None:
    assert deliveries.settle([result_of(take_over(), Answer(status=500))])


def _sent_again(alice: Wallet, claim: Claim) -> None:
    operations.resend(actor=alice, webhook_id=claim.webhook_id, delivery_id=claim.delivery_id)


def _disabled(alice: Wallet, claim: Claim) -> None:
    operations.change(actor=alice, webhook_id=claim.webhook_id, state=operations.WebhookState.DISABLED)


def _deleted(alice: Wallet, claim: Claim) -> None:
    operations.delete(actor=alice, webhook_id=claim.webhook_id)


@pytest.mark.parametrize("happens", [_taken_over, _settled_by_another, _sent_again, _disabled, _deleted])
@pytest.mark.parametrize("answer", [OK, Answer(status=410), Answer(error="timeout")])
def test_the_result_of_an_overtaken_attempt_changes_nothing(
    alice: Wallet, claimed: Claim, happens: Callable[[Wallet, Claim], None], answer: Answer
) -> None:
    happens(alice, claimed)
    before = rows(), Event.objects.count()

    assert deliveries.settle([result_of(claimed, answer)]) == set()

    assert (rows(), Event.objects.count()) == before


def test_a_result_is_written_once(alice: Wallet, claimed: Claim) -> None:
    assert deliveries.settle([result_of(claimed)]) == {claimed.delivery_id}
    before = rows()

    assert deliveries.settle([result_of(claimed, Answer(status=500))]) == set()

    assert rows() == before
    done = WebhookDelivery.objects.get()
    assert (done.state, done.status, done.response, done.milliseconds) == ("delivered", 200, "thanks", 12)


def test_attempts_are_those_that_were_begun(alice: Wallet, claimed: Claim) -> None:
    deliveries.settle([result_of(claimed)])
    for _ in range(2):
        _sent_again(alice, claimed)
    assert WebhookDelivery.objects.get().attempt == 1
    [again] = deliveries.claim(healthy=10, failing=10)
    assert deliveries.settle([result_of(again)])

    assert WebhookDelivery.objects.get().attempt == 2


def test_a_claim_is_of_one_worker_until_its_lease_ends(claimed: Claim) -> None:
    assert deliveries.claim(healthy=10, failing=10) == []
    assert take_over().delivery_id == claimed.delivery_id


class Killed(BaseException):
    """The process is gone."""


def _kill(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.parametrize(
    ("where", "name", "received"),
    [
        (operations, "_store", 0),
        (operations, "fan_out", 0),
        (deliveries, "claim", 0),
        (session, "_send", 0),
        (deliveries, "settle", 1),
        (deliveries, "_note", 1),
    ],
)
def test_a_killed_sender_loses_nothing_and_doubles_no_delivery(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, received: int
) -> None:
    """The process ends in place of the function; its transaction is rolled back, and its leases end later."""
    with receiving() as receiver:
        operations.create(actor=alice, url=receiver.url)
        happen(alice)
        with monkeypatch.context() as patch:
            patch.setattr(where, name, _kill)
            with pytest.raises(Killed):
                session.run()
        assert len(receiver.received) == received
        # After the leases of the delivery and of the sender.
        WebhookDelivery.objects.update(lease_until=Now() - timedelta(seconds=1))
        FanOut.objects.update(sender_until=Now() - timedelta(seconds=1))
        session.run()

    assert len(receiver.received) == received + 1
    assert len(set(receiver.ids())) == 1
    done = WebhookDelivery.objects.get()
    assert done.state == "delivered"


def test_a_session_claims_as_many_as_it_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to failing webhooks take no room from the others."""
    asked: list[dict[str, int]] = []
    monkeypatch.setattr(deliveries, "claim", lambda **room: asked.append(room) or [])
    monkeypatch.setattr(operations, "fan_out", lambda: 0)
    beginning = session._Session(lambda: Client(at_once=1), timedelta(seconds=60))
    flying: dict[Any, bool] = {"a": True, "b": True, "c": True, "d": False}
    beginning._flying = flying

    assert asyncio.run(beginning._begin(Client(at_once=1))) is False
    assert asked == [{"healthy": 99, "failing": 47}]


def test_a_second_sender_ends_at_once(alice: Wallet) -> None:
    with receiving() as receiver:
        operations.create(actor=alice, url=receiver.url)
        holder = deliveries.be_the_sender(holder=None)
        assert holder is not None
        happen(alice)
        assert session.run() == 0
        assert receiver.received == []
        deliveries.stop_sending(holder=holder)
        assert session.run() == 1


def test_a_clock_that_went_back_stops_no_sender_for_longer_than_its_lease(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that ends much later than one that begins now was given by a clock that was ahead."""
    operations.create(actor=alice, url=URL)
    lease = timedelta(hours=1)
    monkeypatch.setattr(deliveries, "SENDER_LEASE", lease)

    # Given a moment later, by the clock of its transaction.
    FanOut.objects.update(sender_until=Now() + lease + timedelta(minutes=10))
    assert deliveries.be_the_sender(holder=None) is None
    FanOut.objects.update(sender_until=Now() + 3 * lease)
    assert deliveries.be_the_sender(holder=None) is not None


def test_events_are_fanned_out_once_each_by_workers_at_the_same_time(alice: Wallet) -> None:
    operations.create(actor=alice, url=URL)
    happen(alice, 100)

    race([operations.fan_out] * 4)
    operations.fan_out()

    logins = Event.objects.filter(type="login").values_list("pk", flat=True)
    assert sorted(WebhookMessage.objects.values_list("pk", flat=True)) == sorted(logins)
    assert WebhookDelivery.objects.count() == 100


def test_an_event_that_commits_late_is_not_passed_over(alice: Wallet) -> None:
    """Its number is below that of an event that was visible before: the fan-out waits for it."""
    operations.create(actor=alice, url=URL)
    holds, goes_on = threading.Event(), threading.Event()

    def late() -> None:
        with operations.transaction.atomic():
            happen(alice)
            holds.set()
            assert goes_on.wait(60)
        connection.close()

    thread = threading.Thread(target=late)
    thread.start()
    assert holds.wait(60)
    happen(alice)
    operations.fan_out()
    assert WebhookDelivery.objects.count() == 0
    goes_on.set()
    thread.join()
    operations.fan_out()

    assert WebhookDelivery.objects.count() == 2


def test_a_wallet_never_has_more_than_ten(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(9):
        operations.create(actor=alice, url=URL)

    outcomes = race([lambda: operations.create(actor=alice, url=URL)] * 4)

    assert Webhook.objects.count() == 10
    assert sum(isinstance(each, TooManyWebhooks) for each in outcomes) == 3


def test_a_manager_who_lost_control_gets_nothing_more(alice: Wallet, bob: Wallet) -> None:
    with receiving() as receiver, receiving() as own:
        sapling = trusts.open_managed_wallet(actor=bob, name="sapling")
        theirs = operations.create(actor=bob, url=receiver.url, wallet="sapling")
        operations.create(actor=sapling, url=own.url)
        happen(sapling, 2)
        operations.fan_out()
        # What is claimed a moment after the end of the trust, what is created, and what happens later.
        trusts.end_trust(trust_id=Trust.objects.get().pk)
        assert {each.webhook_id for each in deliveries.claim(healthy=100, failing=100)} == {
            Webhook.objects.get(owner=sapling).pk
        }
        WebhookDelivery.objects.update(lease_until=None)
        happen(sapling)
        session.run()

    assert receiver.received == []
    assert "login" in own.types()
    lost = Webhook.objects.get(pk=theirs.webhook.pk)
    assert (lost.state, lost.disabled_by) == ("disabled", "control_lost")
    assert {each.state for each in lost.deliveries.all()} == {"cancelled"}
    assert Event.objects.get(type="webhook.disabled").wallet_id == sapling.pk


def test_a_webhook_that_is_deleted_during_a_fan_out_leaves_nothing_and_stops_nothing(alice: Wallet) -> None:
    """A delivery of a webhook that is gone would end the sender, and with it requests in flight."""
    gone, kept = (operations.create(actor=alice, url=URL).webhook for _ in range(2))
    happen(alice)

    with beside(lambda: operations.delete(actor=alice, webhook_id=gone.pk)) as outcomes:
        assert operations.fan_out()

    assert outcomes == [None]
    assert list(Webhook.objects.all()) == [kept]
    assert [each.webhook_id for each in WebhookDelivery.objects.all()] == [kept.pk]


@pytest.mark.parametrize("happening", ["cancelled", "claimed", "nothing"])
def test_a_delivery_that_is_cancelled_or_claimed_meanwhile_is_not_claimed(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch, happening: str
) -> None:
    """Between the moment of which the statement reads and its locks: there it waits for an advisory lock."""
    operations.create(actor=alice, url=URL)
    happen(alice)
    operations.fan_out()
    statement = load("webhooks", "claim", waiting=load("webhooks", "parts/waiting"))
    waiting = statement.replace("FROM due JOIN", "FROM (SELECT due.*, pg_advisory_xact_lock(7) FROM due) AS due JOIN")
    assert waiting != statement

    def claim() -> list[Claim]:
        monkeypatch.setattr(deliveries, "load", lambda app, name, **parts: waiting)
        return deliveries.claim(healthy=10, failing=10)

    with beside(claim) as outcomes, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7)")
        if happening == "cancelled":
            operations.disable(Webhook.objects.get(), by=operations.DisabledBy.OPERATOR)
        elif happening == "claimed":
            assert len(deliveries.claim(healthy=10, failing=10)) == 1

    assert [len(each) for each in outcomes] == [happening == "nothing"]
    delivery = WebhookDelivery.objects.get()
    assert (delivery.attempt, delivery.lease_until is None) == ((0, True) if happening == "cancelled" else (1, False))


def test_a_fan_out_passes_over_a_webhook_that_is_being_deleted(alice: Wallet) -> None:
    gone, kept = (operations.create(actor=alice, url=URL).webhook for _ in range(2))
    happen(alice)

    with beside(operations.fan_out) as outcomes:
        operations.delete(actor=alice, webhook_id=gone.pk)

    assert outcomes == [1]
    assert [each.webhook_id for each in WebhookDelivery.objects.all()] == [kept.pk]


def test_a_webhook_may_be_deleted_while_those_without_control_are_disabled(alice: Wallet, bob: Wallet) -> None:
    sapling = trusts.open_managed_wallet(actor=bob, name="sapling")
    gone, kept = (operations.create(actor=bob, url=URL, wallet="sapling").webhook for _ in range(2))
    trusts.end_trust(trust_id=Trust.objects.get().pk)

    with beside(operations.disable_without_control) as outcomes:
        operations.delete(actor=sapling, webhook_id=min(gone.pk, kept.pk))

    assert outcomes == [1]
    assert Webhook.objects.get().disabled_by == "control_lost"


def test_a_webhook_whose_owner_controls_the_wallet_again_meanwhile_is_not_disabled(alice: Wallet, bob: Wallet) -> None:
    sapling = trusts.open_managed_wallet(actor=bob, name="sapling")
    webhook = operations.create(actor=bob, url=URL, wallet="sapling").webhook
    trusts.end_trust(trust_id=Trust.objects.get().pk)

    with beside(operations.disable_without_control) as outcomes:
        operations.lock(webhook.pk)
        again = trusts.request_trust(actor=bob, requestee="sapling", request_type=TrustRequestType.MANAGE)
        trusts.accept_trust(actor=sapling, trust_id=again.id)

    assert outcomes == [0]
    assert Webhook.objects.get().state == "enabled"


def test_the_deliveries_of_a_webhook_that_is_enabled_meanwhile_are_not_cancelled(alice: Wallet) -> None:
    webhook = operations.create(actor=alice, url=URL).webhook
    happen(alice, 1)
    operations.fan_out()
    operations.change(actor=alice, webhook_id=webhook.pk, state=operations.WebhookState.DISABLED)
    WebhookDelivery.objects.update(state="pending")

    with beside(operations.cancel_of_disabled) as outcomes:
        operations.change(actor=alice, webhook_id=webhook.pk, state=operations.WebhookState.ENABLED)
        # As of an event that has happened since.
        WebhookDelivery.objects.update(state="pending")

    assert outcomes == [0]
    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {"pending"}


def test_many_pending_deliveries_are_cancelled_in_slices(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement for all of them would exceed its time limit, and undo the results of other webhooks with it."""
    monkeypatch.setattr(operations, "_CANCELLED_AT_ONCE", 2)
    webhook = operations.create(actor=alice, url=URL).webhook
    happen(alice, 5)
    operations.fan_out()
    disable = partial(operations.change, actor=alice, webhook_id=webhook.pk, state=operations.WebhookState.DISABLED)
    cancelled = WebhookDelivery.objects.filter(state="cancelled")

    disable()
    assert cancelled.count() == 2
    assert deliveries.claim(healthy=10, failing=10) == []
    assert [operations.cancel_of_disabled() for _ in range(3)] == [2, 1, 0]
    assert cancelled.count() == 5

    WebhookDelivery.objects.update(state="pending")
    operations.change(actor=alice, webhook_id=webhook.pk, state=operations.WebhookState.ENABLED)
    assert cancelled.count() == 5


def test_a_disabled_webhook_stays_as_it_was_disabled(alice: Wallet) -> None:
    operations.create(actor=alice, url=URL)
    operations.disable(Webhook.objects.get(), by=operations.DisabledBy.GONE)
    before, told = rows(), Event.objects.filter(type=EventType.WEBHOOK_DISABLED).count()

    for by in operations.DisabledBy:
        operations.disable(Webhook.objects.get(), by=by)

    assert (rows(), Event.objects.filter(type=EventType.WEBHOOK_DISABLED).count()) == (before, told)
    assert told == 1


def test_the_sender_cancels_what_disabled_webhooks_have_left(alice: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_CANCELLED_AT_ONCE", 2)
    with receiving() as receiver:
        operations.create(actor=alice, url=receiver.url)
        happen(alice, 3)
        operations.fan_out()
        operations.disable(Webhook.objects.get(), by=operations.DisabledBy.OPERATOR)
        session.run()

    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {"cancelled"}
    assert receiver.received == []
