"""`manage.py accept_recovery`: correct and audit a database that PostgreSQL recovered to an earlier moment."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.ops import backups
from config.ops.postgresql_programs import BackupError


class Command(BaseCommand):
    help = (
        "Correct and audit a database that was recovered to an earlier moment (point-in-time recovery), before web, "
        "worker and beat start. `manage.py restore` does this itself. Exit status 1 if the audit finds anything."
    )
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            in_flight, findings = backups.accept_recovery()
        except BackupError as error:
            raise CommandError(str(error)) from error
        for finding in findings:
            self.stderr.write(f"{finding.check}: {finding.detail}")
        if findings:
            raise CommandError(f"{len(findings)} findings: do not let this database serve.")
        self.stdout.write("Nothing was lost or doubled, as of the moment to which the database was recovered.")
        if in_flight:
            self.stdout.write(
                f"{len(in_flight)} tasks were under way then: the worker asks the servers where their coins are."
            )
        self.stdout.write(
            "What happened since is on the RAIDA servers only. Before web, worker and beat start again: "
            "`manage.py audit --servers` names every coin that has left."
        )
