"""`manage.py rotate_api_key KEY`: create the successor of an API key and print it once."""

import logging
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from wallets import api_key_rotation, errors

log = logging.getLogger("coppice.admin")

_HOURS: Final = 24
_MOST_HOURS: Final = 24 * 90


class Command(BaseCommand):
    help = (
        "Create an API key with the name and the rights of another and print it; it is stored as a digest only. The old"
        " key stays valid for a time, in which the application takes the new one."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", help="the id, the name or the first six characters of the old key")
        parser.add_argument(
            "--old-stays-valid",
            type=int,
            default=_HOURS,
            metavar="HOURS",
            help="hours until the old key ends, unless it ends earlier (default: %(default)s); 0 revokes it at once",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        hours = options["old_stays_valid"]
        if not 0 <= hours <= _MOST_HOURS:
            raise CommandError(f"--old-stays-valid is a number of hours from 0 to {_MOST_HOURS}.")
        found = list(api_key_rotation.valid_keys(options["key"]))
        if not found:
            raise CommandError("No valid API key has this id, name or prefix.")
        if len(found) > 1:
            which = ", ".join(f"{key.prefix}… of {key.created_at:%Y-%m-%d} ({key.pk})" for key in found)
            raise CommandError(f"{len(found)} valid API keys have this name or prefix. Give the id of one: {which}")
        try:
            new, plaintext = api_key_rotation.rotate(api_key_id=found[0].pk, overlap=timedelta(hours=hours))
        except errors.DomainError as error:
            raise CommandError(str(error)) from error
        log.warning(
            "The API key %s was rotated on the command line: the new key is %s, the old one stays valid for %d hours",
            found[0].pk, new.pk, hours,
        )  # fmt: skip
        self.stdout.write(plaintext)
