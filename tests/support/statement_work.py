"""What statements read and process, with statistics that say that every table is almost empty."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from django.db import OperationalError, connection, transaction

_EXPLAIN: Final = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "


class Work(NamedTuple):
    """Of one execution: blocks of tables and indexes, and rows that the nodes of its plan returned or filtered out."""

    sql: str
    blocks: int
    rows: int


def forget_statistics() -> None:
    """
    Let all statistics say that tables are almost empty, until the transaction ends.

    `ANALYZE` writes that when it runs while most rows are those of transactions that were rolled back.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pg_class SET reltuples = 0, relpages = greatest(1, pg_relation_size(oid) / 8192)"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')"
        )
    delete_statistics()


def delete_statistics(condition: str = "true") -> None:
    """Delete the statistics of columns; `condition` is SQL about `pg_statistic`."""
    for is_last in (False, False, False, True):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"DELETE FROM pg_statistic WHERE {condition}")
        except OperationalError:
            # A deadlock: autovacuum may write the rows of a table meanwhile, in another order.
            if is_last:
                raise
        else:
            return


@contextmanager
def measured() -> Iterator[list[Work]]:
    """Measure each statement of the block: it is executed twice, and the first execution is undone."""
    found: list[Work] = []

    def measure(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().split(maxsplit=1)[0] in {"WITH", "SELECT", "INSERT", "UPDATE", "DELETE"} and not many:
            raw = connection.connection.cursor()
            raw.execute("SAVEPOINT measured")
            execute(_EXPLAIN + sql, params, many, context)
            explained = context["cursor"].fetchone()[0]
            raw.execute("ROLLBACK TO SAVEPOINT measured")
            plan = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
            found.append(Work(sql, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], _rows(plan)))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(measure):
        yield found


def _rows(node: Any) -> int:
    filtered = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    return int((node["Actual Rows"] + filtered) * node["Actual Loops"]) + sum(map(_rows, node.get("Plans", ())))
