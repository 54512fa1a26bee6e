"""
Django's PostgreSQL without three costly habits, and with patience for migrations.

tests/benchmarks/README.md has the measurements.
"""

import select
from datetime import UTC, datetime
from typing import Any, Self

from django.db.backends.postgresql import base
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from psycopg import _queries
from psycopg.abc import Buffer
from psycopg.adapt import Loader

# psycopg remembers how the placeholders of a statement are to be written if it has at most 4,096 characters, to be
# safe from statements that a program makes up as it goes. Ours are few, and the ledger's are longer than that.
_queries.MAX_CACHED_STATEMENT_LENGTH = 16_384


class TimeLoader(Loader):
    """
    Reads a time with time zone, in UTC, as Django wants it. Sessions are in UTC, so the text is `… +00`.

    Django's own loader takes the text apart with a regular expression, ten times as slow: a list has 200 times.
    """

    # Django compares it with the time zone of the connection.
    timezone = UTC

    def load(self, data: Buffer) -> datetime:
        return datetime.fromisoformat(bytes(data).decode())


class SchemaEditor(DatabaseSchemaEditor):
    """
    Lets a statement of a migration last as long as it lasts.

    The limit that keeps a request from piling up would end each attempt to write a large table anew, for ever. A lock
    that does not come in time still ends it: whoever waits for one lets others wait behind it.
    """

    def __enter__(self) -> Self:
        super().__enter__()
        if self.atomic_migration:
            with self.connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 0")
        return self


class DatabaseWrapper(base.DatabaseWrapper):
    """
    Looks at the socket before it asks `SELECT 1` in front of the first statement of a request.

    A server that ends a connection says so, or closes the socket; both make it readable, and nothing else arrives
    between two requests. So a silent connection needs no question.
    """

    SchemaEditorClass = SchemaEditor
    health_check_enabled: bool
    health_check_done: bool

    def close_if_health_check_failed(self) -> None:
        if self.connection is not None and self.health_check_enabled and not self.health_check_done:
            readable = select.poll()
            readable.register(self.connection.fileno(), select.POLLIN)
            if not readable.poll(0):
                self.health_check_done = True
                return
        super().close_if_health_check_failed()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        connection.adapters.register_loader("timestamptz", TimeLoader)
        return connection
