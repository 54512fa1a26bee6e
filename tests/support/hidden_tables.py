"""Empty tables without constraints that hide those of the database: what a condition selects, row by row."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import connection

# Not temporary tables: after one, a session refuses to change `temp_buffers`, as an import does.
_SCHEMA = "hiding"


@contextmanager
def hidden(tables: Iterable[str]) -> Iterator[None]:
    """Hide these tables within the transaction of the test."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {_SCHEMA}")
        for name in tables:
            cursor.execute(f"CREATE UNLOGGED TABLE {_SCHEMA}.{name} AS SELECT * FROM {name} WITH NO DATA")
        cursor.execute(f"SET LOCAL search_path = {_SCHEMA}, public")
        yield
        cursor.execute("SET LOCAL search_path TO DEFAULT")
        cursor.execute(f"DROP SCHEMA {_SCHEMA} CASCADE")


def insert(table: str, row: Mapping[str, Any]) -> None:
    """Insert a row into a hidden table; columns that are not named are NULL."""
    columns, values = ", ".join(row), ", ".join(["%s"] * len(row))
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {_SCHEMA}.{table} ({columns}) VALUES ({values})", list(row.values()))
