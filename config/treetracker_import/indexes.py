"""
The indexes of the ledger during a first import: dropped before it writes, and made again from the sorted rows.

All happens in the transaction of the import, which cannot end before each unique constraint is there again, and holds
for all rows. An index that is filled row by row costs several times as much, and the more the larger it is.
"""

from collections.abc import Sequence
from typing import Final

from django.db import OperationalError, transaction

from config.treetracker_import.findings import statement
from config.treetracker_import.staging import rows, run

TABLES: Final = ("transfers_transfer", "wallets_token", "transfers_movement")


class SetAside:
    """The dropped indexes: by table, the statements that make them again."""

    def __init__(self) -> None:
        self.by_table: dict[str, list[str]] = {}

    def make(self, table: str) -> None:
        """Make the dropped indexes of a table again."""
        for definition in self.by_table.pop(table, []):
            run(definition.replace("%", "%%"))


def set_aside(tables: Sequence[str] = TABLES) -> SetAside:
    """
    Drop the indexes of the tables if all of them are empty, and return them.

    They stay where a table has rows, belongs to another role, or is read by another session for longer than
    `lock_timeout`: the import is slower then.
    """
    dropped = SetAside()
    if any(rows(f"SELECT 1 FROM {table} LIMIT 1") for table in tables):  # noqa: S608 - constants
        return dropped
    found: dict[str, list[str]] = {}
    try:
        with transaction.atomic():
            for table, drop, definition in rows(statement("find_indexes"), {"tables": list(tables)}):
                run(drop.replace("%", "%%"))
                found.setdefault(table, []).append(definition)
    except OperationalError:
        return dropped
    dropped.by_table = found
    return dropped
