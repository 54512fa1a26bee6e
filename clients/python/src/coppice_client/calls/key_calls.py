"""Restricted keys."""

from collections.abc import Sequence
from datetime import datetime

from coppice_client.calls.describing import get, given, write
from coppice_client.exchange import Call, Listing, time_text
from coppice_client.types import KeyScope, NewRestrictedKey, RestrictedKey


def keys(*, page_size: int = 100) -> Listing[RestrictedKey]:
    """Restricted keys of the caller, the newest first, with those that have ended."""
    return Listing("/keys", "keys", limit=page_size)


def key(key_id: str) -> Call[RestrictedKey]:
    return get("/keys", key_id)


def create_key(
    name: str,
    scopes: Sequence[KeyScope],
    *,
    wallets: Sequence[str] | None = None,
    networks: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    tokens_per_transfer: int | None = None,
    tokens_per_day: int | None = None,
    idempotency_key: str | None = None,
) -> Call[NewRestrictedKey]:
    """
    Make a key that a program gives as `token` in place of a bearer token. Keep the `key` of the answer.

    It reaches the given wallets, or the caller's alone, from the given networks, or from everywhere.
    """
    body = given(
        name=name,
        scopes=list(scopes),
        wallets=wallets,
        networks=networks,
        expires_at=None if expires_at is None else time_text(expires_at),
        tokens_per_transfer=tokens_per_transfer,
        tokens_per_day=tokens_per_day,
    )
    return write("POST", "/keys", key=idempotency_key, body=body)


def rename_key(key_id: str, name: str, *, idempotency_key: str | None = None) -> Call[RestrictedKey]:
    return write("PATCH", "/keys", key_id, key=idempotency_key, body={"name": name})


def end_key(key_id: str, *, idempotency_key: str | None = None) -> Call[RestrictedKey]:
    """End a key: it is refused from now on."""
    return write("DELETE", "/keys", key_id, key=idempotency_key)
