"""`manage.py seed_demo`: the wallets, tokens, key and logins of a private demo installation."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from config import demo_data


class Command(BaseCommand):
    help = "Make the demo's wallets, tokens, API key and logins, if they are missing."

    def handle(self, *args: Any, **options: Any) -> None:
        demo_data.seed(state_dir=settings.STATE_DIR)
        self.stdout.write(f"The logins are in {settings.STATE_DIR / 'demo.json'}.")
