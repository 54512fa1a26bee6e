"""
Django's PostgreSQL backend with cheaper placeholders, time values and health checks, without a time limit on the
statements of migrations, and with an error for each commit that a failover could lose.

tests/benchmarks/README.md has the measurements.
"""

import re
import select
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Final, Self

from django.db.backends.postgresql import base
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from psycopg import OperationalError, ProgrammingError, RawCursor
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.errors import Diagnostic, ReadOnlySqlTransaction
from psycopg.types.array import ListBinaryDumper

_PLACEHOLDER: Final = re.compile(r"%(?:%|s|\((\w+)\)([sb]))?")
# A longer statement, or one with more parameters, is generated and rarely comes twice.
_CACHED_CHARACTERS: Final = 16_384
_CACHED_PARAMETERS: Final = 50
# A statement with a longer list is planned for its values in each execution. A plan for any values takes each list for
# ten rows, and joins a thousand of them with a table, or with another list, by comparing each with each.
_PREPARED_LIST: Final = 100


class BinaryList(list[Any]):
    """A list whose elements are sent in the binary format: for `bytea[]` in a twentieth of the time."""


def numbered(query: str) -> tuple[bytes, dict[str, bool]]:
    """
    Replace the placeholders `%s`, `%(name)s` or `%(name)b` by PostgreSQL's `$1`, `$2` …, and `%%` by `%`.

    Returns the statement, and the names of its parameters in order, none for `%s`; the value of a name says whether
    the parameter is a list to be sent in the binary format (`b`).

    :raises psycopg.ProgrammingError: another character follows `%`, or both kinds of placeholders occur
    """
    names: dict[str, int] = {}
    binary: dict[str, bool] = {}
    positional = 0

    def number(found: re.Match[str]) -> str:
        nonlocal positional
        match found[0]:
            case "%%":
                return "%"
            case "%s":
                positional += 1
                return f"${positional}"
            case "%":
                raise ProgrammingError("a placeholder is %s, %(name)s or %(name)b; the operator % is written %%")
        binary[found[1]] = found[2] == "b"
        return f"${names.setdefault(found[1], len(names) + 1)}"

    text = _PLACEHOLDER.sub(number, query)
    if names and positional:
        raise ProgrammingError("placeholders have names or not, not both")
    return text.encode(), binary


_numbered_once = lru_cache(maxsize=512)(numbered)


def bound(query: Any, parameters: Any) -> tuple[Any, Any]:
    """
    Turn a statement and its parameters into what `RawCursor` takes. Anything other than text with parameters stays.

    :raises psycopg.ProgrammingError: a named parameter is missing, or see `numbered`
    """
    if parameters is None or not isinstance(query, str):
        return query, parameters
    is_cached = len(query) <= _CACHED_CHARACTERS and len(parameters) <= _CACHED_PARAMETERS
    statement, names = (_numbered_once if is_cached else numbered)(query)
    # A test for `Mapping` takes longer than all the rest.
    if not isinstance(parameters, dict):
        if names:
            raise ProgrammingError("named placeholders take a dictionary of parameters")
        return statement, parameters
    try:
        return statement, [
            BinaryList(parameters[name]) if is_binary else parameters[name] for name, is_binary in names.items()
        ]
    except KeyError as error:
        raise ProgrammingError(f"the parameter {error} is missing") from None


class Cursor(base.CursorMixin, RawCursor[Any]):
    """
    A cursor with parameters bound by the server, which remembers statements in PostgreSQL's form by their text.

    psycopg's own cursor converts a statement of more than 4,096 characters again in each execution, and encodes and
    hashes a shorter one. Here a statement that is a constant is found by the hash that Python keeps with it.
    """

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        statement, values = bound(query, params)
        for value in values or ():
            if isinstance(value, list) and len(value) > _PREPARED_LIST:
                options.setdefault("prepare", False)
        try:
            super().execute(statement, values, **options)
        except ReadOnlySqlTransaction:
            state_of(self.connection).is_read_only = True
            raise
        refuse_unreplicated(self.connection)
        return self

    def executemany(self, query: Any, params_seq: Iterable[Any], **options: Any) -> None:
        pairs = [bound(query, params) for params in params_seq]
        if pairs:
            super().executemany(pairs[0][0], [params for _, params in pairs], **options)
        refuse_unreplicated(self.connection)


class State:
    """What is known of a connection, as its attribute `coppice`, beside psycopg's own state."""

    # A statement was refused because the server, such as a demoted primary, is read-only.
    is_read_only = False
    # PostgreSQL gave up waiting for the synchronous standby, see `refuse_unreplicated`.
    is_unreplicated = False


def state_of(connection: Any) -> State:
    """Return the state of a connection; an empty one if it was opened without the wrapper."""
    found: State | None = getattr(connection, "coppice", None)
    return State() if found is None else found


def note(state: State, notice: Diagnostic) -> None:
    """Record the warning that a commit stopped waiting. No SQLSTATE identifies it, and its text is translated."""
    if notice.source_function == "SyncRepWaitForLSN":
        state.is_unreplicated = True


def refuse_unreplicated(connection: Any) -> None:
    """
    Raise an error if a commit on this connection did not reach the synchronous standby.

    If the wait of a commit is cancelled, PostgreSQL keeps the change, warns, and reports success. The change would be
    lost in a failover, so to the caller its outcome is unknown, as if the connection had been lost.

    :raises psycopg.OperationalError: without an SQLSTATE, as after a lost connection
    """
    state = state_of(connection)
    if state.is_unreplicated:
        state.is_unreplicated = False
        raise OperationalError("the commit did not reach the synchronous standby")


class TimeLoader(Loader):
    """
    Loads `timestamptz` in UTC, as Django wants it. Sessions are in UTC, so the text ends in `+00`.

    Django's own loader uses a regular expression and takes ten times as long; a list has 200 such values.
    """

    # Django compares it with the time zone of the connection.
    timezone = UTC

    def load(self, data: Buffer) -> datetime:
        return datetime.fromisoformat(bytes(data).decode())


class SchemaEditor(DatabaseSchemaEditor):
    """
    Turns `statement_timeout` off for a migration.

    The limit, which keeps requests from piling up, would end every attempt to rewrite a large table. `lock_timeout`
    stays on: a migration that waits for a lock makes others wait behind it.
    """

    def __enter__(self) -> Self:
        super().__enter__()
        if self.atomic_migration:
            with self.connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 0")
        return self


class DatabaseWrapper(base.DatabaseWrapper):
    """
    Polls the socket in place of `SELECT 1` before the first statement of a request.

    A server that ends a connection sends a message or closes the socket; both make the socket readable, and nothing
    else arrives between two requests. Only a readable connection is checked with a query.
    """

    SchemaEditorClass = SchemaEditor
    health_check_enabled: bool
    health_check_done: bool

    def close_if_health_check_failed(self) -> None:
        if self.connection is not None and not self.in_atomic_block and state_of(self.connection).is_read_only:
            # A new connection may find the new primary: by a list of hosts, by name, or by the pooler.
            self.close()
            return
        if self.connection is not None and self.health_check_enabled and not self.health_check_done:
            readable = select.poll()
            readable.register(self.connection.fileno(), select.POLLIN)
            if not readable.poll(0):
                self.health_check_done = True
                return
        super().close_if_health_check_failed()

    def _commit(self) -> None:
        super()._commit()  # type: ignore[misc]
        if self.connection is not None:
            with self.wrap_database_errors:
                refuse_unreplicated(self.connection)

    def get_connection_params(self) -> dict[str, Any]:
        return super().get_connection_params() | {"cursor_factory": Cursor}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        state = connection.coppice = State()
        connection.add_notice_handler(partial(note, state))
        connection.adapters.register_loader("timestamptz", TimeLoader)
        connection.adapters.register_dumper(BinaryList, ListBinaryDumper)
        return connection
