"""A backup is made while the ledger works, and becomes the same ledger in an empty database, or says why not."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from config.admin.models import Backup
from config.ops import backups, postgresql_programs
from config.ops.postgresql_programs import BackupError
from config.postgresql.sessions import Pooled
from lockers.models import Coin, LockerTask
from lockers.states import CoinState, TaskKind
from tests.concurrency.races import race
from tests.config.conftest import manage
from tests.support.databases import database_url, empty_database
from tests.support.movement_partitions import arrive_at, check_that_nothing_is_detached
from transfers import list_counts, operations, partitions
from trusts import operations as trusts
from wallets import images
from wallets import operations as wallets
from wallets.models import Token, Wallet

# Fixtures.
__all__ = ["empty_database"]


@pytest.fixture
def pictures(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


def picture(wallet: Wallet, content: bytes) -> str:
    """Store an image and let the wallet's logo be it; return its name."""
    name = images.store(images.Picture(content, "png"), wallet_id=wallet.pk)
    Wallet.objects.filter(pk=wallet.pk).update(logo_url=f"https://example.org/media/{name}")
    return name


@pytest.fixture
def backup(transactional_db: None, tmp_path: Path, pictures: Path) -> Any:
    """A ledger with a little of everything, and its backup."""
    alice = wallets.create_wallet(name="alice", password="correct horse")
    picture(alice, b"a logo")
    trusts.open_managed_wallet(actor=alice, name="bobby")
    operations.issue_tokens(wallet=alice, count=7)
    operations.send_bundle(actor=alice, sender="alice", receiver="bobby", size=3)
    assert list_counts.roll_up()
    # Not counted yet, and noted.
    trusts.open_managed_wallet(actor=alice, name="seedling")
    operations.send_bundle(actor=alice, sender="alice", receiver="seedling", size=1)
    task = LockerTask.objects.create(
        kind=TaskKind.IMPORT, wallet=alice, actor=alice, receipt_id="0" * 32, deadline="2999-01-01 00:00Z", progress=5
    )
    Coin.objects.create(
        wallet=alice, denomination=0, serial_number=1, state=CoinState.INCOMING, origin=TaskKind.IMPORT, pown="p" * 25,
        secrets=b"sealed", task=task, batch=0, outcome="p" * 5 + "d" + "-" * 19,
    )  # fmt: skip
    # Ended, so not in flight.
    LockerTask.objects.create(
        kind=TaskKind.ECHO, wallet=alice, actor=alice, receipt_id="1" * 32, deadline="2999-01-01 00:00Z",
        state="error", step="done", finished_at=timezone.now(),
    )  # fmt: skip
    directory = tmp_path / "backup"
    backups.back_up(directory)
    # After the backup: not in it.
    wallets.create_wallet(name="charlie")
    return directory


def restore(directory: Any, url: Any, *arguments: Any, **more: str) -> Any:
    environment = os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings.base"} | more
    return manage("restore", str(directory), *arguments, environment=environment)


def rows(url: Any) -> Any:
    """What the restored database holds, read over a separate connection."""
    with psycopg.connect(url) as other:
        return {
            "wallets": [row[0] for row in other.execute("SELECT name FROM wallets_wallet ORDER BY name")],
            "tokens": other.execute(
                "SELECT md5(string_agg(token::text, ' ' ORDER BY id)) FROM wallets_token AS token"
            ).fetchone()[0],
            "counts": other.execute(
                "SELECT own, visible, managed FROM transfers_listtally ORDER BY managed"
            ).fetchall(),
            "noted": other.execute("SELECT count(*) FROM transfers_controlchange").fetchone()[0],
            "marks": other.execute("SELECT outcome FROM lockers_coin").fetchone()[0],
        }


def test_a_restored_database_is_the_one_that_was_backed_up(backup: Any, empty_database: Any, tmp_path: Path) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    assert manifest["counts"]["wallets_wallet"] == 3
    assert manifest["counts"]["transfers_movement"] == 11
    assert manifest["in_flight"] == 1
    made = Backup.objects.get()
    # As of the snapshot, not of the end of the dump.
    assert (made.made_at.isoformat(), made.bytes) == (manifest["made_at"], (backup / "database.dump").stat().st_size)
    assert manifest["counts"]["wallets_event"] > 0
    assert {path.name: path.stat().st_mode & 0o777 for path in (backup, *backup.iterdir())} == {
        backup.name: 0o700,
        "database.dump": 0o600,
        "images": 0o700,
        "manifest.json": 0o600,
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT md5(string_agg(token::text, ' ' ORDER BY id)) FROM wallets_token AS token")
        (tokens,) = cursor.fetchone()

    (name,) = (path.name for path in (backup / "images").iterdir())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # Of a restore that was interrupted.
    (elsewhere / name).write_bytes(b"a l")

    restored = restore(backup, empty_database, COPPICE_MEDIA=str(elsewhere))

    assert restored.returncode == 0, restored.stderr
    assert "Images: 1 restored." in restored.stdout
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == {name: b"a logo"}
    assert "Nothing was lost or doubled, as of the moment of the backup." in restored.stdout
    assert "1 tasks were under way then" in restored.stdout
    assert "Migrations: nothing to apply." in restored.stdout
    assert rows(empty_database) == {
        "wallets": ["alice", "bobby", "seedling"],
        "tokens": tokens,
        "counts": [(1, 1, 0), (1, 1, 1)],
        "noted": 1,
        # What was never sent at the moment of the backup may have been sent since.
        "marks": "p" * 5 + "n" * 20,
    }

    again = restore(backup, empty_database)
    assert again.returncode == 1
    assert "would lose 3 wallets and 7 tokens" in again.stderr
    replaced = restore(backup, empty_database, "--replace")
    assert replaced.returncode == 0, replaced.stderr


def test_the_images_of_a_backup_are_those_to_which_a_row_refers(
    transactional_db: None,
    tmp_path: Path,
    pictures: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice, bob, carol = (wallets.create_wallet(name=name) for name in ("alice", "bobby", "carol"))
    kept, lost = picture(alice, b"a logo"), picture(bob, b"a lost one")
    (pictures / lost).unlink()
    # The third refers to another wallet's image, and no wallet to the last image.
    Wallet.objects.filter(pk=carol.pk).update(logo_url=f"https://example.org/media/{kept}")
    images.store(images.Picture(b"replaced", "png"), wallet_id=alice.pk)
    directory = tmp_path / "backup"
    flushed: list[Path] = []
    monkeypatch.setattr(images, "flush", flushed.append)

    call_command("backup", str(directory))

    # A backup survives a power failure.
    assert {path.name for path in flushed} == {kept, "images", "database.dump", "manifest.json", "backup.partial"}
    told = capsys.readouterr()
    assert "1 images of wallets." in told.out
    assert f"1 images to which wallets refer are not in {pictures}." in told.err
    assert {path.name: path.read_bytes() for path in (directory / "images").iterdir()} == {kept: b"a logo"}
    assert (directory / "images").stat().st_mode & 0o777 == 0o700

    for damage in (b"a pogo", None):
        (directory / "images" / kept).unlink()
        if damage is not None:
            (directory / "images" / kept).write_bytes(damage)
        with pytest.raises(BackupError, match=r"images differs from manifest\.json"):
            backups.read_manifest(directory)


def test_logos_and_covers_are_images_of_a_backup(db: None, pictures: Path) -> None:
    alice, bob = (wallets.create_wallet(name=name) for name in ("alice", "bobby"))
    logo, cover = picture(alice, b"a logo"), picture(bob, b"a cover")
    Wallet.objects.filter(pk=bob.pk).update(cover_url=f"https://example.org/media/{cover}", logo_url=None)

    assert backups._images_referred_to() == {logo, cover}


def test_an_image_that_is_replaced_while_the_backup_is_made_is_in_it(
    transactional_db: None, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = wallets.create_wallet(name="alice")
    first = picture(alice, b"the first")
    program = postgresql_programs.find

    def replaced(*arguments: Any, **keywords: Any) -> Any:
        """The snapshot is taken."""

        def change() -> None:
            name = images.store(images.Picture(b"the second", "png"), wallet_id=alice.pk)
            trusts.describe_wallet(actor=alice, wallet_id=alice.pk, logo_url=f"https://example.org/media/{name}")

        assert race([change]) == [None]
        assert not (pictures / first).exists()
        return program(*arguments, **keywords)

    monkeypatch.setattr(postgresql_programs, "find", replaced)
    manifest = backups.back_up(tmp_path / "backup")

    assert (manifest.images, manifest.images_missing) == (1, 0)
    assert [path.name for path in (tmp_path / "backup" / "images").iterdir()] == [first]


def test_an_image_that_is_replaced_before_the_snapshot_is_not_in_the_backup(db: None, pictures: Path) -> None:
    alice = wallets.create_wallet(name="alice")
    picture(alice, b"the first")
    copies = pictures.parent / "copies"
    copies.mkdir()
    backups._copy_images(copies)
    second = picture(alice, b"the second")

    assert backups._copy_images(copies) == 0
    assert {path.name: path.read_bytes() for path in copies.iterdir()} == {second: b"the second"}


def test_a_backup_of_an_earlier_version_has_no_images(backup: Any) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    shutil.rmtree(backup / "images")
    earlier = {name: value for name, value in manifest.items() if not name.startswith("images")}
    (backup / "manifest.json").write_text(json.dumps(earlier))

    assert backups.read_manifest(backup).images == 0


def test_what_the_audit_finds_in_a_restored_database_is_said_and_is_a_failure(
    backup: Any, empty_database: Any, tmp_path: Path
) -> None:
    token = Token.objects.filter(moves=1)[0]
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE wallets_token SET arrival = arrival + 1000 WHERE id = %s", [token.pk])
        cursor.execute("SET session_replication_role = DEFAULT")
    backups.back_up(tmp_path / "unsound")

    restored = restore(tmp_path / "unsound", empty_database)

    assert restored.returncode == 1
    assert f"a token is where its last movement put it: token {token.pk}" in restored.stderr
    # A single one is enough.
    assert "1 findings: do not let this database serve" in restored.stderr


def test_a_backup_with_another_vault_key_is_refused_and_nothing_is_touched(backup: Any, settings: Any) -> None:
    settings.VAULT_KEY = "b3RoZXIgdmF1bHQga2V5LCAzMiBieXRlcyBsb25nISE="

    with pytest.raises(BackupError, match="COPPICE_VAULT_KEY is not the key"):
        backups.restore(backup, replace=True)

    assert Wallet.objects.filter(name="charlie").exists()


def test_a_database_that_others_use_or_that_is_behind_a_pooler_is_refused(backup: Any, settings: Any) -> None:
    settings.DATABASE_POOLED, settings.DATABASE_DIRECT = Pooled.YES, None
    with pytest.raises(BackupError, match="COPPICE_DATABASE_DIRECT_URL"):
        backups.restore(backup, replace=True)
    settings.DATABASE_POOLED = Pooled.NO
    with psycopg.connect(database_url()), pytest.raises(BackupError, match="1 others are connected"):
        backups.restore(backup, replace=True)

    assert Wallet.objects.filter(name="charlie").exists()


def test_a_damaged_backup_and_one_of_a_newer_version_are_refused(backup: Any, tmp_path: Path) -> None:
    def changed(name: Any, **changes: Any) -> Any:
        copy = tmp_path / name
        shutil.copytree(backup, copy)
        manifest = json.loads((copy / "manifest.json").read_text())
        (copy / "manifest.json").write_text(json.dumps(manifest | changes))
        return copy

    newer = changed("newer", migrations=[["wallets", "0001_initial"], ["wallets", "9999_from_the_future"]])
    damaged = changed("damaged")
    with (damaged / "database.dump").open("r+b") as file:
        file.seek(100)
        (byte,) = file.read(1)
        file.seek(100)
        # Another byte whatever was there.
        file.write(bytes([byte ^ 0xFF]))

    for directory, sentence in [
        (newer, "1 of its migrations are unknown here"),
        (damaged, "is not the file of which"),
        (changed("format", format=2), "has format 2"),
        (changed("field", surprise=1), "cannot be read"),
        (tmp_path / "nowhere", "is no backup"),
    ]:
        with pytest.raises(BackupError, match=sentence):
            backups.read_manifest(directory)


def test_a_backup_that_fails_leaves_nothing(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_programs, "find", lambda name, at_least: (Path("/bin/false"), "18.0"))

    with pytest.raises(BackupError, match="false failed: it did not say why"):
        backups.back_up(tmp_path / "backup")

    assert list(tmp_path.iterdir()) == []


def test_a_backup_never_goes_over_another(backup: Any) -> None:
    with pytest.raises(BackupError, match="is there already"):
        backups.back_up(backup)


def test_neither_argument_lists_nor_the_manifest_hold_a_secret(backup: Any, settings: Any) -> None:
    text = (backup / "manifest.json").read_text()

    assert settings.VAULT_KEY not in text
    assert settings.SECRET_KEY not in text
    assert set(json.loads(text)["fingerprints"]) == {"COPPICE_SECRET_KEY", "COPPICE_VAULT_KEY"}


def test_a_missing_program_is_named_with_what_to_install() -> None:
    with pytest.raises(BackupError, match="postgresql-client-999"):
        postgresql_programs.find("pg_dump", at_least=999)


def test_the_oldest_program_that_is_new_enough_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A newer one may write what an older PostgreSQL cannot read."""
    monkeypatch.setattr(postgresql_programs, "postgres_on_the_machine", list)
    monkeypatch.setattr(postgresql_programs, "wheel_directory", lambda name: None)
    directories = []
    for version in ("18.1", "15.9", "17.2", "9.6"):
        directories.append(tmp_path / version)
        directories[-1].mkdir()
        program = directories[-1] / "pg_dump"
        program.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, directories), os.environ["PATH"]]))

    found = {at_least: postgresql_programs.find("pg_dump", at_least=at_least)[1] for at_least in (15, 16, 17, 18)}

    assert found == {15: "15.9", 16: "17.2", 17: "17.2", 18: "18.1"}


def test_a_backup_through_a_pooler_is_refused_unless_a_way_past_it_is_named(settings: Any, tmp_path: Path) -> None:
    settings.DATABASE_POOLED, settings.DATABASE_DIRECT = Pooled.YES, None

    with pytest.raises(BackupError, match="COPPICE_DATABASE_DIRECT_URL"):
        backups.back_up(tmp_path / "backup")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_a_standby_is_not_taken_for_a_recovered_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA standby")
        cursor.execute("CREATE FUNCTION standby.pg_is_in_recovery() RETURNS boolean LANGUAGE sql RETURN true")
        cursor.execute("SET LOCAL search_path = standby, public, pg_catalog")

    with pytest.raises(BackupError, match="PostgreSQL is still recovering"):
        backups.accept_recovery()


def test_the_variables_of_a_shell_do_not_reach_the_programs_of_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or `PGSERVICE` or `PGOPTIONS` would lead pg_dump elsewhere, or restore with other settings."""
    for name in ("PGSERVICE", "PGOPTIONS", "PGHOST", "PGTARGETSESSIONATTRS"):
        monkeypatch.setenv(name, "of the shell")

    environment = postgresql_programs.environment()

    assert environment["PGDATABASE"] == connection.settings_dict["NAME"]
    assert environment["PATH"] == os.environ["PATH"]
    assert "of the shell" not in environment.values()


def test_no_movements_are_detached_after_a_backup_took_its_snapshot(transactional_db: None, tmp_path: Path) -> None:
    wallet = wallets.create_wallet(name="alice")
    operations.issue_tokens(wallet=wallet, count=5)
    newest = partitions.newest_id()

    check_that_nothing_is_detached(during=lambda: backups.back_up(tmp_path / "backup"), at="pg_export_snapshot")

    assert (tmp_path / "backup").is_dir()
    arrive_at(newest + 1000)
