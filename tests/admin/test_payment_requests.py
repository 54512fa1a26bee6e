"""The desk's pages of payment requests: their payments, and cancelling one."""

import secrets
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from config.admin import roles
from lockers.models import LockerTask, Payment, PaymentRequest
from lockers.operations import payment_requests as operations
from lockers.raida.coins import UNITS_PER_COIN
from tests.lockers.stock import stock
from tests.support.desk_pages import confirm, confirmation, text_of, url
from wallets import operations as wallets
from wallets.models import Event, OperatorAction, Wallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Wallet:
    return wallets.create_wallet(name="alice", password="correct horse")


@pytest.fixture
def bob() -> Wallet:
    bob = wallets.create_wallet(name="bobby", password="battery staple")
    stock(bob, *[0] * 9)
    return bob


def ask(payee: Wallet, **more: Any) -> PaymentRequest:
    return operations.create(
        actor=payee, name=None, units=5 * UNITS_PER_COIN, description="Two seedlings", reference="order-1042", **more
    )


def page(desk: Client, request: PaymentRequest) -> Any:
    return text_of(desk.get(reverse("admin:lockers_paymentrequest_change", args=[request.pk])))


def test_a_page_shows_the_request_and_its_payments(desk: Client, alice: Wallet, bob: Wallet) -> None:
    request = ask(alice)
    operations.pay(actor=bob, request_id=request.pk)
    task = LockerTask.objects.create(
        kind="take", wallet=alice, actor=alice, state="error", step="done", message="Nothing was taken.",
        receipt_id=secrets.token_hex(16), deadline="2026-01-01T00:00Z", finished_at=Now(), code=b"never-shown",
    )  # fmt: skip
    Payment.objects.create(request=request, task=task, state="failed", settled_at=Now())

    shown = page(desk, request)

    for words in ("paid", "Two seedlings", "order-1042", "bobby", "a code without a login", "Nothing was taken."):
        assert words in shown
    assert "never-shown" not in shown
    listed = text_of(desk.get(reverse("admin:lockers_paymentrequest_changelist"), {"reference": "order-1042"}))
    assert "Two seedlings" in listed
    assert "is paid, and that is final" in page(desk, request)


def test_a_list_finds_what_has_expired_by_now(desk: Client, alice: Wallet) -> None:
    ask(alice)
    PaymentRequest.objects.update(expires_at=Now())
    path = reverse("admin:lockers_paymentrequest_changelist")
    assert "Two seedlings" in text_of(desk.get(path, {"state": "expired"}))
    assert "Two seedlings" not in text_of(desk.get(path, {"state": "open"}))


def test_an_operator_cancels_a_request(desk: Client, alice: Wallet) -> None:
    request = ask(alice)
    _, consequences = confirmation(desk, url("cancel-payment-request", request))
    assert consequences == [
        "The request of alice to be paid 5 CloudCoin is cancelled in its name. That is final. The payee gets an event.",
        "Nothing was paid so far.",
        "No payment is on its way.",
    ]

    confirm(desk, url("cancel-payment-request", request), reason="asked for by phone")

    request.refresh_from_db()
    assert request.state == "cancelled"
    event = Event.objects.get(wallet=alice, type="payment_request.cancelled")
    assert event.payload["operator"] is True
    action = OperatorAction.objects.get()
    assert (action.verb, action.object_kind, action.object_id, action.after["in_the_name_of"]) == (
        "ended_payment_request", "payment request", str(request.pk), "alice",
    )  # fmt: skip
    assert "cancelled a payment request" in page(desk, request)
    refused = desk.get(url("cancel-payment-request", request))
    assert "it is cancelled, and that is final" in text_of(refused)


def test_a_payment_after_the_preview_is_told_and_nothing_is_cancelled(desk: Client, alice: Wallet, bob: Wallet) -> None:
    request = ask(alice)
    sent, _ = confirmation(desk, url("cancel-payment-request", request))
    operations.pay(actor=bob, request_id=request.pk)

    response = desk.post(url("cancel-payment-request", request), {**sent, "reason": "late"})

    assert response.status_code == 409
    request.refresh_from_db()
    assert request.state == "paid"
    assert not OperatorAction.objects.exists()


@pytest.mark.parametrize(("role", "status"), [(roles.VIEWER, 403), (roles.OPERATOR, 200), (roles.ADMINISTRATOR, 200)])
def test_roles_decide_who_cancels(role: str, status: int, alice: Wallet) -> None:
    request = ask(alice)
    roles.ensure()
    person = User.objects.create_user("pat", password="a long password", is_staff=True)
    person.groups.set([Group.objects.get(name=role)])
    client = Client()
    client.force_login(person)

    assert client.get(reverse("admin:lockers_paymentrequest_change", args=[request.pk])).status_code == 200
    assert client.get(url("cancel-payment-request", request)).status_code == status
