"""
A rate limit for wrong transmit codes, per wallet and per address, against guessing.

A code is wrong when 13 servers report no such locker; without 13 answers it is not counted. That of a payment without a
login is wrong too if the payment request does not take the coins of its locker. The counters are in the Redis-protocol
server and expire; while that server is unreachable each process has its own.
"""

import hmac
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from lockers import errors
from wallets.redis_servers import Away, Counts, ask

WINDOW_SECONDS: Final = 600


_here: Final = Counts()


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
    keys = list(limits)

    def read(client: Any) -> list[Any]:
        with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.get(key)
                pipeline.ttl(key)
            return list(pipeline.execute())

    try:
        counted = ask(settings.REDIS_URL, read)
    except Away:
        counted = [value for key in keys for value in (_here.count(key), _here.seconds(key))]
    for count, seconds, limit in zip(counted[::2], counted[1::2], limits.values(), strict=True):
        if int(count or 0) >= limit:
            raise errors.TooManyWrongCodes(max(1, int(seconds)))


def note_wrong_code(*, wallet_id: UUID | None, address: str) -> None:
    """Count a wrong code of a wallet, and of an address given by its fingerprint."""
    keys = list(_limits(wallet_id, address))
    if not keys:
        return

    def count(client: Any) -> None:
        with client.pipeline(transaction=True) as pipeline:
            for key in keys:
                pipeline.incr(key)
                pipeline.expire(key, WINDOW_SECONDS, nx=True)
            pipeline.execute()

    try:
        ask(settings.REDIS_URL, count)
    except Away:
        for key in keys:
            _here.add(key, WINDOW_SECONDS)
