"""`manage.py create_api_key NAME`: create an API key for a partner's application and print it once."""

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from wallets import errors, operations


class Command(BaseCommand):
    help = "Create an API key and print it. It is stored as a digest only: note it down now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="whose key it is")
        parser.add_argument(
            "--key",
            help="take over a key that is in use with another service (visible to other users while this runs;"
            " COPPICE_API_KEY in the environment is not)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _, plaintext = operations.create_api_key(
                name=options["name"], key=options["key"] or os.environ.get("COPPICE_API_KEY") or None
            )
        except errors.DomainError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(plaintext)
