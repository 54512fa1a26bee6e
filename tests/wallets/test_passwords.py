"""Passwords in different Unicode forms are one password, those that were stored before included."""

import unicodedata
from typing import Any

import pytest
from django.contrib.auth.hashers import check_password, get_hasher, identify_hasher, make_password

from tests.api.caller import Caller, answer
from wallets import errors, operations, passwords
from wallets.hashers import TreetrackerHasher
from wallets.models import BearerToken, Wallet

COMPOSED = "crème brûlée Å"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
WIDE = "".join(chr(ord(letter) + 0xFEE0) for letter in "test1234")

pytestmark = pytest.mark.django_db


def log_in(password: str) -> str:
    return operations.authenticate(name_or_id="alice", password=password)


@pytest.mark.parametrize(
    ("given", "typed"),
    [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), (WIDE, "test1234"), ("test1234", WIDE), ("한국어", "한국어")],
)
def test_a_password_is_the_same_in_every_form(given: Any, typed: Any) -> None:
    wallet = operations.create_wallet(name="alice", password=given)
    log_in(typed)

    operations.set_password(wallet=wallet, password=typed)

    assert log_in(given)


def test_another_accent_is_another_password() -> None:
    operations.create_wallet(name="alice", password=COMPOSED)

    for wrong in ("creme brulee A", "crème brûlée À", COMPOSED.upper(), f" {COMPOSED}"):
        with pytest.raises(errors.InvalidCredentials):
            log_in(wrong)
    assert not BearerToken.objects.exists()


@pytest.mark.parametrize("hashing", [make_password, lambda text: TreetrackerHasher().encode(text, "salt")])
@pytest.mark.parametrize("stored", [COMPOSED, DECOMPOSED, WIDE])
def test_what_was_stored_before_is_let_in_as_it_was_typed_and_stored_anew(hashing: Any, stored: Any) -> None:
    Wallet.objects.create(name="alice", name_key="alice", password=hashing(stored))

    log_in(stored)

    password = Wallet.objects.get().password
    assert identify_hasher(password).algorithm == get_hasher().algorithm
    assert check_password(unicodedata.normalize("NFKC", stored), password)
    for form in ("NFC", "NFD", "NFKC"):
        log_in(unicodedata.normalize(form, stored))
    assert BearerToken.objects.filter(revoked_at=None).count() == 4


@pytest.mark.parametrize("wallet", ["alice", "nobody", "sapling", "migrated"])
@pytest.mark.parametrize(("typed", "forms"), [(COMPOSED, 1), (DECOMPOSED, 2)])
def test_a_wrong_password_costs_as_much_whoever_the_wallet_is(
    monkeypatch: pytest.MonkeyPatch, wallet: str, typed: Any, forms: int
) -> None:
    operations.create_wallet(name="alice", password="test1234")
    operations.create_wallet(name="sapling")
    peer = TreetrackerHasher().encode("test1234", "salt")
    Wallet.objects.create(name="migrated", name_key="migrated", password=peer)
    hasher, costs = get_hasher(), []
    encode = hasher.encode
    monkeypatch.setattr(type(hasher), "encode", lambda self, *arguments: costs.append(1) or encode(*arguments))

    with pytest.raises(errors.WalletNotFound if wallet == "nobody" else errors.InvalidCredentials):
        operations.authenticate(name_or_id=wallet, password=typed)

    assert len(costs) == forms


def test_a_character_that_is_hashed_as_four_counts_once() -> None:
    operations.create_wallet(name="alice", password="㍿" * passwords.MAXIMUM_LENGTH)

    assert log_in("株式会社" * passwords.MAXIMUM_LENGTH)
    with pytest.raises(errors.InvalidPassword):
        operations.create_wallet(name="bobby", password="㍿" * (passwords.MAXIMUM_LENGTH + 1))


def test_a_password_with_a_nul_is_refused() -> None:
    """No request can have one: a login could not either."""
    with pytest.raises(errors.InvalidPassword):
        operations.create_wallet(name="alice", password="a long\0password")
    assert not Wallet.objects.exists()


def test_an_accent_of_its_own_is_no_character_more() -> None:
    composed = "é" * passwords.MAXIMUM_LENGTH
    operations.create_wallet(name="alice", password=unicodedata.normalize("NFD", composed))
    caller = Caller(operations.create_api_key(name="partner")[1])

    responses = [
        caller.post("/auth", {"wallet": "alice", "password": unicodedata.normalize(form, text)})
        for text in (composed, composed + "é")
        for form in ("NFC", "NFD")
    ]

    assert [response.status_code for response in responses] == [200, 200, 422, 422]
    assert answer(responses[3])[1]["message"] == '"password" length must be less than or equal to 32 characters long'
    with pytest.raises(errors.InvalidPassword):
        operations.create_wallet(name="bobby", password=composed + "é")
