"""The tokens of a transfer, and the movements of a token."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection

from transfers import partitions
from transfers.errors import HistoryDetached
from transfers.queries import transfer_visible_to
from transfers.states import TransferState
from trusts import queries as trust_queries
from wallets import queries as wallet_queries
from wallets.models import Token

# What v2 adds to a token that a transfer moved. It leaves `links` out.
_MOVED_BY: Final = f""", ',"token_id":"', token.id, '","transfer_id":"', %(id)s::uuid, '","source_wallet_id":"',
    movement.source_id, '","destination_wallet_id":"', movement.destination_id,
    '","processed_at":', {wallet_queries.time_json("movement.processed_at")}"""


# Reserved tokens: the newest arrival first, as in the list of a wallet. Moved tokens: in the order in which they moved,
# and as the transfer left them if they are in a wallet that the actor does not control.
def _moved_tokens(json: str) -> str:
    return wallet_queries.page_of(
        f"""
    SELECT {json} AS json, movement.id AS arrival
      FROM transfers_movement AS movement
      JOIN LATERAL (
        SELECT held.id, held.capture_id, held.created_at, held.claim,
               CASE WHEN may_see THEN held.wallet_id ELSE movement.destination_id END AS wallet_id,
               CASE WHEN may_see THEN held.transfer_pending_id END AS transfer_pending_id,
               CASE WHEN may_see THEN held.updated_at ELSE movement.processed_at END AS updated_at
          FROM wallets_token AS held
          JOIN LATERAL (SELECT {trust_queries.controls_one_of("held.wallet_id")} AS may_see) AS seen ON true
         WHERE held.id = movement.token_id
      ) AS token ON true
     WHERE movement.transfer_number = %(number)s AND movement.id > %(after)s
     ORDER BY movement.id LIMIT %(fetch)s OFFSET %(offset)s""",  # noqa: S608 - constants
        "arrival",
    )


def _reserved_tokens(json: str) -> str:
    return wallet_queries.page_of(
        f"""
    SELECT {json} AS json, -token.arrival AS arrival
      FROM wallets_token AS token WHERE token.transfer_pending_id = %(id)s AND -token.arrival > %(after)s
     ORDER BY -token.arrival LIMIT %(fetch)s OFFSET %(offset)s""",  # noqa: S608 - constants
        "arrival",
    )


# By whether the transfer is completed, and whether the ids of the movement are shown.
_TOKENS: Final = {
    (True, False): _moved_tokens(wallet_queries.TOKEN_JSON),
    (True, True): _moved_tokens(wallet_queries.token_json(_MOVED_BY)),
    (False, False): _reserved_tokens(wallet_queries.TOKEN_JSON),
    (False, True): _reserved_tokens(wallet_queries.token_json("")),
}


def tokens_of_transfer(
    *,
    actor_id: UUID,
    transfer_id: UUID,
    limit: int,
    offset: int = 0,
    after: int | None = None,
    shows_ids: bool = False,
) -> wallet_queries.JsonPage:
    """
    Return a page of the tokens that a transfer moved, or reserves while it is pending.

    A token that has moved on into a wallet that the actor does not control is shown as the transfer left it.

    With `shows_ids` as v2 shows them: a token that was moved with the ids of the transfer and its wallets.

    :raises transfers.errors.TransferNotVisible: no such transfer, or the actor controls no party of it
    :raises transfers.errors.HistoryDetached: some of its movements may be in a partition that is detached
    """
    transfer = transfer_visible_to(actor_id=actor_id, transfer_id=transfer_id)
    if transfer.state == TransferState.COMPLETED and partitions.is_detached(transfer_number=transfer.number):
        raise HistoryDetached("transfer")
    return wallet_queries.read_page(
        _TOKENS[transfer.state == TransferState.COMPLETED, shows_ids],
        limit=limit,
        arguments={
            "actor": actor_id,
            "id": transfer.id,
            "number": transfer.number,
            "after": -(2**63) if after is None else after,
            "offset": offset,
        },
    )


class MovementRow(NamedTuple):
    """One completed movement of a token. Ids of movement and transfer are None unless asked for."""

    number: int
    id: UUID | None
    token_id: UUID
    transfer_id: UUID | None
    source_wallet_id: UUID
    destination_wallet_id: UUID
    processed_at: datetime
    sender_wallet: str
    receiver_wallet: str


# A movement has a number; its id for clients is derived from it, as that of an event of a transfer.
_MOVEMENT_IDS: Final = (
    "md5('movement ' || movement.id)::uuid",
    "(SELECT transfer.id FROM transfers_transfer AS transfer WHERE transfer.number = movement.transfer_number)",
)


def token_history(
    *,
    actor_id: UUID,
    token_id: UUID,
    as_sent: str,
    limit: int,
    offset: int = 0,
    after: int = 0,
    shows_ids: bool = False,
) -> list[MovementRow]:
    """
    Return a page of the movements of a token in a wallet that the actor controls, oldest first.

    `as_sent` is the id as the client wrote it. The issue of the token is not listed. `shows_ids` reads the ids of the
    movements and transfers too.

    :raises wallets.errors.TokenNotFound: no such token
    :raises wallets.errors.TokenNotVisible: it is in a wallet that the actor does not control
    :raises transfers.errors.HistoryDetached: movements of the page, or before it, are in a partition that is detached
    """
    check_history_is_visible(actor_id=actor_id, token_id=token_id, as_sent=as_sent)
    movement_id, transfer_id = _MOVEMENT_IDS if shows_ids else ("NULL", "NULL")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT movement.number, {movement_id}, movement.token_id, {transfer_id}, movement.source_id,"  # noqa: S608 - constants
            "        movement.destination_id, movement.processed_at, source.name, destination.name"
            "  FROM transfers_movement AS movement"
            "  JOIN wallets_wallet AS source ON source.id = movement.source_id"
            "  JOIN wallets_wallet AS destination ON destination.id = movement.destination_id"
            " WHERE movement.token_id = %(token)s AND movement.number > %(after)s"
            " ORDER BY movement.number LIMIT %(limit)s OFFSET %(offset)s",
            {"token": token_id, "after": max(after, 0), "limit": limit, "offset": offset},
        )
        rows = [MovementRow(*row) for row in cursor.fetchall()]
    check_is_attached(token_id, number=max(after, 0) + 1 + offset, found=rows[0].number if rows else None)
    return rows


def check_history_is_visible(*, actor_id: UUID, token_id: UUID, as_sent: str) -> None:
    """
    Check that the token is in a wallet that the actor controls. `as_sent` is the id as the client wrote it.

    :raises wallets.errors.TokenNotFound: no such token
    :raises wallets.errors.TokenNotVisible: it is in a wallet that the actor does not control
    """
    wallet_queries.token(token_id=token_id, is_visible_in=trust_queries.controlled_by(actor_id), as_sent=as_sent)


def check_is_attached(token_id: UUID, *, number: int, found: int | None) -> None:
    """
    Check that the movement of a token from which a page begins is not detached.

    Movements have no gap, and only the beginning of a history can be detached. `found` is the number of the first
    movement that was found, None if none was.

    :raises transfers.errors.HistoryDetached: it is detached
    """
    if found is not None:
        is_missing = found != number
    else:
        is_missing = partitions.detached_below() > 0 and Token.objects.filter(pk=token_id, moves__gte=number).exists()
    if is_missing:
        raise HistoryDetached("token")
