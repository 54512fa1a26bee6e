"""Fixtures: the database of a wallet service, beside that of Coppice."""

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.core.management import call_command
from django.db import connection

from tests.moving.service import Service, service
from tests.support.databases import database_url


@pytest.fixture(scope="session")
def service_url(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """The URL of a database for the service, one for each process that runs tests."""
    name = connection.settings_dict["NAME"]
    other = f"{name}_service"
    with django_db_blocker.unblock(), connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {other} WITH (FORCE)")
        cursor.execute(f"CREATE DATABASE {other}")
    yield database_url().replace(quote(name, safe=""), other)
    with django_db_blocker.unblock(), connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE {other} WITH (FORCE)")


@pytest.fixture
def make_service(db: None, service_url: str) -> Iterator[Callable[..., Service]]:
    """Make an empty service of an edition, in a schema."""
    with contextlib.ExitStack() as stack:

        def make(edition: str = "keycloak", schema: str = "wallet") -> Service:
            made: Service = stack.enter_context(service(service_url, edition=edition, schema=schema))
            return made

        yield make


@pytest.fixture
def peer(make_service: Callable[..., Service]) -> Service:
    """A service with all columns that any edition has."""
    return make_service()


def imported(peer: Service, **options: Any) -> list[str]:
    """Run the command and return the lines that it prints."""
    out = io.StringIO()
    call_command("import_treetracker", peer.dsn, stdout=out, **options)
    return out.getvalue().splitlines()
