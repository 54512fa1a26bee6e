"""The creation of restricted keys, which requires control of each of their wallets."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, TypedDict, Unpack
from uuid import UUID

from django.db import connection, transaction
from django.views.decorators.debug import sensitive_variables

from trusts import queries
from wallets import errors, operations, restricted_keys
from wallets import queries as wallet_queries
from wallets.models import RestrictedKey, Wallet
from wallets.states import EventType, KeyScope


class MadeKey(NamedTuple):
    """A new key, and its text, which is not stored."""

    row: RestrictedKey
    secret: str

    def __repr__(self) -> str:
        return f"MadeKey(row={self.row!r})"


class Terms(TypedDict, total=False):
    """What restricts a new key besides its scopes. `wallets` are names or ids, `networks` in CIDR notation."""

    wallets: Sequence[str]
    networks: Sequence[str]
    expires_at: datetime | None
    tokens_per_transfer: int | None
    tokens_per_day: int | None


@sensitive_variables("secret", "made")
def create(
    *,
    actor: Wallet,
    name: str,
    scopes: Sequence[str],
    made_with: UUID | None = None,
    **terms: Unpack[Terms],
) -> MadeKey:
    """
    Create a key of the actor for `wallets` (names or ids), by default for the actor's own wallet only.

    `made_with` is the id of the bearer token of the request.

    :raises InvalidWalletName: one of `wallets` cannot be a name
    :raises WalletNotFound: no such wallet
    :raises WalletNotControlled: the actor does not control one of them
    :raises InvalidNetwork: a network is not in CIDR notation
    :raises ContradictoryKey: two terms exclude each other, or the expiry has passed
    :raises TooManyRestrictedKeys: the wallet has as many valid keys as it may have
    :raises SessionNotFound: the bearer token has ended
    """
    parsed = list(dict.fromkeys(restricted_keys.parsed_network(each) for each in terms.get("networks", ())))
    reached = [wallet_queries.wallet_by_name_or_id(each) for each in terms.get("wallets", ())] or [actor]
    wallet_ids = list(dict.fromkeys(each.pk for each in reached))
    expires_at = terms.get("expires_at")
    tokens_per_transfer, tokens_per_day = terms.get("tokens_per_transfer"), terms.get("tokens_per_day")
    has_limit = tokens_per_transfer is not None or tokens_per_day is not None
    _refuse_contradictions(frozenset(scopes), has_limit=has_limit, reaches_own=actor.pk in wallet_ids)
    secret = restricted_keys.new_key()
    with transaction.atomic(savepoint=False):
        with connection.cursor() as cursor:
            # Of two requests the second counts the key of the first.
            cursor.execute("SELECT 1 FROM wallets_wallet WHERE id = %s ORDER BY id FOR NO KEY UPDATE", [actor.pk])
            cursor.execute("SELECT coalesce(%s::timestamptz <= clock_timestamp(), false)", [expires_at])
            if cursor.fetchone()[0]:
                raise errors.ContradictoryKey("The expiry of a key is in the future")
        if made_with is not None:
            # It may have been revoked, because it was stolen or the wallet closed, since the request was let in.
            operations.keep_session(wallet=actor, bearer_token_id=made_with)
        for wallet_id in wallet_ids:
            if not queries.controls_until_commit(actor_id=actor.pk, wallet_id=wallet_id):
                raise errors.WalletNotControlled("Wallet do not belongs to wallet logged in")
        if restricted_keys.count_valid(actor) >= restricted_keys.PER_WALLET:
            raise errors.TooManyRestrictedKeys(restricted_keys.PER_WALLET)
        row = RestrictedKey.objects.create(
            wallet=actor,
            name=name,
            prefix=restricted_keys.shown_part(secret),
            digest=wallet_queries.digest(secret),
            scopes=[scope for scope in KeyScope.values if scope in scopes],
            wallet_ids=wallet_ids,
            networks=parsed,
            made_with=made_with,
            tokens_per_transfer=tokens_per_transfer,
            tokens_per_day=tokens_per_day,
            expires_at=expires_at,
        )
        operations.record_events([(actor.pk, EventType.KEY_CREATED, row.event_payload)])
    return MadeKey(row, secret)


def _refuse_contradictions(scopes: frozenset[str], *, has_limit: bool, reaches_own: bool) -> None:
    if {KeyScope.TRANSFERS_WRITE, KeyScope.TRANSFERS_PENDING_ONLY} <= scopes:
        raise errors.ContradictoryKey("A key has transfers:write or transfers:pending-only, not both")
    if has_limit and KeyScope.COINS_MOVE in scopes:
        raise errors.ContradictoryKey("A key with coins:move has no limits: they count tokens, not coins")
    if KeyScope.LOCKERS_PEEK in scopes and not reaches_own:
        raise errors.ContradictoryKey("A key with lockers:peek reaches the wallet that makes it, which looks")
