"""`manage.py movement_partitions`: list the partitions of movements, detach the oldest, attach it again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from config.ops import audits
from transfers import partitions
from transfers.partition_models import DetachedPartition
from wallets.errors import AuditIsRunning


class Command(BaseCommand):
    help = (
        "List the partitions of movements with their ids and sizes. With `detach`, take the oldest out of the table:"
        " histories that begin in it are then incomplete, and say so. With `attach`, put the newest detached one back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action")
        for action in ("detach", "attach"):
            actions.add_parser(action).add_argument("name", help="as in the list")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] is not None:
            self._change(options["action"], options["name"])
        for row in DetachedPartition.objects.order_by("below"):
            self.stdout.write(f"{row.name}  to {row.below - 1:,}  detached, {row.movements:,} movements")
        for part in partitions.attached():
            first = "the first" if part.first is None else f"{part.first:,}"
            end = "open" if part.end is None else f"{part.end - 1:,}"
            self.stdout.write(f"{part.name}  {first} to {end}  {part.bytes / 1e6:,.1f} MB in {part.tablespace}")

    def _change(self, action: str, name: str) -> None:
        try:
            with transaction.atomic():
                audits.keep_out()
                if action == "detach":
                    row = partitions.detach(name)
                else:
                    partitions.attach(name)
        except (AuditIsRunning, partitions.PartitionRefused) as error:
            raise CommandError(str(error)) from error
        if action == "detach":
            self.stdout.write(f"{name} is detached: {row.movements:,} movements are in the table {name} alone.")
        else:
            self.stdout.write(f"{name} is attached: its rows are those that were detached.")
