"""The result of a task after a later one has settled coins that it left open."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from lockers import audit, reports, task_recovery
from lockers.models import Coin, Locker, LockerTask
from tests.admin.conftest import committed, committed_rows, desk, staff  # noqa: F401 - fixtures
from tests.api.caller import Caller, answer, logged_in
from tests.lockers.books import assert_true_to_the_servers, states
from tests.lockers.conftest import Mint
from tests.support.local_network import LocalNetwork
from tests.support.locker_requests import ended, give, work


@pytest.fixture
def alice(db: None) -> Caller:
    return logged_in("alice", "unused")


def find(alice: Caller) -> dict[str, Any]:
    # As if so long had passed that no packet can still be under way.
    Coin.objects.update(changed_at=Now() - timedelta(minutes=1))
    return ended(alice, work(answer(alice.post("/api/v1/find", {"name": "alice"}))))


def test_a_put_whose_replies_were_lost_is_completed_when_a_find_finds_it(
    network: LocalNetwork,
    mint: Mint,
    alice: Caller,
    desk: Client,  # noqa: F811
) -> None:
    give(alice, mint, 0, 0, 0, 0, 0, 0, 0, 0)
    network.fault(range(13), "drop-reply")
    order = {"name": "alice", "amount": 4}
    put = work(answer(alice.post("/api/v1/locker", order, idempotency_key="once")))

    at_first = ended(alice, put)
    assert (at_first["status"], at_first["details"]["total_unknown"]) == ("error", 4)
    assert "Do not repeat this order. The servers are asked again automatically" in at_first["message"]
    task = LockerTask.objects.get(pk=put)
    page = reverse("admin:lockers_lockertask_change", args=[put])
    shown = desk.get(page).content.decode()
    assert "4 coins, worth 4 CloudCoin, are in limbo. Do not repeat the order." in shown
    assert "“Find coins” on the page of the wallet" in shown
    assert (
        "4 coins, worth 4 CloudCoin, are in limbo: start a find first"
        in desk.get(reverse("admin:retry-task", args=[put])).content.decode()
    )
    assert list(reports.tasks_in_need(LockerTask.objects.all())) == [task]

    network.clear()
    found = find(alice)

    assert found["data"]["found"] == {"locked": 4}
    now = ended(alice, put)
    assert (now["status"], now["progress"], now["settled"]["task_id"], now["settled"]["type"]) == (
        "completed", 100, found["id"], "find",
    )  # fmt: skip
    assert (now["data"]["total_stored"], now["data"]["total_failed"], now["data"]["total_unknown"]) == (4, 0, 0)
    assert now["message"].startswith("Stored. Unknown at first; settled by a find on ")
    assert now["raida"].count("p") == 25
    receipt = answer(alice.get(f"/api/v1/receipts/{now['data']['receipt_id']}"))[1]
    assert {(coin["result_at_first"], coin["result"]) for coin in receipt["coins"]} == {("limbo", "locked")}
    shown = desk.get(page).content.decode()
    as_ended, _, now_shown = shown.partition("The coins of its locker as they are now")
    assert "</span> limbo" in as_ended.partition("Coins as it ended")[2]
    assert "</span> limbo" not in now_shown
    assert "</span> locked" in now_shown
    assert "Safe" not in shown
    assert "Nothing is left to do" in shown
    refused = desk.get(reverse("admin:retry-task", args=[put]))
    assert (refused.status_code, "nothing is left to do" in refused.content.decode()) == (409, True)
    assert not reports.tasks_in_need(LockerTask.objects.all()).exists()

    # The same order again is the same task, and nothing fills a second locker.
    assert answer(alice.post("/api/v1/locker", order, idempotency_key="once"))[1]["id"] == put
    assert Locker.objects.get().state == "filled"
    assert states(task.wallet) == {"locked": 4, "bank": 4}
    assert_true_to_the_servers()


def test_a_put_whose_coins_turn_out_to_be_back_says_that_nothing_left(
    network: LocalNetwork, mint: Mint, alice: Caller
) -> None:
    give(alice, mint, 0, 0, 0, 0)
    network.fault(range(13), "status:242")
    put = work(answer(alice.post("/api/v1/locker", {"name": "alice", "amount": 2})))
    assert ended(alice, put)["details"]["total_unknown"] == 2
    network.clear()

    find(alice)

    now = ended(alice, put)
    assert (now["status"], now["details"]["total_failed"], now["details"]["total_unknown"]) == ("error", 2, 0)
    assert now["message"].startswith("Nothing left the wallet: 2 CloudCoin were not stored.")
    task = LockerTask.objects.get(pk=put)
    shown = task_recovery.state_of(task)
    assert (shown["left_to_do"], shown["units_left"]) == (
        "2 CloudCoin were not stored and are back in the wallet: put 2 CloudCoin again", 2 * 10**8,
    )  # fmt: skip
    assert list(audit.audit_findings()) == []
