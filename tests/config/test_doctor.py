"""What `manage.py doctor` says about files, packages, operators and servers, at both sides of each limit."""

import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import django
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone

from config.admin.models import FormerName
from config.dev import embedded
from config.management.commands import doctor
from config.ops import health
from config.postgresql import replica, sessions
from config.web import static_files
from lockers import key_rotation
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from tests.lockers.conftest import network, running_network
from tests.support.local_network import LocalNetwork
from wallets import operations as wallets
from wallets import queries

# Fixtures.
__all__ = ["network", "running_network"]


def failed(check: Any) -> str:
    """Return what a check finds wrong, "" if nothing."""
    try:
        check()
    except doctor.CheckFailed as error:
        return error.wrong if error.advice else "no advice"
    return ""


def test_a_secret_is_for_its_owner_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any) -> None:
    monkeypatch.setattr(doctor, "STATE", tmp_path)
    names = ("secret_key", "vault_key", "demo.json")
    assert failed(doctor.secrets) == ""
    for name in names:
        (tmp_path / name).touch(mode=0o600)
    assert failed(doctor.secrets) == ""
    for name in names:
        for mode in (0o640, 0o604, 0o620, 0o601):
            (tmp_path / name).chmod(mode)
            assert failed(doctor.secrets) == f"{tmp_path / name} is readable by other users", oct(mode)
        (tmp_path / name).chmod(0o600)
    settings.DEBUG = True
    assert failed(doctor.secrets).startswith("COPPICE_DEBUG is on")


def test_packages_are_those_that_are_locked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    here = django.__version__
    for line, wrong in (
        (f"django=={here}", ""),
        (f"django[argon2]=={here} ; python_version >= '3'", ""),
        ("django==0.1", f"django {here}, not 0.1"),
        # An installed package must be the locked one, whatever its condition.
        ("django==0.1 ; python_version < '3'", f"django {here}, not 0.1"),
        ("coppice-is-absent==1 ; python_version < '3'", ""),
        ("coppice-is-absent==1", "coppice-is-absent missing, not 1"),
    ):
        (tmp_path / "requirements.txt").write_text(f"# comment\n{line}\n    # via nothing\n")
        assert failed(doctor.packages) == wrong, line


def test_an_operator_is_active_and_of_the_staff(db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "STATE", tmp_path)
    User.objects.create_user("left", is_staff=True, is_active=False)
    User.objects.create_user("stranger")
    assert failed(doctor.operators) == "no operator can log in at /admin/"
    User.objects.create_user("olga", is_staff=True)
    assert doctor.operators() == "1 can log in at /admin/"


@pytest.mark.parametrize(("minutes", "wrong"), [(14, ""), (16, "1 pseudonymised wallets wait to be erased again")])
def test_a_second_erasure_may_wait_for_a_quarter_of_an_hour(db: None, minutes: int, wrong: str) -> None:
    due_at = timezone.now() - timedelta(minutes=minutes)
    FormerName.objects.create(wallet=wallets.create_wallet(name="closed"), name="anna", due_at=due_at)
    assert failed(doctor.pseudonyms).startswith(wrong)
    assert bool(failed(doctor.pseudonyms)) is bool(wrong)


def test_a_quorum_of_servers_is_told_from_less(network: LocalNetwork) -> None:
    said = {}
    for answer in (RAIDA_COUNT, QUORUM, QUORUM - 1, 0):
        network.fault(range(RAIDA_COUNT - answer), "down")
        try:
            said[answer] = doctor.raida()
        except doctor.CheckFailed as error:
            said[answer] = f"{error.wrong.partition(';')[0]}. {error.advice}"

    assert said == {
        25: "all 25 servers answer",
        13: "13 of 25 servers answer. The others are a quorum, so tasks continue. Check the silent servers.",
        12: "12 of 25 servers answer. A quorum of 13 servers is needed. Check the network, or wait.",
        0: "no server answers. Start the local network: make run. Or set COPPICE_RAIDA_HOSTS.",
    }


def raising(error: Exception) -> Any:
    def check(*_: object, **__: object) -> Any:
        raise error

    return check


def test_of_each_part_that_is_unwell_it_is_said_what_helps(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """A part of which nothing is known, because another is silent, needs that one."""
    for part, name, wrong, advice in (
        ("database", "check_database", "does not answer", "Start the system: make run. Or set DATABASE_URL"),
        ("settings", "check_settings", "jit is on", "Set COPPICE_DATABASE_POOLED=true for all processes. Store them"),
        ("writes", "check_writes", "read-only", "Name the primary in DATABASE_URL"),
        ("migrations", "check_migrations", "2 not applied", "Apply them: .venv/bin/python manage.py migrate"),
        ("broker", "check_broker", "refuses writes", "Start the system: make run. Or set REDIS_URL"),
        ("worker, beat", "check_worker", "no worker has been seen", "Start a worker and beat"),
    ):
        for said, helps in ((wrong, advice), ("unknown, it is silent", doctor.TRY_AGAIN)):
            monkeypatch.setattr(health, name, raising(health.Unhealthy(said)))
            with pytest.raises(doctor.CheckFailed) as failure:
                doctor.CHECKS[part]()
            assert failure.value.wrong == said
            assert failure.value.advice.startswith(helps), part
    settings.DATABASE_POOLED = sessions.Pooled.YES
    monkeypatch.setattr(health, "check_settings", raising(health.Unhealthy("jit is on")))
    with pytest.raises(doctor.CheckFailed) as failure:
        doctor.sessions_settings()
    assert failure.value.advice.startswith("Store them in the database")


def test_what_is_well_is_said_as_it_is_configured(db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(health, "check_settings", lambda: None)
    said = {}
    for pooled in sessions.Pooled:
        settings.DATABASE_POOLED = pooled
        said[pooled] = doctor.sessions_settings().partition(",")[0]
    assert said == {
        pooled: "sent by each connection" if pooled is sessions.Pooled.NO else "stored in the database"
        for pooled in sessions.Pooled
    }
    monkeypatch.setattr(replica, "is_configured", lambda: False)
    monkeypatch.setattr(health, "check_replica", lambda: "3 s behind")
    assert doctor.read_replica().startswith("none: ")
    monkeypatch.setattr(replica, "is_configured", lambda: True)
    assert doctor.read_replica() == "3 s behind"
    monkeypatch.setattr(health, "check_replica", raising(health.Unhealthy("too far behind")))
    assert failed(doctor.read_replica) == "too far behind"
    for is_current in (True, False):
        monkeypatch.setattr(static_files, "are_current", lambda is_current=is_current: is_current)
        assert bool(failed(doctor.pages)) is not is_current
    said_version = re.fullmatch(r"PostgreSQL (\d+)\S* .*answers", doctor.database())
    assert said_version is not None
    server = int(said_version[1])
    for oldest, wrong in ((server, False), (server + 1, True)):
        monkeypatch.setattr("config.dev.private_servers.OLDEST_POSTGRES", oldest)
        assert failed(doctor.database).endswith("is too old") is wrong


@pytest.mark.parametrize(
    ("unknown", "old", "wrong"),
    [
        ((0, 0), (0, 0), ""),
        ((0, 0), (1, 2), "3 secrets are sealed with an earlier key"),
        ((1, 2), (0, 0), "3 secrets are sealed with a key that is not configured"),
        ((0, 1), (1, 0), "1 secrets are sealed with a key that is not configured"),
    ],
)
def test_secrets_that_no_key_opens_come_first(
    monkeypatch: pytest.MonkeyPatch, unknown: tuple[int, int], old: tuple[int, int], wrong: str
) -> None:
    counts = [SimpleNamespace(unknown=a, old=b) for a, b in zip(unknown, old, strict=True)]
    monkeypatch.setattr(key_rotation, "counts", lambda: counts)
    assert failed(doctor.vault) == wrong


def test_at_most_50_names_are_listed_and_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (doctor.NAMES_AT_MOST, doctor.NAMES_AT_MOST + 3):
        odd = [(f"id-{each}", f"name {each}", "is odd", each % 2 == 0) for each in range(number)]
        monkeypatch.setattr(queries, "odd_names", lambda odd=odd: odd)
        first, *lines = [line.strip() for line in doctor.wallet_names().splitlines()]
        assert first.startswith(f"{number} stored names do not conform")
        assert lines[1].endswith("is odd; reached by its id only: id-1")
        assert lines[49].endswith("is odd; reached by its id only: id-49")
        assert lines[48].endswith("is odd; reached by its name or its id: id-48")
        assert lines[50:] == (["and 3 more"] if number > doctor.NAMES_AT_MOST else [])


def test_the_command_fails_if_one_check_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A line is as long as its text: a URL or a command is copied whole.
    long = ["word"] * 40
    well = {"one": lambda: "fine", "two": lambda: " ".join(long)}
    monkeypatch.setattr(doctor, "CHECKS", well)
    call_command("doctor")
    assert [line.split() for line in capsys.readouterr().out.splitlines() if line] == [
        ["✓", "one", "fine"], ["✓", "two", *long], ["All", "checks", "passed."],
    ]  # fmt: skip
    monkeypatch.setattr(doctor, "CHECKS", {"bad": raising(doctor.CheckFailed(" ".join(long), " ".join(long))), **well})
    with pytest.raises(SystemExit) as ended:
        call_command("doctor")
    assert ended.value.code == 1
    assert [line.split() for line in capsys.readouterr().out.splitlines() if line] == [
        ["✗", "bad", *long], ["→", *long], ["✓", "one", "fine"], ["✓", "two", *long],
        ["1", "of", "3", "checks", "failed."],
    ]  # fmt: skip


def test_programs_are_looked_for_unless_a_url_names_a_server(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "STATE", tmp_path)
    own = str(embedded.runtime_directory(tmp_path) / "pg")
    for name in ("Postgres", "Valkey"):
        monkeypatch.setattr(f"config.dev.private_servers.{name}", raising(vars(doctor)["StartError"]("install it")))
    for host, url, wrong in (
        ("db.example.org", "redis://redis.example.org/0", ""),
        (own, embedded.redis_url(tmp_path), "no usable program found"),
    ):
        monkeypatch.setitem(settings.DATABASES["default"], "HOST", host)
        settings.REDIS_URL = url
        assert [failed(doctor.postgres_binaries), failed(doctor.valkey_binary)] == [wrong, wrong]


def test_a_system_that_runs_here_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "read_running", lambda _: None)
    assert doctor.running_system().startswith("not started by")
    # Nothing listens there.
    monkeypatch.setattr(doctor, "read_running", lambda _: SimpleNamespace(base_url="http://127.0.0.1:1"))
    assert failed(doctor.running_system) == "the web server at http://127.0.0.1:1 does not answer"
