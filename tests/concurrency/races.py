"""Starting things at the same moment, and holding one of them at a chosen line."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection, connections, transaction

from transfers import audit

PATIENCE_SECONDS = 60


def race(contestants: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run all at once, each on a separate connection, and return what each returned or raised."""
    barrier = threading.Barrier(len(contestants))
    outcomes: list[Any] = [None] * len(contestants)

    def run(index: int) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=PATIENCE_SECONDS)
            outcomes[index] = contestants[index]()
        except Exception as error:  # noqa: BLE001 - judged by the test
            outcomes[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(contestants))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_SECONDS)
        assert not thread.is_alive(), "a contestant hangs"
    return outcomes


def kinds(outcomes: Sequence[Any]) -> Counter[str]:
    """Count the outcomes by the name of the error, or the state of the transfer or trust."""
    return Counter(
        type(outcome).__name__ if isinstance(outcome, Exception) else str(getattr(outcome, "state", outcome))
        for outcome in outcomes
    )


class Gate:
    """
    A line at which contestants wait until all have come; `held` if a lock is expected to keep the others from it.

    The test's own thread, which prepares the race alone, goes through.
    """

    def __init__(self, parties: int, *, held: bool) -> None:
        self._barrier = threading.Barrier(parties)
        self._held = held

    def __call__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            return
        try:
            self._barrier.wait(timeout=0.5 if self._held else PATIENCE_SECONDS)
        except threading.BrokenBarrierError:
            assert self._held, "the others did not come"


@contextmanager
def locked(sql: str, parameters: Sequence[Any]) -> Iterator[None]:
    """Hold the rows that `sql` locks, in a transaction of another connection that ends without a change."""
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            connection.set_autocommit(False)
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
            holding.set()
            release.wait(timeout=PATIENCE_SECONDS)
            connection.rollback()
        finally:
            connections.close_all()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert holding.wait(timeout=PATIENCE_SECONDS)
    try:
        yield
    finally:
        release.set()
        thread.join(timeout=PATIENCE_SECONDS)


@contextmanager
def beside(function: Callable[[], object]) -> Iterator[list[Any]]:
    """Run a function on another connection, which must wait for a lock of the block; at the end it has an outcome."""
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.extend(race([function])))
    with transaction.atomic():
        yield outcomes
        thread.start()
        # Without a lock it does not wait.
        while thread.is_alive() and not is_waiting():
            thread.join(0.02)
    thread.join()


def is_waiting() -> bool:
    with connection.cursor() as cursor:
        # Otherwise a transaction sees the same sessions each time.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity"
            "                WHERE datname = current_database() AND wait_event_type = 'Lock')"
        )
        return bool(cursor.fetchone()[0])


def wait_until_waiting(sessions: int) -> None:
    """Return as soon as this number of sessions of this database wait for locks that others hold."""
    with connection.cursor() as cursor:
        for _ in range(10_000):
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0] >= sessions:
                return
    raise AssertionError(f"not {sessions} wait for a lock")


def assert_sound() -> None:
    assert audit.audit_findings() == []
