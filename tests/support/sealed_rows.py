"""Rows of every table that is sealed, written past the triggers, and changes of their columns."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection, models

from lockers.models import StatementLine
from lockers.states import LineType
from transfers.models import Issue, Movement, Transfer, TransferTerms
from trusts.models import TrustChange

# Each model of which rows are sealed, with the names of its tables in a seal.
SEALED: Final[dict[type[models.Model], tuple[str, ...]]] = {
    Transfer: ("transfer", "request", "approval"),
    TransferTerms: ("terms",),
    Movement: ("movement",),
    Issue: ("issue",),
    TrustChange: ("trust_change",),
    StatementLine: ("statement_line",),
}
# A value for each type of a column, no NULL, and another one.
_VALUES: Final = {
    "uuid": ("gen_random_uuid()", "gen_random_uuid()"),
    "varchar": ("'Aa'", "'x' || substr({column}, 2)"),
    "bool": ("true", "NOT {column}"),
    "int2": ("7", "{column} + 100"),
    "int4": ("7", "{column} + 100"),
    "int8": ("7", "{column} + 100"),
    "numeric": ("12345678901234567890123", "{column} + 100"),
    "timestamptz": ("'2026-01-02 03:04:05.678901+00'", "{column} + interval '1 microsecond'"),
    "jsonb": ("""'{"a": "b"}'""", """'{"a": "c"}'"""),
    "bytea": (r"'\x00'", r"set_byte({column}, 0, get_byte({column}, 0) # 1)"),
}
_SEQUENCES: Final = {
    "transfers_transfer": "wallets_event_number",
    "transfers_movement": "transfers_arrival",
    "transfers_issue": "transfers_issue_id_seq",
    "trusts_trustchange": "trusts_trustchange_id_seq",
    "lockers_statementline": "lockers_statementline_id_seq",
}


@contextmanager
def past_triggers() -> Iterator[None]:
    """Turn triggers and foreign keys off in the block."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield
        cursor.execute("SET LOCAL session_replication_role = origin")


def columns(model: type[models.Model]) -> dict[str, str]:
    """Return the columns of a table and their types, as the database has them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, udt_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position",
            [model._meta.db_table],
        )
        return dict(cursor.fetchall())


def another(column: str, kind: str) -> str:
    """Return the SQL of another value of a column."""
    return _VALUES[kind][1].replace("{column}", column)


def key_of(model: type[models.Model]) -> str:
    """Return the column by which the rows of a sealed table are ordered."""
    return {Transfer: "number", TransferTerms: "transfer_number"}.get(model, "id")


def plant(model: type[models.Model], **values: str) -> int:
    """Insert a row with a value in each column and the next key, and return the key. `values` are SQL by column."""
    kinds = columns(model)
    key = key_of(model)
    if sequence := _SEQUENCES.get(model._meta.db_table):
        values = {key: f"nextval('{sequence}')", **values}
    row = {column: values.get(column, _VALUES[kind][0]) for column, kind in kinds.items()}
    with past_triggers(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({', '.join(row)}) VALUES ({', '.join(row.values())}) RETURNING {key}"
        )
        return int(cursor.fetchone()[0])


def plant_all() -> dict[str, int]:
    """
    Plant rows of every kind, and return the key of the last of each, by the name of its table in a seal.

    The transfer "request" is open. The key below each is not used.
    """
    keys: dict[str, int] = {}
    for _ in range(2):
        for sequence in _SEQUENCES.values():
            execute("SELECT nextval(%s)", sequence)
        for model, (name, *_names) in SEALED.items():
            closed = {"state": "'completed'"} if model is Transfer else {}
            named = {"transfer_number": str(keys["transfer"])} if model is TransferTerms else {}
            unique = {"number": "(random() * 1e9)::int"} if model in {Movement, StatementLine} else {}
            known = {"type": f"'{next(iter(LineType))}'"} if model is StatementLine else {}
            keys[name] = plant(model, **closed, **named, **unique, **known)
    keys["approval"] = keys["transfer"]
    keys["request"] = plant(Transfer, state="'pending'")
    return keys


def execute(statement: str, *parameters: Any) -> list[Any]:
    """Execute a statement past the triggers, and return its rows."""
    with past_triggers(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def drop_checks() -> None:
    """Drop what else the database checks of sealed rows. The caller's transaction is rolled back."""
    tables = [model._meta.db_table for model in SEALED]
    for table, name in execute(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint"
        " WHERE contype = 'c' AND conrelid::regclass::text = ANY (%s)",
        tables,
    ):
        execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
