"""`manage.py create_wallet NAME`; the password comes from the environment, standard input or a prompt."""

import getpass
import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from wallets import errors, operations


class Command(BaseCommand):
    help = (
        "Create a wallet. Its password is read from COPPICE_WALLET_PASSWORD, else from standard input (one line),"
        " else asked for; it is never an argument, since arguments are visible to other users."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--about", default="")
        parser.add_argument("--no-password", action="store_true", help="only its manager will act for the wallet")

    def handle(self, *args: Any, **options: Any) -> None:
        password = "" if options["no_password"] else read_password()
        try:
            wallet = operations.create_wallet(name=options["name"], password=password, about=options["about"])
        except errors.DomainError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{wallet.id} {wallet.name}")


def read_password() -> str:
    """
    Return the password from the environment, a prompt or standard input.

    :raises CommandError: there is none, or the two typed passwords differ
    """
    password = os.environ.get("COPPICE_WALLET_PASSWORD", "")
    if not password and sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            raise CommandError("The two passwords differ.")
    elif not password:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandError("No password given. Use --no-password for a wallet that cannot log in.")
    return password
