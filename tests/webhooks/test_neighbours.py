"""Each operation and statement of webhooks changes its rows and no row beside them, at each of its conditions alone."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from transfers import events
from trusts import operations as trusts
from trusts.states import TrustRequestType
from wallets import operations as wallets
from wallets.models import Wallet
from wallets.states import EventType
from webhooks import operations, queries, reports
from webhooks.errors import DeliveryNotFound, SecretOfAnotherWallet, UrlOfAnotherWallet, WebhookIsDisabled
from webhooks.models import FanOut, Webhook, WebhookDelivery, WebhookMessage
from webhooks.sender import deliveries
from webhooks.sender.deliveries import Claim, Result
from webhooks.sender.http import Answer
from webhooks.states import RETRY_DELAYS, DeliveryState, DisabledBy, WebhookState

URL = "http://127.0.0.1:9/hook"
SECOND = timedelta(seconds=1)
PAST, FAR = datetime(2020, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
ALL = (Webhook, WebhookDelivery, WebhookMessage)

Rows = dict[tuple[type[Model], Any], dict[str, Any]]


@pytest.fixture
def alice(db: None) -> Wallet:
    return wallets.create_wallet(name="alice")


@pytest.fixture
def bob(db: None) -> Wallet:
    return wallets.create_wallet(name="bobby")


def rows() -> Rows:
    return {(model, row["id"]): row for model in ALL for row in model.objects.values()}


def changes(operation: Callable[[], object]) -> Any:
    """Return what an operation changed: the columns of each row, all of a row that is new or gone."""
    before = rows()
    operation()
    after = rows()
    return {
        key: {name for name in (after.get(key) or before[key]) if (before.get(key) or {}).get(name, key) !=
              (after.get(key) or {}).get(name, key)}
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }  # fmt: skip


def a_webhook(wallet: Wallet, **fields: Any) -> Webhook:
    given = {"wallet": wallet, "owner": wallet, "url": URL, "secret": b"sealed", "after_number": 0} | fields
    if given.get("state") == WebhookState.DISABLED:
        given = {"disabled_by": DisabledBy.OPERATOR, "disabled_at": timezone.now()} | given
    return Webhook.objects.create(**given)


def a_delivery(webhook: Webhook, **fields: Any) -> WebhookDelivery:
    message = WebhookMessage.objects.create(type="login", body="{}")
    delivery = WebhookDelivery.objects.create(
        webhook=webhook, message=message, due_at=fields.pop("due_at", PAST), **fields
    )
    delivery.refresh_from_db(fields=["created_at"])
    return delivery


def begun_at() -> datetime:
    """Return the time of the transaction of the test: `now()` of each statement in it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        (at,) = cursor.fetchone()
    assert isinstance(at, datetime)
    return at


def stocked(webhook: Webhook) -> dict[str, WebhookDelivery]:
    """A delivery in each state."""
    return {state: a_delivery(webhook, state=state, failures=2) for state in DeliveryState}


def webhook_row(webhook: Webhook) -> Any:
    return (Webhook, webhook.pk)


def delivery_row(delivery: WebhookDelivery) -> Any:
    return (WebhookDelivery, delivery.pk)


def test_each_operation_changes_its_webhook_alone(alice: Wallet, bob: Wallet) -> None:
    mine = a_webhook(alice, failing_since=timezone.now())
    held = stocked(mine)
    for other in (alice, bob):
        stocked(a_webhook(other))
        stocked(a_webhook(other, state=WebhookState.DISABLED))
    WebhookDelivery.objects.filter(webhook__state="disabled", state="pending").delete()
    named: Any = {"actor": alice, "webhook_id": mine.pk}

    assert changes(lambda: operations.change(**named, event_types=["b", "a", "b"])) == {
        webhook_row(mine): {"event_types", "changed_at"}
    }
    mine.refresh_from_db()
    assert mine.event_types == ["a", "b"]
    assert changes(lambda: operations.change(**named, url=f"{URL}/2")) == {webhook_row(mine): {"url", "changed_at"}}
    assert set(changes(lambda: operations.change(**named))) == {webhook_row(mine)}
    assert changes(lambda: operations.rotate_secret(**named)) == {
        webhook_row(mine): {"secret", "previous_secret", "previous_until", "changed_at"}
    }
    again = held["failed"]
    assert changes(lambda: operations.resend(**named, delivery_id=again.pk)) == {
        delivery_row(again): {"state", "failures", "due_at"}
    }
    new = set(changes(lambda: operations.send_test(**named)))
    assert {model for model, _ in new} == {WebhookDelivery, WebhookMessage}
    # It is enabled: what waits is not cancelled, and nothing is passed over.
    assert changes(lambda: operations.change(**named, state=WebhookState.ENABLED)) == {
        webhook_row(mine): {"changed_at"}
    }
    pending = WebhookDelivery.objects.filter(webhook=mine, state="pending")
    expected = {delivery_row(each): {"state"} for each in pending}
    assert len(expected) == 3
    assert changes(lambda: operations.change(**named, state=WebhookState.DISABLED)) == expected | {
        webhook_row(mine): {"state", "disabled_by", "disabled_at", "changed_at"}
    }
    mine.refresh_from_db()
    assert (mine.disabled_by, pending.all().count()) == ("request", 0)
    # A second time nothing happens.
    assert changes(lambda: operations.disable(Webhook.objects.get(pk=mine.pk), by=DisabledBy.OPERATOR)) == {}
    for refused in (
        lambda: operations.send_test(**named),
        lambda: operations.resend(**named, delivery_id=again.pk),
    ):
        with pytest.raises(WebhookIsDisabled):
            refused()
    FanOut.objects.update_or_create(id=1, defaults={"number": 7})
    wallets.record_events([(bob.pk, EventType.LOGIN, {})])
    assert changes(lambda: operations.change(**named, state=WebhookState.ENABLED)) == {
        webhook_row(mine): {"state", "disabled_by", "disabled_at", "failing_since", "after_number", "changed_at"}
    }
    assert changes(lambda: operations.enable(Webhook.objects.get(pk=mine.pk))) == {}
    foreign = WebhookDelivery.objects.filter(webhook__wallet=bob).first()
    assert foreign is not None
    with pytest.raises(DeliveryNotFound):
        operations.resend(**named, delivery_id=foreign.pk)
    gone = {key for key in rows() if key[1] == mine.pk} | {
        delivery_row(each) for each in WebhookDelivery.objects.filter(webhook=mine)
    }
    assert set(changes(lambda: operations.delete(**named))) == gone


def test_what_a_manager_changes_is_its_own_and_what_it_reads_is_the_wallets(alice: Wallet) -> None:
    sapling = trusts.open_managed_wallet(actor=alice, name="sapling")
    own = operations.create(actor=sapling, url=URL).webhook

    with pytest.raises(SecretOfAnotherWallet):
        operations.rotate_secret(actor=sapling, webhook_id=operations.create(
            actor=alice, url=URL, wallet="sapling").webhook.pk)  # fmt: skip
    assert operations.change(actor=alice, webhook_id=own.pk, event_types=["login"]).owner_id == sapling.pk
    assert operations.change(actor=alice, webhook_id=own.pk, url=URL).owner_id == alice.pk
    operations.change(actor=sapling, webhook_id=own.pk, state=WebhookState.DISABLED)
    Webhook.objects.filter(pk=own.pk).update(owner=wallets.create_wallet(name="other"))
    before = rows()
    with pytest.raises(UrlOfAnotherWallet):
        operations.change(actor=sapling, webhook_id=own.pk, state=WebhookState.ENABLED)
    assert {key: row for key, row in rows().items() if row != before[key]} == {} or not before


def test_a_secret_that_was_replaced_signs_for_a_day(alice: Wallet) -> None:
    webhook = a_webhook(alice)
    rotated = operations.rotate_secret(actor=alice, webhook_id=webhook.pk).webhook

    assert rotated.previous_until is not None
    assert rotated.previous_until - rotated.changed_at == timedelta(hours=24)
    assert bytes(Webhook.objects.values_list("previous_secret", flat=True).get() or b"") == b"sealed"
    a_delivery(webhook)
    for until, secret in ((begun_at(), None), (FAR, b"sealed")):
        Webhook.objects.update(previous_until=until)
        WebhookDelivery.objects.update(lease_until=None)
        assert [each.previous_secret for each in deliveries.claim(healthy=1, failing=1)] == [secret]


def with_another_manager(alice: Wallet, bob: Wallet) -> Webhook:
    """A webhook of alice whose owner may send to her only, while another wallet manages her, and the owner another."""
    carol, dora = (wallets.create_wallet(name=name) for name in ("carol", "dorothy"))
    for actor, target, kind in (
        (bob, alice, TrustRequestType.SEND),
        (carol, alice, TrustRequestType.MANAGE),
        (bob, dora, TrustRequestType.MANAGE),
    ):
        trust = trusts.request_trust(actor=actor, requestee=target.name, request_type=kind)
        trusts.accept_trust(actor=target, trust_id=trust.id)
    webhook = a_webhook(alice, owner=bob)
    a_webhook(alice, owner=carol)
    return webhook


def test_a_webhook_whose_owner_has_not_this_power_over_this_wallet_gets_nothing(alice: Wallet, bob: Wallet) -> None:
    FanOut.objects.create(id=1, number=0)
    lost = with_another_manager(alice, bob)
    held = {a_delivery(webhook).pk: webhook.pk for webhook in Webhook.objects.all()}

    claims = deliveries.claim(healthy=10, failing=10)

    assert [each.delivery_id for each in claims] == [key for key, webhook in held.items() if webhook != lost.pk]
    wallets.record_events([(alice.pk, EventType.LOGIN, {})])
    happened = events.events_between(wallet_ids=[alice.pk], after=0, upto=events.settled_number())[-1:]
    operations._store(happened)
    made = WebhookDelivery.objects.exclude(pk__in=held)
    assert [each.webhook_id for each in made] == [each for each in held.values() if each != lost.pk]
    a_webhook(alice, owner=bob, state=WebhookState.DISABLED)
    assert operations.disable_without_control() == 1
    assert [each.pk for each in Webhook.objects.filter(disabled_by="control_lost")] == [lost.pk]


# What is claimed, beside what differs from it in one thing.
@pytest.mark.parametrize(
    ("of_webhook", "of_delivery", "is_claimed"),
    [
        ({}, {}, True),
        ({}, {"due_at": FAR}, False),
        ({}, {"lease_until": FAR}, False),
        ({}, {"lease_until": PAST}, True),
        ({}, {"state": "delivered"}, False),
        ({}, {"state": "failed"}, False),
        ({}, {"state": "cancelled"}, False),
        ({"state": "disabled"}, {}, False),
        ({"failing_since": PAST}, {}, True),
    ],
)
def test_what_is_claimed(alice: Wallet, of_webhook: Any, of_delivery: Any, is_claimed: bool) -> None:
    due = a_delivery(a_webhook(alice))
    other = a_delivery(a_webhook(alice, **of_webhook), attempt=3, **of_delivery)

    claims = deliveries.claim(healthy=10, failing=10)

    assert {each.delivery_id for each in claims} == {due.pk, *([other.pk] if is_claimed else [])}
    found = {each.delivery_id: each for each in claims}
    assert (found[due.pk].attempt, found[due.pk].is_failing, found[due.pk].url) == (1, False, URL)
    if is_claimed:
        assert found[other.pk].attempt == 4
        assert found[other.pk].is_failing == ("failing_since" in of_webhook)
        assert found[other.pk].message_id == other.message_id
    row = WebhookDelivery.objects.get(pk=due.pk)
    assert row.lease_until == begun_at() + timedelta(seconds=45)


def test_of_failing_webhooks_and_of_others_as_many_are_claimed_as_there_is_room_for(alice: Wallet) -> None:
    for failing_since in (None, timezone.now()):
        for number in range(3):
            webhook = a_webhook(alice, failing_since=failing_since)
            for place in range(7):
                a_delivery(webhook, due_at=timezone.now() - timedelta(days=1) + (10 * place + number) * SECOND)

    for healthy, failing, numbers in ((0, 0, (0, 0)), (4, 0, (4, 0)), (0, 2, (0, 2)), (100, 100, (15, 3))):
        WebhookDelivery.objects.update(lease_until=None)
        claims = deliveries.claim(healthy=healthy, failing=failing)
        assert (sum(not each.is_failing for each in claims), sum(each.is_failing for each in claims)) == numbers
        # Those that were due first.
        for is_failing in (False, True):
            claimed = WebhookDelivery.objects.filter(pk__in=[each.delivery_id for each in claims],
                                                     webhook__failing_since__isnull=not is_failing)  # fmt: skip
            left = WebhookDelivery.objects.filter(webhook__in=claimed.values("webhook")).exclude(pk__in=claimed)
            for webhook_id in set(claimed.values_list("webhook_id", flat=True)):
                last = claimed.filter(webhook_id=webhook_id).order_by("-due_at")[0].due_at
                assert last < left.filter(webhook_id=webhook_id).order_by("due_at")[0].due_at
        if (healthy, failing) == (4, 0):
            assert set(
                WebhookDelivery.objects.filter(pk__in=[each.delivery_id for each in claims]).order_by("due_at")
            ) == (set(WebhookDelivery.objects.filter(webhook__failing_since=None).order_by("due_at")[:4]))
    # Leases that ended take no room, and those that run do.
    WebhookDelivery.objects.update(lease_until=None)
    one = WebhookDelivery.objects.filter(webhook__failing_since=None).order_by("webhook_id", "due_at")[:3]
    WebhookDelivery.objects.filter(pk__in=[each.pk for each in one]).update(lease_until=FAR)
    assert len(deliveries.claim(healthy=100, failing=0)) == 12
    WebhookDelivery.objects.update(lease_until=PAST)
    assert len(deliveries.claim(healthy=100, failing=0)) == 15


def test_an_event_goes_to_the_webhooks_that_want_it_in_its_place(alice: Wallet, bob: Wallet) -> None:
    FanOut.objects.create(id=1, number=0)
    wanted = [a_webhook(alice), a_webhook(alice, event_types=["login", "other"])]
    for unwanted in (
        {"event_types": ["other"]},
        {"state": WebhookState.DISABLED},
        {"after_number": 2**62},
        {"owner": bob},
    ):
        a_webhook(alice, **unwanted)
    a_webhook(bob)
    wallets.record_events([(alice.pk, EventType.LOGIN, {"number": number}) for number in range(3)])
    settled = events.settled_number()
    happened = events.events_between(wallet_ids=[alice.pk], after=0, upto=settled)
    logins = [event for event in happened if event.type == "login"]

    operations._store(logins)

    for webhook in wanted:
        made = WebhookDelivery.objects.filter(webhook=webhook).order_by("due_at")
        assert [each.message_id for each in made] == [event.id for event in logins]
        assert {(each.state, each.attempt, each.failures) for each in made} == {("pending", 0, 0)}
    assert WebhookDelivery.objects.count() == 2 * len(logins) == 6
    # What a webhook has reached is not sent to it again.
    a_webhook(alice, after_number=logins[1].number)
    WebhookMessage.objects.all().delete()
    operations._store(logins)
    newest = Webhook.objects.get(after_number=logins[1].number)
    assert [each.message_id for each in newest.deliveries.all()] == [logins[2].id]


def claimed(delivery: WebhookDelivery, **fields: Any) -> Claim:
    webhook = delivery.webhook
    given = {
        "delivery_id": delivery.pk, "created_at": delivery.created_at, "attempt": 1, "failures": delivery.failures,
        "webhook_id": webhook.pk, "is_failing": False, "url": URL, "secret": b"", "previous_secret": None,
        "message_id": uuid.uuid4(), "body": "",
    }  # fmt: skip
    return Claim(**{**given, **fields})


def leased(webhook: Webhook, **fields: Any) -> WebhookDelivery:
    return a_delivery(webhook, attempt=1, lease_until=FAR, **fields)


def test_each_result_is_written_to_its_delivery(alice: Wallet) -> None:
    webhook, quiet = a_webhook(alice), a_webhook(alice)
    at = timezone.now() - timedelta(minutes=3)
    given = [leased(webhook), leased(webhook, failures=1), leased(quiet, failures=9)]
    leased(webhook)
    answers = [Answer(status=204, response="yes"), Answer(status=500, response="no"), Answer(error="timeout")]
    results = [
        Result(claimed(delivery), answer, at + number * SECOND, number)
        for number, (delivery, answer) in enumerate(zip(given, answers, strict=True))
    ]

    changed = changes(lambda: deliveries.settle(results))

    assert set(changed) == {*map(delivery_row, given), webhook_row(webhook), webhook_row(quiet)}
    first, second, third = (WebhookDelivery.objects.get(pk=each.pk) for each in given)
    told = [
        (each.state, each.failures, each.lease_until, each.sent_at, each.milliseconds, each.status, each.error,
         each.response)
        for each in (first, second, third)
    ]  # fmt: skip
    assert told == [
        ("delivered", 0, None, at, 0, 204, "", "yes"),
        ("pending", 2, None, at + SECOND, 1, 500, "", "no"),
        ("failed", 10, None, at + 2 * SECOND, 2, None, "timeout", ""),
    ]
    assert first.due_at == third.due_at == PAST
    assert RETRY_DELAYS[1] <= second.due_at - begun_at() <= RETRY_DELAYS[1] * 1.2
    # Of the last result of each.
    assert [Webhook.objects.get(pk=each.pk).failing_since for each in (webhook, quiet)] == [
        at + SECOND,
        at + 2 * SECOND,
    ]


@pytest.mark.parametrize(
    ("failures", "answer", "state", "after", "least", "most"),
    [
        (0, Answer(status=200), "delivered", 0, None, None),
        (4, Answer(status=299), "delivered", 4, None, None),
        (0, Answer(status=199), "pending", 1, 5, 6),
        (0, Answer(status=300), "pending", 1, 5, 6),
        (8, Answer(status=500), "pending", 9, 86_400, 1.2 * 86_400),
        (9, Answer(status=500), "failed", 10, None, None),
        (0, Answer(status=410), "failed", 1, None, None),
        (0, Answer(status=409), "pending", 1, 5, 6),
        (0, Answer(error="timeout"), "pending", 1, 5, 6),
        (0, Answer(status=503, retry_after=timedelta(seconds=2)), "pending", 1, 5, 6),
        (0, Answer(status=503, retry_after=timedelta(minutes=2)), "pending", 1, 120, 120),
    ],
)
def test_what_comes_after_an_answer(
    alice: Wallet, failures: int, answer: Answer, state: str, after: int, least: float | None, most: float | None
) -> None:
    delivery = WebhookDelivery(webhook=Webhook(wallet=alice), failures=failures)

    found = deliveries._next(Result(claimed(delivery), answer, timezone.now(), 1))

    assert (found.state, found.failures, found.delay is None) == (state, after, least is None)
    assert found.delay is None or (least or 0) <= found.delay <= (most or 0)


@pytest.mark.parametrize(
    ("failing_for", "answer", "state", "is_failing_since_then"),
    [
        (None, Answer(status=200), "", False),
        (None, Answer(status=500), "", False),
        (timedelta(days=4, hours=23), Answer(status=200), "", False),
        (timedelta(days=4, hours=23), Answer(status=500), "", True),
        (timedelta(days=5), Answer(status=500), "failures", True),
        (timedelta(days=5), Answer(status=200), "", False),
        (timedelta(days=5), Answer(status=410), "gone", True),
        (None, Answer(status=410), "gone", False),
    ],
)
def test_what_an_attempt_says_of_a_webhook(
    alice: Wallet, failing_for: timedelta | None, answer: Answer, state: str, is_failing_since_then: bool
) -> None:
    at = timezone.now()
    since = None if failing_for is None else at - failing_for
    webhook = a_webhook(alice, failing_since=since)
    delivery = leased(webhook)

    deliveries.settle([Result(claimed(delivery), answer, at, 1)])

    webhook.refresh_from_db()
    assert (webhook.state, webhook.disabled_by) == ("disabled" if state else "enabled", state)
    assert webhook.failing_since == (since if is_failing_since_then else None if answer.is_success else at)


def test_the_lease_of_the_sender_is_kept_by_its_holder_alone(alice: Wallet) -> None:
    FanOut.objects.create(id=1, number=0, sender_until=PAST)
    until = deliveries.be_the_sender(holder=None)
    assert until is not None
    assert until == begun_at() + timedelta(seconds=20)

    assert deliveries.be_the_sender(holder=None) is None
    assert deliveries.be_the_sender(holder=until - SECOND) is None
    deliveries.stop_sending(holder=until - SECOND)
    assert deliveries.be_the_sender(holder=None) is None
    assert deliveries.be_the_sender(holder=until) == until
    deliveries.stop_sending(holder=until)
    assert deliveries.be_the_sender(holder=None) == until


def test_operators_are_told_of_webhooks_that_fail_now_or_were_given_up_lately(alice: Wallet) -> None:
    now = timezone.now()
    a_webhook(alice)
    a_webhook(alice, failing_since=now)
    a_webhook(alice, failing_since=now, state=WebhookState.DISABLED)
    for by in DisabledBy:
        for days in (6, 8):
            a_webhook(alice, state=WebhookState.DISABLED, disabled_by=by, disabled_at=now - timedelta(days=days))

    assert reports.trouble() == reports.Trouble(total=13, failing=1, given_up=3)


def test_lists_go_on_where_a_page_ended_also_between_equal_times(alice: Wallet, bob: Wallet) -> None:
    at = timezone.now()
    for _ in range(3):
        a_webhook(alice, created_at=at)
    a_webhook(alice, created_at=at - SECOND)
    a_webhook(alice, created_at=at + SECOND)
    a_webhook(bob, created_at=at)
    every = sorted(Webhook.objects.filter(wallet=alice), key=lambda each: (each.created_at, each.pk))

    def page(**more: Any) -> list[Webhook]:
        return queries.webhooks_visible_to(actor_id=alice.pk, wallet=None, limit=2, **more)

    assert page() == every[:2]
    assert page(offset=3) == every[3:]
    assert [page(after=(each.created_at, each.pk)) for each in every] == [
        every[place : place + 2] for place in range(1, 6)
    ]

    webhook = every[0]
    for state in ("delivered", "failed", "delivered"):
        a_delivery(webhook, state=state, created_at=at)
    a_delivery(webhook, state="delivered", created_at=at + SECOND)
    a_delivery(every[1], state="delivered", created_at=at)
    for wanted in (None, "delivered", "pending"):
        found = sorted(
            (each for each in WebhookDelivery.objects.filter(webhook=webhook) if wanted in (None, each.state)),
            key=lambda each: (each.created_at, each.pk),
            reverse=True,
        )
        assert queries.deliveries_of(webhook=webhook, state=wanted, limit=2) == found[:2]
        assert queries.deliveries_of(webhook=webhook, state=wanted, limit=2, offset=1) == found[1:3]
        for place, each in enumerate(found, start=1):
            after = queries.deliveries_of(webhook=webhook, state=wanted, limit=2, before=(each.created_at, each.pk))
            assert after == found[place : place + 2]


def test_the_fan_out_never_goes_back(db: None) -> None:
    """What is settled may end earlier than before, as after a recovery: events would be sent a second time."""
    ahead = events.settled_number() + 5
    FanOut.objects.create(id=1, number=ahead)

    assert operations.fan_out() == 0

    assert FanOut.objects.get().number == ahead
