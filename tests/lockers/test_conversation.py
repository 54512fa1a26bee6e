"""
Reading answers: which coins a locker holds, when no further answer can change that, and what one answer means.

No server: each case writes the answers of all 25 out.
"""

import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest

from lockers.localnet.payloads import verdicts
from lockers.raida.coins import Coin
from lockers.raida.commands import Command
from lockers.raida.statuses import QUORUM, Status
from lockers.transport import Answer, NoResponse
from lockers.worker import messages
from lockers.worker.messages import CoinWork, Reply, Results
from tests.localnet import requests

A, B, C = Coin(0, 1), Coin(0, 2), Coin(1, 1)


def said(status: int, payload: bytes | None = None) -> Callable[[int], Answer]:
    return lambda raida: Answer(raida=raida, status=status, payload=payload or b"", elapsed_seconds=0.01)


def lists(*coins: Coin) -> Callable[[int], Answer]:
    return said(*requests.peek_reply(coins))


def is_silent(raida: int) -> NoResponse:
    return NoResponse(raida=raida, reason="timeout", sent=True)


EMPTY = lists()
NO_SUCH_KEY = said(Status.INVALID_ENCRYPTION)
BROKEN = said(Status.INTERNAL)


def answers(*groups: tuple[int, Callable[[int], Answer | NoResponse]]) -> Results:
    """Return answers by server: for each answer the given number of servers, RAIDA 0 first; the others have none."""
    told = [answer for count, answer in groups for _ in range(count)]
    return {raida: answer(raida) for raida, answer in enumerate(told)}


# What a locker holds.


@pytest.mark.parametrize(
    ("results", "coins", "listed", "empty", "is_partial"),
    [
        (answers((25, lists(A, B))), {A, B}, 25, 0, False),
        (answers((13, lists(A)), (12, EMPTY)), {A}, 13, 12, False),
        (answers((12, lists(A)), (13, EMPTY)), set(), 12, 13, True),
        (answers((12, lists(A)), (13, is_silent)), set(), 12, 0, True),
        (answers((1, lists(A)), (24, EMPTY)), set(), 1, 24, True),
        (answers((13, lists(A, B)), (12, lists(A, C))), {A, B}, 25, 0, True),
        (answers((12, lists(A, B)), (13, lists(A, C))), {A, C}, 25, 0, True),
        # Order means nothing, and one that is named twice has one vote.
        (answers((7, lists(A, B)), (6, lists(B, A)), (12, EMPTY)), {A, B}, 13, 12, False),
        (answers((12, lists(A, A)), (13, EMPTY)), set(), 12, 13, True),
        # Both answers say that there is no such locker; the others say nothing about it.
        (answers((12, NO_SUCH_KEY), (10, EMPTY), (3, BROKEN)), set(), 0, 22, False),
        (answers((13, lists(A)), (12, BROKEN)), {A}, 13, 0, False),
        (answers((13, lists(A)), (12, said(Status.ALL_PASS, b"torn"))), {A}, 13, 0, False),
        (answers((25, is_silent)), set(), 0, 0, False),
        ({}, set(), 0, 0, False),
    ],
)
def test_a_locker_holds_what_13_servers_list(
    results: Results, coins: set[Coin], listed: int, empty: int, is_partial: bool
) -> None:
    seen = messages.listing(results, quorum=QUORUM)

    assert (seen.coins, seen.listed, seen.empty, seen.is_partial) == (coins, listed, empty, is_partial)
    assert seen.code_used is None


def test_servers_without_the_locker_are_counted_whatever_they_say_and_stop_no_count() -> None:
    told = answers((3, EMPTY), (1, NO_SUCH_KEY), (2, BROKEN), (4, said(Status.ALL_FAIL)), (13, lists(A)))

    seen = messages.listing(told, quorum=QUORUM)

    assert (seen.coins, seen.listed, seen.empty, seen.is_partial) == (frozenset({A}), 13, 1 + 3 + 4, False)


def test_a_look_keeps_what_each_server_said() -> None:
    seen = messages.listing(
        answers((1, lists(A)), (1, EMPTY), (1, NO_SUCH_KEY), (1, BROKEN), (1, is_silent)), quorum=QUORUM
    )

    # That a key opens nothing is said as that the locker is empty.
    assert seen.statuses == (241, 242, 242, int(Status.INTERNAL), -2, *[None] * 20)


@pytest.mark.parametrize(
    ("results", "is_decided"),
    [
        (answers((12, is_silent)), False),
        (answers((12, lists(A))), False),
        (answers((13, is_silent)), True),
        (answers((13, EMPTY)), True),
        (answers((13, lists(A))), True),
        (answers((13, NO_SUCH_KEY)), True),
        # 12 that are outstanding would make 13 with the one.
        (answers((12, EMPTY), (1, lists(A))), False),
        (answers((13, is_silent), (1, lists(A))), True),
        (answers((12, lists(A)), (1, is_silent)), False),
        (answers((12, lists(A)), (12, is_silent)), False),
        (answers((12, lists(A)), (13, is_silent)), True),
        (answers((12, lists(A, B)), (1, lists(A))), False),
        (answers((12, lists(A, B)), (1, lists(B, A))), True),
        (answers((12, lists(A)), (12, EMPTY), (1, BROKEN)), True),
        (answers((12, lists(A)), (12, lists(A, C))), False),
        (answers((11, lists(A)), (13, lists(A, C))), True),
        (answers((12, lists(A, A)), (12, EMPTY)), False),
        ({}, False),
    ],
)
def test_a_look_ends_when_no_answer_can_change_what_13_servers_list(results: Results, is_decided: bool) -> None:
    assert messages.is_decided(results, quorum=QUORUM) is is_decided
    if is_decided:
        listed = messages.listing(results, quorum=QUORUM).coins
        for late in (lists(A, B, C), lists(A), lists(C), EMPTY, is_silent):
            rest = {raida: late(raida) for raida in range(25) if raida not in results}
            assert messages.listing(results | rest, quorum=QUORUM).coins == listed


# What one answer says of two coins.

PASSED, FAILED, BOTH = (verdicts(flags) for flags in ([True] * 2, [False] * 2, [True, False]))
TORN = said(Status.MIXED, b"")


@pytest.mark.parametrize(
    ("commands", "answer", "replies"),
    [
        ([Command.POWN, Command.DETECT], said(*PASSED), [Reply.PASS] * 2),
        ([Command.POWN, Command.DETECT], said(*FAILED), [Reply.FAIL] * 2),
        ([Command.POWN, Command.DETECT], said(*BOTH), [Reply.PASS, Reply.FAIL]),
        ([Command.PUT], said(*PASSED), [Reply.PASS] * 2),
        ([Command.PUT], said(*FAILED), [Reply.FAIL] * 2),
        # A put passes or fails as a whole.
        ([Command.PUT], said(*BOTH), [Reply.SILENT] * 2),
        # It may have been done, and says no more than a silence.
        ([Command.POWN, Command.DETECT, Command.REMOVE, Command.FIND], TORN, [Reply.SILENT] * 2),
        ([Command.POWN, Command.DETECT], said(Status.SUCCESS), [Reply.SILENT] * 2),
        ([Command.BREAK, Command.JOIN], said(Status.SUCCESS), [Reply.PASS] * 2),
        ([Command.BREAK, Command.JOIN], said(Status.ALL_FAIL), [Reply.FAIL] * 2),
        ([Command.BREAK, Command.JOIN], said(Status.SN_NOT_AVAILABLE), [Reply.FAIL] * 2),
        ([Command.BREAK, Command.JOIN], said(Status.PAGE_IS_NOT_RESERVED), [Reply.FAIL] * 2),
        ([Command.BREAK, Command.JOIN], said(Status.INVALID_SN_OR_DENOMINATION), [Reply.FAIL] * 2),
        ([Command.PUT, Command.POWN, Command.REMOVE, Command.FIND, Command.BREAK], BROKEN, [Reply.ERROR] * 2),
        # Of a question about several coins it is not said which one it is.
        (
            [Command.PUT, Command.POWN, Command.REMOVE, Command.FIND, Command.DETECT],
            said(Status.INVALID_SN_OR_DENOMINATION),
            [Reply.ERROR] * 2,
        ),
        ([Command.POWN, Command.PUT, Command.FIND, Command.DETECT, Command.BREAK], NO_SUCH_KEY, [Reply.UNREADABLE] * 2),
        # Asked with a locker's key: there is no such locker.
        ([Command.REMOVE], NO_SUCH_KEY, [Reply.FAIL] * 2),
        ([Command.REMOVE, Command.POWN], said(Status.ENCRYPTION_COIN_NOT_FOUND), [Reply.UNREADABLE] * 2),
        (
            [Command.REMOVE],
            said(*requests.remove_reply((True, False))),
            [Reply.PASS, Reply.FAIL],
        ),
        ([Command.REMOVE], said(*requests.remove_reply((True, True))), [Reply.PASS] * 2),
        (
            [Command.FIND],
            said(Status.FIND_MIXED, b"\x02\x00"),
            [Reply.HAS_NEW, Reply.HAS_NEITHER],
        ),
        (
            [Command.FIND],
            said(Status.FIND_MIXED, b"\x01\x02"),
            [Reply.HAS_OLD, Reply.HAS_NEW],
        ),
    ],
)
def test_what_an_answer_says_of_each_coin(
    commands: list[Command], answer: Callable[[int], Answer], replies: list[Reply]
) -> None:
    for command in commands:
        assert messages.read(command, answer(0), 2) == tuple(replies), command


def test_a_server_that_was_asked_and_is_not_among_the_results_was_silent() -> None:
    chosen = {0: (0, 1), 7: (1,), 9: (0,)}

    told = messages.replies(Command.POWN, chosen, {0: said(*BOTH)(0)})

    assert told == {0: (Reply.PASS, Reply.FAIL), 7: (Reply.SILENT,), 9: (Reply.SILENT,)}


def test_who_reads_an_answer_is_told_of_which_command_it_is() -> None:
    told: list[tuple[Command, int]] = []

    def reads(command: Command, result: Answer | NoResponse | None, count: int) -> tuple[Reply, ...]:
        told.append((command, count))
        return (Reply.PASS,) * count

    assert messages.replies(Command.BREAK, {3: (0, 1)}, {}, reads=reads) == {3: (Reply.PASS, Reply.PASS)}
    enough = messages.quorum_passed(Command.JOIN, [piece(0)], dict.fromkeys(range(13), (0,)), reads)
    assert enough(answers((13, said(*FAILED))))
    assert told == [(Command.BREAK, 2)] + [(Command.JOIN, 1)] * 13


# What is asked.


def number(kind: str, coin: int, raida: int) -> bytes:
    return f"{kind}{coin}/{raida:02}".encode().ljust(12, b".") + b"\xff" * 4


def piece(coin: int, *, is_put: bool = False) -> CoinWork:
    return CoinWork(
        uuid.UUID(int=coin),
        Coin(0, coin),
        "p" * 25,
        "-" * 25,
        tuple(number("old", coin, raida) for raida in range(25)),
        tuple(number("new", 0 if is_put else coin, raida) for raida in range(25)),
    )


CHOSEN = {3: (0, 2), 4: (1,), 5: (0, 2)}


@pytest.mark.parametrize("back", [False, True])
def test_each_server_is_told_its_own_numbers_of_the_coins_that_were_chosen_for_it(back: bool) -> None:
    pieces = [piece(coin) for coin in range(3)]
    old, new = ("new", "old") if back else ("old", "new")

    moves = messages.compose(Command.POWN, pieces, CHOSEN, back=back).payloads
    asks = messages.compose(Command.FIND, pieces, CHOSEN, back=back).payloads
    accepts = messages.compose(Command.DETECT, pieces, CHOSEN, back=back).payloads
    leaves = messages.compose(Command.REMOVE, pieces, CHOSEN, back=back).payloads

    for raida, indices in CHOSEN.items():
        both = [
            requests.CoinAnPan(Coin(0, coin), number(old, coin, raida), number(new, coin, raida)) for coin in indices
        ]
        assert requests.read_an_pan(moves[raida]) == requests.read_an_pan(asks[raida]) == both
        assert requests.read_an(accepts[raida]) == [requests.CoinAn(each.coin, each.an) for each in both]
        assert requests.read_pan(leaves[raida][16:]) == [requests.CoinPan(each.coin, each.pan) for each in both]
        assert leaves[raida][:16] == both[0].an
    assert moves.keys() == asks.keys() == accepts.keys() == leaves.keys() == CHOSEN.keys()


def test_a_call_moves_from_the_old_number_to_the_new_one_unless_it_is_said_otherwise() -> None:
    pieces = [piece(coin) for coin in range(3)]

    for command in (Command.POWN, Command.PUT):
        assert messages.compose(command, pieces, CHOSEN).command is command
    assert messages.compose(Command.POWN, pieces, CHOSEN) == messages.compose(Command.POWN, pieces, CHOSEN, back=False)
    with pytest.raises(ValueError, match="says nothing about coins"):
        messages.compose(Command.ECHO, pieces, CHOSEN)


def test_a_server_is_asked_also_about_coins_that_it_is_not_known_to_accept() -> None:
    refused = replace(piece(0), pown="f" * 25)

    assert messages.choose([refused, piece(1)], "-") == dict.fromkeys(range(25), (0, 1))
    assert messages.choose([refused, piece(1)], "-", known_good=True) == dict.fromkeys(range(25), (1,))


def test_the_marks_of_one_coin_are_those_of_its_batch() -> None:
    assert messages.common_marks([piece(0)], {3: (0,)}) == {3: "-"}


def test_a_put_names_the_coins_of_each_server_with_its_key_and_the_sum_of_its_numbers() -> None:
    pieces = [piece(coin, is_put=True) for coin in range(3)]

    puts = messages.compose(Command.PUT, pieces, CHOSEN).payloads

    assert puts == {
        raida: requests.put(
            [requests.CoinAn(Coin(0, coin), number("old", coin, raida)) for coin in indices], number("new", 0, raida)
        )
        for raida, indices in CHOSEN.items()
    }
