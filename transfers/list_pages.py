"""
Pages of the lists of transfers that indexes have in the order of the list, and their totals.

A list is a sequence of groups, most lists have one. Transfers of one group are found in streams: an index of one party,
in the order of the group, from which a page reads only its own rows. `transfers.queries` has the other orders.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from transfers.list_counts import HAS_TRANSFERS
from transfers.states import TransferState
from trusts import queries as trust_queries
from wallets import queries as wallet_queries
from wallets.sql_files import load

_UNDONE: Final = tuple(state for state in TransferState.values if state != TransferState.COMPLETED)
# The columns of a party, and what the index of each may ask for.
_PARTIES: Final[Sequence[tuple[str, str]]] = (
    ("source_id", ""),
    ("destination_id", ""),
    ("originator_id", " AND originator_id <> source_id AND originator_id <> destination_id"),
)
# `IS TRUE` keeps the planner from beginning with `mine`.
_IS_FOR_THE_READER: Final = "(destination_id IN (SELECT id FROM mine))"


class Order(NamedTuple):
    """By what a list is sorted: groups by state, then time, or neither; then the number."""

    by_time: bool = False
    # "" for none; "state", or "waiting": what the reader can accept, other pending, completed, cancelled, all other.
    groups: str = ""
    is_descending: bool = False

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The columns of a position, which `picked` has, and their types."""
        place = [("place", "integer")] if self.groups else []
        at = [("at", "timestamptz")] if self.by_time else []
        return [*place, *at, ("number", "bigint")]


class _Stream(NamedTuple):
    """Transfers of one wallet in one column, in the order of an index that has the state first unless it is empty."""

    column: str
    state: str
    condition: str


class _Group(NamedTuple):
    place: int
    streams: Sequence[_Stream]


def _streams(state: str, condition: str = "", *, parties: Sequence[tuple[str, str]] = _PARTIES) -> list[_Stream]:
    """`state` is that of all, or "" for any."""
    if state == TransferState.COMPLETED:
        return [_Stream(column, "", f"{only} AND state = 'completed'{condition}") for column, only in parties]
    # Repeat the partial index's predicate explicitly so the planner can use it.
    undone = " AND state <> 'completed'" if state else ""
    return [_Stream(column, state, f"{only}{undone}{condition}") for column, only in parties]


def _groups(order: Order, state: str, *, is_of_actor: bool) -> list[_Group]:
    """The groups in ascending order of their places, those of one state if it is not empty."""
    match order.groups:
        case "":
            return [_Group(0, _streams(state))]
        case "state":
            each_state = enumerate(TransferState.values, start=1)
            groups = [_Group(place, _streams(each)) for place, each in each_state if state in {"", each}]
        case _:
            # All transfers to the reader's wallets are found by their destination.
            theirs = [_PARTIES[0], _PARTIES[2]] if is_of_actor else _PARTIES
            mine = [_PARTIES[1]] if is_of_actor else _PARTIES
            # A place may have several states.
            pending_there = _streams("pending", f" AND {_IS_FOR_THE_READER} IS NOT TRUE", parties=theirs)
            pending_here = _streams("pending", f" AND {_IS_FOR_THE_READER} IS TRUE", parties=mine)
            places = [
                (-4, {"requested": _streams("requested"), "failed": _streams("failed")}),
                (-3, {"cancelled": _streams("cancelled")}),
                (-2, {"completed": _streams("completed")}),
                (-1, {"pending": pending_there}),
                (0, {"pending": pending_here}),
            ]
            groups = [
                _Group(place, [each for name, streams in of_states.items() if state in {"", name} for each in streams])
                for place, of_states in places
            ]
    return [group for group in groups if group.streams]


# Below and above all values of a key. A time is within the dates of the list.
_ENDS: Final = {
    "at": (
        "coalesce((SELECT %(since)s::timestamptz), '-infinity')",
        "coalesce((SELECT %(until)s::timestamptz), 'infinity')",
    ),
    "number": ("0::bigint", f"{trust_queries.LAST_NUMBER}::bigint"),
}


def _ends(order: Order) -> tuple[list[str], list[str]]:
    """Return the keys before and behind all rows of a group, in ascending order."""
    if not order.by_time:
        return [_ENDS["number"][0]], [_ENDS["number"][1]]
    # Numbers are positive: a time itself is behind the first, and before the second.
    return [_ENDS["at"][0], "0::bigint"], [_ENDS["at"][1], "0::bigint"]


def _is_in_order(stream: _Stream, columns: Sequence[str]) -> bool:
    """
    Whether wallet and state are compared together with the keys, and rows ordered by them, so that one index serves it.

    Otherwise the planner may read an index of all wallets in the order of the keys alone, as
    `trusts.queries.numbers_by_party` says. By time there is none that has transfers which completed at once; there, it
    may instead sort what the index in the order of numbers has.
    """
    return bool(stream.state) or columns == ["number"]


def _compared(
    stream: _Stream, wallet: str, columns: Sequence[str], sign: str, keys: Sequence[str], *, is_sorted: bool = True
) -> str:
    """Return the SQL condition that a transfer of the wallet, and of the state, is behind the keys."""
    guard = "" if list(columns) == ["number"] else " AND number > 0"
    if is_sorted and _is_in_order(stream, list(columns)):
        prefix = [stream.column, *(["state"] if stream.state else [])]
        given = [wallet, *([f"'{stream.state}'"] if stream.state else [])]
        return f"({', '.join([*prefix, *columns])}) {sign} ({', '.join([*given, *keys])}){guard}"
    # The state is in a subquery, so that the planner cannot use indexes of open transfers of all wallets.
    state = f" AND state = (SELECT '{stream.state}'::text)" if stream.state else ""
    return f"{stream.column} = {wallet}{state}{guard} AND ({', '.join(columns)}) {sign} ({', '.join(keys)})"


def _group_sql(group: _Group, index: int, order: Order, *, is_first: bool) -> str:
    columns = [*(["created_at"] if order.by_time else []), "number"]
    names = [*(["at"] if order.by_time else []), "number"]
    low, high = _ends(order)
    first, last = (high, low) if order.is_descending else (low, high)
    after, before, direction = ("<", ">", "DESC") if order.is_descending else (">", "<", "ASC")
    if is_first:
        start = first
    elif not order.groups:
        start = [f"(SELECT %({name})s::{type_})" for name, type_ in order.keys]
    else:
        start = [
            f"(SELECT CASE WHEN %(place)s::integer = {group.place} THEN %({name})s::{type_}"
            f" WHEN %(place)s::integer {before} {group.place} THEN {begin} ELSE {end} END)"
            for (name, type_), begin, end in zip(order.keys[1:], first, last, strict=True)
        ]

    def between(stream: _Stream, wallet: str, begin: Sequence[str], end: Sequence[str], *, is_open: bool) -> str:
        equals = "" if is_open else "="
        return (
            f"{_compared(stream, wallet, columns, f'{after}{equals}', begin)}"
            f" AND {_compared(stream, wallet, columns, f'{before}{equals}', end)}{stream.condition}"
        )

    def ordered(stream: _Stream) -> str:
        prefix = [stream.column, *(["state"] if stream.state else [])] if _is_in_order(stream, columns) else []
        return ", ".join(f"{column} {direction}" for column in [*prefix, *columns])

    selected = ", ".join(f"{column} AS {name}" for column, name in zip(columns, names, strict=True))
    heads = " UNION ALL ".join(
        f"(SELECT {number} AS stream, {selected} FROM transfers_transfer"  # noqa: S608 - constants
        f" WHERE {between(stream, 'wallet.id', start, last, is_open=True)} ORDER BY {ordered(stream)} LIMIT 1)"
        for number, stream in enumerate(group.streams)
    )
    reach = [f"(SELECT {name} FROM reach_{index})" for name in names]  # noqa: S608 - constants
    here = [f"head.{name}" for name in names]
    within = " UNION ALL ".join(
        f"(SELECT {selected} FROM transfers_transfer WHERE head.stream = {number}"  # noqa: S608 - constants
        f" AND {between(stream, 'head.id', here, reach, is_open=False)}"
        f" ORDER BY {ordered(stream)} LIMIT (SELECT rows FROM wanted))"
        for number, stream in enumerate(group.streams)
    )
    # A group is read only as far as those before it do not fill the page.
    earlier = [f"(SELECT count(*) FROM group_{each})" for each in range(index)]  # noqa: S608 - constants
    return load(
        "transfers",
        "parts/list_group",
        index=str(index),
        place=str(group.place),
        names=", ".join(names),
        order=", ".join(f"{name} {direction}" for name in names),
        heads=heads,
        within=within,
        here=", ".join(here),
        reach=", ".join(reach),
        before=before,
        last=", ".join(last),
        is_wanted=f"{' + '.join(earlier) or '0'} < (SELECT rows FROM wanted)",  # noqa: S608 - constants
    )


def _numbers(columns: Sequence[str], low: Sequence[str], high: Sequence[str], *, state: str = "") -> str:
    """Return the SQL of the numbers of transfers of `party` between two positions, each once."""
    return " UNION ".join(
        "SELECT found.number FROM party CROSS JOIN LATERAL (SELECT number FROM transfers_transfer"  # noqa: S608
        f" WHERE {_compared(stream, 'party.id', columns, '>', low, is_sorted=not state)}"
        f" AND {_compared(stream, 'party.id', columns, '<', high, is_sorted=not state)}{stream.condition} OFFSET 0)"
        " AS found"
        for stream in _streams(state)
    )


def _count(numbers: str) -> str:
    return f"(SELECT count(*) FROM ({numbers}) AS counted)"  # noqa: S608 - constants


def _total(*, state: str, has_dates: bool, is_of_actor: bool) -> tuple[str, str]:
    """Return common table expressions, and the SQL of the number of transfers of the list."""
    order = Order(by_time=has_dates)
    columns = ["created_at", "number"] if has_dates else ["number"]
    low, high = _ends(order)
    if state not in {"", TransferState.COMPLETED}:
        return "", _count(_numbers(columns, low, high, state=state))
    without = ""
    if state:
        # The completed ones are the others.
        without = "".join(f" - {_count(_numbers(columns, low, high, state=each))}" for each in _UNDONE)
    if has_dates:
        return "", f"({_count(_numbers(columns, low, high))}{without})"
    kept = load(
        "transfers",
        "parts/list_kept",
        tally="visible" if is_of_actor else "own",
        whose="(SELECT id FROM me)" if is_of_actor else "(SELECT id FROM party)",
        is_fresh=(
            "NOT EXISTS (SELECT FROM transfers_controlchange AS changed"  # noqa: S608 - constants
            f" WHERE changed.holder_id = (SELECT id FROM me) AND ({HAS_TRANSFERS}))"
            if is_of_actor
            else "true"
        ),
    )
    newer = _count(_numbers(columns, ["(SELECT number FROM kept)"], high))
    return kept, (
        "((SELECT transfers FROM kept) + CASE WHEN (SELECT is_whole FROM near) THEN (SELECT transfers FROM near)"  # noqa: S608
        f" ELSE {newer} END{without})"
    )


# Of the many statements there may be, clients send a few.
@lru_cache(maxsize=256)
def statement(
    order: Order, *, state: str, has_dates: bool, is_of_actor: bool, is_first: bool, counts: bool, rows: str
) -> str:
    """
    Return the SQL of a page, for `wallets.queries.read_page`.

    Parameters: those of `ME`, `fetch`, `offset`; by time or with dates, `since` and `until`; unless it is of the actor,
    `wallet`; unless it is the first page, the position by the names of `order.keys`. `rows` is the SQL of the
    transfer whose number the row `placed` has.
    """
    groups = _groups(order, state, is_of_actor=is_of_actor)
    if order.is_descending:
        groups.reverse()
    before, total = ("", "NULL::bigint")
    if counts:
        before, total = _total(state=state, has_dates=has_dates, is_of_actor=is_of_actor)
    direction = "DESC" if order.is_descending else "ASC"
    names = [name for name, _ in order.keys]
    return load(
        "transfers",
        "parts/list_page",
        me=wallet_queries.ME,
        controlled=trust_queries.CONTROLLED,
        party="SELECT id FROM mine" if is_of_actor else "SELECT %(wallet)s::uuid AS id FROM me WHERE id IS NOT NULL",
        kept=before,
        groups=", ".join(_group_sql(group, index, order, is_first=is_first) for index, group in enumerate(groups)),
        all=" UNION ALL ".join(f"SELECT * FROM group_{index}" for index in range(len(groups))),  # noqa: S608
        order=", ".join(f"{name} {direction}" for name in names),
        last=", ".join(
            f"(array_agg(placed.{name} ORDER BY position))[(SELECT %(fetch)s::bigint - 1)]"
            f"{'' if type_ == 'bigint' else '::text'}"
            for name, type_ in order.keys
        ),
        total=total,
        rows=rows,
    )
