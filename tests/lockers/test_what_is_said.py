"""Messages of tasks and the actions they allow: by kind, by final state and by what later tasks learned."""

import re
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from config.api.cloudcoin import task_serializers
from lockers import (
    audit,
    coin_import,
    current_results,
    queries,
    reports,
    retry_plan,
    task_recovery,
    task_results,
    tasks,
)
from lockers.models import Coin, LockerTask, ReceiptLine
from lockers.operations import echo, export, import_files
from lockers.raida import coins as wire_coins
from lockers.raida.files import CoinRecord, write_bin
from lockers.states import CoinState, FileType, TaskKind, TaskState
from lockers.task_results import Rest, Tally
from lockers.worker import health_check, import_
from lockers.worker.health_check import Checked
from tests.lockers.books import assert_true_to_the_servers, finish, states
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.coin_commands import half_swapped
from tests.support.coin_rows import a_coin
from tests.support.ended_tasks import COIN, a_task
from tests.support.local_network import LocalNetwork
from wallets.models import OperatorAction, Wallet
from wallets.wording import counted, verb

FIND_FIRST = "2 coins, worth 2 CloudCoin, are in limbo: start a find first"


# kind, how its coins ended, what a find made of those that were open:
#   state, beginning of the message, what retry offers, or why it refuses, and whether it needs a human
WALK: list[tuple[str, list[str], list[str], str, str, str, str, bool]] = [
    ("put", ["locked", "locked"], [], "completed", "Stored.", "", "nothing is left to do: it is done", False),
    ("put", ["bank", "bank"], [], "error", "Nothing left the wallet: 2 CloudCoin were not stored.",
     "2 CloudCoin were not stored and are back in the wallet: put 2 CloudCoin again", "", False),
    ("put", ["locked", "bank"], [], "completed", "1 CloudCoin stored; 1 CloudCoin not stored and back in the wallet.",
     "1 CloudCoin was not stored and is back in the wallet: put 1 CloudCoin again", "", False),
    ("put", ["limbo", "limbo"], [], "error", "2 CloudCoin in limbo: in the locker or still in the wallet", "",
     FIND_FIRST, True),
    ("put", ["limbo", "limbo"], ["limbo", "limbo"], "error", "2 CloudCoin in limbo", "", FIND_FIRST, True),
    ("put", ["limbo", "limbo"], ["locked", "locked"], "completed", "Stored. Unknown at first; settled by a find on", "",
     "nothing is left to do: it is done", False),
    ("put", ["limbo", "limbo"], ["bank", "fracked"], "error", "Nothing left the wallet: 2 CloudCoin were not stored.",
     "2 CloudCoin were not stored and are back in the wallet: put 2 CloudCoin again", "", False),
    ("put", ["limbo", "limbo"], ["locked", "bank"], "completed", "1 CloudCoin stored; 1 CloudCoin not stored",
     "1 CloudCoin was not stored and is back in the wallet: put 1 CloudCoin again", "", False),
    ("put", ["limbo", "limbo"], ["locked", "limbo"], "completed", "1 CloudCoin stored; 1 CloudCoin in limbo", "",
     "1 coin, worth 1 CloudCoin, is in limbo: start a find first", True),
    ("take", ["bank", "bank"], [], "completed", "Taken.", "", "nothing is left to do: it is done", False),
    ("take", [], [], "error", "Nothing was taken.", "nothing was taken: look again with the same code", "", False),
    ("take", ["missed", "missed"], [], "error", "2 CloudCoin were no longer in the locker", "",
     "nothing is left to do", False),
    ("take", ["limbo", "limbo"], [], "error", "2 CloudCoin in limbo", "", FIND_FIRST, True),
    ("take", ["limbo", "limbo"], ["bank", "bank"], "completed", "Taken. Unknown at first", "",
     "nothing is left to do: it is done", False),
    ("take", ["limbo", "limbo"], ["missed", "bank"], "completed",
     "1 CloudCoin taken; 1 CloudCoin was no longer in the locker", "",
     "nothing is left to do: it is done", False),
    ("import", ["bank"], [], "completed", "Imported.", "", "nothing is left to do: it is done", False),
    ("import", ["errored", "limbo"], [], "completed", "No coin could be proved authentic. 2 coins are in limbo", "",
     FIND_FIRST, True),
    ("import", ["bank", "limbo"], ["bank"], "completed", "Imported. Unknown at first", "",
     "nothing is left to do: it is done", False),
    ("import", ["limbo"], ["counterfeit"], "completed",
     "No coin could be proved authentic. 1 coin is counterfeit: rejected by more than 12 servers.", "",
     "nothing is left to do: it is done", False),
    ("import", [], [], "error", "25 of 25 servers answered", "", "the file is not kept", False),
    ("break", ["broken"], [], "completed", "Broken into ten.", "", "nothing is left to do: it is done", False),
    ("break", ["limbo"], [], "error", "It is unknown whether the coin was broken", "",
     "1 coin, worth 1 CloudCoin, is in limbo: start a find first", True),
    ("break", ["limbo"], ["broken"], "completed", "Broken into ten. Unknown", "", "nothing is left to do", False),
    ("break", ["limbo"], ["bank"], "error", "Nothing left the wallet: the coin was not broken",
     "1 coin of 2 CloudCoin was not broken: break one again", "", False),
    ("find", ["bank"], [], "completed", "Every coin was found.", "", "nothing is left to do", False),
    ("find", ["limbo"], [], "completed", "1 coin is still in limbo: too few servers have confirmed who owns it."
     " Ask again in",
     "1 coin is in limbo: ask the servers again", "", False),
    ("find", ["limbo"], ["bank"], "completed", "Every coin was found. Unknown at first", "", "nothing is left", False),
    ("fix", ["bank"], [], "completed", "All servers accept 0 of 1 coin. The others can be spent, but some"
     " servers do not accept them yet", "",
     "nothing is left to do", False),
    ("transfer", ["bank"], [], "error", "Nothing has left the wallet.", "", "its owner gives the order again", False),
    ("transfer", ["limbo"], [], "error", "Nothing has left the wallet. ", "",
     "1 coin, worth 1 CloudCoin, is in limbo: start a find first", True),
    ("export", ["limbo"], ["bank"], "error", "Nothing has left the wallet. Unknown at first", "",
     "its owner gives the order again", False),
    ("fix", [], [], "error", "Stopped before the servers answered.", "nothing is known yet: ask the servers again", "",
     False),
    ("peek", [], [], "error", "Stopped before the servers answered.", "nothing is known yet: ask again", "", False),
    ("echo", [], [], "error", "Stopped before the servers answered.", "nothing is known yet: ask again", "", False),
    ("health", [], [], "error", "Stopped before the servers answered.", "nothing is known yet: ask again", "", False),
]  # fmt: skip


def test_each_kind_is_walked() -> None:
    assert {kind for kind, *_ in WALK} == set(TaskKind)


@pytest.mark.parametrize("row", WALK)
def test_each_end_says_and_offers_what_its_rows_say(
    row: tuple[str, list[str], list[str], str, str, str, str, bool], alice: Wallet
) -> None:
    kind, first, later, state, message, todo, why_not, needs = row
    task = a_task(alice, kind, *first)
    if later:
        opened = [number for number, each in enumerate(first, start=1000) if each in ("limbo", "errored")]
        for number, became in zip(opened, later, strict=True):
            Coin.objects.filter(serial_number=number).update(state=became, pown="p" * 25, **(
                {"family": Coin.objects.get(serial_number=number).pk} if became == "broken" else {}
            )) if became not in ("locked",) else Coin.objects.filter(serial_number=number).delete()  # fmt: skip
        find = a_task(alice, "find", *later, numbers=opened[0])
        current_results.follow(later=find)
        task.refresh_from_db()

    assert (task.state, task.progress == 100) == (state, state == "completed")
    assert task.message.startswith(message), task.message
    left = retry_plan.of(task)
    assert (left.todo, bool(left.why_not)) == (todo, bool(why_not))
    assert why_not in left.why_not
    said = retry_plan.advice(task, now=timezone.now())
    assert "Safe" not in said
    assert ("Do not repeat the order" in said) == (needs or (kind == "find" and bool(left.unknown_coins)))
    assert reports.tasks_in_need(LockerTask.objects.filter(pk=task.pk)).exists() == needs
    assert bool(task_recovery.why_not_mark_seen(task)) == (not needs)
    assert task_recovery.state_of(task)["left_to_do"] == todo
    told = task_serializers.task(queries.task_visible_to(actor=alice, task_id=task.pk))
    assert (told["status"], told["message"]) == (state, task.message)
    assert ("settled" in told) == (task.settled_at is not None)


def test_a_task_was_retried_if_an_operator_has_retried_that_one(alice: Wallet) -> None:
    task, other, successor = (a_task(alice, "put", "bank", "bank") for _ in range(3))
    person = User.objects.create(username="operator")
    acts = [
        ("retried_task", "task", other.pk, successor.pk),
        ("rolled_back_task", "task", task.pk, successor.pk),
        ("retried_task", "wallet", task.pk, successor.pk),
        # An open task that was enqueued again is its own.
        ("retried_task", "task", task.pk, task.pk),
    ]
    for verb_, kind, object_id, made in acts:
        OperatorAction.objects.create(
            staff=person, verb=verb_, object_kind=kind, object_id=str(object_id), after={"task": str(made)},
            confirmation=secrets.token_hex(8),
        )  # fmt: skip

    assert retry_plan.of(task).why_not == ""
    assert retry_plan.of(other).why_not == f"it was retried already, as task {successor.pk}; retry that task instead"


def test_the_time_of_the_next_find_is_not_before_now(alice: Wallet) -> None:
    task = a_task(alice, "put", "limbo")
    at = retry_plan.of(task).next_find_at
    assert at is not None
    again = "are asked again automatically from {:%Y-%m-%d %H:%M:%S} UTC on"
    hour = timedelta(hours=1)

    for now, said in ((at - hour, at), (at, at), (at + hour, at + hour)):
        assert again.format(said) in retry_plan.advice(task, now=now)


def test_a_find_of_some_coins_of_a_task_is_under_way_for_the_task(alice: Wallet) -> None:
    """The other coins are in limbo too: the operator waits, whichever of them comes first."""
    for asked in (2000, 2001):
        task = a_task(alice, "put", "limbo", "limbo", numbers=2000)
        find = LockerTask.objects.create(
            kind="find", wallet=alice, actor=alice, deadline=timezone.now(), receipt_id=secrets.token_hex(16)
        )
        in_doubt = Coin.objects.filter(serial_number__in=(2000, 2001))
        in_doubt.update(task=None, batch=None, outcome="")
        in_doubt.filter(serial_number=asked).update(task=find, batch=0, outcome="n" * 25)

        left = retry_plan.of(task)

        assert (left.unknown_coins, left.asked_by) == (2, find.pk)
        assert left.why_not.endswith(f"task {find.pk} is asking the servers now")


def test_the_next_find_begins_after_the_pause_of_the_last_one_that_has_ended(alice: Wallet, bob: Wallet) -> None:
    """The pause is 10 seconds, and half of the time from the coin to the end of the find."""
    task = a_task(alice, "put", "limbo")
    began = datetime(2026, 1, 1, tzinfo=UTC)
    Coin.objects.update(created_at=began, changed_at=began)
    assert retry_plan.of(task).next_find_at == began + timedelta(seconds=10)

    for wallet, kind, minutes, expected in (
        (alice, "find", 10, 15),
        (alice, "find", 4, 15),
        (alice, "fix", 20, 15),
        (bob, "find", 20, 15),
        (alice, "find", 200, 260),
    ):
        ended = a_task(wallet, kind)
        LockerTask.objects.filter(pk=ended.pk).update(finished_at=began + timedelta(minutes=minutes))

        assert retry_plan.of(task).next_find_at == began + timedelta(
            minutes=expected, seconds=10 if expected < 60 else 0
        )


def test_only_a_completed_export_has_coins_in_a_file(alice: Wallet) -> None:
    for kind in TaskKind:
        for state in TaskState:
            progress = 100 if state == TaskState.COMPLETED else 5
            ended = {} if state == TaskState.RUNNING else {"step": "done", "finished_at": timezone.now()}
            fields = {"kind": kind, "state": state, "deadline": timezone.now(), "receipt_id": secrets.token_hex(16)}
            if (kind, state) != (TaskKind.EXPORT, TaskState.COMPLETED):
                task = LockerTask.objects.create(
                    wallet=alice, actor=alice, message="", progress=progress, **fields, **ended
                )
                assert task_recovery.state_of(task)["coins_in_file"] == 0, (kind, state)
                assert (task_recovery.why_not_roll_back(task) == "") == (state == TaskState.RUNNING), (kind, state)
    stock(alice, 0, 0, 0)
    task = export.start(actor=alice, name="alice", units=2 * COIN, file_type=FileType.BIN).task

    assert task_recovery.state_of(task)["coins_in_file"] == 2
    Coin.objects.filter(export_id=task.pk).update(state=CoinState.SENT)
    assert task_recovery.state_of(task)["coins_in_file"] == 0
    assert task_recovery.why_not_roll_back(task) == "all coins of its file have returned"


def test_a_decision_rests_on_what_the_locker_of_the_task_still_holds(alice: Wallet) -> None:
    for _ in range(4):
        a_coin(alice, CoinState.LOCKED)
    rows = list(Coin.objects.select_related("locker").order_by("serial_number"))
    locker = rows[0].locker
    Coin.objects.filter(pk=rows[1].pk).update(locker=locker, denomination=1)
    Coin.objects.filter(pk=rows[2].pk).update(locker=locker, state=CoinState.SENT)
    task = a_task(alice, "put", "locked", "locked")
    assert task_recovery.state_of(task)["units_in_locker"] == 0

    task.locker = locker

    assert task_recovery.state_of(task)["units_in_locker"] == 11 * COIN


@pytest.mark.parametrize(
    ("ended_as", "units"),
    [
        (["locked", "locked", "locked"], 0),
        (["locked", "sent", "bank"], 1),
        (["locked", "counterfeit", "bank"], 1),
        (["sent", "fracked", "bank"], 2),
        (["bank", "bank", "bank"], 3),
    ],
)
def test_a_put_is_begun_again_for_what_did_not_leave_and_no_more(
    ended_as: list[str], units: int, alice: Wallet
) -> None:
    """What has left already is not put a second time."""
    task = a_task(alice, "put", *ended_as, amount=3 * COIN)
    a_task(alice, "put", "locked", numbers=2000, amount=COIN)
    LockerTask.objects.filter(pk=task.pk).update(created_at="2020-01-01T00:00Z")

    left = retry_plan.of(LockerTask.objects.get(pk=task.pk))

    assert (left.units, bool(left.todo), left.later_puts) == (units * COIN, bool(units), 0)
    again = a_task(alice, "put", "locked", numbers=3000, amount=3 * COIN)
    assert retry_plan.of(LockerTask.objects.get(pk=task.pk)).later_puts == bool(units)
    assert retry_plan.of(again).later_puts == 0


def test_fixable_coins_are_free_spendable_and_not_accepted_everywhere(alice: Wallet, bob: Wallet) -> None:
    whole, _, fracked, reserved, lost = stock(alice, *[0] * 5)
    stock(bob, 0, state=CoinState.FRACKED)
    Coin.objects.exclude(pk=whole.pk).filter(wallet=alice).update(pown="p" * 24 + "n")
    Coin.objects.filter(pk=fracked.pk).update(pown="p" * 24 + "f", state="fracked")
    Coin.objects.filter(pk=lost.pk).update(state="limbo")
    other = echo.start(actor=alice).task
    Coin.objects.filter(pk=reserved.pk).update(task=other, batch=0, outcome="-" * 25)

    # The thin one and the fracked one.
    assert retry_plan.coins_to_fix(wallet_id=alice.pk) == 2


def test_coins_on_fewer_servers_are_named_when_they_are_found_later(alice: Wallet) -> None:
    put = a_task(alice, "put", "locked", "limbo")
    ReceiptLine.objects.filter(serial_number=1000).update(pown="p" * 25)
    Coin.objects.all().delete()
    find = a_task(alice, "find", "locked", numbers=1001)
    ReceiptLine.objects.filter(task=find).update(pown="p" * 14 + "n" * 11)

    current_results.follow(later=find)

    put.refresh_from_db()
    assert (put.message[:7], put.result["servers"]) == ("Stored.", {"fewest": 14, "most": 25})
    assert put.result["fewer"] == [{"sn": 1001, "denomination": 0, "servers": 14}]


def test_a_task_that_was_seen_comes_back_when_something_changes(alice: Wallet) -> None:
    task = a_task(alice, "put", "limbo", "limbo")
    LockerTask.objects.filter(pk=task.pk).update(seen_at=timezone.now())
    in_need = reports.tasks_in_need(LockerTask.objects.filter(kind="put"))
    assert list(in_need.all()) == []
    Coin.objects.filter(serial_number=1000).update(state="bank", pown="p" * 25)

    current_results.follow(later=a_task(alice, "find", "bank"))

    assert list(in_need.all()) == [task]


def test_a_later_success_hides_no_failure_and_a_mistyped_code_needs_no_operator(alice: Wallet) -> None:
    in_limbo = a_task(alice, "put", "limbo", "limbo")
    a_task(alice, "put", "locked", "locked", numbers=2000)
    a_task(alice, "take")

    assert list(reports.tasks_in_need(LockerTask.objects.all())) == [in_limbo]


# Sentences that speak of servers that answered, against counts that contradict them.
@pytest.mark.parametrize("answered", [0, 1, 12, 13, 25])
@pytest.mark.parametrize("coins", [{}, {CoinState.ERRORED: 10}, {CoinState.LIMBO: 1}, {CoinState.BANK: 9}])
@pytest.mark.parametrize("kind", list(TaskKind))
def test_no_sentence_contradicts_the_counts(
    kind: TaskKind, coins: dict[CoinState, int], answered: int, settings: Any
) -> None:
    tally = Tally.empty()
    for state, number in coins.items():
        tally.add(state, {0: number})
    task: Any = SimpleNamespace(kind=kind, amount=10 * COIN, locker_id=None)

    _, message, _ = task_results.verdict(task, tally, answered=answered)

    assert ("No server" in message) <= (answered == 0)
    assert ("Only" in message) <= (0 < answered < 13)
    assert ("nothing was changed" in message) <= (not coins)
    for number in re.findall(r"(\d+) of 25 servers answered", message):
        assert int(number) == answered
    for number, noun in re.findall(r"\b(\d+) (coins?|seconds?)\b", message):
        assert noun.endswith("s") == (number != "1"), message
    assert not re.search(r"\b1 coins? are\b|\b[02-9] coins is\b", message)


@pytest.mark.parametrize(
    ("coins", "rest", "message"),
    [
        ({CoinState.BANK: 2}, Rest(), "Taken back: the locker had expired."),
        ({}, Rest(), "The locker had expired: nothing was left to take back."),
        (
            {CoinState.BANK: 1},
            Rest(taken=COIN),
            "The locker had expired: 1 CloudCoin taken back; 1 CloudCoin was taken by another holder of the code.",
        ),
        (
            {CoinState.BANK: 1},
            Rest(unknown=COIN),
            "The locker had expired: 1 CloudCoin taken back; fewer than 13 of 25 servers said where 1 CloudCoin is;"
            " they are asked again automatically.",
        ),
        (
            {CoinState.FRACKED: 1},
            Rest(taken=COIN, unknown=2 * COIN),
            "The locker had expired: 1 CloudCoin taken back; 1 CloudCoin was taken by another holder of the code;"
            " fewer than 13 of 25 servers said where 2 CloudCoin are; they are asked again automatically.",
        ),
        (
            {CoinState.LIMBO: 1},
            Rest(unknown=COIN),
            "The locker had expired: 1 CloudCoin in limbo: the servers have not confirmed yet that the wallet owns"
            " them; fewer than 13 of 25 servers said where 1 CloudCoin is; they are asked again automatically."
            f" {task_results.ASKED_AGAIN}",
        ),
        ({CoinState.MISSED: 3}, Rest(taken=3 * COIN),
         "The locker had expired: 3 CloudCoin were taken by another holder of the code."),
    ],
)  # fmt: skip
def test_the_taking_back_of_a_locker_never_fails(coins: dict[CoinState, int], rest: Rest, message: str) -> None:
    tally = Tally.empty()
    for state, number in coins.items():
        tally.add(state, {0: number})
    task: Any = SimpleNamespace(kind=TaskKind.TAKE, locker_id=UUID(int=1))

    state, said, result = task_results.verdict(task, tally, rest=rest, answered=25)

    assert (state, said) == (TaskState.COMPLETED, message)
    assert (result.get("total_taken_by_another", 0), result.get("total_not_known", 0)) == (rest.taken, rest.unknown)
    assert Rest.of_result(result) == rest


SILENT = "; {} of 25 servers gave no answer."
CHECKED: list[tuple[dict[str, Any], dict[int, int], int, str, str]] = [
    ({}, {}, 0, "completed", "The wallet has no free coin to check."),
    ({"coins": 2}, {25: 2}, 0, "completed", "Every coin is accepted by all servers."),
    ({"coins": 2}, {25: 2}, 1, "completed", "No server refuses a coin that it accepted before" + SILENT.format(1)),
    ({"coins": 2}, {25: 1, 24: 1}, 0, "completed", "No server refuses a coin that it accepted before."),
    ({"coins": 2, "refused": 1}, {24: 2}, 0, "completed",
     "1 of 2 coins is accepted by fewer servers than before; a fix repairs what it can."),
    ({"coins": 2, "unanswered": 1}, {25: 2}, 0, "completed", "Every coin is accepted by all servers."),
    ({"coins": 2, "unanswered": 2}, {25: 2}, 13, "error",
     "Fewer than 13 servers answered, so the check is incomplete; try again later."),
    ({"coins": 2, "doubtful": 1}, {25: 2}, 0, "completed",
     "1 of 2 coins may be accepted by fewer than 13 servers; these refusals were not recorded."),
]  # fmt: skip


@pytest.mark.parametrize(("counts", "passes", "silent", "state", "message"), CHECKED)
def test_a_check_says_what_it_has_found(
    counts: dict[str, int], passes: dict[int, int], silent: int, state: str, message: str
) -> None:
    words = [Counter("n" if raida < silent else "p") for raida in range(25)]

    assert health_check.summary(Checked(**counts, passes=Counter(passes), words=words)) == (message, state)


def test_only_a_put_that_has_ended_says_what_is_known_of_its_locker() -> None:
    expiry: Any = SimpleNamespace(message="Taken back.")
    for kind in TaskKind:
        for state in TaskState:
            task: Any = SimpleNamespace(kind=kind, state=state, message="Stored.")
            says = kind is TaskKind.PUT and state is not TaskState.RUNNING
            assert queries.message_of(task, expiry) == ("Stored. Taken back." if says else "Stored.")
            assert queries.message_of(task, None) == "Stored."


def test_counts_and_verbs_agree() -> None:
    assert [f"{counted(number, 'coin')} {verb(number)}" for number in (0, 1, 2, 1000)] == [
        "0 coins are", "1 coin is", "2 coins are", "1,000 coins are",
    ]  # fmt: skip


def test_a_serial_number_that_no_server_keeps_is_refused_by_itself(
    network: LocalNetwork, mint: Mint, alice: Wallet
) -> None:
    records = [half_swapped(record) for record in mint(0, 0, 0, 0)]
    foreign = CoinRecord(wire_coins.Coin(0, 1_050_485), records[0].ans, pans=records[0].pans)

    started = import_files.start(actor=alice, name="alice", uploads=[("half.bin", write_bin([*records, foreign]))])
    task = finish(started)

    assert (task.state, task.message, states(alice)) == ("completed", "Imported.", {"bank": 4})
    (told,) = task.result["files"]
    assert (told["accepted"], told["refused"], told["refusals"]) == (
        4, 1,
        [{"sn": 1_050_485, "denomination": 0,
          "reason": "No server keeps a coin with this serial number: they go from 0 to 1,023,999"}],
    )  # fmt: skip
    assert_true_to_the_servers()


def test_a_coin_for_which_servers_refuse_the_whole_batch_is_left_out_and_the_others_come_in(
    network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it were not known here which numbers the servers keep.
    monkeypatch.setattr(coin_import, "SERIAL_NUMBERS", 2**32)
    records = [half_swapped(record) for record in mint(0, 0, 0, 0)]
    foreign = CoinRecord(wire_coins.Coin(0, 1_050_485), records[0].ans, pans=records[0].pans)

    task = finish(import_files.start(actor=alice, name="alice", uploads=[("half.bin", write_bin([*records, foreign]))]))

    assert (task.state, states(alice)) == ("completed", {"bank": 4})
    assert task.message == (
        "Imported. 1 coin was left as it is: fewer than 13 of 25 servers said which number they hold."
    )
    assert task.result["left_out"] == [{"sn": 1_050_485, "denomination": 0}]
    assert_true_to_the_servers()


def test_more_coins_than_are_named_are_counted(alice: Wallet) -> None:
    task = a_task(alice, "import")
    rows = stock(alice, *[0] * 103)
    Coin.objects.filter(pk__in=[row.pk for row in rows]).update(task=task, batch=7, outcome="-" * 25)

    number, named = import_.left_out(task_id=task.pk, batches=[7])

    assert (number, len(named)) == (103, 100)
    assert named[0] == {"sn": rows[0].serial_number, "denomination": 0}


FATES = ["not begun", "drop-reply", "status:252", "down", "killed"]


@pytest.mark.parametrize("fate", FATES)
def test_a_repeated_order_is_the_first_one_whatever_became_of_it(
    fate: str, network: LocalNetwork, mint: Mint, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.api.caller import Caller, answer, logged_in  # noqa: PLC0415 - alice is made by the fixture

    caller = logged_in("carol", "unused")
    assert caller.wallet is not None
    finish(import_files.start(actor=caller.wallet, name="carol", uploads=[("coins.bin", write_bin(mint(0, 0, 0, 0)))]))
    order = {"name": "carol", "amount": 2}
    if fate in ("drop-reply", "status:252", "down"):
        network.fault(range(13), fate)
    first = answer(caller.post("/api/v1/locker", order, idempotency_key="once"))
    if fate == "killed":
        monkeypatch.setattr("lockers.worker.put.run", lambda work: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            tasks.run(first[1]["id"])
        LockerTask.objects.filter(pk=first[1]["id"]).update(lease_until=None)
    elif fate != "not begun":
        tasks.run(first[1]["id"])
    before = states(caller.wallet)

    again = answer(Caller(bearer=caller.bearer).post("/api/v1/locker", order, idempotency_key="once"))

    assert again == first
    assert LockerTask.objects.filter(kind="put").count() == 1
    assert states(caller.wallet) == before
    assert list(audit.audit_findings()) == []
