"""
Reading events: what happened to a wallet, oldest first, and nothing twice or left out.

The creation of a transfer is read from the transfer itself: `transfer_completed` if it completed at once, else
`transfer_requested`. Everything else is a row of `wallets_event`, which is rare beside it. Both are numbered from one
sequence, and both are read up to the number that is final: see `wallets.event_sequence`.

Decided 2026-11-21. A row for each party of each transfer would make reading simpler and costs 28 % of the immediate
transfers (708 against 508 pairs a second, one client, synchronous_commit off, medians of 5, two cores under load). The
transfer's row says all that such an event says, since only how it is closed ever changes.

Oldest first, because then a cursor can be followed for ever: what is new comes behind it. Newest first, a page
would have to be read again from its top to find what came meanwhile.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from trusts import queries as trust_queries
from wallets import errors as wallet_errors
from wallets import event_sequence
from wallets import queries as wallet_queries


class EventRow(NamedTuple):
    """An event with its position: the number, and which party of a transfer it is for."""

    number: int
    party: int
    id: UUID
    wallet_id: UUID
    type: str
    created_at: datetime
    payload: dict[str, Any]


# The time of a row is taken before its number is drawn, but in the same statement, and no statement runs for longer.
_LONGEST_STATEMENT: Final = timedelta(seconds=60)
_BEFORE_ALL: Final = datetime(2000, 1, 1, tzinfo=UTC)

# Finds, by halving, a number below which nothing has happened since the time given, in some 40 steps along the index
# on the number. Another index on the time would cost every transfer.
_FLOOR: Final = """
WITH RECURSIVE halving (low, high) AS (
    SELECT 1::bigint, %(newest)s::bigint + 1
     UNION ALL
    SELECT CASE WHEN found.created_at < %(since)s::timestamptz THEN found.number + 1 ELSE halving.low END,
           CASE WHEN found.created_at < %(since)s::timestamptz THEN halving.high ELSE (low + high) / 2 END
      FROM halving LEFT JOIN LATERAL (
               SELECT number, created_at FROM {table}
                WHERE number >= (halving.low + halving.high) / 2 AND number < halving.high
                ORDER BY number LIMIT 1) AS found ON true
     WHERE halving.low < halving.high
)
SELECT max(low) FROM halving"""


class _Stream(NamedTuple):
    """Where the events of a wallet are found, in the order of their numbers, by an index."""

    table: str
    column: str
    party: int


_STREAMS: Final = (
    _Stream("wallets_event", "wallet_id", 0),
    _Stream("transfers_transfer", "source_id", 0),
    _Stream("transfers_transfer", "destination_id", 1),
)


def _page(*, has_since: bool) -> str:
    """
    Return the statement that reads a page.

    It reads the first number of each wallet and stream, from which follows how far the page can reach at most, then
    the numbers within that reach, and what the events tell only for those that are shown. So the cost grows with the
    wallets and the page, not with the events behind or ahead of it. Parameters stand in a subquery, so that one plan
    serves all values: planning costs more than the page.
    """
    since = "AND created_at >= (SELECT page.since FROM page)" if has_since else ""
    heads, reaches = (
        " UNION ALL ".join(
            f"(SELECT {index} AS stream, number FROM {stream.table}"  # noqa: S608 - constants
            f" WHERE {condition.format(index=index, **stream._asdict())}"
            f" AND number <= (SELECT page.settled FROM page) {since} ORDER BY number LIMIT {limit})"
            for index, stream in enumerate(_STREAMS)
        )
        for condition, limit in (
            (
                "{column} = wallet.id AND number > (SELECT page.number - ({party} > page.party)::int FROM page)",
                "1",
            ),
            (
                "head.stream = {index} AND {column} = head.wallet_id AND number >= head.number"
                " AND number <= (SELECT reach.number FROM reach)",
                "(SELECT page.fetch FROM page)",
            ),
        )
    )
    return _PAGE.format(
        heads=heads, reaches=reaches, parties=", ".join(f"({i}, {s.party})" for i, s in enumerate(_STREAMS))
    )


_PAGE: Final = """
WITH page AS MATERIALIZED (
    SELECT %(settled)s::bigint AS settled, %(number)s::bigint AS number, %(party)s::int AS party,
           %(since)s::timestamptz AS since, %(fetch)s::bigint AS fetch
), head AS MATERIALIZED (
    SELECT wallet.id AS wallet_id, first.stream, first.number
      FROM unnest((SELECT %(wallets)s::uuid[])) AS wallet (id) CROSS JOIN LATERAL ({heads}) AS first
), reach AS MATERIALIZED (
    SELECT CASE count(*) WHEN (SELECT page.fetch FROM page) THEN max(number) ELSE 9223372036854775807 END AS number
      FROM (SELECT number FROM head ORDER BY number LIMIT (SELECT page.fetch FROM page)) AS nearest
), shown AS MATERIALIZED (
    SELECT within.number, side.party, head.wallet_id, head.stream
      FROM head CROSS JOIN LATERAL ({reaches}) AS within
      JOIN (VALUES {parties}) AS side (stream, party) ON side.stream = head.stream
     WHERE head.number <= (SELECT reach.number FROM reach)
     ORDER BY within.number, side.party
     LIMIT (SELECT page.fetch FROM page) - %(offset)s::bigint OFFSET %(offset)s::bigint
)
SELECT shown.number, shown.party, event.id, event.wallet_id, event.type, event.created_at, event.payload::text
  FROM shown JOIN wallets_event AS event ON event.number = shown.number
 WHERE shown.stream = 0
 UNION ALL
SELECT shown.number, shown.party, md5(transfer.id::text || shown.party)::uuid, shown.wallet_id,
       CASE WHEN first.state = 'completed' THEN 'transfer_completed' ELSE 'transfer_requested' END,
       transfer.created_at,
       (jsonb_build_object('transferId', transfer.id, 'walletSender', source.name, 'walletReceiver', destination.name,
                           'transferState', first.state, 'claim', false)
        || CASE WHEN transfer.parameters ? 'tokens'
                THEN jsonb_build_object('tokenTransferred', transfer.parameters -> 'tokens')
                ELSE jsonb_build_object('bundle', transfer.parameters -> 'bundle' -> 'bundleSize') END)::text
  FROM shown JOIN transfers_transfer AS transfer ON transfer.number = shown.number
  JOIN wallets_wallet AS source ON source.id = transfer.source_id
  JOIN wallets_wallet AS destination ON destination.id = transfer.destination_id
 CROSS JOIN LATERAL (
           SELECT CASE transfer.closed_from WHEN '' THEN transfer.state ELSE transfer.closed_from END
       ) AS first (state)
 WHERE shown.stream > 0
 ORDER BY 1, 2
"""
_PAYLOAD_ORDER: Final = (
    "transferId", "walletSender", "walletReceiver", "bundle", "tokenTransferred", "transferState", "claim",
    "managerWallet", "trustRelationshipId", "requesterWallet", "requesteeWallet", "trustRequestType",
    "trustRelationshipsLeft", "trustRelationshipIds", "transfersLeft", "transferIds",
    "parentWallet", "childWallet", "wallet", "operator",
)  # fmt: skip


def events_visible_to(
    *,
    actor_id: UUID,
    wallet: str | None,
    limit: int,
    offset: int = 0,
    after: Sequence[int] | None = None,
    since: datetime | None = None,
) -> list[EventRow]:
    """
    Return a page of the events of the actor and of the wallets that it manages, or of the one named `wallet`.

    `after` is the position of the last row of the page before. Events whose order is not final yet are left out;
    they come with a later page and in their place.

    :raises wallets.errors.InvalidWalletName: the text can never be a name
    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    wallet_ids = trust_queries.controlled_wallet_ids(actor_id=actor_id)
    if wallet is not None:
        wallet_id = wallet_queries.wallet_in_query(wallet).pk
        if wallet_id not in wallet_ids:
            raise wallet_errors.WalletNotControlled("Wallet do not belongs to wallet logged in")
        wallet_ids = [wallet_id]
    with connection.cursor() as cursor:
        cursor.execute(event_sequence.SETTLED)
        (settled,) = cursor.fetchone()
        number, party = after or (0, -1)
        if after is None and since is not None:
            number = _floor(cursor, newest=settled, since=since)
        cursor.execute(
            _page(has_since=since is not None),
            {
                "wallets": wallet_ids,
                "settled": settled,
                "number": number,
                "party": party,
                "since": since,
                "fetch": offset + limit,
                "offset": offset,
            },
        )
        return [EventRow(*[*row[:6], _ordered(orjson.loads(row[6]))]) for row in cursor.fetchall()]


def _floor(cursor: Any, *, newest: int, since: datetime) -> int:
    # Numbers are one sequence, so what one table knows of them holds for the other.
    statements = (f"({_FLOOR.format(table=table)})" for table in ("wallets_event", "transfers_transfer"))
    cursor.execute(
        f"SELECT greatest({', '.join(statements)})",
        {"newest": newest, "since": max(since, _BEFORE_ALL) - _LONGEST_STATEMENT},
    )
    return int(cursor.fetchone()[0])


def _ordered(payload: dict[str, Any]) -> dict[str, Any]:
    # PostgreSQL sorts the keys of a jsonb by their length.
    return {name: payload[name] for name in _PAYLOAD_ORDER if name in payload}
