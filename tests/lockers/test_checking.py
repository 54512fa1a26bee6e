"""Servers that lose coins which they acknowledged: checks detect and record it, and repairs restore the coins."""

import re
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from lockers import errors, reports, tasks, vault
from lockers import transport as wire
from lockers.models import Coin, Locker, LockerTask, ServerHealth
from lockers.operations import fix, health, new_task, take
from lockers.operations import put as put_coins
from lockers.raida import codes
from lockers.raida.coins import UNITS_PER_COIN
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.worker import health_check, reconciliation, repair
from tests.admin.conftest import committed, committed_rows, desk, staff  # noqa: F401 - fixtures
from tests.api.caller import answer, logged_in
from tests.localnet import requests
from tests.localnet.requests import CoinAnPan
from tests.lockers.books import assert_true_to_the_servers, finish, holders_of_each, states
from tests.lockers.conftest import Mint
from tests.support.coin_commands import give, put
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet


def forget(rows: Collection[Coin], raidas: Collection[int]) -> None:
    """Let servers hold other numbers of coins than the rows say, as after a crash that lost the last seconds."""
    coins = [WireCoin(row.denomination, row.serial_number) for row in rows]
    held = [vault.open_numbers(row.secrets, coin_id=row.pk) for row in rows]
    lost = [vault.fresh_numbers() for _ in rows]
    payloads = {
        raida: requests.pown([CoinAnPan(coin, old, new) for coin, old, new in _numbers(coins, held, lost, raida)])
        for raida in raidas
    }
    servers = wire.servers_from_settings(django_settings.RAIDA_HOSTS)
    wire.ask(servers, wire.Call(command=Command.POWN, payloads=payloads), until=wire.within(5))


def _numbers(coins: Any, held: Any, lost: Any, raida: int) -> list[tuple[WireCoin, bytes, bytes]]:
    return [(coin, old[raida], new[raida]) for coin, old, new in zip(coins, held, lost, strict=True)]


def follow_up() -> None:
    thread = repair.follow_up()
    assert thread is not None
    thread.join()


def check_by_api(wallet: Wallet) -> None:
    assert finish(health.start(actor=wallet, name=wallet.name)).state == "completed"


def check_by_clock(wallet: Wallet) -> None:
    Coin.objects.update(changed_at=Now() - timedelta(minutes=1))
    tasks.check_coins()


def check_by_audit(wallet: Wallet) -> None:
    call_command("audit", "--servers")


WAYS: dict[str, Callable[[Wallet], None]] = {
    "api": check_by_api,
    "clock": check_by_clock,
    "audit": check_by_audit,
}


@pytest.mark.parametrize("way", WAYS)
def test_coins_that_servers_forgot_are_detected_recorded_and_fixed(
    way: str, network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(1, 0, 0, 0))
    lost = Coin.objects.order_by("id")[1]
    forget([lost], range(4, 8))
    network.fault([24], "silent")

    WAYS[way](alice)

    lost.refresh_from_db()
    assert (lost.state, lost.pown, lost.passes) == ("fracked", "p" * 4 + "f" * 4 + "p" * 17, 21)
    assert set(Coin.objects.exclude(pk=lost.pk).values_list("state", "pown")) == {("bank", "p" * 25)}
    assert not Coin.objects.filter(checked_at=None).exists()
    network.clear()
    Coin.objects.update(changed_at=Now() - timedelta(minutes=1))
    ServerHealth.objects.all().delete()
    (task_id,) = fix.start_overdue()
    finish(new_task.Started(LockerTask.objects.get(pk=task_id)))
    assert states(alice) == {"bank": 4}
    assert_true_to_the_servers()


def test_a_check_tells_what_it_found(
    network: LocalNetwork,
    mint: Mint,
    alice: Wallet,
    desk: Client,  # noqa: F811
) -> None:
    give(alice, mint(1, 0, 0, 0))
    forget(Coin.objects.order_by("id")[:1], range(12))

    task = finish(health.start(actor=alice, name="alice"))
    again = finish(health.start(actor=alice, name="alice"))

    assert (task.state, task.message) == (
        "completed",
        "1 of 4 coins is accepted by fewer servers than before; a fix repairs what it can.",
    )
    assert task.result == {
        "coins_checked": 4, "coins_refused": 1, "coins_doubtful": 0, "servers": {"fewest": 13, "most": 25},
        "raida": "f" * 12 + "p" * 13,
    }  # fmt: skip
    shown = desk.get(reverse("admin:wallets_wallet_change", args=[alice.pk])).content.decode()
    assert "1 of the coins to spend is thin</a>: accepted by fewer than 20 of 25 servers" in shown
    assert re.search(r"Checked with the servers \d+ s ago or later\.", shown)
    assert (again.message, again.result["coins_refused"]) == ("No server refuses a coin that it accepted before.", 0)


def test_refusals_that_would_leave_fewer_than_thirteen_servers_are_told_and_not_written(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(0, 0, 0, 0))
    forget(Coin.objects.order_by("id")[:1], range(13))

    task = finish(health.start(actor=alice, name="alice"))

    assert (task.result["coins_refused"], task.result["coins_doubtful"]) == (0, 1)
    assert task.message == ("1 of 4 coins may be accepted by fewer than 13 servers; these refusals were not recorded.")
    assert set(Coin.objects.values_list("state", "pown")) == {("bank", "p" * 25)}


def test_silence_changes_nothing_and_counts_as_no_check(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(0, 0, 0, 0))
    before = list(Coin.objects.order_by("id").values())
    network.fault(range(13), "silent")

    task = finish(health.start(actor=alice, name="alice"))

    assert (task.state, task.message) == (
        "error",
        "Fewer than 13 servers answered, so the check is incomplete; try again later.",
    )
    assert list(Coin.objects.order_by("id").values()) == before


def test_an_incomplete_check_names_the_refusals_that_it_recorded(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(0, 0))
    forget(Coin.objects.order_by("id")[:1], [24])
    network.fault(range(13), "silent")

    task = finish(health.start(actor=alice, name="alice"))

    assert (task.state, task.message) == (
        "error",
        "Fewer than 13 servers answered, so the check is incomplete; try again later;"
        " 1 of 2 coins is accepted by fewer servers than before; a fix repairs what it can.",
    )
    assert sorted(Coin.objects.values_list("pown", flat=True)) == ["p" * 24 + "f", "p" * 25]


def test_coins_that_a_task_has_or_has_moved_are_left_alone(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(1, 0, 0, 0))
    rows = list(Coin.objects.order_by("id"))
    told = [dict.fromkeys(range(5), health_check.Reply.FAIL) | dict.fromkeys(range(5, 25), health_check.Reply.PASS)] * 4
    started = put_coins.start(actor=alice, name="alice", units=12 * UNITS_PER_COIN)

    health_check.record(rows, told)

    assert set(Coin.objects.filter(task=started.task).values_list("pown", flat=True)) == {"p" * 25}
    assert Coin.objects.filter(task=None).get().pown == "f" * 5 + "p" * 20
    finish(started)
    health_check.record(rows, told)
    assert set(Coin.objects.filter(state="locked").values_list("pown", flat=True)) == {"p" * 25}


def test_periodic_checks_take_new_coins_first_weekly_and_at_most_the_limit_a_minute(
    network: LocalNetwork, mint: Mint, alice: Wallet, settings: Any
) -> None:
    give(alice, mint(0, 0, 0, 0))
    ids = list(Coin.objects.order_by("id").values_list("pk", flat=True))
    Coin.objects.update(changed_at=Now() - timedelta(hours=1))
    Coin.objects.filter(pk=ids[0]).update(checked_at=Now() - timedelta(days=8))
    Coin.objects.filter(pk=ids[1]).update(checked_at=Now() - timedelta(days=5))
    settings.CHECKED_COINS_PER_MINUTE = 0
    assert health_check.check_due().coins == 0
    settings.CHECKED_COINS_PER_MINUTE = 2

    assert health_check.check_due().coins == 2
    assert set(Coin.objects.filter(checked_at__gt=Now() - timedelta(hours=1)).values_list("pk", flat=True)) == {
        *ids[2:]
    }
    assert [health_check.check_due().coins for _ in range(2)] == [1, 0]
    Coin.objects.update(checked_at=None)
    ServerHealth.objects.bulk_create(
        ServerHealth(raida=raida, rest_until=Now() + timedelta(hours=1)) for raida in range(13)
    )
    assert health_check.check_due().coins == 0


@pytest.mark.parametrize("way", ["clock", "audit"])
def test_what_no_key_opens_does_not_keep_others_from_being_checked(
    way: str, network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    give(alice, mint(1, 0, 0, -1))
    put(alice, 10)
    lost = Coin.objects.get(denomination=-1)
    forget([lost], range(4))
    damaged = Coin.objects.filter(denomination=0).order_by("id")[0]
    Coin.objects.filter(pk=damaged.pk).update(secrets=bytes(damaged.secrets)[::-1])
    Locker.objects.update(code=bytes(60))

    WAYS[way](alice)

    lost.refresh_from_db()
    assert (lost.state, lost.pown) == ("fracked", "f" * 4 + "p" * 21)
    assert set(Coin.objects.exclude(pk=lost.pk).values_list("pown", flat=True)) == {"p" * 25}
    assert Coin.objects.get(pk=damaged.pk).checked_at is None


def test_a_fix_looks_before_there_is_nothing_to_do(network: LocalNetwork, mint: Mint, alice: Wallet) -> None:
    give(alice, mint(1, 0, 0, 0))
    forget(Coin.objects.order_by("id")[:1], range(12))

    task = finish(fix.start(actor=alice, name="alice"))

    assert (task.state, task.message) == ("completed", "Every coin is accepted by all servers.")
    assert {name: task.result[name] for name in ("coins_checked", "coins_refused", "coins_healed")} == {
        "coins_checked": 4,
        "coins_refused": 1,
        "coins_healed": 1,
    }
    assert states(alice) == {"bank": 4}
    assert_true_to_the_servers()
    with pytest.raises(errors.NothingToFix):
        fix.start(actor=alice, name="alice")
    Coin.objects.update(checked_at=Now() - timedelta(hours=1))
    looked = finish(fix.start(actor=alice, name="alice"))
    assert (looked.state, looked.message) == ("completed", "Every coin is accepted by all servers.")
    assert looked.result["coins_processed"] == 0


def test_health_by_the_api(network: LocalNetwork, mint: Mint, db: None) -> None:
    alice = logged_in("alice", "unused")
    assert alice.wallet is not None
    give(alice.wallet, mint(1, 0, 0, 0))

    status, begun = answer(alice.post("/api/v1/health", {"name": "alice"}))
    tasks.run(begun["id"])

    assert (status, begun["status"]) == (200, "running")
    _, done = answer(alice.get(f"/api/v1/task/{begun['id']}"))
    assert (done["status"], done["message"]) == ("completed", "Every coin is accepted by all servers.")
    assert done["data"] == {
        "coins_checked": 4, "coins_refused": 0, "coins_doubtful": 0, "servers": {"fewest": 25, "most": 25},
        "receipt_id": done["data"]["receipt_id"],
    }  # fmt: skip


def audit_by_servers() -> None:
    assert list(reconciliation.server_findings()) == []


def check_what_is_due() -> None:
    Coin.objects.update(changed_at=Now() - timedelta(minutes=1))
    assert (health_check.check_due().refused, health_check.check_due().coins) == (3, 0)


@pytest.mark.parametrize("answers", [True, False])
def test_a_check_says_the_same_at_the_desk_and_by_the_api_and_is_done_again_only_if_it_failed(
    answers: bool,
    network: LocalNetwork,
    mint: Mint,
    db: None,
    desk: Client,  # noqa: F811
) -> None:
    alice = logged_in("alice", "unused")
    assert alice.wallet is not None
    give(alice.wallet, mint(1, 0, 0, 0))
    if not answers:
        network.fault(range(13), "silent")
    task = finish(health.start(actor=alice.wallet, name="alice"))
    network.clear()

    told = answer(alice.get(f"/api/v1/task/{task.pk}"))[1]
    page = desk.get(reverse("admin:lockers_lockertask_change", args=[task.pk])).content.decode()
    retry = desk.get(reverse("admin:retry-task", args=[task.pk]))

    assert (told["status"], told["message"]) == (task.state, task.message)
    assert escape(task.message) in page
    assert told["data" if answers else "details"]["coins_checked"] == 4
    assert retry.status_code == (409 if answers else 200)
    said = "Nothing is left to do: it is done." if answers else "Nothing is known yet: ask again. Retry does that."
    assert said in page
    assert not reports.tasks_in_need(LockerTask.objects.all()).exists()


@pytest.mark.parametrize("check", [audit_by_servers, check_what_is_due])
@pytest.mark.django_db(transaction=True)
def test_a_locker_that_servers_forgot_is_repaired(
    check: Callable[[], None], network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    """Servers that were reset to before the put hold the old numbers, and get the put again."""
    give(alice, mint(1, 0, 0, 0))
    put(alice, 12)
    rows = list(Coin.objects.filter(state="locked"))
    keys = tuple(codes.locker_keys(vault.locker_code(Locker.objects.get())))
    set_back = {
        raida: requests.pown(
            [
                CoinAnPan(
                    WireCoin(row.denomination, row.serial_number),
                    keys[raida],
                    vault.open_numbers(row.secrets, coin_id=row.pk)[raida],
                )
                for row in rows
            ]
        )
        for raida in range(6)
    }
    servers = wire.servers_from_settings(django_settings.RAIDA_HOSTS)
    wire.ask(servers, wire.Call(command=Command.POWN, payloads=set_back), until=wire.within(5))

    check()

    assert set(Coin.objects.filter(state="locked").values_list("pown", flat=True)) == {"f" * 6 + "p" * 19}
    follow_up()
    assert set(Coin.objects.filter(state="locked").values_list("pown", flat=True)) == {"p" * 25}
    assert holders_of_each([(WireCoin(row.denomination, row.serial_number), keys) for row in rows]) == [25] * 3


def test_health_of_a_wallet_without_coins_says_so(network: LocalNetwork, alice: Wallet) -> None:
    task = finish(health.start(actor=alice, name="alice"))

    assert (task.state, task.message) == ("completed", "The wallet has no free coin to check.")
    assert network.seen(Command.DETECT) == 0


@pytest.mark.django_db(transaction=True)
def test_servers_that_do_not_know_some_coins_of_a_put_store_the_others(
    network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    """Such a server refuses the sum as a whole."""
    give(alice, mint(*[0] * 30))
    lost = list(Coin.objects.order_by("id")[:3])
    forget(lost, range(12))

    task = put(alice, 30, code)
    Locker.objects.update(mend_at=Now())
    follow_up()

    task.refresh_from_db()
    assert (task.state, task.message) == ("completed", "Stored.")
    keys = tuple(codes.locker_keys(code))
    rows = list(Coin.objects.filter(state="locked"))
    held = holders_of_each([(WireCoin(row.denomination, row.serial_number), keys) for row in rows])
    assert {row.pk: count for row, count in zip(rows, held, strict=True)} == {
        row.pk: 13 if row in lost else 25 for row in rows
    }
    assert {row.pk: row.passes for row in rows} == {row.pk: 13 if row in lost else 25 for row in rows}
    assert task.result["servers"] == {"fewest": 13, "most": 25}
    assert sorted(coin["sn"] for coin in task.result["fewer"]) == sorted(row.serial_number for row in lost)
    assert {coin["servers"] for coin in task.result["fewer"]} == {13}
    taken = finish(take.start(actor=bob, name="bob", code=code))
    assert taken.result["total"] == 30 * UNITS_PER_COIN


def test_one_coin_that_too_many_servers_forgot_does_not_bring_the_others_back(
    network: LocalNetwork, mint: Mint, alice: Wallet, code: str
) -> None:
    give(alice, mint(*[0] * 10))
    lost = Coin.objects.order_by("id")[0]
    forget([lost], range(13))

    task = put(alice, 10, code)

    assert (task.state, task.result["total_stored"]) == ("completed", 9 * UNITS_PER_COIN)
    assert task.result["total_failed"] + task.result["total_unknown"] == 1 * UNITS_PER_COIN
    lost.refresh_from_db()
    assert lost.state != "locked"
    rows = list(Coin.objects.filter(state="locked"))
    held = holders_of_each(
        [(WireCoin(row.denomination, row.serial_number), tuple(codes.locker_keys(code))) for row in rows]
    )
    assert (len(rows), set(held)) == (9, {25})
