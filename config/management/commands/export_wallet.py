"""`manage.py export_wallet NAME`: print everything that is stored about a wallet, as NDJSON."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.ops import wallet_export
from config.postgresql import replica
from wallets import queries
from wallets.errors import DomainError


class Command(BaseCommand):
    help = (
        "Print everything that is stored about a wallet, as NDJSON: a line for each row, and a last line with their"
        " number and the SHA-256 of the lines before it. Secrets and their digests are left out."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("wallet", help="the name or the id of the wallet")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            wallet = queries.wallet_by_name_or_id(options["wallet"])
        except DomainError as error:
            raise CommandError(str(error)) from error
        for line in replica.read_lines(lambda: wallet_export.lines(wallet_id=wallet.pk, is_patient=True)):
            self.stdout.write(line, ending="")
