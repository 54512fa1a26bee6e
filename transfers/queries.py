"""Reading transfers, restricted to what the reader may see."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from transfers import errors
from transfers.states import OPEN, Side, TransferEvent, TransferState, deciding_sides
from trusts import queries as trust_queries
from wallets import queries as wallet_queries
from wallets.sql_files import load


class TransferRow(NamedTuple):
    """A transfer as answers show it."""

    number: int
    id: UUID
    state: str
    json: str
    # Whether the JSON has a reference, metadata or an expiry.
    has_terms: bool = False


CREATED_AT_JSON: Final = wallet_queries.time_json("transfer.created_at")
EXPIRES_AT_JSON: Final = wallet_queries.time_json("transfer.expires_at")
_TERMS_JSON: Final = load("transfers", "parts/terms_json", expires_at_json=EXPIRES_AT_JSON)
# The state in which a transfer was created: `closed_from` is empty if it is open, or was completed at once. One whose
# fulfilment needs an approval was requested, and then pending.
STATE_AS_CREATED: Final = (
    "CASE WHEN transfer.approval_of = 'fulfill' THEN 'requested'"
    " WHEN transfer.closed_from = '' THEN transfer.state ELSE transfer.closed_from END"
)
# Whether a transfer awaits the approval of its own side, now and when it was created.
AWAITED: Final = "transfer.approval_of IS NOT NULL AND transfer.approved_at IS NULL AND transfer.state = 'pending'"
AWAITED_AS_CREATED: Final = "transfer.approval_of = 'send'"


def transfer_json(
    *,
    state: str = "transfer.state",
    closed_at: str = "transfer.closed_at",
    awaits: str = AWAITED,
    terms: str = _TERMS_JSON,
    more: str = "",
) -> str:
    """Return the SQL of a transfer's JSON, see the file; `state`, `closed_at` and `awaits` are SQL."""
    closed = (
        f"CASE WHEN {closed_at} = transfer.created_at THEN at.created ELSE {wallet_queries.time_json(closed_at)} END"
    )
    return _json(state=state, closed=closed, awaits=awaits, terms=terms, more=more)


def new_transfer_json(*, terms: str) -> str:
    """Return the same for a transfer that is being written: it is closed at its creation or open, and not approved."""
    closed = "CASE WHEN transfer.closed_at IS NOT NULL THEN at.created END"
    return _json(state="transfer.state", closed=closed, awaits="transfer.approval_of IS NOT NULL", terms=terms, more="")


def _json(**parts: str) -> str:
    return load("transfers", "parts/transfer_json", **parts)


def event_payload(*, state: str, awaits: str = AWAITED) -> str:
    """Return the SQL of the payload of an event about a transfer, see the file; `state` and `awaits` are SQL."""
    return load("transfers", "parts/transfer_payload", state=state, awaits=awaits)


def rows_of(transfers: str, where: str = "", *, state: str = "transfer.state", **parts: str) -> str:
    """
    Return the SQL of rows: those of `TransferRow`, and `payload`.

    `transfers` is a table or a subquery of transfers, `where` a condition; `state` and `parts` as `transfer_json`.
    """
    return load(
        "transfers",
        "parts/transfer_rows",
        json=transfer_json(state=state, **parts),
        payload=event_payload(state=state),
        state=state,
        created_at_json=CREATED_AT_JSON,
        transfers=transfers,
        where=where,
    )


_BY_ID: Final = "WHERE transfer.id = %(id)s"
_ONE: Final = rows_of("transfers_transfer", _BY_ID)
_ONE_AS_CREATED: Final = rows_of(
    "transfers_transfer",
    _BY_ID,
    state=STATE_AS_CREATED,
    closed_at="CASE WHEN transfer.closed_from = '' THEN transfer.closed_at END",
    awaits=AWAITED_AS_CREATED,
)


def _read_one(rows: str, arguments: Mapping[str, Any]) -> TransferRow | None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT number, id, state, json, has_terms FROM ({rows}) AS transfer", arguments)  # noqa: S608
        row = cursor.fetchone()
    return None if row is None else TransferRow(*row)


def transfer_as_created(*, transfer_id: UUID) -> TransferRow:
    """
    Return one transfer as it was when it was created, without authorisation.

    :raises transfers.errors.TransferNotFound: no such transfer
    """
    row = _read_one(_ONE_AS_CREATED, {"id": transfer_id})
    if row is None:
        raise errors.TransferNotFound(transfer_id)
    return row


def transfer_and_payload(*, transfer_id: UUID) -> tuple[TransferRow, dict[str, Any]]:
    """Return one transfer that exists, without authorisation, and the payload of an event about it as it is now."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT number, id, state, json, has_terms, payload::text FROM ({_ONE}) AS transfer",  # noqa: S608
            {"id": transfer_id},
        )
        *row, payload = cursor.fetchone()
    return TransferRow(*row), orjson.loads(payload)


class Announcement(NamedTuple):
    """The payload of an event about a transfer as it is now, for its two parties."""

    source_id: UUID
    destination_id: UUID
    payload: dict[str, Any]


_ANNOUNCEMENTS: Final = (
    f"SELECT transfer.source_id, transfer.destination_id, ({event_payload(state='transfer.state')})::text"  # noqa: S608
    "  FROM transfers_transfer AS transfer"
    " CROSS JOIN LATERAL (SELECT name FROM wallets_wallet WHERE id = transfer.source_id OFFSET 0) AS source"
    " CROSS JOIN LATERAL (SELECT name FROM wallets_wallet WHERE id = transfer.destination_id OFFSET 0) AS destination"
    " WHERE transfer.id = ANY (%(ids)s::uuid[]) ORDER BY transfer.number"
)


def announcements(*, transfer_ids: Sequence[UUID]) -> list[Announcement]:
    """Return the payloads of events about transfers that exist, without authorisation, in the order of creation."""
    with connection.cursor() as cursor:
        cursor.execute(_ANNOUNCEMENTS, {"ids": list(transfer_ids)})
        return [
            Announcement(source, destination, orjson.loads(text)) for source, destination, text in cursor.fetchall()
        ]


def transfers_due(*, transfers: int, tokens: int) -> list[UUID]:
    """
    Return open transfers that have expired, the earliest first: as many at most, with as many reserved tokens at most.

    One transfer is returned whatever its tokens.
    """
    with connection.cursor() as cursor:
        cursor.execute(load("transfers", "due"), {"transfers": transfers, "tokens": tokens})
        return [transfer_id for (transfer_id,) in cursor.fetchall()]


def now() -> datetime:
    """Return the time of the database, later than all that the transaction has waited for."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def is_transfer_to(*, transfer_id: UUID, wallet_id: UUID) -> bool:
    """Return whether a wallet received the tokens of a transfer."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM transfers_transfer"
            "  WHERE id = %s AND destination_id = %s AND state = 'completed')",
            [transfer_id, wallet_id],
        )
        return bool(cursor.fetchone()[0])


_IS_VISIBLE = trust_queries.controls_one_of("transfer.source_id", "transfer.destination_id", "transfer.originator_id")


def transfer_visible_to(*, actor_id: UUID, transfer_id: UUID) -> TransferRow:
    """
    Return one transfer of which the actor controls a party (the Treetracker contract, row 14).

    :raises transfers.errors.TransferNotVisible: no such transfer, or the actor controls no party of it
    """
    row = _read_one(f"{_ONE} AND {_IS_VISIBLE}", {"id": transfer_id, "actor": actor_id})
    if row is None:
        raise errors.TransferNotVisible
    return row


# What the wallet that created a transfer may do with it as long as it is open: it controls the side that asks alone.
ACTIONS_OF_CREATOR: Final = (TransferEvent.DELETE,)


def available_actions(*, actor_id: UUID, row: TransferRow, credential_id: UUID | None = None) -> list[TransferEvent]:
    """
    Return the events that the actor may cause of a transfer that it sees, by what it controls now.

    `credential_id` is that of the request: the credential that asked for an approval does not give it.
    """
    if row.state not in OPEN:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_SIDES, {"id": row.id, "actor": actor_id, "credential": credential_id})
        state, has_expired, awaits_approval, has_asked, *controls = cursor.fetchone()
    if has_expired:
        return []
    sides = [side for side, is_controlled in zip(Side, controls, strict=True) if is_controlled]
    deciding = deciding_sides(TransferState(state), awaits_approval=awaits_approval)
    return [
        event
        for event, side in deciding.items()
        if side in sides and not (event is TransferEvent.APPROVE and has_asked)
    ]


# In the order of `Side`.
_SIDES: Final = (
    f"SELECT transfer.state, coalesce(transfer.expires_at <= clock_timestamp(), false), {AWAITED},"  # noqa: S608 - constants
    "       coalesce(transfer.approval_asked_with = %(credential)s::uuid, false),"
    f"       {trust_queries.controls_one_of('transfer.source_id')},"
    f"       {trust_queries.controls_one_of('transfer.destination_id')}"
    "  FROM transfers_transfer AS transfer WHERE transfer.id = %(id)s"
)


class Demand(NamedTuple):
    """
    Which transfers of a wallet's tokens need an approval: of more tokens than `above`, and to new receivers.

    A receiver is new if the wallet never sent to it. Neither: the wallet demands no approval.
    """

    above: int | None = None
    new_receivers: bool = False

    def __bool__(self) -> bool:
        return self.above is not None or self.new_receivers

    def is_loosened_by(self, other: "Demand") -> bool:
        """Return whether the other demand lets a transfer pass that needs an approval now."""
        is_higher = self.above is not None and (other.above is None or other.above > self.above)
        return is_higher or (self.new_receivers and not other.new_receivers)


def demand_of(*, wallet_id: UUID) -> Demand:
    """Return the approvals that a wallet demands, without authorisation."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT approval_above, coalesce(approval_of_new_receivers, false) FROM wallets_wallet WHERE id = %s",
            [wallet_id],
        )
        return Demand(*cursor.fetchone())


def needs_approval(*, transfer_id: UUID) -> bool:
    """Return whether the source of a transfer demands an approval before the tokens of that transfer leave it."""
    with connection.cursor() as cursor:
        cursor.execute(_NEEDS_APPROVAL, [transfer_id])
        return bool(cursor.fetchone()[0])


_NEEDS_APPROVAL: Final = """
SELECT coalesce(transfer.token_count > source.approval_above, false)
       OR coalesce(source.approval_of_new_receivers, false)
          AND transfers_is_new_receiver(transfer.source_id, transfer.destination_id)
  FROM transfers_transfer AS transfer
 CROSS JOIN LATERAL (SELECT * FROM wallets_wallet WHERE id = transfer.source_id OFFSET 0) AS source
 WHERE transfer.id = %s
"""


class PendingSums(NamedTuple):
    """The pending transfers out of and into a wallet, and their tokens."""

    wallet_id: UUID
    wallet_name: str
    transfers_out: int
    tokens_out: int
    transfers_in: int
    tokens_in: int


def pending_sums(*, actor_id: UUID, wallet_id: UUID) -> PendingSums:
    """
    Sum up the pending transfers of a wallet that the actor controls.

    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    wallet = trust_queries.wallet_controlled_by(actor_id=actor_id, wallet_id=wallet_id)
    # Repeat the partial indexes' predicate explicitly so the planner can use them.
    pending = "state <> 'completed' AND state = 'pending'"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT * FROM (SELECT count(*), coalesce(sum(token_count), 0) FROM transfers_transfer"  # noqa: S608 - constants
            f"                WHERE source_id = %(wallet)s AND {pending}) AS outgoing,"
            f"              (SELECT count(*), coalesce(sum(token_count), 0) FROM transfers_transfer"
            f"                WHERE destination_id = %(wallet)s AND {pending}) AS incoming",
            {"wallet": wallet.pk},
        )
        return PendingSums(wallet.pk, wallet.name, *cursor.fetchone())


def locate_tokens(*, token_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, UUID | None]]:
    """Return the holder of each token and the transfer that reserves it; unknown tokens are left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, wallet_id, transfer_pending_id FROM wallets_token WHERE id = ANY (%s::uuid[])",
            [list(token_ids)],
        )
        return {token_id: (wallet_id, transfer_id) for token_id, wallet_id, transfer_id in cursor.fetchall()}
