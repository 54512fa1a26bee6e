"""What load balancers and the launcher ask, and what the answers give away: no address and no secret."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from config import tasks
from config.ops import health, redis_status, request_metrics
from config.postgresql import sessions
from tests.api.caller import PASSWORD, logged_in
from wallets import redis_servers
from wallets.operations import create_api_key


def test_livez_asks_nobody(client: Client, settings: Any, silent_broker: str) -> None:
    settings.REDIS_URL = silent_broker

    answer = client.get("/livez")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.fixture
def worker(settings: Any) -> None:
    """The signs of life of a worker, without the worker."""
    tasks.heartbeat()
    redis_status.record_worker(settings.REDIS_URL, "celery@test")


def test_what_beat_published_and_what_a_worker_processed_are_two_times(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for time, record in ((100.5, redis_status.record_heartbeat), (200.5, redis_status.record_published)):
        monkeypatch.setattr(redis_status.time, "time", lambda time=time: time)
        record(settings.REDIS_URL)

    url = settings.REDIS_URL
    assert (redis_status.last_heartbeat(url), redis_status.last_published(url)) == (100.5, 200.5)


PARTS = ("status", "database", "settings", "writes", "migrations", "broker", "worker")
WELL = dict.fromkeys(PARTS, "ok")


@pytest.mark.django_db
def test_readyz_is_well_when_every_part_answers(client: Client, worker: None) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == WELL
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.django_db
def test_readyz_names_the_broker_when_it_is_silent(client: Client, settings: Any, silent_broker: str) -> None:
    settings.REDIS_URL = silent_broker

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {
        **WELL,
        "status": "unwell",
        "broker": "does not answer; wrong logins and codes are counted by each process alone",
        "worker": "unknown, the broker does not answer",
    }


@pytest.fixture
def hanging_broker(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """A broker that accepts connections and never answers; the value counts the connections, which all time out."""
    # The count does not depend on it.
    monkeypatch.setattr(redis_servers, "ANSWER_SECONDS", 0.3)
    # A thread of this process connects once a second.
    monkeypatch.setattr(request_metrics, "flush", lambda: None)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        server.setblocking(False)
        settings.REDIS_URL = f"redis://127.0.0.1:{server.getsockname()[1]}/0"

        def count() -> int:
            number = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    server.accept()[0].close()
                    number += 1
            return number

        yield count


@pytest.mark.django_db
def test_readyz_and_a_login_wait_once_for_a_broker_that_hangs(
    client: Client, hanging_broker: Callable[[], int]
) -> None:
    api_key = create_api_key(name="a client")[1]
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["broker"] == "does not answer; wrong logins and codes are counted by each process alone"
    assert response.json()["worker"] == "unknown, the broker does not answer"
    assert hanging_broker() == 1

    assert client.get("/readyz?without=broker").json()["worker"] == "unknown, the broker does not answer"
    assert hanging_broker() == 1

    assert logged_in("alice", api_key).wallet is not None
    body = {"wallet": "alice", "password": PASSWORD}
    login = client.post("/auth", body, content_type="application/json", headers={"treetracker-api-key": api_key})
    assert login.status_code == 200
    assert hanging_broker() == 1


@pytest.mark.django_db
def test_readyz_names_a_migration_that_was_not_applied(client: Client, worker: None) -> None:
    assert client.get("/readyz").status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'wallets'")

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["migrations"].endswith("not applied; run `manage.py migrate`")
    # Nor does it become so by being asked again.
    assert client.get("/readyz").json()["migrations"] == answer.json()["migrations"]


@pytest.mark.django_db
def test_readyz_names_the_worker_that_is_not_alive_unless_asked_without(
    client: Client, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = health.time.time()
    monkeypatch.setattr(health.time, "time", lambda: now + health.WORKER_SILENT_SECONDS + 1)

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {**WELL, "status": "unwell", "worker": "last seen 11 s ago"}
    without = client.get("/readyz?without=worker")
    assert (without.status_code, without.json()) == (
        200,
        {key: value for key, value in WELL.items() if key != "worker"},
    )


@pytest.mark.django_db
def test_the_second_look_at_the_migrations_is_one_statement(
    client: Client, worker: None, django_assert_num_queries: Any
) -> None:
    health.check_migrations()

    with django_assert_num_queries(1):
        health.check_migrations()


def test_a_worker_that_answers_no_ring_is_not_well(
    settings: Any, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    health.check_worker()

    monkeypatch.setattr(redis_status, "last_heartbeat", lambda url: health.time.time() - health.BEAT_SILENT_SECONDS - 1)
    with pytest.raises(health.Unhealthy, match="last processed a heartbeat of beat 181 s ago"):
        health.check_worker()


def test_one_worker_that_is_alive_is_enough(settings: Any, worker: None) -> None:
    with redis_status.redis.Redis.from_url(settings.REDIS_URL) as client:
        client.hset(redis_status.WORKERS_KEY, "celery@replaced", health.time.time() - health.WORKER_SILENT_SECONDS - 60)

    health.check_worker()


def test_a_worker_of_long_ago_is_forgotten(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    redis_status.record_worker(settings.REDIS_URL, "celery@gone")
    now = redis_status.time.time()
    monkeypatch.setattr(redis_status.time, "time", lambda: now + redis_status.FORGOTTEN_AFTER_SECONDS + 1)

    assert "celery@gone" not in redis_status.workers(settings.REDIS_URL)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:secret@host:6379/3", "redis://:secret@host:6379/3"),
        ("unix:///tmp/x/valkey.sock?db=2", "redis+socket:///tmp/x/valkey.sock?virtual_host=2"),
        ("unix:///tmp/x/valkey.sock", "redis+socket:///tmp/x/valkey.sock?virtual_host=0"),
        ("unix://:secret@/tmp/x.sock?db=1", "redis+socket://:secret@/tmp/x.sock?virtual_host=1"),
    ],
)
def test_a_redis_url_becomes_celerys(url: str, expected: str) -> None:
    assert redis_status.broker_from_url(url) == expected


@pytest.mark.django_db
def test_a_setting_of_the_url_differs_without_its_value(settings: Any) -> None:
    settings.DATABASE_SETTINGS = {**settings.DATABASE_SETTINGS, "search_path": "of_the_url", "jit": "on"}

    with pytest.raises(health.Unhealthy) as caught:
        health.check_settings()

    assert str(caught.value).startswith("jit is off, not on, search_path differs; ")
    assert "of_the_url" not in str(caught.value)


def test_dashes_in_the_name_of_a_setting_are_read_as_postgresql_reads_them() -> None:
    assert sessions.settings_in("--statement-timeout=5s -c lock-timeout=1s") == {
        "statement_timeout": "5s", "lock_timeout": "1s",
    }  # fmt: skip
