"""
What is committed before the first byte of a command is sent, as another connection reads it at that moment.

A worker that is killed there, or a server that falls silent at the first byte, leaves rows that know already what may
have happened. Every kind of task that moves coins is walked, and killed there once.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection

from config.environment import ROOT
from lockers import tasks
from lockers.models import Coin, LockerTask
from lockers.operations import break_coin, export, find, fix, import_files, new_task, take, transfer
from lockers.operations import put as put_coins
from lockers.raida.commands import Command
from lockers.raida.files import write_bin
from lockers.states import FileType, TaskKind
from lockers.worker import listening, task_store
from tests.lockers.books import assert_true_to_the_servers, finish
from tests.lockers.conftest import Mint
from tests.support.coin_commands import Died, give, put
from tests.support.local_network import LocalNetwork
from trusts import operations as trusts
from wallets.models import Wallet

pytestmark = pytest.mark.django_db(transaction=True)

ONE = 10**8
MOVING = {Command.PUT, Command.REMOVE, Command.POWN, Command.BREAK, Command.JOIN, Command.FIX}


@dataclass
class World:
    network: LocalNetwork
    mint: Mint
    alice: Wallet
    bob: Wallet
    code: str


@pytest.fixture
def world(network: LocalNetwork, mint: Mint, alice: Wallet, bob: Wallet, code: str) -> World:
    return World(network, mint, alice, bob, code)


@dataclass
class Known:
    """What another connection reads before a command is sent."""

    asked: set[int]
    # Of the attempt: the servers to which it says that something was sent, and whether it was settled.
    sent: set[int]
    is_settled: bool
    # Of the coins that it is about: their marks, as a worker that comes now reads them, and what their rows keep.
    marks: list[str]
    have_proposal: list[bool]
    have_locker: list[bool]


class Looker:
    """Reads the rows in a separate connection before each call is sent."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.seen: dict[Command, Known] = {}
        self.dies_at: Command | None = None
        self.other = connection.copy()

    def look(self, command: Command, asked: set[int]) -> None:
        self.commands.append(command)
        if command not in MOVING:
            return
        with self.other.cursor() as cursor:
            cursor.execute(
                "SELECT task_id, batch, answers, settled_at IS NOT NULL FROM lockers_attempt"
                " WHERE command = %s ORDER BY id DESC LIMIT 1",
                [command.name],
            )
            ((task_id, batch, answers, is_settled),) = cursor.fetchall()
            cursor.execute(
                "SELECT command, covering FROM lockers_attempt WHERE task_id = %s AND batch = %s AND covering <> ''"
                " ORDER BY ordinal",
                [task_id, batch],
            )
            said = cursor.fetchall()
            cursor.execute(
                "SELECT outcome, pown, proposed IS NOT NULL, locker_id IS NOT NULL FROM lockers_coin"
                " WHERE task_id = %s AND batch = %s",
                [task_id, batch],
            )
            coins = cursor.fetchall()
        known = Known(
            asked=asked,
            sent={raida for raida, code in enumerate(answers) if code == -1},
            is_settled=is_settled,
            marks=[task_store.covered(outcome, pown, said) for outcome, pown, *_ in coins],
            have_proposal=[each[2] for each in coins],
            have_locker=[each[3] for each in coins],
        )
        self.seen.setdefault(command, known)
        if command is self.dies_at:
            self.dies_at = None
            raise Died


@pytest.fixture
def looker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looker]:
    looker = Looker()
    asking = listening.Asking

    def look_and_ask(servers: Any, call: Any, **how: Any) -> listening.Asking:
        looker.look(call.command, set(call.payloads))
        return asking(servers, call, **how)

    monkeypatch.setattr(listening, "Asking", look_and_ask)
    yield looker
    looker.other.close()


def begin_put(world: World) -> new_task.Started:
    give(world.alice, world.mint(1, 0, 0, 0))
    return put_coins.start(actor=world.alice, name="alice", units=11 * ONE, transmit_code=world.code)


def begin_take(world: World) -> new_task.Started:
    give(world.alice, world.mint(1, 0, 0, 0))
    put(world.alice, 11, world.code)
    return take.start(actor=world.bob, name="bob", code=world.code)


def begin_import(world: World) -> new_task.Started:
    files = [("coins.bin", write_bin(world.mint(1, 0, 0, 0)))]
    return import_files.start(actor=world.alice, name="alice", uploads=files)


def begin_find(world: World) -> new_task.Started:
    started = begin_put(world)
    world.network.fault(range(13), "silent")
    finish(started)
    world.network.clear()
    assert Coin.objects.filter(state="limbo").update(changed_at="2026-01-01T00:00Z") == 2
    return find.start(actor=world.alice, name="alice")


def begin_fix(world: World) -> new_task.Started:
    world.network.fault(range(2), "wrong-secret")
    give(world.alice, world.mint(1, 0, 0, 0))
    world.network.clear()
    return fix.start(actor=world.alice, name="alice")


def begin_break(world: World) -> new_task.Started:
    give(world.alice, world.mint(1))
    return break_coin.start(actor=world.alice, name="alice", denomination=1)


def begin_transfer(world: World) -> new_task.Started:
    give(world.alice, world.mint(1))
    trusts.open_managed_wallet(actor=world.alice, name="sapling")
    return transfer.start(actor=world.alice, source="alice", destination="sapling", units=3 * ONE)


def begin_export(world: World) -> new_task.Started:
    give(world.alice, world.mint(1))
    return export.start(actor=world.alice, name="alice", units=3 * ONE, file_type=FileType.BIN)


# The command by which each kind moves its coins, and how many it is about.
KINDS: dict[TaskKind, tuple[Callable[[World], new_task.Started], Command, int]] = {
    TaskKind.PUT: (begin_put, Command.PUT, 2),
    TaskKind.TAKE: (begin_take, Command.REMOVE, 2),
    TaskKind.IMPORT: (begin_import, Command.POWN, 4),
    TaskKind.FIND: (begin_find, Command.POWN, 2),
    TaskKind.FIX: (begin_fix, Command.FIX, 4),
    TaskKind.BREAK: (begin_break, Command.BREAK, 11),
    TaskKind.TRANSFER: (begin_transfer, Command.BREAK, 11),
    TaskKind.EXPORT: (begin_export, Command.BREAK, 11),
}
# These move none.
LOOK_ONLY = {"peek", "echo", "health"}


def test_every_kind_of_task_is_walked() -> None:
    assert {*TaskKind} - KINDS.keys() <= LOOK_ONLY


def requests() -> Iterator[tuple[str, ast.Call, bool]]:
    """Yield the file of each request of the workers, its construction, and whether `send_batch` sends it."""
    for path in sorted((ROOT / "lockers" / "worker").glob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        sent = {id(call.args[0]) for call in calls if ast.unparse(call.func).endswith(".send_batch")}
        for call in calls:
            if ast.unparse(call.func) == "Request":
                yield path.name, call, id(call) in sent


def test_every_request_that_gives_a_coin_another_number_is_an_intent_or_takes_one_back() -> None:
    """`send_batch` intends what it sends. What is taken back had an intent, whose marks stay until the answer."""
    asking = {f"Command.{name}" for name in Command.__members__ if Command[name] not in MOVING}
    found = without = 0
    for name, call, is_sent_as_batch in requests():
        said = {each.arg: ast.unparse(each.value) for each in call.keywords}
        if ast.unparse(call.args[0]) in asking:
            assert "intends" not in said, (name, call.lineno)
            continue
        found += 1
        without += is_sent_as_batch
        assert is_sent_as_batch or {said.get("intends"), said.get("back")} == {"True", None}, (name, call.lineno)
    assert (found, without) == (13, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_books_know_of_a_command_before_its_first_byte_and_a_worker_that_died_there_repeats_none(
    kind: TaskKind, world: World, looker: Looker
) -> None:
    begin, command, number = KINDS[kind]
    started = begin(world)
    looker.commands.clear()
    looker.seen.clear()
    looker.dies_at = command

    with pytest.raises(Died):
        tasks.run(str(started.task.pk))

    known = looker.seen[command]
    assert known.sent == known.asked != set()
    assert not known.is_settled
    assert len(known.marks) == number
    # Of each server that is about to be asked it is unknown which number it holds.
    assert {marks[raida] for marks in known.marks for raida in known.asked} == {"n"}
    # Both numbers are kept: in the rows, or as the key of a locker that the rows name.
    if kind is TaskKind.PUT:
        assert all(known.have_locker)
    elif command is not Command.BREAK:
        assert all(known.have_proposal)
    # Nothing that moves a coin has left: that is asked before anything is sent again.
    LockerTask.objects.filter(pk=started.task.pk).update(lease_until=None)
    looker.commands.clear()
    ended = finish(started)
    assert next(each for each in looker.commands if each is not Command.PEEK) not in MOVING
    assert ended.attempt == 2
    assert_true_to_the_servers()
