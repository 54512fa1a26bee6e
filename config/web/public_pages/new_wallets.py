"""A limit of the wallets that visitors without an API key create, per address."""

from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest

from config.api import error_codes as codes
from config.api.errors import RequestRefused
from config.web.addresses import client_address, network_of
from config.web.public_pages import base
from wallets.redis_servers import Away, Counts, ask

# Attempts count, so that a visitor cannot try many names.
PER_ADDRESS: Final = 20
WINDOW_SECONDS: Final = 3600

# Used while the server of `REDIS_URL` does not answer.
_here: Final = Counts()


def admit(request: HttpRequest) -> None:
    """
    Count one attempt to create a wallet.

    :raises LoginRefused: the address, or its /64, has made too many within an hour
    """
    key = f"coppice:new-wallets:address:{network_of(client_address(request))}"

    def count(client: Any) -> list[Any]:
        with client.pipeline(transaction=True) as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, WINDOW_SECONDS, nx=True)
            pipeline.ttl(key)
            return list(pipeline.execute())

    try:
        number, _, seconds = ask(settings.REDIS_URL, count)
    except Away:
        _here.add(key, WINDOW_SECONDS)
        number, seconds = _here.count(key), _here.seconds(key)
    if number > PER_ADDRESS:
        wait = {"Retry-After": str(max(1, int(seconds)))}
        error = RequestRefused(codes.TOO_MANY_LOGIN_ATTEMPTS, "Too many new wallets, try again later", wait)
        raise base.LoginRefused(base.refused(request, error))
