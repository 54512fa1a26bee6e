"""
The decision tables of lockers in full: the mark after a reply, the states that may follow a state, the letters shown.

Each table is compared as a whole, so that a lost, added or exchanged row fails in its place.
"""

import itertools

import pytest

from lockers import competing_claims, queries, restore, server_letters
from lockers.models import Attempt, LockerTask
from lockers.raida.commands import Command
from lockers.raida.letters import LETTERS
from lockers.raida.statuses import Status
from lockers.states import (
    COIN_CHANGES,
    DOUBTFUL,
    HELD,
    SPENDABLE,
    STORED,
    UNDECIDED,
    CoinState,
    TaskKind,
    TaskState,
    may_become,
    may_have_been,
)
from lockers.worker import (
    break_coin,
    broadcast,
    find,
    fix,
    import_,
    incoming,
    late_answers,
    messages,
    put,
    repair,
    take,
)
from lockers.worker.messages import Reply, Table
from tests.lockers.marks import MARKS

REPLIES = ("pass", "fail", "has_old", "has_new", "has_neither", "error", "unreadable", "silent", "unreached")

# For each mark what each reply makes of it, in the order of REPLIES; a dot leaves it as it is.
MOVED = {
    "-": "pf...ebnd",
    "n": "pf...eb.d",
    "o": "pf...ebnd",
    "d": "pf...ebn.",
}
# A second try that never left proves nothing about the first.
MOVED_AGAIN = {**MOVED, "n": "pf...eo.o"}
ASKED = {
    "n": "..opg....",
    "o": "...p.....",
    "e": "..rpg....",
}
# The same long after: what holds the old number then keeps it.
FOUND = {
    "n": "..rpg....",
    "o": "..rp.....",
    "e": "..rpg....",
}
TABLES: dict[str, tuple[Table, dict[str, str]]] = {
    "moved": (messages.MOVED, MOVED),
    "moved again": (messages.MOVED_AGAIN, MOVED_AGAIN),
    "asked": (messages.ASKED, ASKED),
    "found": (messages.FOUND, FOUND),
    "asked which coins a server does not keep": (put._DENIED, {"f": ".x......."}),
    "taken back out of a locker": (put._RETURNED, {"p": "r........"}),
    "asked about that": (put._ASKED_ABOUT_RETURN, {"p": "..r.g...."}),
    "checked at the end": (
        put._CHECKED,
        {mark: "r" * (mark != "r") + "." * (mark == "r") + "x......." for mark in "-dfreb"},
    ),
    "joined again": (break_coin._JOINED, {"p": "r........"}),
    "asked about the join": (break_coin._ASKED_ABOUT_JOIN, {"p": "..r.g...."}),
    "checked after a break": (
        break_coin._CHECKED,
        {mark: "..r.x...." if mark != "r" else "....x...." for mark in "-dbfre"},
    ),
    "asked about a fix": (fix._ASKED, {"n": "...p....."}),
}


@pytest.mark.parametrize("name", TABLES)
def test_what_a_reply_makes_of_a_mark(name: str) -> None:
    table, written = TABLES[name]
    rows = {
        mark: "".join("." if (after := table.get((mark, Reply(reply)), mark)) == mark else after for reply in REPLIES)
        for mark in MARKS
    }

    assert {mark: row for mark, row in rows.items() if set(row) != {"."}} == written
    assert set(REPLIES) == set(Reply)


def test_every_table_of_marks_is_in_the_list() -> None:
    """A table that is added to a module has its row above."""
    modules = (break_coin, broadcast, find, fix, import_, incoming, messages, put, repair, take)
    found = {
        id(value)
        for module in modules
        for value in vars(module).values()
        if isinstance(value, dict) and value and all(_is_place(key) for key in value)
    }

    assert found == {id(table) for table, _ in TABLES.values()}


def _is_place(key: object) -> bool:
    return isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], Reply)


def test_no_table_turns_what_is_certain_into_a_doubt_but_the_one_that_sends() -> None:
    """A server that is known to hold a number may get a further command, whose intent sets SENT."""
    for name, (table, _) in TABLES.items():
        for (mark, reply), after in table.items():
            assert mark != "p" or name in (
                "taken back out of a locker",
                "asked about that",
                "joined again",
                "asked about the join",
            ), name
            # What was silent stays in doubt.
            assert (after == "n") == (reply is Reply.SILENT), (name, mark, reply)


def test_marks_that_may_hold_the_old_number_at_rest() -> None:
    assert sorted(put._OLD_PERHAPS) == sorted("-dfreb")
    assert sorted(break_coin._AT_REST) == sorted("-dfreb")
    # What a worker relies on before it sends, and what therefore is doubted in books that were set back.
    assert sorted(restore._RELIED_ON) == sorted("-dor")
    assert restore._MOVES_COINS == ("put", "take", "import", "find")


@pytest.mark.parametrize(
    ("marks", "cannot"),
    [
        ("n" * 13 + "f" * 12, False),
        ("n" * 12 + "f" * 13, True),
        ("o" * 13 + "r" * 12, False),
        ("o" * 12 + "r" * 13, True),
        ("p" * 13 + "f" * 12, False),
        ("p" * 12 + "n" + "f" * 12, False),
        ("p" * 12 + "o" + "f" * 12, False),
        ("p" * 4 + "n" * 4 + "o" * 4 + "e" * 13, True),
        ("p" * 5 + "n" * 4 + "o" * 4 + "e" * 12, False),
        ("r" * 25, True),
    ],
)
def test_a_coin_is_taken_back_once_13_servers_can_no_longer_store_it(marks: str, cannot: bool) -> None:
    assert put.cannot_be_stored(marks) is cannot


@pytest.mark.parametrize(("marks", "was"), [("-" * 25, False), ("-d" * 12 + "-", False), ("-" * 24 + "f", True)])
def test_what_counts_as_touched(marks: str, was: bool) -> None:
    assert put._was_touched(marks) is was


# States.

BECOMES = {
    "waiting": "incoming",
    "incoming": "bank fracked limbo counterfeit errored missed",
    "bank": "fracked locked exported sent limbo counterfeit broken",
    "fracked": "bank locked exported sent limbo counterfeit broken",
    "limbo": "bank fracked locked sent counterfeit errored missed broken",
    "errored": "bank fracked limbo counterfeit missed",
    "locked": "sent",
    "exported": "sent",
    "change": "bank fracked void",
    "counterfeit": "",
    "sent": "",
    "broken": "",
    "void": "",
    "missed": "",
}


def test_what_a_coin_may_become() -> None:
    assert {str(old): set(map(str, after)) for old, after in COIN_CHANGES.items()} == {
        old: set(after.split()) for old, after in BECOMES.items()
    }
    for old, new in itertools.product(CoinState, CoinState):
        assert may_become(old, new) is (old == new or new in BECOMES[old].split())


def test_what_a_coin_may_have_been() -> None:
    for new in CoinState:
        assert set(may_have_been(new)) == {new} | {old for old in CoinState if new in BECOMES[old].split()}


def test_what_has_left_never_comes_back() -> None:
    for gone in ("locked", "exported", "sent", "counterfeit", "broken", "void", "missed"):
        assert not {*BECOMES[gone].split()} & {"bank", "fracked", "incoming", "limbo", "errored", "waiting", "change"}


def test_the_groups_of_states() -> None:
    assert set(HELD) == {"incoming", "bank", "fracked", "limbo", "errored", "change"}
    assert set(UNDECIDED) == {"incoming", "limbo", "errored", "change"}
    assert set(SPENDABLE) == {"bank", "fracked"}
    assert set(STORED) == {"locked", "exported"}
    assert set(DOUBTFUL) == {"limbo", "errored"}
    # Numbers that the change of a break must not have.
    assert set(break_coin._TAKEN) == {*HELD, *STORED}
    assert (competing_claims.WAITING_BATCH, competing_claims.WAITING_WITH_TWO_SECRETS) == (-1, -2)
    assert set(TaskState) == {"running", "completed", "error"}


# Letters.


@pytest.mark.parametrize(
    ("code", "of_answer", "of_peek"),
    [
        (None, "u", "u"),
        (Attempt.Unanswered.SENT, "u", "n"),
        (Attempt.Unanswered.TIMEOUT, "n", "n"),
        (Attempt.Unanswered.REFUSED, "d", "n"),
        (Attempt.Unanswered.NETWORK, "n", "n"),
        (Attempt.Unanswered.MISMATCH, "n", "n"),
        (Attempt.Unanswered.GARBAGE, "n", "n"),
        (Attempt.Unanswered.GIVEN_UP, "n", "w"),
        (Attempt.Unanswered.AWAITED, "w", "n"),
        (Status.ALL_PASS, "p", "p"),
        (Status.SUCCESS, "p", "e"),
        (Status.FIND_ALL_AN, "p", "e"),
        (Status.FIND_ALL_PAN, "p", "e"),
        (Status.FIND_MIXED, "p", "e"),
        (Status.ALL_FAIL, "f", "f"),
        (Status.LOCKER_EMPTY_OR_NOT_EXISTS, "f", "f"),
        (Status.MIXED, "f", "e"),
        (Status.FIND_NEITHER, "f", "e"),
        (Status.NO_ERROR, "e", "e"),
        (Status.INTERNAL, "e", "e"),
        (255, "e", "e"),
    ],
)
def test_the_letter_of_what_an_attempt_recorded(code: int | None, of_answer: str, of_peek: str) -> None:
    assert (server_letters.of_answer(code), server_letters.of_peek(code)) == (of_answer, of_peek)


def test_every_silence_that_an_attempt_records_has_its_letter_in_the_test_above() -> None:
    (parameters,) = test_the_letter_of_what_an_attempt_recorded.pytestmark  # type: ignore[attr-defined]
    assert {code for code, _, _ in parameters.args[1]} >= set(Attempt.Unanswered)
    assert set(LETTERS) == set("pfwnedbu")


def test_what_late_answers_may_write() -> None:
    assert {str(reply): letter for reply, letter in late_answers.SHOWN.items()} == {
        "pass": "p",
        "fail": "f",
        "error": "e",
        "unreadable": "b",
        "silent": "n",
        "unreached": "d",
    }
    # Where the new number was not taken the row says refused: it is still to be given.
    assert {
        reply: letter for reply, letter in late_answers._OF_ARRIVAL.items() if late_answers.SHOWN[reply] != letter
    } == {
        Reply.UNREADABLE: "f",
        Reply.UNREACHED: "f",
    }
    assert (late_answers.NOT_KNOWN, sorted(late_answers._NOT_STORED)) == ("n", sorted("nfuedb"))
    assert {Command.PUT, Command.POWN, Command.REMOVE} == broadcast._LISTENED_TO


def test_letters_are_replaced_where_a_server_spoke_and_the_letter_may_be_replaced() -> None:
    told = {0: Reply.PASS, 1: Reply.PASS, 2: Reply.FAIL, 24: Reply.SILENT}

    assert late_answers._replaced("pnnn" + "n" * 21, told, late_answers.SHOWN, only="n") == "ppfn" + "n" * 21
    assert late_answers._replaced("fff" + "p" * 21 + "w", told, late_answers.SHOWN, only="wf") == "ppf" + "p" * 21 + "n"
    assert late_answers._only_passes(told) == {0: Reply.PASS, 1: Reply.PASS}
    assert late_answers._answered({**told, 3: Reply.UNREACHED}) == {key: told[key] for key in (0, 1, 2)}


_REST = [-2] * 20


@pytest.mark.parametrize(
    ("attempts", "letters", "board", "status"),
    [
        ([], "", "u" * 25, Status.NETWORK),
        # The most common status counts, neither the highest nor one of a server that did not answer.
        ([("REMOVE", [242, 242, 242, 241, 243, *_REST])], "", "fffp" + "f" + "n" * 20, 242),
        ([("REMOVE", [243, 241, 241, None, *_REST, -3])], "", "fppu" + "n" * 20 + "d", 241),
        ([("REMOVE", [0, *[-2] * 24])], "", "e" + "n" * 24, 0),
        ([("REMOVE", [-2] * 25)], "", "n" * 25, Status.NETWORK),
        # The last attempt of the command that decides.
        ([("REMOVE", [242] * 25), ("REMOVE", [241] * 25), ("FIND", [242] * 25)], "", "p" * 25, 241),
        ([("PEEK", [241] * 25)], "", "u" * 25, Status.NETWORK),
        # What was kept with the task; it says that there was no locker only if 13 servers did.
        ([], "f" * 13 + "n" * 12, "f" * 13 + "n" * 12, Status.ALL_FAIL),
        ([], "f" * 12 + "n" * 13, "f" * 12 + "n" * 13, Status.NETWORK),
        ([("REMOVE", [241] * 25)], "f" * 25, "f" * 25, 241),
    ],
)
def test_the_board_of_a_task_and_its_commonest_status(
    attempts: list[tuple[str, list[int | None]]], letters: str, board: str, status: int
) -> None:
    task = LockerTask(kind=TaskKind.TAKE, result={"raida": letters} if letters else {})
    made = [Attempt(command=command, answers=answers) for command, answers in attempts]

    view = queries.TaskView(task=task, attempts=made, code=None)

    assert (view.board, view.commonest_status) == (board, status)
