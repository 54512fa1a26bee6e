"""The connection between two requests, and in a migration."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import InternalError, OperationalError, ProgrammingError, close_old_connections, connection, transaction
from psycopg.adapt import PyFormat, Transformer

from config.postgresql import base, sessions
from tests.support.databases import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _checked_as_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", True)
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    connection.close()


def ask() -> Any:
    """Ask as a request does that finds an open connection."""
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def test_a_silent_connection_is_used_without_a_question() -> None:
    ask()
    asked = []
    real = connection.is_usable
    connection.is_usable = lambda: asked.append(True) or real()

    try:
        ask()
    finally:
        del connection.is_usable

    assert asked == []


def test_a_connection_that_the_server_ended_is_replaced_before_the_request_notices() -> None:
    pid = ask()
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    assert ask() != pid


def answered(statement: Any, parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()


def test_placeholders_are_bound_by_name_or_by_position() -> None:
    by_name = "SELECT %(b)s::int - %(a)s::int, %(b)s::int %% 7, '%%s'"

    assert answered(by_name, {"a": 1, "b": 10, "unused": 0}) == (9, 3, "%s")
    assert answered("SELECT %s::int - %s::int, 10 %% 7", [10, 1]) == (9, 3)
    assert answered("SELECT 10 %% 7", {"unused": 0}) == answered("SELECT 10 %% 7", []) == (3,)
    # Without parameters a statement is sent as it is.
    assert answered("SELECT 10 % 7, '%s'", None) == (3, "%s")


@pytest.mark.parametrize("values", [[b"\x00\xff", None, b""], [None], []])
def test_lists_of_bytes_are_sent_in_the_binary_format(values: Any, db: None) -> None:
    statement = "SELECT %(values)b::bytea[], %(values)b::bytea[] IS NULL"

    (read, is_null) = answered(statement, {"values": values})

    assert [None if each is None else bytes(each) for each in read] == values
    assert not is_null
    sent = Transformer(connection.connection).dump_sequence([base.BinaryList([b"x" * 100] * 10)], [PyFormat.AUTO])
    assert len(sent[0]) < 10 * 110


@pytest.mark.parametrize(
    ("statement", "parameters", "reason"),
    [
        ("SELECT %(a)s::int", {"b": 1}, "the parameter 'a' is missing"),
        ("SELECT %(a)s::int", [1], "take a dictionary"),
        ("SELECT %(a)s::int, %s::int", {"a": 1}, "not both"),
        ("SELECT %d", [1], "the operator % is written %%"),
        ("SELECT 10 % 7", [1], "the operator % is written %%"),
    ],
)
def test_a_statement_whose_placeholders_cannot_be_bound_is_refused(
    statement: str, parameters: Any, reason: str
) -> None:
    with pytest.raises(ProgrammingError, match=reason):
        answered(statement, parameters)


@pytest.mark.parametrize(("length", "prepared"), [(100, 1), (101, 0)])
@pytest.mark.parametrize("by_name", [True, False])
def test_a_statement_with_a_long_list_is_planned_for_its_values(
    length: int, prepared: int, by_name: bool, db: None
) -> None:
    text = f"SELECT cardinality(%{'(numbers)s' if by_name else 's'}::int[]) AS length_{length}_{by_name}"
    numbers = list(range(length))
    with connection.cursor() as cursor:
        for _ in range(3):
            cursor.execute(text, {"numbers": numbers} if by_name else [numbers])
            assert cursor.fetchall() == [(length,)]
        cursor.execute(
            "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE %s", [f"%AS length_{length}_{by_name}"]
        )
        assert cursor.fetchone() == (prepared,)


@pytest.mark.parametrize("length", [100, 8_000, 20_000])
def test_a_statement_is_converted_once_up_to_16384_characters(length: int) -> None:
    base._numbered_once.cache_clear()
    statement = "SELECT %(a)s::int -- ".ljust(length, "x")

    for number in range(3):
        assert answered(statement, {"a": number}) == (number,)

    found = base._numbered_once.cache_info()
    assert (found.hits, found.misses) == ((2, 1) if length <= 16_384 else (0, 0))


def test_many_rows_are_written_by_one_statement(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE numbers (a int, b text) ON COMMIT PRESERVE ROWS")
        cursor.executemany("INSERT INTO numbers VALUES (%(a)s, %(b)s)", [{"b": "x", "a": 1}, {"a": 2, "b": "y"}])
        cursor.executemany("INSERT INTO numbers VALUES (%s, %s)", [])
        cursor.execute("SELECT * FROM numbers ORDER BY a")
        assert cursor.fetchall() == [(1, "x"), (2, "y")]
        cursor.execute("DROP TABLE numbers")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21 20:57:32.123456+00", datetime(2026, 11, 21, 20, 57, 32, 123456, UTC)),
        ("2026-11-21 20:57:32.5+00", datetime(2026, 11, 21, 20, 57, 32, 500000, UTC)),
        ("2026-11-21 21:57:32+01", datetime(2026, 11, 21, 20, 57, 32, 0, UTC)),
    ],
)
def test_times_are_read_in_utc(text: str, time: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::timestamptz", [text])
        read = cursor.fetchone()[0]

    assert (read, read.tzinfo) == (time, UTC)


def test_a_migration_may_last_longer_than_a_request() -> None:
    def limits() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
            return cursor.fetchone()

    before = limits()
    with connection.schema_editor():
        assert limits() == ("0", "5s")

    assert limits() == before == ("30s", "5s")


def test_of_several_hosts_the_one_that_answers_and_takes_writes_is_used() -> None:
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


def test_a_connection_to_a_server_that_became_read_only_is_replaced() -> None:
    pid = ask()
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        with pytest.raises(InternalError, match="read-only transaction"):
            cursor.execute("CREATE TABLE leaves ()")

    assert ask() != pid
    with connection.cursor() as cursor:
        cursor.execute("SHOW default_transaction_read_only")
        assert cursor.fetchone() == ("off",)


def test_a_read_only_transaction_does_not_close_the_connection_within_another() -> None:
    pid = ask()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        with pytest.raises(InternalError, match="read-only transaction"), transaction.atomic():
            cursor.execute("CREATE TABLE leaves ()")
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone()[0] == pid

    assert ask() != pid


def test_a_commit_that_did_not_reach_the_standby_is_reported_once() -> None:
    """The session serves the next request."""
    session = SimpleNamespace(coppice=base.State())
    base.note(session.coppice, SimpleNamespace(source_function="SyncRepWaitForLSN"))  # type: ignore[arg-type]

    with pytest.raises(psycopg.OperationalError, match="did not reach the synchronous standby"):
        base.refuse_unreplicated(session)
    base.refuse_unreplicated(session)


def test_each_statement_and_each_commit_says_that_the_standby_was_not_reached() -> None:
    ask()
    state = base.state_of(connection.connection)

    def commit() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            state.is_unreplicated = is_lost

    with connection.cursor() as cursor:
        for act in (
            lambda: cursor.execute("SELECT 1"),
            lambda: cursor.executemany("SELECT %s::int", [(1,), (2,)]),
            lambda: cursor.executemany("SELECT %s::int", []),
            commit,
        ):
            is_lost = state.is_unreplicated = True
            with pytest.raises(OperationalError, match="did not reach the synchronous standby"):
                act()
            assert not state.is_unreplicated
            is_lost = False
            act()
