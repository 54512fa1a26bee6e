"""
Cached credentials: a caller seen within the last minute costs no statement of its own.

For an action that one statement answers, that statement checks them again: while the action runs, `Guard` replaces the
statement's first CTE (`wallets.queries.ME`, the acting wallet) by one that looks up the API key and the bearer token by
id. If either has ended, the acting wallet is NULL, and the statement finds and changes nothing.

So an answer that came of cached credentials is right if it found or did something. A refusal or an empty page may only
mean that they have ended: it is discarded, they are looked up, and the action runs again (`config.api.views`).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper

from wallets import queries

_SECONDS: Final = 60.0
_AT_MOST: Final = 10_000
# By the digests of API key and bearer token, with the time at which the entry expires.
_cache: Final[dict[tuple[bytes, bytes], tuple[float, queries.Credentials]]] = {}

# The ids stand in subqueries, so that one plan serves all values.
_CHECKED: Final = """me AS MATERIALIZED (
    SELECT (SELECT bearer.wallet_id FROM wallets_bearertoken AS bearer, wallets_apikey AS api_key
             WHERE bearer.id = (SELECT %(bearer)s::uuid) AND bearer.revoked_at IS NULL AND bearer.expires_at > now()
               AND api_key.id = (SELECT %(api_key)s::uuid) AND api_key.revoked_at IS NULL
               AND coalesce(api_key.expires_at > now(), true)) AS id)"""


class Outdated(Exception):
    """The result may only mean that cached credentials have ended: look them up and run the action again."""


class Guard:
    """A wrapper of statements (`connection.execute_wrappers`) that adds the check while cached credentials are used."""

    def __init__(self) -> None:
        self._ids: dict[str, UUID] | None = None
        # Whether a statement with the check was executed.
        self.has_checked = False

    @property
    def is_used(self) -> bool:
        """Whether the request goes by cached credentials."""
        return self._ids is not None

    def use(self, found: queries.Credentials) -> None:
        """Check these credentials in the statements that follow. Both are valid as far as the cache knows."""
        assert found.api_key_id is not None
        assert found.bearer_token_id is not None
        self._ids = {"api_key": found.api_key_id, "bearer": found.bearer_token_id}

    @contextmanager
    def over(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """Wrap the statements of a block; outside all other wrappers, so that these see what is sent."""
        connection.execute_wrappers.insert(0, self)
        try:
            yield
        finally:
            connection.execute_wrappers.remove(self)

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if self._ids is not None and (checked := _checked(sql)) is not None:
            self.has_checked = True
            return execute(checked, {**params, **self._ids}, many, context)
        return execute(sql, params, many, context)


@lru_cache(maxsize=256)
def _checked(sql: str) -> str | None:
    return sql.replace(queries.ME, _CHECKED) if queries.ME in sql else None


def recall(sent: tuple[bytes, bytes]) -> queries.Credentials | None:
    """Return the credentials with these digests if they were looked up, and valid, within the last minute."""
    expires, found = _cache.get(sent, (0.0, None))
    return found if time.monotonic() < expires else None


def remember(sent: tuple[bytes, bytes], found: queries.Credentials) -> None:
    """Cache credentials that were just looked up, if both are valid; else forget them."""
    if not found.are_valid:
        _cache.pop(sent, None)
        return
    if len(_cache) >= _AT_MOST:
        _cache.clear()
    # The rest is true of this request alone; the statement that checks them takes the idempotency key as well.
    kept = replace(found, answer=None, holds_key=True, use_is_stale=False)
    _cache[sent] = time.monotonic() + _SECONDS, kept


def clear() -> None:
    """Forget all cached credentials."""
    _cache.clear()
