"""The connection between two requests, and in a migration."""

from datetime import UTC, datetime

import psycopg
import pytest
from django.db import close_old_connections, connection
from psycopg import _queries

from config.postgresql import sessions
from tests.api.web_server import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _checked_as_in_production(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", True)
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    connection.close()


def ask():
    """Ask as a request does that finds an open connection."""
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def test_a_silent_connection_is_used_without_a_question():
    ask()
    asked = []
    real = connection.is_usable
    connection.is_usable = lambda: asked.append(True) or real()

    try:
        ask()
    finally:
        del connection.is_usable

    assert asked == []


def test_a_connection_that_the_server_ended_is_replaced_before_the_request_notices():
    pid = ask()
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    assert ask() != pid


def test_the_longest_statement_of_the_ledger_is_remembered(db):
    # Should psycopg call the limit by another name, only speed is lost: this is how anybody would learn of it.
    assert "MAX_CACHED_STATEMENT_LENGTH" in _queries.PostgresQuery.convert.__code__.co_names
    assert _queries.MAX_CACHED_STATEMENT_LENGTH > 8_000


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21 20:57:32.123456+00", datetime(2026, 11, 21, 20, 57, 32, 123456, UTC)),
        ("2026-11-21 20:57:32.5+00", datetime(2026, 11, 21, 20, 57, 32, 500000, UTC)),
        ("2026-11-21 21:57:32+01", datetime(2026, 11, 21, 20, 57, 32, 0, UTC)),
    ],
)
def test_times_are_read_in_utc(text, time):
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::timestamptz", [text])
        read = cursor.fetchone()[0]

    assert (read, read.tzinfo) == (time, UTC)


def test_a_migration_may_last_longer_than_a_request():
    def limits():
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
            return cursor.fetchone()

    before = limits()
    with connection.schema_editor():
        assert limits() == ("0", "5s")

    assert limits() == before == ("30s", "5s")


def test_of_several_hosts_the_one_that_answers_and_takes_writes_is_used():
    where = connection.settings_dict
    hosts = f"host=/nowhere/at/all,{where['HOST']}&port={where['PORT'] or 5432},{where['PORT'] or 5432}"
    url = f"postgresql://{where['USER']}@/{where['NAME']}?{hosts}&target_session_attrs=read-write"
    other = connection.copy()
    other.settings_dict.update(sessions.database(url, sessions.Pooled.NO) | {"PASSWORD": where["PASSWORD"]})

    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout')")
            found = cursor.fetchone()
    finally:
        other.close()

    assert found == ("30s",)
