"""
Restricted keys: their text, their limits, their end. `trusts.restricted_keys` creates them.

A key is `cop_rk_`, 32 random characters of 0-9, A-Z and a-z, and their CRC-32 as six more, so that tools
which search source code for secrets recognise a key, and a mistyped key is refused without a query.
"""

import secrets
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.views.decorators.debug import sensitive_variables

from wallets import errors, operations, restrictions
from wallets.models import RestrictedKey, Wallet
from wallets.sql_files import load
from wallets.states import EventType

PREFIX: Final = "cop_rk_"
PER_WALLET: Final = 50
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM: Final = 32
_CHECKED: Final = 6
# What is stored and shown: the prefix and four of the random characters; 166 random bits remain.
_SHOWN: Final = len(PREFIX) + 4
_LOCK: Final = "FOR NO KEY UPDATE"
_WITHIN_LIMIT: Final = load("wallets", "spend")
# By whether the key has a limit of the day. Without one, its transfers do not wait for each other.
_SPEND: Final = {True: _WITHIN_LIMIT, False: _WITHIN_LIMIT.replace(_LOCK, "FOR SHARE")}


@sensitive_variables()
def new_key() -> str:
    """Return the text of a new key."""
    random = "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM))
    return PREFIX + random + checksum(random)


def checksum(random: str) -> str:
    """Return the last six characters of a key: the CRC-32 of its random characters in base 62."""
    number = zlib.crc32(random.encode())
    digits = ""
    for _ in range(_CHECKED):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def is_key(credential: str) -> bool:
    """Return whether the text of a bearer token has the form of a restricted key."""
    return credential.startswith(PREFIX)


def shown_part(key: str) -> str:
    """Return the characters by which its owner recognises a key."""
    return key[:_SHOWN]


def parsed_network(text: str) -> str:
    """
    Return an address or a network in CIDR notation in its usual form: `203.0.113.7` is `203.0.113.7/32`.

    :raises InvalidNetwork: it is neither, or has bits beyond the length of its prefix
    """
    try:
        return str(ip_network(text))
    except ValueError:
        raise errors.InvalidNetwork(text) from None


def is_from(address: str, networks: Sequence[str]) -> bool:
    """Return whether the address of a client is in one of the networks. No networks are all."""
    if not networks:
        return True
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    # IPv4 clients of a dual-stack socket.
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in ip_network(each) for each in networks)


def _valid(wallet: Wallet) -> QuerySet[RestrictedKey]:
    return RestrictedKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), wallet=wallet, ended_at=None)


def is_valid(row: RestrictedKey) -> bool:
    """Return whether a key that exists is valid now."""
    return _valid(row.wallet).filter(pk=row.pk).exists()


def count_valid(wallet: Wallet) -> int:
    """Return how many keys of the wallet are valid."""
    return _valid(wallet).count()


def keys_page(
    *, wallet: Wallet, limit: int, offset: int = 0, after: tuple[datetime, UUID] | None = None
) -> Sequence[RestrictedKey]:
    """
    Return the keys of a wallet, the newest first, with those that have ended. The digests are not read.

    `after` is the position of the last row of the page before: its `created_at` and its id.
    """
    rows = RestrictedKey.objects.filter(wallet=wallet)
    if after is not None:
        created_at, key_id = after
        rows = rows.filter(Q(created_at__lt=created_at) | Q(created_at=created_at, pk__gt=key_id))
    return list(rows.defer("digest").order_by("-created_at", "pk")[offset : offset + limit])


def key_of(*, wallet: Wallet, key_id: UUID) -> RestrictedKey:
    """
    Return one key of the wallet, valid or not, without its digest.

    :raises RestrictedKeyNotFound: the wallet has no such key
    """
    row = RestrictedKey.objects.defer("digest").filter(wallet=wallet, pk=key_id).first()
    if row is None:
        raise errors.RestrictedKeyNotFound
    return row


def rename(*, wallet: Wallet, key_id: UUID, name: str) -> RestrictedKey:
    """
    Change the name of a key. Nothing else of a key can be changed.

    :raises RestrictedKeyNotFound: the wallet has no such key
    """
    RestrictedKey.objects.filter(wallet=wallet, pk=key_id).update(name=name)
    return key_of(wallet=wallet, key_id=key_id)


def end(*, key_id: UUID, wallet: Wallet | None = None) -> RestrictedKey:
    """
    End a key, of the wallet if one is given, and return it. The time of a key that was ended before does not change.

    Waits for transfers in progress that use the key; none completes after this returns.

    :raises RestrictedKeyNotFound: there is no such key
    """
    with transaction.atomic(savepoint=False):
        rows = RestrictedKey.objects.defer("digest").filter(pk=key_id, **({} if wallet is None else {"wallet": wallet}))
        row = rows.select_for_update(no_key=True).first()
        if row is None:
            raise errors.RestrictedKeyNotFound
        if row.ended_at is None:
            RestrictedKey.objects.filter(pk=key_id).update(ended_at=Now())
            row.refresh_from_db(fields=["ended_at"])
            operations.record_events([(row.wallet_id, EventType.KEY_ENDED, row.event_payload)])
        return row


def transaction_of_limits() -> AbstractContextManager[None]:
    """Open a transaction if the request has a restricted key, for an operation that calls `spend` in it."""
    # A statement of the ledger needs none otherwise.
    return nullcontext() if restrictions.current() is None else transaction.atomic(savepoint=False)


def spend(*transfers: int) -> None:
    """
    Count the tokens of transfers that the current request's restricted key moves or reserves, one number for each.

    The caller has opened a transaction, and rolls it back if this refuses. The row of the key is its last lock: two
    requests of one key count one after the other, and a key that was ended meanwhile is refused. Without a restricted
    key nothing is done.

    :raises RestrictedKeyEnded: the key has ended, or has expired
    :raises KeyLimitExceeded: one transfer, or those of the day, are above a limit of the key
    """
    key = restrictions.current()
    if key is None:
        return
    if key.tokens_per_transfer is not None and (most := max(transfers, default=0)) > key.tokens_per_transfer:
        raise errors.KeyLimitExceeded(f"The key may move {key.tokens_per_transfer} tokens in one transfer, not {most}")
    with connection.cursor() as cursor:
        cursor.execute(_SPEND[key.tokens_per_day is not None], {"key": key.key_id, "tokens": sum(transfers)})
        row = cursor.fetchone()
    if row is None:
        raise errors.RestrictedKeyEnded
    if not row[0]:
        raise errors.KeyLimitExceeded(
            f"The key may move {key.tokens_per_day} tokens in a day (UTC), and has moved {row[1]}"
        )
