"""
Which coins are taken whole, which one is broken for the rest, and what each server is asked; no rows or sockets.

No amount loses value, takes a coin that is missing, or breaks one without need.
"""

import uuid
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockers import coin_selection
from lockers.localnet.payloads import verdicts as encode_verdicts
from lockers.raida.coins import Coin, total_value, value_of
from lockers.raida.commands import Command
from lockers.raida.statuses import Status
from lockers.transport import Answer, NoResponse
from lockers.worker import break_coin, fix, messages, put
from lockers.worker.break_coin import Family
from lockers.worker.messages import CoinWork, Reply
from tests.localnet import requests
from tests.lockers.marks import LETTERS, MARKS, at, of_25

DENOMINATIONS = range(-8, 7)
many = settings(derandomize=True, deadline=None, max_examples=100)
counts = st.dictionaries(st.sampled_from([-8, -7, -1, 0, 1, 2, 5, 6]), st.integers(0, 12), max_size=5)
amounts = st.lists(st.sampled_from([1, 10, 10**7, 10**8, 10**9, 10**10, 10**14]), max_size=14).map(sum)


def test_each_denomination_is_worth_ten_of_the_next() -> None:
    assert (value_of(-8), value_of(0), value_of(6)) == (1, 10**8, 10**14)
    for low, high in pairwise(DENOMINATIONS):
        assert value_of(high) == 10 * value_of(low)
    assert total_value({-8: 3, 0: 2, 6: 1}) == 3 + 2 * 10**8 + 10**14
    assert total_value({}) == 0


@many
@given(counts, counts, amounts)
def test_a_coin_is_broken_only_where_it_must_be_and_makes_up_the_rest(
    available: dict[int, int], breakable: dict[int, int], units: int
) -> None:
    plan = coin_selection.choose_to_break(available, breakable, units)

    exact = coin_selection.choose(available, units)
    if plan is None:
        # It can be made without, there is too little, or no coin that is left over may be broken.
        whole = coin_selection.choose(available, units) or _greedy(available, units)
        over = {each for each in DENOMINATIONS if available.get(each, 0) > whole.get(each, 0)}
        rest = units - total_value(whole)
        bigger = {each for each in over if value_of(each) > rest and breakable.get(each, 0) > 0 and each > -8}
        assert exact is not None or not bigger
        return
    assert exact is None
    chosen, broken = plan
    rest = units - total_value(chosen)
    assert all(0 < count <= available[each] for each, count in chosen.items())
    assert available[broken] > chosen.get(broken, 0)
    assert breakable[broken] > 0
    assert broken > -8
    # The rest is something, and less than the coin: nothing is broken for nothing, and nothing is left unpaid.
    assert 0 < rest < value_of(broken)
    for smaller in range(-7, broken):
        is_over = available.get(smaller, 0) > chosen.get(smaller, 0)
        assert not (is_over and breakable.get(smaller, 0) and value_of(smaller) > rest)


def _greedy(available: dict[int, int], units: int) -> dict[int, int]:
    """From the largest down, coin by coin."""
    taken: dict[int, int] = {}
    for each in sorted((each for each, count in available.items() for _ in range(count)), reverse=True):
        if value_of(each) <= units:
            units -= value_of(each)
            taken[each] = taken.get(each, 0) + 1
    return taken


@pytest.mark.parametrize(
    ("available", "breakable", "units", "plan"),
    [
        ({0: 1}, {0: 1}, 10**7, ({}, 0)),
        ({0: 2}, {0: 1}, 11 * 10**7, ({0: 1}, 0)),
        ({0: 1, 1: 1}, {0: 1, 1: 1}, 10**7, ({}, 0)),
        ({0: 1, 1: 1}, {1: 1}, 10**7, ({}, 1)),
        ({0: 1}, {}, 10**7, None),
        ({0: 1}, {0: 1}, 10**8, None),
        ({0: 1}, {0: 1}, 11 * 10**7, None),
        ({-7: 1}, {-7: 1}, 1, ({}, -7)),
        ({-8: 1}, {-8: 1}, 2, None),
        ({-8: 1, 0: 1}, {0: 1}, 2, ({-8: 1}, 0)),
        ({6: 1}, {6: 1}, 10**14 - 1, ({}, 6)),
        ({6: 2}, {6: 2}, 10**14 + 1, ({6: 1}, 6)),
    ],
)
def test_what_is_taken_and_what_is_broken(
    available: dict[int, int], breakable: dict[int, int], units: int, plan: tuple[dict[int, int], int] | None
) -> None:
    assert coin_selection.choose_to_break(available, breakable, units) == plan


@pytest.mark.parametrize(
    ("available", "units", "chosen", "nearest"),
    [
        ({-8: 1, 6: 1}, 10**14 + 1, {6: 1, -8: 1}, (10**14 + 1, None)),
        ({-8: 12}, 11, {-8: 11}, (11, 11)),
        ({-8: 12}, 13, None, (12, None)),
        ({6: 1}, 1, None, (0, 10**14)),
        ({0: 1, -8: 1}, 2, None, (1, 10**8)),
        ({}, 1, None, (0, None)),
    ],
)
def test_amounts_at_both_ends_of_the_denominations(
    available: dict[int, int], units: int, chosen: dict[int, int] | None, nearest: tuple[int, int | None]
) -> None:
    assert coin_selection.choose(available, units) == chosen
    assert coin_selection.below_and_above(available, units) == nearest


# Which coins a server is asked about.


def piece(marks: str, pown: str = "p" * 25, number: int = 1) -> CoinWork:
    return CoinWork(uuid.UUID(int=number), Coin(0, number), pown, marks, (b"o" * 16,) * 25, (b"n" * 16,) * 25)


@many
@given(
    st.lists(st.tuples(of_25(MARKS), of_25(LETTERS)), min_size=1, max_size=5),
    st.sampled_from(["-", "n", "no", "ne", "-dfreb", "p"]),
    st.booleans(),
)
def test_a_server_is_asked_about_the_coins_that_have_such_a_mark_there(
    rows: list[tuple[str, str]], marks: str, known_good: bool
) -> None:
    pieces = [piece(outcome, pown, number) for number, (outcome, pown) in enumerate(rows)]

    chosen = messages.choose(pieces, marks, known_good=known_good)

    assert chosen == {
        raida: indices
        for raida in range(25)
        if (
            indices := tuple(
                index
                for index, (outcome, pown) in enumerate(rows)
                if outcome[raida] in marks and (pown[raida] == "p" or not known_good)
            )
        )
    }


@pytest.mark.parametrize(
    ("marks", "could"),
    [
        ("p13 -12", False),
        ("p12 -1 f12", True),
        ("p12 n1 f12", True),
        ("p12 e1 f12", True),
        ("p12 f13", False),
        ("p11 -1 f13", False),
        ("-13 f12", True),
        ("-12 f13", False),
        ("p4 n4 e4 -1 o12", True),
        ("p4 n4 e4 o13", False),
    ],
)
def test_unsure_servers_are_asked_where_they_could_make_13(marks: str, could: bool) -> None:
    assert put._could_be_stored(at(marks)) is could


def test_an_intent_says_what_it_asks_and_nothing_of_the_others() -> None:
    pieces = [piece(at("-20 f5"), number=1), piece(at("-20 f5"), number=2)]
    chosen = {0: (0, 1), 24: (0, 1)}

    assert messages.batch_marks(chosen, {0: "n", 24: "p"}) == "n" + "-" * 23 + "p"
    assert messages.common_marks(pieces, chosen) == {0: "-", 24: "f"}
    pieces[1].marks = "n" + pieces[1].marks[1:]
    assert messages.common_marks(pieces, chosen) is None
    assert messages.common_marks(pieces, {24: (0, 1)}) == {24: "f"}
    # Of a server that was asked about one of them alone.
    assert messages.common_marks(pieces, {0: (1,), 24: (0, 1)}) == {0: "n", 24: "f"}


def test_marks_change_where_a_server_was_asked_and_only_there() -> None:
    pieces = [piece("-" * 25, number=1), piece("n" * 25, number=2)]

    changed = messages.remark(
        pieces, {0: (0, 1), 1: (1,)}, {0: (Reply.PASS, Reply.SILENT), 1: (Reply.FAIL,)},
        lambda mark, reply: messages.MOVED.get((mark, reply), mark),
    )  # fmt: skip

    assert [each.marks for each in pieces] == ["p" + "-" * 24, "nf" + "n" * 23]
    assert changed == {0, 1}
    assert messages.remark(pieces, {5: (0,)}, {5: ("-",)}, lambda mark, word: word) == set()
    assert messages.remark_sent(pieces, {0: (1,), 3: (0, 1)}) == {0}
    assert [each.marks for each in pieces] == ["p--n" + "-" * 21, "nf" + "n" * 23]


# Breaking: servers hold the one coin, its ten, or neither.


def family(marks: str, pown: str = "p25") -> Family:
    return Family(piece(at(marks), at(pown)), [piece(at(marks), number=number) for number in range(2, 12)])


@pytest.mark.parametrize(
    ("told", "reply"),
    [
        ("p" + "f" * 10, Reply.HAS_OLD),
        ("f" + "p" * 10, Reply.HAS_NEW),
        ("f" * 11, Reply.HAS_NEITHER),
        # A server that has both, or some of the ten, is neither: another has been there.
        ("p" * 11, Reply.HAS_NEITHER),
        ("p" + "f" * 9 + "p", Reply.HAS_NEITHER),
        ("pp" + "f" * 9, Reply.HAS_NEITHER),
        ("f" + "p" * 9 + "f", Reply.HAS_NEITHER),
        ("f" * 10 + "p", Reply.HAS_NEITHER),
    ],
)
def test_a_server_holds_the_one_or_all_ten_or_neither(told: str, reply: Reply) -> None:
    verdicts = [letter == "p" for letter in told]
    status, payload = encode_verdicts(verdicts)
    answer = _answer(status, payload)

    assert break_coin._one_or_ten(Command.DETECT, answer, 11) == (reply,) * 11


def test_what_no_server_said_is_said_of_all_eleven() -> None:
    assert break_coin._one_or_ten(Command.DETECT, None, 11) == (Reply.SILENT,) * 11
    failed = _answer(Status.INTERNAL)
    assert break_coin._one_or_ten(Command.DETECT, failed, 11) == (Reply.ERROR,) * 11


def _answer(status: int, payload: bytes | None = None) -> Answer:
    return Answer(raida=0, status=status, payload=payload or b"", elapsed_seconds=0.01)


def test_only_numbers_of_the_next_denomination_are_counted_and_each_server_once() -> None:
    def named(denomination: int, *numbers: int) -> Answer:
        return _answer(*requests.serials_reply(denomination, numbers))

    results = {
        0: named(0, 1, 2, 2),
        1: named(0, 2),
        2: named(1, 1, 2),
        3: _answer(Status.INTERNAL),
        4: NoResponse(raida=4, reason="timeout", sent=True),
    }

    assert break_coin._votes(results, 0) == {1: 1, 2: 2}
    assert break_coin._votes(results, None) == {1: 2, 2: 3}


@pytest.mark.parametrize(
    ("marks", "cannot"),
    [
        ("n13 f12", False),
        ("n12 f13", True),
        ("p4 n4 o5 f12", False),
        ("p4 n4 o4 f13", True),
        ("p12 e13", True),
        ("-25", False),
        ("-12 d13", False),
        ("-24 f1", True),
    ],
)
def test_a_break_is_undone_once_13_servers_can_no_longer_do_it(marks: str, cannot: bool) -> None:
    assert break_coin._cannot_be_broken(family(marks)) is cannot


def test_only_servers_that_accept_the_coin_and_were_not_asked_break_it() -> None:
    members = family("-20 n3 p2", "p10 f5 n5 p5")

    assert sorted(break_coin._good(members)) == list(range(10))
    assert break_coin._passes(members) == 2


@pytest.mark.parametrize(
    ("has_proposal", "of_a_break", "new", "reply", "is_ours"),
    [
        (True, False, b"n" * 16, Reply.HAS_NEW, True),
        (True, True, b"n" * 16, Reply.HAS_NEW, True),
        (True, True, b"n" * 16, Reply.HAS_OLD, False),
        (True, False, b"n" * 16, Reply.HAS_OLD, False),
        (True, False, b"n" * 16, Reply.HAS_NEITHER, False),
        # The key of a locker into which the coin was to be put once: a holder of its code knows it.
        (True, False, b"n" * 12 + b"\xff" * 4, Reply.HAS_NEW, False),
        (False, False, b"n" * 16, Reply.HAS_OLD, False),
        (False, False, b"n" * 16, Reply.HAS_NEW, False),
        (False, True, b"n" * 16, Reply.HAS_OLD, True),
        (False, True, b"n" * 16, Reply.HAS_NEW, True),
        (False, True, b"n" * 16, Reply.HAS_NEITHER, False),
        (False, True, b"n" * 16, Reply.PASS, False),
    ],
)
def test_a_fix_adopts_a_number_that_only_this_ledger_was_ever_told(
    has_proposal: bool, of_a_break: bool, new: bytes, reply: Reply, is_ours: bool
) -> None:
    patient = fix._FrackedCoin(piece("-" * 25), has_proposal, of_a_break)
    patient.piece.new = (new,) * 25

    assert fix._is_ours(patient, 7, reply) is is_ours


# 13 answers end the waiting.


@pytest.mark.parametrize(
    ("marks", "passing", "is_enough"),
    [("-25", 13, True), ("-25", 12, False), ("p12 -13", 1, True), ("p12 -13", 0, False)],
)
def test_a_verdict_needs_13_servers_for_each_coin(marks: str, passing: int, is_enough: bool) -> None:
    pieces = [piece(at(marks)), piece(at(marks), number=2)]
    asked = [raida for raida in range(25) if pieces[0].marks[raida] == "-"]
    chosen = dict.fromkeys(asked, (0, 1))
    enough = messages.quorum_passed(Command.POWN, pieces, chosen, None)
    both, status = encode_verdicts([True, True]), Status.ALL_FAIL
    results = {raida: _answer(*both) if number < passing else _answer(status) for number, raida in enumerate(asked)}

    assert enough({raida: results[raida] for raida in asked[:5]}) is (is_enough and passing == 1)
    # Asked again with what it has counted already: no server counts twice.
    assert enough(results) is is_enough
    assert enough(results) is is_enough


def test_a_coin_that_lacks_one_server_keeps_the_others_waiting() -> None:
    pieces = [piece("-" * 25), piece("-" * 25, number=2)]
    enough = messages.quorum_passed(Command.POWN, pieces, dict.fromkeys(range(25), (0, 1)), None)
    mixed = encode_verdicts([True, False])
    results = {raida: _answer(*encode_verdicts([True, True])) for raida in range(12)}

    assert not enough(results | {raida: _answer(*mixed) for raida in range(12, 25)})


@pytest.mark.parametrize(
    ("silence", "reply"),
    [
        (NoResponse(raida=0, reason="timeout", sent=True), Reply.SILENT),
        (NoResponse(raida=0, reason="network", sent=True), Reply.SILENT),
        (NoResponse(raida=0, reason="network", sent=False), Reply.UNREACHED),
        (NoResponse(raida=0, reason="refused", sent=False), Reply.UNREACHED),
    ],
)
def test_unreached_is_what_no_byte_was_sent_to(silence: NoResponse, reply: Reply) -> None:
    for command in (Command.PUT, Command.POWN, Command.REMOVE, Command.FIND, Command.BREAK):
        assert messages.read(command, silence, 2) == (reply,) * 2
