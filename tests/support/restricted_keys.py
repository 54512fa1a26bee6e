"""Restricted keys of the tests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection

from tests.api.caller import Caller
from trusts import restricted_keys, restricted_sql
from wallets import restrictions
from wallets.models import RestrictedKey
from wallets.restrictions import Restriction


def with_key(caller: Caller, *scopes: str, wallets: Sequence[str] = (), **terms: Any) -> Caller:
    """Return the same program with a new restricted key of its wallet in place of the bearer token."""
    assert caller.wallet is not None
    made = restricted_keys.create(actor=caller.wallet, name="program", scopes=scopes, wallets=wallets, **terms)
    return Caller(caller.api_key, made.secret, caller.wallet)


@contextmanager
def acting_by(key: RestrictedKey) -> Iterator[None]:
    """Restrict the calls of operations in the block, as a request with the key is restricted."""
    terms = Restriction(
        key.pk,
        key.wallet_id,
        frozenset(key.scopes),
        frozenset(key.wallet_ids),
        tuple(key.networks),
        key.tokens_per_transfer,
        key.tokens_per_day,
    )
    with restrictions.may_be_imposed(), connection.execute_wrapper(restricted_sql.narrowed):
        restrictions.impose(terms)
        yield
