"""`manage.py audit`: check the rules of the ledger and of the lockers, and print violations."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.ops import audits
from config.postgresql.replica import Unusable
from lockers.worker import reconciliation
from transfers import partitions
from wallets.errors import AuditIsRunning


class Command(BaseCommand):
    help = "Check every invariant of the ledger and of the lockers. Exit status 1 if one is violated."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--servers", action="store_true", help="also ask the RAIDA servers whether they hold what the database says"
        )

        parser.add_argument(
            "--replica", action="store_true", help="read from the replica of COPPICE_REPLICA_URL, or fail if it cannot"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["servers"] and not settings.RAIDA_HOSTS:
            raise CommandError(
                "Lockers are off, so there are no servers to ask: start make run here, or set COPPICE_RAIDA_HOSTS."
            )
        try:
            findings = audits.findings(on_replica=options["replica"])
        except AuditIsRunning as error:
            raise CommandError(f"{error} Try again in a moment.") from error
        except Unusable as error:
            raise CommandError(f"Nothing was audited: the replica {error}.") from error
        if options["servers"]:
            # Talking to servers takes time, so no transaction is open here.
            findings += reconciliation.server_findings()
        for finding in findings:
            self.stderr.write(f"{finding.check}: {finding.detail}")
        if findings:
            raise CommandError(f"{len(findings)} findings: something was lost, doubled or changed behind the ledger.")
        self.stdout.write("Nothing was lost or doubled.")
        if elsewhere := [each.name for each in partitions.detached() if not each.is_here]:
            self.stdout.write(
                f"Not compared: the movements of {', '.join(elsewhere)}, which are not in this database, and the blocks"
                " that have them."
            )
