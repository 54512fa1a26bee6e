"""
The plans of statements about thousands of coins, in a large table.

PostgreSQL knows little of a table that grew a moment ago. If two sets of coins are joined with each other, its plan may
compare each coin with each. So each statement runs with statistics, without, and with those of an almost empty table,
planned for its values and, if it may be prepared, for any values, and no step of a plan may handle many more rows than
the statement concerns.
"""

import ast
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

import lockers
from config.postgresql.base import numbered
from lockers import competing_claims, key_rotation
from lockers.models import Coin, Locker, LockerTask
from lockers.states import SPENDABLE, CoinState, may_have_been
from lockers.worker import task_store
from tests.lockers.stock import post
from tests.support.statement_work import delete_statistics, forget_statistics
from tests.tables import empty_tables
from wallets import operations as wallets

COINS: Final = 30_000
# The coins of one task, as many in one locker, and how many of each, and of the others, the statements name.
OF_TASK: Final = 3_000
NAMED: Final = 300
# A step may read the whole table once or twice; coins that are compared with each other are a million pairs.
MOST_ROWS: Final = 2 * COINS

_SKIPPED: Final = ("lockers.localnet", "lockers.migrations", "lockers.management", "lockers.models")
# Statements about coins or lines of receipts that join them with an array or with each other.
_JOINS_MANY: Final = re.compile(
    r"(?=.*\blockers_(coin|receiptline)\b)(?=.*(unnest\(|\bid = ANY\(|\bJOIN\b|\bUSING\b|\bbatched\b|\blater\b))",
    re.DOTALL,
)
# Parts, which cannot be planned alone, and the statements that are made of them.
_MADE_OF: Final[Mapping[str, Mapping[str, str]]] = {
    "competing_claims._INSERT": {},
    "key_rotation._WRITE": {"coins": key_rotation._WRITE.format(key_rotation._PLACES[0])},
    "worker.task_store._MARKED": {
        "settle": task_store._MINE.format(how=task_store.NEED_NOT_LAST)
        + task_store._SETTLED
        + task_store._MARKED
        + task_store._NOTHING_MORE
    },
}


def _statements() -> dict[str, str]:
    """Return such statements by name: those that are constants of a module, and those written within a function."""
    found: dict[str, str] = {}
    for info in pkgutil.walk_packages(lockers.__path__, "lockers."):
        if info.name.startswith(_SKIPPED) or info.ispkg:
            continue
        module = importlib.import_module(info.name)
        short = info.name.removeprefix("lockers.")
        found |= {f"{short}.{name}": value for name, value in vars(module).items() if isinstance(value, str)}
        for function in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
            if isinstance(function, ast.FunctionDef):
                texts = [each.value for each in ast.walk(function) if isinstance(each, ast.Constant)]
                found |= {
                    f"{short}.{function.name}:{number}": each
                    for number, each in enumerate(filter(_is_statement, texts), start=1)
                }
    found |= {f"{name}:{where}": text for name, made in _MADE_OF.items() for where, text in made.items()}
    return {name: text for name, text in found.items() if _is_statement(text) and name not in _MADE_OF}


def _is_statement(text: Any) -> bool:
    return isinstance(text, str) and re.match(r"\s*(--|SELECT|UPDATE|INSERT|DELETE|WITH)", text) is not None and (
        # Not `search`, which would try it at each character; it looks ahead to the end of the text.
        _JOINS_MANY.match(text) is not None
    )  # fmt: skip


STATEMENTS: Final = _statements()
# They join open lines of two receipts. Without statistics an index of all open lines of a task seems as good to
# PostgreSQL as one of the open lines of a coin.
_NEED_STATISTICS: Final = ("current_results._EARLIER", "current_results._FOLLOW")
# With statistics that say that the table is almost empty, it reads all coins of the wallet for each denomination.
_NEED_MORE: Final = ("operations.reserve._LOCK_FREE",)
# What the planner knows: the truth, nothing, or that the tables are almost empty.
TRUE, NONE, EMPTY = "true", "none", "empty"
_EXCEPT: Final = {TRUE: (), NONE: _NEED_STATISTICS, EMPTY: (*_NEED_STATISTICS, *_NEED_MORE)}
CASES: Final = [(name, known) for name in STATEMENTS for known in _EXCEPT if name not in _EXCEPT[known]]


class World(NamedTuple):
    """The rows that the statements are about."""

    wallet: Any
    locker: Any
    # Holds a tenth of the coins; has claims that wait for other coins; ended, and has a receipt; ended before it.
    running: Any
    waiting: Any
    later: Any
    earlier: Any
    # Of coins in the running task, in the locker, and free.
    ids: list[Any]
    denominations: list[int]
    serial_numbers: list[int]
    changed_at: Any


# 10,000 coins of the running task, then 10,000 in the locker, then free ones.
_FILL: Final = """
INSERT INTO lockers_coin (id, wallet_id, denomination, serial_number, state, origin, pown, secrets, outcome, releasing,
                          task_id, batch, locker_id)
SELECT gen_random_uuid(), %(wallet)s, number %% 10 - 5, number, CASE WHEN is_stored THEN 'locked' ELSE 'bank' END,
       'import', repeat('p', 25), repeat('x', 429)::bytea, CASE WHEN is_of_task THEN repeat('-', 25) ELSE '' END, false,
       CASE WHEN is_of_task THEN %(task)s::uuid END, CASE WHEN is_of_task THEN number / 100 END,
       CASE WHEN is_stored THEN %(locker)s::uuid END
  FROM generate_series(0, %(coins)s - 1) AS number,
       LATERAL (SELECT number < %(of_task)s AS is_of_task, number / %(of_task)s = 1 AS is_stored) AS part
"""
_WAIT: Final = """
INSERT INTO lockers_coin (id, wallet_id, denomination, serial_number, state, origin, pown, secrets, proposed, outcome,
                          releasing, task_id, batch)
SELECT gen_random_uuid(), %(wallet)s, number %% 10 - 5, number, 'waiting', 'take', repeat('u', 25), 'x', 'x',
       repeat('-', 25), false, %(task)s, -1
  FROM generate_series(2 * %(of_task)s, 3 * %(of_task)s - 1) AS number
"""
_RECEIPT: Final = """
INSERT INTO lockers_receiptline (task_id, denomination, serial_number, pown, state)
SELECT %(receipt)s, denomination, serial_number, pown, %(state)s FROM lockers_coin WHERE task_id = %(task)s
"""
_NAMED: Final = """
SELECT id, denomination, serial_number, changed_at FROM lockers_coin
 WHERE serial_number %% %(of_task)s < %(named)s AND serial_number < 3 * %(of_task)s AND wallet_id = %(wallet)s
 ORDER BY serial_number
"""


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    with django_db_blocker.unblock():
        try:
            wallet, other = (wallets.create_wallet(name=name, password="") for name in ("rich", "other"))
            running, waiting, later, earlier = (post(wallet, 1) for _ in range(4))
            locker = Locker.objects.create(wallet=wallet, amount=1, code=b"", state="filled")
            LockerTask.objects.filter(pk__in=[running.pk, waiting.pk]).update(
                state="running", progress=0, finished_at=None
            )
            values = {"wallet": wallet.pk, "locker": locker.pk, "coins": COINS, "of_task": OF_TASK, "named": NAMED}
            with connection.cursor() as cursor:
                cursor.execute(_FILL, values | {"task": running.pk})
                cursor.execute(_WAIT, values | {"wallet": other.pk, "task": waiting.pk})
                for task, state in ((later, "bank"), (earlier, "limbo")):
                    cursor.execute(_RECEIPT, {"task": running.pk, "receipt": task.pk, "state": state})
                cursor.execute("VACUUM ANALYZE lockers_coin, lockers_receiptline, lockers_lockertask")
                cursor.execute(_NAMED, values)
                ids, denominations, numbers, changed = map(list, zip(*cursor.fetchall(), strict=True))
            tasks = (each.pk for each in (running, waiting, later, earlier))
            yield World(wallet.pk, locker.pk, *tasks, ids, denominations, numbers, changed[0])
        finally:
            # Events too, which no foreign key ties to their wallet.
            empty_tables()


def values_of(name: str, statement: str, types: list[str], world: World) -> list[Any]:
    """Return values for the parameters of a statement, with which it concerns as many rows as it can."""
    named = len(world.ids)
    by_type: dict[str, Any] = {
        "uuid": world.running,
        "text": "-" * 25,
        "character varying": "p" * 25,
        "boolean": False,
        "integer": 1,
        "bigint": 1,
        "smallint": 1,
        "double precision": 1.0,
        "timestamp with time zone": world.changed_at,
        "uuid[]": world.ids,
        "smallint[]": world.denominations,
        "bigint[]": world.serial_numbers,
        "integer[]": [1] * named,
        "text[]": ["p" * 25] * named,
        "bytea[]": [b"x" * 429] * named,
        "boolean[]": [False] * named,
        "timestamp with time zone[]": [world.changed_at] * named,
    }
    spendable = [str(state) for state in SPENDABLE]
    by_name: dict[str, Any] = {
        "wallet": world.wallet,
        "later": world.later,
        "state": "bank",
        "origin": "take",
        "step": None,
        "message": None,
    }
    match name.partition(":")[0]:
        case "competing_claims._DROP" | "competing_claims._PROMOTE":
            by_name |= {"task": world.waiting, "size": NAMED}
        case "competing_claims._INSERT_INCOMING" | "competing_claims._INSERT_WAITING":
            by_name["ids"] = [uuid4() for _ in range(named)]
        case "current_results._FOLLOW":
            by_name["earlier"] = [world.earlier]
        case "current_results._NOW" | "current_results._LINES" | "current_results._ON_FEWER":
            by_name["task"] = world.earlier
        case "worker.settle_coins._SETTLE_COINS":
            by_name["before"] = [str(state) for state in may_have_been(CoinState.BANK)]
        case "worker.settle_coins._SETTLE_KINDS":
            kind = {"is_put": False, "state": "bank", "pown": "p" * 25, "outcome": "-" * 25, "releasing": False}
            by_name |= {f"of_{column}": [value] for column, value in kind.items()} | {"of_origin": ["import"]}
            by_name |= {"before": spendable, "powns": ["p" * 25], "shown": ["p" * 25], "batch": 0}
        case "worker.task_store._MARKED":
            by_name |= {"marks": ["-" * 25] * named, "attempt": 0, "attempts": [], "told": [], "coverings": []}
    positional: dict[str, list[Any]] = {
        "delivery._HAND_OVER": [world.wallet, world.ids, world.wallet, None, spendable],
        "delivery._WRITE_OUT": [world.running, world.ids, world.wallet, None, spendable],
        "operations.reserve._LOCK_FREE": [list(range(-5, 5)), [NAMED] * 10, world.wallet],
        "operations.reserve.reserve_coins:1": [
            world.running, None, "-" * 25, NAMED, world.ids[-NAMED:],
        ],
        "restore.doubt_tasks_in_flight:1": ["running"],
        "retry_plan._WHO_ASKS": [world.earlier],
        "worker.finalize._settle_lockers:1": [[world.locker]],
        "worker.late_answers._ARRIVED": [
            world.ids, *([[text] * named for text in ("p" * 25, "p" * 25, "bank")]), *([[b"x" * 429] * named] * 3),
            world.changed_at,
        ],
        "worker.late_answers._write_receipt:1": [
            world.denominations, world.serial_numbers, ["p" * 25] * named, world.later,
        ],
        "worker.task_store._update_marks:1": [world.ids, ["-" * 25] * named, world.running],
    }  # fmt: skip
    if name in positional:
        return positional[name]
    _, names = numbered(statement)
    if not names:
        return [by_type[each] for each in types]
    return [by_name[each] if each in by_name else by_type[type_] for each, type_ in zip(names, types, strict=True)]


def steps(plan: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Return each step of a plan that ran, and how many rows it read or compared, in all its loops."""
    removed = sum(value for key, value in plan.items() if key.startswith("Rows Removed by"))
    yield plan["Node Type"], (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    for below in plan.get("Plans", ()):
        yield from steps(below)


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "known"), CASES)
def test_no_step_compares_each_coin_with_each(world: World, name: str, known: str) -> None:
    statement = STATEMENTS[name]
    with connection.cursor() as cursor:
        if known == NONE:
            delete_statistics("starelid::regclass::text LIKE 'lockers_%'")
            cursor.execute(
                "UPDATE pg_class SET reltuples = -1, relpages = 0, relallvisible = 0 WHERE relname LIKE 'lockers_%'"
            )
        elif known == EMPTY:
            forget_statistics()
        cursor.execute("DEALLOCATE ALL")
        cursor.execute(f"PREPARE walked AS {numbered(statement)[0].decode()}")
        cursor.execute("SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'walked'")
        types = cursor.fetchone()[0]
        values = values_of(name, statement, types, world)
        given = psycopg.ClientCursor(connection.connection).mogrify(", ".join(f"%s::{each}" for each in types), values)
        # A statement with a long list is never prepared (`config.postgresql.base`).
        is_planned_anew = any(isinstance(value, list) and len(value) > 100 for value in values)
        for mode in ("force_custom_plan",) if is_planned_anew else ("force_custom_plan", "force_generic_plan"):
            cursor.execute("SAVEPOINT walk")
            cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE walked ({given})")
            (plan,) = cursor.fetchone()[0]
            cursor.execute("ROLLBACK TO walk")
            too_many = {step: rows for step, rows in steps(plan["Plan"]) if rows > MOST_ROWS}
            assert not too_many, (mode, json.dumps(plan, indent=1)[:6000])


@pytest.mark.django_db
def test_what_is_left_in_an_expired_locker_is_found_by_indexes(world: World) -> None:
    left = competing_claims.unclaimed(Coin.objects.filter(locker=world.locker, state=CoinState.LOCKED)).order_by("id")

    (plan,) = json.loads(left.explain(format="json", analyze=True, timing=False))

    assert not {step: rows for step, rows in steps(plan["Plan"]) if rows > MOST_ROWS}, json.dumps(plan, indent=1)[:6000]
