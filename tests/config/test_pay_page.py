"""The page of a payment request: what it shows, and paying by a login or by a code."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.test import Client

from lockers import tasks
from lockers.models import Account, LockerTask, Payment, PaymentRequest
from lockers.operations import payment_requests as operations
from lockers.raida.coins import UNITS_PER_COIN
from lockers.states import PaymentMode, TaskKind
from tests.lockers.stock import stock
from tests.support.coin_rows import a_task
from tests.support.overtaken_logins import change_each_verified_password
from wallets import operations as wallets
from wallets.models import BearerToken, Wallet

pytestmark = pytest.mark.django_db
PASSWORD = "battery staple"


@pytest.fixture(autouse=True)
def _lockers_are_on(settings: Any) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    settings.RAIDA_TIMEOUT_SECONDS = 0.2
    settings.PUBLIC_ORIGIN = "https://trees.example"


@pytest.fixture
def alice() -> Wallet:
    return wallets.create_wallet(name="alice", password="correct horse")


@pytest.fixture
def bob() -> Wallet:
    bob = wallets.create_wallet(name="bobby", password=PASSWORD)
    stock(bob, *[0] * 9)
    return bob


@pytest.fixture
def client() -> Client:
    return Client(enforce_csrf_checks=True)


def ask(payee: Wallet, mode: PaymentMode = PaymentMode.SINGLE, **more: Any) -> PaymentRequest:
    return operations.create(
        actor=payee, name=None, units=5 * UNITS_PER_COIN, description="Two <b>seedlings</b>", mode=mode, **more
    )


def opened(client: Client, request: PaymentRequest, query: str = "") -> str:
    response = client.get(f"/pay/{request.pk}{query}")
    assert response.status_code == 200
    return str(response.content.decode())


def sent(client: Client, request: PaymentRequest, way: str, **fields: str) -> Any:
    """Send a form of the page, with its hidden fields."""
    page = opened(client, request)
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)">', page))
    return client.post(f"/pay/{request.pk}/{way}", {**hidden, **fields})


def test_the_page_says_what_is_asked_and_no_more(client: Client, alice: Wallet) -> None:
    request = ask(alice, reference="order-1042")
    page = opened(client, request)

    assert "Pay 5 CloudCoin" in page
    assert "Two &lt;b&gt;seedlings&lt;/b&gt;" in page
    assert f"https://trees.example/pay/{request.pk}" in page
    assert "<svg" in page
    assert "order-1042" not in page
    assert str(alice.pk) not in page


def test_what_a_payment_under_way_may_bring_is_not_asked_for_again(client: Client, alice: Wallet, bob: Wallet) -> None:
    request = ask(alice, PaymentMode.PARTIAL)
    Payment.objects.create(request=request, task=a_task(bob, TaskKind.TAKE), expected=2 * UNITS_PER_COIN)

    page = opened(client, request)

    assert "Amount in CloudCoin, up to 3<" in page
    assert "The code of a locker with at most 3 CloudCoin" in page


@pytest.mark.parametrize("path", ["/pay/7", "/pay/3f2b8a1e-5c4d-4e6f-8a9b-0c1d2e3f4a5b"])
def test_an_unknown_request_is_one_page(path: str, client: Client) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "There is no such payment request." in response.content.decode()


def test_a_pasted_link_opens_its_page(alice: Wallet) -> None:
    request = ask(alice)
    response = Client().post("/pay", {"link": f" https://other.example/pay/{request.pk}?x=1"})
    assert (response.status_code, response["Location"]) == (303, f"/pay/{request.pk}")
    assert Client().post("/pay", {"link": "nothing"}).status_code == 404


def test_a_login_pays_in_that_request_and_leaves_nothing_else(client: Client, alice: Wallet, bob: Wallet) -> None:
    request = ask(alice)

    response = sent(client, request, "from-wallet", wallet="bobby", password=PASSWORD)

    payment = Payment.objects.get()
    assert (response.status_code, response["Location"]) == (303, f"/pay/{request.pk}?payment={payment.pk}")
    assert (payment.state, payment.payer) == ("credited", bob)
    assert not BearerToken.objects.exists()
    assert "sessionid" not in client.cookies
    assert "Your payment of 5 CloudCoin has arrived." in opened(client, request, f"?payment={payment.pk}")
    # Anyone else who opens the link reads that it is paid, and finds no form.
    assert "<form" not in opened(Client(), request)


def test_a_password_that_changes_after_it_was_verified_pays_nothing(
    client: Client, alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(alice)
    change_each_verified_password(monkeypatch)

    response = sent(client, request, "from-wallet", wallet="bobby", password=PASSWORD)

    assert response.status_code == 403
    assert not Payment.objects.exists()
    request.refresh_from_db()
    assert (request.state, request.paid) == ("open", 0)


@pytest.mark.parametrize(("amount", "state"), [(1, "partly_paid"), (5, "paid")])
def test_a_form_that_is_sent_twice_pays_once(
    client: Client, alice: Wallet, bob: Wallet, amount: int, state: str
) -> None:
    request = ask(alice, PaymentMode.PARTIAL)
    fields = {"wallet": "bobby", "password": PASSWORD, "amount": str(amount), "payment": str(uuid4())}
    page = opened(client, request)
    token = {"csrfmiddlewaretoken": re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[0]}

    locations = {client.post(f"/pay/{request.pk}/from-wallet", token | fields)["Location"] for _ in range(2)}

    assert len(locations) == 1
    request.refresh_from_db()
    assert (request.state, request.paid) == (state, amount * UNITS_PER_COIN)
    other = ask(alice)
    assert sent(client, other, "from-wallet", **fields).status_code == 404
    assert Payment.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"password": "wrong"}, 403, "The name of the wallet or the password is wrong."),
        ({"wallet": "nobody"}, 403, "The name of the wallet or the password is wrong."),
        ({"wallet": "alice", "password": "correct horse"}, 422, "Cannot move coins from a wallet to itself"),
        ({"amount": "6"}, 422, "A payment of this request is of at most 5; this one is of 6"),
        ({"amount": "many"}, 422, "amount must be a whole number"),
    ],
)
def test_a_refusal_is_a_sentence_and_changes_nothing(
    fields: dict[str, str], status: int, words: str, client: Client, alice: Wallet, bob: Wallet
) -> None:
    request = ask(alice, PaymentMode.PARTIAL)

    response = sent(client, request, "from-wallet", **{"wallet": "bobby", "password": PASSWORD, "amount": "5"} | fields)

    page = response.content.decode()
    assert response.status_code == status
    assert words in page
    assert PASSWORD not in page
    assert "correct horse" not in page
    assert not Payment.objects.exists()
    assert not Account.objects.filter(wallet=alice).exists()


def test_a_code_pays_without_a_login_and_is_never_shown(client: Client, alice: Wallet) -> None:
    request = ask(alice)

    response = sent(client, request, "with-code", transmit_code=" 7KQ4-M2XW-9TRD-HB6P ")

    payment = Payment.objects.get()
    assert response["Location"] == f"/pay/{request.pk}?payment={payment.pk}"
    waiting = client.get(response["Location"])
    assert waiting["Refresh"] == "3"
    assert "Your payment is being processed." in waiting.content.decode()
    tasks.run(str(payment.task_id))
    failed = client.get(response["Location"])
    assert "Refresh" not in failed
    assert "Your payment has failed. Only 0 of 25 servers answered" in failed.content.decode()
    for page in (waiting, failed):
        assert "7KQ4" not in page.content.decode()
    assert LockerTask.objects.get().code is None


@pytest.mark.parametrize("way", ["from-wallet", "with-code"])
def test_a_closed_request_is_not_paid(way: str, client: Client, alice: Wallet, bob: Wallet) -> None:
    request = ask(alice)
    page = opened(client, request)
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)">', page))
    PaymentRequest.objects.update(expires_at=Now())
    fields = {"wallet": "bobby", "password": PASSWORD, "transmit_code": "7KQ4-M2XW-9TRD-HB6P"}

    response = client.post(f"/pay/{request.pk}/{way}", {**hidden, **fields})

    assert response.status_code == 409
    assert "This payment request is expired" in response.content.decode()
    assert not Payment.objects.exists()


@pytest.mark.parametrize("way", ["from-wallet", "with-code"])
def test_a_form_without_its_token_is_refused(way: str, client: Client, alice: Wallet, bob: Wallet) -> None:
    request = ask(alice)
    fields = {"wallet": "bobby", "password": PASSWORD, "transmit_code": "x", "payment": str(uuid4())}
    assert client.post(f"/pay/{request.pk}/{way}", fields).status_code == 403
    assert client.get(f"/pay/{request.pk}/{way}").status_code == 405
    assert not Payment.objects.exists()


def test_a_page_is_shown_while_lockers_are_off(client: Client, alice: Wallet, bob: Wallet, settings: Any) -> None:
    request = ask(alice)
    settings.RAIDA_HOSTS = []
    response = sent(client, request, "from-wallet", wallet="bobby", password=PASSWORD)
    assert response.status_code == 503
    assert "Lockers are switched off on this server" in response.content.decode()


def test_the_payees_name_is_shown_with_its_invisible_characters(client: Client) -> None:
    """Names of wallets that were imported may have some, and look like another name."""
    name = "ali\u200bce"
    page = opened(client, ask(Wallet.objects.create(name=name, name_key=name)))

    assert "\u200b" not in page
    assert page.count("ali\\u{200B}ce") == 4
