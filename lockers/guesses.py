"""
Wrong transmit codes, counted for each wallet and each address: a caller that guesses is refused for a while.

A code is wrong when 13 servers say that there is no such locker. What they cannot say for lack of servers counts as
little as a code that is right. The counts are in the Redis-protocol server and expire; while that server does not
answer, wrong codes are not counted.
"""

import hmac
import logging
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import redis
from django.conf import settings

from lockers import errors

WINDOW_SECONDS: Final = 600

_log = logging.getLogger(__name__)


@cache
def _redis() -> Any:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


def fingerprint(address: str) -> str:
    """Return what stands for the address or network of a caller in a task and in the counts; "" for none."""
    if not address:
        return ""
    return hmac.new(settings.SECRET_KEY.encode(), f"address {address}".encode(), sha256).hexdigest()[:32]


def _keys(wallet_id: UUID, address: str) -> Sequence[str]:
    """`address` is a fingerprint."""
    keys = [f"coppice:wrong-codes:wallet:{wallet_id}"]
    return [*keys, f"coppice:wrong-codes:address:{address}"] if address else keys


def refuse_guesser(*, wallet_id: UUID, address: str) -> None:
    """
    Refuse a wallet, or an address by its fingerprint, that has sent too many wrong codes.

    :raises TooManyWrongCodes: see above
    """
    limits = (settings.WRONG_CODES_PER_WALLET, settings.WRONG_CODES_PER_ADDRESS)
    try:
        keys = _keys(wallet_id, address)
        for key, count, limit in zip(keys, _redis().mget(keys), limits, strict=False):
            if int(count or 0) >= limit:
                raise errors.TooManyWrongCodes(max(1, int(_redis().ttl(key))))
    except redis.RedisError as error:
        _log.warning("Wrong codes cannot be counted: %s", type(error).__name__)


def note_wrong_code(*, wallet_id: UUID, address: str) -> None:
    """Count a wrong code of a wallet, and of an address by its fingerprint."""
    try:
        with _redis().pipeline(transaction=True) as pipeline:
            for key in _keys(wallet_id, address):
                pipeline.incr(key)
                pipeline.expire(key, WINDOW_SECONDS, nx=True)
            pipeline.execute()
    except redis.RedisError as error:
        _log.warning("A wrong code was not counted: %s", type(error).__name__)


def forget_all() -> None:
    """Forget every wrong code: for an operator who locked somebody out, and between tests."""
    for key in _redis().scan_iter("coppice:wrong-codes:*"):
        _redis().delete(key)
