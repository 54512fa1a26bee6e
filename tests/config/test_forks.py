"""A backup of another history is refused, and one of the same goes on where it ended."""

import os
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client

from config.ops import backups
from config.ops.postgresql_programs import BackupError
from config.seals import sealing
from tests.config.conftest import manage
from tests.support.databases import database_url, empty_database
from tests.support.sealed_rows import execute
from transfers import operations
from transfers.seal_models import Seal
from wallets import operations as wallets

# Fixtures.
__all__ = ["empty_database"]

_GO_ON = """
from config.seals import sealing
from transfers import operations
from wallets.models import Wallet
operations.issue_tokens(wallet=Wallet.objects.get(), count=1)
print(sealing.seal(is_due=True))
"""


@pytest.fixture
def backup(transactional_db: None, tmp_path: Path) -> Path:
    """A backup with two seals, of a database that has a third by now."""
    alice = wallets.create_wallet(name="alice")
    for _ in range(2):
        operations.issue_tokens(wallet=alice, count=3)
        sealing.seal(is_due=True)
    backups.back_up(tmp_path / "backup")
    (tmp_path / "kept.json").write_bytes(Client().get("/public/checkpoints").content)
    operations.issue_tokens(wallet=alice, count=3)
    sealing.seal(is_due=True)
    return tmp_path / "backup"


def hashes() -> dict[int, bytes]:
    return {height: bytes(each) for height, each in Seal.objects.values_list("height", "hash")}


def test_a_backup_of_another_history_is_refused_and_changes_nothing(backup: Path) -> None:
    before = hashes()
    assert set(before) == {1, 2, 3}
    with pytest.raises(BackupError, match="its seal 2 is not the checkpoint that was kept"):
        backups.restore(backup, replace=True, kept={1: before[1], 2: before[3]})
    # The checkpoint was made after the backup: nothing shows that one continues the other.
    with pytest.raises(BackupError, match="has 2 seals and none at the heights"):
        backups.restore(backup, replace=True, kept={3: before[3]})
    assert hashes() == before
    with psycopg.connect(database_url()):
        # What is refused here is the restore into a database that others use: the histories are the same.
        with pytest.raises(BackupError, match="others are connected"):
            backups.restore(backup, replace=True, kept={2: before[2], 3: before[3]})
        with transaction.atomic():
            execute("UPDATE transfers_seal SET hash = sha256(hash) WHERE height = 2")
        with pytest.raises(CommandError, match=r"its seal 2 is not that of this database.*--allow-fork"):
            call_command("restore", backup, "--replace")
        with pytest.raises(CommandError, match="others are connected"):
            call_command("restore", backup, "--replace", "--allow-fork")
    assert Seal.objects.count() == 3


def test_new_seals_after_a_restore_continue_those_of_the_backup(backup: Path, empty_database: Any) -> None:
    environment = os.environ | {"DATABASE_URL": empty_database, "DJANGO_SETTINGS_MODULE": "config.settings.base"}
    kept = str(backup.parent / "kept.json")

    restored = manage("restore", str(backup), "--checkpoints", kept, environment=environment)
    assert restored.returncode == 0, restored.stderr
    went_on = manage("shell", "--no-imports", "-c", _GO_ON, environment=environment)
    assert went_on.stdout.split()[-1:] == ["1"], went_on.stderr
    verified = manage("verify", "--checkpoints", kept, environment=environment)

    assert verified.returncode == 0, verified.stderr
    assert "3 seals with" in verified.stdout
    assert "It continues the 2 checkpoints" in verified.stdout
    assert "Not signed: 3 of these" in verified.stdout
    with psycopg.connect(empty_database) as other:
        chain = other.execute("SELECT height, hash, previous FROM transfers_seal ORDER BY height").fetchall()
    assert [row[0] for row in chain] == [1, 2, 3]
    assert [(height, bytes(hash_)) for height, hash_, _ in chain[:2]] == [
        (height, hash_) for height, hash_ in hashes().items() if height < 3
    ]
    assert bytes(chain[2][2]) == hashes()[2]
    assert bytes(chain[2][1]) != hashes()[3]
