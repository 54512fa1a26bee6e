"""Without named servers lockers are off, and say so; everything else works. Named servers are those that are used."""

import json
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import get_resolver, reverse
from django.utils import timezone

from config.dev import embedded
from config.environment import Environment
from config.management.commands import doctor
from config.ops import health
from lockers import errors, tasks
from lockers.models import LockerTask, ServerReading
from lockers.operations import echo
from tests.api.caller import Caller, logged_in
from tests.api.endpoints import endpoints
from wallets import operations as wallets

OFF = "Lockers are switched off on this server"
LOCKERS = sorted(
    {(method, path) for method, path, _ in endpoints(get_resolver()) if path.startswith("/api/")}
    | {("GET", "/api/v1/wallets"), ("POST", "/api/v1/locker")}
)


@pytest.fixture
def off(settings: Any) -> None:
    settings.RAIDA_HOSTS = []


@pytest.fixture
def alice(db: None) -> Any:
    return logged_in("alice", wallets.create_api_key(name="partner")[1])


def test_no_server_is_a_default() -> None:
    assert Environment.model_fields["raida_hosts"].default == []


@pytest.mark.parametrize(("method", "path"), LOCKERS)
def test_every_endpoint_of_lockers_says_that_they_are_off(off: None, alice: Any, method: Any, path: Any) -> None:
    filled = re.sub(r"\{(\w+)\}", lambda found: str(uuid4()), path)

    answer = alice.send(method, filled, {} if method == "POST" else None)

    if method == "POST" and answer.status_code == 415:
        answer = alice.send(method, filled, b"", content_type="multipart/form-data; boundary=x")
    assert answer.status_code == 503, answer.content
    assert OFF in answer.content.decode()
    assert "COPPICE" not in answer.content.decode()
    assert LockerTask.objects.count() == 0


def test_what_needs_no_server_works_without_one(off: None, alice: Any) -> None:
    assert alice.get("/wallets?limit=10").status_code == 200
    assert alice.get("/events?limit=10").status_code == 200
    assert Caller().get("/api/v1/wallets").status_code == 401


def test_no_task_begins_or_is_worked_on(off: None, alice: Any) -> None:
    with pytest.raises(errors.LockersOff):
        echo.start(actor=alice.wallet)
    task = LockerTask.objects.create(
        kind="echo", wallet=alice.wallet, actor=alice.wallet, receipt_id="0" * 32,
        deadline=timezone.now() + timedelta(minutes=1),
    )  # fmt: skip

    tasks.run(str(task.pk))
    tasks.sweep()
    tasks.read_servers()

    task.refresh_from_db()
    assert (task.state, task.attempt, task.lease_until) == ("running", 0, None)
    assert ServerReading.objects.count() == 0


def test_doctor_and_readyz_say_off_and_not_down(off: None, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "READINESS", {"database": health.check_database})

    ready = Client().get("/readyz", headers={"host": "localhost"})

    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "database": "ok", "lockers": "off"})
    assert doctor.raida().startswith("off: ")
    assert "COPPICE_RAIDA_HOSTS" in doctor.raida()
    with pytest.raises(CommandError, match="Lockers are off"):
        call_command("audit", "--servers")


def test_the_desk_says_off_instead_of_a_count(off: None, admin_client: Client) -> None:
    home = admin_client.get(reverse("admin:index")).content.decode()

    assert "Lockers are off: no servers are configured." in home
    # The explanations of terms apart.
    assert "of 25" not in re.sub(r'title="[^"]*"', "", home)


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name in ("DATABASE_URL", "REDIS_URL", "COPPICE_SECRET_KEY", "COPPICE_VAULT_KEY", "COPPICE_RAIDA_HOSTS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("COPPICE_SECURE", "")
    monkeypatch.setenv("COPPICE_STATE_DIR", str(tmp_path))
    return tmp_path


def test_commands_use_the_servers_of_the_system_that_runs_from_the_checkout(checkout: Any) -> None:
    hosts = ",".join(f"raida{number}.example:5000" for number in range(25))
    running = {"pid": os.getpid(), "base_url": "http://127.0.0.1:1", "raida_port": None, "raida_hosts": hosts}
    (checkout / "running.json").write_text(json.dumps(running))

    embedded.fill_environment()

    assert os.environ["COPPICE_RAIDA_HOSTS"] == hosts


@pytest.mark.parametrize("database", ["", "postgresql://somebody@somewhere/coppice"])
def test_commands_use_no_server_if_nothing_runs(checkout: Any, monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    (checkout / "ports.json").write_text('{"raida": 50000}')
    (checkout / "running.json").write_text('{"pid": 0, "base_url": "", "raida_port": 50000, "raida_hosts": "x"}')
    if database:
        monkeypatch.setenv("DATABASE_URL", database)

    embedded.fill_environment()

    assert "COPPICE_RAIDA_HOSTS" not in os.environ
