"""Which beat leads, within one process; tests/config/test_beat.py has several."""

import signal
import time

import psycopg
import pytest
from celery import beat as celery_beat
from django.db import OperationalError

from config.beat import LEASE_SECONDS, RENEW_SECONDS, Leadership, Scheduler
from config.celery import app
from tests.support.databases import database_url

LEADERS = (
    "FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def wait_until_no_beat_leads() -> None:
    """Wait for the server to end the session of a leader whose connection is closed."""
    end = time.monotonic() + 20
    with psycopg.connect(database_url(), autocommit=True) as other:
        while other.execute(f"SELECT {LEADERS}").fetchall():
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_signal_whose_exception_is_lost_ends_beat_at_its_next_tick() -> None:
    scheduler = Scheduler(app=app, lazy=True)
    signals = (signal.SIGTERM, signal.SIGINT)
    earlier = [signal.getsignal(number) for number in signals]
    try:
        scheduler.stop_on_signals()
        for number in signals:
            with pytest.raises(SystemExit) as ended:
                signal.raise_signal(number)
            assert ended.value.code is None
    finally:
        for number, handler in zip(signals, earlier, strict=True):
            signal.signal(number, handler)

    with pytest.raises(SystemExit) as ended:
        scheduler.tick()
    assert ended.value.code is None


@pytest.mark.django_db(transaction=True)
def test_a_change_of_the_leader_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("config.beat.RENEW_SECONDS", 0.0)
    caplog.set_level("INFO", logger="coppice.beat")
    first, second = Leadership(), Leadership()

    def renewed(leadership: Leadership) -> tuple[bool, list[str]]:
        caplog.clear()
        is_held = leadership.renew()
        return is_held, [record.getMessage() for record in caplog.records]

    try:
        assert renewed(first) == (True, ["beat_leads"])
        assert renewed(second) == (False, ["beat_stands_by"])
        assert [renewed(first), renewed(second)] == [(True, []), (False, [])]
        with psycopg.connect(database_url(), autocommit=True) as other:
            # That of the leader. Behind a pooler, each transaction has a session that no other client has.
            assert other.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle in transaction'"
            ).fetchone() == (1,)
        # PostgreSQL ends the session of a leader from which it hears nothing.
        with psycopg.connect(database_url(), autocommit=True) as other:
            other.execute(f"SELECT pg_terminate_backend(pid, 5000) {LEADERS}")
        assert renewed(second) == (True, ["beat_leads"])
        assert renewed(first) == (False, ["beat_lost_the_database", "beat_stands_by"])
        assert renewed(first) == (False, [])
        second.release()
        wait_until_no_beat_leads()
        assert renewed(first) == (True, ["beat_leads"])
    finally:
        first.release()
        second.release()


def test_a_leader_is_asked_for_once_a_second_and_its_loss_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="coppice.beat")
    now, asked = [100.0], list[bool | Exception]()
    monkeypatch.setattr("config.beat.time.monotonic", lambda: now[0])

    def ask(_: Leadership) -> bool:
        answer = asked.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Leadership, "_ask", ask)
    leadership, away = Leadership(), OperationalError("away")
    for seconds, answer, is_held, said in (
        (0.0, away, False, ["beat_lost_the_database", "beat_stands_by"]),
        (RENEW_SECONDS, away, False, []),
        (RENEW_SECONDS, True, True, ["beat_leads"]),
        (RENEW_SECONDS - 0.01, None, True, []),
        (0.01, True, True, []),
        (RENEW_SECONDS, away, False, ["beat_lost_the_database", "beat_stands_by"]),
        (RENEW_SECONDS, away, False, []),
        (RENEW_SECONDS, False, False, []),
        (RENEW_SECONDS - 0.01, None, False, []),
    ):
        now[0] += seconds
        asked[:] = [] if answer is None else [answer]
        caplog.clear()
        assert leadership.renew() is is_held
        assert ([record.getMessage() for record in caplog.records], asked) == (said, [])


def test_only_a_leader_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, leads = Scheduler(app=app, lazy=True), [False]
    monkeypatch.setattr(celery_beat.Scheduler, "tick", lambda *_: 5)
    monkeypatch.setattr(Leadership, "renew", lambda _: leads[0])
    assert scheduler.tick() == RENEW_SECONDS
    leads[0] = True
    assert scheduler.tick() == 5.0


@pytest.mark.django_db(transaction=True)
def test_the_server_ends_the_session_of_a_leader_that_is_silent_for_the_lease() -> None:
    leadership = Leadership()
    try:
        assert leadership.renew()
        assert leadership._connection is not None
        with leadership._connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('idle_in_transaction_session_timeout')::interval")
            assert cursor.fetchone()[0].total_seconds() == LEASE_SECONDS
        # The lease is longer than the time between two renewals.
        assert LEASE_SECONDS > 2 * RENEW_SECONDS
    finally:
        leadership.release()


@pytest.mark.django_db(transaction=True)
def test_a_scheduler_that_is_closed_leads_no_more() -> None:
    scheduler = Scheduler(app=app, lazy=True)
    assert scheduler._leadership.renew()
    scheduler.close()
    # Not when the lease ends.
    assert scheduler._leadership._connection is None
    wait_until_no_beat_leads()


@pytest.mark.django_db(transaction=True)
def test_an_index_is_built_concurrently_while_a_beat_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.beat.RENEW_SECONDS", 0.0)
    leader = Leadership()
    try:
        with psycopg.connect(database_url(), autocommit=True) as session:
            session.execute("SET statement_timeout = '10s'")
            session.execute("CREATE TABLE beat_leads (id integer)")
            try:
                for number in range(3):
                    assert leader.renew()
                    # PostgreSQL waits for the end of each transaction whose snapshot is older than the index.
                    session.execute(f"CREATE INDEX CONCURRENTLY beat_leads_{number} ON beat_leads (id)")
            finally:
                session.execute("DROP TABLE beat_leads")
    finally:
        leader.release()
