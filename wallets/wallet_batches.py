"""Creating many wallets at once."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from wallets.models import Wallet
from wallets.operations import record_events
from wallets.states import EventType


class NewWallet(NamedTuple):
    """A wallet to create in a batch."""

    id: UUID
    name: str
    name_key: str
    about: str
    logo_url: str | None
    cover_url: str | None


def create_wallets(*, wallets: Sequence[NewWallet], creator: Wallet) -> set[UUID]:
    """
    Create wallets without a manager, and return the ids of those whose name was free.

    The caller has opened a transaction and got distinct keys from `validate_new_name`.
    """
    with connection.cursor() as cursor:
        # In the order of the names, so that two batches with the same names do not deadlock.
        cursor.execute(
            "INSERT INTO wallets_wallet (id, name, name_key, password, about, display_name,"
            "                            logo_url, cover_url, created_at)"
            " SELECT id, name, name_key, '', about, '', logo_url, cover_url, statement_timestamp()"
            "   FROM (SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])"
            "                    AS wallet (id, name, name_key, about, logo_url, cover_url)"
            '          ORDER BY name_key COLLATE "C") AS wallet'
            " ON CONFLICT (name_key) DO NOTHING RETURNING id",
            [list(column) for column in zip(*wallets, strict=True)],
        )
        created = {row[0] for row in cursor.fetchall()}
    record_events(
        [
            (party, EventType.WALLET_CREATED, {"parentWallet": creator.pk, "childWallet": wallet.name})
            for wallet in wallets
            if wallet.id in created
            for party in (wallet.id, creator.pk)
        ]
    )
    return created
