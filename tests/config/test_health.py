"""What load balancers and the launcher ask, and what the answers give away: no address and no secret."""

import pytest
from django.db import connection

from config import broker, health, tasks


def test_livez_asks_nobody(client, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    answer = client.get("/livez")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_readyz_is_well_when_every_part_answers(client):
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "database": "ok", "migrations": "ok", "broker": "ok"}
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.django_db
def test_readyz_names_the_broker_when_it_is_silent(client, settings):
    settings.REDIS_URL = "redis://:hush@127.0.0.1:1/0"

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {"status": "unwell", "database": "ok", "migrations": "ok", "broker": "does not answer"}


@pytest.mark.django_db
def test_readyz_names_a_migration_that_was_not_applied(client):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'wallets'")

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["migrations"].endswith("not applied; run `manage.py migrate`")


def test_a_worker_is_well_while_its_heartbeat_is_fresh(settings, monkeypatch):
    tasks.heartbeat()
    health.check_worker()

    last = broker.last_heartbeat(settings.REDIS_URL)
    monkeypatch.setattr(health.time, "time", lambda: last + health.HEARTBEAT_STALE_SECONDS + 1)
    with pytest.raises(health.Unwell, match="last answered a ring of beat 11 s ago"):
        health.check_worker()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:secret@host:6379/3", "redis://:secret@host:6379/3"),
        ("unix:///tmp/x/valkey.sock?db=2", "redis+socket:///tmp/x/valkey.sock?virtual_host=2"),
        ("unix:///tmp/x/valkey.sock", "redis+socket:///tmp/x/valkey.sock?virtual_host=0"),
        ("unix://:secret@/tmp/x.sock?db=1", "redis+socket://:secret@/tmp/x.sock?virtual_host=1"),
    ],
)
def test_a_redis_url_becomes_celerys(url, expected):
    assert broker.broker_from_url(url) == expected
