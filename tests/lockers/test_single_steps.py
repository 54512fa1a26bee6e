"""Single steps of a worker, with rows and answers of servers that are written by the test. No server is asked."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db.models import F
from django.db.models.functions import Now

from lockers import transport, vault, wrong_code_limits
from lockers.models import Account, Attempt, Coin, Locker, LockerTask, ServerHealth
from lockers.operations import break_coin as break_coins
from lockers.operations import find as find_coins
from lockers.operations import put as put_coins
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.statuses import Status
from lockers.states import CoinState, Mark, TaskKind, TaskState
from lockers.worker import (
    broadcast,
    echo,
    finalize,
    find,
    fix,
    import_,
    incoming,
    listening,
    messages,
    peek,
    put,
    reconciliation,
    repair,
    settle_coins,
    take,
    task_store,
)
from lockers.worker.broadcast import Request, TaskRun
from lockers.worker.messages import CoinWork, Reply
from tests.lockers.marks import at
from tests.lockers.scripted import Servers, from_each
from tests.lockers.stock import stock
from tests.support.coin_rows import a_coin, a_task
from wallets.models import Wallet


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    made = Servers()
    monkeypatch.setattr(transport, "ask", made.ask)
    return made


def at_work(task: LockerTask) -> TaskRun:
    held = task_store.claim(task_id=task.pk)
    assert held is not None
    return TaskRun(held, task)


def importing(alice: Wallet, *batches: int) -> TaskRun:
    """A worker that imports a coin in each of these batches."""
    task = a_task(alice, TaskKind.IMPORT)
    for batch in batches:
        coin = a_coin(alice, CoinState.INCOMING)
        Coin.objects.filter(serial_number=coin.serial_number).update(task=task, batch=batch, pown="u" * 25)
    return at_work(task)


@pytest.fixture
def finding(alice: Wallet) -> TaskRun:
    """A worker that finds two coins of alice."""
    stock(alice, 0, 0)
    Coin.objects.update(state="limbo", proposed=F("secrets"))
    return at_work(find_coins.start(actor=alice, name="alice").task)


@pytest.mark.parametrize("releasing", [True, False])
def test_fresh_numbers_on_their_way_are_not_taken_for_the_key_of_a_locker(
    releasing: bool, finding: TaskRun, servers: Servers
) -> None:
    """What 12 servers have of a release is not removed again as if a put had stored it."""
    Coin.objects.update(releasing=releasing, outcome=at("p12 f13"))

    put.take_back(finding, [0])

    assert (servers.asked == []) is releasing


def test_the_key_of_an_earlier_locker_is_not_taken_for_a_number_of_ours(alice: Wallet, servers: Servers) -> None:
    """A person who knows the code of that locker could take the coin: a server that holds the key keeps it."""
    stock(alice, 0, 0)
    run = at_work(put_coins.start(actor=alice, name="alice", units=2 * 10**8).task)
    fresh, locked = Coin.objects.order_by("serial_number")
    for row, number in ((fresh, b"n" * 16), (locked, b"k" * 12 + b"\xff" * 4)):
        row.proposed = vault.seal_numbers((number,) * 25, coin_id=row.pk)
        row.outcome, row.pown = at("p12 -13"), at("p13 n12")
        row.save(update_fields=["proposed", "outcome", "pown"])
    servers.says[Command.FIND] = [from_each(range(12, 25), Status.FIND_ALL_PAN)]

    put._put_where_unsure(run, 0, run.coins(0))

    assert servers.asked == [Command.FIND, Command.PUT]
    numbers = [row.serial_number.to_bytes(4, "big") for row in (fresh, locked)]
    assert [[number in sent for number in numbers] for sent in servers.calls[1].payloads.values()] == [
        [True, False]
    ] * 13
    before = {row.pk: vault.open_numbers(row.secrets, coin_id=row.pk) for row in (fresh, locked)}
    for row, of_new, pown in ((fresh, (b"n" * 16,) * 13, at("p25")), (locked, before[locked.pk][12:], at("p13 n12"))):
        row.refresh_from_db()
        assert vault.open_numbers(row.secrets, coin_id=row.pk) == (*before[row.pk][:12], *of_new)
        assert row.pown == pown


def test_a_number_is_replaced_only_where_its_removal_was_refused(finding: TaskRun, servers: Servers) -> None:
    """The removal may still reach a server that has not answered, and what it gives the coin would be replaced."""
    Coin.objects.update(outcome=at("p12 f13"))
    has_it = from_each(range(12), Status.FIND_ALL_PAN)
    servers.says = {
        Command.FIND: [has_it],
        Command.REMOVE: [from_each(range(4), Status.ALL_PASS) | from_each(range(4, 8), Status.ALL_FAIL)],
    }

    put.take_back(finding, [0])

    assert [each for each in servers.asked_whom if each[0] in {Command.REMOVE, Command.POWN}] == [
        (Command.REMOVE, [*range(12)]),
        (Command.POWN, [*range(4, 8)]),
    ]


def test_each_server_votes_for_the_coins_that_it_confirms(finding: TaskRun, servers: Servers) -> None:
    """A server gives one ticket for a batch, also where it refuses some of the coins."""
    fracked = fix._load(finding.held, 0)
    for coin in fracked:
        coin.piece.pown = at("p24 f1")
    both = from_each(range(12), Status.ALL_PASS, b"\0\0\0\7")
    first = from_each(range(12, 25), Status.MIXED, b"\1\0\0\0\7")
    servers.says[Command.GET_TICKET] = [{**both, **first}]

    tickets, votes = fix._get_tickets(finding, 0, fracked)

    assert (tickets, votes) == ((7,) * 24 + (0,), {0: 24, 1: 12})


def test_coins_of_each_batch_are_moved_in_and_those_that_are_known_are_not_read_again(
    alice: Wallet, servers: Servers
) -> None:
    """The number of a batch is not its position: of the batch 0 no coin was left."""
    run = importing(alice, 1, 2)
    servers.says[Command.POWN] = [from_each(range(25), Status.ALL_PASS)]

    incoming.move_in(run, [1, 2], Command.POWN, known={1: run.fresh_coins(1)})

    numbers = [row.serial_number.to_bytes(4, "big") for row in Coin.objects.order_by("batch")]
    sent = [call.payloads[0] for call in servers.calls]
    assert [[number in payload for number in numbers] for payload in sent] == [[True, False], [False, True]]
    assert [coin.marks for batch in (1, 2) for coin in run.coins(batch)] == [Mark.NEW * 25] * 2


def test_servers_that_are_silent_twice_are_asked_twice(alice: Wallet, servers: Servers) -> None:
    run = importing(alice, 0)
    servers.says = {
        Command.POWN: [from_each(range(13, 25), Status.ALL_PASS), {}],
        Command.FIND: [from_each(range(13), Status.FIND_ALL_AN), from_each(range(13), Status.FIND_ALL_PAN)],
    }

    incoming.move_in(run, [0], Command.POWN)

    assert servers.asked == [Command.POWN, Command.FIND, Command.POWN, Command.FIND]
    assert [coin.marks for coin in run.coins(0)] == [Mark.NEW * 25]
    # Each attempt was settled once: marks that were written into the rows are not recorded for the batch again.
    assert set(Attempt.objects.values_list("covering", flat=True)) == {""}


def test_coins_of_which_too_little_is_known_are_set_aside_in_a_batch_that_is_free(
    alice: Wallet, servers: Servers
) -> None:
    """The number of a batch is not its position: of the batch 0 no coin was left."""
    run, numbers = importing(alice, 1, 1, 2), [1, 2]
    run.task.plan = {"two_secrets": [1]}
    refused = from_each(range(25), Status.INVALID_SN_OR_DENOMINATION)
    # About both coins, about the first, about the second.
    servers.says[Command.FIND] = [refused, from_each(range(25), Status.FIND_ALL_PAN), refused]
    known, unknown = run.fresh_coins(1)

    import_._sort_out_two_secrets(run, numbers)

    assert numbers == [1, 2, 3]
    assert LockerTask.objects.get(pk=run.task.pk).plan == {"two_secrets": [3]}
    assert [[coin.coin_id for coin in run.fresh_coins(batch)] for batch in (1, 3)] == [
        [known.coin_id], [unknown.coin_id],
    ]  # fmt: skip
    fresh, aside = (run.fresh_coins(batch)[0] for batch in (1, 3))
    assert (fresh.old, aside.old, aside.new) == (known.new, unknown.old, unknown.new)
    # Both numbers of the file are known to the person from whom it came; what replaces them is not.
    assert len({*fresh.new}) == 25
    assert not {*fresh.new} & {*known.old, *known.new}


def test_the_second_number_of_a_file_is_taken_where_a_server_says_that_it_holds_it(
    alice: Wallet, servers: Servers
) -> None:
    """Of a server that holds neither number or does not answer, the first number stays."""
    run = importing(alice, 0)
    (piece,) = run.fresh_coins(0)
    old, new = tuple(b"o" * 16 for _ in range(25)), tuple(b"n" * 16 for _ in range(25))
    coin = CoinWork(piece.coin_id, piece.coin, piece.pown, piece.marks, old, new)
    servers.says[Command.FIND] = [
        {
            **from_each(range(10), Status.FIND_ALL_PAN),
            **from_each(range(10, 20), Status.FIND_ALL_AN),
            **from_each(range(20, 22), Status.FIND_NEITHER),
        }
    ]

    assert import_._holders(run, 0, [coin]) == {piece.coin_id: [*new[:10], *old[10:]]}


def test_a_fix_begins_with_marks_that_name_no_earlier_one(finding: TaskRun) -> None:
    """What a worker that died has sent is known from the numbers that servers hold now, not from its marks."""
    Coin.objects.update(outcome=at("n12 p13"))
    fracked = fix._load(finding.held, 0)
    for coin in fracked:
        coin.adopted, coin.to_fix = {0}, {24}

    fix._commit(finding.held, fracked, (b"g" * 16,) * 25)

    assert set(Coin.objects.values_list("outcome", flat=True)) == {Mark.UNASKED * 25}
    assert {coin.piece.marks for coin in fracked} == {Mark.UNASKED * 25}


@pytest.mark.parametrize(
    ("proposed", "is_of_a_break", "reply", "is_ours"),
    [
        (b"n" * 16, False, Reply.HAS_NEW, True),
        (b"n" * 16, False, Reply.HAS_OLD, False),
        # The key of a locker into which the coin was once to go: a holder of the code knows it.
        (b"k" * 12 + b"\xff" * 4, False, Reply.HAS_NEW, False),
        (b"k" * 12 + b"\xff" * 4, True, Reply.HAS_NEW, False),
        # Without a proposed number the ten of a break have new numbers, and other coins those that their giver knew.
        (None, True, Reply.HAS_NEW, True),
        (None, True, Reply.HAS_OLD, True),
        (None, True, Reply.HAS_NEITHER, False),
        (None, False, Reply.HAS_OLD, False),
    ],
)
def test_a_fix_leaves_a_server_alone_only_if_its_number_is_known_to_this_service_alone(
    proposed: bytes | None, is_of_a_break: bool, reply: Reply, is_ours: bool
) -> None:
    old = (b"o" * 16,) * 25
    new = old if proposed is None else (*old[:7], proposed, *old[8:])
    piece = CoinWork(UUID(int=1), WireCoin(0, 1), at("p24 f1"), Mark.UNASKED * 25, old, new)
    coin = fix._FrackedCoin(piece, has_proposal=proposed is not None, is_of_a_break=is_of_a_break)

    assert fix._is_ours(coin, 7, reply) is is_ours


def test_each_coin_of_a_batch_ends_whatever_becomes_of_those_before_it(alice: Wallet) -> None:
    """About the first coin nothing was asked: its claim is deleted. The other one arrives, and is in the balance."""
    run = importing(alice, 0, 0)
    first, other = run.fresh_coins(0)
    Coin.objects.filter(pk=first.coin_id).update(denomination=1)
    Coin.objects.filter(pk=other.coin_id).update(outcome=at("p13 f12"))

    assert finalize.conclude(held=run.held) is TaskState.COMPLETED

    row = Coin.objects.get()
    assert (row.pk, row.state, row.task_id) == (other.coin_id, CoinState.FRACKED, None)
    assert Account.objects.get().balance == 10**8


def test_a_coin_is_put_only_where_it_has_left_the_other_locker(finding: TaskRun) -> None:
    pieces = finding.fresh_coins(0)[:1]
    looked_after = repair._LockerRepair(finding.task.id, 1, pieces[0].new, None, pieces, {})
    said = {
        Command.REMOVE: {(0, 0): Reply.PASS, (0, 1): Reply.FAIL, (0, 2): Reply.FAIL, (0, 3): Reply.SILENT},
        Command.POWN: {(0, 1): Reply.PASS, (0, 2): Reply.FAIL},
    }
    asked = []

    def ask(command: Command, coming: Sequence[CoinWork], places: Sequence[tuple[int, int]]) -> Any:
        asked.append((command, list(places)))
        return said[command]

    held = dict.fromkeys(said[Command.REMOVE], (b"k" * 16,) * 25)
    left = repair._leave_other_lockers(looked_after, held, pieces, ask)

    assert asked == [(Command.REMOVE, list(held)), (Command.POWN, [(0, 1), (0, 2)])]
    assert left == dict.fromkeys([(0, 0), (0, 1)], pieces[0].old)
    assert looked_after.has_moved is True


@pytest.mark.parametrize(
    ("listed", "is_partial", "found_with", "coins", "used"),
    [
        ({1}, True, "typed", {1, 2}, "typed"),
        # Another spelling of the code opens another locker: its coins have other keys.
        ({1}, True, "other", {1}, "typed"),
        (set(), False, "other", {2}, "other"),
        ({1}, False, "other", {1}, "typed"),
        ({1}, True, None, {1}, "typed"),
    ],
)
def test_what_a_take_finds_is_of_one_locker(
    listed: set[int],
    is_partial: bool,
    found_with: str | None,
    coins: set[int],
    used: str,
    alice: Wallet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def of(numbers: set[int]) -> frozenset[WireCoin]:
        return frozenset(WireCoin(0, number) for number in numbers)

    keys = {code: tuple(code.encode().ljust(16) for _ in range(25)) for code in ("typed", "other")}
    listing = messages.Listing(of(listed), listed=25, empty=0, statuses=(241,) * 25, is_partial=is_partial)
    found = None if found_with is None else peek.Found(of({2}), keys[found_with], found_with)
    monkeypatch.setattr(peek, "look_into", lambda *_, **__: (listing, keys["typed"], "typed"))
    monkeypatch.setattr(peek, "look_for", lambda *_, **__: found)

    seen = peek.look("typed", (), wallet_id=alice.pk, question=broadcast.ask_at_once)

    assert (seen.coins, seen.keys, seen.code) == (of(coins), keys[used], used)


@pytest.mark.parametrize("kind", [TaskKind.TAKE, TaskKind.IMPORT])
def test_a_task_ends_when_wallets_turn_out_to_hold_all_its_coins(kind: TaskKind, alice: Wallet, bob: Wallet) -> None:
    held, task = a_coin(bob, CoinState.BANK), a_task(alice, kind)
    row = Coin.objects.filter(serial_number=a_coin(alice, CoinState.WAITING).serial_number)
    row.update(task=task, batch=-1, serial_number=held.serial_number)

    assert incoming.can_start(at_work(task)) is False

    ended = LockerTask.objects.get(pk=task.pk)
    assert (ended.state, ended.result["total_left"]) == ("error", held.value)
    assert ended.message.endswith("Every coin turned out to be held in this service.")
    assert not Coin.objects.filter(wallet=alice).exists()


def test_a_late_answer_is_recorded_for_a_batch_only_if_it_is_the_same_for_each_coin(alice: Wallet) -> None:
    """Server 13 has taken both coins, server 14 the first one alone: its answer is written coin by coin later."""
    run = importing(alice, 0, 0)
    kept: list[transport.Results] = []
    late = {
        13: transport.Answer(13, Status.ALL_PASS, b"", 0.0),
        14: transport.Answer(14, Status.MIXED, b"\1", 0.0),
    }
    hearing: Any = SimpleNamespace(taken=lambda: late, keep=kept.append)
    awaited = Attempt.Unanswered.AWAITED
    before = task_store.Settled(5, {0: 241, 13: awaited, 14: awaited}, at("p13 n12"))
    run._hearings = [broadcast._Heard(hearing, 5, Command.POWN, dict.fromkeys(range(25), (0, 1)), before)]

    (settled,) = run._to_settle()

    assert settled.covering == at("p14 n11")
    assert settled.answers == {0: 241, 13: 241, 14: awaited}
    assert [list(each) for each in kept] == [[14]]
    assert [list(each) for each in run._late] == [[13]]
    late.clear()
    assert run._to_settle() == []


@pytest.mark.parametrize("are_written", [False, True])
def test_late_answers_to_an_earlier_batch_are_settled_with_the_task_unless_its_marks_are_written(
    are_written: bool, alice: Wallet
) -> None:
    run = importing(alice, 0)
    late = {13: transport.Answer(13, Status.ALL_PASS, b"", 0.0)}
    hearing: Any = SimpleNamespace(taken=lambda: late, keep=lambda _: None)
    awaited = Attempt.Unanswered.AWAITED
    before = task_store.Settled(5, {0: 241, 13: awaited}, at("p13 n12"))
    run._hearings = [broadcast._Heard(hearing, 5, Command.POWN, {13: (0,)}, before)]
    # The attempt of this batch was settled with the intent of the next one.
    run._answered = []
    run._has_unwritten_marks = are_written

    run._flush()

    after = [] if are_written else [task_store.Settled(5, {0: 241, 13: 241}, at("p14 n11"))]
    assert run._to_settle() == after


def test_answers_are_shown_as_they_arrive(finding: TaskRun) -> None:
    """Of two servers that are asked one has answered; the others were not asked."""
    attempt_id = task_store.open_attempt(held=finding.held, intent=task_store.Intent(Command.FIND, 0, [0, 1]))

    task_store.note_answers(held=finding.held, attempt_id=attempt_id, answers={0: 241}, progress=7)

    assert Attempt.objects.get(pk=attempt_id).answers == [241, Attempt.Unanswered.SENT, *[None] * 23]
    assert LockerTask.objects.get(pk=finding.task.pk).progress == 7


@pytest.mark.parametrize(
    ("state", "command", "contradicts", "check"),
    [
        (CoinState.BANK, Command.DETECT, Status.ALL_FAIL, "coin in a wallet is accepted by the servers"),
        (CoinState.LOCKED, Command.FIND, Status.FIND_ALL_AN, "coin in a locker was given to the servers"),
    ],
)
@pytest.mark.parametrize(("contradicting", "moves"), [(12, False), (13, False), (25, True)])
def test_13_servers_contradict_the_row_of_a_coin_that_has_not_moved_meanwhile(
    state: CoinState,
    command: Command,
    contradicts: Status,
    check: str,
    contradicting: int,
    moves: bool,
    alice: Wallet,
    servers: Servers,
) -> None:
    a_coin(alice, state)
    # Of a coin of a running task no server is asked.
    (reserved,) = stock(alice, 0)
    Coin.objects.filter(pk=reserved.pk).update(task=a_task(alice, TaskKind.PUT), batch=0, outcome="-" * 25)
    for locker in Locker.objects.all():
        Locker.objects.update(code=vault.seal_locker_code("A-CODE-OF-THE-TEST", locker_id=locker.pk))
    servers.says[command] = [from_each(range(contradicting), contradicts)]
    if moves:
        servers.meanwhile = lambda: Coin.objects.update(changed_at=Now())

    found = [finding.check for finding in reconciliation.server_findings()]

    assert servers.asked == [command]
    assert reserved.serial_number.to_bytes(4, "big") not in servers.calls[0].payloads[0]
    assert found == ([check] if contradicting >= 13 and not moves else [])


@pytest.mark.parametrize("is_listened_to", [True, False])
def test_a_server_that_is_listened_to_has_not_failed_yet(
    is_listened_to: bool, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13 servers have answered; the requests to the others go on, or are cancelled."""

    def ask(servers: Any, call: transport.Call, *, listener: transport.Listener | None, **how: Any) -> Any:
        results: transport.Results = {
            raida: transport.Answer(raida, Status.ALL_PASS, b"", 0.0)
            if raida < 13
            else transport.NoResponse(raida, "cancelled", sent=True)
            for raida in call.payloads
        }
        if listener is not None:
            listener.on_verdict(results)
        return results

    monkeypatch.setattr(transport, "ask", ask)
    monkeypatch.setattr(listening, "_open", set())
    monkeypatch.setattr(listening, "_MOST", int(is_listened_to))
    # The thread that writes late answers may have committed some for an earlier test.
    ServerHealth.objects.all().delete()
    run = importing(alice, 0)

    run.send_batch(Request(Command.POWN, 0, run.fresh_coins(0), grace=broadcast.GRACE_MOVE))
    run.coins(0)

    assert Attempt.objects.get().answers == [241] * 13 + [Attempt.Unanswered.AWAITED] * 12
    assert sorted(ServerHealth.objects.values_list("raida", flat=True)) == ([] if is_listened_to else [*range(13, 25)])
    assert len(run._hearings) == is_listened_to


def test_a_take_keeps_its_first_batch_with_coins_and_reads_the_others_when_it_comes_to_them(
    alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locker may hold many thousand coins, each with 50 numbers."""
    monkeypatch.setattr(take, "BATCH_COINS", 1)
    run = at_work(a_task(alice, TaskKind.TAKE))
    coins = [a_coin(bob, CoinState.BANK), *(WireCoin(0, number) for number in (800_000, 800_001))]

    first, arrivals = take.reserve_listed(held=run.held, wallet_id=alice.pk, coins=coins, keys=vault.fresh_numbers())

    assert {batch: [piece.coin for piece in pieces] for batch, pieces in first.items()} == {1: [coins[1]]}
    assert [*arrivals.saved] == coins[1:]
    assert [*task_store.batches(task_id=run.task.pk)] == [1, 2]


def test_each_part_of_a_put_is_shown_with_its_progress(finding: TaskRun, monkeypatch: pytest.MonkeyPatch) -> None:
    write, shown = task_store.advance, list[tuple[Any, int]]()

    def write_and_look(**values: Any) -> None:
        write(**values)
        shown.append(LockerTask.objects.values_list("step", "progress").get(pk=finding.task.pk))

    monkeypatch.setattr(task_store, "advance", write_and_look)

    put._ask_the_undecided(finding, [])
    put.take_back(finding, [])

    assert shown == [("asking", 70), ("returning", 85), ("checking", 92)]


def test_a_find_is_shown_from_its_first_question(
    finding: TaskRun, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, int]] = []
    write = task_store.open_attempt

    def look_and_write(**values: Any) -> int:
        shown.append(LockerTask.objects.values_list("step", "progress").get(pk=finding.task.pk))
        return write(**values)

    monkeypatch.setattr(task_store, "open_attempt", look_and_write)

    find.run(finding)

    assert shown[0] == ("finding", 5)


def test_only_a_missing_answer_is_one_that_is_waited_for() -> None:
    assert settle_coins._with_those_awaited(at("p13 n6 f6"), {0, 13, 19}) == at("p13 w1 n5 f6")


@pytest.mark.parametrize("kind", [TaskKind.PUT, TaskKind.BREAK])
def test_the_servers_of_a_put_are_not_those_of_its_break(kind: TaskKind, alice: Wallet) -> None:
    """The board of a put shows which servers store its coins."""
    stock(alice, 1)
    started = (
        put_coins.start(actor=alice, name="alice", units=10**8)
        if kind is TaskKind.PUT
        else break_coins.start(actor=alice, name="alice", denomination=1)
    )
    run = at_work(started.task)
    Coin.objects.update(outcome=at("f25"))

    assert finalize.conclude(held=run.held) is TaskState.ERROR

    result = LockerTask.objects.get(pk=started.task.pk).result
    assert result.get("raida") == (None if kind is TaskKind.PUT else at("f25"))


@pytest.mark.parametrize(("empty", "is_counted"), [(12, False), (13, True)])
def test_a_wrong_code_of_a_take_is_counted_of_its_caller(
    empty: int, is_counted: bool, alice: Wallet, bob: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alice takes for a wallet that she manages: with many of these she guesses no faster."""
    counted: list[dict[str, Any]] = []
    monkeypatch.setattr(wrong_code_limits, "note_wrong_code", lambda **whose: counted.append(whose))
    listing = messages.Listing(frozenset(), listed=0, empty=empty, statuses=(242,) * 25, is_partial=False)
    seen = peek.Seen(listing, frozenset(), (b"k" * 16,) * 25, "A-CODE-OF-THE-TEST")
    monkeypatch.setattr(peek, "look", lambda *_, **__: seen)
    task = a_task(bob, TaskKind.TAKE)
    code = vault.seal_task_code("A-CODE-OF-THE-TEST", task_id=task.pk)
    LockerTask.objects.filter(pk=task.pk).update(actor=alice, code=code, plan={"from": "an address"})

    take.run(at_work(LockerTask.objects.get(pk=task.pk)))

    assert LockerTask.objects.get(pk=task.pk).state == TaskState.ERROR
    assert counted == [{"wallet_id": alice.pk, "address": "an address"}] * is_counted


def test_an_echo_tells_how_long_each_answer_took_and_nothing_of_the_silent(alice: Wallet, servers: Servers) -> None:
    servers.says[Command.ECHO] = [from_each([0, 24], Status.SUCCESS)]
    task = a_task(alice, TaskKind.ECHO)

    echo.run(at_work(task))

    result = LockerTask.objects.get(pk=task.pk).result
    assert result["latencies"] == [0, *[None] * 23, 0]
    assert (result["online"], result["raida"]) == (2, at("p1 n23 p1"))


@pytest.mark.parametrize(("mends", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 5), (20, 5)])
@pytest.mark.parametrize("command", [Command.FIND, Command.POWN])
def test_the_first_repairs_of_a_locker_ask_briefly_and_move_with_the_usual_timeout(
    command: Command, mends: int, seconds: int, finding: TaskRun, servers: Servers, monkeypatch: Any, settings: Any
) -> None:
    settings.RAIDA_TIMEOUT_SECONDS = 5
    given: list[float] = []
    monkeypatch.setattr(transport, "within", lambda seconds: given.append(seconds) or seconds)
    pieces = finding.fresh_coins(0)
    looked_after = repair._LockerRepair(finding.task.id, mends, pieces[0].new, None, pieces, {})

    repair._ask(looked_after, command, pieces, [(0, 7)], set())

    assert given == [seconds if command is Command.FIND else 5]
