"""The apps of the product that have migrations, and migrations back and forward."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

APPS: Final = ("desk", "lockers", "transfers", "treetracker_import", "trusts", "wallets", "webhooks")


def go_to(app: str, name: str) -> None:
    """Migrate the app back or forward to this migration."""
    MigrationExecutor(connection).migrate([(app, name)])


def go_to_newest() -> None:
    """Apply all migrations of all apps."""
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


@contextmanager
def migrated_back(app: str, name: str) -> Iterator[None]:
    """Migrate the app back to this migration, and at the end, which later tests need, all apps to their newest one."""
    go_to(app, name)
    try:
        yield
    finally:
        go_to_newest()
