"""The statement of a wallet: one line for each change of its balance, and the audit that checks the sums."""

import re
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from lockers import audit
from lockers.models import Account, Coin, LockerTask, StatementLine
from tests.api.caller import Caller, answer, logged_in
from tests.concurrency.races import race
from tests.lockers.conftest import Mint
from tests.lockers.stock import post, stock
from tests.support.local_network import LocalNetwork
from tests.support.locker_requests import ended, give, wallet_of, work


@pytest.fixture
def alice(db: None) -> Caller:
    return logged_in("alice", "unused")


@pytest.fixture
def bob(db: None) -> Caller:
    return logged_in("bob", "unused")


def lines(caller: Caller) -> list[tuple[str, Any, Any]]:
    body = answer(caller.get(f"/api/v1/wallets/{wallet_of(caller).name}/statement"))[1]
    return [(each["type"], each["amount"], each["running_balance"]) for each in body["transactions"]]


def test_each_way_of_coins_in_and_out_leaves_its_line(
    network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller
) -> None:
    give(alice, mint, 1, 0, 0)
    code = "A-CODE-FOR-THE-STATEMENT-ALONE"
    body = {"name": "alice", "amount": 11, "tag": "rent", "transmit_code": code}
    started = answer(alice.post("/api/v1/locker", body))
    reserved = answer(alice.get("/api/v1/wallets/alice/statement"))[1]
    work(started)
    work(answer(bob.post("/api/v1/locker/take", {"name": "bob", "transmit_code": code, "tag": "from alice"})))

    # Nothing left the balance while the coins were only reserved.
    assert (reserved["balance"], reserved["reserved"], len(reserved["transactions"])) == (12, 11, 1)
    assert lines(alice) == [("PutToLocker", -11, 1), ("Imported", 12, 12)]
    assert lines(bob) == [("GetFromLocker", 11, 11)]
    (line,) = answer(bob.get("/api/v1/wallets/bob"))[1]["transactions"]
    assert line["message"] == "from alice"
    assert re.fullmatch(r"[0-9a-f]{32}", line["receiptid"])
    receipt = answer(bob.get(f"/api/v1/receipts/{line['receiptid']}"))[1]
    assert sum(coin["value"] for coin in receipt["coins"]) == 11


def test_coins_in_doubt_leave_the_balance_and_come_back_with_a_line_each(
    network: LocalNetwork, mint: Mint, alice: Caller
) -> None:
    give(alice, mint, 0, 0)
    network.fault(range(25), "silent")
    work(answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 2})))
    in_doubt = lines(alice)
    network.clear()
    Coin.objects.update(changed_at="2026-01-01T00:00Z")
    work(answer(alice.post("/api/v1/find", {"name": "alice"})))

    assert in_doubt == [("PutToLocker", -2, 0), ("Imported", 2, 2)]
    assert lines(alice) == [("Adjustment", 2, 2), *in_doubt]
    assert list(audit.audit_findings()) == []


def test_a_put_that_never_began_leaves_no_line(alice: Caller) -> None:
    stock(wallet_of(alice), 0, 0)
    started = answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 2}))
    LockerTask.objects.update(deadline="2026-01-01T00:00Z")

    task = ended(alice, work(started))

    assert (task["status"], task["details"]["total_failed"]) == ("error", 2)
    assert lines(alice) == [("Imported", 2, 2)]


def test_pages_follow_each_other_while_new_lines_arrive(alice: Caller) -> None:
    stock(wallet_of(alice), *[0] * 7)
    for _ in range(6):
        post(wallet_of(alice), 1)

    seen, path = [], "/api/v1/wallets/alice/statement?limit=3"
    while path:
        response = alice.get(path)
        seen += [each["details"]["number"] for each in answer(response)[1]["transactions"]]
        post(wallet_of(alice), 1)
        link = re.match(r"<http://testserver(.*)>", response.get("Link", ""))
        path = link[1] if link else ""

    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_a_statement_is_for_who_controls_the_wallet(alice: Caller, bob: Caller) -> None:
    stock(wallet_of(alice), 0)

    assert answer(bob.get("/api/v1/wallets/alice/statement")) == (
        403,
        {
            "status": "error",
            "error": True,
            "message": "The wallet alice is not yours, and you do not manage it",
            "code": 403,
        },
    )
    assert answer(alice.get("/api/v1/wallets/nobody/statement"))[0] == 404
    assert answer(alice.get("/api/v1/wallets/alice/statement?cursor=x"))[0] == 422


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE lockers_account SET balance = balance + 1", "balance is what the coins of the wallet are worth"),
        ("UPDATE lockers_account SET lines = lines + 1", "statement adds up to the balance"),
        ("UPDATE lockers_coin SET state = 'limbo', proposed = ''", "balance is what the coins of the wallet are worth"),
        ("UPDATE lockers_coin SET denomination = 1", "balance is what the coins of the wallet are worth"),
        ("UPDATE lockers_statementline SET amount = amount + 1 WHERE number = 2", "statement adds up to the balance"),
        ("UPDATE lockers_statementline SET amount = amount + 1", "statement line follows the one before"),
        ("DELETE FROM lockers_statementline WHERE number = 1", "statement line follows the one before"),
    ],
)
def test_the_audit_finds_what_was_changed_behind_the_statement(statement: str, finding: str, alice: Caller) -> None:
    stock(wallet_of(alice), 0)
    stock(wallet_of(alice), 0)
    assert list(audit.audit_findings()) == []
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE lockers_statementline DISABLE TRIGGER USER")
        cursor.execute(statement)

    assert finding in {each.check for each in audit.audit_findings()}


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE lockers_statementline SET amount = 5", "lines are only appended"),
        ("DELETE FROM lockers_statementline", "lines are only appended"),
        ("DELETE FROM lockers_account", "an account stays with its lines"),
        ("UPDATE lockers_account SET balance = -1", "account_is_never_overdrawn"),
    ],
)
def test_the_database_refuses_to_rewrite_a_statement(statement: str, why: str, alice: Caller) -> None:
    stock(wallet_of(alice), 0)

    with pytest.raises(DatabaseError, match=why), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert list(StatementLine.objects.values_list("amount", "running_balance")) == [(10**8, 10**8)]


def test_lines_that_are_written_at_once_are_numbered_without_a_gap(transactional_db: None) -> None:
    wallet = wallet_of(logged_in("alice", "unused"))

    race([lambda: post(wallet, 1)] * 16)

    written = StatementLine.objects.order_by("number").values_list("number", "running_balance")
    assert list(written) == [(number, number) for number in range(1, 17)]
    assert Account.objects.values_list("balance", "lines").get() == (16, 16)
