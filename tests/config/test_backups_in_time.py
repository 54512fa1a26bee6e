"""A backup is of one moment, whatever is written beside it; and what was under way then is doubted afterwards."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.ops import backups, postgresql_programs
from config.ops.postgresql_programs import BackupError
from lockers import account_ledger
from lockers.account_ledger import Posting
from lockers.coin_breaks import FIRST_BREAK
from lockers.models import Coin, LockerTask
from lockers.states import CoinState, LineType, Mark, TaskKind
from tests.concurrency.races import race
from tests.config.conftest import manage
from tests.support.databases import empty_database
from transfers import operations
from trusts import operations as trusts
from wallets import operations as wallets
from wallets.models import Wallet

__all__ = ["empty_database"]

OTHER_KEY = "b3RoZXIgdmF1bHQga2V5LCAzMiBieXRlcyBsb25nISE="


@pytest.fixture
def alice(transactional_db: None) -> Wallet:
    """Has 7 tokens, and a coin that the servers are breaking."""
    wallet = wallets.create_wallet(name="alice")
    trusts.open_managed_wallet(actor=wallet, name="bobby")
    operations.issue_tokens(wallet=wallet, count=7)
    task = LockerTask.objects.create(
        kind=TaskKind.BREAK, wallet=wallet, actor=wallet, receipt_id="0" * 32, deadline="2999-01-01 00:00Z", progress=5
    )
    Coin.objects.create(
        wallet=wallet, denomination=0, serial_number=1, state=CoinState.BANK, origin=TaskKind.IMPORT, pown="p" * 25,
        secrets=b"sealed", task=task, batch=FIRST_BREAK, outcome=Mark.UNASKED * 25,
    )  # fmt: skip
    account_ledger.post(task_id=task.pk, postings=[Posting(wallet.pk, 10**8, LineType.IMPORTED)])
    return wallet


def restore(directory: Path, url: str) -> Any:
    environment = os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings.base"}
    return manage("restore", str(directory), environment=environment)


def written_beside(monkeypatch: pytest.MonkeyPatch, write: Callable[[], Any], *, has_snapshot: bool = True) -> None:
    """Have another connection write between the counting and the dump."""
    run = postgresql_programs.run

    def write_and_run(program: Path, *arguments: str) -> None:
        (outcome,) = race([write])
        assert not isinstance(outcome, Exception)
        run(program, *(each for each in arguments if has_snapshot or not each.startswith("--snapshot")))

    monkeypatch.setattr(postgresql_programs, "run", write_and_run)


@pytest.mark.parametrize("has_snapshot", [True, False], ids=["", "control"])
def test_what_is_written_while_a_backup_is_made_is_not_in_it(
    alice: Wallet, empty_database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_snapshot: bool
) -> None:
    def write() -> None:
        wallets.create_wallet(name="charlie")
        operations.issue_tokens(wallet=alice, count=5)
        operations.send_bundle(actor=alice, sender="alice", receiver="bobby", size=2)

    written_beside(monkeypatch, write, has_snapshot=has_snapshot)
    manifest = backups.back_up(tmp_path / "backup")

    restored = restore(tmp_path / "backup", empty_database)

    if not has_snapshot:
        # That tables have other numbers of rows than were counted is noticed, each of them.
        assert restored.returncode == 1
        assert "What was restored is not what was backed up: transfers_issue, transfers_movement, " in restored.stderr
        return
    assert restored.returncode == 0, restored.stderr
    assert "Nothing was lost or doubled, as of the moment of the backup." in restored.stdout
    assert (manifest.counts["wallets_wallet"], manifest.counts["wallets_token"]) == (2, 7)
    with psycopg.connect(empty_database) as other:
        assert other.execute("SELECT count(*), sum(moves) FROM wallets_token").fetchone() == (7, 0)
        # The ten of a coin that is being broken may have been asked for since.
        assert other.execute("SELECT outcome FROM lockers_coin").fetchall() == [(Mark.SENT * 25,)]


def test_a_restore_that_differs_in_the_rows_of_a_table_is_refused(
    alice: Wallet, empty_database: Any, tmp_path: Path
) -> None:
    """A row less, a row more, so that there are as many in all, and a table that is not in the manifest."""
    backups.back_up(tmp_path / "backup")
    path = tmp_path / "backup" / backups.MANIFEST
    manifest = json.loads(path.read_text())
    counts = manifest["counts"]
    assert counts.pop("lockers_locker") == 0
    counts["wallets_token"] += 1
    counts["wallets_wallet"] -= 1
    path.write_text(json.dumps(manifest))

    restored = restore(tmp_path / "backup", empty_database)

    assert restored.returncode == 1
    assert (
        "What was restored is not what was backed up: lockers_locker, wallets_token, wallets_wallet." in restored.stderr
    )


def test_a_restore_that_fails_leaves_the_database_as_it_was(alice: Wallet, empty_database: Any, tmp_path: Path) -> None:
    backups.back_up(tmp_path / "backup")
    with psycopg.connect(empty_database) as other:
        # Stands where the last of the tables is to be made.
        other.execute("CREATE VIEW wallets_wallet AS SELECT 1")

    restored = restore(tmp_path / "backup", empty_database)

    assert restored.returncode == 1
    assert 'relation "wallets_wallet" already exists' in restored.stderr
    with psycopg.connect(empty_database) as other:
        assert other.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_the_key_of_a_backup_may_be_one_of_the_old_ones(alice: Wallet, tmp_path: Path, settings: Any) -> None:
    backups.back_up(tmp_path / "backup")
    settings.VAULT_OLD_KEYS, settings.VAULT_KEY = [settings.VAULT_KEY], OTHER_KEY

    # It is the next thing that is wrong which is said.
    with pytest.raises(BackupError, match="The database is not empty"):
        backups.restore(tmp_path / "backup")

    for secret_key, says in (
        (settings.SECRET_KEY, 0),
        ("another signing key " * 3, 1),
    ):
        settings.SECRET_KEY, said = secret_key, list[str]()
        with pytest.raises(BackupError, match="The database is not empty"):
            backups.restore(tmp_path / "backup", say=said.append)
        assert [each.startswith("COPPICE_SECRET_KEY differs") for each in said].count(True) == says

    settings.VAULT_OLD_KEYS = []
    with pytest.raises(BackupError, match="COPPICE_VAULT_KEY is not the key"):
        backups.restore(tmp_path / "backup")
    assert Wallet.objects.count() == 2
