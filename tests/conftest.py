"""
The servers of a test run: those of `DATABASE_URL` and `REDIS_URL`, or private ones.

The controller starts the private servers once, before any worker of pytest-xdist, and the workers inherit their
addresses. The servers end with the run, also if it is killed.
"""

import contextlib
import fcntl
import gc
import importlib
import os
import platform
import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections, transaction
from django.test import TransactionTestCase
from django.test.utils import setup_databases, teardown_databases

# The pages of the admin are registered with the URLs; tests enumerate them.
from config import urls as _urls  # noqa: F401
from config.api import cached_credentials, limits
from config.dev.embedded import database_url, redis_url, state_directory
from config.dev.private_servers import Postgres, Valkey
from config.dev.processes import Children
from tests import parts
from tests.tables import empty_tables
from wallets import redis_servers

TESTS = Path(__file__).parent
# pytest rewrites assertions in test modules and conftest.py only, unless it is told.
pytest.register_assert_rewrite("tests.support")

servers = contextlib.ExitStack()
# The servers that were started, for the terminal summary.
running: list[str] = []
guard = parts.Guard()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part", choices=(parts.SYSTEMS, parts.OTHERS),
        help="run the test files that start processes, or all others; ignored if a path, -k, -m or --lf chooses tests",
    )  # fmt: skip


def _are_chosen(config: pytest.Config) -> bool:
    """Return whether the command line of this process chooses tests."""
    option = config.option
    return config.args_source == pytest.Config.ArgsSource.ARGS or bool(option.keyword or option.markexpr or option.lf)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of the other part without importing them."""
    return True if _is_left_out(collection_path, config) else None


def _is_left_out(path: Path, config: pytest.Config) -> bool:
    part = config.option.part
    return bool(part and path.match("test_*.py") and parts.part_of(path) != part)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    guard.path = item.path
    try:
        return (yield)
    finally:
        guard.path = None


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        # Until it has collected the tests: it makes thousands of them, and nothing is garbage.
        gc.disable()
        return
    if _are_chosen(config):
        # The workers inherit the options.
        config.option.part = None
    if config.option.collectonly:
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
        # Root runs PostgreSQL as the user `nobody`, which must be able to enter the directory; the umask may forbid it.
        state.chmod(0o711)
        servers.callback(shutil.rmtree, state, ignore_errors=True)
        children = servers.enter_context(Children(state))
        for server in wanted:
            running.append(f"{server.name} {server.start(children)}")
    if config.option.numprocesses and not sys.dont_write_bytecode:
        _compile_the_tests(config)


def _is_compiled(path: Path) -> bool:
    """Return whether an earlier run left the bytecode of the module, with its assertions rewritten."""
    name = f"{path.stem}.{sys.implementation.cache_tag}-pytest-{pytest.__version__}.pyc"
    with contextlib.suppress(OSError):
        return (path.parent / "__pycache__" / name).stat().st_mtime >= path.stat().st_mtime
    return False


def _compile_the_tests(config: pytest.Config) -> None:
    """Import each changed test module once, so that the workers find its rewritten assertions compiled."""
    for path in sorted(
        path for path in TESTS.rglob("test_*.py") if not _is_left_out(path, config) and not _is_compiled(path)
    ):
        # The workers report an error of a module.
        with contextlib.suppress(Exception):
            importlib.import_module(".".join(path.relative_to(TESTS.parent).with_suffix("").parts))


# The files that take longest, the longest first.
LONGEST = (
    "browser/test_desk.py", "browser/test_docs.py", "browser/test_desk_acts.py", "trusts/test_powers.py",
    "client_package/test_installed.py", "config/test_whole_system.py", "api/test_schema_conformance.py",
    "api/test_hostile_values.py", "browser/test_desk_signing_in.py", "chaos/test_failover.py",
    "config/test_supervisor.py", "admin/test_acts.py", "config/test_point_in_time_recovery.py",
    "moving/test_second_import.py", "config/test_behind_proxies.py", "api/test_partners_page.py",
    "chaos/test_brokers.py", "config/test_lockers_off.py", "concurrency/test_rights.py",
    "admin/test_hostile_queries.py", "api/test_database_restart.py", "config/test_all_migrations.py",
    "config/test_full_broker.py", "api/test_object_matrix.py", "api/test_key_matrix.py", "chaos/test_outcomes.py",
    "lockers/test_endpoints.py",
)  # fmt: skip
# These directories have the slowest files, which start processes and wait for them. They run first, so that no worker
# is left with a long file at the end, and in turns, so that few whole systems start at the same time.
_FIRST = ("config", "api", "browser", "chaos", "lockers")


# Fixtures that pytest-django sets up for every test, and the mark or fixture without which they do nothing. To set up
# and tear down all of them takes a quarter of the time of an empty test, and there are thousands of tests. No test
# sends mail, `django.contrib.sites` is not installed, and no class is one of `unittest`.
_FOR_EVERY_TEST = {
    "_django_db_marker": "django_db",
    "_django_set_urlconf": "urls",
    "_django_isolate_apps": "django_isolate_apps",
    "_template_string_if_invalid_marker": "ignore_template_errors",
    "_live_server_helper": "live_server",
    "_dj_autoclear_mailbox": "mailoutbox",
    "_django_clear_site_cache": "",
    "_django_setup_unittest": "",
}


def _without_idle_fixtures(item: pytest.Function) -> list[str]:
    used = {mark.name for mark in item.iter_markers()}.union(item.fixturenames)
    return [name for name in item.fixturenames if _FOR_EVERY_TEST.get(name, name) in used]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Leave out fixtures that do nothing, and order files.

    The longest; then the first file of each slow directory, the second of each, and so on; then all other files.
    """
    for item in items:
        if isinstance(item, pytest.Function):
            item.fixturenames = _without_idle_fixtures(item)
    # By the file: a path is costly to take apart, and few of them have thousands of tests.
    turns: dict[Path, tuple[int, int]] = {}
    files: dict[str, int] = {}
    for item in items:
        if item.path not in turns:
            file = item.path.relative_to(TESTS)
            directory = file.parts[0]
            number = files[directory] = files.get(directory, -1) + 1
            if file.as_posix() in LONGEST:
                turns[item.path] = (-1, LONGEST.index(file.as_posix()))
            elif directory in _FIRST:
                turns[item.path] = (number, _FIRST.index(directory))
            else:
                turns[item.path] = (len(items), 0)
    items.sort(key=lambda item: turns[item.path])


def pytest_collection_finish() -> None:
    """Exclude the collected tests, several thousand, from garbage collection."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    versions = [f"Python {platform.python_version()}", f"Django {django.__version__}", *running]
    terminalreporter.write_line(f"Ran on {', '.join(versions)}, {os.cpu_count()} processors")


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
    Create the test database for any selection of tests.

    It replaces the fixture of pytest-django, which creates the database only if a selected test has the mark
    `django_db` or one of its fixtures. With that one, a module's fixture would write into the database of
    `DATABASE_URL`.
    """
    with django_db_blocker.unblock():
        created = _databases_of_this_process()
    yield
    with django_db_blocker.unblock():
        try:
            teardown_databases(created, verbosity=0)
        except OperationalError as error:
            # A connection that a thread left open is no failure.
            request.node.warn(pytest.PytestWarning(f"The test database was not dropped: {error}"))


# The migrated database that the other workers of pytest-xdist copy.
_TEMPLATE = "coppice_tests_template"


def _databases_of_this_process() -> Any:
    """
    Create the test database; on the private server only the first worker migrates, and the others copy its database.

    To migrate an empty database takes about three seconds of processor time, to copy a migrated one a tenth of one.
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
    limits._refusals.clear()


@pytest.fixture(autouse=True, scope="session")
def _every_error_response_has_a_code() -> Iterator[None]:
    # Not above: pytest has to rewrite its assertions first.
    from tests.support import error_codes  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        error_codes.check_all(patch)
        yield


@pytest.fixture(autouse=True)
def _redis_is_asked() -> None:
    """Forget that Redis did not answer in an earlier test."""
    redis_servers._away_until.clear()


@pytest.fixture(autouse=True, scope="session")
def _the_outermost_transaction_of_a_test_is_a_real_one() -> Iterator[None]:
    """
    Roll back a refused operation alone, inside a test that runs in a transaction.

    Operations use `atomic(savepoint=False)`, which is the outermost transaction in production. Inside the transaction
    of a test it has no savepoint, and a refused call would break the transaction of the test.
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


@pytest.fixture(autouse=True, scope="session")
def _a_transactional_test_leaves_little_to_do() -> Iterator[None]:
    """
    Empty the tables after a transactional test, as Django's `flush` does, in a tenth of the time; and keep its session.

    A new session reads the catalog anew, which takes 25 ms of processor time. `RESET ALL` takes back the settings of
    the old one.
    """

    def empty(case: TransactionTestCase) -> None:
        assert case.available_apps is None
        assert not case.serialized_rollback
        empty_tables()

    def must_reconnect(case: TransactionTestCase) -> bool:
        used = {each.alias for each in connections.all(initialized_only=True) if each.connection is not None}
        if connection.errors_occurred or used != {DEFAULT_DB_ALIAS}:
            return True
        with connection.cursor() as cursor:
            cursor.execute("RESET ALL")
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty)
        patch.setattr(TransactionTestCase, "_should_reload_connections", must_reconnect)
        yield
