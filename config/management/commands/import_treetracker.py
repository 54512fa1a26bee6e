"""`manage.py import_treetracker DSN`: bring the database of a Treetracker wallet service over."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from config.treetracker_import import decisions, importing
from config.treetracker_import.progress import Display
from config.treetracker_import.source import UnreadableSource


def moment(text: str) -> datetime:
    """Parse a date or a time; without a zone it is UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time: write 2026-11-29 or 2026-11-29T18:00:00") from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed


class Command(BaseCommand):
    help = (
        "Import wallets, API keys, trusts, tokens, transfers and their history from the database of a Treetracker"
        " wallet service. First it reports what breaks a rule of Coppice and what will be done about it. It writes in"
        " one transaction, which is committed only if the sums of both sides are equal and the audit finds nothing. Run"
        " again, it imports what is new. docs/moving.md describes a move."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("dsn", help="the source, as libpq takes it: postgresql://reader@host/name?passfile=…")
        parser.add_argument("--schema", help="where its tables are; by default wallet, or else public")
        parser.add_argument("--dry-run", action="store_true", help="end after the report; nothing is written")
        parser.add_argument(
            "--since", type=moment, metavar="TIME",
            help="in a second import, read only the history from this time on: begin an hour before the last import",
        )  # fmt: skip
        parser.add_argument("--decisions", type=Path, metavar="FILE", help="what to do about findings (JSON)")
        parser.add_argument("--report", type=Path, metavar="FILE", help="write every finding to this file")
        parser.add_argument(
            "--template", type=Path, metavar="FILE", help="write a file of decisions for what the import waits on"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            decided = decisions.read(options["decisions"]) if options["decisions"] else []
            written = importing.run(
                importing.Options(
                    dsn=options["dsn"],
                    schema=options["schema"],
                    since=options["since"],
                    is_dry_run=options["dry_run"],
                    decided=tuple(decided),
                    report=options["report"],
                    template=options["template"],
                ),
                Display(Console(file=cast(IO[str], self.stdout))),
            )
        except (
            decisions.UnreadableDecisions,
            UnreadableSource,
            importing.ImportRefused,
            importing.ImportUnknown,
        ) as error:
            raise CommandError(str(error)) from error
        if options["dry_run"]:
            self.stdout.write("Dry run: nothing was written.")
            return
        self.stdout.write("Imported: " + ", ".join(f"{number:,} {table}" for table, number in written.items()) + ".")
        self.stdout.write("The sums of both sides are equal, and the audit found nothing.")
