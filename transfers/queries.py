"""Reading transfers and histories, narrowed to what the reader may see."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from django.db import connection, transaction

from transfers import counters, errors
from transfers.states import OPEN, TransferState
from trusts import queries as trust_queries
from wallets import errors as wallet_errors
from wallets import queries as wallet_queries
from wallets.audit import FINDINGS_PER_CHECK, Finding, listed


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


# `closed_from` is the state in which it was created; empty if it is open, or was completed at once.
_ROW_AS_CREATED = _ROW.replace(
    "transfer.state", "CASE transfer.closed_from WHEN '' THEN transfer.state ELSE transfer.closed_from END"
).replace("transfer.closed_at", "CASE transfer.closed_from WHEN '' THEN transfer.closed_at END")


def written_transfer(
    *,
    id: str,  # noqa: A002 - the name of the field
    parameters: str,
    state: str,
    created: str,
    closed: str,
    originator: str,
    source: str,
    destination: str,
) -> str:
    """
    Return the SQL of a transfer's JSON text, from the SQL of its values; times and names are written already.

    The fields, and their order, are those of `config.api.treetracker.transfer_serializers.transfer`.
    """
    return f"""concat('{{"id":"', {id}, '","type":"send","parameters":', {parameters}, ',"state":"', {state},
    '","created_at":', {created}, ',"closed_at":', coalesce({closed}, 'null'),
    ',"active":true,"claim":false,"originating_wallet":', {originator},
    ',"source_wallet":', {source}, ',"destination_wallet":', {destination}, '}}')"""


_JSON = written_transfer(
    id="transfer.id",
    parameters="transfer.parameters",
    state="transfer.state",
    created="at.created",
    # Most complete at once, and writing a time is the dearest part.
    closed=f"""CASE WHEN transfer.closed_at = transfer.created_at THEN at.created
                    ELSE {wallet_queries.written_time("transfer.closed_at")} END""",
    originator="originator.written",
    source="source.written",
    destination="destination.written",
)
# A few wallets are named again and again: kept apart by OFFSET, each name is looked up and written once.
_WITH_WRITTEN_NAMES = "".join(
    f"""
 CROSS JOIN LATERAL (
           SELECT to_json(name)::text AS written FROM wallets_wallet WHERE id = transfer.{party}_id OFFSET 0
       ) AS {party}"""  # noqa: S608 - constants
    for party in ("originator", "source", "destination")
)


def _written(transfers: str, only: str = "") -> str:
    return f"""
SELECT {_JSON} AS json, transfer.number
  FROM {transfers} AS transfer {_WITH_WRITTEN_NAMES}
 CROSS JOIN LATERAL (SELECT {wallet_queries.written_time("transfer.created_at")} AS created OFFSET 0) AS at
 {only} ORDER BY transfer.number OFFSET (SELECT %(offset)s::bigint)"""  # noqa: S608 - constants


def _row(row: Sequence[Any]) -> TransferRow:
    return TransferRow(row[0], row[1], orjson.loads(row[2]), *row[3:])


def event_payload(row: TransferRow) -> dict[str, Any]:
    """Return what an event tells about a transfer as it is now, in the words of the public service."""
    named = row.parameters.get("tokens")
    asked = {"bundle": row.parameters["bundle"]["bundleSize"]} if named is None else {"tokenTransferred": named}
    return {
        "transferId": row.id,
        "walletSender": row.source_wallet,
        "walletReceiver": row.destination_wallet,
        **asked,
        "transferState": row.state,
        "claim": False,
    }


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


def transfer_as_created(*, transfer_id: UUID) -> TransferRow:
    """
    Return one transfer as it was when it was created, without looking at who asks.

    :raises transfers.errors.TransferNotFound: no such transfer
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{_ROW_AS_CREATED} WHERE transfer.id = %s", [transfer_id])
        row = cursor.fetchone()
    if row is None:
        raise errors.TransferNotFound(transfer_id)
    return _row(row)


_IS_VISIBLE = trust_queries.controls_one_of("transfer.source_id", "transfer.destination_id", "transfer.originator_id")


def transfer_visible_to(*, actor_id: UUID, transfer_id: UUID) -> TransferRow:
    """
    Return one transfer of which the actor controls a party (the Treetracker contract, row 14).

    :raises transfers.errors.TransferNotVisible: no such transfer, or the actor controls no party of it
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{_ROW} WHERE transfer.id = %(id)s AND {_IS_VISIBLE}", {"id": transfer_id, "actor": actor_id})
        row = cursor.fetchone()
    if row is None:
        raise errors.TransferNotVisible
    return _row(row)


# The wallet columns by which transfers are found, each served by an index that ends in the number.
_BRANCHES: Sequence[tuple[str, str]] = (
    ("source_id", ""),
    ("destination_id", ""),
    ("originator_id", "AND originator_id <> source_id AND originator_id <> destination_id"),
)
_IS_UNDONE = "AND state <> 'completed'"
# The same for a state other than completed. That it is another is said in so many words where an index knows so. Which
# one it is stands in a subquery: if the planner knew it, it would walk, for each wallet, all transfers that are open
# anywhere (`transfer_open_by_age`), or expect so few of a rare state that it does not mind reading them all.
_UNDONE_BRANCHES = tuple(
    (column, f"{only or _IS_UNDONE} AND state = (SELECT %(state)s::text)") for column, only in _BRANCHES
)


# Out of so many transfers more than are wanted the next ones of a reader are picked, if they are not looked for.
_NEAR_TIMES: Final = 2
_NEAR_AT_MOST: Final = 1_001
_SHORTCUT: Final = wallet_queries.OptimisticPage()


def transfers_page(
    *,
    actor_id: UUID,
    wallet_id: UUID | None = None,
    limit: int,
    offset: int = 0,
    after: int = 0,
    state: str | None = None,
) -> wallet_queries.WrittenPage:
    """
    Return a page of the transfers in which the wallet is a party, or one that the actor controls, oldest first.

    The position of a row is the number of the transfer.

    Where most transfers are the reader's, as where one organisation is alone, the page is picked out of the next ones.
    That is less than half the work of looking for those of each wallet, which is what is done else.
    """
    arguments = {
        **({"wallets": [wallet_id]} if wallet_id else {"actor": actor_id}),
        "after": after,
        "most": offset + limit + 1,
        "offset": offset,
        **({} if state is None else {"state": state}),
    }
    # What is not completed is rare, and lies far apart.
    may_be_near = wallet_id is None and state in {None, TransferState.COMPLETED} and offset + limit < _NEAR_AT_MOST
    statement = _page(state=state, is_of_actor=wallet_id is None)
    if not may_be_near:
        return wallet_queries.read_page(statement, limit=limit, arguments=arguments)
    near = _near_page(is_completed=state is not None)
    return _SHORTCUT.read_page(near, statement, limit=limit, arguments=arguments, whose=actor_id)


@cache
def _near_page(*, is_completed: bool) -> str:
    next_ones = """
SELECT {columns} FROM transfers_transfer WHERE number > (SELECT %(after)s::bigint) ORDER BY number"""
    # Who sent it is asked first: most often the reader, and then nobody looks for who is managed.
    mine = " OR ".join(
        f"{column} {is_one}"
        for is_one in ("= (SELECT id FROM me)", "IN (SELECT id FROM party)")
        for column in ("originator_id", "destination_id", "source_id")
    )
    picked = f"""(
    WITH {wallet_queries.ME}, party AS MATERIALIZED ({trust_queries.CONTROLLED})
    SELECT * FROM ({next_ones.format(columns="*")} LIMIT (SELECT {_NEAR_TIMES} * %(most)s::bigint)) AS next
     WHERE ({mine}) {"AND state = 'completed'" if is_completed else ""}
     ORDER BY number LIMIT (SELECT %(most)s::bigint)
)"""  # noqa: S608 - constants
    is_whole = f"""count(*) = (SELECT %(fetch)s::bigint) OR NOT EXISTS (
    {next_ones.format(columns="")} OFFSET (SELECT {_NEAR_TIMES} * %(most)s::bigint) LIMIT 1
)"""
    return wallet_queries.page_of(_written(picked), "number", is_whole=is_whole)


@cache
def _page(*, state: str | None, is_of_actor: bool) -> str:
    if state is None:
        branches = _BRANCHES
    elif state == TransferState.COMPLETED:
        branches = tuple((column, f"{only} AND state = 'completed'") for column, only in _BRANCHES)
    else:
        branches = _UNDONE_BRANCHES
    numbers = trust_queries.numbers_by_party(
        table="transfers_transfer",
        branches=branches,
        wallets=trust_queries.CONTROLLED_BY_ACTOR if is_of_actor else trust_queries.LISTED,
    )
    # In an array they look few to the planner, who then looks each name up; else it might read all wallets instead.
    rows = _written("transfers_transfer", f"WHERE transfer.number = ANY (ARRAY({numbers}))")
    return wallet_queries.page_of(rows, "number")


def transfers_visible_to(
    *,
    actor_id: UUID,
    wallet: str | None,
    limit: int,
    offset: int = 0,
    after: int = 0,
    state: str | None = None,
) -> wallet_queries.WrittenPage:
    """
    Return a page of the transfers of the actor and of the wallets that it manages, or of the one named `wallet`.

    :raises wallets.errors.InvalidWalletName: the text can never be a name
    :raises wallets.errors.WalletNotFound: no such wallet
    :raises wallets.errors.WalletNotControlled: the actor does not control it
    """
    wallet_id = None
    if wallet is not None:
        wallet_id = wallet_queries.wallet_in_query(wallet).pk
        if not trust_queries.controls(actor_id=actor_id, wallet_id=wallet_id):
            raise wallet_errors.WalletNotControlled("Wallet do not belongs to wallet logged in")
    return transfers_page(actor_id=actor_id, wallet_id=wallet_id, limit=limit, offset=offset, after=after, state=state)


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
    wallet = wallet_queries.wallet_by_id(wallet_id)
    if not trust_queries.controls(actor_id=actor_id, wallet_id=wallet.pk):
        raise wallet_errors.WalletNotControlled("Have no permission to access this wallet")
    # In so many words, so that the indexes of what is not completed serve.
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


# The newest arrival first, as in the list of a wallet; what moved together, in the order in which it moved.
_MOVED_TOKENS = wallet_queries.page_of(
    f"""
    SELECT {wallet_queries.TOKEN_JSON} AS json, movement.id AS arrival
      FROM transfers_movement AS movement JOIN wallets_token AS token ON token.id = movement.token_id
     WHERE movement.transfer_number = %(number)s AND movement.id > %(after)s
     ORDER BY movement.id LIMIT %(fetch)s OFFSET %(offset)s""",  # noqa: S608 - constants
    "arrival",
)
_RESERVED_TOKENS = wallet_queries.page_of(
    f"""
    SELECT {wallet_queries.TOKEN_JSON} AS json, -token.arrival AS arrival
      FROM wallets_token AS token WHERE token.transfer_pending_id = %(id)s AND -token.arrival > %(after)s
     ORDER BY -token.arrival LIMIT %(fetch)s OFFSET %(offset)s""",  # noqa: S608 - constants
    "arrival",
)


def tokens_of_transfer(
    *, actor_id: UUID, transfer_id: UUID, limit: int, offset: int = 0, after: int | None = None
) -> wallet_queries.WrittenPage:
    """
    Return a page of the tokens that a transfer moved, or reserves while it is pending.

    :raises transfers.errors.TransferNotVisible: no such transfer, or the actor controls no party of it
    """
    transfer = transfer_visible_to(actor_id=actor_id, transfer_id=transfer_id)
    return wallet_queries.read_page(
        _MOVED_TOKENS if transfer.state == TransferState.COMPLETED else _RESERVED_TOKENS,
        limit=limit,
        arguments={
            "id": transfer.id,
            "number": transfer.number,
            "after": -(2**63) if after is None else after,
            "offset": offset,
        },
    )


def locate_tokens(*, token_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, UUID | None]]:
    """Return the wallet in which each token lies and the transfer that reserves it; unknown tokens are left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT token.id, token.wallet_id, token.transfer_pending_id"
            "  FROM unnest(%s::uuid[]) AS listed (id) JOIN wallets_token AS token ON token.id = listed.id",
            [list(token_ids)],
        )
        return {token_id: (wallet_id, transfer_id) for token_id, wallet_id, transfer_id in cursor.fetchall()}


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
    wallet_queries.token(token_id=token_id, is_visible_in=trust_queries.controlled_by(actor_id), written=written)
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


# Each query returns one text per broken promise. They repeat what triggers enforce where that is cheap, because an
# audit must also find what was done behind their back; what the models say is checked from them.
_OPEN: Final = listed(OPEN)
_KNOWN: Final = listed(TransferState)
_CHECKS: dict[str, str] = {
    "every token lies in a wallet that exists": """
        SELECT format('token %%s lies in %%s', token.id, token.wallet_id)
          FROM wallets_token AS token LEFT JOIN wallets_wallet AS wallet ON wallet.id = token.wallet_id
         WHERE wallet.id IS NULL""",
    "a token lies where its last movement brought it": """
        SELECT format('token %%s lies in %%s, its movement %%s went to %%s',
                      token.id, token.wallet_id, token.moves, coalesce(movement.destination_id::text, 'nowhere'))
          FROM wallets_token AS token
          LEFT JOIN transfers_movement AS movement
            ON movement.token_id = token.id AND movement.number = token.moves
         WHERE movement.id IS NULL OR movement.destination_id <> token.wallet_id OR movement.id <> token.arrival""",
    "the history of a token has no gap": """
        SELECT format('token %%s has %%s movements, numbered %%s to %%s, and says it moved %%s times',
                      token.id, count(movement.id), min(movement.number), max(movement.number), token.moves)
          FROM wallets_token AS token LEFT JOIN transfers_movement AS movement ON movement.token_id = token.id
         GROUP BY token.id, token.moves
        HAVING count(movement.id) <> token.moves + 1 OR min(movement.number) <> 0
            OR max(movement.number) <> token.moves""",
    "each movement starts where and after the one before ended": """
        SELECT format('token %%s, movement %%s: from %%s, but it was in %%s', token_id, number, source_id, whereabouts)
          FROM (SELECT token_id, number, id, source_id,
                       lag(destination_id) OVER history AS whereabouts, lag(id) OVER history AS earlier
                  FROM transfers_movement WINDOW history AS (PARTITION BY token_id ORDER BY number)) AS movement
         WHERE number > 0 AND (source_id IS DISTINCT FROM whereabouts OR earlier IS NULL OR earlier >= id)""",
    "each movement belongs to a token and to a completed transfer between the same wallets": f"""
        SELECT format('movement %%s of token %%s by transfer %%s', movement.id, movement.token_id,
                      movement.transfer_number)
          FROM transfers_movement AS movement
          LEFT JOIN wallets_token AS token ON token.id = movement.token_id
          LEFT JOIN transfers_transfer AS transfer ON transfer.number = movement.transfer_number
         WHERE token.id IS NULL
            OR (movement.number = 0) <> (movement.transfer_number IS NULL)
            OR movement.number > 0 AND (
                   transfer.number IS NULL OR transfer.state <> '{TransferState.COMPLETED}'
                   OR transfer.source_id <> movement.source_id
                   OR transfer.destination_id <> movement.destination_id)""",  # noqa: S608 - constants
    "a completed transfer moved what was asked, any other nothing": f"""
        SELECT format('transfer %%s is %%s, asked %%s, moved %%s, history says %%s', transfer.id, transfer.state,
                      transfer.token_count, transfer.moved_count, count(movement.id))
          FROM transfers_transfer AS transfer
          LEFT JOIN transfers_movement AS movement ON movement.transfer_number = transfer.number
         GROUP BY transfer.id, transfer.state, transfer.token_count, transfer.moved_count
        HAVING count(movement.id) <> CASE transfer.state WHEN '{TransferState.COMPLETED}'
                                                   THEN transfer.token_count ELSE 0 END
            OR transfer.moved_count <> count(movement.id)""",  # noqa: S608 - constants
    "a completed transfer of listed tokens moved these": f"""
        SELECT format('transfer number %%s lists %%s and did not move it', missing.number, missing.token_id)
          FROM (SELECT transfer.number, (jsonb_array_elements_text(transfer.parameters -> 'tokens'))::uuid AS token_id
                  FROM transfers_transfer AS transfer WHERE transfer.state = '{TransferState.COMPLETED}'
                EXCEPT SELECT transfer_number, token_id FROM transfers_movement) AS missing""",  # noqa: S608 - constants
    "a pending transfer of listed tokens reserves these": f"""
        SELECT format('transfer %%s lists %%s and does not reserve it', missing.id, missing.token_id)
          FROM (SELECT transfer.id, (jsonb_array_elements_text(transfer.parameters -> 'tokens'))::uuid AS token_id
                  FROM transfers_transfer AS transfer WHERE transfer.state = '{TransferState.PENDING}'
                EXCEPT SELECT transfer_pending_id, id FROM wallets_token
                        WHERE transfer_pending_id IS NOT NULL) AS missing""",  # noqa: S608 - constants
    "a pending transfer reserves what was asked, any other nothing": f"""
        SELECT format('transfer %%s is %%s, asked %%s, reserved %%s, %%s tokens say so', transfer.id, transfer.state,
                      transfer.token_count, transfer.reserved_count, coalesce(reserved.count, 0))
          FROM transfers_transfer AS transfer
          LEFT JOIN (SELECT transfer_pending_id, count(*) FROM wallets_token
                      WHERE transfer_pending_id IS NOT NULL GROUP BY transfer_pending_id) AS reserved
            ON reserved.transfer_pending_id = transfer.id
         WHERE coalesce(reserved.count, 0) <> CASE transfer.state WHEN '{TransferState.PENDING}'
                                                   THEN transfer.token_count ELSE 0 END
            OR transfer.reserved_count <> coalesce(reserved.count, 0)""",  # noqa: S608 - constants
    "a reserved token lies in the source of the transfer that reserves it": """
        SELECT format('token %%s lies in %%s, reserved by %%s', token.id, token.wallet_id, token.transfer_pending_id)
          FROM wallets_token AS token
          LEFT JOIN transfers_transfer AS transfer ON transfer.id = token.transfer_pending_id
         WHERE token.transfer_pending_id IS NOT NULL
           AND (transfer.id IS NULL OR transfer.source_id <> token.wallet_id)""",
    "a transfer lies between two wallets that exist, and is closed when it was decided": f"""
        SELECT format('transfer %%s, %%s, from %%s to %%s', transfer.id, transfer.state, transfer.source_id,
                      transfer.destination_id)
          FROM transfers_transfer AS transfer
          LEFT JOIN wallets_wallet AS originator ON originator.id = transfer.originator_id
          LEFT JOIN wallets_wallet AS source ON source.id = transfer.source_id
          LEFT JOIN wallets_wallet AS destination ON destination.id = transfer.destination_id
         WHERE originator.id IS NULL OR source.id IS NULL OR destination.id IS NULL
            OR source.id = destination.id
            OR NOT (transfer.token_count > 0
                    OR transfer.token_count = 0 AND transfer.parameters = '{{"tokens": []}}')
            OR (transfer.closed_at IS NULL) <> (transfer.state IN {_OPEN})
            OR transfer.state NOT IN {_KNOWN}
            OR transfer.closed_at < transfer.created_at""",  # noqa: S608 - constants
    "the tallies say what lies in each wallet": counters.MISCOUNTED,
    "as many tokens were issued as there are": """
        SELECT format('%%s tokens, %%s issued', held.tokens, issued.tokens)
          FROM (SELECT count(*) AS tokens FROM wallets_token) AS held,
               (SELECT coalesce(sum(tokens), 0) AS tokens FROM transfers_issue) AS issued
         WHERE held.tokens <> issued.tokens""",
}


def audit_findings() -> list[Finding]:
    """
    Return what in the ledger breaks a promise, nothing if all is well.

    The caller has opened a transaction whose snapshot does not move (REPEATABLE READ), or knows that nobody
    writes; else a transfer that is committed in between looks like a fault.
    """
    findings = []
    with transaction.atomic(), connection.cursor() as cursor:
        # All rows are read anyway, and a loop over the rows of two tables would never end.
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute("SET LOCAL enable_seqscan = on")
        for check, statement in _CHECKS.items():
            cursor.execute(f"{statement} LIMIT %s", [FINDINGS_PER_CHECK])
            findings += [Finding(check, detail) for (detail,) in cursor.fetchall()]
        cursor.execute("SET LOCAL enable_nestloop TO DEFAULT")
        cursor.execute("SET LOCAL enable_seqscan TO DEFAULT")
    return findings
