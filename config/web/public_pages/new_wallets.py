"""A limit of the wallets that visitors without an API key create, per address."""

from typing import Final

from django.conf import settings
from django.http import HttpRequest

from config.api import error_codes as codes
from config.api.errors import RequestRefused
from config.web.addresses import client_address, network_of
from config.web.public_pages import base
from wallets.redis_servers import SharedCounts

# Attempts count, so that a visitor cannot try many names.
PER_ADDRESS: Final = 20
WINDOW_SECONDS: Final = 3600

_counts: Final = SharedCounts(WINDOW_SECONDS)


def admit(request: HttpRequest) -> None:
    """
    Count one attempt to create a wallet.

    :raises LoginRefused: the address, or its /64, has made too many within an hour
    """
    key = f"coppice:new-wallets:address:{network_of(client_address(request))}"
    [(number, seconds)] = _counts.add(settings.REDIS_URL, [key])
    if number > PER_ADDRESS:
        wait = {"Retry-After": str(max(1, seconds))}
        error = RequestRefused(codes.TOO_MANY_LOGIN_ATTEMPTS, "Too many new wallets, try again later", wait)
        raise base.LoginRefused(base.refused(request, error))
