"""The URLs of the test's database and of another of the same server, and rows that the tests of a module share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.db import connection, transaction


def database_url() -> str:
    """Return the URL of the database that the running test uses."""
    settings = connection.settings_dict
    where = {"host": settings["HOST"]} | ({"port": settings["PORT"]} if settings["PORT"] else {})
    if wanted := settings["OPTIONS"].get("target_session_attrs"):
        where["target_session_attrs"] = wanted
    user = quote(settings["USER"], safe="") + (
        f":{quote(settings['PASSWORD'], safe='')}" if settings["PASSWORD"] else ""
    )
    return f"postgresql://{user}@/{quote(settings['NAME'], safe='')}?{urlencode(where)}"


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
