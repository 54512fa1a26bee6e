"""
A rate limit for wrong transmit codes, per wallet and per address, against guessing.

A code is wrong when 13 servers report no such locker; without 13 answers it is not counted. That of a payment without a
login is wrong too if the payment request does not take the coins of its locker. The counters are in the Redis-protocol
server and expire; while that server is unreachable each process has its own.
"""

import hmac
from hashlib import sha256
from typing import Final
from uuid import UUID

from django.conf import settings

from lockers import errors
from wallets.redis_servers import SharedCounts

WINDOW_SECONDS: Final = 600
_counts: Final = SharedCounts(WINDOW_SECONDS)


def fingerprint(address: str) -> str:
    """Return a keyed hash of the address or network of a caller, for tasks and counters; "" for no address."""
    if not address:
        return ""
    return hmac.new(settings.SECRET_KEY.encode(), f"address {address}".encode(), sha256).hexdigest()[:32]


def _limits(wallet_id: UUID | None, address: str) -> dict[str, int]:
    """Return the keys of the counters, with their limits; `address` is a fingerprint."""
    limits = {}
    if wallet_id is not None:
        limits[f"coppice:wrong-codes:wallet:{wallet_id}"] = settings.WRONG_CODES_PER_WALLET
    if address:
        limits[f"coppice:wrong-codes:address:{address}"] = settings.WRONG_CODES_PER_ADDRESS
    return limits


def refuse_guesser(*, wallet_id: UUID | None, address: str) -> None:
    """
    Refuse a wallet, or an address given by its fingerprint, that has sent too many wrong codes.

    Without a login there is no wallet.

    :raises TooManyWrongCodes: with the seconds until the counter expires
    """
    limits = _limits(wallet_id, address)
    counted = _counts.read(settings.REDIS_URL, list(limits))
    for (count, seconds), limit in zip(counted, limits.values(), strict=True):
        if count >= limit:
            raise errors.TooManyWrongCodes(max(1, seconds))


def note_wrong_code(*, wallet_id: UUID | None, address: str) -> None:
    """Count a wrong code of a wallet, and of an address given by its fingerprint."""
    if keys := list(_limits(wallet_id, address)):
        _counts.add(settings.REDIS_URL, keys)
