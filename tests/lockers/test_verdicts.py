"""State, message and totals of a task when it ends, from counts alone, and general properties."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockers import task_results
from lockers.models import LockerTask
from lockers.raida.coins import value_of
from lockers.states import CoinState, TaskKind
from lockers.task_results import ASKED_AGAIN, Left, Tally

ONE = 10**8
SUCCESSOR = UUID(int=7)
NOTHING_LEFT = Left()
many = settings(derandomize=True, deadline=None, max_examples=100)


def tally(whole: int = 0, in_limbo_for_locker: int | None = None, **coins: int) -> Tally:
    """The given number of coins of 1 in each state."""
    made = Tally.empty()
    for state, number in coins.items():
        if number:
            made.add(CoinState(state), {0: number})
    made.whole = whole
    made.units_for_locker_in_limbo = (
        coins.get("limbo", 0) if in_limbo_for_locker is None else in_limbo_for_locker
    ) * ONE
    return made


def told(
    kind: str,
    counts: Tally,
    reason: str = "",
    left: Left = NOTHING_LEFT,
    *,
    amount: int = 2,
    answered: int = 25,
    **more: Any,
) -> tuple[str, str, dict[str, Any]]:
    task = LockerTask(kind=TaskKind(kind), amount=amount * ONE)
    state, message, result = task_results.verdict(task, counts, reason, left=left, answered=answered, **more)
    return str(state), message, result


def test_a_tally_counts_value_and_coins() -> None:
    made = Tally.empty()
    made.add(CoinState.BANK, {0: 2, 1: 1})
    made.add(CoinState.BANK, {-8: 3})
    made.add(CoinState.LIMBO, {2: 1})

    assert made.units_of(CoinState.BANK) == 12 * ONE + 3
    assert made.count_of(CoinState.BANK) == 6
    assert made.units_of(CoinState.BANK, CoinState.LIMBO) == 112 * ONE + 3
    assert made.count_of(CoinState.BANK, CoinState.LIMBO) == 7
    assert (made.units_of(CoinState.SENT), made.count_of(CoinState.SENT)) == (0, 0)
    assert (made.spendable_before, made.whole, made.units_for_locker_in_limbo, made.had_doubtful) == (0, 0, 0, False)


DO_NOT_REPEAT = f"Do not repeat this order. {ASKED_AGAIN}"
UNKNOWN_BREAK = "It is unknown whether 1 coin was broken. Do not repeat this order before that is known. " + ASKED_AGAIN
IN_LOCKER = "in limbo: in the locker or still in the wallet, which fewer than 13 of 25 servers have confirmed"


@pytest.mark.parametrize(
    ("counts", "state", "message", "stored", "failed", "unknown"),
    [
        (tally(locked=2), "completed", "Stored.", 2, 0, 0),
        (tally(locked=1, sent=1), "completed", "Stored.", 2, 0, 0),
        (tally(sent=2), "completed", "Stored.", 2, 0, 0),
        (tally(bank=2), "error", "Nothing left the wallet: 2 CloudCoin were not stored. Why.", 0, 2, 0),
        (
            tally(locked=1, bank=1),
            "completed",
            "1 CloudCoin stored; 1 CloudCoin not stored and back in the wallet. Why.",
            1,
            1,
            0,
        ),
        (tally(limbo=2), "error", f"2 CloudCoin {IN_LOCKER}. {DO_NOT_REPEAT} Why.", 0, 0, 2),
        (
            tally(locked=1, limbo=1),
            "completed",
            f"1 CloudCoin stored; 1 CloudCoin {IN_LOCKER}. {DO_NOT_REPEAT} Why.",
            1,
            0,
            1,
        ),
        (
            tally(bank=1, limbo=1),
            "error",
            f"1 CloudCoin not stored and back in the wallet; 1 CloudCoin {IN_LOCKER}. {DO_NOT_REPEAT} Why.",
            0,
            1,
            1,
        ),
        (
            tally(counterfeit=2),
            "error",
            "2 CloudCoin rejected as counterfeit by more than 12 servers. Why.",
            0,
            2,
            0,
        ),
        (
            tally(counterfeit=1, fracked=1),
            "error",
            "1 CloudCoin not stored and back in the wallet; 1 CloudCoin rejected as counterfeit by more than 12"
            " servers."
            " Why.",
            0,
            2,
            0,
        ),
        # The coin that was to be broken first is in doubt, and not on its way into the locker.
        (
            tally(limbo=1, in_limbo_for_locker=0, bank=1),
            "error",
            f"Nothing left the wallet: 2 CloudCoin were not stored. {UNKNOWN_BREAK} Why.",
            0,
            2,
            0,
        ),
    ],
)
def test_a_put(counts: Tally, state: str, message: str, stored: int, failed: int, unknown: int) -> None:
    assert told("put", counts, "Why.") == (
        state,
        message,
        {"total_stored": stored * ONE, "total_failed": failed * ONE, "total_unknown": unknown * ONE},
    )


def test_a_put_that_stored_something_says_which_coins_may_be_broken() -> None:
    message = told("put", tally(locked=1, limbo=2, in_limbo_for_locker=0), "Why.")[1]
    assert message == (
        "1 CloudCoin stored; 1 CloudCoin not stored and back in the wallet. "
        + UNKNOWN_BREAK.replace("1 coin was", "2 coins were")
        + " Why."
    )


def test_a_put_of_one_was_and_a_put_of_none_is_nothing() -> None:
    assert told("put", tally(bank=1), amount=1)[1] == "Nothing left the wallet: 1 CloudCoin was not stored."
    assert told("put", tally(), amount=0)[:2] == ("error", "Nothing left the wallet: 0 CloudCoin were not stored.")


@many
@given(st.lists(st.sampled_from(["locked", "sent", "bank", "fracked", "limbo", "counterfeit"]), min_size=1, max_size=6))
def test_a_put_accounts_for_every_coin_and_is_done_only_with_all_stored(ends: list[str]) -> None:
    state, message, result = told("put", tally(**{each: ends.count(each) for each in ends}), amount=len(ends))

    stored = sum(each in ("locked", "sent") for each in ends)
    assert result["total_stored"] == stored * ONE
    assert result["total_unknown"] == ends.count("limbo") * ONE
    assert sum(result.values()) == len(ends) * ONE
    assert (message == "Stored.") == (stored == len(ends))
    assert (state == "completed") == (stored > 0)
    assert ("Do not repeat" in message) == ("limbo" in ends)
    assert message.startswith("Nothing left the wallet") == (not {*ends} - {"bank", "fracked"})


TAKEN = {"total": 0, "total_unknown": 0, "total_failed": 0}


@pytest.mark.parametrize(
    ("counts", "left", "state", "message", "totals"),
    [
        (tally(bank=1, fracked=1), Left(), "completed", "Taken.", {"total": 2 * ONE}),
        (tally(), Left(), "error", "Why.", {}),
        (
            tally(missed=2),
            Left(),
            "error",
            "2 CloudCoin were no longer in the locker, perhaps taken by another holder of its code. Why.",
            {"total_failed": 2 * ONE},
        ),
        (
            tally(bank=1, counterfeit=1),
            Left(),
            "completed",
            "1 CloudCoin taken; 1 CloudCoin was no longer in the locker, perhaps taken by another holder of its"
            " code. Why.",
            {"total": ONE, "total_failed": ONE},
        ),
        (
            tally(errored=1, limbo=1),
            Left(),
            "error",
            f"2 CloudCoin in limbo: the servers have not confirmed yet that the wallet owns them; do not repeat"
            f" the take. {ASKED_AGAIN} Why.",
            {"total_unknown": 2 * ONE},
        ),
        (
            tally(bank=1),
            Left(units=3 * ONE),
            "completed",
            "1 CloudCoin taken; 3 CloudCoin left out: already in a wallet of this service, or on the way into"
            " one. Why.",
            {"total": ONE, "total_left": 3 * ONE},
        ),
        (
            tally(),
            Left(waiting=3 * ONE),
            "error",
            "Nothing was taken; 3 CloudCoin claimed by another task and still in the locker: take again later"
            " with the same code."
            " Why.",
            {"total_left": 3 * ONE},
        ),
        (
            tally(),
            Left(ONE, 3 * ONE, SUCCESSOR),
            "error",
            "Nothing was taken; 3 CloudCoin claimed by another task and still in the locker:"
            f" task {SUCCESSOR} continues with them; 1 CloudCoin left out: already in a wallet of this service,"
            f" or on the way into one. Why.",
            {"total_left": 4 * ONE, "continued_by": str(SUCCESSOR)},
        ),
    ],
)
def test_a_take(counts: Tally, left: Left, state: str, message: str, totals: dict[str, Any]) -> None:
    graded = {str(each): number for each, number in counts.count.items()}
    assert told("take", counts, "Why.", left) == (state, message, TAKEN | {"graded": graded} | totals)


def test_a_take_of_nothing_says_so() -> None:
    assert told("take", tally())[:2] == ("error", "Nothing was taken.")


NOT_CONFIRMED = "in limbo: the servers have not confirmed yet that the wallet owns"


@pytest.mark.parametrize(
    ("counts", "left", "state", "message", "total"),
    [
        (tally(bank=2, fracked=1), Left(), "completed", "Imported. Why.", 3),
        (tally(bank=1, counterfeit=2), Left(), "completed",
         "1 of 3 coins imported. 2 coins are counterfeit: rejected by more than 12 servers. Why.", 1),
        (tally(bank=1, missed=1), Left(), "completed",
         "1 of 2 coins imported. 1 coin now belongs to another owner. Why.", 1),
        (tally(counterfeit=1), Left(), "completed",
         "No coin could be proved authentic. 1 coin is counterfeit: rejected by more than 12 servers. Why.", 0),
        (tally(limbo=1), Left(), "completed", "No coin could be proved authentic. 1 coin is "
         f"{NOT_CONFIRMED} it. Do not import it again. {ASKED_AGAIN} Why.", 0),
        (tally(errored=1, limbo=1), Left(), "completed", "No coin could be proved authentic. 2 coins are "
         f"{NOT_CONFIRMED} them. Do not import them again. {ASKED_AGAIN} Why.", 0),
        (tally(bank=1), Left(units=ONE), "completed",
         "Imported. 1 CloudCoin left out: already in a wallet of this service, or on the way into one. Why.", 1),
        (tally(bank=1, missed=1), Left(units=ONE), "completed", "1 of 2 coins imported. 1 coin now belongs to"
         " another owner. 1 CloudCoin left out: already in a wallet of this service, or on the way into one. Why.", 1),
        (tally(), Left(waiting=ONE), "error",
         "Nothing was imported. 1 CloudCoin claimed by another task: import the file again later. Why.", 0),
        (tally(), Left(), "error", "Why.", 0),
    ],
)  # fmt: skip
def test_an_import(counts: Tally, left: Left, state: str, message: str, total: int) -> None:
    ended = told("import", counts, "Why.", left)

    assert ended[:2] == (state, message)
    results = ended[2].pop("pown_results")
    assert ended[2] == {"total": total * ONE, **left.result()}
    assert results == {
        "total": sum(counts.count.values()),
        "authentic": counts.count.get(CoinState.BANK, 0),
        **{each: counts.count.get(CoinState(each), 0) for each in ("fracked", "counterfeit", "limbo", "errored")},
    }


@pytest.mark.parametrize(
    ("answered", "message"),
    [
        (0, "No server answered; nothing was changed."),
        (1, "Only 1 of 25 servers answered, and 13 must; nothing was changed."),
        (12, "Only 12 of 25 servers answered, and 13 must; nothing was changed."),
        (
            13,
            "13 of 25 servers answered, but fewer than 13 said whether they accept the coins; nothing was changed.",
        ),
    ],
)
def test_an_import_that_changed_nothing_says_how_many_answered(answered: int, message: str) -> None:
    assert task_results.nothing_changed(answered) == message
    assert told("import", tally(), answered=answered)[1] == message


@pytest.mark.parametrize(
    ("kind", "counts", "state", "message", "result"),
    [
        ("find", tally(bank=1), "completed", "Every coin was found.", {"found": {"bank": 1}}),
        ("find", tally(limbo=1, bank=1), "completed",
         "1 coin is still in limbo: too few servers have confirmed who owns it. Ask again in {quiet} or later"
         " (POST /api/v1/find); the servers are asked again"
         " automatically within the hour. Why.", {"found": {"limbo": 1, "bank": 1}}),
        ("find", tally(errored=2), "completed",
         "2 coins are still in limbo: too few servers have confirmed who owns them. Ask again in {quiet} or"
         " later (POST /api/v1/find); the servers are asked again"
         " automatically within the hour. Why.", {"found": {"errored": 2}}),
        ("fix", tally(whole=2, bank=2), "completed", "Every coin is accepted by all servers.",
         {"coins_processed": 2, "coins_healed": 2, "coins_fracked": 0}),
        ("fix", tally(whole=1, bank=1, fracked=2), "completed",
         "All servers accept 1 of 3 coins. The others can be spent, but some servers do not accept them yet;"
         " they are fixed again automatically. Why.",
         {"coins_processed": 3, "coins_healed": 1, "coins_fracked": 2}),
        ("break", tally(broken=1, bank=10), "completed", "Broken into ten.",
         {"total": ONE, "total_unknown": 0, "graded": {"broken": 1, "bank": 10}}),
        ("break", tally(limbo=1), "error",
         "It is unknown whether the coin was broken; its value is not lost. Do not repeat this order."
         f" {ASKED_AGAIN} Why.", {"total": 0, "total_unknown": ONE, "graded": {"limbo": 1}}),
        ("break", tally(fracked=1), "error",
         "Nothing left the wallet: the coin was not broken and is back in it. Why.",
         {"total": 0, "total_unknown": 0, "graded": {"fracked": 1}}),
        ("break", tally(), "error", "The coin was not broken. Why.",
         {"total": 0, "total_unknown": 0, "graded": {}}),
        ("transfer", tally(bank=1), "error", "Nothing has left the wallet. Why.", {}),
        ("export", tally(limbo=1), "error", f"Nothing has left the wallet. {UNKNOWN_BREAK} Why.", {}),
        ("peek", tally(), "error", "Why.", {}),
    ],
)  # fmt: skip
def test_the_others(kind: str, counts: Tally, state: str, message: str, result: dict[str, Any]) -> None:
    message = message.replace("{quiet}", f"{task_results.seconds_until_quiet()} seconds")
    assert told(kind, counts, "Why.") == (state, message, result)


def test_a_task_that_only_looked_was_stopped() -> None:
    assert told("echo", tally()) == ("error", "Stopped before the servers answered.", {})


def test_what_was_delivered_is_said_first() -> None:
    delivered = {"total": 5}
    assert told("transfer", tally(limbo=1), delivered=delivered) == ("completed", "Transferred.", delivered)
    assert told("export", tally(), delivered=delivered) == ("completed", "Exported.", delivered)
    assert told("export", tally(), delivered={})[0] == "completed"


@pytest.mark.parametrize(
    ("result", "left"),
    [
        ({}, Left()),
        ({"total_left": 5}, Left(5)),
        ({"total_left": 5, "continued_by": str(SUCCESSOR)}, Left(0, 5, SUCCESSOR)),
    ],
)
def test_what_was_left_is_read_back_from_a_result(result: dict[str, Any], left: Left) -> None:
    assert Left.of_result(result) == left
    assert left.result() == result


@pytest.mark.parametrize(("timeout", "seconds"), [(0.1, 1), (0.5, 1), (0.6, 2), (5, 10)])
def test_the_servers_are_quiet_after_two_deadlines(timeout: float, seconds: int, settings: Any) -> None:
    settings.RAIDA_TIMEOUT_SECONDS = timeout
    assert task_results.seconds_until_quiet() == seconds


def test_a_larger_coin_is_worth_what_it_says() -> None:
    made = Tally.empty()
    made.add(CoinState.LOCKED, {1: 1})
    task = LockerTask(kind=TaskKind.PUT, amount=value_of(1))
    assert task_results.verdict(task, made, answered=25)[1] == "Stored."


def test_the_smallest_coin_that_came_back_is_told_and_no_reason_is_made_up() -> None:
    made = Tally.empty()
    made.add(CoinState.LOCKED, {0: 1})
    made.add(CoinState.BANK, {-8: 1})
    task = LockerTask(kind=TaskKind.PUT, amount=ONE + 1)
    assert task_results.verdict(task, made, answered=25)[1] == (
        "1 CloudCoin stored; 0.00000001 CloudCoin not stored and back in the wallet."
    )
