"""`manage.py issue_tokens --wallet NAME (--count N | --csv FILE)`: create tokens for planted trees."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from transfers import captures, operations
from wallets import queries
from wallets.errors import DomainError


class Command(BaseCommand):
    help = "Create tokens in a wallet: a number of them, or one for each capture id of a CSV file. All or none."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--wallet", required=True, help="name or id of the wallet")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--count", type=int, help="how many tokens, with capture ids drawn at random")
        what.add_argument("--csv", type=Path, help="file with a column capture_id, or with ids alone, one a line")

    def handle(self, *args: Any, wallet: str, count: int | None, csv: Path | None, **options: Any) -> None:
        if count is not None and count < 1:
            raise CommandError("--count must be at least 1.")
        capture_ids = None if csv is None else _read(csv)
        try:
            holder = queries.wallet_by_name_or_id(wallet)
            issued = operations.issue_tokens(wallet=holder, count=count, capture_ids=capture_ids)
        except DomainError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{issued} tokens issued to {holder.name}.")


def _read(path: Path) -> list[UUID]:
    try:
        return captures.read(path.read_bytes())
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    except captures.CapturesUnreadable as error:
        raise CommandError(f"{path}: {error}") from error
