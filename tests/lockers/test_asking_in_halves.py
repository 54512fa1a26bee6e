"""
Requests that most servers refuse because of a coin in them are repeated in halves, and which servers refuse so.

No server: each case writes the answers out.
"""

import pytest

from lockers.raida.statuses import Status
from lockers.transport import Answer, NoResponse
from lockers.worker import messages
from lockers.worker.messages import Reply, Targets


@pytest.mark.parametrize(("coins", "bad"), [(1, {0}), (1000, {0}), (1000, {17, 900}), (50, {1, 2, 30, 49})])
def test_the_coins_that_are_refused_are_found(coins: int, bad: set[int]) -> None:
    asked: list[int] = []

    def question(chosen: Targets) -> tuple[messages.Replies, set[int]]:
        asked.append(1)
        refused = {raida for raida, indices in chosen.items() if raida < 20 and bad & set(indices)}
        return {
            raida: (Reply.ERROR if raida in refused else Reply.PASS,) * len(indices)
            for raida, indices in chosen.items()
        }, refused

    told = messages.ask_in_halves({raida: tuple(range(coins)) for raida in range(25)}, question)

    for raida, replies in told.items():
        assert {index for index, reply in enumerate(replies) if reply is Reply.ERROR} == (bad if raida < 20 else set())
    assert len(asked) <= 1 + messages.MOST_HALVES + 1


def test_what_is_refused_altogether_is_asked_about_so_often_and_no_more() -> None:
    asked: list[int] = []

    def question(chosen: Targets) -> tuple[messages.Replies, set[int]]:
        asked.append(1)
        return {raida: (Reply.ERROR,) * len(indices) for raida, indices in chosen.items()}, set(chosen)

    told = messages.ask_in_halves({raida: tuple(range(1000)) for raida in range(25)}, question)

    assert set(told[0]) == {Reply.ERROR}
    assert len(asked) == 1 + messages.MOST_HALVES


@pytest.mark.parametrize(("refusing", "is_halved"), [(12, False), (13, True)])
def test_most_servers_that_were_asked_must_refuse_and_only_those_are_asked_again(
    refusing: int, is_halved: bool
) -> None:
    """Of 24; the others have answered."""
    asked: list[Targets] = []

    def question(chosen: Targets) -> tuple[messages.Replies, set[int]]:
        asked.append(chosen)
        refused = {raida for raida, indices in chosen.items() if raida < refusing and 2 in indices}
        return {
            raida: (Reply.ERROR if raida in refused else Reply.PASS,) * len(indices)
            for raida, indices in chosen.items()
        }, refused

    told = messages.ask_in_halves({raida: tuple(range(4)) for raida in range(24)}, question)

    one, all_four = (Reply.PASS, Reply.PASS, Reply.ERROR, Reply.PASS), (Reply.ERROR,) * 4
    assert told == {
        raida: (one if is_halved else all_four) if raida < refusing else (Reply.PASS,) * 4 for raida in range(24)
    }
    assert {raida for again in asked[1:] for raida in again} == (set(range(refusing)) if is_halved else set())
    # Each half once: two of four coins, and one of two.
    assert [sorted({index for each in again.values() for index in each}) for again in asked[1:]] == (
        [[0, 1], [2, 3], [2], [3]] if is_halved else []
    )


def test_servers_that_are_asked_about_other_coins_keep_their_places() -> None:
    chosen = {raida: (1, 4, 6) if raida % 2 else (0, 4) for raida in range(25)}

    def question(asked: Targets) -> tuple[messages.Replies, set[int]]:
        refused = {raida for raida, indices in asked.items() if 4 in indices}
        return {
            raida: tuple(Reply.ERROR if raida in refused else Reply.PASS for _ in indices)
            for raida, indices in asked.items()
        }, refused

    assert messages.ask_in_halves(chosen, question) == {
        raida: tuple(Reply.ERROR if index == 4 else Reply.PASS for index in indices)
        for raida, indices in chosen.items()
    }


def test_servers_refuse_because_of_a_coin_with_one_status() -> None:
    def said(raida: int, status: int) -> Answer:
        return Answer(raida=raida, status=status, payload=b"", elapsed_seconds=0.01)

    others = [status for status in Status if status != Status.INVALID_SN_OR_DENOMINATION]
    results = {raida: said(raida, status) for raida, status in enumerate(others)}
    results |= {100: said(100, Status.INVALID_SN_OR_DENOMINATION), 101: said(101, 40)}
    silent = {102: NoResponse(raida=102, reason="timeout", sent=True)}

    assert messages.refusing(results | silent) == {100, 101}


@pytest.mark.parametrize(
    ("replies", "wanted", "found"),
    [
        ({}, [Reply.PASS], {}),
        ({0: {3: Reply.PASS, 5: Reply.FAIL, 9: Reply.PASS}}, [Reply.PASS], {0: (3, 9)}),
        ({0: {3: Reply.PASS}, 1: {3: Reply.FAIL}}, [Reply.FAIL], {1: (3,)}),
        ({0: {3: Reply.PASS, 4: Reply.HAS_OLD}}, [Reply.PASS, Reply.HAS_OLD], {0: (3, 4)}),
        ({0: {3: Reply.PASS}}, [], {}),
    ],
)
def test_where_a_reply_was_given(replies: dict[int, dict[int, Reply]], wanted: list[Reply], found: Targets) -> None:
    assert messages.where(replies, *wanted) == found
