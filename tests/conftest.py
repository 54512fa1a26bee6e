"""
Servers for the tests: those of `DATABASE_URL` and `REDIS_URL`, or private ones for this run.

The private ones are started once, before any worker of pytest-xdist is, and the workers inherit
their addresses. They are real and end with the run, however it ends.
"""

import contextlib
import fcntl
import gc
import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test import TransactionTestCase
from django.test.utils import setup_databases, teardown_databases

from config.api import cached_credentials, limits
from config.dev.embedded import database_url, redis_url, state_directory
from config.dev.private_servers import Postgres, Valkey
from config.dev.processes import Children
from wallets import redis_servers

TESTS = Path(__file__).parent
# Their assertions show what was compared, as those of test modules do.
pytest.register_assert_rewrite("tests.support")

servers = contextlib.ExitStack()
# What was started, for people to read.
running: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    state = state_directory()
    wanted = []
    if os.environ["DATABASE_URL"] == database_url(state):
        wanted.append(Postgres(state, durable=False))
    if os.environ["REDIS_URL"] == redis_url(state):
        wanted.append(Valkey(state))
    if wanted:
        if not state.name.startswith("coppice-tests-"):
            raise pytest.UsageError("The tests start servers in a directory of their own only.")
        state.mkdir()
        # `nobody`, as whom root runs PostgreSQL, passes through, whatever the umask is.
        state.chmod(0o711)
        servers.callback(shutil.rmtree, state, ignore_errors=True)
        children = servers.enter_context(Children(state))
        for server in wanted:
            running.append(f"{server.name} {server.start(children)}")
    if config.option.numprocesses and not sys.dont_write_bytecode:
        _compile_the_tests()


def _compile_the_tests() -> None:
    """Import every module of tests once, so that no worker has to rewrite the assertions of it again."""
    for path in sorted(TESTS.rglob("test_*.py")):
        # What is wrong with a module is for the workers to say.
        with contextlib.suppress(Exception):
            importlib.import_module(".".join(path.relative_to(TESTS.parent).with_suffix("").parts))


# What starts processes or waits for them takes the longest, and is begun first, so that no worker is left with a long
# file at the end. By turns: the whole system is not started three times at once more often than it has to be.
_FIRST = ("config", "api", "browser", "chaos", "lockers")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with a file of each of the slow directories, go on with the next of each; the other files come last."""
    files: dict[str, dict[Path, int]] = {}
    for item in items:
        of_directory = files.setdefault(item.path.relative_to(TESTS).parts[0], {})
        of_directory.setdefault(item.path, len(of_directory))

    # Not asked for below: a list that is being sorted is empty.
    last = len(items)

    def turn(item: pytest.Item) -> tuple[int, int]:
        directory = item.path.relative_to(TESTS).parts[0]
        if directory not in _FIRST:
            return last, 0
        return files[directory][item.path], _FIRST.index(directory)

    items.sort(key=turn)


def pytest_collection_finish() -> None:
    """Leave what the collection made, some thousands of tests, out of every later search for garbage."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(
        f"Ran on {', '.join([f'Python {platform.python_version()}', *running])}, {os.cpu_count()} processors"
    )


def pytest_unconfigure() -> None:
    servers.close()


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    django_test_environment: None,
    django_db_modify_db_settings: None,
    django_db_blocker: Any,
) -> Iterator[None]:
    """
    Create the database for any selection of tests.

    The fixture of pytest-django, which this one replaces, creates it only if a selected test has the mark or a fixture
    of its own. A fixture of a module that asks for the database would otherwise write into the one of `DATABASE_URL`.
    """
    with django_db_blocker.unblock():
        created = _databases_of_this_process()
    yield
    with django_db_blocker.unblock():
        try:
            teardown_databases(created, verbosity=0)
        except OperationalError as error:
            # A connection that a thread left open fails no test.
            request.node.warn(pytest.PytestWarning(f"The test database was not dropped: {error}"))


# The migrated database that the other workers of pytest-xdist copy.
_TEMPLATE = "coppice_tests_template"


def _databases_of_this_process() -> Any:
    """
    Create the test database; on the private server only the first worker migrates, and the others copy its database.

    To migrate an empty database takes some three seconds of a processor, to copy a migrated one a tenth of a second.
    """
    options: dict[str, Any] = {"aliases": {"default"}, "serialized_aliases": set()}
    state = state_directory()
    if "PYTEST_XDIST_WORKER" not in os.environ or os.environ["DATABASE_URL"] != database_url(state):
        return setup_databases(verbosity=0, interactive=False, **options)
    with (state / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with connection._nodb_cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", [_TEMPLATE])
            is_made = cursor.fetchone() is not None
        if not is_made:
            created = setup_databases(verbosity=0, interactive=False, **options)
            name = connection.settings_dict["NAME"]
            # A database with sessions cannot be copied.
            connection.close()
            with connection._nodb_cursor() as cursor:
                quoted = map(connection.ops.quote_name, (_TEMPLATE, name))
                cursor.execute("CREATE DATABASE {} TEMPLATE {}".format(*quoted))
            return created
    connection.settings_dict["TEST"]["TEMPLATE"] = _TEMPLATE
    return setup_databases(verbosity=0, interactive=False, **options)


@pytest.fixture(autouse=True)
def _no_credentials_are_remembered() -> None:
    cached_credentials.clear()
    limits.forget_refusals()


@pytest.fixture(autouse=True)
def _redis_is_asked() -> None:
    """Ask Redis in a test that comes within seconds of one in which it did not answer."""
    redis_servers._away_until.clear()


@pytest.fixture(autouse=True, scope="session")
def _the_outermost_transaction_of_a_test_is_a_real_one() -> Iterator[None]:
    """
    Let an operation roll back by itself inside a test that runs in a transaction.

    Operations use `atomic(savepoint=False)`, which is a transaction of its own when nothing is open around it,
    as in production. Inside the transaction of a test it would be nobody's, and a refused call would break the test.
    """
    enter = transaction.Atomic.__enter__

    def enter_with_a_savepoint_in_tests(atomic: transaction.Atomic) -> None:
        blocks = transaction.get_connection(atomic.using).atomic_blocks
        if blocks and blocks[-1]._from_testcase:
            atomic.savepoint = True
        enter(atomic)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction.Atomic, "__enter__", enter_with_a_savepoint_in_tests)
        yield


# Left as the migrations made them: nothing here changes them, and to make them anew takes longer than all the rest.
_KEPT = {"django_content_type", "auth_permission"}
# Pages of a table beyond which it is made anew, so that it does not grow with what was deleted.
_MANY_PAGES = 64


@pytest.fixture(autouse=True, scope="session")
def _tables_are_emptied_row_by_row() -> Iterator[None]:
    """
    Empty the tables after a test with transactions of its own as Django's `flush` does, in a tenth of the time.

    To truncate some forty tables makes some two hundred files; most tests leave a few rows in ten of them.
    """

    def empty(case: TransactionTestCase) -> None:
        assert case.available_apps is None
        assert not case.serialized_rollback
        tables = sorted({*connection.introspection.django_table_names(only_existing=False)} - _KEPT)
        names = ", ".join(map(connection.ops.quote_name, tables))
        plain = ",".join(tables)
        deletions = "; ".join(f"DELETE FROM {connection.ops.quote_name(table)}" for table in tables)
        with connection.cursor() as cursor:
            # Whoever is about to commit is waited for. No trigger asks what a row is needed for.
            cursor.execute(f"""
                DO $$ BEGIN
                    LOCK TABLE {names} IN EXCLUSIVE MODE;
                    IF (SELECT max(pg_relation_size(each::regclass)) / current_setting('block_size')::int
                          FROM unnest('{{{plain}}}'::text[]) AS each) > {_MANY_PAGES} THEN
                        TRUNCATE {names};
                    ELSE
                        SET LOCAL session_replication_role = replica;
                        {deletions};
                    END IF;
                END $$
            """)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty)
        yield
