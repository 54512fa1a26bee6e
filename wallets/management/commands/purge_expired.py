"""`manage.py purge_expired`: delete stored answers and bearer tokens past their retention. Run daily."""

from typing import Any

from django.core.management.base import BaseCommand

from wallets import operations


class Command(BaseCommand):
    help = "Delete stored answers and bearer tokens that ended, after COPPICE_ANSWER_DAYS and COPPICE_ENDED_TOKEN_DAYS."

    def handle(self, *args: Any, **options: Any) -> None:
        counts = operations.purge_expired()
        self.stdout.write(f"{counts['answers']} stored answers, {counts['bearer_tokens']} bearer tokens deleted.")
