"""Operators' actions on webhooks and deliveries."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.support.desk_pages import confirm, url
from wallets.models import Event, OperatorAction
from webhooks import operations
from webhooks.models import Webhook, WebhookDelivery

pytestmark = pytest.mark.django_db


def shown(desk: Client, row: Any) -> str:
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return desk.get(reverse(name, args=[row.pk])).content.decode()


def test_an_operator_disables_and_enables_a_webhook(desk: Client, ledger: SimpleNamespace) -> None:
    webhook = ledger.webhook

    assert confirm(desk, url("disable-webhook", webhook), reason="asked for by phone").status_code == 302

    webhook = Webhook.objects.get()
    assert (webhook.state, webhook.disabled_by) == ("disabled", "operator")
    assert WebhookDelivery.objects.get().state == "cancelled"
    event = Event.objects.get(type="webhook.disabled")
    assert event.payload == {"webhookId": str(webhook.pk), "disabledBy": "operator", "operator": True}
    for action in ("disable-webhook", "test-webhook"):
        assert desk.get(url(action, webhook)).status_code == 409
    assert desk.get(url("resend-delivery", ledger.delivery)).status_code == 409

    assert confirm(desk, url("enable-webhook", webhook)).status_code == 302
    assert Webhook.objects.get().state == "enabled"
    assert [each.verb for each in OperatorAction.objects.order_by("id")][-2:] == ["disabled_webhook", "enabled_webhook"]


def test_an_operator_sends_a_test_and_a_delivery_again(desk: Client, ledger: SimpleNamespace) -> None:
    delivery = ledger.delivery
    WebhookDelivery.objects.update(state="delivered", attempt=1, status=200)

    assert confirm(desk, url("resend-delivery", delivery)).status_code == 302
    assert confirm(desk, url("test-webhook", ledger.webhook)).status_code == 302

    assert WebhookDelivery.objects.get(pk=delivery.pk).state == "pending"
    assert WebhookDelivery.objects.count() == 2


def test_no_page_shows_a_secret_or_the_query_of_a_url(desk: Client, ledger: SimpleNamespace) -> None:
    secret = operations.rotate_secret(actor=ledger.alice, webhook_id=ledger.webhook.pk).secret
    lists = [
        desk.get(reverse(f"admin:webhooks_{name}_{what}"))
        for name in ("webhook", "webhookdelivery")
        for what in ("changelist", "csv")
    ]
    texts = [shown(desk, ledger.webhook), shown(desk, ledger.delivery)]
    texts += ["".join(map(bytes.decode, each)) if each.streaming else each.content.decode() for each in lists]

    for text in texts:
        assert "https://shop.example/hook" in text or "webhook.test" in text
        assert "token=secret" not in text
        assert secret.removeprefix("whsec_") not in text
