"""The apps of the product that have migrations."""

from typing import Final

APPS: Final = ("desk", "lockers", "transfers", "treetracker_import", "trusts", "wallets", "webhooks")
