"""
Cached credentials, for 60 seconds, which save the round trip of authentication.

They are used for actions that one statement answers, and that statement validates them: while the action runs, `Guard`
replaces the statement's first CTE (`wallets.queries.ME`, the acting wallet) by one that looks up the API key and the
bearer token by id. If either has expired or was revoked, the acting wallet is NULL, and the statement reads and changes
nothing.

So a result with cached credentials is correct if it is not empty. A refusal or an empty page may be due to stale
credentials: it is discarded, they are looked up, and the action runs again (`config.api.views`).
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
# Digests of API key and bearer token -> time of expiry (monotonic) and credentials.
_cache: Final[dict[tuple[bytes, bytes], tuple[float, queries.Credentials]]] = {}

_CHECKED: Final = """me AS MATERIALIZED (
    SELECT (SELECT bearer.wallet_id FROM wallets_bearertoken AS bearer, wallets_apikey AS api_key
             WHERE bearer.id = %(bearer)s::uuid AND bearer.revoked_at IS NULL AND bearer.expires_at > now()
               AND api_key.id = %(api_key)s::uuid AND api_key.revoked_at IS NULL
               AND coalesce(api_key.expires_at > now(), true)) AS id)"""


class Outdated(Exception):
    """The cached credentials may be stale: look them up and run the action again."""


class Guard:
    """An execute wrapper (`connection.execute_wrappers`) that adds the check while cached credentials are used."""

    def __init__(self) -> None:
        self._ids: dict[str, UUID] | None = None
        # Whether a statement with the check has been executed.
        self.has_checked = False

    @property
    def is_used(self) -> bool:
        """Whether the request uses cached credentials."""
        return self._ids is not None

    def use(self, found: queries.Credentials) -> None:
        """Check these cached credentials in the following statements. Both ids are set."""
        assert found.api_key_id is not None
        assert found.bearer_token_id is not None
        self._ids = {"api_key": found.api_key_id, "bearer": found.bearer_token_id}

    @contextmanager
    def over(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """Wrap the statements of a block, outside all other wrappers, so that those see the SQL that is sent."""
        wrappers = connection.execute_wrappers
        wrappers.insert(0, self)
        try:
            yield
        finally:
            wrappers.remove(self)

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if self._ids is not None and (checked := _checked(sql)) is not None:
            self.has_checked = True
            return execute(checked, {**params, **self._ids}, many, context)
        return execute(sql, params, many, context)


@lru_cache(maxsize=256)
def _checked(sql: str) -> str | None:
    return sql.replace(queries.ME, _CHECKED) if queries.ME in sql else None


def recall(sent: tuple[bytes, bytes]) -> queries.Credentials | None:
    """Return the cached credentials of these digests (API key, bearer token), or None."""
    expires, found = _cache.get(sent, (0.0, None))
    return found if time.monotonic() < expires else None


def remember(sent: tuple[bytes, bytes], found: queries.Credentials) -> None:
    """Cache credentials that were just looked up if both are valid; otherwise remove them from the cache."""
    if not found.are_valid:
        _cache.pop(sent, None)
        return
    if len(_cache) >= _AT_MOST:
        _cache.clear()
    # The replaced fields belong to one request; the statement that checks the credentials also claims the key.
    kept = replace(found, answer=None, holds_key=True, use_is_stale=False)
    _cache[sent] = time.monotonic() + _SECONDS, kept


def clear() -> None:
    """Empty the cache."""
    _cache.clear()
