"""`manage.py record_backup`: record a backup that another program made, for the alert of a late one."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.ops import backups


class Command(BaseCommand):
    help = (
        "Record that a backup made by another program, such as pgBackRest, has just been completed, for "
        "coppice_backup_age_seconds and COPPICE_BACKUP_HOURS. `manage.py backup` records itself."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bytes", type=int, default=0, help="its size; 0 if unknown")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["bytes"] < 0:
            raise CommandError("--bytes must not be negative.")
        backups.record(bytes=options["bytes"])
