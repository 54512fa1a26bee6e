"""Reading transfers and histories, restricted to what the reader may see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from transfers import errors, list_pages
from transfers.states import TransferState
from trusts import queries as trust_queries
from wallets import errors as wallet_errors
from wallets import queries as wallet_queries
from wallets.sql_files import load


class TransferRow(NamedTuple):
    """A transfer as answers show it."""

    number: int
    id: UUID
    state: str
    json: str


CREATED_AT_JSON: Final = wallet_queries.time_json("transfer.created_at")
# The state in which a transfer was created: `closed_from` is empty if it is open, or was completed at once.
STATE_AS_CREATED: Final = "CASE transfer.closed_from WHEN '' THEN transfer.state ELSE transfer.closed_from END"


# What v2 adds to a transfer's JSON, as `more` of `transfer_json`.
_COUNTED: Final = """, ',"token_count":', transfer.token_count"""


def transfer_json(*, state: str = "transfer.state", closed_at: str = "transfer.closed_at", more: str = "") -> str:
    """Return the SQL of a transfer's JSON, see the file; `state` and `closed_at` are SQL."""
    closed_at_json = wallet_queries.time_json(closed_at)
    return load(
        "transfers",
        "parts/transfer_json",
        state=state,
        closed_at=closed_at,
        closed_at_json=closed_at_json,
        more=more,
    )


def event_payload(*, state: str) -> str:
    """Return the SQL of the payload of an event about a transfer, see the file; `state` is SQL."""
    return load("transfers", "parts/transfer_payload", state=state)


def _rows(transfers: str, where: str = "", *, state: str = "transfer.state", **parts: str) -> str:
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


@cache
def _placed(more: str) -> str:
    """Return the SQL of the transfer whose number the row `placed` has. OFFSET 0: it is always looked up by that."""
    return _rows("(SELECT * FROM transfers_transfer WHERE number = placed.number OFFSET 0)", more=more)


def _in_order(rows: str) -> str:
    return f"{rows} ORDER BY transfer.number OFFSET (SELECT %(offset)s::bigint)"


_BY_ID: Final = "WHERE transfer.id = %(id)s"
_ONE: Final = _rows("transfers_transfer", _BY_ID)
_ONE_AS_CREATED: Final = _rows(
    "transfers_transfer",
    _BY_ID,
    state=STATE_AS_CREATED,
    closed_at="CASE transfer.closed_from WHEN '' THEN transfer.closed_at END",
)


def _read_one(rows: str, arguments: Mapping[str, Any]) -> TransferRow | None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT number, id, state, json FROM ({rows}) AS transfer", arguments)  # noqa: S608 - constants
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
        cursor.execute(f"SELECT number, id, state, json, payload::text FROM ({_ONE}) AS transfer", {"id": transfer_id})  # noqa: S608
        *row, payload = cursor.fetchone()
    return TransferRow(*row), orjson.loads(payload)


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


# The wallet columns by which transfers are found, each served by an index that ends in the number.
_BRANCHES: Sequence[tuple[str, str]] = (
    ("source_id", ""),
    ("destination_id", ""),
    ("originator_id", "AND originator_id <> source_id AND originator_id <> destination_id"),
)
_IS_UNDONE = "AND state <> 'completed'"


# Over-fetch factor of the optimistic scan, and the largest page that it serves.
_NEAR_TIMES: Final = 2
_NEAR_AT_MOST: Final = 1_001
_OPTIMISTIC: Final = wallet_queries.OptimisticPage()


def transfers_page(
    *,
    actor_id: UUID,
    wallet_id: UUID | None = None,
    limit: int,
    offset: int = 0,
    after: int = 0,
    state: str | None = None,
) -> wallet_queries.JsonPage:
    """
    Return a page of the transfers in which the wallet is a party, or one that the actor controls, oldest first.

    The position of a row is the number of the transfer.

    The optimistic query filters the next transfers of all wallets. Where most of them are the reader's, as with one
    organisation, that is less than half the work of the full query, which reads by wallet.
    """
    if state is not None and state != TransferState.COMPLETED:
        # Transfers that are not completed are rare and far apart.
        return list_pages.read_page(
            list_pages.List(list_pages.Order(), state=state, is_of_actor=wallet_id is None),
            limit=limit,
            after=[after],
            arguments={"actor": actor_id, "wallet": wallet_id, "offset": offset},
            rows=_placed(""),
        )
    arguments = {
        **({"wallets": [wallet_id]} if wallet_id else {"actor": actor_id}),
        "after": after,
        "most": offset + limit + 1,
        "offset": offset,
    }
    may_be_near = wallet_id is None and offset + limit < _NEAR_AT_MOST
    statement = _page(is_completed=state is not None, is_of_actor=wallet_id is None)
    if not may_be_near:
        return wallet_queries.read_page(statement, limit=limit, arguments=arguments)
    near = _near_page(is_completed=state is not None)
    return _OPTIMISTIC.read_page(near, statement, limit=limit, arguments=arguments, whose=actor_id)


@cache
def _near_page(*, is_completed: bool) -> str:
    next_ones = """
SELECT {columns} FROM transfers_transfer WHERE number > (SELECT %(after)s::bigint) ORDER BY number"""
    # The reader itself is compared first: it is the most frequent party, and then the managed wallets are not read.
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
    return wallet_queries.page_of(_in_order(_rows(picked)), "number", is_whole=is_whole)


@cache
def _page(*, is_completed: bool, is_of_actor: bool) -> str:
    of_state = "AND state = 'completed'" if is_completed else ""
    branches = tuple((column, f"{only} {of_state}") for column, only in _BRANCHES)
    numbers = trust_queries.numbers_by_party(
        table="transfers_transfer",
        branches=branches,
        wallets=trust_queries.CONTROLLED_BY_ACTOR if is_of_actor else trust_queries.LISTED,
    )
    # The planner expects few numbers in an array, and so looks each name up instead of scanning all wallets.
    rows = _rows("transfers_transfer", f"WHERE transfer.number = ANY (ARRAY({numbers}))")
    return wallet_queries.page_of(_in_order(rows), "number")


class _Sort(NamedTuple):
    """An order of transfers: the SQL of its keys with their types. The number, which is unique, follows them."""

    keys: Sequence[tuple[str, str]]
    is_descending: bool = False


_STATES: Final = ", ".join(f"'{state}'" for state in TransferState.values)
# The values of `sort_by`. An open transfer has no `closed_at`: it comes behind all others, as NULL does.
SORT_KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "id": ("transfer.id", "uuid"),
    "source_wallet_id": ("transfer.source_id", "uuid"),
    "destination_wallet_id": ("transfer.destination_id", "uuid"),
    "originator_wallet_id": ("transfer.originator_id", "uuid"),
    "created_at": ("transfer.created_at", "timestamptz"),
    "closed_at": ("coalesce(transfer.closed_at, 'infinity')", "timestamptz"),
    "state": (f"array_position(ARRAY[{_STATES}], transfer.state::text)", "integer"),
}
_AS_CREATED: Final = _Sort(())
# What waits for the reader first, then other pending, completed, cancelled and all other ones; the newest first.
_WAITING_FIRST: Final = _Sort(
    (
        (
            "CASE transfer.state WHEN 'completed' THEN -2 WHEN 'cancelled' THEN -3"
            " WHEN 'pending' THEN (transfer.destination_id IN (SELECT id FROM mine))::int - 1 ELSE -4 END",
            "integer",
        ),
        SORT_KEYS["created_at"],
    ),
    is_descending=True,
)
# A wallet with no more transfers than this is read whole when another wallet's list is narrowed to it.
_FEW: Final = 5_000


def _sort(sort_by: str | None, *, is_descending: bool, waiting_first: bool) -> _Sort:
    if waiting_first and is_descending and sort_by in {None, "created_at"}:
        return _WAITING_FIRST
    return _AS_CREATED if sort_by is None else _Sort((SORT_KEYS[sort_by],), is_descending)


def _order_by_index(sort: _Sort) -> list_pages.Order | None:
    """Return the order if pages in it are read by number."""
    if sort is _AS_CREATED:
        return list_pages.Order()
    if sort is _WAITING_FIRST:
        return list_pages.Order(by_time=True, groups="waiting", is_descending=True)
    if sort.keys == (SORT_KEYS["created_at"],):
        return list_pages.Order(by_time=True, is_descending=sort.is_descending)
    if sort.keys == (SORT_KEYS["state"],):
        return list_pages.Order(groups="state", is_descending=sort.is_descending)
    return None


# Of the many statements there may be, clients send a few.
@lru_cache(maxsize=256)
def _visible_page(
    sort: _Sort,
    *,
    conditions: tuple[str, ...],
    whose: str,
    extra: str,
    is_undone: bool,
    is_first: bool,
    counts: bool,
    more: str,
) -> str:
    """
    Return the statement of a page, see the file.

    `conditions` and `extra` are SQL conditions; the state is in `extra`. `whose` tells whose transfers are read:
    "actor", those of the wallets that the actor controls; "wallet", those of one that it controls; "both", those of one
    that it need not control, as far as the actor sees them.
    """
    of_actor, of_wallet, few_of_wallet = (
        load(
            "transfers",
            "parts/visible_by_party",
            party=party,
            extra=only,
            **{name: f"transfer.{name}_id IN (SELECT id FROM {party})" for name in ("source", "destination")},  # noqa: S608
        )
        for party, only in (
            ("mine", extra),
            ("asked", extra),
            # Rows of other states are counted too: they would be read.
            ("asked", _IS_UNDONE if is_undone else ""),
        )
    )
    few = f", few AS MATERIALIZED (SELECT FROM ({few_of_wallet}) AS transfer LIMIT {_FEW + 1})"
    candidates = of_actor if whose == "actor" else of_wallet
    if whose == "both":
        candidates = load("transfers", "parts/visible_by_both", of_wallet=of_wallet, of_actor=of_actor, few=str(_FEW))
    names = [*(f"key_{index}" for index in range(len(sort.keys))), "number"]
    types = [*(type_ for _, type_ in sort.keys), "bigint"]
    keys = ", ".join(f"{sql} AS key_{index}" for index, (sql, _) in enumerate(sort.keys))
    direction, comparison = ("DESC", "<") if sort.is_descending else ("ASC", ">")
    position = ", ".join(f"(SELECT %({name})s::{type_})" for name, type_ in zip(names, types, strict=True))
    return load(
        "transfers",
        "parts/visible_page",
        me=wallet_queries.ME,
        controlled=trust_queries.CONTROLLED,
        asked="" if whose == "actor" else ", asked AS MATERIALIZED (SELECT %(wallet)s::uuid AS id)",
        few=few if whose == "both" else "",
        materialized="MATERIALIZED" if counts else "NOT MATERIALIZED",
        keys=keys or "NULL",
        candidates=candidates,
        condition=" AND ".join(conditions) or "true",
        behind="" if is_first else f"WHERE ({', '.join(names)}) {comparison} ({position})",
        order=", ".join(f"{name} {direction}" for name in names),
        last=", ".join(
            f"(array_agg({name} ORDER BY place))[(SELECT %(fetch)s::bigint - 1)]{'' if type_ == 'bigint' else '::text'}"
            for name, type_ in zip(names, types, strict=True)
        ),
        total="(SELECT count(*) FROM visible)" if counts else "NULL::bigint",
        rows=_rows("transfers_transfer", "WHERE transfer.number = ANY (ARRAY(SELECT number FROM picked))", more=more),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSelection:
    """
    Which visible transfers a list has, and in which order.

    With `wallet`, those that this wallet sends, receives or asked for (the Treetracker contract, row 13). `since` is
    the earliest and `until` the end of the times of creation, which it does not include. `sort_by` is one of
    `SORT_KEYS`, or None for the order of creation; equal keys are in the order of creation, in the same direction.
    `waiting_first` replaces the descending order by `created_at`, or by nothing, by that of v2: what the actor can
    accept first.
    """

    wallet: str | None = None
    state: str | None = None
    until: datetime | None = None
    since: datetime | None = None
    sort_by: str | None = None
    is_descending: bool = False
    waiting_first: bool = False


_ALL: Final = TransferSelection()


def transfers_visible_to(
    *,
    actor_id: UUID,
    limit: int,
    selection: TransferSelection = _ALL,
    offset: int = 0,
    after: Sequence[Any] | None = None,
    counts: bool = False,
    shows_token_count: bool = False,
) -> wallet_queries.JsonPage:
    """
    Return a page of the transfers of the actor and of the wallets that it manages.

    `after` is the position of the last row of the page before, in the same order. `counts` adds the `total`,
    `shows_token_count` a field to each transfer.

    :raises wallets.errors.InvalidWalletName: the text can never be a name
    :raises wallets.errors.WalletNotFound: no such wallet
    """
    wallet_id, controls = None, True
    if selection.wallet is not None:
        wallet_id = wallet_queries.wallet_in_query(selection.wallet).pk
        controls = trust_queries.controls(actor_id=actor_id, wallet_id=wallet_id)
    sort = _sort(selection.sort_by, is_descending=selection.is_descending, waiting_first=selection.waiting_first)
    state, until, since = selection.state, selection.until, selection.since
    is_narrowed = until is not None or since is not None or not controls
    if sort is _AS_CREATED and not is_narrowed and not counts and not shows_token_count:
        start = after[0] if after else 0
        return transfers_page(
            actor_id=actor_id, wallet_id=wallet_id, limit=limit, offset=offset, after=start, state=state
        )
    has_dates = until is not None or since is not None
    more = _COUNTED if shows_token_count else ""
    arguments: dict[str, Any] = {
        "actor": actor_id,
        "wallet": wallet_id,
        "offset": offset,
        "state": state,
        "until": until,
        "since": since,
    }
    conditions = []
    if until is not None:
        conditions.append("transfer.created_at < (SELECT %(until)s::timestamptz)")
    if since is not None:
        conditions.append("transfer.created_at >= (SELECT %(since)s::timestamptz)")
    is_undone = state not in {None, TransferState.COMPLETED}
    of_state = {None: "", TransferState.COMPLETED.value: "AND state = 'completed'"}
    full = _visible_page(
        sort,
        conditions=tuple(conditions),
        whose="actor" if wallet_id is None else "wallet" if controls else "both",
        extra=of_state.get(state, f"{_IS_UNDONE} AND state = (SELECT %(state)s::text)"),
        is_undone=is_undone,
        is_first=after is None,
        counts=counts,
        more=more,
    )
    keys = [*(f"key_{index}" for index in range(len(sort.keys))), "number"]
    arguments |= dict(zip(keys, after, strict=True)) if after is not None else {}
    order = _order_by_index(sort) if controls and not has_dates else None
    if order is None:
        return wallet_queries.read_page(full, limit=limit, arguments=arguments)
    return list_pages.read_page(
        list_pages.List(order, state=state or "", is_of_actor=wallet_id is None, counts=counts),
        limit=limit,
        after=after,
        arguments=arguments,
        rows=_placed(more),
        full=full,
    )


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
    """
    transfer = transfer_visible_to(actor_id=actor_id, transfer_id=transfer_id)
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


def locate_tokens(*, token_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, UUID | None]]:
    """Return the holder of each token and the transfer that reserves it; unknown tokens are left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT token.id, token.wallet_id, token.transfer_pending_id"
            "  FROM unnest(%s::uuid[]) AS listed (id) JOIN wallets_token AS token ON token.id = listed.id",
            [list(token_ids)],
        )
        return {token_id: (wallet_id, transfer_id) for token_id, wallet_id, transfer_id in cursor.fetchall()}


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
    """
    wallet_queries.token(token_id=token_id, is_visible_in=trust_queries.controlled_by(actor_id), as_sent=as_sent)
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
        return [MovementRow(*row) for row in cursor.fetchall()]
