"""An operator's action on coins or tasks changes what it says and nothing else: all rows are compared."""

import asyncio
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from config.admin.actions import lockers as actions
from config.admin.actions import registry
from config.admin.actions.base import AdminAction
from lockers import vault
from lockers.localnet.control import control_socket
from lockers.models import Account, Coin, Export, Locker, LockerTask
from lockers.states import CoinState, LockerState, TaskKind, TaskState
from tests.admin.running import run
from tests.support.local_network import LocalNetwork
from tests.transfers.frames import World
from tests.trusts.powers import undone
from wallets import operations as wallets
from wallets.models import Wallet

COIN: Final = 10**8
LABELS: Final = ("wallets", "lockers")


def build() -> World:
    """Two wallets with equal contents: coins of each grade, and two tasks of each kind."""
    world = World(LABELS)
    for name in ("alice", "bobby"):
        wallet = wallets.create_wallet(name=name)
        world.name(name, wallet)
        Account.objects.create(wallet=wallet, balance=0, lines=0)
        for state, pown in ((CoinState.BANK, "p" * 25), (CoinState.FRACKED, "p" * 20 + "f" * 5)):
            world.name(f"{state} coin of {name}", a_coin(wallet, state, pown))
        world.name(f"limbo coin of {name}", a_coin(wallet, CoinState.LIMBO, "n" * 25))
        for number in ("", " too"):
            _tasks(world, wallet, f"of {name}{number}")
    return world


def a_coin(wallet: Wallet, state: CoinState, pown: str, **fields: Any) -> Coin:
    number = Coin.objects.count()
    row = Coin(wallet=wallet, denomination=0, serial_number=number, state=state, origin="import", pown=pown, **fields)
    row.secrets = vault.seal_numbers(vault.fresh_numbers(), coin_id=row.pk)
    row.save(force_insert=True)
    return row


def a_task(wallet: Wallet, kind: TaskKind, state: TaskState = TaskState.ERROR, **fields: Any) -> LockerTask:
    now = timezone.now()
    running = state == TaskState.RUNNING
    ends = {} if running else {"finished_at": now, "step": "done"}
    return LockerTask.objects.create(
        kind=kind, wallet=wallet, actor=wallet, state=state, receipt_id=secrets.token_hex(16),
        deadline=now + timedelta(hours=running), progress=100 if state == TaskState.COMPLETED else 0, **ends, **fields,
    )  # fmt: skip


def _tasks(world: World, wallet: Wallet, of: str) -> None:
    world.name(f"failed put {of}", a_task(wallet, TaskKind.PUT, amount=COIN))
    world.name(f"failed fix {of}", a_task(wallet, TaskKind.FIX))
    world.name(f"failed find {of}", a_task(wallet, TaskKind.FIND))
    world.name(f"failed check {of}", a_task(wallet, TaskKind.HEALTH))
    waiting = a_task(wallet, TaskKind.PUT, TaskState.RUNNING, amount=COIN)
    world.name(f"waiting put {of}", waiting)
    world.name(
        f"coin of the waiting put {of}",
        a_coin(wallet, CoinState.BANK, "p" * 25, task=waiting, batch=0, outcome="-" * 25),
    )
    locker = Locker(wallet=wallet, state=LockerState.FILLED, amount=COIN)
    locker.code = vault.seal_locker_code(f"ABCD-EFGH-{secrets.token_hex(2)}", locker_id=locker.pk)
    locker.save(force_insert=True)
    world.name(f"locker {of}", locker)
    world.name(f"filled put {of}", a_task(wallet, TaskKind.PUT, TaskState.COMPLETED, amount=COIN, locker=locker))
    world.name(f"coin in the locker {of}", a_coin(wallet, CoinState.LOCKED, "p" * 25, locker=locker))
    export = a_task(wallet, TaskKind.EXPORT, TaskState.COMPLETED, amount=COIN)
    world.name(f"export {of}", export)
    Export.objects.create(task=export, wallet=wallet, type="bin", file_name=f"{of}.bin", coin_count=1)
    world.name(f"coin of the export {of}", a_coin(wallet, CoinState.EXPORTED, "p" * 25, export_id=export.pk))
    overdue = a_task(wallet, TaskKind.PUT, TaskState.RUNNING, amount=COIN)
    LockerTask.objects.filter(pk=overdue.pk).update(deadline=timezone.now() - timedelta(hours=2))
    world.name(f"overdue put {of}", overdue)


# The action, the task (of the wallet alice) that it is done with, and what it changes besides the log.
ACTS: Final[list[tuple[type[AdminAction], str, dict[str, int]]]] = [
    (
        actions.StartFind,
        "",
        {"lockertask new find alice": 1, "coin limbo coin of alice: batch, outcome, task_id": 1},
    ),
    (
        actions.StartFix,
        "",
        {"lockertask new fix alice": 1, "coin fracked coin of alice: batch, outcome, task_id": 1},
    ),
    (actions.CheckCoins, "", {"lockertask new health alice": 1}),
    (
        actions.RetryTask,
        "failed put of alice",
        {
            "lockertask new put alice": 1,
            "locker new alice filling": 1,
            "coin bank coin of alice: batch, locker_id, outcome, task_id": 1,
        },
    ),
    (
        actions.RetryTask,
        "failed fix of alice",
        {"lockertask new fix alice": 1, "coin fracked coin of alice: batch, outcome, task_id": 1},
    ),
    (
        actions.RetryTask,
        "failed find of alice",
        {"lockertask new find alice": 1, "coin limbo coin of alice: batch, outcome, task_id": 1},
    ),
    (actions.RetryTask, "failed check of alice", {"lockertask new health alice": 1}),
    (actions.RetryTask, "waiting put of alice", {}),
    (actions.RollBackTask, "waiting put of alice", {"lockertask waiting put of alice: deadline": 1}),
    (actions.RollBackTask, "filled put of alice", {"lockertask new take alice": 1}),
    (actions.RollBackTask, "export of alice", {"lockertask new import alice": 1, "coin new alice incoming": 1}),
    (actions.MarkTaskSeen, "overdue put of alice", {"lockertask overdue put of alice: seen_at": 1}),
    (actions.RehearseOutage, "", {}),
]


def done(world: World, action: type[AdminAction], task: str) -> Any:
    if action is actions.RehearseOutage:
        return run(action, servers="0-1", fault="silent")
    return run(action, LockerTask.objects.get(pk=world.id_of(task)) if task else world.wallet("alice"))


@pytest.mark.django_db
def test_an_action_changes_what_it_says_and_no_other_row(tmp_path: Path, settings: Any) -> None:
    User.objects.create_superuser("olga")
    settings.STATE_DIR = tmp_path
    world, found, expected = build(), {}, {}

    with LocalNetwork(tmp_path / "raida", base_port=0) as network:
        orders = control_socket(network.fleet)
        asyncio.run_coroutine_threadsafe(orders.__aenter__(), network._loop).result()
        for action, task, changes in ACTS:
            with undone():
                found[action, task] = dict(world.changes(lambda action=action, task=task: done(world, action, task)))
            about = "" if action is actions.RehearseOutage else task or "alice"
            expected[action, task] = {**changes, f"operatoraction new {action.verb} {about}": 1}
        asyncio.run_coroutine_threadsafe(orders.__aexit__(None, None, None), network._loop).result()

    assert {each: changes for each, changes in found.items() if changes != expected[each]} == {}


def test_every_action_on_coins_and_tasks_is_tried() -> None:
    assert {action for action, _, _ in ACTS} == {
        type(each) for each in registry.ALL if type(each).__module__ == actions.__name__
    }
