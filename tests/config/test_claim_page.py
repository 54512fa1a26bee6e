"""The page `/claim`: what a person sees who has a link, and what happens when the form is sent."""

import re
from typing import Any

import pytest
from django.test import Client

from tests.support.counts import forget_counts, forget_failures
from tests.support.overtaken_logins import change_each_verified_password
from tests.transfers.books import assert_sound, books, let_link_expire
from transfers import action_tokens, operations
from transfers.action_tokens import NewLink, Wish
from transfers.models import ActionToken, Transfer
from wallets import operations as wallets
from wallets.models import BearerToken, Token, Wallet

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def _nobody_guessed_yet() -> None:
    forget_counts()
    forget_failures()


@pytest.fixture
def alice(db: None) -> Wallet:
    wallet = wallets.create_wallet(name="alice", password=PASSWORD)
    operations.issue_tokens(wallet=wallet, count=5)
    return wallet


@pytest.fixture
def bob(db: None) -> Wallet:
    return wallets.create_wallet(name="bobby", password=PASSWORD)


@pytest.fixture
def link(alice: Wallet) -> NewLink:
    return offered(alice, message="Thank you & <b>all</b>")


def offered(wallet: Wallet, **wish: Any) -> NewLink:
    return action_tokens.offer_bundles(actor=wallet, sender=None, size=2, wish=Wish(**wish))[0]


def sent(path: str, **fields: str) -> tuple[int, str]:
    """Send a form as a browser does that has opened the page, and return status and text of the answer."""
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/claim").content.decode())
    assert token is not None
    response = client.post(path, {"csrfmiddlewaretoken": token[1], **fields})
    assert response["Cache-Control"] == "private, no-store"
    assert "sessionid" not in client.cookies
    return response.status_code, re.sub(r"\s+", " ", response.content.decode())


def everything() -> Any:
    return books(), list(ActionToken.objects.order_by("id").values()), Wallet.objects.count()


@pytest.mark.parametrize("pasted", ["{}", " {} ", "https://trees.example.org/claim#{}", "#{}"])
def test_the_page_says_who_sends_how_much_and_until_when(link: NewLink, pasted: str) -> None:
    status, page = sent("/claim", code=pasted.format(link.code))

    assert status == 200
    assert "<strong>alice</strong> gives you <strong>2 trees</strong>" in page
    assert "Thank you &amp; &lt;b&gt;all&lt;/b&gt;" in page
    assert f"until {link.expires_at.day} {link.expires_at:%B %Y, %H:%M} UTC" in page
    # The code is in hidden fields alone: no address has it.
    assert page.count(link.code) == page.count(f'name="code" value="{link.code}"') == 2
    assert not BearerToken.objects.exists()


def test_a_person_with_a_wallet_claims_into_it(link: NewLink, bob: Wallet) -> None:
    status, page = sent("/claim/wallet", code=link.code, wallet="Bobby", password=PASSWORD)

    assert (status, "2 trees from alice are now in the wallet bobby." in page) == (200, True)
    assert Token.objects.filter(wallet=bob).count() == 2
    assert Transfer.objects.get().originator_id == bob.pk
    assert not BearerToken.objects.exists()
    assert_sound()


def test_a_person_without_one_claims_into_a_new_one_and_can_log_in(link: NewLink) -> None:
    status, page = sent("/claim/new", code=link.code, wallet="newcomer", password="my password", again="my password")

    assert (status, "2 trees from alice are now in the wallet newcomer." in page) == (200, True)
    assert Token.objects.filter(wallet__name="newcomer").count() == 2
    assert wallets.authenticate(name_or_id="newcomer", password="my password")
    assert_sound()


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"wallet": "bobby", "password": "long enough", "again": "long enough"}, 403, "Another wallet has this name."),
        ({"wallet": "new one", "password": "long enough", "again": "long enough"}, 400, "has no blanks"),
        ({"wallet": "ab", "password": "long enough", "again": "long enough"}, 422, "has 3 to 254 characters"),
        ({"wallet": "a\0bc", "password": "long enough", "again": "long enough"}, 400, "has no blanks"),
        ({"wallet": "newcomer", "password": "short", "again": "short"}, 422, "A password has 8 to 32 characters."),
        ({"wallet": "newcomer", "password": "x" * 33, "again": "x" * 33}, 422, "A password has 8 to 32 characters."),
        ({"wallet": "newcomer", "password": "long enough", "again": "another"}, 422, "The two passwords differ."),
        ({}, 422, "A password has 8 to 32 characters."),
        ({"wallet": "Newcomer", "password": "newcomer", "again": "newcomer"}, 422, "is not the name of the wallet."),
    ],
)
def test_a_new_wallet_that_cannot_be_is_not_made_and_nothing_is_claimed(
    link: NewLink, bob: Wallet, fields: dict[str, str], status: int, words: str
) -> None:
    before = everything()
    found, page = sent("/claim/new", code=link.code, **fields)

    assert (found, words in page) == (status, True)
    # What was typed is there again, but for the password.
    assert all(value not in page for value in (fields.get("password"), fields.get("again")) if value)
    assert everything() == before


def test_no_new_wallet_remains_if_the_link_was_claimed_meanwhile(
    link: NewLink, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = wallets.create_wallet

    def create_late(**arguments: Any) -> Wallet:
        wallet = create(**arguments)
        action_tokens.redeem(actor=bob, code=link.code)
        return wallet

    monkeypatch.setattr(wallets, "create_wallet", create_late)
    # Claimed by another connection in truth; here it is undone with the rest.
    form = {"code": link.code, "wallet": "newcomer", "password": "my password", "again": "my password"}

    assert sent("/claim/new", **form)[0] == 409
    assert not Wallet.objects.filter(name="newcomer").exists()


@pytest.mark.parametrize(("wallet", "password"), [("bobby", "wrong"), ("nobody", PASSWORD), ("", ""), ("a b", "x")])
def test_a_wrong_login_claims_nothing(link: NewLink, bob: Wallet, wallet: str, password: str) -> None:
    before = everything()
    status, page = sent("/claim/wallet", code=link.code, wallet=wallet, password=password)

    assert (status, "The name of the wallet or the password is wrong." in page) == (403, True)
    assert everything() == before


def test_a_password_that_changes_after_it_was_verified_claims_nothing(
    link: NewLink, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything()
    change_each_verified_password(monkeypatch)

    assert sent("/claim/wallet", code=link.code, wallet="bobby", password=PASSWORD)[0] == 403
    assert everything() == before


def test_the_sender_is_told_that_it_cannot_claim(link: NewLink) -> None:
    before = everything()
    status, page = sent("/claim/wallet", code=link.code, wallet="alice", password=PASSWORD)

    assert (status, "The sender cannot claim the trees." in page) == (422, True)
    assert everything() == before


@pytest.mark.parametrize("path", ["/claim", "/claim/wallet", "/claim/new"])
@pytest.mark.parametrize("state", ["redeemed", "cancelled", "expired"])
def test_a_closed_link_says_so_and_offers_no_form(
    link: NewLink, alice: Wallet, bob: Wallet, path: str, state: str
) -> None:
    if state == "redeemed":
        carol = wallets.create_wallet(name="carol")
        action_tokens.redeem(actor=carol, code=link.code)
    elif state == "cancelled":
        action_tokens.cancel(actor=alice, action_token_id=link.id)
    else:
        let_link_expire(link.id)
    before = everything()
    status, page = sent(path, code=link.code, wallet="bobby", password=PASSWORD, again=PASSWORD)

    told = {"redeemed": "have been claimed already", "cancelled": "was cancelled", "expired": "has expired"}[state]
    assert told in page
    assert "<form" not in page
    assert status == (200 if path == "/claim" else 403 if path == "/claim/new" else {"expired": 410}.get(state, 409))
    assert everything() == before


def test_who_sends_the_form_twice_is_told_of_the_first_claim(link: NewLink, bob: Wallet) -> None:
    for _ in range(2):
        status, page = sent("/claim/wallet", code=link.code, wallet="bobby", password=PASSWORD)
        assert (status, "2 trees from alice are now in the wallet bobby." in page) == (200, True)
    assert Transfer.objects.count() == 1


@pytest.mark.parametrize("path", ["/claim", "/claim/wallet", "/claim/new"])
@pytest.mark.parametrize("code", ["", "x" * 24, "a\0b", "x" * 5000])
def test_an_unknown_code(db: None, path: str, code: str) -> None:
    status, page = sent(path, code=code)

    assert (status, "No link has this code." in page) == (422, True)


def test_an_address_that_must_match(alice: Wallet, bob: Wallet) -> None:
    link = offered(alice, recipient_email="ann@example.org", email_must_match=True)
    form = {"code": link.code, "wallet": "bobby", "password": PASSWORD}
    shown = sent("/claim", code=link.code)[1]
    assert "ann@example.org" not in shown
    assert shown.count('name="email"') == 2

    status, page = sent("/claim/wallet", email="bob@example.org", **form)
    assert (status, "This link is for another e-mail address." in page) == (403, True)
    assert not Transfer.objects.exists()
    assert sent("/claim/wallet", email="ANN@example.org", **form)[0] == 200


def test_guesses_are_limited(db: None, settings: Any) -> None:
    settings.WRONG_CLAIM_CODES_PER_ADDRESS = 2
    assert [sent("/claim", code="x" * 24)[0] for _ in range(3)] == [422, 422, 429]


def test_the_pages_of_the_claim_are_opened_by_get_at_one_address_alone(db: None) -> None:
    assert [Client().get(path).status_code for path in ("/claim", "/claim/", "/claim/wallet", "/claim/new")] == [
        200, 200, 405, 405,
    ]  # fmt: skip
