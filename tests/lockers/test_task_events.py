"""Events of tasks and coins in the event feed: written with the result of the task, and without a secret."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from lockers import account_ledger, task_events, tasks
from lockers.models import LockerTask
from lockers.operations import put as put_coins
from lockers.states import TaskKind
from lockers.worker import finalize, task_store
from tests.api.caller import Caller, answer, logged_in
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.api_description import misfits
from tests.support.coin_commands import find
from tests.support.local_network import LocalNetwork
from tests.support.locker_requests import ended, give, wallet_of, work
from transfers import events
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.models import Event, Wallet

OURS = {*task_events.TYPE_OF.values(), "coins.received"}


@pytest.fixture
def alice(db: None) -> Caller:
    return logged_in("alice", "unused")


@pytest.fixture
def bob(db: None) -> Caller:
    return logged_in("bobby", "unused")


def told(caller: Caller) -> list[tuple[str, dict[str, Any]]]:
    """Return the types and payloads of the events of coins that the caller reads."""
    rows, _ = events.page_of(events.wallets_of(actor_id=wallet_of(caller).pk, wallet=None), limit=1000)
    assert [misfits("EventPayload", dict(row.payload)) for row in rows] == [[]] * len(rows)
    return [(row.type, row.payload) for row in rows if row.type in OURS]


def test_import_put_and_take_are_events(
    network: LocalNetwork, mint: Mint, alice: Caller, bob: Caller, code: str
) -> None:
    give(alice, mint, 0, 0, 0, 0)
    imported = LockerTask.objects.get()
    put = work(answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 3, "transmit_code": code})))
    take = work(answer(bob.post("/api/v1/locker/take", {"name": "bobby", "transmit_code": code})))
    locker_id = LockerTask.objects.get(pk=put).locker_id
    assert ended(bob, take)["status"] == "completed"

    assert told(alice) == [
        ("coins.import.settled", {"taskId": str(imported.pk), "taskState": "completed", "amount": 4}),
        ("coins.received", {"taskId": str(imported.pk), "amount": 4, "balance": 4, "lineType": "Imported"}),
        (
            "locker.put.settled",
            {"taskId": put, "taskState": "completed", "lockerId": str(locker_id), "amount": 3},
        ),
    ]
    assert told(bob) == [
        ("locker.take.settled", {"taskId": take, "taskState": "completed", "amount": 3}),
        ("coins.received", {"taskId": take, "amount": 3, "balance": 3, "lineType": "GetFromLocker"}),
    ]
    assert not any(code in str(event.payload) for event in Event.objects.all())


def test_a_transfer_and_an_export_are_events_and_the_receiver_learns_from_whom(alice: Caller) -> None:
    giver = wallet_of(alice)
    sapling = trusts.open_managed_wallet(actor=giver, name="sapling")
    stock(giver, 0, 0, -1)
    before = len(told(alice))

    body = {"srcname": "alice", "dstname": "sapling", "amount": "1.1"}
    sent = answer(alice.post("/api/v1/transfer", body))[1]["id"]
    exported = answer(alice.post("/api/v1/export", {"name": "alice", "amount": 1, "type": "bin"}))[1]["id"]

    assert told(alice)[before:] == [
        (
            "coins.received",
            {
                "walletSender": "alice",
                "taskId": sent,
                "amount": 1.1,
                "balance": 1.1,
                "lineType": "TransferIn",
            },
        ),
        (
            "coins.transfer.settled",
            {"walletReceiver": "sapling", "taskId": sent, "taskState": "completed", "amount": 1.1},
        ),
        ("coins.export.settled", {"taskId": exported, "taskState": "completed", "amount": 1}),
    ]
    assert [event.wallet_id for event in Event.objects.filter(payload__taskId=sent).order_by("number")] == [
        sapling.pk,
        giver.pk,
    ]


def test_a_result_that_a_find_settles_later_is_an_event_again(network: LocalNetwork, mint: Mint, alice: Caller) -> None:
    give(alice, mint, 0, 0, 0, 0)
    network.fault(range(13), "drop-reply")
    put = work(answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 2})))
    network.clear()

    found = find(wallet_of(alice))

    unknown, settled = [payload for kind, payload in told(alice) if kind == "locker.put.settled"]
    assert (unknown["taskState"], unknown["amount"], unknown["amountUnknown"]) == ("error", 0, 2)
    locker_id = str(LockerTask.objects.get(pk=put).locker_id)
    assert settled == {
        "taskId": put, "taskState": "completed", "lockerId": locker_id, "amount": 2, "settledBy": str(found.pk),
    }  # fmt: skip


def test_a_task_without_coins_is_an_event_too(network: LocalNetwork, alice: Caller, code: str) -> None:
    take = work(answer(alice.post("/api/v1/locker/take", {"name": "alice", "transmit_code": code})))

    assert told(alice) == [("locker.take.settled", {"taskId": take, "taskState": "error", "amount": 0})]


def test_kinds_that_move_no_coins_have_none() -> None:
    assert set(task_events.TYPE_OF) == {
        TaskKind.PUT, TaskKind.TAKE, TaskKind.IMPORT, TaskKind.EXPORT, TaskKind.TRANSFER,
    }  # fmt: skip


@pytest.mark.parametrize("kind", task_events.TYPE_OF)
def test_an_event_names_the_locker_of_a_put_and_the_receiver_of_a_transfer(kind: TaskKind, alice: Caller) -> None:
    """A take that takes an expired locker's coins back has a locker too."""
    task_id, locker_id, later = uuid4(), uuid4(), uuid4()
    result = {"total": 10**8, "total_stored": 2 * 10**8, "total_failed": 0, "total_left": 3 * 10**8, "to": "bobby"}

    task_events.record_settled(
        task_id=task_id, kind=kind, wallet_id=wallet_of(alice).pk, locker_id=locker_id, state="error", result=result,
        settled_by=later,
    )  # fmt: skip

    expected: dict[str, Any] = {"taskId": str(task_id), "taskState": "error", "settledBy": str(later)}
    expected |= {"amount": 2 if kind is TaskKind.PUT else 1, "amountLeft": 3}
    expected |= {"lockerId": str(locker_id)} if kind is TaskKind.PUT else {}
    expected |= {"walletReceiver": "bobby"} if kind is TaskKind.TRANSFER else {}
    assert told(alice) == [(task_events.TYPE_OF[kind], expected)]


def _superseded(held: task_store.Claim, _: pytest.MonkeyPatch) -> None:
    LockerTask.objects.filter(pk=held.task_id).update(attempt=held.attempt + 1)


def _interrupted(_: task_store.Claim, patch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("killed")

    patch.setattr(account_ledger, "post", fail)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("happens", [_superseded, _interrupted])
def test_an_outcome_that_is_not_committed_has_no_event(
    happens: Callable[[task_store.Claim, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    alice: Wallet = wallets.create_wallet(name="alice")
    stock(alice, 0)
    held = task_store.claim(task_id=put_coins.start(actor=alice, name="alice", units=10**8).task.pk)
    assert held is not None
    with monkeypatch.context() as patch:
        happens(held, patch)
        with pytest.raises((RuntimeError, task_store.TaskSuperseded)):
            finalize.conclude(held=held)
    assert not Event.objects.filter(type="locker.put.settled").exists()

    LockerTask.objects.update(lease_until=None)
    tasks.run(str(held.task_id))

    assert Event.objects.filter(type="locker.put.settled").count() == 1
