"""
The restriction of the current request, if its credential is a restricted key.

The wallet that created the key, its owner, is the actor of the request. Rules in Python that check what the actor
controls also call `reaches`; SQL is changed by `trusts.restricted_sql`. So the actor controls what the owner controls
now, as far as it is among the key's wallets.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from wallets.states import KeyScope


@dataclass(frozen=True, slots=True)
class Restriction:
    """The terms of a restricted key. `owner_id` is the wallet that created it, its owner; `made_with` the
    id of the bearer token with which it was created."""

    key_id: UUID
    owner_id: UUID
    scopes: frozenset[str]
    wallet_ids: frozenset[UUID]
    networks: tuple[str, ...]
    tokens_per_transfer: int | None
    tokens_per_day: int | None
    made_with: UUID | None = None

    @property
    def is_pending_only(self) -> bool:
        """Whether transfers that it creates wait for a further decision."""
        return KeyScope.TRANSFERS_WRITE not in self.scopes


class _Request:
    """The current request, which gets a restriction when its credentials have been looked up."""

    restriction: Restriction | None = None


_request: Final = ContextVar[_Request | None]("restricted_request", default=None)


@contextmanager
def may_be_imposed() -> Iterator[None]:
    """Let `impose` restrict the rest of the block."""
    token = _request.set(_Request())
    try:
        yield
    finally:
        _request.reset(token)


def impose(restriction: Restriction) -> None:
    """Restrict the rest of the block of `may_be_imposed`. Outside of one it is an error: nothing would restrict."""
    request = _request.get()
    assert request is not None, "a restricted key outside of a request that it restricts"
    request.restriction = restriction


def current() -> Restriction | None:
    """Return the restriction of the current request, or None if its credential has none."""
    request = _request.get()
    return None if request is None else request.restriction


def reaches(*, actor_id: UUID, wallet_id: UUID) -> bool:
    """Return whether the wallet is among those of the current request's key; True if it has no restricted key."""
    restriction = current()
    return restriction is None or restriction.owner_id != actor_id or wallet_id in restriction.wallet_ids
