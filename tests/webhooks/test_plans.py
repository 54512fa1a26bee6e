"""What statements of webhooks read does not grow with the tables, whatever the statistics say."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.utils import timezone

from tests.support import large_world
from tests.support.statement_plans import KNOWN, Walk, know
from tests.tables import empty_tables
from webhooks import operations, queries, reports
from webhooks.models import Webhook, WebhookDelivery
from webhooks.sender import deliveries
from webhooks.sender.deliveries import Result
from webhooks.sender.http import Answer
from webhooks.states import GIVEN_UP_AFTER, DisabledBy, WebhookState

URL = "http://127.0.0.1:9/"


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        try:
            large_world.write("wallets", "webhooks", "transfers")
            yield
        finally:
            empty_tables()


@pytest.mark.django_db
@pytest.mark.parametrize("known", KNOWN)
def test_what_a_statement_reads(world: None, known: str, settings: LazySettings) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    busy, other, disabled = map(hook, (1, 2, 9))
    sent = WebhookDelivery.objects.filter(webhook=busy, state="delivered").order_by("created_at")[5]
    claims = deliveries.claim(healthy=100, failing=50)
    assert len(claims) == 100
    know(known)
    walk = Walk(operations, queries, reports, deliveries)
    _send(walk, claims)
    for name, webhook in ("of many deliveries", busy), ("of one", other):
        _change(walk, name, webhook)
        _read(walk, name, webhook)
    with walk.step("enable"):
        operations.change(actor=disabled.wallet, webhook_id=disabled.pk, state=WebhookState.ENABLED)
    with walk.step("create"):
        operations.create(actor=other.wallet, url=URL)
    with walk.step("send again"):
        operations.resend(actor=busy.wallet, webhook_id=busy.pk, delivery_id=sent.pk)
    with walk.step("delete"):
        operations.delete(actor=other.wallet, webhook_id=other.pk)
    with walk.step("delete with many deliveries", whole="it deletes them"):
        operations.delete(actor=busy.wallet, webhook_id=busy.pk)
    with walk.step("tile", whole="once a minute it counts webhooks, of which there are few for each wallet"):
        reports.trouble()
        reports.given_up(limit=10)

    assert walk.too_much() == []
    assert walk.missed() == []


def hook(number: int) -> Webhook:
    return Webhook.objects.select_related("wallet", "owner").get(pk=large_world.id_of(2, number))


def _send(walk: Walk, claims: list[deliveries.Claim]) -> None:
    """What the sender does each second."""
    now = timezone.now()
    with walk.step("sender"):
        holder = deliveries.be_the_sender(holder=None)
        assert holder is not None
        deliveries.stop_sending(holder=holder)
    with walk.step("without control"):
        # One that its owner does not control.
        Webhook.objects.filter(pk=large_world.id_of(2, 3)).update(owner=large_world.id_of(1, 4))
        assert operations.disable_without_control() == 1
    # Some 600 events.
    with walk.step("fan-out", most=8_000):
        assert operations.fan_out() >= 400
    with walk.step("claim"):
        deliveries.claim(healthy=100, failing=50)
    with walk.step("results"):
        answers = Answer(status=200), Answer(status=500)
        deliveries.settle([Result(each, answers[number % 2], now, 5) for number, each in enumerate(claims)])
    with walk.step("result of one that answers again, and of one that is gone"):
        Webhook.objects.filter(pk=claims[0].webhook_id).update(failing_since=now - GIVEN_UP_AFTER)
        deliveries.settle([Result(claims[0], Answer(status=200), now, 5)])
        deliveries.settle([Result(claims[1], Answer(status=410), now, 5)])
    with walk.step("cancel of disabled"), connection.cursor() as cursor:
        cursor.execute("UPDATE webhooks_webhookdelivery SET state = 'pending' WHERE webhook_id = %s", [hook(9).pk])
        assert operations.cancel_of_disabled() == 1


def _change(walk: Walk, name: str, webhook: Webhook) -> None:
    with walk.step(f"change {name}"):
        operations.change(actor=webhook.wallet, webhook_id=webhook.pk, url=URL, state=WebhookState.DISABLED)
    with walk.step(f"disable {name}"), transaction.atomic():
        operations.disable(operations.lock(webhook.pk), by=DisabledBy.GONE)
    with walk.step(f"secret {name}"):
        operations.rotate_secret(actor=webhook.wallet, webhook_id=webhook.pk)
    with walk.step(f"test {name}"):
        operations.send_test(actor=webhook.wallet, webhook_id=webhook.pk)


def _read(walk: Walk, name: str, webhook: Webhook) -> None:
    actor, position = webhook.wallet, (timezone.now() - timedelta(hours=2), webhook.pk)
    for after in None, position:
        with walk.step(f"webhooks of the wallet {name}"):
            queries.webhooks_visible_to(actor_id=actor.pk, wallet=None, limit=10, after=after)
            queries.webhooks_visible_to(actor_id=actor.pk, wallet=actor.name, limit=10, after=after)
        for state in None, "pending", "failed", "cancelled", "delivered":
            with walk.step(f"deliveries {name} that are {state} before {after}"):
                queries.deliveries_of(webhook=webhook, state=state, limit=10, before=after)
    with walk.step(f"webhook {name}"):
        queries.webhook_visible_to(actor_id=actor.pk, webhook_id=webhook.pk)
