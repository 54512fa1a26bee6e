"""Each SQL file of a query is planned against the schema, each Lua file compiled, and each is used."""

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.conf import settings
from django.db import connection

from config.postgresql.base import numbered
from config.treetracker_import import findings, staging
from transfers import audit as transfer_audit
from transfers import balances, ledger, list_counts, queries
from wallets import event_sequence, redis_servers
from wallets import queries as wallet_queries
from wallets.sql_files import load

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("config", "lockers", "transfers", "trusts", "wallets", "webhooks")
# Files of statements, of their parts, and of scripts. Those of the schema are run by migrations.
STATEMENTS: Final = sorted(
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("sql/**/*.sql")
    if path.parent.name not in {"parts", "schema"}
)
PARTS: Final = sorted(
    path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("sql/parts/*.sql")
)
SCRIPTS: Final = sorted(
    path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.lua")
)
# What `sha256sum` prints of each file of the schema.
DIGESTS: Final = ROOT / "tests/config/data/schema_files.sha256"
_PLACE: Final = re.compile(r"\{(\w+)\}")


def text_of(path: str) -> str:
    app, _, name = path.removesuffix(".sql").partition("/sql/")
    return load(app, name)


def part(pattern: str) -> list[str]:
    return [text_of(path) for path in PARTS if re.search(pattern, path)]


# What may be inserted at each place of a statement: each part, or the like of what the code writes there.
INSERTED: Final = {
    **{rows: [transfer_audit._ALL[rows], transfer_audit._NEW[rows]] for rows in transfer_audit._ALL},
    "all_lines": part("/lines_of_all"),
    "answer_columns": [" "],
    "answer_join": [" "],
    "announced": [event_sequence.ANNOUNCED],
    "balance": [balances.balance_sql("asked.at")],
    "bearers": [wallet_queries._BEARER["bearers"]],
    "is_valid": [wallet_queries._BEARER["is_valid"]],
    "closing": [balances.balance_sql("ended.until")],
    "count": part(r"/count_\w+"),
    "created_at_json": [queries.CREATED_AT_JSON],
    "decision": [ledger._decision(ledger._OF_ONE, is_pending_only=False)],
    "decisions": [ledger._decision(ledger._OF_MANY, is_pending_only=False)],
    **{name: [transfer_audit._PARTS[name]] for name in ("detached_below", "detached_transfers", "detached_until")},
    "doubtful": ["('limbo')"],
    "groups": ["count(*)"],
    "has_transfers": part("/control_has_transfers"),
    "heads": ["SELECT 0 AS stream, 0::bigint AS number"],
    "is_duplicate": ["false::boolean"],
    "is_destination": [text.format("destination") for text in ledger._IS_PARTY.values()],
    "is_source": [text.format("source") for text in ledger._IS_PARTY.values()],
    "is_first": [text.replace("{is_held}", "other.state = 'bank'") for text in part("/claim_is_first")],
    "is_held": ["other.state = 'bank'"],
    "is_open": ["line.settled_by_id IS NULL"],
    "is_settled": ["other.locker_id IS NULL"],
    "json": [queries.new_transfer_json(terms="")],
    "key_columns": [" "],
    "lines": [balances.lines_sql("period.page_start", "period.page_end")],
    "new": part("/coins_by_"),
    "opening": [balances.balance_sql("ended.start")],
    "page_balance": [balances.balance_sql("ended.page_start")],
    "parties": ["(0, 0)"],
    "payload": [queries.event_payload(state="transfer.state")],
    "reaches": ["SELECT 0::bigint AS number"],
    "released": part("/released"),
    "selection": part(r"/select_\w+"),
    "since": part("/outcomes_since"),
    "since_checkpoint": part("/since_checkpoint"),
    "state_as_created": [queries.STATE_AS_CREATED],
    "texts": ["about"],
    "usable": [findings.USABLE],
    "values": ["''"],
    # The terms of a transfer go together: tests/transfers/test_terms.py executes them.
    **{
        key: [" "]
        for key in (
            "has_terms",
            "reference",
            "references",
            "terms_columns",
            "terms_returned",
            "terms_stored",
            "terms_values",
        )
    },
    "visible": part("/visible_up_to"),
    "waiting": part("/waiting"),
    "span": [str(list_counts.SPAN)],
    "wallet_days": part("/wallet_days"),
    "stored": [" ", *(f"{text}, " for text in part("/store_result"))],
}


def statements(path: str) -> list[str]:
    """The statement of the file; with places, one for each part that may be inserted at one of them."""
    text = text_of(path)
    places = set(_PLACE.findall(text))
    usual = {place: INSERTED[place][0] for place in places}
    chosen = [usual, *(usual | {place: other} for place in places for other in INSERTED[place][1:])]
    return [_PLACE.sub(lambda found, each=each: each[found[1]], text) for each in chosen]


@pytest.mark.django_db
@pytest.mark.parametrize("path", STATEMENTS)
def test_each_statement_can_be_planned(path: Any) -> None:
    if path.startswith("config/treetracker_import/"):
        # They read the temporary tables of an import.
        staging.create()
    for statement in statements(path):
        sql, _ = numbered(statement.rstrip().removesuffix(";"))
        with connection.cursor() as cursor:
            # A plan for all values: with NULL for each parameter, most of a statement would be planned away.
            cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            cursor.execute(f"PREPARE planned AS\n{sql.decode()}")
            cursor.execute("SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'planned'")
            values = ", ".join(["NULL"] * cursor.fetchone()[0])
            cursor.execute(f"EXPLAIN EXECUTE planned{f'({values})' if values else ''}")
            assert cursor.fetchall()
            cursor.execute("DEALLOCATE planned")


@pytest.mark.parametrize("path", SCRIPTS)
def test_each_script_compiles(path: Any) -> None:
    client = redis_servers.client(settings.REDIS_URL)

    assert client.script_load((ROOT / path).read_text())


# A lock of rows that waits for other transactions.
_LOCK: Final = re.compile(r"\bFOR (?:NO KEY )?UPDATE(?! OF \w+ SKIP LOCKED| SKIP LOCKED)")
_INNERMOST: Final = re.compile(r"\(([^()]*)\)")


def queries_of(statement: str) -> Iterator[str]:
    """Each query of a statement, without those within it."""
    while found := _INNERMOST.findall(statement):
        yield from found
        statement = _INNERMOST.sub("", statement)
    yield statement


def texts() -> Iterator[tuple[str, str]]:
    """Each statement, with its file: of SQL files, and in the code of modules."""
    yield from ((path, text_of(path)) for path in (*STATEMENTS, *PARTS))
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        if "migrations" not in path.parts and _LOCK.search(code := path.read_text()):
            constants = (node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant))
            yield from ((path.name, each) for each in constants if isinstance(each, str) and "SELECT" in each)


def test_a_lock_that_waits_is_taken_in_an_order() -> None:
    """Two statements that lock the same rows in different orders deadlock."""
    locking = [(file, each) for file, text in texts() for each in queries_of(text) if _LOCK.search(each)]

    assert len(locking) > 10
    assert [(file, each) for file, each in locking if "ORDER BY" not in each] == []


def test_rows_that_are_locked_and_limited_are_selected_once() -> None:
    """
    An array is computed once. A subquery after IN may run again; it then skips the rows that the statement has changed.

    Its LIMIT would not hold: the statement takes further rows.
    """
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in {".py", ".sql"}]
    found = {
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, place) + 1}"
        for path in sources
        for text in [path.read_text(encoding="utf-8")]
        for match in re.finditer("SKIP LOCKED", text)
        for place in [opening_bracket(text, match.start())]
        if re.search(r"\bIN\s*$", text[:place], re.IGNORECASE)
    }

    assert not found, "Write `= ANY (ARRAY(SELECT …))`"


def opening_bracket(text: str, end: int) -> int:
    """Return the position of the last bracket before `end` that is open there, or 0."""
    depth = 0
    for place in range(end - 1, 0, -1):
        depth += {")": 1, "(": -1}.get(text[place], 0)
        if depth < 0:
            return place
    return 0


def test_no_schema_file_changes_once_a_migration_has_run_it() -> None:
    """An installed database would keep the object of the old file, and only a new one would have the new object."""
    recorded = dict(reversed(line.split()) for line in DIGESTS.read_text().splitlines())
    found = {
        path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for package in PACKAGES
        for path in (ROOT / package).rglob("sql/schema/*.sql")
    }

    changed = sorted(path for path in found.keys() & recorded.keys() if found[path] != recorded[path])
    assert not changed, "A new migration replaces the object from a new file, <name>__2.sql"
    assert found.keys() == recorded.keys(), f"Append the output of sha256sum to {DIGESTS.relative_to(ROOT)}"


def test_each_file_is_used() -> None:
    """A file is named in the code of its package: "send" of `load("transfers", "send")`, "parts/decision", "spend"."""
    code = "\n".join(
        path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "tests" not in path.parts
    )
    named = set(re.findall(r"""["/](\w+)(?=["'])""", code))

    assert STATEMENTS
    assert [path for path in (*STATEMENTS, *PARTS, *SCRIPTS) if Path(path).stem not in named] == []
