"""`manage.py purge_expired`: delete bearer tokens past their retention, as the scheduler does daily."""

from typing import Any

from django.core.management.base import BaseCommand

from wallets import operations


class Command(BaseCommand):
    help = "Delete bearer tokens and restricted keys COPPICE_ENDED_TOKEN_DAYS after their end."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{operations.purge_expired()} bearer tokens deleted.")
