"""How many SQL statements a request takes: a number that is fixed, however many the rows."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from config.api import cached_credentials
from tests.api.caller import Caller, logged_in
from transfers import operations as transfers
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.models import Token, Wallet

# In a transaction of a test, an operation would take savepoints that it does not take in production.
pytestmark = pytest.mark.django_db(transaction=True)


def body_of(sender: str, receiver: str, tokens: int | list[str]) -> dict[str, object]:
    what = {"bundle": {"bundle_size": tokens}} if isinstance(tokens, int) else {"tokens": tokens}
    return {"sender_wallet": sender, "receiver_wallet": receiver, **what}


def grown(caller: Caller, rows: int) -> None:
    """Add this number of wallets, tokens, trusts and transfers to the caller."""
    assert caller.wallet is not None
    before = Wallet.objects.count()
    transfers.issue_tokens(wallet=caller.wallet, count=4 * rows)
    for number in range(before, before + rows):
        trusts.open_managed_wallet(actor=caller.wallet, name=f"sapling-{number}")
        transfers.send_bundle(actor=caller.wallet, sender="alice", receiver=f"sapling-{number}", size=1)


# Looking up API key, bearer token and idempotency key is 1, and what the request is about another. The first number is
# that of a caller who was not here in the last minute, the second that of one who was.
STATEMENTS = {
    "GET /wallets?limit=100": (2, 1),
    "GET /tokens?limit=100": (2, 1),
    "GET /tokens?limit=100&wallet=alice": (3, 3),
    "GET /transfers?limit=100": (2, 1),
    "GET /trust_relationships?limit=100": (3, 3),
    "POST /transfers": (2, 1),
    "POST /transfers, listed": (2, 1),
    "POST /transfers, with a key": (2, 1),
    "POST /transfers, with a key, listed": (2, 1),
}


def counted(caller: Caller, request: str, rows: int) -> int:
    if request.startswith("GET "):
        path = request.removeprefix("GET ")
        with CaptureQueriesContext(connection) as statements:
            response = caller.get(path)
        assert len(next(iter(response.json().values()))) >= rows
    else:
        tokens = [
            str(token) for token in Token.objects.filter(wallet=caller.wallet).values_list("id", flat=True)[:rows]
        ]
        key = {"idempotency_key": f"{request} {rows}".replace(" ", "-")} if "with a key" in request else {}
        body = body_of("alice", "sapling-1", tokens if "listed" in request else rows)
        with CaptureQueriesContext(connection) as statements:
            response = caller.post("/transfers", body, **key)
        assert response.status_code == 201, response.content
    return len(statements)


@pytest.mark.parametrize("request_", STATEMENTS)
def test_the_number_of_statements_is_fixed_and_does_not_grow_with_rows(request_: Any) -> None:
    api_key = wallets.create_api_key(name="partner")[1]
    alice = logged_in("alice", api_key)
    grown(alice, 3)
    # Once an hour the use of the credentials is noted.
    alice.get("/wallets?limit=1")
    cached_credentials.clear()
    few = counted(alice, request_, 3)
    few_remembered = counted(alice, request_, 2)

    grown(alice, 40)
    many_remembered = counted(alice, request_, 40)
    cached_credentials.clear()
    many = counted(alice, request_, 39)

    assert (few, few_remembered) == (many, many_remembered) == STATEMENTS[request_]
