"""Lockers that expire: what is still in them comes back, a race is decided by 13 servers, and silence is no failure."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.postgres.functions import TransactionNow
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from lockers import competing_claims, errors, fair_queue, locker_expiry, queries, tasks, vault
from lockers import transport as wire
from lockers.locker_expiry import Expiry
from lockers.models import Coin, Locker, LockerTask
from lockers.operations import put as put_coins
from lockers.operations import take as take_coins
from lockers.operations import take_back
from lockers.operations.new_task import Started
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.states import CoinState, TaskState
from lockers.worker import broadcast, finalize, health_check, peek, task_store
from lockers.worker.take import reserve_listed
from tests.api.caller import answer, logged_in
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.coin_commands import Died, find, give, put
from tests.support.coin_rows import units
from tests.support.expiring_lockers import begin, fill, let_expire, steal_from, taken_back
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet


def known(locker: Locker) -> Expiry:
    found = locker_expiry.of_locker(Locker.objects.get(pk=locker.pk))
    assert found is not None
    return found


def message_of_the_put(wallet: Wallet, locker: Locker) -> str:
    task = LockerTask.objects.get(locker=locker, kind="put")
    view = queries.task_visible_to(actor=wallet, task_id=task.pk)
    receipt = queries.receipt_visible_to(actor=wallet, receipt_id=task.receipt_id)
    assert view.message == receipt.message
    return view.message


# Which times a put may name.


@pytest.mark.parametrize(
    ("ahead", "is_taken"),
    [
        (timedelta(minutes=4, seconds=50), False),
        (timedelta(minutes=6), True),
        (timedelta(days=365, hours=23), True),
        (timedelta(days=366, minutes=1), False),
        (timedelta(days=-1), False),
    ],
)
def test_a_put_names_a_time_between_five_minutes_and_a_year(alice: Wallet, ahead: timedelta, is_taken: bool) -> None:
    stock(alice, 0, 0)
    at = timezone.now() + ahead

    if is_taken:
        locker = put_coins.start(actor=alice, name="alice", units=units(2), expires_at=at).task.locker
        assert locker is not None
        locker.refresh_from_db()
        assert (locker.expires_at, locker.take_back_at, locker.returned) == (at, at, 0)
        return
    with pytest.raises(errors.ExpiryOutOfRange) as refused:
        put_coins.start(actor=alice, name="alice", units=units(2), expires_at=at)

    assert str(refused.value) == '"expires_at" must be at least 5 minutes and at most 366 days ahead'
    assert (Locker.objects.count(), LockerTask.objects.filter(kind="put").count(), states(alice)) == (0, 0, {"bank": 2})


# What comes back.


def test_what_was_not_taken_comes_back(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12)
    assert take_back.start_due() == []
    assert known(locker).outcome == "open"
    assert message_of_the_put(alice, locker).startswith("Stored. Expires on ")

    task = taken_back(locker)

    assert (task.kind, task.state, task.tag) == ("take", "completed", "rent")
    assert task.message == "Taken back: the locker had expired."
    assert states(alice) == {"bank": 4, "sent": 3}
    locker.refresh_from_db()
    assert (locker.state, locker.take_back_at, locker.returned) == ("emptied", None, units(12))
    assert (known(locker).outcome, known(locker).taken, known(locker).unknown) == ("taken_back", 0, 0)
    at = locker.returned_at
    assert message_of_the_put(alice, locker) == f"Stored. Taken back on {at:%Y-%m-%d at %H:%M:%S} UTC."
    lines = queries.statement_of(wallet=alice, limit=10).lines
    assert [(line.type, line.amount) for line in lines[:2]] == [
        ("GetFromLocker", units(12)),
        ("PutToLocker", -units(12)),
    ]
    assert take_back.start_due() == []
    assert_true_to_the_servers()


def test_a_locker_without_a_time_is_never_taken_back(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(0, 0, 0, 0))
    task = put(alice, 2)
    Locker.objects.update(created_at=Now() - timedelta(days=4000))

    assert take_back.start_due() == []
    assert locker_expiry.of_locker(task.locker) is None
    assert queries.task_visible_to(actor=alice, task_id=task.pk).message == "Stored."


@pytest.mark.parametrize("number", [12, 13], ids="{} servers".format)
def test_who_has_13_servers_has_the_coins(network: LocalNetwork, mint: Mint, alice: Wallet, number: int) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12)
    steal_from(network, locker, range(number))

    task = taken_back(locker)

    assert task.state == "completed"
    if number == 12:
        assert states(alice) == {"fracked": 3, "bank": 1, "sent": 3}
        assert (known(locker).outcome, known(locker).returned) == ("taken_back", units(12))
    else:
        # The receiver's program may still have the other twelve servers to ask.
        assert states(alice)["bank"] == 1
        while Locker.objects.get(pk=locker.pk).take_back_at is not None:
            task = taken_back(locker)
        assert (known(locker).outcome, known(locker).taken, known(locker).returned) == ("taken", units(12), 0)
    assert_true_to_the_servers()


def test_what_another_took_from_outside_is_said_to_be_taken(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12)
    steal_from(network, locker, range(25))

    task = taken_back(locker)

    assert task.state == "completed"
    assert task.message == "The locker had expired: 12 CloudCoin were taken by another holder of the code."
    assert (task.result["total"], task.result["total_taken_by_another"]) == (0, units(12))
    locker.refresh_from_db()
    assert (states(alice), locker.state, locker.take_back_at) == ({"bank": 1, "sent": 3}, "emptied", None)
    assert (known(locker).outcome, known(locker).taken) == ("taken", units(12))
    assert message_of_the_put(alice, locker) == (
        "Stored. Taken by another holder of the code before it was taken back."
    )
    assert_true_to_the_servers()


def test_of_a_locker_that_was_partly_taken_the_rest_comes_back(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12)
    ten = Coin.objects.get(locker=locker, denomination=1)
    steal_from(network, locker, range(25), [WireCoin(ten.denomination, ten.serial_number)])

    task = taken_back(locker)

    assert task.message == (
        "The locker had expired: 2 CloudCoin taken back; 10 CloudCoin were taken by another holder of the code."
    )
    assert (states(alice), Locker.objects.get().state) == ({"bank": 3, "sent": 3}, "emptied")
    at = Locker.objects.get().returned_at
    assert known(locker).outcome == "partly_taken_back"
    assert known(locker).message.endswith(
        f": 2 CloudCoin taken back on {at:%Y-%m-%d at %H:%M:%S} UTC;"
        " 10 CloudCoin were taken by another holder of the code."
    )
    assert_true_to_the_servers()


def test_who_took_them_here_before_the_time_leaves_nothing_to_take_back(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12, code)
    finish(take_coins.start(actor=bob, name="bob", code=code))

    locker.refresh_from_db()
    assert (locker.state, locker.take_back_at, locker.returned) == ("emptied", None, 0)
    let_expire(locker)
    assert take_back.start_due() == []
    assert message_of_the_put(alice, locker) == "Stored. Taken by another holder of the code before it expired."


def test_the_sender_takes_them_back_earlier_as_ever(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12, code)

    task = finish(take_coins.start(actor=alice, name="alice", code=code))

    assert task.message == "Taken."
    locker.refresh_from_db()
    assert (locker.take_back_at, known(locker).outcome, locker.returned) == (None, "taken_back", units(12))


# Silence.


def test_while_servers_are_silent_it_is_not_known_and_they_are_asked_again(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12)
    network.fault(range(13), "silent")

    task = taken_back(locker)

    assert (task.state, task.result["total"], task.result["total_not_known"]) == ("completed", 0, units(12))
    assert task.message == (
        "The locker had expired: fewer than 13 of 25 servers said where 12 CloudCoin are;"
        " they are asked again automatically."
    )
    locker.refresh_from_db()
    assert (states(alice), locker.state) == ({"bank": 1, "locked": 3}, "filled")
    assert locker.take_back_at is not None
    assert locker.take_back_at > timezone.now()
    assert (known(locker).outcome, known(locker).unknown) == ("unknown", units(12))
    assert "not known yet where 12 CloudCoin are" in message_of_the_put(alice, locker)

    network.clear()
    again = taken_back(locker)

    assert again.message == "Taken back: the locker had expired."
    # The first task says what it saw; what is known now is said with it.
    task.refresh_from_db()
    view = queries.task_visible_to(actor=alice, task_id=task.pk)
    assert view.expiry is not None
    assert view.expiry.outcome == "taken_back"
    assert_true_to_the_servers()


def test_twelve_servers_that_gave_the_coins_away_prove_nothing(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12)
    steal_from(network, locker, range(12))
    network.fault(range(12, 25), "silent")

    task = taken_back(locker)

    assert (task.state, task.result.get("total_taken_by_another", 0), task.result["total_not_known"]) == (
        "completed", 0, units(12),
    )  # fmt: skip
    assert states(alice) == {"bank": 1, "locked": 3}
    network.clear()
    taken_back(locker)
    assert (known(locker).outcome, known(locker).returned) == ("taken_back", units(12))
    assert_true_to_the_servers()


def test_coins_of_which_the_remove_was_not_answered_are_found(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12)
    task = begin(locker)
    held = task_store.claim(task_id=task.pk)
    assert held is not None
    listing, keys, _ = peek.look_into(vault.locker_code(locker), broadcast.servers())
    reserve_listed(held=held, wallet_id=alice.pk, coins=sorted(listing.coins), keys=keys)
    LockerTask.objects.filter(pk=task.pk).update(lease_until=None)
    network.fault(range(13), "drop-reply")

    task = finish(Started(task))

    assert (task.state, task.result["total_unknown"]) == ("completed", units(12))
    assert states(alice) == {"bank": 1, "limbo": 3, "locked": 3}
    assert (known(locker).outcome, known(locker).unknown) == ("unknown", units(12))
    # The coins have a claim, whose numbers the servers hold by now: another task can learn nothing about them.
    network.clear()
    assert taken_back(locker).result["total_not_known"] == units(12)
    assert states(alice) == {"bank": 1, "limbo": 3, "locked": 3}
    find(alice)

    assert known(locker).outcome == "taken_back"
    locker.refresh_from_db()
    assert (locker.state, locker.take_back_at, locker.returned) == ("emptied", None, units(12))
    task.refresh_from_db()
    assert task.message.startswith("Taken back: the locker had expired. Unknown at first; settled by a find on ")
    assert_true_to_the_servers()


def test_the_pause_doubles_and_a_task_at_work_is_not_doubled(alice: Wallet) -> None:
    stock(alice, 0)
    (row,) = Coin.objects.all()
    locker = Locker(wallet=alice, amount=units(1), state="filled", expires_at=timezone.now())
    locker.take_back_at = locker.expires_at
    locker.code = vault.seal_locker_code("ABC-1234", locker_id=locker.pk)
    locker.save(force_insert=True)
    Coin.objects.filter(pk=row.pk).update(state=CoinState.LOCKED, locker=locker)

    pauses = []
    for number in range(14):
        task = begin(locker)
        locker.refresh_from_db()
        assert locker.take_backs == number + 1
        # By the clock of the database, which stands still in a transaction.
        pauses.append(
            Locker.objects.values_list(F("take_back_at") - TransactionNow(), flat=True).get() // timedelta(seconds=1)
        )
        let_expire(locker)
        assert take_back.start_due() == []
        LockerTask.objects.filter(pk=task.pk).update(state=TaskState.COMPLETED, progress=100, finished_at=Now())

    assert pauses[:4] == [10, 20, 40, 80]
    assert pauses[-2:] == [21_600, 21_600]


def test_at_most_so_many_are_taken_back_at_once(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(0, 0, 0, 0))
    lockers = [fill(alice, 1) for _ in range(3)]
    for locker in lockers:
        let_expire(locker)

    first = take_back.start_due(limit=2)
    assert (len(first), take_back.start_due(limit=2)) == (2, [])
    for task_id in first:
        tasks.run(str(task_id))
    (last,) = take_back.start_due(limit=2)
    tasks.run(str(last))

    assert states(alice) == {"bank": 4, "sent": 3}


def test_what_is_taken_back_leaves_the_wallet_room_for_its_own_tasks(
    network: LocalNetwork, mint: Mint, alice: Wallet, settings: Any
) -> None:
    settings.OPEN_TASKS_PER_WALLET = 1
    give(alice, mint(0))
    let_expire(fill(alice, 1))
    assert len(take_back.start_due()) == 1

    fair_queue.admit(actor_id=alice.pk)


# Against a claim here.


def test_a_taker_here_who_has_begun_is_waited_for(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12, code)
    takes = take_coins.start(actor=bob, name="bob", code=code)
    held = task_store.claim(task_id=takes.task.pk)
    assert held is not None
    listing, keys, _ = peek.look_into(code, broadcast.servers())
    reserve_listed(held=held, wallet_id=bob.pk, coins=sorted(listing.coins), keys=keys)
    LockerTask.objects.filter(pk=takes.task.pk).update(lease_until=None)

    waits = begin(locker)
    tasks.run(str(waits.pk))
    waits.refresh_from_db()
    assert waits.is_parked
    finish(takes)
    assert competing_claims.unpark(limit=100) == [waits.pk]
    ended = finish(Started(waits))

    assert (ended.state, ended.result["total"], ended.result["total_left"]) == ("completed", 0, units(12))
    assert (states(bob), states(alice)) == ({"bank": 3}, {"bank": 1, "sent": 3})
    assert known(locker).outcome == "taken"
    assert_true_to_the_servers()


def test_a_claim_that_comes_while_the_servers_are_asked_decides(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender takes the coins by hand between the look into the locker and the question who has them."""
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12, code)
    back = begin(locker)
    by_hand = take_coins.start(actor=alice, name="alice", code=code)
    ask = health_check.ask_locked

    def take_by_hand_and_ask(rows: Any, **asked: Any) -> Any:
        with monkeypatch.context() as patch:
            # It dies when all servers have handed the coins out, and before any of that is recorded.
            patch.setattr(task_store, "settle", died)
            patch.setattr(finalize, "conclude", died)
            with pytest.raises(Died):
                tasks.run(str(by_hand.task.pk))
        return ask(rows, **asked)

    def look_in_vain(*args: Any, **asked: Any) -> Any:
        seen = look(*args, **asked)
        return dataclasses.replace(seen, coins=frozenset())

    look = peek.look
    with monkeypatch.context() as patch:
        patch.setattr(health_check, "ask_locked", take_by_hand_and_ask)
        patch.setattr(peek, "look", once(look_in_vain, look))
        ended = finish(Started(back))

    assert (ended.result.get("total_taken_by_another", 0), ended.result["total_not_known"]) == (0, units(12))
    LockerTask.objects.filter(pk=by_hand.task.pk).update(lease_until=None)
    finish(by_hand)
    assert (known(locker).outcome, known(locker).returned, states(alice)) == (
        "taken_back", units(12), {"bank": 4, "sent": 3},
    )  # fmt: skip
    assert_true_to_the_servers()


def died(**_: Any) -> Any:
    raise Died


def once(first: Callable[..., Any], then: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does the one thing when it is called first, and the other ever after."""
    calls = iter([first])

    def call(*args: Any, **asked: Any) -> Any:
        return next(calls, then)(*args, **asked)

    return call


# A worker that dies.


@pytest.mark.parametrize("command", [Command.PEEK, Command.REMOVE, Command.FIND], ids=str)
@pytest.mark.parametrize("is_sent", [False, True], ids=["before", "after"])
def test_a_worker_that_dies_at_any_command_loses_nothing(
    network: LocalNetwork,
    mint: Mint,
    alice: Wallet,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
    is_sent: bool,
) -> None:
    give(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 12)
    # One coin is gone, so that the servers are asked about it at the end.
    ten = Coin.objects.get(locker=locker, denomination=1)
    steal_from(network, locker, range(25), [WireCoin(ten.denomination, ten.serial_number)])
    task = begin(locker)

    with monkeypatch.context() as patch:
        patch.setattr(wire, "ask", dying(command, is_sent))
        with pytest.raises(Died):
            tasks.run(str(task.pk))
    LockerTask.objects.filter(pk=task.pk).update(lease_until=None)
    ended = finish(Started(task))

    assert ended.attempt == 2
    # A listing that was cut off may leave the coin that is gone to the next task.
    while Locker.objects.get().take_back_at is not None:
        taken_back(locker)
    assert (states(alice), known(locker).outcome) == ({"bank": 3, "sent": 3}, "partly_taken_back")
    assert (known(locker).returned, known(locker).taken) == (units(2), units(10))
    assert_true_to_the_servers()


def dying(command: Command, is_sent: bool) -> Callable[..., Any]:
    """Return a transport in which the worker dies before or after the first call of a command."""
    ask = wire.ask

    def ask_and_die(servers: Any, call: wire.Call, **how: Any) -> wire.Results:
        if call.command is not command:
            return ask(servers, call, **how)
        if is_sent:
            ask(servers, call, **how)
        raise Died

    return ask_and_die


def test_a_beginning_that_dies_before_its_commit_begins_again(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(0, 0, 0, 0))
    locker = fill(alice, 2)
    let_expire(locker)
    before = Locker.objects.values().get()

    def die(*_: Any) -> Any:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(take_back, "_open", die)
        with pytest.raises(Died):
            take_back.start_due()

    assert (Locker.objects.values().get(), LockerTask.objects.filter(kind="take").count()) == (before, 0)
    assert len(take_back.start_due()) == 1


# The API.


def test_the_api_takes_the_time_and_says_what_is_known(network: LocalNetwork, mint: Mint, db: None) -> None:
    caller = logged_in("alice", "unused")
    give(Wallet.objects.get(), mint(1, 0, 0, 0))
    at = (timezone.now() + timedelta(days=7)).replace(microsecond=0)
    time = f"{at:%Y-%m-%dT%H:%M:%S}.000Z"

    begun = answer(caller.post("/api/v1/locker", {"name": "alice", "amount": 12, "expires_at": time}))[1]
    tasks.run(begun["id"])
    locker = Locker.objects.get()
    assert (locker.expires_at, locker.take_back_at) == (at, at)

    put_data = answer(caller.get(f"/api/v1/task/{begun['id']}"))[1]
    expiry = {
        "expires_at": time,
        "outcome": "open",
        "message": f"Expires on {at:%Y-%m-%d at %H:%M:%S} UTC: what is in the locker then is taken back.",
        "returned": 0,
        "returned_at": None,
        "taken": 0,
        "not_known": 12,
    }
    assert (put_data["message"], put_data["data"]["expiry"]) == (f"Stored. {expiry['message']}", expiry)
    taken_back(locker)
    locker.refresh_from_db()
    after = answer(caller.get("/api/v1/lockers"))[1]["lockers"][0]
    assert (after["state"], after["remaining"], after["expiry"]["outcome"]) == ("emptied", 0, "taken_back")
    assert (after["expiry"]["returned"], after["expiry"]["taken"], after["expiry"]["not_known"]) == (12, 0, 0)
    receipt = answer(caller.get(f"/api/v1/receipts/{put_data['data']['receipt_id']}"))[1]
    assert receipt["expiry"] == after["expiry"]
    assert receipt["message"] == f"Stored. {after['expiry']['message']}"
    take = LockerTask.objects.get(kind="take")
    assert answer(caller.get(f"/api/v1/task/{take.pk}"))[1]["data"]["expiry"] == after["expiry"]


@pytest.mark.parametrize("value", ["soon", "2040-13-01", 17, None, ["2040-01-01"], "", "2026-01-01T00:00:00Z"])
def test_the_api_refuses_other_times_and_changes_nothing(db: None, value: Any) -> None:
    caller = logged_in("alice", "unused")
    stock(Wallet.objects.get(), 0, 0)
    before = Coin.objects.order_by("id").values("id", "task_id", "state")
    rows = list(before)

    status, body = answer(caller.post("/api/v1/locker", {"name": "alice", "amount": 1, "expires_at": value}))

    in_range = '"expires_at" must be at least 5 minutes and at most 366 days ahead'
    is_a_time = value == "2026-01-01T00:00:00Z"
    assert (status, body["message"]) == (422, in_range if is_a_time else '"expires_at" must be in ISO 8601 date format')
    assert (Locker.objects.count(), list(before.all())) == (0, rows)
