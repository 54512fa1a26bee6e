"""Phone numbers as names of wallets: in query strings with an escaped plus sign and without."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.api.caller import answer, logged_in
from transfers import operations as transfers
from wallets import operations
from wallets.models import Wallet

PHONE = "+254712345678"


@pytest.fixture
def phone(db: None) -> Any:
    caller = logged_in(PHONE, operations.create_api_key(name="partner")[1])
    transfers.issue_tokens(wallet=caller.wallet, count=2)
    return caller


@pytest.mark.parametrize("written", [PHONE, quote(PHONE), quote(PHONE).lower(), f"%20{PHONE[1:]}"])
def test_a_query_names_a_phone_number(phone: Any, written: Any) -> None:
    for path, many in (("tokens", "tokens"), ("transfers", "transfers"), ("events", "events")):
        response = phone.get(f"/{path}?limit=10&wallet={written}")
        assert response.status_code == 200, response.content
        assert answer(response) == answer(phone.get(f"/{path}?limit=10&wallet={phone.wallet.pk}"))
        assert many in answer(response)[1]


def test_a_stored_name_with_a_blank_is_meant_before_a_plus_sign(phone: Any) -> None:
    stored = Wallet.objects.create(name=PHONE.replace("+", " "), name_key=PHONE.replace("+", " "))

    assert phone.get(f"/tokens?limit=10&wallet={PHONE}").status_code == 403
    assert phone.get(f"/tokens?limit=10&wallet={quote(PHONE)}").status_code == 200
    assert stored.pk != phone.wallet.pk


def test_a_blank_that_is_no_plus_sign_is_refused_as_it_was_written(phone: Any) -> None:
    response = phone.get("/tokens?limit=10&wallet=no+body")

    assert answer(response)[1]["message"] == "invalid wallet name:no body"
