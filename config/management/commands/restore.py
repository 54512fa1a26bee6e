"""`manage.py restore DIRECTORY`: fill an empty database with a backup, and audit it."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.ops import backups
from config.ops.postgresql_programs import BackupError
from config.seals import forks


class Command(BaseCommand):
    help = (
        "Fill an empty database with a backup, apply migrations and audit it. Exit status 1 if anything is not right."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, help="what `manage.py backup` made")
        parser.add_argument("--replace", action="store_true", help="first delete everything that is in the database")

        parser.add_argument(
            "--checkpoints",
            type=Path,
            help="stored pages of /public/checkpoints: refuse a backup of another history",
        )
        parser.add_argument(
            "--allow-fork", action="store_true", help="restore also a backup whose seals are of another history"
        )

    def handle(
        self, *args: Any, directory: Path, replace: bool, checkpoints: Path | None, allow_fork: bool, **options: Any
    ) -> None:
        try:
            restored = backups.restore(
                directory,
                replace=replace,
                kept=forks.read_checkpoints(checkpoints) if checkpoints else None,
                allows_fork=allow_fork,
                say=self.stdout.write,
            )
        except (BackupError, forks.UnreadableCheckpoints) as error:
            raise CommandError(str(error)) from error
        for finding in restored.findings:
            self.stderr.write(f"{finding.check}: {finding.detail}")
        if restored.findings:
            raise CommandError(f"{len(restored.findings)} findings: do not let this database serve.")
        self.stdout.write("Nothing was lost or doubled, as of the moment of the backup.")
        if restored.in_flight:
            self.stdout.write(
                f"{len(restored.in_flight)} tasks were under way then. Nothing that they had not done is taken for "
                "granted: the worker asks the servers where their coins are."
            )
        self.stdout.write(
            "What happened since is on the RAIDA servers only. Before web, worker and beat start again: "
            "`manage.py audit --servers` names every coin that has left."
        )
