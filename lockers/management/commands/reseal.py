"""`manage.py reseal`: re-encrypt secrets of earlier vault keys with the current one."""

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from lockers import key_rotation

_SAID_EVERY = 10_000


class Command(BaseCommand):
    help = (
        "Re-encrypt with COPPICE_VAULT_KEY the secrets that are encrypted with one of COPPICE_VAULT_OLD_KEYS, without"
        " downtime. May be interrupted and run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(self, *args: Any, **options: Any) -> None:
        before = key_rotation.counts()
        to_do = {each.name: each.old - each.unknown for each in before}
        for name, number in to_do.items():
            self.stdout.write(f"{name}: {number:,} to re-encrypt")
        if options["dry_run"]:
            self._refuse_unknown(before)
            return
        done = Counter[str]()
        for name, number in key_rotation.reseal():
            done[name] += number
            if done[name] // _SAID_EVERY > (done[name] - number) // _SAID_EVERY:
                self.stdout.write(f"{name}: {done[name]:,} of {to_do[name]:,}")
        after = key_rotation.counts()
        self._refuse_unknown(after)
        left = sum(each.old for each in after)
        if left:
            raise CommandError(f"{left:,} values were changed concurrently and are left; run this again.")
        self.stdout.write(f"Done: {done.total():,} values. COPPICE_VAULT_KEY alone decrypts all secrets now.")

    def _refuse_unknown(self, counts: list[key_rotation.Count]) -> None:
        unknown = sum(each.unknown for each in counts)
        if unknown:
            raise CommandError(
                f"No configured key decrypts {unknown:,} values. Add the key that encrypted them to"
                " COPPICE_VAULT_OLD_KEYS."
            )
