"""Another database of the same server."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection

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
