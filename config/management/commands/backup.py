"""`manage.py backup DIRECTORY`: write a consistent dump of the database, with a manifest."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.ops import backups
from config.ops.postgresql_programs import BackupError
from wallets import images


class Command(BaseCommand):
    help = (
        "Write a snapshot of the database and of the images of wallets into a new directory, while the system runs. "
        "Keys are not included."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, help="is made; must not be there yet")

    def handle(self, *args: Any, directory: Path, **options: Any) -> None:
        try:
            manifest = backups.back_up(directory)
        except BackupError as error:
            raise CommandError(str(error)) from error
        counts = manifest.counts
        self.stdout.write(
            f"{directory}: {manifest.dump_bytes:,} bytes, {counts['wallets_wallet']:,} wallets, "
            f"{counts['wallets_token']:,} tokens, {counts['transfers_transfer']:,} transfers, "
            f"{counts['lockers_coin']:,} coins."
        )
        if not images.is_local():
            self.stdout.write("The images of wallets are in the S3 store, not in this backup.")
        elif manifest.images or manifest.images_missing:
            self.stdout.write(f"{manifest.images:,} images of wallets.")
        if manifest.images_missing:
            self.stderr.write(
                f"{manifest.images_missing:,} images to which wallets refer are not in {settings.MEDIA_ROOT}. "
                "Set COPPICE_MEDIA as for the web server, and make another backup."
            )
        if manifest.in_flight:
            self.stdout.write(
                f"{manifest.in_flight} tasks were talking to RAIDA servers. If this backup is ever restored, "
                "the servers are asked about their coins first."
            )
        self.stdout.write(
            "Keep COPPICE_VAULT_KEY and COPPICE_SECRET_KEY elsewhere: without the first the coins in this backup "
            "cannot be used, and anyone who finds both together can use them."
        )
