"""
Backup and restore of the database and of the images of wallets.

A backup is a directory: `database.dump` in pg_dump's custom format, `images` with the images that wallets refer to, and
`manifest.json` with the version, the migrations, the number of rows of every table, digests of the dump and of the
images, and fingerprints of the keys that the data needs. Counts, dump and images are of one snapshot. Images in an S3
store are not in a backup.

A backup holds no keys. The database holds authenticity numbers encrypted with COPPICE_VAULT_KEY; the coins belong to
anyone who has both, so the two are stored in different places.

Decided 2026-11-21: pg_dump's format, not one of our own (COPY from one transaction), which would need no program:
pg_restore alone restores such a backup when nothing else works. pg_dump is on every machine that has PostgreSQL, and
in the wheel of the private server.
"""

import hashlib
import hmac
import json
import logging
import shutil
import tomllib
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Q
from django.utils import timezone

from config.admin.models import Backup
from config.environment import ROOT
from config.ops import audits, request_log
from config.ops import postgresql_programs as programs
from config.ops.postgresql_programs import BackupError
from config.postgresql.sessions import Pooled
from config.seals import forks
from lockers import restore as recovery
from transfers import partitions
from wallets import errors, images
from wallets.audit import Finding
from wallets.models import Wallet

log = logging.getLogger("coppice.backup")

FORMAT: Final = 1
DUMP: Final = "database.dump"
IMAGES: Final = "images"
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`. Holds no secret."""

    format: int
    version: str
    made_at: str
    server_version: str
    dumped_with: str
    dump_bytes: int
    dump_sha256: str
    # App and name of every migration that had been applied.
    migrations: list[list[str]]
    # Rows of every table.
    counts: dict[str, int]
    # Digests that identify the keys and do not reveal them, by the names of the settings.
    fingerprints: dict[str, str]
    # The number of running tasks, which were exchanging messages with the RAIDA servers.
    in_flight: int
    # The following are not in backups of earlier versions. Images, those that wallets refer to and that are missing,
    # and a digest of the names and contents.
    images: int = 0
    images_missing: int = 0
    images_sha256: str = ""


@dataclass(frozen=True)
class Restored:
    """The result of a restore; `migrated` counts the migrations that were applied."""

    manifest: Manifest
    migrated: int
    in_flight: list[recovery.InFlight]
    findings: list[Finding]


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def fingerprints() -> dict[str, str]:
    """Identify keys without revealing them: a keyed digest of a constant, cut to 64 bits."""
    keys = {
        "COPPICE_VAULT_KEY": b64decode(settings.VAULT_KEY),
        "COPPICE_SECRET_KEY": settings.SECRET_KEY.encode(),
    }
    return {name: _fingerprint(key) for name, key in sorted(keys.items())}


def _fingerprint(key: bytes) -> str:
    return hmac.new(key, b"coppice backup", hashlib.sha256).hexdigest()[:16]


# --- Making one ------------------------------------------------------------------------------


def back_up(directory: Path) -> Manifest:
    """
    Write a backup of the database and the images into a new directory.

    :raises BackupError: the directory exists, pg_dump is missing, or it failed; then nothing is left on the disk
    """
    _go_past_the_pooler()
    if directory.exists():
        raise BackupError(f"{directory} is there already. Name a directory that is not.")
    partial = directory.with_name(f"{directory.name}.partial")
    try:
        partial.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise BackupError(f"{partial} cannot be made: {error.strerror}.") from error
    try:
        manifest = _write(partial)
        partial.rename(directory)
    except BaseException:
        shutil.rmtree(partial)
        raise
    record(bytes=manifest.dump_bytes, made_at=datetime.fromisoformat(manifest.made_at))
    return manifest


def record(*, bytes: int, made_at: datetime | None = None) -> None:  # noqa: A002
    """Record a completed backup, for the alert of a late one. A standby server cannot, and needs not."""
    try:
        Backup.objects.create(made_at=made_at or timezone.now(), bytes=bytes)
    except DatabaseError as error:
        log.warning("backup_not_recorded", extra={"error": type(error).__name__})


def _write(directory: Path) -> Manifest:
    dump = directory / DUMP
    pictures = directory / IMAGES
    if images.is_local():
        pictures.mkdir(mode=0o700)
        # Before the snapshot too: an image that is replaced after the snapshot is deleted.
        _copy_images(pictures)
    missing = 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        partitions.keep()
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_export_snapshot(), current_setting('server_version')")
        snapshot, server_version = cursor.fetchone()
        program, dumped_with = programs.find("pg_dump", at_least=int(server_version.split(".")[0]))
        made_at = timezone.now().isoformat(timespec="seconds")
        counts = _counts()
        migrations = _applied()
        cursor.execute("SELECT count(*) FROM lockers_lockertask WHERE state = 'running'")
        (in_flight,) = cursor.fetchone()
        if images.is_local():
            missing = _copy_images(pictures)
        programs.run(
            program,
            "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={dump}",
            f"--exclude-table-data={request_log.TABLE}*",
        )  # fmt: skip
    dump.chmod(0o600)
    manifest = Manifest(
        format=FORMAT,
        version=version(),
        made_at=made_at,
        server_version=server_version,
        dumped_with=dumped_with,
        dump_bytes=dump.stat().st_size,
        dump_sha256=_digest(dump),
        migrations=migrations,
        counts=counts,
        fingerprints=fingerprints(),
        in_flight=in_flight,
        images=len(_images_in(directory)),
        images_missing=missing,
        images_sha256=_digest_of_images(directory),
    )
    path = directory / MANIFEST
    path.touch(mode=0o600)
    path.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
    # A backup must survive a power failure.
    for written in (*_images_in(directory), *([pictures] if pictures.exists() else []), dump, path, directory):
        images.flush(written)
    return manifest


def _copy_images(directory: Path) -> int:
    """Make `directory` hold the images that wallets refer to, and return how many of them are not stored."""
    wanted = _images_referred_to()
    for path in directory.iterdir():
        if path.name not in wanted:
            path.unlink()
    missing = 0
    for name in wanted:
        if not (directory / name).exists():
            try:
                # A stored image never changes.
                shutil.copyfile(default_storage.path(name), directory / name)
            except FileNotFoundError:
                missing += 1
            except OSError as error:
                raise BackupError(f"The image {name} cannot be copied: {error.strerror}.") from error
    return missing


def _images_referred_to() -> set[str]:
    pictured = Wallet.objects.filter(Q(logo_url__gt="") | Q(cover_url__gt=""))
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        rows = pictured.values_list("pk", "logo_url", "cover_url").iterator()
        named = (images.own_name(url, wallet_id=wallet_id) for wallet_id, *urls in rows for url in urls)
        return {name for name in named if name is not None}


# --- Restoring one ---------------------------------------------------------------------------


def read_manifest(directory: Path) -> Manifest:
    """
    Read the manifest of a backup, and compare the dump with its digest.

    :raises BackupError: the directory is no backup, is damaged, or was made by a newer version
    """
    try:
        manifest = Manifest(**json.loads((directory / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BackupError(f"{directory} is no backup: it has no {MANIFEST}.") from error
    except (OSError, ValueError, TypeError) as error:
        raise BackupError(f"{directory / MANIFEST} cannot be read, or was made by another version.") from error
    if manifest.format != FORMAT:
        raise BackupError(f"This backup has format {manifest.format}; this Coppice reads {FORMAT}.")
    dump = directory / DUMP
    if not dump.exists() or _digest(dump) != manifest.dump_sha256:
        raise BackupError(f"{dump} is missing, or is not the file of which {MANIFEST} speaks. Use another backup.")
    if manifest.images_sha256 and _digest_of_images(directory) != manifest.images_sha256:
        raise BackupError(f"{directory / IMAGES} differs from {MANIFEST}. Use another backup.")
    unknown = {(app, name) for app, name in manifest.migrations} - set(MigrationLoader(None).disk_migrations)
    if unknown:
        raise BackupError(
            f"This backup was made by a newer Coppice ({manifest.version}; this is {version()}): "
            f"{len(unknown)} of its migrations are unknown here. Restore it with that version."
        )
    return manifest


def restore(
    directory: Path,
    *,
    replace: bool = False,
    kept: Mapping[int, bytes] | None = None,
    allows_fork: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> Restored:
    """
    Restore a backup into the database and the storage of images, apply the migrations of this code, and audit the
    result.

    Images that are stored already stay, also those to which nothing refers.

    The seals of the backup must be those of the database that it replaces and of the checkpoints `kept` (hashes by
    height), as far as both have them, unless it `allows_fork`.

    :raises BackupError: the backup is damaged, its history is another, the keys differ, another client is connected,
        the database is not empty (unless `replace`), an image cannot be stored, or the restored rows differ from the
        manifest in number
    """
    manifest = read_manifest(directory)
    _go_past_the_pooler()
    say(f"The dump is whole: {manifest.dump_bytes:,} bytes, made {manifest.made_at}, by version {manifest.version}.")
    ours = fingerprints()
    if manifest.fingerprints.get("COPPICE_VAULT_KEY") not in [
        ours["COPPICE_VAULT_KEY"],
        *(_fingerprint(b64decode(key)) for key in settings.VAULT_OLD_KEYS),
    ]:
        raise BackupError(
            "COPPICE_VAULT_KEY is not the key with which this backup's coins were sealed. Without that key their "
            "authenticity numbers are lost. Set it, and try again."
        )
    if manifest.fingerprints.get("COPPICE_SECRET_KEY") != ours["COPPICE_SECRET_KEY"]:
        say("COPPICE_SECRET_KEY differs: operators must log in again, and cursors of lists are no longer valid.")
    if not allows_fork:
        _refuse_fork(directory, manifest, kept, replace=replace)
    _empty(replace=replace)
    # Before the rows that refer to them.
    for path in _images_in(directory):
        try:
            images.restore(path.name, path.read_bytes())
        except (errors.ImageNotStored, OSError) as error:
            raise BackupError(
                f"The image {path.name} cannot be stored: {error}. The database is empty; try again."
            ) from error
    if manifest.images or manifest.images_missing:
        missing = f"; {manifest.images_missing:,} more were missing" if manifest.images_missing else ""
        say(f"Images: {manifest.images:,} restored{missing}.")
    program, _ = programs.find("pg_restore", at_least=int(manifest.dumped_with.split(".")[0]))
    programs.run(
        program,
        "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction",
        f"--dbname={connection.settings_dict['NAME']}", str(directory / DUMP),
    )  # fmt: skip
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        counts = _counts()
    if counts != manifest.counts:
        differing = sorted(
            table for table in {*counts, *manifest.counts} if counts.get(table) != manifest.counts.get(table)
        )
        raise BackupError(f"What was restored is not what was backed up: {', '.join(differing)}.")
    say(f"{sum(counts.values()):,} rows in {len(counts)} tables, as many in each as were backed up.")
    before = len(_applied())
    call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
    migrated = len(_applied()) - before
    say(f"Migrations: {f'{migrated} applied' if migrated else 'nothing to apply'}.")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return Restored(manifest, migrated, *accept_recovery())


def _refuse_fork(directory: Path, manifest: Manifest, kept: Mapping[int, bytes] | None, *, replace: bool) -> None:
    """:raises BackupError: the seals of the backup are not those of the database, or not those that were kept"""
    ours = forks.here() if replace else {}
    if not ours and kept is None:
        return
    program, _ = programs.find("pg_restore", at_least=int(manifest.dumped_with.split(".")[0]))
    dumped = programs.run(program, "--data-only", f"--table={forks.TABLE}", "--file=-", str(directory / DUMP))
    try:
        forks.refuse_another_history(forks.in_dump(dumped), ours=ours, kept=kept)
    except forks.Fork as error:
        raise BackupError(f"{error} If the other history is the wrong one, say --allow-fork.") from error


def accept_recovery() -> tuple[list[recovery.InFlight], list[Finding]]:
    """
    Correct and audit a database that is as of an earlier moment, after `restore` or a point-in-time recovery.

    Return the tasks that were open at that moment, and what the audit found.

    :raises BackupError: recovery has not ended, or another client is connected
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            raise BackupError("PostgreSQL is still recovering, or is a standby server. Wait until it accepts writes.")
    _refuse_others()
    return recovery.doubt_tasks_in_flight(), audits.findings()


def _refuse_others() -> None:
    """:raises BackupError: another client is connected to this database"""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        (others,) = cursor.fetchone()
    if others:
        raise BackupError(f"{others} others are connected to this database. Stop web, worker and beat first.")


def _empty(*, replace: bool) -> None:
    _refuse_others()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        (tables,) = cursor.fetchone()
        if tables and not replace:
            held = ""
            if "wallets_wallet" in connection.introspection.table_names(cursor):
                cursor.execute("SELECT count(*), (SELECT count(*) FROM wallets_token) FROM wallets_wallet")
                held = " and would lose {} wallets and {} tokens".format(*cursor.fetchone())
            raise BackupError(
                f"The database is not empty: it has {tables} tables{held}. Name an empty one, or say --replace."
            )
        if tables:
            cursor.execute("DROP SCHEMA public CASCADE")
            cursor.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
    # Drop the prepared statements, which are bound to the old tables.
    connection.close()


# --- Shared ----------------------------------------------------------------------------------


def _counts() -> dict[str, int]:
    """Count the rows of every table, in one statement. The caller has opened a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = on")
        # The request log is not in backups. The rows of a partition are counted in its table.
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            "   AND NOT relispartition AND NOT starts_with(relname, %s) ORDER BY relname",
            [request_log.TABLE],
        )
        tables = [row[0] for row in cursor.fetchall()]
        quote = connection.ops.quote_name
        counts = [f"SELECT {place}, count(*) FROM {quote(table)}" for place, table in enumerate(tables)]  # noqa: S608
        cursor.execute(" UNION ALL ".join(counts))
        return {tables[place]: int(count) for place, count in sorted(cursor.fetchall())}


def _applied() -> list[list[str]]:
    return sorted([app, name] for app, name in MigrationRecorder(connection).applied_migrations())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _images_in(directory: Path) -> list[Path]:
    """Return the paths of the images in a backup, by name. Backups of earlier versions have none."""
    pictures = directory / IMAGES
    return sorted(pictures.iterdir()) if pictures.is_dir() else []


def _digest_of_images(directory: Path) -> str:
    whole = hashlib.sha256()
    for path in _images_in(directory):
        whole.update(f"{path.name} {_digest(path)}\n".encode())
    return whole.hexdigest()


def _go_past_the_pooler() -> None:
    """
    Connect this process to PostgreSQL directly: settings of pg_dump would stay in the pooler's session.

    :raises BackupError: DATABASE_URL leads to a pooler, and COPPICE_DATABASE_DIRECT_URL is not set
    """
    if settings.DATABASE_POOLED is Pooled.NO:
        return
    if settings.DATABASE_DIRECT is None:
        raise BackupError(
            "DATABASE_URL leads to a pooler, which a backup and a restore cannot use. Set COPPICE_DATABASE_DIRECT_URL"
            " to the same database past the pooler."
        )
    connection.close()
    connection.settings_dict.update(settings.DATABASE_DIRECT)
