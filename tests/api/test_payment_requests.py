"""Payment requests over the API: bodies, problems, lists, idempotency, and who sees what."""

from typing import Any
from uuid import uuid4

import pytest
from django.db.models.functions import Now

from lockers import tasks
from lockers.models import LockerTask, Payment, PaymentRequest
from lockers.operations import payment_requests as operations
from tests.api.caller import Caller, answer, logged_in
from tests.lockers.stock import stock
from wallets import operations as wallets
from wallets.models import Event, Wallet

pytestmark = pytest.mark.django_db
PATH = "/api/v1/payment-requests"


@pytest.fixture(autouse=True)
def _lockers_are_on(settings: Any) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    settings.PUBLIC_ORIGIN = "https://trees.example"


@pytest.fixture
def alice() -> Caller:
    return logged_in("alice", "unused")


@pytest.fixture
def bob() -> Caller:
    return logged_in("bobby", "unused")


def wallet(caller: Caller) -> Wallet:
    assert caller.wallet is not None
    return caller.wallet


def ask(payee: Caller, **changes: Any) -> dict[str, Any]:
    status, body = answer(payee.post(PATH, {"amount": 5, "description": "Two seedlings", **changes}))
    assert status == 201, body
    return dict(body)


def test_a_shop_asks_is_paid_and_reconciles(alice: Caller, bob: Caller) -> None:
    asked = ask(alice, reference="order-1042", mode="partial", expires_at="2099-01-01")
    identity = asked.pop("id")
    assert asked.pop("created_at").endswith("Z")
    assert asked == {
        "wallet": "alice",
        "state": "open",
        "mode": "partial",
        "amount": 5,
        "paid": 0,
        "pending": 0,
        "outstanding": 5,
        "description": "Two seedlings",
        "url": f"https://trees.example/pay/{identity}",
        "expires_at": "2099-01-01T00:00:00.000Z",
        "closed_at": None,
        "reference": "order-1042",
        "payments": [],
    }
    stock(wallet(bob), *[0] * 4, *[-1] * 10)

    status, paid = answer(bob.post(f"{PATH}/{identity}/pay", {"amount": "1.5"}))
    assert (status, paid["state"], paid["amount"], paid["payer"], paid["method"]) == (
        200, "credited", 1.5, "bobby", "wallet",
    )  # fmt: skip
    assert answer(bob.get(f"{PATH}/{identity}/payments/{paid['id']}")) == (200, paid)
    assert answer(bob.post(f"{PATH}/{identity}/pay", {}))[1]["amount"] == 3.5

    status, seen = answer(alice.get(f"{PATH}/{identity}"))
    assert (seen["state"], seen["paid"], seen["outstanding"]) == ("paid", 5, 0)
    assert [each["amount"] for each in seen["payments"]] == [3.5, 1.5]
    (found,) = answer(alice.get(f"{PATH}?reference=order-1042&state=paid"))[1]["payment_requests"]
    assert found == {name: value for name, value in seen.items() if name != "payments"}


def test_the_event_says_what_was_paid_and_for_which_order(alice: Caller, bob: Caller) -> None:
    api_key = wallets.create_api_key(name="shop")[1]
    shop = Caller(api_key, alice.bearer, alice.wallet)
    asked = ask(alice, reference="order-1042")
    stock(wallet(bob), *[0] * 5)
    paid = answer(bob.post(f"{PATH}/{asked['id']}/pay", {}))[1]

    (event,) = (
        each for each in shop.get("/events?limit=100").json()["events"] if each["type"] == "payment_request.paid"
    )
    assert event["payload"] == {
        "amount": 5,
        "paymentRequestId": asked["id"],
        "paymentRequestState": "paid",
        "paid": 5,
        "paymentId": paid["id"],
        "paymentAmount": 5,
        "reference": "order-1042",
    }


def test_a_payer_sees_what_the_page_shows(alice: Caller, bob: Caller) -> None:
    asked = ask(alice, reference="order-1042")
    seen = answer(bob.get(f"{PATH}/{asked['id']}"))[1]
    assert seen == {name: value for name, value in asked.items() if name not in {"reference", "payments"}}
    assert answer(bob.get(PATH))[1] == {"payment_requests": []}


def test_a_request_without_a_reference_has_no_such_field(alice: Caller, bob: Caller) -> None:
    asked = ask(alice)
    stock(wallet(bob), *[0] * 5)
    answer(bob.post(f"{PATH}/{asked['id']}/pay", {}))

    assert "reference" not in asked
    (event,) = Event.objects.filter(type="payment_request.paid")
    assert "reference" not in event.payload


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amount": 0}, '"amount" must be greater than 0'),
        ({"amount": None}, '"amount" must be a number'),
        ({"description": ""}, '"description" is not allowed to be empty'),
        ({"description": "x" * 501}, '"description" length must be less than or equal to 500 characters long'),
        ({"reference": "x" * 256}, '"reference" length must be less than or equal to 255 characters long'),
        ({"mode": "twice"}, '"mode" must be one of [single, partial]'),
        ({"expires_at": "soon"}, '"expires_at" must be in ISO 8601 date format'),
        ({"expires_at": "2020-01-01"}, '"expires_at" must be in the future'),
        ({"x": 1}, '"x" is not allowed'),
    ],
)
def test_what_is_wrong_is_a_problem_and_changes_nothing(changes: Any, message: str, alice: Caller) -> None:
    response = alice.post(PATH, {"amount": 5, "description": "Two seedlings", **changes})
    body = response.json()
    assert (response.status_code, body["detail"], response["Content-Type"]) == (
        422, message, "application/problem+json",
    )  # fmt: skip
    assert body["code"] == response["Error-Code"]
    assert not PaymentRequest.objects.exists()


def test_refusals_name_their_codes(alice: Caller, bob: Caller) -> None:
    asked = ask(alice)
    stock(wallet(bob), 0)
    here = f"{PATH}/{asked['id']}"

    def refused(response: Any) -> tuple[int, str]:
        return response.status_code, response.json()["code"]

    assert refused(bob.get(f"{PATH}/{uuid4()}")) == (404, "payment_request_not_found")
    assert refused(bob.get(f"{PATH}/7")) == (404, "payment_request_not_found")
    assert refused(bob.get(f"{here}/payments/{uuid4()}")) == (404, "payment_not_found")
    assert refused(bob.delete(here)) == (404, "payment_request_not_found")
    assert refused(bob.post(f"{here}/pay", {"amount": 4})) == (422, "payment_amount_refused")
    assert refused(bob.post(f"{here}/pay", {})) == (422, "not_enough_coins")
    assert refused(bob.post(f"{here}/pay", {"wallet": "alice"})) == (403, "wallet_not_controlled")
    assert refused(alice.post(f"{here}/pay", {})) == (422, "coins_same_wallet")
    assert refused(bob.post(f"{here}/pay", {"transmit_code": "x", "amount": 1})) == (422, "invalid_value")
    assert refused(alice.get(f"{PATH}?wallet=bobby")) == (403, "wallet_not_controlled")
    assert answer(alice.delete(here))[1]["state"] == "cancelled"
    assert refused(bob.post(f"{here}/pay", {})) == (409, "payment_request_closed")
    assert refused(alice.delete(here)) == (409, "payment_request_closed")
    assert not Payment.objects.exists()


def test_a_payment_sent_twice_pays_once(alice: Caller, bob: Caller) -> None:
    asked = ask(alice, mode="partial")
    stock(wallet(bob), *[0] * 5)
    body = {"amount": 1}
    first = answer(bob.post(f"{PATH}/{asked['id']}/pay", body, idempotency_key="once"))
    assert answer(bob.post(f"{PATH}/{asked['id']}/pay", body, idempotency_key="once")) == first
    assert answer(alice.get(f"{PATH}/{asked['id']}"))[1]["paid"] == 1


def test_a_code_is_nowhere_but_sealed(alice: Caller, bob: Caller, settings: Any) -> None:
    settings.RAIDA_TIMEOUT_SECONDS = 0.2
    asked = ask(alice)
    status, payment = answer(bob.post(f"{PATH}/{asked['id']}/pay", {"transmit_code": "7KQ4-M2XW-9TRD-HB6P"}))
    assert (status, payment["state"], payment["method"], payment["pending"]) == (200, "pending", "code", 0)
    assert payment["message"] == "Waiting for a worker"
    task = LockerTask.objects.get()
    assert "7KQ4" not in str([*LockerTask.objects.values(), *Payment.objects.values()])
    # Not even the payee, whose task it is, learns it.
    seen = answer(alice.get(f"/api/v1/task/{task.pk}"))[1]
    assert "7KQ4" not in str(seen)
    tasks.run(str(task.pk))
    payment = answer(bob.get(f"{PATH}/{asked['id']}/payments/{payment['id']}"))[1]
    assert (payment["state"], payment["amount"]) == ("failed", 0)
    assert "Only 0 of 25 servers answered" in payment["message"]


def test_pages_follow_one_another(alice: Caller) -> None:
    made = [ask(alice)["id"] for _ in range(5)]
    seen, path = [], f"{PATH}?limit=2"
    while path:
        response = alice.get(path)
        seen += [each["id"] for each in response.json()["payment_requests"]]
        path = response.get("Link", "").partition(">")[0].removeprefix("<https://trees.example")
    assert seen == made[::-1]


def test_a_state_is_that_of_now(alice: Caller) -> None:
    asked = ask(alice)["id"]
    PaymentRequest.objects.update(expires_at=Now())
    assert answer(alice.get(f"{PATH}/{asked}"))[1]["state"] == "expired"
    for state, count in (("open", 0), ("expired", 1)):
        assert len(answer(alice.get(f"{PATH}?state={state}"))[1]["payment_requests"]) == count
    operations.expire_due()
    assert len(answer(alice.get(f"{PATH}?state=expired"))[1]["payment_requests"]) == 1
