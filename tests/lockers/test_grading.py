"""
The final state of a coin from the servers' answers: tables around 12, 13 and 14 servers, and general properties.

A server may hold the coin's old number, its new one, or another that is not ours. Nothing is money unless 13 servers
hold one number of ours for certain; nothing is given up unless 13 say so; what is not known keeps both numbers.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockers import coin_outcomes
from lockers.coin_outcomes import Secrets
from lockers.states import CoinState, Mark, TaskKind, may_become
from tests.lockers.marks import LETTERS, MARKS, at, of_25

MONEY = ("bank", "fracked")
WRITTEN_OFF = ("counterfeit", "missed", "sent", "void")
# Where a request may still arrive, or may have been carried out without a word of it.
OPEN = "noe"
many = settings(derandomize=True, deadline=None, max_examples=200)
marks_of_25, powns_of_25 = of_25(MARKS), of_25(LETTERS)


@pytest.fixture(autouse=True)
def _what_was_decided_before_is_forgotten() -> None:
    coin_outcomes.ending.cache_clear()


def test_every_mark_is_the_letter_that_rows_have() -> None:
    named = {name: value for name, value in vars(Mark).items() if name.isupper()}
    assert named == {
        "UNASKED": "-",
        "SENT": "n",
        "NEW": "p",
        "REFUSED": "f",
        "GONE": "g",
        "NEITHER": "x",
        "OLD": "o",
        "KEPT": "r",
        "ERROR": "e",
        "UNREADABLE": "b",
        "UNREACHED": "d",
    }
    assert set(named.values()) == set(MARKS)


def test_a_receipt_has_a_letter_for_every_mark() -> None:
    assert coin_outcomes.shown(MARKS) == "unpfffnfedb"


def ending(
    marks: str,
    pown: str = "p25",
    *,
    state: str = "bank",
    is_put: bool = False,
    is_release: bool = False,
    origin: TaskKind = TaskKind.IMPORT,
) -> coin_outcomes.Ending:
    return coin_outcomes.ending(
        state=CoinState(state), is_put=is_put, is_release=is_release, origin=origin, marks=at(marks), pown=at(pown)
    )


# A put: the old number is the coin's own, the new one the locker's key.


@pytest.mark.parametrize(
    ("state", "marks", "pown", "after", "letters", "kept"),
    [
        # 13 stored it.
        ("bank", "p25", "p25", "locked", "p25", Secrets.OLD),
        ("bank", "p14 n11", "p25", "locked", "p14 n11", Secrets.OLD),
        ("bank", "p13 n12", "p25", "locked", "p13 n12", Secrets.OLD),
        ("fracked", "p13 -12", "p13 f12", "locked", "p13 f12", Secrets.OLD),
        ("bank", "p13 -12", "p25", "locked", "p13 u12", Secrets.OLD),
        ("bank", "p13 -12", "p13 n12", "locked", "p13 u12", Secrets.UNTOUCHED),
        ("fracked", "p13 -12", "p13 n11 f1", "locked", "p13 u11 f1", Secrets.UNTOUCHED),
        ("limbo", "p13 -12", "p13 n12", "locked", "p13 u12", Secrets.OLD),
        ("bank", "p13 f12", "p25", "locked", "p13 f12", Secrets.OLD),
        ("bank", "p13 f12", "f25", "locked", "p13 f12", Secrets.OLD),
        # 12 stored it, and others may yet.
        ("bank", "p12 n13", "p25", "limbo", "n25", Secrets.BOTH),
        ("bank", "p12 n1 r12", "p25", "limbo", "n13 p12", Secrets.BOTH),
        ("bank", "n25", "p25", "limbo", "n25", Secrets.BOTH),
        ("bank", "e25", "p25", "limbo", "n25", Secrets.BOTH),
        ("bank", "o25", "p25", "limbo", "n25", Secrets.BOTH),
        ("bank", "r12 n13", "p25", "limbo", "p12 n13", Secrets.BOTH),
        ("bank", "r12 x13", "p25", "limbo", "p12 f13", Secrets.BOTH),
        ("bank", "r12 g12 n1", "p25", "limbo", "p12 f12 n1", Secrets.BOTH),
        # 13 hold the old number, and at most 12 can still get the key.
        ("bank", "r13 n12", "p25", "bank", "p13 n12", Secrets.BOTH),
        ("bank", "r14 n11", "p25", "bank", "p14 n11", Secrets.BOTH),
        ("bank", "r13 x12", "p25", "fracked", "p13 f12", Secrets.OLD),
        ("fracked", "r25", "p25", "bank", "p25", Secrets.OLD),
        ("bank", "r12 -1 n12", "p25", "bank", "p13 n12", Secrets.BOTH),
        ("bank", "r12 d1 n12", "p25", "bank", "p13 n12", Secrets.BOTH),
        ("bank", "r12 b1 n12", "p25", "bank", "p13 n12", Secrets.BOTH),
        ("bank", "r12 f1 n12", "p25", "bank", "p13 n12", Secrets.BOTH),
        ("bank", "r12 -1 n12", "f25", "limbo", "p12 f1 n12", Secrets.BOTH),
        # The same in doubt before: the silent request may still come, so it is released first.
        ("limbo", "r12 x13", "n25", "limbo", "p12 f13", Secrets.BOTH),
        ("limbo", "r13 x12", "n25", "limbo", "p13 f12", Secrets.BOTH),
        ("limbo", "r14 x11", "n25", "limbo", "p14 f11", Secrets.BOTH),
        ("limbo", "r25", "n25", "limbo", "p25", Secrets.BOTH),
        ("limbo", "-25", "n25", "limbo", "n25", Secrets.BOTH),
        ("limbo", "d25", "p25", "limbo", "p25", Secrets.BOTH),
        # Taken out of the locker by another already.
        ("bank", "g12 x13", "p25", "limbo", "f25", Secrets.BOTH),
        ("bank", "g12 r13", "p25", "fracked", "f12 p13", Secrets.OLD),
        ("bank", "g13 -12", "p25", "sent", "f25", Secrets.OLD),
        ("bank", "g14 n11", "p25", "sent", "f14 n11", Secrets.OLD),
        ("limbo", "g13 n12", "n25", "sent", "f13 n12", Secrets.OLD),
        ("limbo", "g13 n12", "n12 p13", "limbo", "f13 n12", Secrets.BOTH),
        ("limbo", "g14 n11", "n13 p12", "sent", "f14 n11", Secrets.OLD),
        # Not a byte left.
        ("bank", "-25", "p25", "bank", "p25", Secrets.UNTOUCHED),
        ("fracked", "-12 d13", "p20 f5", "fracked", "p20 f5", Secrets.UNTOUCHED),
        ("bank", "d25", "p13 n12", "bank", "p13 n12", Secrets.UNTOUCHED),
        # Refused by one that was asked: that is something.
        ("bank", "-24 f1", "p25", "bank", "p25", Secrets.OLD),
        ("bank", "-24 b1", "p25", "bank", "p25", Secrets.OLD),
        ("bank", "-24 b1", "p13 n12", "bank", "p13 n12", Secrets.BOTH),
    ],
)
def test_what_a_put_makes_of_a_coin(state: str, marks: str, pown: str, after: str, letters: str, kept: Secrets) -> None:
    ended = ending(marks, pown, state=state, is_put=True)

    assert (ended.state, ended.pown, ended.secrets) == (after, at(letters), kept)
    assert ended.shown == coin_outcomes.shown(at(marks))
    assert ended.stays_in_locker == (after in ("locked", "limbo", "sent"))
    assert not ended.stays_releasing


def state_after_a_put(state: str, marks: str, pown: str) -> str:
    """The rules, restated with counts."""
    known = [*zip(marks, pown, strict=True)]
    if marks.count("p") >= 13:
        return "locked"
    if sum(mark == "g" and (state != "limbo" or before == "n") for mark, before in known) >= 13:
        return "sent"
    if state != "limbo" and not set(marks) - set("-d"):
        return state
    old = [mark == "r" or (mark in "-dbf" and before == "p") for mark, before in known]
    if state == "limbo" or sum(old) < 13:
        return "limbo"
    refused = any(mark in "xg" or (mark in "-dbf" and before == "f") for mark, before in known)
    return "fracked" if refused else "bank"


@many
@given(st.sampled_from(["bank", "fracked", "limbo"]), marks_of_25, powns_of_25)
def test_a_put_never_gives_back_what_a_locker_may_get_or_have(state: str, marks: str, pown: str) -> None:
    ended = coin_outcomes.ending(
        state=CoinState(state), is_put=True, is_release=False, origin=TaskKind.PUT, marks=marks, pown=pown
    )

    assert ended.state == state_after_a_put(state, marks, pown)
    may_get = sum(mark in "p" + OPEN for mark in marks)
    if ended.state in MONEY and set(marks) - set("-d"):
        # 13 hold the old number for certain, so that what is under way can never make 13.
        assert may_get < 13
        assert ended.pown.count("p") >= 13
        assert state != "limbo"
        # Whatever may hold one or the other: both are kept.
        assert ("n" not in ended.pown) or ended.secrets is Secrets.BOTH
    if ended.state in WRITTEN_OFF:
        assert marks.count("g") >= 13
    if ended.state == "limbo":
        assert ended.secrets is Secrets.BOTH
        assert ended.stays_in_locker
    assert may_become(CoinState(state), CoinState(ended.state))


# What comes in: the old number is the giver's, or the locker's key, the new one is fresh.


@pytest.mark.parametrize(
    ("marks", "imported", "taken", "letters", "kept"),
    [
        ("p25", "bank", "bank", "p25", Secrets.NEW),
        ("p24 n1", "bank", "bank", "p24 n1", Secrets.MIXED_BOTH),
        ("p14 f11", "fracked", "fracked", "p14 f11", Secrets.MIXED_BOTH),
        ("p13 f12", "fracked", "fracked", "p13 f12", Secrets.MIXED_BOTH),
        ("p13 n12", "bank", "bank", "p13 n12", Secrets.MIXED_BOTH),
        ("p13 e12", "bank", "bank", "p13 e12", Secrets.MIXED_BOTH),
        # The server still holds the giver's number: a fix replaces it.
        ("p13 -12", "fracked", "fracked", "p13 f12", Secrets.MIXED_BOTH),
        ("p13 o3 r3 d3 b3", "fracked", "fracked", "p13 f12", Secrets.MIXED_BOTH),
        ("p13 x6 g6", "fracked", "fracked", "p13 f12", Secrets.MIXED_BOTH),
        ("p12 f13", "counterfeit", "missed", "p12 f13", Secrets.BOTH),
        ("p12 x13", "counterfeit", "missed", "p12 f13", Secrets.BOTH),
        ("p12 g13", "counterfeit", "missed", "p12 f13", Secrets.BOTH),
        ("p11 f5 x5 g4", "counterfeit", "missed", "p11 f14", Secrets.BOTH),
        ("p12 f12 n1", "limbo", "limbo", "p12 f12 n1", Secrets.BOTH),
        ("p12 f12 -1", "limbo", "limbo", "p12 f12 n1", Secrets.BOTH),
        ("p12 f12 o1", "limbo", "limbo", "p12 f12 n1", Secrets.BOTH),
        ("p12 f12 e1", "errored", "errored", "p12 f12 e1", Secrets.BOTH),
        ("p12 n13", "limbo", "limbo", "p12 n13", Secrets.BOTH),
        ("p12 d13", "limbo", "limbo", "p12 n13", Secrets.BOTH),
        ("p12 b13", "limbo", "limbo", "p12 n13", Secrets.BOTH),
        ("p12 r13", "limbo", "limbo", "p12 n13", Secrets.BOTH),
        ("p12 e13", "errored", "errored", "p12 e13", Secrets.BOTH),
        ("p12 e12 n1", "limbo", "limbo", "p12 e12 n1", Secrets.BOTH),
        # Neither 13 for it nor 13 against it.
        ("p8 e9 f8", "errored", "errored", "p8 e9 f8", Secrets.BOTH),
        ("p12 f1 e12", "errored", "errored", "p12 f1 e12", Secrets.BOTH),
        ("n25", "limbo", "limbo", "n25", Secrets.BOTH),
        ("b25", "limbo", "limbo", "n25", Secrets.BOTH),
        ("-24 n1", "limbo", "limbo", "n25", Secrets.BOTH),
        ("-24 b1", "limbo", "limbo", "n25", Secrets.BOTH),
        ("e25", "errored", "errored", "e25", Secrets.BOTH),
        ("f25", "counterfeit", "missed", "f25", Secrets.BOTH),
    ],
)
@pytest.mark.parametrize("before", ["incoming", "limbo", "errored"])
def test_what_servers_make_of_a_coin_that_comes_in(
    before: str, marks: str, imported: str, taken: str, letters: str, kept: Secrets
) -> None:
    for origin, after in ((TaskKind.IMPORT, imported), (TaskKind.TAKE, taken)):
        ended = ending(marks, "u25", state=before, origin=origin)
        assert (ended.state, ended.pown, ended.secrets) == (after, at(letters), kept)
        assert ended.shown == coin_outcomes.shown(at(marks))
        assert not ended.stays_in_locker
        assert not ended.stays_releasing


@pytest.mark.parametrize("marks", ["-25", "d25", "-12 d13"])
def test_a_coin_about_which_not_a_byte_left_is_what_it_was(marks: str) -> None:
    for origin in (TaskKind.IMPORT, TaskKind.TAKE):
        assert ending(marks, "u25", state="incoming", origin=origin) == coin_outcomes.Ending(
            None, at("u25"), coin_outcomes.shown(at(marks)), Secrets.UNTOUCHED
        )
        for state in ("bank", "fracked"):
            assert ending(marks, "p20 f5", state=state, origin=origin) == coin_outcomes.Ending(
                CoinState(state), at("p20 f5"), coin_outcomes.shown(at(marks)), Secrets.UNTOUCHED
            )
        for state in ("limbo", "errored"):
            assert ending(marks, "n25", state=state, origin=origin) == coin_outcomes.Ending(
                CoinState.LIMBO, at("n25"), coin_outcomes.shown(at(marks)), Secrets.BOTH
            )


@many
@given(
    st.sampled_from(["incoming", "limbo", "errored", "bank", "fracked"]),
    st.sampled_from([TaskKind.IMPORT, TaskKind.TAKE]),
    marks_of_25,
    powns_of_25,
)
def test_what_comes_in_is_money_by_13_that_gave_the_new_number_alone(
    state: str, origin: TaskKind, marks: str, pown: str
) -> None:
    ended = coin_outcomes.ending(
        state=CoinState(state), is_put=False, is_release=False, origin=origin, marks=marks, pown=pown
    )

    passed, denied = marks.count("p"), sum(mark in "fxg" for mark in marks)
    if not set(marks) - set("-d") and state not in ("limbo", "errored"):
        assert ended.state == (None if state == "incoming" else state)
        assert (ended.pown, ended.secrets) == (pown, Secrets.UNTOUCHED)
        return
    assert (ended.state in MONEY) == (passed >= 13)
    assert (ended.state in ("counterfeit", "missed")) == (denied >= 13)
    assert (ended.state == "fracked") == (passed >= 13 and any(mark in "fxgor-db" for mark in marks))
    assert ended.state != ("missed" if origin is TaskKind.IMPORT else "counterfeit")
    # The giver's number is given up only where all 25 have the new one.
    assert (ended.secrets is Secrets.NEW) == (passed == 25)
    if passed < 13:
        assert ended.secrets is Secrets.BOTH


# Fresh numbers for a coin that came back: nothing may be spent before 13 servers have them.


@pytest.mark.parametrize(
    ("marks", "after", "letters", "kept"),
    [
        ("p25", "bank", "p25", Secrets.MIXED),
        ("p14 n11", "bank", "p14 n11", Secrets.MIXED_BOTH),
        ("p13 n12", "bank", "p13 n12", Secrets.MIXED_BOTH),
        ("p13 o12", "bank", "p13 n12", Secrets.MIXED_BOTH),
        ("p13 f12", "fracked", "p13 f12", Secrets.MIXED),
        ("p13 -2 f2 g2 x2 r1 e1 b1 d1", "fracked", "p13 f12", Secrets.MIXED),
        ("p13 n1 f11", "fracked", "p13 n1 f11", Secrets.MIXED_BOTH),
        ("p12 n13", "limbo", None, Secrets.BOTH),
        ("p12 o13", "limbo", None, Secrets.BOTH),
        ("p12 f12 n1", "limbo", None, Secrets.BOTH),
        ("p12 f12 -1", "limbo", None, Secrets.BOTH),
        ("p12 f12 r1", "limbo", None, Secrets.BOTH),
        ("p12 e13", "limbo", None, Secrets.BOTH),
        ("-25", "limbo", None, Secrets.BOTH),
        # Overtaken by a late request: the question is again what it was.
        ("p12 f13", "limbo", None, Secrets.REVERTED),
        ("p12 g13", "limbo", None, Secrets.REVERTED),
        ("p12 x13", "limbo", None, Secrets.REVERTED),
        ("p11 f5 g5 x4", "limbo", None, Secrets.REVERTED),
    ],
)
def test_what_a_release_makes_of_a_coin(marks: str, after: str, letters: str | None, kept: Secrets) -> None:
    ended = ending(marks, "p13 f12", state="limbo", is_release=True, is_put=True)

    assert (ended.state, ended.secrets) == (after, kept)
    assert ended.pown == at("p13 f12" if letters is None else letters)
    assert ended.shown == coin_outcomes.shown(at(marks))
    assert ended.stays_in_locker == (after == "limbo")
    assert ended.stays_releasing == (kept is Secrets.BOTH)
    assert ended == coin_outcomes.ending_of_release(at(marks), at("p13 f12"))


@many
@given(marks_of_25, powns_of_25)
def test_a_release_gives_back_what_13_servers_have_taken_alone(marks: str, pown: str) -> None:
    ended = coin_outcomes.ending_of_release(marks, pown)

    denied = sum(mark in "fgx" for mark in marks)
    assert ended.state == ("limbo" if marks.count("p") < 13 else "fracked" if set(marks) - set("pno") else "bank")
    assert (ended.secrets is Secrets.REVERTED) == (denied >= 13)
    # As long as a request may be under way, the number that it carries is kept.
    if any(mark in "no" for mark in marks):
        assert ended.secrets is not Secrets.MIXED


# A fix gives some servers another number, and can lose nothing.


@pytest.mark.parametrize(
    ("marks", "pown", "after", "letters", "kept"),
    [
        ("-25", "p13 f12", "fracked", "p13 f12", Secrets.UNTOUCHED),
        ("-13 d12", "p13 f12", "fracked", "p13 f12", Secrets.UNTOUCHED),
        ("-25", "p13 n12", "bank", "p13 n12", Secrets.UNTOUCHED),
        ("-13 p12", "p13 f12", "bank", "p25", Secrets.MIXED),
        ("-13 p11 f1", "p13 f12", "fracked", "p24 f1", Secrets.MIXED),
        ("-13 p11 n1", "p13 f12", "bank", "p24 n1", Secrets.MIXED_BOTH),
        ("-13 p11 e1", "p13 f12", "bank", "p24 n1", Secrets.MIXED_BOTH),
        ("-13 p10 e1 f1", "p13 f12", "fracked", "p23 n1 f1", Secrets.MIXED_BOTH),
        ("-13 b12", "p13 f12", "fracked", "p13 f12", Secrets.MIXED),
        ("-13 d11 f1", "p13 f12", "fracked", "p13 f12", Secrets.MIXED),
    ],
)
def test_what_a_fix_makes_of_a_coin(marks: str, pown: str, after: str, letters: str, kept: Secrets) -> None:
    for state in (CoinState.BANK, CoinState.FRACKED):
        assert coin_outcomes.ending_of_fix(state, at(marks), at(pown)) == coin_outcomes.Ending(
            CoinState(after), at(letters), at(letters), kept
        )


# A break: the old secret is the one coin, the new one its ten pieces.


@pytest.mark.parametrize(
    ("state", "marks", "pown", "broken", "letters", "ten", "of_ten"),
    [
        ("bank", "p25", "p25", "broken", "p25", "bank", "p25"),
        ("bank", "p14 n11", "p25", "broken", "p25", "bank", "p14 n11"),
        ("bank", "p13 n12", "p25", "broken", "p25", "bank", "p13 n12"),
        ("bank", "p13 e6 o6", "p25", "broken", "p25", "bank", "p13 n12"),
        ("bank", "p13 f12", "p25", "broken", "p25", "fracked", "p13 f12"),
        ("bank", "p13 -4 d4 b4", "p25", "broken", "p25", "fracked", "p13 f12"),
        ("limbo", "p13 n12", "n25", "broken", "n25", "bank", "p13 n12"),
        ("bank", "p12 n13", "p25", "limbo", "f12 n13", "change", "p12 n13"),
        ("bank", "n25", "p25", "limbo", "n25", "change", "n25"),
        ("bank", "e25", "p25", "limbo", "n25", "change", "n25"),
        ("bank", "p12 r13", "p25", "fracked", "f12 p13", "void", "p12 f13"),
        ("bank", "r14 n11", "p25", "bank", "p14 n11", "void", "f14 n11"),
        ("bank", "r13 n12", "p25", "bank", "p13 n12", "void", "f13 n12"),
        ("bank", "r12 n13", "p25", "limbo", "p12 n13", "change", "f12 n13"),
        ("bank", "r12 x13", "p25", "limbo", "p12 f13", "change", "f25"),
        ("fracked", "r13 x12", "p25", "fracked", "p13 f12", "void", "f25"),
        ("bank", "-24 f1", "p25", "bank", "p25", "void", "f25"),
        # In doubt before: its ten may still come into being.
        ("limbo", "r13 x12", "n25", "limbo", "p13 f12", "change", "f25"),
        ("limbo", "r14 n11", "n25", "limbo", "p14 n11", "change", "f14 n11"),
        ("limbo", "r25", "n25", "limbo", "p25", "change", "f25"),
        # Not a byte left.
        ("bank", "-25", "p25", "bank", "p25", None, "u25"),
        ("fracked", "-12 d13", "p13 f12", "fracked", "p13 f12", None, "u25"),
        ("limbo", "-25", "n25", "limbo", "n25", None, "u25"),
    ],
)
def test_what_a_break_makes_of_a_coin_and_its_ten(
    state: str, marks: str, pown: str, broken: str, letters: str, ten: str | None, of_ten: str
) -> None:
    ended = coin_outcomes.ending_of_break(state=CoinState(state), marks=at(marks), pown=at(pown))

    assert ended == coin_outcomes.BreakEnding(
        CoinState(broken), at(letters), None if ten is None else CoinState(ten), at(of_ten)
    )


@many
@given(st.sampled_from(["bank", "fracked", "limbo"]), marks_of_25, powns_of_25)
def test_never_are_both_a_coin_and_its_ten_money_or_both_lost(state: str, marks: str, pown: str) -> None:
    ended = coin_outcomes.ending_of_break(state=CoinState(state), marks=marks, pown=pown)

    untouched = not set(marks) - set("-d")
    assert (ended.broken in MONEY, ended.broken, ended.change in MONEY, ended.change) in {
        *((True, money, False, "void") for money in MONEY),
        *((False, "broken", True, money) for money in MONEY),
        (False, "limbo", False, "change"),
        (state in MONEY, state, False, None),
    }
    assert (ended.change is None) == untouched
    assert (ended.broken == "broken") == (marks.count("p") >= 13)
    if ended.change == "void":
        # 13 hold the coin whole for certain, and its ten were never in doubt.
        assert ended.pown.count("p") >= 13 > sum(mark in "p" + OPEN for mark in marks)
        assert state != "limbo"


@pytest.mark.parametrize("pown", ["p" * 24, "p" * 26])
def test_marks_and_letters_are_of_the_same_servers(pown: str) -> None:
    for marks, is_put in (("p13 n12", True), ("g13 r12", True), ("r13 n12", True)):
        with pytest.raises(ValueError, match=r"zip\(\)"):
            coin_outcomes.ending(
                state=CoinState.BANK, is_put=is_put, is_release=False, origin=TaskKind.PUT, marks=at(marks), pown=pown
            )
    with pytest.raises(ValueError, match=r"zip\(\)"):
        coin_outcomes.ending_of_fix(CoinState.BANK, at("p13 n12"), pown)
    with pytest.raises(ValueError, match=r"zip\(\)"):
        coin_outcomes.ending_of_break(state=CoinState.BANK, marks=at("r13 n12"), pown=pown)


@pytest.mark.parametrize(
    ("votes", "letters"),
    [
        ([{"p": 3, "n": 1}, {"n": 2, "p": 1}, {}, {"f": 1}], "pnuf"),
        ([{"p": 1, "f": 2}], "f"),
        ([{"n": 12, "p": 13}], "p"),
    ],
)
def test_the_board_shows_what_most_coins_have(votes: list[dict[str, int]], letters: str) -> None:
    assert coin_outcomes.commonest(votes) == letters


def test_an_amount_is_read_in_coins() -> None:
    assert coin_outcomes.coins_text(150_000_000) == "1.5 CloudCoin"
    assert coin_outcomes.coins_text(100_000_000) == "1 CloudCoin"
