"""
What each statement of some modules reads in large tables, whatever the statistics say.

`LargeTables` are rows of models, written without triggers. `Walk` executes every statement of a block with `EXPLAIN
ANALYZE` before it is executed, planned for its values and, if it may be prepared, for any values; and records which
lines of the modules were executed, so that `missed` finds a line with a statement that the block did not reach.
"""

import ast
import inspect
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final, NamedTuple

import psycopg
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from psycopg.adapt import PyFormat, Transformer

from config.postgresql.base import bound, numbered
from tests.support.statement_work import delete_statistics

# What the planner knows: the truth, nothing, or that the tables are almost empty.
TRUE, NONE, EMPTY = "true", "none", "empty"
KNOWN: Final = (TRUE, NONE, EMPTY)
# Rows that the nodes of a plan return or filter out in all: each of a few hundred rows is looked up some times.
MOST_ROWS: Final = 4_000

_STATEMENTS: Final = frozenset({"WITH", "SELECT", "INSERT", "UPDATE", "DELETE"})
# A statement with a longer list is never prepared (`config.postgresql.base`).
_PREPARED_LIST: Final = 100
_NUMBERS: Final = itertools.count(1)
# Less than what a sequential scan costs with `enable_seqscan` off.
_DISABLED_COST: Final = 1e9
# An execution that takes longer is cancelled, and counts as one that reads everything.
_LONGEST: Final = "5s"
_ENDLESS: Final = 10**9
# Attributes by which code reads or writes rows.
_DATABASE: Final = frozenset(
    {"objects", "_base_manager", "execute", "executemany", "save", "refresh_from_db", "bulk_create"}
)  # fmt: skip


def fill(model: type[models.Model], count: int, **columns: str) -> None:
    """
    Write rows of a model without triggers and foreign keys. A column is given as SQL about `n`, from 0 to `count` - 1;
    others have their default in the database, or a value of their type.
    """
    texts = {}
    for field in model._meta.concrete_fields:
        given = columns.pop(field.attname, None) or columns.pop(str(field.column), None)
        if given is not None:
            texts[str(field.column)] = given
        elif not field.null and not field.has_db_default() and not getattr(field, "generated", False):
            texts[str(field.column)] = _value(field)
    assert not columns, f"{model.__name__} has no {', '.join(columns)}"
    names, values = ", ".join(map(connection.ops.quote_name, texts)), ", ".join(texts.values())
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({names})"
            f" SELECT {values} FROM generate_series(0, {count} - 1) AS n ON CONFLICT DO NOTHING"
        )
        cursor.execute("SET session_replication_role = DEFAULT")


def uuid_of(kind: int) -> str:
    """Return the SQL of the id of row `n`: the same for each `kind`, with its bits spread as those of a random one."""
    return f"md5('{kind} ' || n)::uuid"


def _value(field: "models.Field[Any, Any]") -> str:
    """Return SQL of a value of the type of a column."""
    match (field.db_type(connection) or "").partition("(")[0] if not isinstance(field, ArrayField) else "[]":
        case "uuid":
            return "gen_random_uuid()"
        case "timestamp with time zone":
            return "now() - n * interval '1 second'"
        case "date":
            return "current_date"
        case "boolean":
            return "false"
        case "bytea":
            return "decode(md5('' || n), 'hex')"
        case "jsonb":
            return "'{}'"
        case "varchar" | "text" | "character varying":
            return "''"
        case "inet":
            return "'127.0.0.1'"
        case "smallint" | "double precision" | "interval" | "numeric":
            return "'0'"
        case text if text.endswith("[]"):
            return "'{}'"
    return "n"


def know(known: str) -> None:
    """
    Let the planner know the truth, nothing, or what `ANALYZE` leaves of a table with a row on its one page, until the
    transaction ends. PostgreSQL multiplies the rows of a page by the pages that a table has now.
    """
    if known == TRUE:
        return
    with connection.cursor() as cursor:
        delete_statistics("starelid >= 16384")
        cursor.execute(
            "UPDATE pg_class SET reltuples = %s, relpages = %s, relallvisible = 0"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')",
            [-1, 0] if known == NONE else [1, 1],
        )


class Work(NamedTuple):
    """What one execution of a statement read: rows that the nodes of the plan returned or filtered out, and blocks."""

    name: str
    sql: str
    is_generic: bool
    rows: int
    blocks: int
    plan: Any
    most: float

    @property
    def is_too_much(self) -> bool:
        """Whether it read many rows, or much of an index to find few."""
        # PostgreSQL chooses a plan for any values if it costs no more than planning anew, so never with such a scan.
        if self.most == math.inf or (self.is_generic and self.plan and _has_disabled_scan(self.plan)):
            return False
        return self.rows > self.most or any(map(_is_wasteful, _nodes(self.plan))) if self.plan else True

    def __str__(self) -> str:
        how = "any values" if self.is_generic else "its values"
        return f"{self.name}: {self.rows} rows, {self.blocks} blocks, planned for {how}:\n{self.sql}\n" + "\n".join(
            lines_of(self.plan) if self.plan else ["it did not end"]
        )


def lines_of(plan: Any, depth: int = 0) -> Iterator[str]:
    """Return a plan with its rows, a line for each node."""
    of = " ".join(str(plan[key]) for key in ("Index Name", "Relation Name", "CTE Name") if key in plan)
    numbers = f"rows={_node_rows(plan)} loops={plan['Actual Loops']} blocks={_blocks(plan)}"
    yield f"{'  ' * depth}{plan['Node Type']} {of} {numbers}{' (!)' if _is_wasteful(plan) else ''}"
    for below in plan.get("Plans", ()):
        yield from lines_of(below, depth + 1)


def _node_rows(node: Any) -> int:
    filtered = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    return int((node["Actual Rows"] + filtered) * node["Actual Loops"])


def _has_disabled_scan(plan: Any) -> bool:
    # PostgreSQL 18 names these nodes; earlier versions give them a cost.
    return plan["Total Cost"] > _DISABLED_COST or any(node.get("Disabled", False) for node in _nodes(plan))


def _nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _is_wasteful(node: Any) -> bool:
    """Return whether a scan of an index read many more blocks than it returned or filtered out rows."""
    if "Index" not in node["Node Type"] or not node["Actual Loops"]:
        return False
    return _blocks(node) > 80 * int(node["Actual Loops"]) + 5 * _node_rows(node)


def rows_of(node: Any) -> int:
    """Return how many rows the nodes of a plan returned or filtered out."""
    return _node_rows(node) + sum(map(rows_of, node.get("Plans", ())))


class Walk:
    """The statements that were executed, and the lines of the modules that were."""

    def __init__(self, *modules: ModuleType) -> None:
        self._sites = {Path(inspect.getfile(module)).as_posix(): module.__name__ for module in modules}
        self._reached: set[tuple[str, int]] = set()
        self.works: list[Work] = []
        self._name = ""
        self._most: float = MOST_ROWS

    @contextmanager
    def step(self, name: str, *, most: float = MOST_ROWS, whole: str = "") -> Iterator[None]:
        """
        Measure the statements of the block, by this name. What it writes is undone. `whole` says why they may read
        a table, or all rows of a wallet; otherwise each handles at most `most` rows.
        """
        self._name, self._most = name, math.inf if whole else most
        before = sys.gettrace()
        with connection.cursor() as cursor:
            cursor.execute("SAVEPOINT step")
        sys.settrace(self._trace)
        try:
            with connection.execute_wrapper(self._measure):
                yield
        finally:
            sys.settrace(before)
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK TO SAVEPOINT step")

    def too_much(self) -> list[str]:
        """Return the statements that read too much, each once, in words."""
        found = {(each.name, each.sql): str(each) for each in self.works if each.is_too_much}
        return list(found.values())

    def missed(self, *, except_: Sequence[str] = ()) -> list[str]:
        """Return the places of the modules that read or write rows and were not reached."""
        return [
            f"{name}.{function}:{line}"
            for path, name in self._sites.items()
            for function, line in places(path)
            if (path, line) not in self._reached and f"{name}.{function}" not in except_
        ]

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._trace_lines if frame.f_code.co_filename in self._sites else None

    def _trace_lines(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self._reached.add((frame.f_code.co_filename, frame.f_lineno))
        return self._trace_lines

    def _measure(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        words = sql.split(maxsplit=1) if not sql.lstrip().startswith("--") else ["WITH"]
        if words[0].lstrip("(") in _STATEMENTS and not many:
            tracing = sys.gettrace()
            sys.settrace(None)
            try:
                self.works += explained(self._name, sql, params, most=self._most)
            finally:
                sys.settrace(tracing)
        return execute(sql, params, many, context)


def explained(name: str, sql: str, params: Any, *, most: float) -> Iterator[Work]:
    """Execute a statement, planned for its values and, if it may be prepared, for any values. Each is undone."""
    statement, values = bound(sql, params)
    values = [] if values is None else [list(each) if isinstance(each, list) else each for each in values]
    text = statement.decode() if isinstance(statement, bytes) else numbered(statement)[0].decode()
    raw = connection.connection.cursor()
    transformer = Transformer(connection.connection)
    transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
    types = ", ".join(_type_name(raw, oid) for oid in transformer.types or ())
    is_planned_anew = any(isinstance(value, list) and len(value) > _PREPARED_LIST for value in values)
    for is_generic in (False,) if is_planned_anew or not values else (False, True):
        work = _executed(name, text, types, values, is_generic=is_generic, most=most)
        if work.is_too_much and work.plan:
            # An index may have entries of rows that earlier steps wrote and undid. The first scan marks them.
            work = _executed(name, text, types, values, is_generic=is_generic, most=most)
        yield work


def _executed(name: str, text: str, types: str, values: Any, *, is_generic: bool, most: float) -> Work:
    raw = connection.connection.cursor()
    # psycopg may deallocate all statements after a rollback, so each execution has its own.
    walked = f"walked_{next(_NUMBERS)}"
    raw.execute("SAVEPOINT explained")
    raw.execute(f"PREPARE {walked} {f'({types})' if types else ''} AS {text}", prepare=False)
    given = ""
    if values:
        raw.execute("SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = $1", [walked])
        casts = ", ".join(f"%s::{each}" for each in raw.fetchone()[0])
        given = f"({psycopg.ClientCursor(connection.connection).mogrify(casts, values)})"
    raw.execute(f"SET LOCAL plan_cache_mode = {'force_generic_plan' if is_generic else 'force_custom_plan'}")
    raw.execute(f"SET LOCAL statement_timeout = '{_LONGEST}'")
    try:
        raw.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE {walked}{given}", prepare=False)
    except psycopg.errors.QueryCanceled:
        return Work(name, text, is_generic, _ENDLESS, _ENDLESS, {}, most)
    else:
        (plan,) = (each["Plan"] for each in _json(raw.fetchone()[0]))
        return Work(name, text, is_generic, rows_of(plan), _blocks(plan), plan, most)
    finally:
        raw.execute("ROLLBACK TO SAVEPOINT explained")


def _blocks(node: Any) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def _type_name(raw: Any, oid: int) -> str:
    if oid == 0:
        return "unknown"
    raw.execute("SELECT $1::oid::regtype::text", [oid])
    return str(raw.fetchone()[0])


@cache
def places(path: str) -> list[tuple[str, int]]:
    """Return where a module reads or writes rows: the function, and the first line of the statement."""
    found = set()

    def walk(node: ast.AST, function: str, statement: ast.stmt | None) -> None:
        if isinstance(node, ast.stmt):
            statement = node
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}" if function else node.name
        if isinstance(node, ast.Attribute) and node.attr in _DATABASE and function and statement is not None:
            found.add((function, statement.lineno))
        for below in ast.iter_child_nodes(node):
            walk(below, function, statement)

    walk(ast.parse(Path(path).read_text()), "", None)
    return sorted(found, key=lambda each: each[1])


def _json(found: Any) -> Any:
    return json.loads(found) if isinstance(found, str) else found
