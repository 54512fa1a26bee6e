"""`manage.py issue_tokens --wallet NAME (--count N | --csv FILE)`: create tokens for planted trees."""

import csv
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from transfers import operations
from wallets import names, queries
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
        captures = None if csv is None else _read(csv)
        try:
            holder = queries.wallet_by_name_or_id(wallet)
            issued = operations.issue_tokens(wallet=holder, count=count, capture_ids=captures)
        except DomainError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{issued} tokens issued to {holder.name}.")


def _read(path: Path) -> list[UUID]:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    column, first = 0, 1
    if rows and "capture_id" in rows[0]:
        column, first = rows[0].index("capture_id"), 2
        del rows[0]
    captures = []
    for line, row in enumerate(rows, start=first):
        if not any(row):
            continue
        capture_id = names.parse_uuid(row[column].strip()) if len(row) > column else None
        if capture_id is None:
            raise CommandError(f"{path}, line {line}: no capture id (a UUID).")
        captures.append(capture_id)
    if not captures:
        raise CommandError(f"{path} holds no capture id.")
    return captures
