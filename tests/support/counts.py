"""Counters of logins, wrong codes and new wallets, which outlive a test: all tests come from one address."""

from django.conf import settings

from config.api import claim_limits, throttles
from config.web.public_pages import new_wallets
from lockers import wrong_code_limits
from wallets import redis_servers


def forget_failures() -> None:
    """Delete the counters of failed logins, those of this process too."""
    throttles._here._counts.clear()
    shared = redis_servers.client(settings.REDIS_URL)
    for key in shared.scan_iter("coppice:login:*"):
        shared.delete(key)


def forget_counts() -> None:
    """Delete the counters, those of this process too."""
    for module in (claim_limits, new_wallets, wrong_code_limits):
        module._counts._here._counts.clear()
    shared = redis_servers.client(settings.REDIS_URL)
    for name in ("claims", "new-wallets", "wrong-codes"):
        for key in shared.scan_iter(f"coppice:{name}:*"):
            shared.delete(key)
