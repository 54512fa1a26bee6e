"""What `manage.py doctor` says about files, packages, operators and servers, at both sides of each limit."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from config.admin.models import FormerName
from config.management.commands import doctor
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from tests.lockers.conftest import network, running_network
from tests.support.local_network import LocalNetwork
from wallets import operations as wallets

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
