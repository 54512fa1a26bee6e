"""
Which servers a step of a worker sends which commands to, one after the other, and the marks of the coin afterwards.

No server is asked: each says what the test has it say, and those that say nothing are silent.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.db.models import F

from lockers import coin_breaks, transport, vault
from lockers.models import Attempt, Coin, Locker, LockerTask, ServerHealth
from lockers.operations import break_coin as break_coins
from lockers.operations import find as find_coins
from lockers.operations import fix as fix_coins
from lockers.operations import put as put_coins
from lockers.operations import take_back as take_backs
from lockers.raida.codes import RANDOM_SIZE, generate_code
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.statuses import Status
from lockers.states import CoinState, Mark
from lockers.transport import NO_GRACE, Answer, Results
from lockers.worker import break_coin, find, fix, peek, put, repair, request_encryption, take_back, task_store
from lockers.worker.broadcast import GRACE_MOVE, GRACE_PUT, Request, TaskRun
from lockers.worker.late_answers import LostAnswers
from lockers.worker.messages import CoinWork, Reply
from tests.localnet.requests import serials_reply
from tests.lockers.marks import at
from tests.lockers.scripted import Servers, from_each
from tests.lockers.stock import stock
from wallets.models import Wallet

OLD, NEW, NEITHER = Status.FIND_ALL_AN, Status.FIND_ALL_PAN, Status.FIND_NEITHER
ONE = 10**8
KEY = (b"k" * 12 + b"\xff" * 4,) * 25


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    made = Servers()
    monkeypatch.setattr(transport, "ask", made.ask)
    return made


def at_work(task: LockerTask) -> TaskRun:
    held = task_store.claim(task_id=task.pk)
    assert held is not None
    return TaskRun(held, task)


def finding(alice: Wallet, **coin: Any) -> TaskRun:
    """A worker that finds a coin of alice."""
    stock(alice, 0)
    Coin.objects.update(state="limbo", proposed=F("secrets"))
    run = at_work(find_coins.start(actor=alice, name="alice").task)
    Coin.objects.update(**coin)
    return run


def putting(alice: Wallet, *marks: str, pown: str = "p25") -> tuple[TaskRun, list[CoinWork]]:
    """A worker that puts a coin with each of these marks."""
    stock(alice, *[0] * len(marks))
    run = at_work(put_coins.start(actor=alice, name="alice", units=len(marks) * ONE).task)
    Coin.objects.update(pown=at(pown))
    for row, each in zip(Coin.objects.order_by("id"), marks, strict=True):
        Coin.objects.filter(pk=row.pk).update(outcome=at(each))
    return run, run.fresh_coins(0)


def servers_from(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


def marks_of(run: TaskRun) -> list[str]:
    return [coin.marks for coin in run.coins(0)]


# Find.


def test_a_release_is_repeated_where_a_server_has_not_taken_the_fresh_number(alice: Wallet, servers: Servers) -> None:
    """A request that was sent before is asked about first, so that it is not sent twice to a server that did it."""
    run = finding(alice, releasing=True, outcome=at("p11 n3 o5 -6"))
    servers.says = {
        Command.FIND: [{**from_each([11], OLD), **from_each([12], NEW)}],
        Command.POWN: [from_each([11], Status.ALL_PASS)],
    }

    find._release(run, 0)

    assert servers.asked_whom == [
        (Command.FIND, [11, 12, 13]),
        (Command.POWN, [11, *servers_from(14, 24)]),
    ]
    assert marks_of(run) == [at("p13 n12")]


def test_servers_that_are_silent_to_a_release_are_asked_while_fewer_than_13_have_taken_it(
    alice: Wallet, servers: Servers
) -> None:
    run = finding(alice, releasing=True, outcome=at("p10 n3 -12"))
    servers.says = {
        Command.FIND: [{}, from_each([10, 13], NEW)],
        Command.POWN: [from_each([14], Status.ALL_PASS)],
    }

    find._release(run, 0)

    assert servers.asked_whom == [
        (Command.FIND, [10, 11, 12]),
        (Command.POWN, servers_from(13, 24)),
        (Command.FIND, [10, 11, 12, 13, *servers_from(15, 24)]),
    ]
    assert marks_of(run) == [at("p11 n2 p2 n10")]


def test_a_coin_leaves_another_locker_by_a_remove_and_where_that_is_forgotten_by_a_pown(
    alice: Wallet, servers: Servers
) -> None:
    run = finding(alice, outcome=at("r4 n1 e1 o1 p12 f6"))
    row = Coin.objects.get()
    Coin.objects.update(secrets=vault.seal_numbers(KEY, coin_id=row.pk))
    servers.says = {
        Command.REMOVE: [{**from_each([0], Status.ALL_PASS), **from_each([1, 2], Status.ALL_FAIL)}],
        Command.FIND: [
            {**from_each([1], OLD), **from_each([2], NEITHER)},
            {**from_each([3, 4], NEW), **from_each([5], OLD)},
        ],
        Command.POWN: [from_each([1], Status.ALL_PASS)],
    }

    find._finish_arrival(run, 0)

    assert servers.asked_whom == [
        (Command.REMOVE, [0, 1, 2, 3]),
        (Command.FIND, [1, 2, *servers_from(19, 24)]),
        (Command.POWN, [1]),
        (Command.FIND, [3, 4, 5]),
    ]
    assert marks_of(run) == [at("p2 f1 p2 r1 o1 p12 f6")]


def test_an_imported_coin_is_sent_again_where_the_server_kept_the_old_number(alice: Wallet, servers: Servers) -> None:
    run = finding(alice, outcome=at("r3 f10 p12"))
    servers.says = {Command.POWN: [from_each([0], Status.ALL_PASS)], Command.FIND: [from_each([1], NEW)]}

    find._finish_arrival(run, 0)

    assert servers.asked_whom == [(Command.POWN, [0, 1, 2]), (Command.FIND, [1, 2])]
    assert marks_of(run) == [at("p2 n1 f10 p12")]


# Put.


def test_of_a_batch_that_servers_refused_each_gets_the_coins_that_it_accepts(alice: Wallet, servers: Servers) -> None:
    """A server that accepts every coin refused the batch for another reason."""
    run, coins = putting(alice, "p12 f4 e1 n8", "p12 f4 e1 n8")
    servers.says = {
        Command.DETECT: [
            {
                **from_each([12], Status.MIXED, b"\x02"),
                **from_each([13], Status.ALL_PASS),
                **from_each([14], Status.ALL_FAIL),
                **from_each([16], Status.MIXED, b"\x01"),
            }
        ],
        Command.PUT: [from_each([12, 16], Status.ALL_PASS)],
    }

    put._put_where_refused(run, 0, coins)

    assert servers.asked_whom == [(Command.DETECT, servers_from(12, 16)), (Command.PUT, [12, 16])]
    assert servers.graces == [NO_GRACE, GRACE_PUT]
    numbers = [coin.coin.serial_number.to_bytes(4, "big") for coin in coins]
    payloads = servers.calls[1].payloads
    assert [[number in payloads[raida] for number in numbers] for raida in (12, 16)] == [[False, True], [True, False]]
    assert marks_of(run) == [at("p12 x1 f1 x1 f1 p1 n8"), at("p13 f1 x1 f1 e1 n8")]


@pytest.mark.parametrize(("marks", "is_asked"), [("p13 f12", False), ("p12 f13", True), ("p12 e1 n12", True)])
def test_servers_that_refused_are_asked_only_while_fewer_than_13_have_stored_a_coin(
    marks: str, is_asked: bool, alice: Wallet, servers: Servers
) -> None:
    run, coins = putting(alice, marks)

    put._put_where_refused(run, 0, coins)

    assert servers.asked == [Command.DETECT] * is_asked


def test_a_coin_is_put_where_a_server_holds_one_of_its_two_numbers(alice: Wallet, servers: Servers) -> None:
    """Of a server that holds the proposed number it becomes the number of the coin before the put replaces it."""
    run, coins = putting(alice, "p12 -13", pown="p12 n12 p1")
    (row,) = Coin.objects.all()
    old = vault.open_numbers(row.secrets, coin_id=row.pk)
    proposed = (*[b"n" * 16] * 15, KEY[0], *[b"n" * 16] * 9)
    Coin.objects.update(proposed=vault.seal_numbers(proposed, coin_id=row.pk))
    servers.says = {
        Command.FIND: [{**from_each([12], OLD), **from_each([13, 15], NEW), **from_each([14], NEITHER)}],
        Command.PUT: [from_each([12], Status.ALL_PASS)],
    }

    put._put_where_unsure(run, 0, coins)

    assert servers.asked_whom == [(Command.FIND, servers_from(12, 24)), (Command.PUT, [12, 13])]
    assert servers.graces == [GRACE_MOVE, GRACE_PUT]
    assert marks_of(run) == [at("p13 n1 -11")]
    row.refresh_from_db()
    assert row.pown == at("p12 n1 p1 n10 p1")
    assert vault.open_numbers(row.secrets, coin_id=row.pk) == (*old[:13], b"n" * 16, *old[14:])


def test_a_put_that_servers_refuse_as_a_whole_is_sent_once(alice: Wallet, servers: Servers) -> None:
    """Halves are asked of commands that change nothing."""
    run, coins = putting(alice, "-25", "-25")
    servers.says[Command.PUT] = [from_each(range(25), Status.INVALID_SN_OR_DENOMINATION)]

    run.send_batch(Request(Command.PUT, 0, coins), known_good=True)

    assert servers.asked == [Command.PUT]


def test_silent_servers_are_asked_about_coins_that_fewer_than_13_have_stored(alice: Wallet, servers: Servers) -> None:
    run, _ = putting(alice, "p13 n12", "p12 n1 e1 f11")
    servers.says[Command.FIND] = [from_each([12], NEW)]

    put._ask_the_undecided(run, [0])

    assert servers.asked_whom == [(Command.FIND, [12, 13])]
    assert servers.graces == [GRACE_MOVE]
    assert marks_of(run) == [at("p13 n12"), at("p13 e1 f11")]


def test_a_coin_is_taken_back_where_the_server_lists_it_and_powned_where_the_locker_is_forgotten(
    alice: Wallet, servers: Servers
) -> None:
    """The other coins are one that 13 servers may have stored, and one that was sent nowhere."""
    run, _ = putting(alice, "p6 f19", "p12 n1 f12", "-20 d5")
    servers.says = {
        Command.FIND: [
            {**from_each([0], OLD), **from_each([1], NEITHER), **from_each(range(2, 6), NEW)},
            from_each([3, 4], NEW),
            from_each([4], OLD),
        ],
        Command.REMOVE: [{**from_each([2], Status.ALL_PASS), **from_each([3], Status.ALL_FAIL)}],
        Command.POWN: [from_each([3], Status.ALL_PASS)],
        Command.DETECT: [{**from_each([0], Status.ALL_FAIL), **from_each([24], Status.ALL_PASS)}],
    }

    put.take_back(run, [0])

    assert servers.asked_whom == [
        (Command.FIND, servers_from(0, 5)),
        (Command.REMOVE, servers_from(2, 5)),
        (Command.FIND, [3, 4, 5]),
        (Command.POWN, [3]),
        (Command.FIND, [4, 5]),
        (Command.DETECT, [0, 2, 3, 4, *servers_from(6, 24)]),
    ]
    assert marks_of(run) == [at("x1 g1 r3 p1 f18 r1"), at("p12 n1 f12"), at("-20 d5")]


def test_marks_of_a_batch_are_in_its_rows_before_another_request_leaves(
    alice: Wallet, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded for all coins of a batch says nothing of numbers that a later request finds."""
    run, coins = putting(alice, "-25", "-25")
    servers.says[Command.PUT] = [from_each(range(12), Status.ALL_PASS)]
    run.send_batch(Request(Command.PUT, 0, coins), known_good=True)
    assert set(Coin.objects.values_list("outcome", flat=True)) == {"-" * 25}
    seen: list[set[str]] = []
    encrypted_for = request_encryption.encrypted_for

    def about_to_leave(*arguments: Any, **keywords: Any) -> Any:
        seen.append(set(Coin.objects.values_list("outcome", flat=True)))
        return encrypted_for(*arguments, **keywords)

    monkeypatch.setattr(request_encryption, "encrypted_for", about_to_leave)
    run.broadcast(Request(Command.DETECT, 0, coins, Mark.SENT))

    assert seen[0] == {at("p12 n13")}
    assert set(Attempt.objects.values_list("covering", flat=True)) == {""}


def test_a_coin_of_an_expired_locker_is_gone_if_13_servers_hold_neither_of_its_numbers(
    alice: Wallet, servers: Servers
) -> None:
    """One that servers hold with the number from before the put has not left, nor has one of which 12 hold neither."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    stock(alice, 0, 0, 0)
    task = put_coins.start(actor=alice, name="alice", units=3 * ONE).task
    Coin.objects.update(state="locked", task=None, batch=None, outcome="")
    LockerTask.objects.update(state="completed", step="done", progress=100, message="Stored.", finished_at=past)
    Locker.objects.update(state="filled", expires_at=past, take_back_at=past)
    (begun,) = take_backs.start_due()
    run = at_work(LockerTask.objects.select_related("locker").get(pk=begun))
    neither, old = 0, 1
    servers.says[Command.FIND] = [
        {
            **from_each(range(12), Status.FIND_MIXED, bytes([neither, old, neither])),
            **from_each([12], Status.FIND_MIXED, bytes([neither, old, old])),
        }
    ]
    assert task.locker is not None

    take_back.conclude(run, task.locker)

    assert list(Coin.objects.order_by("id").values_list("state", flat=True)) == ["sent", "locked", "locked"]
    result = LockerTask.objects.get(pk=begun).result
    assert (result["total_taken_by_another"], result["total_not_known"]) == (ONE, 2 * ONE)


# Fix.


@pytest.mark.parametrize(("confirming", "is_fixed"), [(13, True), (12, False)])
def test_a_fix_goes_to_servers_that_have_just_answered_and_silent_ones_are_asked(
    confirming: int, is_fixed: bool, alice: Wallet, servers: Servers
) -> None:
    stock(alice, 0, state=CoinState.FRACKED)
    Coin.objects.update(pown=at("p13 f10 n2"))
    run = at_work(fix_coins.start(actor=alice, name="alice").task)
    servers.says = {
        Command.FIND: [
            {**from_each([13], NEITHER), **from_each([14, 15], OLD), **from_each([16], NEW)},
            from_each([15], NEW),
        ],
        Command.GET_TICKET: [from_each(range(confirming), Status.ALL_PASS, b"\0\0\0\7")],
        Command.FIX: [{**from_each([13], Status.ALL_PASS), **from_each([14], Status.ALL_FAIL)}],
    }

    fix.fix_batch(run, 0)

    sent = [(Command.FIX, [13, 14, 15, 16]), (Command.FIND, [15, 16])]
    assert servers.asked_whom == [
        (Command.FIND, servers_from(13, 24)),
        (Command.GET_TICKET, servers_from(0, 12)),
        *(sent if is_fixed else []),
    ]
    assert marks_of(run) == [at("-13 p1 f1 p1 n1 -8") if is_fixed else Mark.UNASKED * 25]


# Break.

# What a server says of the one and the ten: it holds the one, or the ten.
THE_ONE, THE_TEN = (Status.MIXED, b"\x01\x00"), (Status.MIXED, b"\xfe\x07")


def breaking(alice: Wallet, marks: str) -> TaskRun:
    """A worker that breaks a coin into ten, whose numbers are chosen."""
    stock(alice, 1)
    run = at_work(break_coins.start(actor=alice, name="alice", denomination=1).task)
    broken = break_coin.family(held=run.held, batch=coin_breaks.FIRST_BREAK).broken
    votes = dict.fromkeys(range(10), 25)
    assert break_coin.propose(held=run.held, batch=coin_breaks.FIRST_BREAK, broken=broken, votes=votes)
    Coin.objects.update(outcome=at(marks))
    Coin.objects.filter(denomination=1).update(pown=at("p20 n5"))
    return run


def marks_of_the_one(run: TaskRun) -> str:
    return break_coin.family(held=run.held, batch=coin_breaks.FIRST_BREAK).broken.marks


@pytest.mark.parametrize(("breaking_it", "is_asked"), [(13, False), (12, True)])
def test_silent_servers_are_asked_about_a_break_that_fewer_than_13_have_confirmed(
    breaking_it: int, is_asked: bool, alice: Wallet, servers: Servers
) -> None:
    run = breaking(alice, "-25")
    servers.says = {
        Command.BREAK: [{**from_each(range(breaking_it), Status.SUCCESS), **from_each([13], Status.ALL_FAIL)}],
        Command.DETECT: [from_each([14], *THE_TEN)],
    }

    assert break_coin.break_coin(run, coin_breaks.FIRST_BREAK) == ""

    asked = [(Command.DETECT, [12, *servers_from(14, 19)])]
    assert servers.asked_whom == [(Command.BREAK, servers_from(0, 19)), *(asked if is_asked else [])]
    assert marks_of_the_one(run) == at("p12 n1 f1 p1 n5 -5" if is_asked else "p13 f1 n6 -5")


@pytest.mark.parametrize(
    ("marks", "before", "after"),
    [
        ("p13 f12", {}, {"broken": [1]}),
        ("p13 f12", {"broken": [2]}, {"broken": [2, 1]}),
        ("f25", {}, {}),
        ("f25", {"broken": [2]}, {"broken": [2]}),
    ],
)
def test_the_result_lists_what_was_broken_for_change(
    marks: str, before: dict[str, Any], after: dict[str, Any], alice: Wallet
) -> None:
    run = breaking(alice, marks)
    LockerTask.objects.update(result=before)

    is_broken = break_coin.finish_break(held=run.held, batch=coin_breaks.FIRST_BREAK)

    assert is_broken is (after != before)
    assert LockerTask.objects.get(pk=run.task.pk).result == after
    # The ten are the change, and stay with the task.
    assert Coin.objects.filter(task=run.task, batch=coin_breaks.POOL).count() == 10 * is_broken


@pytest.mark.parametrize(("stored", "is_asked"), [(13, False), (12, True)])
@pytest.mark.parametrize("command", [Command.PUT, Command.BREAK])
def test_a_server_that_is_skipped_is_asked_if_it_could_decide(
    command: Command, stored: int, is_asked: bool, alice: Wallet, servers: Servers
) -> None:
    ServerHealth.objects.create(raida=19, silences=5, rest_until="2999-01-01T00:00Z")
    servers.says[command] = [from_each(range(stored), Status.ALL_PASS)]
    if command is Command.PUT:
        run, coins = putting(alice, "-25", pown="p20 n5")
        run.send_batch(Request(command, 0, coins), known_good=True)
    else:
        break_coin.break_coin(breaking(alice, "-25"), coin_breaks.FIRST_BREAK)

    asked = [whom for sent, whom in servers.asked_whom if sent is command]
    assert asked == [servers_from(0, 18), *([[19]] if is_asked else [])]


def numbers_of(raidas: int, *numbers: int) -> Results:
    """Answers of several servers, each of which names these free serial numbers of denomination 0."""
    payload = WireCoin(0, 0).to_bytes()[:1] + b"".join(number.to_bytes(4, "big") for number in numbers)
    return {raida: Answer(raida, Status.SUCCESS, payload, 0.0) for raida in range(raidas)}


@pytest.mark.parametrize(
    ("results", "are_enough"),
    [
        (numbers_of(12, *range(10)), False),
        (numbers_of(13, *range(10)), True),
        (numbers_of(13, *range(9)), False),
        # Of the ten, one is named by 12 servers.
        (numbers_of(14, *range(9)) | numbers_of(12, *range(10)), False),
        (numbers_of(14, *range(9)) | numbers_of(13, *range(10)), True),
    ],
)
def test_13_servers_have_named_ten_numbers(results: Results, are_enough: bool) -> None:
    assert break_coin._ten_are_free(results) is are_enough


@pytest.mark.parametrize(("empty", "tries"), [(12, 1), (13, 2)])
def test_another_spelling_of_a_code_is_tried_once_13_servers_have_no_such_locker(
    empty: int, tries: int, db: None, servers: Servers
) -> None:
    code = generate_code(bytes(RANDOM_SIZE))
    servers.says[Command.PEEK] = [from_each(range(empty), Status.INVALID_ENCRYPTION)]

    listing, _, used = peek.look_into(code.lower(), ())

    assert servers.asked == [Command.PEEK] * tries
    assert (listing.empty, used) == (empty, code.lower())
    assert peek.why_nothing(listing).startswith("Only 12 of 25" if empty == 12 else "No locker with this code")


@pytest.mark.parametrize("is_quiet", [True, False])
def test_a_break_is_given_up_once_no_request_can_arrive_at_13_servers(
    is_quiet: bool, alice: Wallet, servers: Servers
) -> None:
    run = breaking(alice, "n11 o2 f12")
    servers.says[Command.DETECT] = [from_each(range(13), *THE_ONE), {}]

    break_coin.look_again(run, coin_breaks.FIRST_BREAK, is_quiet=is_quiet)

    checked = [(Command.DETECT, servers_from(0, 24))]
    assert servers.asked_whom == [(Command.DETECT, servers_from(0, 12)), *(checked if is_quiet else [])]
    assert marks_of_the_one(run) == at("r13 f12" if is_quiet else "o13 f12")


def test_the_ten_get_numbers_that_servers_name_for_the_next_lower_denomination(alice: Wallet, servers: Servers) -> None:
    """A coin of 10 whose servers name numbers of other denominations is not broken; nothing is sent."""
    stock(alice, 1)
    for named, is_broken in ((1, False), (-1, False), (0, True)):
        Coin.objects.update(task=None, batch=None, outcome="", family=None)
        run = at_work(break_coins.start(actor=alice, name="alice", denomination=1).task)
        servers.calls.clear()
        servers.says = {Command.GET_AVAILABLE_SNS: [from_each(range(25), *serials_reply(named, range(10)))]}

        reason = break_coin.break_coin(run, coin_breaks.FIRST_BREAK)

        assert (reason == "") is is_broken
        assert (Command.BREAK in servers.asked) is is_broken
        ten = Coin.objects.filter(state=CoinState.CHANGE).values_list("denomination", "serial_number")
        assert sorted(ten) == [(0, number) for number in range(10)] * is_broken


def test_a_coin_is_joined_where_a_server_has_the_ten(alice: Wallet, servers: Servers) -> None:
    """A server is asked before, for a join that was sent by a worker that died, and afterwards."""
    run = breaking(alice, "p6 f19")
    servers.says = {
        Command.DETECT: [
            {0: THE_ONE, 1: (Status.ALL_FAIL, b""), **from_each(range(2, 6), *THE_TEN)},
            {3: THE_ONE, 4: THE_TEN},
            {0: THE_ONE, 24: (Status.ALL_FAIL, b"")},
        ],
        Command.JOIN: [{**from_each([2], Status.SUCCESS), **from_each([4], Status.ALL_FAIL)}],
    }

    break_coin.look_again(run, coin_breaks.FIRST_BREAK, is_quiet=True)

    assert servers.asked_whom == [
        (Command.DETECT, servers_from(0, 5)),
        (Command.JOIN, servers_from(2, 5)),
        (Command.DETECT, [3, 4, 5]),
        (Command.DETECT, [0, 2, 3, *servers_from(6, 24)]),
    ]
    assert marks_of_the_one(run) == at("r1 g1 r2 p2 f18 x1")


@pytest.mark.parametrize("releasing", [True, False])
def test_a_find_asks_about_a_break_until_the_one_is_released(releasing: bool, alice: Wallet, servers: Servers) -> None:
    """What servers say of fresh numbers of the one says nothing about the ten."""
    breaking(alice, "-25")
    one = Coin.objects.filter(denomination=1)
    Coin.objects.update(task=None, batch=None, outcome="")
    one.update(state="limbo", releasing=releasing, proposed=F("secrets"))
    run = at_work(find_coins.start(actor=alice, name="alice").task)
    one.update(outcome=at("p12 n13"))

    find.run(run)

    assert set(servers.asked) == {Command.FIND if releasing else Command.DETECT}


# Repair.


def test_a_repair_puts_a_coin_where_the_server_holds_a_number_that_the_row_knows(servers: Servers) -> None:
    """Server 24 is skipped: its circuit is open. Server 21 holds the proposed number, and 22 the key of a locker."""
    piece = CoinWork(UUID(int=1), WireCoin(0, 1), at("p19 n5 f1"), "-" * 25, (b"o" * 16,) * 25, KEY)
    proposed = (*[b"q" * 16] * 22, KEY[0], *[b"q" * 16] * 2)
    looked_after = repair._LockerRepair(
        locker_id=UUID(int=2), mends=1, keys=(), key_coin=None, pieces=[piece], proposed={piece.coin_id: proposed}
    )
    servers.says = {
        Command.FIND: [
            {**from_each([19], NEW), **from_each([20], OLD), **from_each([21, 22], NEITHER)},
            from_each([21], OLD),
        ],
        Command.PUT: [{**from_each([20], Status.ALL_PASS), **from_each([21], Status.ALL_FAIL)}],
    }

    heard = repair._complete(looked_after, frozenset({24}), set())

    assert servers.asked_whom == [
        (Command.FIND, servers_from(19, 23)),
        (Command.FIND, [21]),
        (Command.PUT, [20, 21]),
    ]
    assert looked_after.told == {
        piece.coin_id: {19: Reply.PASS, 20: Reply.PASS, 21: Reply.FAIL, 22: Reply.FAIL, 23: Reply.SILENT}
    }
    assert looked_after.has_moved is True
    # A server that did not answer is left to the tasks that wait for it.
    assert sorted(heard) == [19, 20, 21, 22]


def test_lost_answers_are_asked_of_servers_that_were_not_waited_for_and_are_not_skipped(
    alice: Wallet, servers: Servers
) -> None:
    (row,) = stock(alice, 0)
    ServerHealth.objects.create(raida=24, silences=5, rest_until="2999-01-01T00:00Z")
    lost = LostAnswers(UUID(int=1), alice.pk, [task_store.coin_of_row(row)], [at("p13 w7 n3 w2")])

    repair._ask_for_lost([lost])

    assert servers.asked_whom == [(Command.FIND, [*servers_from(13, 19), 23])]
    # A coin of the wallet encrypts the request.
    assert set(servers.calls[0].encryption) == {*servers_from(13, 19), 23}
