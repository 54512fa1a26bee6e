"""The replica of the settings, for tests: a standby that the test stops, delays and promotes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from config.postgresql import replica, sessions


@contextmanager
def configured(url: str, settings: Any) -> Iterator[None]:
    """Name the replica as COPPICE_REPLICA_URL does, while the block runs."""
    databases = {"default": {}, replica.ALIAS: sessions.replica(url, sessions.Pooled.NO)}
    connections.settings[replica.ALIAS] = connections.configure_settings(databases)[replica.ALIAS]
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "config.web.replica_pages.note_writes"]
    replica._Pause.until = 0.0
    forbidding = BaseDatabaseWrapper.ensure_connection

    def connected(wrapper: Any) -> None:
        """Connect also to the replica, which the test case did not know when it began."""
        if wrapper.connection is None and wrapper.alias == replica.ALIAS:
            with wrapper.wrap_database_errors:
                wrapper.connect()
        else:
            forbidding(wrapper)

    try:
        with patch.object(BaseDatabaseWrapper, "ensure_connection", connected):
            yield
    finally:
        connections[replica.ALIAS].close()
        del connections[replica.ALIAS]
        del connections.settings[replica.ALIAS]


@contextmanager
def statements() -> Iterator[list[tuple[str, str]]]:
    """Collect (alias, statement) of what the block executes in this thread."""
    found: list[tuple[str, str]] = []

    def note(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        found.append((context["connection"].alias, str(sql)))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield found


def count_of(found: list[tuple[str, str]], alias: str) -> int:
    return sum(each == alias for each, _ in found)
