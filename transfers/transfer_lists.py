"""Lists of the transfers that a reader may see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from transfers import list_pages
from transfers.queries import AWAITED, rows_of
from transfers.states import TransferState
from trusts import queries as trust_queries
from wallets import queries as wallet_queries
from wallets import restrictions
from wallets.sql_files import load

# What v2 adds to a transfer's JSON, as `more` of `transfer_json`.
_COUNTED: Final = """, ',"token_count":', transfer.token_count"""


@cache
def _placed(more: str) -> str:
    """Return the SQL of the transfer whose number the row `placed` has. OFFSET 0: it is always looked up by that."""
    return rows_of("(SELECT * FROM transfers_transfer WHERE number = placed.number OFFSET 0)", more=more)


def _in_order(rows: str) -> str:
    return f"{rows} ORDER BY transfer.number OFFSET (SELECT %(offset)s::bigint)"


# The wallet columns by which transfers are found, each served by an index that ends in the number.
_BRANCHES: Sequence[tuple[str, str]] = (
    ("source_id", ""),
    ("destination_id", ""),
    ("originator_id", "AND originator_id <> source_id AND originator_id <> destination_id"),
)
_IS_UNDONE = "AND state <> 'completed'"
# By `of_state` of `_visible_page`.
_OF_STATE: Final = {
    "": "",
    "completed": "AND state = 'completed'",
    "undone": f"{_IS_UNDONE} AND state = (SELECT %(state)s::text)",
}
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
    # The optimistic query takes all transfers of the reader itself for visible.
    may_be_near = wallet_id is None and offset + limit < _NEAR_AT_MOST and restrictions.current() is None
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
    return wallet_queries.page_of(_in_order(rows_of(picked)), "number", is_whole=is_whole)


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
    rows = rows_of("transfers_transfer", f"WHERE transfer.number = ANY (ARRAY({numbers}))")
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
# Conditions on the terms of a transfer, in one line each. The labels are an array of the reader's wallets.
_HAS_REFERENCE: Final = "reference = (SELECT %(reference)s::text) AND reference <> ''"
_HAS_METADATA: Final = (
    "metadata IS NOT NULL AND metadata @> (SELECT %(metadata)s::jsonb)"
    " AND transfers_terms_labels(metadata, source_id, destination_id, originator_id) && ARRAY("
    "SELECT unnest(transfers_terms_labels((SELECT %(label)s::jsonb), mine.id)) FROM mine)"
)
_IS_SINCE: Final = "transfer.created_at >= (SELECT %(since)s::timestamptz)"
_IS_BEFORE: Final = "transfer.created_at < (SELECT %(until)s::timestamptz)"
# A wallet with no more transfers than this is read whole when another wallet's list is narrowed to it.
_FEW: Final = 5_000


def _sort(sort_by: str | None, *, is_descending: bool, waiting_first: bool) -> _Sort:
    if waiting_first and is_descending and sort_by in {None, "created_at"}:
        return _WAITING_FIRST
    return _AS_CREATED if sort_by is None else _Sort((SORT_KEYS[sort_by],), is_descending)


# The values of `sort_by` for which `list_pages` has an index, with its column.
_BY_KEY: Final = {"id": "id", "source_wallet_id": "source_id", "destination_wallet_id": "destination_id"}


def _order_by_index(sort: _Sort) -> list_pages.Order | None:
    """Return the order if pages in it are read by number."""
    if sort is _AS_CREATED:
        return list_pages.Order()
    if sort is _WAITING_FIRST:
        return list_pages.Order(by_time=True, groups="waiting", is_descending=True)
    if sort.keys == (SORT_KEYS["created_at"],):
        return list_pages.Order(by_time=True, is_descending=sort.is_descending)
    if sort.keys == (SORT_KEYS["closed_at"],):
        return list_pages.Order(by_closing=True, is_descending=sort.is_descending)
    for sort_by, column in _BY_KEY.items():
        if sort.keys == (SORT_KEYS[sort_by],):
            return list_pages.Order(by_key=column, is_descending=sort.is_descending)
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
    terms: str,
    of_state: str,
    is_first: bool,
    counts: bool,
    more: str,
) -> str:
    """
    Return the statement of a page, see the file.

    `conditions` are SQL conditions. `of_state` is "completed", "undone" for another state, or "" for any. `whose` tells
    whose transfers are read: "actor", those of the wallets that the actor controls; "wallet", those of one that it
    controls; "both", those of one that it need not control, as far as the actor sees them. With a condition on `terms`,
    those of the wallets that the actor controls with such terms.
    """
    extra = _OF_STATE[of_state]
    has_since, has_until = _IS_SINCE in conditions, _IS_BEFORE in conditions
    if has_since or has_until:
        extra += " AND number > (SELECT low FROM between) AND number < (SELECT high FROM between)"
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
            ("asked", _IS_UNDONE if of_state == "undone" else ""),
        )
    )
    few = f"few AS MATERIALIZED (SELECT FROM ({few_of_wallet}) AS transfer LIMIT {_FEW + 1}), "
    candidates = of_actor if whose == "actor" else of_wallet
    if whose == "both":
        candidates = load("transfers", "parts/visible_by_both", of_wallet=of_wallet, of_actor=of_actor, few=str(_FEW))
    if terms:
        wallet = "(SELECT %(wallet)s::uuid) IN (transfer.source_id, transfer.destination_id, transfer.originator_id)"
        candidates = load(
            "transfers",
            "parts/visible_by_terms",
            terms=terms,
            wallet="true" if whose == "actor" else wallet,
            extra=extra,
        )
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
        dates=list_pages.dates(has_since=has_since, has_until=has_until) if has_since or has_until else "",
        asked="" if whose == "actor" else "asked AS MATERIALIZED (SELECT %(wallet)s::uuid AS id), ",
        few=few if whose == "both" and not terms else "",
        materialized="MATERIALIZED" if counts else "NOT MATERIALIZED",
        keys=keys or "NULL",
        candidates=candidates,
        condition=" AND ".join(conditions) or "true",
        behind="" if is_first else f"WHERE ({', '.join(names)}) {comparison} ({position})",
        order=", ".join(f"{name} {direction}" for name in names),
        last=", ".join(
            f"(array_agg(placed.{name} ORDER BY place))[(SELECT %(fetch)s::bigint - 1)]"
            f"{'' if type_ == 'bigint' else '::text'}"
            for name, type_ in zip(names, types, strict=True)
        ),
        total="(SELECT count(*) FROM visible)" if counts else "NULL::bigint",
        rows=_placed(more),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSelection:
    """
    Which visible transfers a list has, and in which order.

    With `wallet`, those that this wallet sends, receives or asked for (the Treetracker contract, row 13). `since` is
    the earliest and `until` the end of the times of creation, which it does not include. With `reference`, those that
    have it, and with `metadata` those that have all of these values; with `awaiting_approval`, those that await the
    approval of their source's side. `sort_by` is one of
    `SORT_KEYS`, or None for the order of creation; equal keys are in the order of creation, in the same direction.
    `waiting_first` replaces the descending order by `created_at`, or by nothing, by that of v2: what the actor can
    accept first.
    """

    wallet: str | None = None
    state: str | None = None
    until: datetime | None = None
    since: datetime | None = None
    reference: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    awaiting_approval: bool = False
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
    if selection.awaiting_approval and state is None:
        # Of the transfers that are not completed, which have indexes, some await an approval.
        state = TransferState.PENDING.value
    terms = " AND ".join(
        condition
        for condition, is_wanted in (
            (_HAS_REFERENCE, selection.reference is not None),
            (_HAS_METADATA, bool(selection.metadata)),
        )
        if is_wanted
    )
    # Not read by the indexes of one wallet and the number.
    is_of_terms_or_others = not controls or bool(terms) or selection.awaiting_approval
    has_dates = until is not None or since is not None
    # What `list_pages` keeps about the actor's lists counts all that it manages.
    is_kept = wallet_id is not None or restrictions.current() is None
    is_plain = sort is _AS_CREATED and not (is_of_terms_or_others or has_dates or counts or shows_token_count)
    if is_plain and (is_kept or state in {None, TransferState.COMPLETED}):
        start = after[0] if after else 0
        return transfers_page(
            actor_id=actor_id, wallet_id=wallet_id, limit=limit, offset=offset, after=start, state=state
        )
    more = _COUNTED if shows_token_count else ""
    arguments: dict[str, Any] = {
        "actor": actor_id,
        "wallet": wallet_id,
        "offset": offset,
        "state": state,
        "until": until,
        "since": since,
        "reference": selection.reference,
        "metadata": orjson.dumps(selection.metadata).decode(),
        # One of the values is enough for the index.
        "label": orjson.dumps(dict(islice(selection.metadata.items(), 1))).decode(),
    }
    conditions = []
    if until is not None:
        conditions.append(_IS_BEFORE)
    if since is not None:
        conditions.append(_IS_SINCE)
    if selection.awaiting_approval:
        conditions.append(AWAITED)
    of_state = {None: "", TransferState.COMPLETED.value: "completed"}.get(state, "undone")
    full = _visible_page(
        sort,
        conditions=tuple(conditions),
        whose="actor" if wallet_id is None else "wallet" if controls else "both",
        terms=terms,
        of_state=of_state,
        is_first=after is None,
        counts=counts,
        more=more,
    )
    keys = [*(f"key_{index}" for index in range(len(sort.keys))), "number"]
    arguments |= dict(zip(keys, after, strict=True)) if after is not None else {}
    order = _order_by_index(sort) if is_kept and not is_of_terms_or_others else None
    # Few of them are among the next ones of an index of all transfers.
    is_rare = state not in {None, TransferState.COMPLETED}
    if order is None or (order.by_key and is_rare):
        return wallet_queries.read_page(full, limit=limit, arguments=arguments)
    return list_pages.read_page(
        list_pages.List(
            order,
            state=state or "",
            is_of_actor=wallet_id is None,
            counts=counts,
            has_since=since is not None,
            has_until=until is not None,
        ),
        limit=limit,
        after=after,
        arguments=arguments,
        rows=_placed(more),
        full=full,
    )
