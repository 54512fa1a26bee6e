"""`GET /wallets/{id}/balance` and `/statement`: what a caller reads of tokens over time."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.caller import Caller, answer, logged_in
from transfers import operations
from transfers.models import Issue, Transfer
from trusts import operations as trusts
from wallets import operations as wallets

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Caller:
    """Holds 5 tokens."""
    caller = logged_in("alice", wallets.create_api_key(name="partner")[1])
    operations.issue_tokens(wallet=caller.wallet, count=5)
    return caller


@pytest.fixture
def bob(alice: Caller) -> Caller:
    return logged_in("bobby", alice.api_key)


def text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def sent(alice: Caller, bob: Caller, size: int) -> Transfer:
    asked = operations.send_bundle(actor=alice.wallet, sender="alice", receiver="bobby", size=size)
    operations.accept(actor=bob.wallet, transfer_id=asked.id)
    return Transfer.objects.get(pk=asked.id)


def test_a_statement_has_lines_with_running_balances_that_add_up(alice: Caller, bob: Caller) -> None:
    transfer = sent(alice, bob, 2)
    back = operations.send_bundle(actor=bob.wallet, sender="bobby", receiver="alice", size=1)
    operations.accept(actor=alice.wallet, transfer_id=back.id)
    issued, returned = Issue.objects.get(), Transfer.objects.get(pk=back.id)
    assert transfer.closed_at is not None
    assert returned.closed_at is not None

    body = alice.get(f"/wallets/{alice.wallet.pk}/statement?from=2020&to=2999").json()

    assert body.pop("to") <= text(datetime.now(UTC))
    assert body == {
        "wallet_id": str(alice.wallet.pk),
        "from": "2020-01-01T00:00:00.000000Z",
        "opening_balance": 0,
        "closing_balance": 4,
        "lines": [
            {
                "at": text(issued.issued_at), "type": "issued", "amount": 5, "balance": 5, "transfer_id": None,
                "counterparty": None,
            },
            {
                "at": text(transfer.closed_at), "type": "sent", "amount": -2, "balance": 3,
                "transfer_id": str(transfer.pk), "counterparty": "bobby",
            },
            {
                "at": text(returned.closed_at), "type": "received", "amount": 1, "balance": 4,
                "transfer_id": str(returned.pk), "counterparty": "bobby",
            },
        ],
    }  # fmt: skip


def test_a_period_begins_with_its_first_microsecond_and_ends_before_its_last(alice: Caller, bob: Caller) -> None:
    at = sent(alice, bob, 2).closed_at
    assert at is not None
    tick = timedelta(microseconds=1)

    def asked(start: datetime, end: datetime) -> Any:
        body = alice.get(f"/wallets/{alice.wallet.pk}/statement?from={text(start)}&to={text(end)}").json()
        return body["opening_balance"], [line["amount"] for line in body["lines"]], body["closing_balance"]

    def held(moment: datetime) -> Any:
        return alice.get(f"/wallets/{alice.wallet.pk}/balance?at={text(moment)}").json()["balance"]

    assert asked(at, at + tick) == (5, [-2], 3)
    assert asked(at - tick, at) == (5, [], 5)
    assert asked(at + tick, at + tick) == (3, [], 3)
    assert [held(each) for each in (at - tick, at, at + tick)] == [5, 5, 3]


def test_pages_have_one_period_whatever_moves_meanwhile(alice: Caller, bob: Caller) -> None:
    for _ in range(4):
        sent(alice, bob, 1)
    first = alice.get(f"/wallets/{alice.wallet.pk}/statement?limit=2")
    sent(alice, bob, 1)
    pages, url = [first.json()], first["Link"]
    while url:
        page = alice.get(url.partition("http://testserver")[2].partition(">")[0])
        pages.append(page.json())
        url = page.headers.get("Link", "")

    assert {(page["from"], page["to"], page["opening_balance"], page["closing_balance"]) for page in pages} == {
        (pages[0]["from"], pages[0]["to"], 0, 1)
    }
    assert [[line["balance"] for line in page["lines"]] for page in pages] == [[5, 4], [3, 2], [1]]
    # A cursor is that of one wallet and one period.
    assert answer(alice.get(f"/wallets/{alice.wallet.pk}/statement?limit=2&from=2020&cursor={quote('abc')}"))[0] == 422


def test_a_manager_reads_the_wallet_and_a_party_of_its_transfers_does_not(alice: Caller, bob: Caller) -> None:
    sapling = trusts.open_managed_wallet(actor=alice.wallet, name="sapling")
    operations.send_bundle(actor=alice.wallet, sender="alice", receiver="sapling", size=2)

    for path in ("balance", "statement"):
        assert alice.get(f"/wallets/{sapling.pk}/{path}").status_code == 200
        refused = answer(bob.get(f"/wallets/{sapling.pk}/{path}"))
        assert refused == (403, {"code": 403, "message": "Have no permission to access this wallet"})
        missing = answer(bob.get(f"/wallets/11111111-1111-4111-8111-111111111111/{path}"))
        assert missing[0] == 404


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("balance?at=soon", '"at" must be in ISO 8601 date format'),
        ("balance?at=2024-02-30", '"at" must be in ISO 8601 date format'),
        ("balance?from=2024", '"from" is not allowed'),
        ("statement?from=2024-02-01&to=2024-01-01", '"to" must not be before "from"'),
        ("statement?limit=0", '"limit" must be greater than or equal to 1'),
        ("statement?cursor=abc", '"cursor" is not valid'),
    ],
)
def test_what_cannot_be_a_time_is_refused(alice: Caller, query: str, message: str) -> None:
    assert answer(alice.get(f"/wallets/{alice.wallet.pk}/{query}")) == (422, {"code": 422, "message": message})


def test_a_time_before_everything_and_one_after_now(alice: Caller) -> None:
    for at, balance in (("0001-01-01", 0), ("9999-12-31T23:59:59.999999Z", 5)):
        found = alice.get(f"/wallets/{alice.wallet.pk}/balance?at={at}").json()
        assert found["balance"] == balance
        assert found["at"] <= text(datetime.now(UTC))
    later = alice.get(f"/wallets/{alice.wallet.pk}/statement?from=9999&to=9999-12-31").json()
    assert (later["opening_balance"], later["lines"], later["closing_balance"]) == (5, [], 5)
    empty = alice.get(f"/wallets/{alice.wallet.pk}/statement?from=0001&to=0001-01-02").json()
    assert (empty["opening_balance"], empty["lines"], empty["closing_balance"]) == (0, [], 0)
