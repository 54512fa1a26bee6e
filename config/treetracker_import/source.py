"""Reading the database of a wallet service: one snapshot, nothing written, whatever the edition."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.conninfo import conninfo_to_dict

from config.treetracker_import.editions import API_KEY, COPIED, TOKEN, TRANSACTION, TRANSFER, TRUST, WALLET, Table

# Where the tables lie: in production, and in a bare development database.
SCHEMAS: Final = ("wallet", "public")
_KEYS_AT_ONCE: Final = 1_000


class UnreadableSource(Exception):
    """The source cannot be read; the message says why and repeats no password."""


@dataclass(frozen=True)
class Source:
    """An open snapshot of the source."""

    connection: "psycopg.Connection[tuple[Any, ...]]"
    name: str
    schema: str
    # By table, the type of each column that this edition has.
    columns: dict[str, dict[str, str]]
    snapshot_at: datetime

    def has(self, table: Table) -> bool:
        """Return whether this edition has the table."""
        return table.name in self.columns

    @property
    def edition(self) -> str:
        """What the columns say about the version."""
        wallet = self.columns["wallet"]
        if "keycloak_account_id" in wallet:
            return "Keycloak edition"
        if "claim" in self.columns["token"]:
            return "1.45"
        return "1.10.25" if "created_at" in wallet and "about" in wallet else "1.10.3"

    def count(self, table: Table, condition: sql.Composable) -> int:
        """Return the number of rows that `copy` would yield."""
        if not self.has(table):
            return 0
        row = self.connection.execute(
            sql.SQL("SELECT count(*) FROM {} {}").format(sql.Identifier(self.schema, table.name), condition)
        ).fetchone()
        return int(row[0]) if row else 0

    def condition(self, table: Table, *, since: datetime | None, open_ids: Sequence[UUID]) -> sql.Composable:
        """Return the SQL of a WHERE: all rows, or those that can be new since a time."""
        if since is None or not table.since:
            return sql.SQL("")
        # Times without a zone are UTC.
        moment = sql.SQL("{}::timestamp").format(sql.Literal(since.strftime("%Y-%m-%d %H:%M:%S.%f")))
        condition = sql.SQL(table.since).format(
            since=moment, open=sql.Literal(list(open_ids)), schema=sql.Identifier(self.schema)
        )
        return sql.SQL("WHERE {}").format(condition)

    def select(self, table: Table, condition: sql.Composable) -> sql.Composed:
        """Return the SQL of the rows, with all columns of `table` in their order."""
        found = self.columns[table.name]
        expressions = []
        for column in table.columns:
            if column.name not in found:
                expressions.append(sql.SQL("({})::{}").format(sql.SQL(column.default or "NULL"), sql.SQL(column.type)))
            elif column.type == "timestamptz" and found[column.name] == "timestamp without time zone":
                expressions.append(sql.SQL("{} AT TIME ZONE 'UTC'").format(sql.Identifier(column.name)))
            else:
                # Types of the source (its enumerations) are read as text.
                expressions.append(sql.SQL("{}::{}").format(sql.Identifier(column.name), sql.SQL(column.type)))
        return sql.SQL("SELECT {} FROM {} {}").format(
            sql.SQL(", ").join(expressions), sql.Identifier(self.schema, table.name), condition
        )

    def copy(self, table: Table, condition: sql.Composable) -> Iterator[bytes]:
        """Yield the rows in the text format of COPY, some kilobytes at once."""
        statement = sql.SQL("COPY ({}) TO STDOUT").format(self.select(table, condition))
        with self.connection.cursor() as cursor, cursor.copy(statement) as copied:
            for block in copied:
                yield bytes(block)

    def api_keys(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the API keys in the order in which the service finds them."""
        if not self.has(API_KEY):
            return
        statement = self.select(API_KEY, sql.SQL("ORDER BY ctid"))
        with self.connection.cursor(name="api_keys") as cursor:
            cursor.itersize = _KEYS_AT_ONCE
            yield from cursor.execute(statement)


@contextmanager
def opened(dsn: str, *, schema: str | None = None) -> Iterator[Source]:
    """
    Open a read-only snapshot of the source.

    `schema` is where its tables lie; by default the first of `SCHEMAS` that holds a table `wallet`.

    :raises UnreadableSource: no such database, or it holds no wallet service
    """
    try:
        given = conninfo_to_dict(dsn)
        # Settings of the shell do not apply: an empty text keeps libpq from sending PGOPTIONS.
        own = given.get("options", "")
        connection = psycopg.connect(dsn, options=own, connect_timeout=10)
    except psycopg.ProgrammingError:
        # libpq's message repeats the part that it cannot parse, which may belong to the password.
        raise UnreadableSource("The DSN is not a URL or a list of settings that libpq understands.") from None
    except psycopg.Error as error:
        # libpq writes a line for each address that it tried.
        raise UnreadableSource("The source does not answer: " + " ".join(str(error).split())) from error
    with connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        for setting in (
            "statement_timeout = 0",
            "idle_in_transaction_session_timeout = 0",
            "TimeZone = 'UTC'",
            "DateStyle = 'ISO'",
            "client_encoding = 'UTF8'",
            # A policy that hides rows from this role is an error, not a smaller service.
            "row_security = off",
        ):
            connection.execute(f"SET LOCAL {setting}")
        row = connection.execute("SELECT now(), current_database()").fetchone()
        if row is None:
            raise UnreadableSource("The source does not answer.")
        place = schema or _schema(connection)
        columns = _columns(connection, place)
        _check(columns, place, _locked(connection, place))
        host = given.get("host") or connection.info.host
        name = f"{host}:{connection.info.port}/{row[1]}" if not str(host).startswith("/") else f"{host}/{row[1]}"
        try:
            yield Source(connection, name, place, columns, row[0])
        finally:
            # A source that has ended the connection has ended its transaction.
            with suppress(psycopg.Error):
                connection.rollback()


def _schema(connection: "psycopg.Connection[tuple[Any, ...]]") -> str:
    for schema in SCHEMAS:
        if "wallet" in _columns(connection, schema) or "wallet" in _locked(connection, schema):
            return schema
    raise UnreadableSource(f"No table wallet in the schemas {' and '.join(SCHEMAS)}: name the schema with --schema.")


def _columns(connection: "psycopg.Connection[tuple[Any, ...]]", schema: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table, column, type_ in connection.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = %s", [schema]
    ):
        found.setdefault(table, {})[column] = type_
    return found


def _locked(connection: "psycopg.Connection[tuple[Any, ...]]", schema: str) -> set[str]:
    """Return the tables that this role may not read whole."""
    return {
        name
        for (name,) in connection.execute(
            "SELECT relname FROM pg_class JOIN pg_namespace AS place ON place.oid = relnamespace"
            " WHERE nspname = %s AND relkind IN ('r', 'p', 'v', 'm', 'f')"
            "   AND NOT (has_table_privilege(pg_class.oid, 'SELECT') AND has_schema_privilege(place.oid, 'USAGE'))",
            [schema],
        )
    }


def _check(columns: dict[str, dict[str, str]], schema: str, locked: set[str]) -> None:
    for table in (*COPIED, API_KEY):
        # One that an edition may lack is not taken for absent.
        if table.name in locked:
            raise UnreadableSource(f"This role may not read the table {schema}.{table.name}.")
    for table in (WALLET, TOKEN, TRANSFER, TRANSACTION, TRUST):
        if table.name not in columns:
            raise UnreadableSource(f"The schema {schema} has no table {table.name}.")
    for table in (*COPIED, API_KEY):
        for column in table.columns:
            if table.name in columns and column.default is None and column.name not in columns[table.name]:
                raise UnreadableSource(f"The table {schema}.{table.name} has no column {column.name}.")
