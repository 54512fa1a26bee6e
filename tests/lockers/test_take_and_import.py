"""Takes and imports, through every outcome of 25 servers."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from config.api.cloudcoin import urls
from lockers import errors, tasks, vault
from lockers.models import Coin, LockerTask, ReceiptLine
from lockers.operations import find as find_coins
from lockers.operations import import_files, new_task
from lockers.operations import peek as peek_locker
from lockers.operations import take as take_coins
from lockers.raida import codes
from lockers.raida.archives import Member, write_zip
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.encryption import KIND_COIN
from lockers.raida.files import write_bin, write_png, write_stack
from lockers.worker import broadcast, peek, task_store
from lockers.worker.take import reserve_listed
from tests.api.caller import Caller, answer, logged_in
from tests.localnet import requests
from tests.localnet.coins import tell_all
from tests.localnet.requests import CoinPan
from tests.lockers.books import assert_true_to_the_servers, finish, holders, states
from tests.lockers.conftest import Mint
from tests.support.coin_commands import find, give, half_swapped, kinds, listening, put
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet

# What each fault makes of coins that come in when 12 or 13 servers have it, and after a find.
OURS, LIMBO = {"bank", "fracked"}, {"limbo"}
OUTCOMES = {
    ("silent", 12): (OURS, OURS),
    ("silent", 13): (LIMBO, OURS),
    ("drop-reply", 13): (LIMBO, OURS),
    ("garbage", 25): (LIMBO, OURS),
    ("down", 12): (OURS, OURS),
    ("down", 13): (LIMBO, OURS),
    ("wrong-secret", 12): ({"fracked"}, {"fracked"}),
    ("status:252", 13): ({"errored"}, OURS),
    ("crash", 13): (LIMBO, OURS),
}


def take(wallet: Wallet, code: str) -> LockerTask:
    return finish(take_coins.start(actor=wallet, name=wallet.name, code=code))


# Other faults are gone through in `tests.chaos.test_outcomes`.
@pytest.mark.parametrize(("fault", "count"), [("wrong-secret", 12), ("status:252", 13)])
def test_a_take_ends_right_whatever_servers_do(
    fault: str, count: int, network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    assert put(alice, 12, code).state == "completed"
    at_first, in_the_end = OUTCOMES[fault, count]
    task = take_coins.start(actor=bob, name="bob", code=code)
    _break_after_the_peek(network, fault, count, task, code)

    ended = finish(task)

    assert set(states(bob)) <= at_first, ended.message
    assert ended.state == ("completed" if at_first & OURS else "error")
    _assert_in_the_end(network, bob, in_the_end, coins=3)
    assert states(alice) == {"sent": 3, "bank": 1}


def _break_after_the_peek(network: LocalNetwork, fault: str, count: int, task: new_task.Started, code: str) -> None:
    """A peek needs 13 answers, so the servers fail only after the coins were saved by a first attempt."""
    held = task_store.claim(task_id=task.task.pk)
    assert held is not None
    listing, keys, _ = peek.look_into(code, broadcast.servers())
    reserve_listed(held=held, wallet_id=task.task.wallet_id, coins=sorted(listing.coins), keys=keys)
    LockerTask.objects.filter(pk=task.task.pk).update(lease_until=None)
    network.fault(range(count), fault)


@pytest.mark.parametrize(("fault", "count"), OUTCOMES)
def test_an_import_ends_right_whatever_servers_do(
    fault: str, count: int, network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    upload = ("coins.bin", write_bin(mint(1, 0, 0, -8)))
    at_first, in_the_end = OUTCOMES[fault, count]
    network.fault(range(count), fault)

    task = finish(import_files.start(actor=alice, name="alice", uploads=[upload]))

    assert set(states(alice)) <= at_first
    assert (task.result["pown_results"]["total"], task.result["pown_results"]["counterfeit"]) == (4, 0)
    _assert_in_the_end(network, alice, in_the_end, coins=4)


def _assert_in_the_end(network: LocalNetwork, wallet: Wallet, in_the_end: set[str], *, coins: int) -> None:
    network.clear()
    if set(states(wallet)) & {"limbo", "errored"}:
        find(wallet)
    assert set(states(wallet)) <= in_the_end
    assert sum(states(wallet).values()) == coins
    assert_true_to_the_servers()


def test_nothing_happens_to_coins_when_no_server_can_be_reached(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str
) -> None:
    records = mint(0, 0, 0, 0)
    network.fault(range(25), "silent")

    task = finish(take_coins.start(actor=alice, name="alice", code=code))

    assert task.state == "error"
    assert task.message == (
        "Only 0 of 25 servers answered; 13 are needed to know what is in the locker. Nothing was changed."
    )
    assert task.result["raida"] == "n" * 25
    assert not Coin.objects.exists()
    network.clear()
    assert holders(records[0].coin, records[0].ans) == 25


def test_an_empty_locker_and_a_wrong_code_are_one_answer(network: LocalNetwork, alice: Wallet) -> None:
    task = take(alice, "NOBODY-EVER-USED-THIS")

    assert (task.state, task.message, task.result["raida"]) == (
        "error",
        "No locker with this code, or it was emptied already: the servers do not say which.",
        "f" * 25,
    )


def test_servers_that_forgot_the_locker_give_the_coins_all_the_same(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    network.fault(range(12), "forget")

    task = take(bob, code)

    assert (task.state, task.result["raida"]) == ("completed", "p" * 25)
    assert states(bob) == {"bank": 3}
    assert_true_to_the_servers()


def test_a_locker_that_all_servers_forgot_is_opened_by_what_the_books_remember(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    network.fault(range(25), "forget")

    with listening(monkeypatch) as heard:
        task = take(bob, code)
        again = take(bob, code)

    assert (task.state, task.result["total"], again.state) == ("completed", 12 * UNITS_PER_COIN, "error")
    assert (states(bob), states(alice)) == ({"bank": 3}, {"bank": 1, "sent": 3})
    assert set(kinds(heard, Command.DETECT)) == {KIND_COIN}
    assert_true_to_the_servers()


def test_what_most_servers_forgot_is_taken_together_with_what_they_still_list(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    network.fault(range(13), "forget")
    put(alice, 1, code)

    task = take(bob, code)

    assert (task.state, task.result["total"]) == ("completed", 13 * UNITS_PER_COIN)
    assert states(bob) == {"bank": 4}
    assert_true_to_the_servers()


def seen_by_task(wallet: Wallet, code: str) -> set[tuple[int, int]]:
    task = finish(peek_locker.start(actor=wallet, code=code))
    assert task.state == "completed", task.message
    return {(coin["denomination"], coin["sn"]) for coin in task.result["coins"]}


def seen_at_once(wallet: Wallet, code: str) -> set[tuple[int, int]]:
    found = peek.peek(actor_id=wallet.pk, code=code).coins
    return {(coin.denomination, coin.serial_number) for coin in found}


DOORS = {
    "GET /api/v1/locker/CODE": ("get", "/api/v1/locker/{code}", None),
    "POST /api/v1/locker/peek": ("post", "/api/v1/locker/peek", "transmit_code"),
    "GET /api/v1/verify-locker-contents/CODE": ("get", "/api/v1/verify-locker-contents/{code}", None),
    "GET /api/transactions/locker/peek": ("get", "/api/transactions/locker/peek?locker_key={code}", None),
    "POST /api/transactions/locker/peek": ("post", "/api/transactions/locker/peek", "locker_key"),
    "GET /api/locker/peek": ("get", "/api/locker/peek?locker_key={code}", None),
    "POST /api/locker/peek": ("post", "/api/locker/peek", "locker_key"),
}


def total_behind(door: str, caller: Caller, code: str) -> tuple[str, int]:
    """Peek with one of the endpoints, and return value and number of the coins in its response."""
    method, path, field = DOORS[door]
    path = path.format(code=code)
    status, body = answer(caller.get(path) if method == "get" else caller.post(path, {field: code}))
    assert status == 200, body
    if "id" in body:
        tasks.run(body["id"])
        _, body = answer(caller.get(f"/api/v1/task/{body['id']}"))
        assert body["status"] == "completed", body
        return body["data"]["total"], len(body["data"]["coins"])
    return body["coins"]["total_value"], body["coins"]["coin_count"]


@pytest.mark.parametrize("forgetting", [0, 12, 13, 25])
def test_what_a_peek_lists_is_what_a_take_takes(
    forgetting: int, network: LocalNetwork, mint: Mint, alice: Wallet, code: str
) -> None:
    looking = [
        method
        for each in urls.urlpatterns
        for method, action in each.callback.actions.items()
        if method != "head" and action in ("peek", "peek_with_body")
    ]
    assert len(looking) == len(DOORS)
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    network.fault(range(forgetting), "forget")
    bob = logged_in("bob", "unused")
    assert bob.wallet is not None

    seen = {door: total_behind(door, bob, code) for door in DOORS}
    listed = seen_by_task(bob.wallet, code)
    at_once = seen_at_once(bob.wallet, code)
    task = take(bob.wallet, code)

    assert task.result["total"] == 12 * UNITS_PER_COIN
    taken = set(Coin.objects.filter(wallet=bob.wallet).values_list("denomination", "serial_number"))
    assert (listed, at_once) == (taken, taken)
    assert {int(float(total)) for total, _ in seen.values()} == {12}
    assert {count for _, count in seen.values()} == {3}


def test_a_locker_that_is_forgotten_and_empty_is_seen_as_empty_through_every_door(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    take(bob, code)
    network.fault(range(25), "forget")

    task = finish(peek_locker.start(actor=alice, code=code))

    assert (task.state, take(alice, code).state) == ("error", "error")
    with pytest.raises(errors.PeekFailed):
        peek.peek(actor_id=alice.pk, code=code)


def test_a_forgotten_locker_that_was_emptied_before_gives_nothing(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12, code)
    taken = [WireCoin(row.denomination, row.serial_number) for row in Coin.objects.filter(state="locked")]
    keys = codes.locker_keys(code)
    everything = {
        raida: requests.remove(key, [CoinPan(coin, bytes(16)) for coin in taken]) for raida, key in enumerate(keys)
    }
    tell_all(network, Command.REMOVE, everything)

    task = take(bob, code)

    assert (task.state, states(bob)) == ("error", {})
    assert task.message == "No locker with this code, or it was emptied already: the servers do not say which."


def test_a_take_never_takes_coins_that_a_wallet_holds(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    """A server's list may be stale: the owner moved the coins on, and a remove by the old code would steal them."""
    records = mint(1, 0, 0, 0)
    give(alice, records)
    put(alice, 13, code)
    # Out of the locker by a pown, and not by a remove: real servers go on listing them.
    give(alice, [dataclasses.replace(record, ans=tuple(codes.locker_keys(code))) for record in records])
    assert states(alice) == {"bank": 4, "sent": 4}

    task = take(bob, code)

    assert task.state == "error"
    assert states(bob) == {}
    assert_true_to_the_servers()


def test_every_kind_of_file_is_read_and_each_outcome_is_told(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    one, two, three, four, five = mint(0, 1, -1, 2, 0)
    uploads = [
        ("one.bin", write_bin([one])),
        ("two.png", write_png([two])),
        ("three.stack", write_stack([dataclasses.replace(five)])),
        ("four.zip", write_zip([Member("inside.bin", write_bin([three, four])), Member("notes.txt", b"hello")])),
        ("again.bin", write_bin([one])),
        ("picture.gif", b"GIF89a"),
    ]

    started = import_files.start(actor=alice, name="alice", uploads=uploads, tag="gift")
    task = finish(started)

    assert task.state == "completed"
    assert [(each["name"], each["accepted"], each["refused"]) for each in task.result["files"]] == [
        ("one.bin", 1, 0),
        ("two.png", 1, 0),
        ("three.stack", 1, 0),
        ("four.zip/inside.bin", 2, 0),
        ("four.zip/notes.txt", 0, 0),
        ("again.bin", 0, 1),
        ("picture.gif", 0, 0),
    ]
    assert task.result["files"][5]["refusals"] == [
        {
            "sn": one.coin.serial_number,
            "denomination": 0,
            "reason": "This coin came in another file of the same import",
        }
    ]
    assert states(alice) == {"bank": 5}
    # The giver's copies are worth nothing any more.
    assert [holders(record.coin, record.ans) for record in (one, two, three, four, five)] == [0] * 5
    assert ReceiptLine.objects.filter(task=task, state="bank", pown="p" * 25).count() == 5
    assert_true_to_the_servers()


def test_a_coin_that_is_held_is_refused_and_nothing_changes(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet
) -> None:
    records = mint(0, 0, 0, 0)
    give(alice, records)
    before = list(Coin.objects.order_by("id").values()), LockerTask.objects.count()

    with pytest.raises(errors.NothingToImport) as refusal:
        import_files.start(actor=bob, name="bob", uploads=[("copy.bin", write_bin(records))])

    assert [each["refused"] for each in refusal.value.extra["files"]] == [4]
    assert (list(Coin.objects.order_by("id").values()), LockerTask.objects.count()) == before


def test_a_forged_coin_is_counterfeit_and_does_not_bar_the_true_one(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet
) -> None:
    true = mint(0, 0, 0, 0)
    forged = [dataclasses.replace(record, ans=vault.fresh_numbers()) for record in true]

    task = finish(import_files.start(actor=bob, name="bob", uploads=[("forged.bin", write_bin(forged))]))
    give(alice, true)

    assert task.result["pown_results"] == {
        "total": 4, "authentic": 0, "fracked": 0, "counterfeit": 4, "limbo": 0, "errored": 0,
    }  # fmt: skip
    assert (states(alice), states(bob)) == ({"bank": 4}, {"counterfeit": 4})
    assert_true_to_the_servers()


def test_a_file_of_a_transfer_that_was_cut_off_is_sorted_out_first(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    """Some servers hold the file's old number, some its proposed one."""
    records = mint(0, 0, 0, 0)
    half = [half_swapped(record) for record in records]

    task = finish(import_files.start(actor=alice, name="alice", uploads=[("half.bin", write_bin(half))]))

    assert (task.state, task.result["raida"]) == ("completed", "p" * 25)
    assert states(alice) == {"bank": 4}
    assert network.seen(Command.FIND) == 25
    assert_true_to_the_servers()


def test_a_find_soon_after_the_put_leaves_what_may_still_change(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(0, 0, 0, 0))
    network.fault(range(13), "silent")
    put(alice, 4)
    assert states(alice) == {"limbo": 4}
    network.clear()
    Coin.objects.update(changed_at=Now())

    early = finish(find_coins.start(actor=alice, name="alice"))
    assert (early.message, states(alice)) == (
        "4 coins are still in limbo: too few servers have confirmed who owns them. Ask again in 1 second or"
        " later (POST /api/v1/find); the servers are asked again"
        " automatically within the hour.",
        {"limbo": 4},
    )

    Coin.objects.update(changed_at=Now() - timedelta(seconds=2))
    finish(find_coins.start(actor=alice, name="alice"))
    assert states(alice) == {"bank": 4}
    assert_true_to_the_servers()


def test_totals_are_exact_down_to_the_smallest_coin(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(-8, -8, -1, 3))

    assert LockerTask.objects.get().result["total"] == 2 + UNITS_PER_COIN // 10 + 1000 * UNITS_PER_COIN


def test_a_task_shows_the_step_that_it_is_at(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen = task_store._in_one_statement, list[str]()

    def write_and_look(how: str, then: str, held: task_store.Claim, **values: Any) -> Any:
        row = write(how, then, held, **values)
        step = LockerTask.objects.values_list("step", flat=True).get(pk=held.task_id)
        if seen[-1:] != [step]:
            seen.append(step)
        return row

    monkeypatch.setattr(task_store, "_in_one_statement", write_and_look)

    def steps() -> list[str]:
        found, seen[:] = list(seen), []
        return found

    give(alice, mint(0, 0))
    assert steps() == ["sending"]
    put(alice, 2, code="XYZ-12ab")
    assert steps() == ["sending"]
    finish(peek_locker.start(actor=alice, code="XYZ-12ab"))
    assert steps() == ["peeking"]
    finish(take_coins.start(actor=alice, name="alice", code="XYZ-12ab"))
    assert steps() == ["peeking", "sending"]
