"""
Reading events of wallets, oldest first, without gaps or repetitions.

The creation of a transfer is read from the transfer: `transfer_completed` if it completed at once,
`transfer_approval_requested` if its own side had to approve it first, otherwise `transfer_requested`. All other events
are rows of `wallets_event`, which are rare in comparison. Both are numbered by one sequence, and both are read up to
the high-water mark of `wallets.event_sequence`.

Decided 2026-11-21. Storing an event for each party of each transfer would make reading simpler, but 28 % fewer
transfers a second completed (508 instead of 708 pairs, one client, synchronous_commit off, medians of 5, two cores
under load). Such an event is computed from the transfer's row: what it says of the creation does not change later.

Oldest first, because a cursor can then be followed indefinitely: new events come after it. With the newest first, a
client would have to read a page again from its top to find new events.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from transfers.errors import EventsExpired
from transfers.queries import AWAITED_AS_CREATED, STATE_AS_CREATED, event_payload
from trusts import queries as trust_queries
from wallets import errors as wallet_errors
from wallets import event_sequence
from wallets import queries as wallet_queries
from wallets.sql_files import load


class EventRow(NamedTuple):
    """An event with its position: its number, and the party of a transfer that it is for."""

    number: int
    party: int
    id: UUID
    wallet_id: UUID
    type: str
    created_at: datetime
    payload: dict[str, Any]


# A statement takes the time of a row before its number, and runs no longer than this (`statement_timeout` is shorter):
# a row with a higher number may have been created earlier than another by up to this time.
_LONGEST_STATEMENT: Final = timedelta(seconds=60)
_BEFORE_ALL: Final = datetime(2000, 1, 1, tzinfo=UTC)


class _Stream(NamedTuple):
    """A source of events: a table, and the column of the wallet, which leads an index (column, number)."""

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

    It reads the first number of each wallet and stream, which bounds the page, then the numbers within that bound, and
    payloads only for those that are shown. The cost grows with the wallets and the page, not with the events before or
    after it. The parameters are read from a CTE by subqueries, so that one plan serves all values: planning costs more
    than the page.
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
                "(SELECT page.wanted FROM page)",
            ),
        )
    )
    return load(
        "transfers",
        "events_page",
        heads=heads,
        reaches=reaches,
        payload=event_payload(state="first.state", awaits=AWAITED_AS_CREATED),
        state_as_created=STATE_AS_CREATED,
        parties=", ".join(f"({i}, {s.party})" for i, s in enumerate(_STREAMS)),
    )


_PAYLOAD_ORDER: Final = (
    "transferId", "walletSender", "walletReceiver", "bundle", "tokenTransferred", "transferState", "claim",
    "awaitingApproval", "above", "newReceivers",
    "managerWallet", "trustRelationshipId", "requesterWallet", "requesteeWallet", "trustRequestType",
    "trustRelationshipsLeft", "trustRelationshipIds", "transfersLeft", "transferIds",
    "taskId", "taskState", "lockerId", "amount", "amountFailed", "amountUnknown", "amountLeft", "settledBy", "balance",
    "lineType", "webhookId", "disabledBy", "sessionsEnded", "keyId", "keyName", "keyScopes", "paymentRequestId",
    "paymentRequestState", "paid", "paymentId", "paymentAmount", "reference", "parentWallet", "childWallet", "wallet",
    "operator",
)  # fmt: skip


def wallets_of(*, actor_id: UUID, wallet: str | None) -> list[UUID]:
    """
    Return the actor and the wallets that it manages, or the one of them named `wallet`: those whose events it may read.

    :raises wallets.errors.InvalidWalletName: the text can never be a name
    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    wallet_ids = trust_queries.controlled_wallet_ids(actor_id=actor_id)
    if wallet is not None:
        wallet_id = wallet_queries.wallet_in_query(wallet).pk
        if wallet_id not in wallet_ids:
            raise wallet_errors.WalletNotControlled("Wallet do not belongs to wallet logged in")
        return [wallet_id]
    return wallet_ids


def page_of(
    wallet_ids: Sequence[UUID],
    *,
    limit: int,
    offset: int = 0,
    after: Sequence[int] | None = None,
    since: datetime | None = None,
) -> tuple[list[EventRow], tuple[int, int]]:
    """
    Return a page of the events of these wallets, and the position up to which it has all events if it is not full.

    `after` is the position of the last row of the page before. Events whose order is not final yet are left out; a
    later page has them at their position. The first page begins with the oldest event that is kept.

    The returned position is not before `after`: what is final may end earlier than for the page before
    (`wallets.event_sequence`).

    :raises transfers.errors.EventsExpired: events after the position are no longer kept
    """
    while True:
        rows, end, kept_from = _read_page(wallet_ids, limit=limit, offset=offset, after=after, since=since)
        if kept_from is None or kept_from == _kept_from():
            return rows, end
        # Otherwise read again. The primary waits two minutes between announcing that a partition is dropped and the
        # drop, but a standby that catches up may replay both at once: the page may lack events of that partition.


def _kept_from() -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {event_sequence.KEPT_FROM}")
        return int(cursor.fetchone()[0])


def _read_page(
    wallet_ids: Sequence[UUID], *, limit: int, offset: int, after: Sequence[int] | None, since: datetime | None
) -> tuple[list[EventRow], tuple[int, int], int | None]:
    """Return a page, its end, and on a standby the number from which events were kept when it was read (else None)."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT ({event_sequence.SETTLED}), {event_sequence.KEPT_FROM}, pg_is_in_recovery()")
        settled, kept_from, is_standby = cursor.fetchone()
        if after is not None and after[0] < kept_from - 1:
            raise EventsExpired
        number, party = after or (kept_from - 1, 1)
        if after is None and since is not None:
            number, party = max((number, party), (_floor(cursor, newest=settled, since=since), -1))
        cursor.execute(
            _page(has_since=since is not None),
            {
                "wallets": list(wallet_ids),
                "settled": settled,
                "number": number,
                "party": party,
                "since": since,
                "fetch": offset + limit,
                "offset": offset,
            },
        )
        rows = [EventRow(*[*row[:6], _ordered(orjson.loads(row[6]))]) for row in cursor.fetchall()]
    return rows, max((settled, 1), (number, party)), kept_from if is_standby else None


def have_events_after(wallet_ids: Sequence[UUID], *, number: int) -> bool:
    """Return whether one of these wallets has an event with a larger number, final or not."""
    with connection.cursor() as cursor:
        cursor.execute(_HAVE_AFTER, {"wallets": list(wallet_ids), "number": number})
        return cursor.fetchone() is not None


_HAVE_AFTER: Final = " UNION ALL ".join(
    f"(SELECT 1 FROM {stream.table} WHERE {stream.column} = ANY (%(wallets)s::uuid[])"  # noqa: S608 - constants
    " AND number > %(number)s::bigint LIMIT 1)"
    for stream in _STREAMS
)


def settled_number() -> int:
    """Return the number up to which the order of all events is final."""
    with connection.cursor() as cursor:
        cursor.execute(event_sequence.SETTLED)
        return int(cursor.fetchone()[0])


def events_between(*, wallet_ids: Sequence[UUID], after: int, upto: int) -> list[EventRow]:
    """
    Return the events of these wallets with numbers above `after` up to `upto`, in order.

    `upto` is at most a `settled_number` that an earlier statement has read.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BETWEEN, {"wallets": list(wallet_ids), "after": after, "upto": upto})
        return [EventRow(*[*row[:6], _ordered(orjson.loads(row[6]))]) for row in cursor.fetchall()]


def wallets_between(*, after: int, upto: int) -> list[UUID]:
    """Return the wallets that have an event in this range of numbers, see `events_between`."""
    with connection.cursor() as cursor:
        cursor.execute(_WALLETS_BETWEEN, {"after": after, "upto": upto})
        return [row[0] for row in cursor.fetchall()]


_WALLETS_BETWEEN: Final = """
SELECT event.wallet_id FROM wallets_event AS event WHERE event.number > %(after)s AND event.number <= %(upto)s
 UNION
SELECT side.wallet_id
  FROM transfers_transfer AS transfer
 CROSS JOIN LATERAL (VALUES (transfer.source_id), (transfer.destination_id)) AS side (wallet_id)
 WHERE transfer.number > %(after)s AND transfer.number <= %(upto)s
"""
_BETWEEN: Final = load(
    "transfers",
    "events_between",
    payload=event_payload(state="first.state", awaits=AWAITED_AS_CREATED),
    state_as_created=STATE_AS_CREATED,
)


def _floor(cursor: Any, *, newest: int, since: datetime) -> int:
    # Both tables take numbers from one sequence, so a bound of one holds for the other.
    statements = (
        f"({load('transfers', 'parts/events_floor', table=table)})" for table in ("wallets_event", "transfers_transfer")
    )
    cursor.execute(
        f"SELECT greatest({', '.join(statements)})",
        {"newest": newest, "since": max(since, _BEFORE_ALL) - _LONGEST_STATEMENT},
    )
    return int(cursor.fetchone()[0])


def _ordered(payload: dict[str, Any]) -> dict[str, Any]:
    # PostgreSQL orders the keys of a jsonb by length.
    return {name: payload[name] for name in _PAYLOAD_ORDER if name in payload}
