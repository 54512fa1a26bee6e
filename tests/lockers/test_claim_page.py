"""The pages that take the coins of a locker into a wallet: one task for a form, its progress, limits, no secrets."""

import re
from ipaddress import IPv6Address
from secrets import token_bytes
from typing import Any
from uuid import UUID

import pytest
from django.core import signing
from django.db import IntegrityError
from django.test import Client, RequestFactory

from config.api import throttles
from config.web.public_pages import base, coins, new_wallets
from lockers import tasks
from lockers.models import LockerTask
from lockers.wrong_code_limits import fingerprint
from tests.concurrency.races import race
from tests.lockers.books import assert_true_to_the_servers, states
from tests.lockers.conftest import Mint
from tests.support.coin_commands import give, put
from tests.support.local_network import LocalNetwork
from tests.support.overtaken_logins import change_each_verified_password
from wallets import operations as wallets
from wallets.models import BearerToken, Wallet

pytestmark = pytest.mark.usefixtures("no_wrong_codes")

PASSWORD = "battery staple"
NEW = {"password": "a new one", "again": "a new one", "new": "yes"}


def text_of(response: Any) -> str:
    return str(response.content.decode())


def hidden(response: Any, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]* value="([^"]*)"', text_of(response))
    assert found is not None
    return found[1]


def offered(code: str) -> dict[str, str]:
    """Open the page with a code, and return the fields of the form that it offers."""
    response = Client().post("/claim", {"code": code})
    assert response.status_code == 200
    return {"code": hidden(response, "code"), "ticket": hidden(response, "ticket")}


def sent(fields: dict[str, str], **more: str) -> Any:
    return Client().post("/claim/coins", fields | more)


def progress(page: Any) -> dict[str, Any]:
    """Ask as the script of the page does."""
    asked = {"ticket": hidden(page, "ticket")}
    response = Client().post("/claim/coins/progress", asked, headers={"accept": "application/json"})
    assert (response.status_code, response["Cache-Control"]) == (200, "private, no-store")
    answer: dict[str, Any] = response.json()
    return answer


def run_all() -> None:
    for task_id in LockerTask.objects.filter(state="running").values_list("pk", flat=True):
        tasks.run(str(task_id))


def test_a_visitor_takes_the_coins_of_a_locker_into_a_wallet(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    fields = offered(code)
    assert fields["code"] == code

    page = sent(fields, wallet="bob", password=PASSWORD)

    assert page.status_code == 200
    assert "connect-src &#x27;self&#x27;" not in text_of(page)
    assert page["Content-Security-Policy"].endswith("; connect-src 'self'")
    # The page of the progress has no secret but its ticket, and nothing remains of the login.
    assert code not in text_of(page)
    assert PASSWORD not in text_of(page)
    assert BearerToken.objects.count() == 0
    task = LockerTask.objects.get(kind="take")
    assert (task.wallet, task.actor) == (bob, bob)
    assert progress(page) == {
        "state": "running",
        "progress": 0,
        "is_over": False,
        "verdict": "good",
        "sentence": "Waiting for a worker.",
    }
    run_all()

    assert progress(page) == {
        "state": "completed",
        "progress": 100,
        "is_over": True,
        "verdict": "good",
        "sentence": "12 CloudCoin are in the wallet bob now.",
    }
    again = Client().post("/claim/coins/progress", {"ticket": hidden(page, "ticket")})
    assert "12 CloudCoin are in the wallet bob now." in text_of(again)
    assert (states(bob), states(alice)) == ({"bank": 3}, {"sent": 3, "bank": 1})
    assert_true_to_the_servers()


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("7KQ4-M2XW-9TRD-HB6P", "7KQ4-M2XW-9TRD-HB6P"),
        (" my own code ", "my own code"),
        ("https://example.org/claim#7KQ4-M2XW-9TRD-HB6P", "7KQ4-M2XW-9TRD-HB6P"),
        # What is behind the sign may be the code of another locker.
        ("tree #7", "tree #7"),
        ("https://example.org/claim/#tree#7", "tree#7"),
        # The form of the code of a claim link.
        ("x" * 24, None),
        ("#" + "x" * 24, None),
        ("", None),
        ("x" * 1001, None),
        ("a\0b", None),
    ],
)
def test_what_may_be_a_transmit_code_is_offered_and_not_counted_as_a_guess_of_a_link(
    db: None, settings: Any, text: str, offered: str | None
) -> None:
    settings.WRONG_CLAIM_CODES_PER_ADDRESS = 100 if offered is None else 0
    response = Client().post("/claim", {"code": text})

    assert response.status_code == (422 if offered is None else 200)
    if offered is not None:
        assert hidden(response, "code") == offered
    else:
        assert "No link has this code." in text_of(response)


def test_a_form_that_is_sent_again_begins_no_second_task(alice: Wallet, bob: Wallet, settings: Any) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    fields = offered("ABC-1234")

    first = sent(fields, wallet="bob", password=PASSWORD)
    second = sent(fields, wallet="bob", password=PASSWORD)

    assert (first.status_code, second.status_code) == (200, 200)
    assert LockerTask.objects.count() == 1
    # Another wallet sees nothing of it, and gets another form.
    other = sent(fields, wallet="alice", password="correct horse")
    assert other.status_code == 409
    assert hidden(other, "ticket") != fields["ticket"]
    assert LockerTask.objects.count() == 1


def test_a_password_that_changes_after_it_was_verified_begins_no_task(
    bob: Wallet, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    fields = offered("ABC-1234")
    change_each_verified_password(monkeypatch)

    assert sent(fields, wallet="bob", password=PASSWORD).status_code == 403
    assert not LockerTask.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_chosen", [True, False], ids=["one id", "control"])
def test_a_form_that_arrives_twice_at_once_begins_one_task(
    bob: Wallet, settings: Any, monkeypatch: pytest.MonkeyPatch, is_chosen: bool
) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    fields = offered("ABC-1234")
    # Both have looked for the task before either begins it.
    monkeypatch.setattr(coins.queries, "take_with_id", once_nothing(coins.queries.take_with_id))
    if not is_chosen:
        start = coins.take.start
        monkeypatch.setattr(coins.take, "start", lambda **asked: start(**asked | {"task_id": None}))

    answers = race([lambda: sent(fields, wallet="bob", password=PASSWORD) for _ in range(2)])

    assert [each.status_code for each in answers] == [200, 200]
    assert LockerTask.objects.count() == (1 if is_chosen else 2)


def once_nothing(look: Any) -> Any:
    calls = []

    def take_with_id(task_id: UUID) -> Any:
        calls.append(task_id)
        return None if len(calls) <= 2 else look(task_id)

    return take_with_id


def test_a_visitor_without_a_wallet_creates_one(network: LocalNetwork, mint: Mint, alice: Wallet, code: str) -> None:
    give(alice, mint(0, 0, 0, 0))
    put(alice, 2, code)
    fields = offered(code)

    page = sent(fields, wallet="newcomer", password="a new password", again="a new password", new="yes")
    repeated = sent(fields, wallet="newcomer", password="a new password", again="a new password", new="yes")
    run_all()

    assert (page.status_code, repeated.status_code) == (200, 200)
    newcomer = Wallet.objects.get(name="newcomer")
    assert wallets.verify_password(name_or_id="newcomer", password="a new password") == newcomer
    assert progress(page)["sentence"] == "2 CloudCoin are in the wallet newcomer now."
    assert states(newcomer) == {"bank": 2}


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"wallet": "bob", "password": "wrong"}, 403, "The name of the wallet or the password is wrong."),
        ({"wallet": "nobody", "password": PASSWORD}, 403, "The name of the wallet or the password is wrong."),
        ({"wallet": "bob", "password": PASSWORD, "code": ""}, 422, "A transmit code"),
        (
            {"wallet": "bob", **NEW},
            403,
            "Another wallet has this name.",
        ),
        ({"wallet": "a b", **NEW}, 400, ""),
        ({"wallet": "fresh", "password": "7 chars", "again": "7 chars", "new": "yes"}, 422, "A password has 8 to"),
        ({"wallet": "newcomer", "password": "newcomer", "again": "newcomer", "new": "yes"}, 422, "A password is not"),
        (
            {"wallet": "fresh", "password": "a new one", "again": "other", "new": "yes"},
            422,
            "The two passwords differ.",
        ),
        (
            {"wallet": "fresh", **NEW, "code": "\x00"},
            422,
            "A transmit code",
        ),
        ({"ticket": "forged"}, 410, "This page has expired."),
    ],
)
def test_what_is_refused_changes_nothing(
    bob: Wallet, settings: Any, fields: dict[str, str], status: int, sentence: str
) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    response = sent(offered("ABC-1234") | fields)

    assert (response.status_code, LockerTask.objects.count(), Wallet.objects.count()) == (status, 0, 1)
    assert sentence in text_of(response)
    # The form is still there, with its code, and with the name in that of the two that was sent.
    assert hidden(response, "ticket")
    existing, _, new = response.content.decode().partition('id="h-new"')
    found = [f'value="{fields.get("wallet", "of nobody")}"' in form for form in (existing, new)]
    assert found == ["wallet" in fields and "new" not in fields, "wallet" in fields and "new" in fields]


def test_wrong_codes_are_counted_as_those_of_the_api(
    network: LocalNetwork, bob: Wallet, alice: Wallet, settings: Any
) -> None:
    settings.WRONG_CODES_PER_ADDRESS = 2
    settings.WRONG_CODES_PER_WALLET = 100
    for number in range(2):
        page = sent(offered(f"WRONG-{number}-CODE"), wallet="bob", password=PASSWORD)
        run_all()
        assert progress(page)["sentence"].startswith("No locker with this code, or it was emptied already")

    refused = sent(offered("WRONG-3-CODE"), wallet="alice", password="correct horse")
    newcomer = sent(offered("WRONG-3-CODE"), wallet="newcomer", **NEW)

    for response in (refused, newcomer):
        assert response.status_code == 429
        assert "Retry-After" in response
        assert "Too many wrong transmit codes" in text_of(response)
    assert Wallet.objects.count() == 2


def test_addresses_of_one_network_are_counted_together(bob: Wallet, settings: Any) -> None:
    """Otherwise each client with IPv6 could guess from as many addresses as it likes."""
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    for number in range(2):
        client = Client(REMOTE_ADDR=f"2001:db8:1:2::{number}")
        client.post("/claim/coins", offered(f"ABC-123{number}") | {"wallet": "bob", "password": PASSWORD})

    plans = LockerTask.objects.values_list("plan", flat=True)
    assert [plan["from"] for plan in plans] == [fingerprint("2001:db8:1:2::/64")] * 2


def test_wrong_passwords_are_counted_as_those_of_the_api(bob: Wallet) -> None:
    fields = offered("ABC-1234")
    for _ in range(throttles.FAILURES_PER_ACCOUNT):
        assert sent(fields, wallet="bob", password="wrong").status_code == 403

    assert sent(fields, wallet="bob", password=PASSWORD).status_code == 429
    assert LockerTask.objects.count() == 0


def test_new_wallets_are_limited_per_address(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    monkeypatch.setattr(new_wallets, "PER_ADDRESS", 1)
    # The counter of the address outlives a test.
    here, elsewhere = (Client(REMOTE_ADDR=str(IPv6Address(token_bytes(16)))) for _ in range(2))

    answers = [
        client.post("/claim/coins", offered("ABC-1234") | {"wallet": name} | NEW)
        for client, name in ((here, "first"), (here, "second"), (elsewhere, "third"))
    ]

    assert [each.status_code for each in answers] == [200, 429, 200]
    assert "Too many new wallets, try again later." in text_of(answers[1])
    assert "Retry-After" in answers[1]
    assert list(Wallet.objects.order_by("name").values_list("name", flat=True)) == ["first", "third"]


@pytest.mark.parametrize("ticket", ["", "forged", "other purpose", "expired", "other kind"])
def test_a_ticket_shows_one_task_for_an_hour(
    bob: Wallet, settings: Any, ticket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    page = sent(offered("ABC-1234"), wallet="bob", password=PASSWORD)
    task = LockerTask.objects.get()
    given = hidden(page, "ticket")
    if ticket == "expired":
        monkeypatch.setattr(coins, "_TICKET_SECONDS", -1)
    elif ticket == "other kind":
        LockerTask.objects.update(kind="put")
    elif ticket == "other purpose":
        given = signing.dumps(str(task.pk), salt="public_pages.coins.begins")
    else:
        given = ticket

    response = Client().post("/claim/coins/progress", {"ticket": given})

    assert response.status_code == 410
    assert "bob" not in text_of(response)


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "x; a*=klingon''%41", "\xff, ;;q=x"])
def test_the_progress_is_a_page_unless_its_script_asks(bob: Wallet, settings: Any, accept: str) -> None:
    settings.RAIDA_HOSTS = ["127.0.0.1:1"] * 25
    ticket = hidden(sent(offered("ABC-1234"), wallet="bob", password=PASSWORD), "ticket")

    response = Client().post("/claim/coins/progress", {"ticket": ticket}, headers={"accept": accept})

    assert (response.status_code, response["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize("path", ["/claim/coins", "/claim/coins/progress"])
def test_a_reload_by_address_leads_to_the_form_and_forms_need_their_token(db: None, path: str) -> None:
    response = Client().get(path)

    assert (response.status_code, response["Location"]) == (302, "/claim")
    assert Client(enforce_csrf_checks=True).post(path, {"code": "x"}).status_code == 403


def test_a_row_that_cannot_be_stored_is_not_told_as_a_form_that_was_used(
    alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise IntegrityError("of another constraint")

    monkeypatch.setattr(base, "log_in", lambda _: alice)
    monkeypatch.setattr(coins, "_start", fail)

    with pytest.raises(IntegrityError, match="of another constraint"):
        coins._begun(RequestFactory().post("/claim/coins"), "a code", UUID(int=1))
