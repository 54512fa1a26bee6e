"""Transfers between wallets: rights, amounts, both statements, and 32 clients at once."""

from typing import Any

import pytest

from lockers import audit, delivery, errors, tasks
from lockers.models import Account, Coin, LockerTask, ReceiptLine, StatementLine
from lockers.operations import export, new_task, put, reserve, transfer
from lockers.raida.coins import UNITS_PER_COIN
from lockers.states import CoinState, FileType
from tests.api.caller import Caller, answer, logged_in
from tests.concurrency.races import kinds, race
from tests.lockers.books import assert_true_to_the_servers
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.coin_commands import give
from tests.support.local_network import LocalNetwork
from tests.support.locker_requests import assert_refused, wallet_of
from trusts import operations as trusts
from trusts.models import Trust
from trusts.states import TrustRequestType
from wallets.models import Wallet

CLIENTS = 32


@pytest.fixture
def alice(db: None) -> Caller:
    return logged_in("alice", "unused")


@pytest.fixture
def bob(db: None) -> Caller:
    """A wallet without a trust relationship to alice."""
    return logged_in("bobby", "unused")


@pytest.fixture
def sapling(alice: Caller) -> Wallet:
    return trusts.open_managed_wallet(actor=wallet_of(alice), name="sapling")


def trust(requester: Caller, requestee: Caller, request_type: str) -> None:
    trusts.request_trust(
        actor=wallet_of(requester),
        requester=wallet_of(requester).name,
        requestee=wallet_of(requestee).name,
        request_type=TrustRequestType(request_type),
    )
    trusts.accept_trust(actor=wallet_of(requestee), trust_id=Trust.objects.latest("created_at").pk)


def books() -> tuple[Any, ...]:
    return tuple(
        list(model.objects.order_by("pk").values()) for model in (Coin, LockerTask, ReceiptLine, StatementLine, Account)
    )


def held(wallet: Wallet) -> list[int]:
    return sorted(Coin.objects.filter(wallet=wallet, state="bank").values_list("denomination", flat=True))


def test_coins_go_to_a_managed_wallet_exactly_and_at_once(alice: Caller, sapling: Wallet) -> None:
    stock(wallet_of(alice), 1, 1, 0, 0, -1)
    body = {"srcname": "alice", "dstname": "sapling", "amount": 21, "tag": "rent"}

    status, done = answer(alice.post("/api/v1/transfer", body))

    receipt_id = done["data"]["receipt_id"]
    assert (status, done) == (
        200,
        {
            "id": str(LockerTask.objects.get(kind="transfer").pk),
            "status": "completed",
            "progress": 100,
            "message": "Transferred.",
            "data": {"total": 21, "coins": 3, "srcname": "alice", "dstname": "sapling", "receipt_id": receipt_id},
        },
    )
    task = answer(alice.get(f"/api/v1/task/{done['id']}"))[1]
    assert {name: task[name] for name in done} == done
    assert (held(wallet_of(alice)), held(sapling)) == ([-1, 0], [0, 1, 1])
    receipt = answer(alice.get(f"/api/v1/receipts/{receipt_id}"))[1]
    assert sorted((coin["value"], coin["pown"], coin["result"]) for coin in receipt["coins"]) == [
        (1, "p" * 25, "bank"),
        (10, "p" * 25, "bank"),
        (10, "p" * 25, "bank"),
    ]
    assert list(audit.audit_findings()) == []


def test_both_statements_tell_of_it(alice: Caller, bob: Caller) -> None:
    stock(wallet_of(alice), 1, 0)
    trust(alice, bob, "send")

    done = answer(
        alice.post("/api/v1/transfer", {"srcname": "alice", "dstname": "bobby", "amount": 10, "tag": "thanks"})
    )[1]

    (line,) = answer(bob.get("/api/v1/wallets/bobby/statement"))[1]["transactions"]
    moment = line.pop("datetime")
    assert line == {
        "amount": 10,
        "message": "thanks",
        "type": "TransferIn",
        "receiptid": done["data"]["receipt_id"],
        "details": {"number": 1, "task_id": done["id"], "wallet": "alice"},
        "running_balance": 10,
    }
    newest = answer(alice.get("/api/v1/wallets/alice"))[1]["transactions"][0]
    assert newest == line | {
        "amount": -10,
        "type": "TransferOut",
        "datetime": moment,
        "details": {"number": 2, "task_id": done["id"], "wallet": "bobby"},
        "running_balance": 1,
    }
    assert answer(bob.get(f"/api/v1/receipts/{line['receiptid']}"))[0] == 200
    assert answer(bob.get(f"/api/v1/task/{done['id']}"))[0] == 404


NO_TRUST = (
    "The wallet bobby has not agreed to receive from alice: that needs a trust of the two,"
    " or put the coins into a locker and give its code to the owner"
)
NOT_ALICES = "The wallet bobby is not yours, and you do not manage it"
REFUSALS: list[tuple[dict[str, Any], int, str]] = [
    ({}, 403, NO_TRUST),
    ({"srcname": "bobby", "dstname": "alice"}, 403, NOT_ALICES),
    ({"srcname": "nobody"}, 404, "Could not find entity by wallet name: nobody"),
    ({"dstname": "nobody"}, 404, "Could not find entity by wallet name: nobody"),
    ({"dstname": "ALICE"}, 422, "Cannot move coins from a wallet to itself"),
    ({"dstname": "sapling", "amount": 12}, 422, "Not enough coins: 11 of 12 are free in this wallet"),
    ({"amount": 0}, 422, '"amount" must be greater than 0'),
    ({"amount": 0.5}, 422, '"amount" must be a whole number, or a decimal text such as "0.5"'),
    ({"amount": "1e3"}, 422, '"amount" must be a whole number, or a decimal text such as "0.5"'),
    ({"amount": True}, 422, '"amount" must be a number'),
    ({"dstname": "sapling", "amount": 90000000000}, 422, "Not enough coins: 11 of 90000000000 are free in this wallet"),
    ({"amount": "90000000001"}, 422, '"amount" must be less than or equal to 90000000000'),
    ({"colour": "red"}, 422, '"colour" is not allowed'),
]


@pytest.mark.parametrize(("change", "status", "message"), REFUSALS)
def test_a_transfer_that_may_not_be_changes_nothing(
    change: dict[str, Any], status: int, message: str, alice: Caller, bob: Caller, sapling: Wallet
) -> None:
    stock(wallet_of(alice), 1, 0)
    stock(wallet_of(bob), 0)
    before = books()

    got = answer(alice.post("/api/v1/transfer", {"srcname": "alice", "dstname": "bobby", "amount": 1, **change}))

    assert_refused(got, status, message)
    assert books() == before


@pytest.mark.parametrize(
    ("requester", "request_type", "may"),
    [
        ("alice", "send", True),
        ("bobby", "receive", True),
        ("bobby", "send", False),
        ("alice", "receive", False),
        ("alice", "manage", True),
        ("bobby", "yield", True),
        ("bobby", "manage", False),
    ],
)
def test_the_trusts_that_let_tokens_pass_let_coins_pass(
    requester: str, request_type: str, may: bool, alice: Caller, bob: Caller
) -> None:
    stock(wallet_of(alice), 0)
    parties = (alice, bob) if requester == "alice" else (bob, alice)
    trust(*parties, request_type)

    status, _ = answer(alice.post("/api/v1/transfer", {"srcname": "alice", "dstname": "bobby", "amount": "1"}))

    assert status == (200 if may else 403)
    assert held(wallet_of(bob)) == ([0] if may else [])
    assert list(audit.audit_findings()) == []


def test_a_manager_moves_coins_out_of_what_it_manages_and_a_trust_that_ended_moves_nothing(
    alice: Caller, bob: Caller
) -> None:
    stock(wallet_of(bob), 0, 0)
    trust(alice, bob, "manage")
    body = {"srcname": "bobby", "dstname": "alice", "amount": 1}
    assert answer(alice.post("/api/v1/transfer", body))[0] == 200

    trusts.delete_trust(actor=wallet_of(alice), trust_id=Trust.objects.get().pk)

    assert_refused(answer(alice.post("/api/v1/transfer", body)), 403, NOT_ALICES)
    assert (held(wallet_of(alice)), held(wallet_of(bob))) == ([0], [0])


def test_coins_that_a_task_holds_stay_and_fractions_are_exact(alice: Caller, sapling: Wallet) -> None:
    stock(wallet_of(alice), -8, -1)
    reserved = stock(wallet_of(alice), 0)
    Coin.objects.filter(pk=reserved[0].pk).update(
        task=LockerTask.objects.earliest("created_at"), batch=0, outcome="-" * 25
    )
    body = {"srcname": "alice", "dstname": "sapling", "amount": "0.10000001"}

    status, done = answer(alice.post("/api/v1/transfer", body))

    assert (status, done["data"]["total"]) == (200, 0.10000001)
    assert held(sapling) == [-8, -1]
    assert answer(alice.post("/api/v1/transfer", {**body, "amount": 1}))[0] == 422


def test_a_bigger_coin_is_broken_first_where_no_coins_make_the_amount(
    alice: Caller, sapling: Wallet, network: LocalNetwork, mint: Mint
) -> None:
    give(wallet_of(alice), mint(1, 0, 0, 0))
    body = {"srcname": "alice", "dstname": "sapling", "amount": 5, "tag": "rent"}

    status, begun = answer(alice.post("/api/v1/transfer", body))
    reserved = Coin.objects.filter(task=begun["id"]).count()
    tasks.run(begun["id"])

    assert (status, begun) == (200, {"id": begun["id"], "status": "running", "progress": 0})
    assert reserved == 4
    task = answer(alice.get(f"/api/v1/task/{begun['id']}"))[1]
    assert (task["status"], task["message"], task["progress"]) == ("completed", "Transferred.", 100)
    assert {**task["data"], "receipt_id": ""} == {
        "total": 5, "coins": 5, "srcname": "alice", "dstname": "sapling", "receipt_id": "",
    }  # fmt: skip
    assert [each["command"] for each in task["steps"]] == ["get_available_sns", "break"]
    assert (held(wallet_of(alice)), held(sapling)) == ([0] * 8, [0] * 5)
    stored = StatementLine.objects.order_by("wallet__name", "number")
    lines = [(line.wallet.name, line.type, line.amount / UNITS_PER_COIN) for line in stored]
    assert lines == [("alice", "Imported", 13), ("alice", "TransferOut", -5), ("sapling", "TransferIn", 5)]
    assert_true_to_the_servers()


def test_nothing_leaves_the_wallet_when_the_coin_cannot_be_broken(
    alice: Caller, sapling: Wallet, network: LocalNetwork, mint: Mint
) -> None:
    give(wallet_of(alice), mint(1, 0, 0, 0))
    body = {"srcname": "alice", "dstname": "sapling", "amount": 5}
    begun = answer(alice.post("/api/v1/transfer", body))[1]
    network.fault(range(13), "down")

    tasks.run(begun["id"])

    network.clear()
    task = answer(alice.get(f"/api/v1/task/{begun['id']}"))[1]
    assert (task["status"], task["message"]) == (
        "error",
        "Nothing has left the wallet. Fewer than 13 servers name the same ten free serial numbers for the change.",
    )
    assert (held(wallet_of(alice)), held(sapling)) == ([0, 0, 0, 1], [])
    assert StatementLine.objects.filter(type__startswith="Transfer").count() == 0
    assert_true_to_the_servers()


def test_a_fracked_coin_is_not_broken_for_a_transfer(alice: Caller, sapling: Wallet) -> None:
    stock(wallet_of(alice), 1, state=CoinState.FRACKED)
    stock(wallet_of(alice), 0)
    before = books()

    got = answer(alice.post("/api/v1/transfer", {"srcname": "alice", "dstname": "sapling", "amount": 5}))

    assert_refused(got, 422, "The coins in this wallet cannot make 5 exactly; the nearest are 1 or 10")
    assert books() == before


# Races, on real connections.


@pytest.fixture
def stocked(transactional_db: None) -> tuple[Wallet, Wallet]:
    alice = logged_in("alice", "unused").wallet
    assert alice is not None
    stock(alice, *[0] * 40, state=CoinState.BANK)
    return alice, trusts.open_managed_wallet(actor=alice, name="sapling")


def three_coins(alice: Wallet, source: str = "alice", destination: str = "sapling") -> str:
    try:
        transfer.start(actor=alice, source=source, destination=destination, units=3 * UNITS_PER_COIN)
    except (errors.NotEnoughCoins, errors.CoinsBusy) as error:
        return type(error).__name__
    return "moved"


def test_32_clients_drain_a_wallet_to_the_last_coin_and_not_further(stocked: tuple[Wallet, Wallet]) -> None:
    alice, sapling = stocked

    outcomes = race([lambda: three_coins(alice)] * CLIENTS)
    while (left := three_coins(alice)) == "moved":
        outcomes.append(left)

    assert kinds(outcomes)["moved"] == 13
    assert set(kinds(outcomes)) <= {"moved", "NotEnoughCoins", "CoinsBusy"}
    assert (len(held(alice)), len(held(sapling))) == (1, 39)
    assert list(audit.audit_findings()) == []


def test_control_without_the_lock_coins_are_moved_twice_and_the_audit_sees_it(
    stocked: tuple[Wallet, Wallet], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = stocked
    monkeypatch.setattr(reserve, "_LOCK_FREE", reserve._LOCK_FREE.replace("FOR NO KEY UPDATE SKIP LOCKED", ""))
    monkeypatch.setattr(
        delivery,
        "_HAND_OVER",
        delivery._HAND_OVER.split("WHERE")[0]
        + "WHERE id = ANY(%s) AND %s::uuid <> id AND %s::uuid IS NULL AND 'x' <> ALL(%s)",
    )

    outcomes = race([lambda: three_coins(alice)] * CLIENTS)

    assert kinds(outcomes)["moved"] > 1
    assert list(audit.audit_findings()) != []


def test_coins_that_travel_both_ways_at_once_end_without_a_deadlock(stocked: tuple[Wallet, Wallet]) -> None:
    alice, sapling = stocked
    stock(sapling, *[0] * 40)

    def travel(client: int) -> list[str]:
        ways = [("alice", "sapling"), ("sapling", "alice")]
        return [three_coins(alice, *ways[(client + trip) % 2]) for trip in range(4)]

    outcomes = [
        each for trips in race([lambda client=client: travel(client) for client in range(CLIENTS)]) for each in trips
    ]  # type: ignore[misc]

    assert set(outcomes) <= {"moved", "NotEnoughCoins", "CoinsBusy"}
    assert outcomes.count("moved") >= CLIENTS
    assert len(held(alice)) + len(held(sapling)) == 80
    assert list(audit.audit_findings()) == []


def test_puts_exports_and_transfers_at_once_never_take_the_same_coin(stocked: tuple[Wallet, Wallet]) -> None:
    alice, sapling = stocked
    units = 2 * UNITS_PER_COIN
    ways = [
        lambda: transfer.start(actor=alice, source="alice", destination="sapling", units=units),
        lambda: export.start(actor=alice, name="alice", units=units, file_type=FileType.BIN),
        lambda: put.start(actor=alice, name="alice", units=units),
    ]

    begun = [each for each in race(ways * 10) if isinstance(each, new_task.Started)]

    assert len(begun) > 3
    moved = Coin.objects.filter(wallet=sapling).count()
    exported = Coin.objects.filter(wallet=alice, state="exported").count()
    reserved = Coin.objects.filter(wallet=alice, task__isnull=False).count()
    assert moved + exported + reserved == 2 * len(begun)
    assert moved + exported + reserved + Coin.objects.filter(wallet=alice, state="bank", task=None).count() == 40
    assert list(audit.audit_findings()) == []
