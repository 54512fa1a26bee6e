"""
A rate limit for wrong codes of claim links, per address and for all, and for wrong e-mail addresses of a link.

A code has over 143 random bits, so that no number of guesses finds one. The limits keep guesses from taking the
database's time, and keep the holder of a link from finding its e-mail address by trying. Beyond the limit of all
addresses each may still get one code wrong, so that a flood of guesses does not shut out those who have a link. The
counters are in the Redis-protocol server and expire; while that server is unreachable each process has its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.conf import settings

from config.api import error_codes as codes
from config.api.errors import RequestRefused
from config.web.addresses import network_of
from transfers.errors import ActionTokenForAnother, ActionTokenNotVerified
from wallets.queries import digest
from wallets.redis_servers import SharedCounts

WINDOW_SECONDS: Final = 600
# E-mail addresses that a holder of the code of one link may try.
ADDRESSES_PER_LINK: Final = 10
TOO_MANY: Final = "Too many wrong codes, try again later"

_counts: Final = SharedCounts(WINDOW_SECONDS)


@contextmanager
def claiming(*, address: str, code: str) -> Iterator[None]:
    """
    Admit an attempt to use a code from a client's address, and count it if the block finds that it is wrong.

    :raises RequestRefused: 429, too many wrong codes
    """
    mine, all_of_them = f"coppice:claims:address:{network_of(address)}", "coppice:claims:all"
    link = f"coppice:claims:link:{digest(code).hex()[:32]}"
    own, every, addresses = _counts.read(settings.REDIS_URL, [mine, all_of_them, link])
    own_limit = settings.WRONG_CLAIM_CODES_PER_ADDRESS
    if own[0] >= own_limit or (own[0] and every[0] >= settings.WRONG_CLAIM_CODES):
        raise _too_many(own[1])
    if addresses[0] >= ADDRESSES_PER_LINK:
        raise _too_many(addresses[1])
    try:
        yield
    except ActionTokenNotVerified:
        _counts.add(settings.REDIS_URL, [mine, all_of_them])
        raise
    except ActionTokenForAnother:
        _counts.add(settings.REDIS_URL, [link])
        raise


def _too_many(seconds: int) -> RequestRefused:
    return RequestRefused(codes.TOO_MANY_WRONG_CLAIM_CODES, TOO_MANY, {"Retry-After": str(max(1, seconds))})
