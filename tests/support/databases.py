"""Another database of the same server, and rows that the tests of a module share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection, transaction

from tests.api.web_server import database_url


@pytest.fixture
def empty_database(transactional_db: None) -> Iterator[Any]:
    """The URL of another database of the same server."""
    # One for each process that runs tests: they share the server.
    name = connection.settings_dict["NAME"]
    other = f"{name}_restored"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {other} WITH (FORCE)")
        cursor.execute(f"CREATE DATABASE {other}")
    yield database_url().replace(quote(name, safe=""), other)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {other} WITH (FORCE)")


@contextmanager
def shared_rows(blocker: Any) -> Iterator[None]:
    """
    Keep what is written in the block for the tests that run in it, and undo it at the end.

    Each test still has a transaction of its own, inside this one, so no test sees what another has written. Of use to a
    fixture of a module whose tests have no need of `transactional_db`.
    """
    with blocker.unblock(), transaction.atomic():
        # Like the transaction around a test: operations may be the outermost ones inside it.
        connection.atomic_blocks[-1]._from_testcase = True
        yield
        transaction.set_rollback(True)
