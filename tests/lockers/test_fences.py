"""
A task belongs to one worker: which worker claims it, and that a superseded one writes nothing.

Deterministic: no test here waits for a race. Every function that takes a claim is called with one that is superseded,
and every statement of whole tasks is read: a new write that does not begin with the fence fails here.
"""

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, get_args

import pytest
from django.apps import apps
from django.db import connection
from django.db.models.functions import Now

import lockers
from lockers import competing_claims, fair_queue
from lockers.errors import TaskSuperseded
from lockers.models import Attempt, Coin, LockerTask
from lockers.operations import break_coin as break_coins
from lockers.operations import echo, export, import_files, peek, take
from lockers.operations import find as find_coins
from lockers.operations import fix as fix_coins
from lockers.operations import put as put_coins
from lockers.operations.new_task import Started
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.commands import Command
from lockers.raida.files import CoinRecord, write_bin
from lockers.states import FileType, Step, TaskState
from lockers.worker import (
    break_coin,
    finalize,
    find,
    fix,
    health_check,
    import_,
    runner,
    task_store,
)
from lockers.worker.messages import CoinWork, Reply
from lockers.worker.put import adopt
from lockers.worker.take import reserve_listed
from lockers.worker.task_store import Claim, Intent, Settled
from tests.lockers.books import finish, states
from tests.lockers.conftest import Mint
from tests.lockers.stock import stock
from tests.support.coin_commands import put
from tests.support.expiring_lockers import begin, fill, steal_from
from tests.support.local_network import LocalNetwork
from wallets.models import Wallet

ONE = 10**8


# Claims.


@pytest.fixture
def task(alice: Wallet) -> LockerTask:
    stock(alice, 0, 0)
    return put_coins.start(actor=alice, name="alice", units=2 * ONE).task


def claim_it(task: LockerTask) -> Claim | None:
    return task_store.claim(task_id=task.pk)


def claim_whose_turn_it_is(task: LockerTask) -> Claim | None:
    return fair_queue.claim_next()


WAYS = pytest.mark.parametrize("claim", [claim_it, claim_whose_turn_it_is])


@WAYS
def test_of_two_claims_one_wins(claim: Callable[[LockerTask], Claim | None], task: LockerTask) -> None:
    first, second = claim(task), claim(task)

    assert (first, second) == (Claim(task.pk, 1, task.request_id), None)
    task.refresh_from_db()
    assert task.attempt == 1


@WAYS
def test_a_lease_that_ran_out_is_taken_over_by_the_next_number(
    claim: Callable[[LockerTask], Claim | None], task: LockerTask
) -> None:
    claim(task)
    LockerTask.objects.filter(pk=task.pk).update(lease_until=Now())
    # `now()` is one moment in a transaction, and a lease that ends at this one holds still.
    assert claim(task) is None
    LockerTask.objects.filter(pk=task.pk).update(lease_until="2026-01-01T00:00Z")

    held = claim(task)

    assert held is not None
    assert held.attempt == 2


@WAYS
def test_a_claim_of_a_task_that_was_leased_concurrently_changes_nothing(
    claim: Callable[[LockerTask], Claim | None], task: LockerTask
) -> None:
    LockerTask.objects.filter(pk=task.pk).update(lease_until="2099-01-01T00:00Z", attempt=7)
    before = rows()

    assert claim(task) is None
    assert rows() == before


@WAYS
@pytest.mark.parametrize("why", ["parked", "ended"])
def test_what_no_worker_may_do_is_not_claimed(
    claim: Callable[[LockerTask], Claim | None], task: LockerTask, why: str
) -> None:
    if why == "parked":
        LockerTask.objects.filter(pk=task.pk).update(is_parked=True)
    else:
        LockerTask.objects.filter(pk=task.pk).update(state=TaskState.ERROR, finished_at=Now())
    before = rows()

    assert claim(task) is None
    assert rows() == before


def test_the_lease_outlasts_a_call_that_began_with_it(settings: Any) -> None:
    settings.RAIDA_TIMEOUT_SECONDS = 5
    assert task_store.lease().total_seconds() == 8


# What a superseded worker writes.


def rows() -> dict[str, list[dict[str, Any]]]:
    """Everything that the app stores."""
    return {
        model._meta.db_table: list(model._base_manager.order_by("pk").values())
        for model in apps.get_app_config("lockers").get_models()
    }


def _batch(held: Claim) -> list[CoinWork]:
    return task_store.coins(task_id=held.task_id, batch=0, keys=(b"k" * 16,) * 25)


def _never() -> Any:
    raise AssertionError("a superseded worker went on")


# One call of every function of the app that takes a claim, by its name.
CALLS: dict[str, Callable[[Claim], object]] = {
    "runner.run": runner.run,
    "runner.settle_overdue": runner.settle_overdue,
    "task_store.fence": lambda held: task_store.fence(held, step=Step.SENDING),
    "task_store.advance": lambda held: task_store.advance(held=held, step=Step.SENDING, progress=50, message="x"),
    "task_store.open_attempt": lambda held: task_store.open_attempt(
        held=held,
        intent=Intent(
            Command.PUT, 0, range(25), {piece.coin_id: "n" * 25 for piece in _batch(held)}, covering="n" * 25
        ),
        settled=[Settled(Attempt.objects.get().pk, {0: 241}, "p" * 25)],
    ),
    "task_store.note_answers": lambda held: task_store.note_answers(
        held=held, attempt_id=Attempt.objects.get().pk, answers={0: 241}, progress=50
    ),
    "task_store.settle": lambda held: task_store.settle(
        held=held,
        settled=[Settled(Attempt.objects.get().pk, {0: 241}, "p" * 25)],
        marks={piece.coin_id: "p" * 25 for piece in _batch(held)},
    ),
    "task_store.write_marks": lambda held: task_store.write_marks(held=held),
    "import_.place_fresh_numbers": lambda held: import_.place_fresh_numbers(
        held=held,
        holders={piece.coin_id: piece.old for piece in _batch(held)[:1]},
        plan={"two_secrets": [3]},
        aside=[piece.coin_id for piece in _batch(held)[1:]],
        aside_batch=3,
    ),
    "put.adopt": lambda held: adopt(held=held, pieces=[_with_pown(piece, "p" * 24 + "n") for piece in _batch(held)]),
    "find.begin_release": lambda held: find.begin_release(
        held=held, coin_ids=[piece.coin_id for piece in _batch(held)]
    ),
    "take.reserve_listed": lambda held: reserve_listed(
        held=held,
        wallet_id=LockerTask.objects.get(pk=held.task_id).wallet_id,
        coins=[WireCoin(0, 1)],
        keys=(b"k" * 16,) * 25,
        spelling=1,
    ),
    "import_.begin_reading": lambda held: import_.begin_reading(held=held),
    "import_.end_reading": lambda held: import_.end_reading(held=held, save=_never, two_secrets=[0], files=_never),
    "fix.reserve_more_for_fix": lambda held: fix.reserve_more_for_fix(held=held),
    "competing_claims.promote_waiting": lambda held: competing_claims.promote_waiting(held=held),
    "finalize.conclude": lambda held: finalize.conclude(held=held, reason="x"),
    "finalize.finish": lambda held: finalize.finish(
        held=held, state=TaskState.ERROR, message="x", result={"raida": "p" * 25}
    ),
    "break_coin.assemble": lambda held: break_coin.assemble(held=held),
    "break_coin.propose": lambda held: break_coin.propose(
        held=held, batch=0, broken=_batch(held)[0], votes=dict.fromkeys(range(10), 25)
    ),
    "break_coin.finish_break": lambda held: break_coin.finish_break(held=held, batch=0),
    "health_check.record": lambda held: health_check.record(
        rows := list(Coin.objects.order_by("id")), [dict.fromkeys(range(25), Reply.PASS)] * len(rows), held=held
    ),
    "fix._commit": lambda held: fix._commit(
        held, [fix._FrackedCoin(piece, False, False, {0}, {1}) for piece in _batch(held)], (b"g" * 16,) * 25
    ),
}
# These write nothing,
WRITES_NOTHING = {"task_store.holds", "break_coin.open_break", "break_coin.family", "fix._load"}
# these are parts of a transaction that one of those above has begun with the fence,
WITHIN = {"task_store._in_one_statement", "finalize._end"}
# and this gives a task back, and tells whether that was done.
TELLS = {"fair_queue.give_way"}


def _with_pown(piece: CoinWork, pown: str) -> CoinWork:
    piece.pown = pown
    return piece


def taking_a_claim() -> set[str]:
    """Every function of the app with a parameter that is a claim, or may be one."""
    found = set()
    for module in pkgutil.walk_packages(lockers.__path__, "lockers."):
        if "migrations" in module.name or "management" in module.name:
            continue
        for name, member in inspect.getmembers(import_module(module.name), inspect.isfunction):
            taken = [each.annotation for each in inspect.signature(member).parameters.values()]
            is_its_own = member.__module__ == module.name
            if is_its_own and any(Claim in (each, *get_args(each)) for each in taken):
                found.add(f"{module.name.rpartition('.')[2]}.{name}")
    return found


def test_every_function_that_takes_a_claim_is_called_below() -> None:
    assert taking_a_claim() == CALLS.keys() | WRITES_NOTHING | WITHIN | TELLS


@pytest.fixture
def superseded(task: LockerTask) -> Claim:
    """A claim that another worker has taken over; an attempt of it is open, and its coins are in batch 0."""
    held = task_store.claim(task_id=task.pk)
    assert held is not None
    task_store.open_attempt(held=held, intent=Intent(Command.PUT, 0, range(25), covering="n" * 25))
    LockerTask.objects.filter(pk=task.pk).update(lease_until=None)
    assert task_store.claim(task_id=task.pk) is not None
    return held


@pytest.mark.parametrize("name", CALLS)
def test_a_superseded_worker_writes_nothing(name: str, superseded: Claim) -> None:
    before = rows()

    with pytest.raises(TaskSuperseded):
        CALLS[name](superseded)

    assert rows() == before


@pytest.mark.parametrize("name", CALLS)
def test_a_worker_writes_nothing_about_a_task_that_has_ended(name: str, superseded: Claim) -> None:
    now = Claim(superseded.task_id, 2)
    LockerTask.objects.filter(pk=now.task_id).update(state=TaskState.ERROR, finished_at=Now(), lease_until=None)
    before = rows()

    with pytest.raises(TaskSuperseded):
        CALLS[name](now)

    assert rows() == before


# What a later worker finds out again by asking the servers need not last.
MAY_BE_LOST = {"task_store.advance", "task_store.note_answers", "task_store.settle", "take.reserve_listed"}
# These need servers, files or a break; what they write is written by the others.
NOT_OF_A_PUT = {
    "runner.run", "runner.settle_overdue", "import_.end_reading", "break_coin.assemble", "break_coin.propose",
    "break_coin.finish_break",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CALLS.keys() - NOT_OF_A_PUT))
def test_what_the_servers_cannot_tell_again_waits_for_the_disk(name: str, superseded: Claim) -> None:
    """An intent, fresh numbers and the end of a task outlast a crash of the database."""
    with connection.cursor() as cursor:
        # The server of the tests need not be durable.
        cursor.execute("SET LOCAL synchronous_commit = 'on'")
        CALLS[name](Claim(superseded.task_id, 2))
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone()[0] == ("off" if name in MAY_BE_LOST else "on")


def test_a_superseded_worker_gives_no_way_and_holds_nothing(superseded: Claim, alice: Wallet, settings: Any) -> None:
    settings.WORKERS = 1
    LockerTask.objects.filter(pk=superseded.task_id).update(is_long=True)
    other = echo.start(actor=alice).task
    LockerTask.objects.filter(pk=other.pk).update(is_long=True, lease_until="2099-01-01T00:00Z")
    before = rows()

    assert not fair_queue.give_way(superseded)
    assert not task_store.holds(superseded)
    assert rows() == before
    # The worker that holds the task does give way.
    assert fair_queue.give_way(Claim(superseded.task_id, 2))


# What whole tasks write.

_WRITE = re.compile(r"\b(?:UPDATE|INSERT\s+INTO|DELETE\s+FROM)\s+\"?(\w+)\"?", re.IGNORECASE)
_FENCE = re.compile(
    r"UPDATE\s+\"?lockers_lockertask\"?\s.*\bWHERE\b.*attempt\"?\s*=\s*(?:%\(attempt\)s|%s|\d+)",
    re.IGNORECASE | re.DOTALL,
)
# Claims themselves, and rows that belong to no task: server health.
_CLAIM = re.compile(r"SET attempt = attempt \+ 1")
_UNFENCED = {"lockers_serverhealth", "lockers_turn"}


class Statements:
    """The statements of each outermost transaction, in their order."""

    def __init__(self) -> None:
        self.transactions: list[list[str]] = [[]]
        self._depth = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        head = sql.split(maxsplit=2)[0].upper() if sql.strip() else ""
        if head == "SAVEPOINT":
            if not self._depth:
                self.transactions.append([])
            self._depth += 1
        elif head == "RELEASE":
            self._depth -= 1
            if not self._depth:
                self.transactions.append([])
        elif head == "ROLLBACK":
            pass
        else:
            self.transactions[-1].append(sql)
            if not self._depth:
                self.transactions.append([])
        return execute(sql, params, many, context)

    def writing(self) -> Iterator[list[str]]:
        for statements in self.transactions:
            written = {table for sql in statements for table in _WRITE.findall(sql)} - _UNFENCED
            if written & {table for table in rows() if table.startswith("lockers_")}:
                yield statements


@contextmanager
def read() -> Iterator[Statements]:
    statements = Statements()
    with connection.execute_wrapper(statements):
        yield statements


def give_all(wallet: Wallet, records: list[CoinRecord]) -> Statements:
    started = import_files.start(actor=wallet, name=wallet.name, uploads=[("coins.bin", write_bin(records))])
    with read() as statements:
        finish(started)
    return statements


def _imports(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> Statements:
    return give_all(alice, mint(1, 0, 0, 0))


def _puts(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> Statements:
    give_all(alice, mint(1, 0, 0, 0))
    network.fault(range(13), "silent")
    started = put_coins.start(actor=alice, name="alice", units=11 * ONE, transmit_code=code)
    with read() as statements:
        finish(started)
    assert states(alice) == {"limbo": 2, "bank": 2}
    return statements


def _puts_with_change(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> Statements:
    give_all(alice, mint(1))
    started = put_coins.start(actor=alice, name="alice", units=3 * ONE, transmit_code=code)
    with read() as statements:
        finish(started)
    assert states(alice) == {"broken": 1, "locked": 3, "bank": 7}
    return statements


def _takes(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> Statements:
    give_all(alice, mint(1, 0, 0, 0))
    put(alice, 11, code)
    started = take.start(actor=bob, name="bob", code=code)
    with read() as statements:
        finish(started)
    assert states(bob) == {"bank": 2}
    return statements


def _finds(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> Statements:
    _puts(network, mint, alice, bob, code)
    network.clear()
    Coin.objects.filter(state="limbo").update(changed_at="2026-01-01T00:00Z")
    started = find_coins.start(actor=alice, name="alice")
    with read() as statements:
        finish(started)
    assert states(alice) == {"bank": 4}
    return statements


def _fixes(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> Statements:
    network.fault(0, "wrong-secret")
    give_all(alice, mint(1, 0, 0, 0))
    network.clear()
    started = fix_coins.start(actor=alice, name="alice")
    with read() as statements:
        finish(started)
    return statements


def _breaks(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> Statements:
    give_all(alice, mint(1))
    started = break_coins.start(actor=alice, name="alice", denomination=1)
    with read() as statements:
        finish(started)
    assert states(alice) == {"broken": 1, "bank": 10}
    return statements


def _exports(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> Statements:
    give_all(alice, mint(1))
    started = export.start(actor=alice, name="alice", units=3 * ONE, file_type=FileType.BIN)
    with read() as statements:
        finish(started)
    assert states(alice) == {"broken": 1, "exported": 3, "bank": 7}
    return statements


def _peeks(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> Statements:
    started = peek.start(actor=alice, code=code)
    with read() as statements:
        finish(started)
    return statements


def _takes_back(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> Statements:
    give_all(alice, mint(1, 0, 0, 0))
    locker = fill(alice, 11, code)
    one = Coin.objects.get(locker=locker, denomination=0)
    steal_from(network, locker, range(25), [WireCoin(one.denomination, one.serial_number)])
    task = begin(locker)
    with read() as statements:
        finish(Started(task))
    assert states(alice) == {"bank": 3, "sent": 2}
    return statements


SCENES = pytest.mark.parametrize(
    "scene", [_imports, _puts, _puts_with_change, _takes, _takes_back, _finds, _fixes, _breaks, _exports, _peeks]
)


@SCENES
def test_every_transaction_of_a_worker_begins_with_the_fence(
    scene: Callable[..., Statements], network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str
) -> None:
    statements = scene(network, mint, alice, bob, code)

    writing = [each for each in statements.writing() if not any(_CLAIM.search(sql) for sql in each)]
    assert writing
    for transaction in writing:
        first = next(sql for sql in transaction if _WRITE.search(sql))
        assert _FENCE.search(first), transaction
        # An intent and the end of a task are flushed to disk, and with them what was written before.
        lasting = ("INSERT INTO lockers_attempt", "INSERT INTO lockers_receiptline", "SET state = %s, step = %s")
        if any(mark in sql for sql in transaction for mark in lasting):
            assert not any("'off'" in sql for sql in transaction), transaction
