"""Empty tables without constraints that hide those of the database: what a condition selects, row by row."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import connection


@contextmanager
def hidden(tables: Iterable[str]) -> Iterator[None]:
    """Hide these tables in this session. A temporary table is found before others."""
    names = list(tables)
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {name} WITH NO DATA")
        # Statements that were planned before read the other tables.
        cursor.execute("DISCARD PLANS")
        yield
        for name in names:
            cursor.execute(f"DROP TABLE pg_temp.{name}")
        cursor.execute("DISCARD PLANS")


def insert(table: str, row: Mapping[str, Any]) -> None:
    """Insert a row into a hidden table; columns that are not named are NULL."""
    columns, values = ", ".join(row), ", ".join(["%s"] * len(row))
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO pg_temp.{table} ({columns}) VALUES ({values})", list(row.values()))
