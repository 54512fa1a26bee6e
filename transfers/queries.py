"""Reading transfers and histories, narrowed to what the reader may see."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from transfers import errors
from transfers.states import TransferState
from trusts import queries as trust_queries
from wallets import errors as wallet_errors
from wallets import queries as wallet_queries


class TransferRow(NamedTuple):
    """A transfer with the names of its wallets, as every answer shows it."""

    number: int
    id: UUID
    parameters: Mapping[str, Any]
    state: str
    created_at: datetime
    closed_at: datetime | None
    originating_wallet: str
    source_wallet: str
    destination_wallet: str


_ROW = """
SELECT transfer.number, transfer.id, transfer.parameters::text, transfer.state,
       transfer.created_at, transfer.closed_at, originator.name, source.name, destination.name
  FROM transfers_transfer AS transfer
  JOIN wallets_wallet AS originator ON originator.id = transfer.originator_id
  JOIN wallets_wallet AS source ON source.id = transfer.source_id
  JOIN wallets_wallet AS destination ON destination.id = transfer.destination_id
"""


def _row(row: Sequence[Any]) -> TransferRow:
    return TransferRow(row[0], row[1], orjson.loads(row[2]), *row[3:])


def transfer_row(*, transfer_id: UUID) -> TransferRow:
    """
    Return one transfer, whoever asks.

    :raises transfers.errors.TransferNotFound: no such transfer
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{_ROW} WHERE transfer.id = %s", [transfer_id])
        row = cursor.fetchone()
    if row is None:
        raise errors.TransferNotFound(transfer_id)
    return _row(row)


def transfer_visible_to(*, actor_id: UUID, transfer_id: UUID) -> TransferRow:
    """
    Return one transfer of which the actor controls a party (the Treetracker contract, row 14).

    :raises transfers.errors.TransferNotVisible: no such transfer, or the actor controls no party of it
    """
    wallet_ids = trust_queries.controlled_wallet_ids(actor_id=actor_id)
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_ROW} WHERE transfer.id = %(id)s AND (transfer.source_id = ANY(%(wallets)s)"
            " OR transfer.destination_id = ANY(%(wallets)s) OR transfer.originator_id = ANY(%(wallets)s))",
            {"id": transfer_id, "wallets": wallet_ids},
        )
        row = cursor.fetchone()
    if row is None:
        raise errors.TransferNotVisible
    return _row(row)


# The wallet columns by which transfers are found, each served by an index that ends in the number.
_BRANCHES = (
    "source_id = {wallet}",
    "destination_id = {wallet}",
    "originator_id = {wallet} AND originator_id <> source_id AND originator_id <> destination_id",
)


def transfers_page(
    *, wallet_ids: Sequence[UUID], limit: int, offset: int = 0, after: int = 0, state: str | None = None
) -> list[TransferRow]:
    """Return a page of the transfers in which one of the wallets is a party, in the order of creation."""
    if state is None:
        condition = ""
    elif state == TransferState.COMPLETED:
        condition = "AND state = 'completed'"
    else:
        # In so many words, so that the indexes of what is not completed serve.
        condition = "AND state <> 'completed' AND state = %(state)s"
    numbers = trust_queries.numbers_by_party(table="transfers_transfer", branches=_BRANCHES, condition=condition)
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_ROW} WHERE transfer.number IN ({numbers}) ORDER BY transfer.number OFFSET %(offset)s",
            {
                "wallets": list(wallet_ids),
                "after": after,
                "fetch": offset + limit,
                "offset": offset,
                **({} if state is None else {"state": state}),
            },
        )
        return [_row(row) for row in cursor.fetchall()]


def transfers_visible_to(
    *,
    actor_id: UUID,
    wallet: str | None,
    limit: int,
    offset: int = 0,
    after: int = 0,
    state: str | None = None,
) -> list[TransferRow]:
    """
    Return a page of the transfers of the actor and of the wallets that it manages, or of the one named `wallet`.

    :raises wallets.errors.InvalidWalletName: the text can never be a name
    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    wallet_ids = trust_queries.controlled_wallet_ids(actor_id=actor_id)
    if wallet is not None:
        wallet_id = wallet_queries.wallet_by_name_or_id(wallet).pk
        if wallet_id not in wallet_ids:
            raise wallet_errors.WalletNotControlled("Wallet do not belongs to wallet logged in")
        wallet_ids = [wallet_id]
    return transfers_page(wallet_ids=wallet_ids, limit=limit, offset=offset, after=after, state=state)


# The newest arrival first, as in the list of a wallet; what moved together, in the order in which it moved.
_TOKENS = """
SELECT token.id, token.capture_id, token.wallet_id, token.transfer_pending_id, token.created_at, token.updated_at,
       token.claim, {position}
"""
_MOVED_TOKENS = (
    _TOKENS.format(position="movement.id")
    + """
  FROM transfers_movement AS movement JOIN wallets_token AS token ON token.id = movement.token_id
 WHERE movement.transfer_number = %(number)s AND movement.id > %(after)s
 ORDER BY movement.id LIMIT %(limit)s OFFSET %(offset)s
"""
)
_RESERVED_TOKENS = (
    _TOKENS.format(position="-token.arrival")
    + """
  FROM wallets_token AS token WHERE token.transfer_pending_id = %(id)s AND -token.arrival > %(after)s
 ORDER BY -token.arrival LIMIT %(limit)s OFFSET %(offset)s
"""
)


def tokens_of_transfer(
    *, actor_id: UUID, transfer_id: UUID, limit: int, offset: int = 0, after: int | None = None
) -> list[wallet_queries.TokenRow]:
    """
    Return a page of the tokens that a transfer moved, or reserves while it is pending.

    The last field of a row is its position in this list, not the token's arrival.

    :raises transfers.errors.TransferNotVisible: no such transfer, or the actor controls no party of it
    """
    transfer = transfer_visible_to(actor_id=actor_id, transfer_id=transfer_id)
    with connection.cursor() as cursor:
        cursor.execute(
            _MOVED_TOKENS if transfer.state == TransferState.COMPLETED else _RESERVED_TOKENS,
            {
                "id": transfer.id,
                "number": transfer.number,
                "after": -(2**63) if after is None else after,
                "limit": limit,
                "offset": offset,
            },
        )
        return [wallet_queries.TokenRow(*row) for row in cursor.fetchall()]


class MovementRow(NamedTuple):
    """One completed movement of a token."""

    number: int
    processed_at: datetime
    sender_wallet: str
    receiver_wallet: str


def token_history(
    *, actor_id: UUID, token_id: UUID, written: str, limit: int, offset: int = 0, after: int = 0
) -> list[MovementRow]:
    """
    Return a page of the movements of a token that lies in a wallet of the actor, the first movement first.

    `written` is the id as the client wrote it. The issue of the token is no movement.

    :raises wallets.errors.TokenNotFound: no such token
    :raises wallets.errors.TokenNotVisible: it lies in a wallet that the actor does not control
    """
    wallet_queries.token(
        token_id=token_id,
        visible_in=trust_queries.controlled_wallet_ids(actor_id=actor_id),
        written=written,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT movement.number, movement.processed_at, source.name, destination.name"
            "  FROM transfers_movement AS movement"
            "  JOIN wallets_wallet AS source ON source.id = movement.source_id"
            "  JOIN wallets_wallet AS destination ON destination.id = movement.destination_id"
            " WHERE movement.token_id = %(token)s AND movement.number > %(after)s"
            " ORDER BY movement.number LIMIT %(limit)s OFFSET %(offset)s",
            {"token": token_id, "after": max(after, 0), "limit": limit, "offset": offset},
        )
        return [MovementRow(*row) for row in cursor.fetchall()]
