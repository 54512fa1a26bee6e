"""`manage.py pseudonymise_wallet NAME`: remove who a closed wallet belonged to; the ledger stays whole."""

import logging
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.ops import pseudonyms
from wallets import queries
from wallets.errors import DomainError

log = logging.getLogger("coppice.admin")


class Command(BaseCommand):
    help = (
        "Give a wallet that holds nothing, and for which nothing waits, the name closed-ID, and delete its texts,"
        " images, password, logins and webhooks. Transfers, tokens and trusts stay. This cannot be undone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("wallet", help="the name or the id of the wallet")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            wallet = queries.wallet_by_name_or_id(options["wallet"])
            name = pseudonyms.pseudonymise(wallet_id=wallet.pk)
        except DomainError as error:
            raise CommandError(str(error)) from error
        log.warning("The wallet %s was pseudonymised on the command line", wallet.pk)
        self.stdout.write(f"The wallet is now called {name}.")
