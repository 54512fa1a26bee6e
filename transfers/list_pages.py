"""
Pages of the lists of transfers that are read from indexes by wallet and number, and their totals.

A list is a sequence of groups, most lists have one. Transfers of one group are found in streams: an index of one party,
from which a page reads only its own rows. `transfers.transfer_lists` has the other orders.

No index is in the order of time: such indexes cost the statement of each transfer a tenth. But times are almost in the
order of the numbers. For each `list_counts.SPAN` numbers `ListSpan` keeps the newest time of these and all lower ones,
the oldest of these and all higher ones, and the spread: by how much one of these is at most older than one with a lower
number. The first two tell between which numbers all transfers with some dates are; a list with dates is read between
these. A page by time is read by number, with `MARGIN` rows more on both sides, and sorted. It is whole if these times
show that what was not read is outside of it. Otherwise the caller reads the list another way.

Nor has an index wallet and id. A page by id is read from the primary key, which has the transfers of all wallets at
random: of a wallet with a tenth of them, each tenth. As soon as half as many were read as the list has, the caller
reads the list instead: at most some √(2 × rows of the page × all transfers), for whatever wallet.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from transfers.list_counts import HAS_TRANSFERS, SPAN
from transfers.list_streams import (
    EVERYWHERE,
    FIRST,
    LAST,
    PARTIES,
    Group,
    Range,
    compared,
    next_rows,
    no_newer,
    no_older,
    streams_of,
)
from transfers.states import TransferState
from trusts import queries as trust_queries
from wallets import queries as wallet_queries
from wallets.sql_files import load

# How many more rows a page by time reads on each side, and how many transfers since the checkpoint.
MARGIN: Final = 100
SINCE_CHECKPOINT: Final = 6_000

_BY_TIME: Final = wallet_queries.OptimisticPage()
_BY_ID: Final = wallet_queries.OptimisticPage()
_UNDONE: Final = tuple(state for state in TransferState.values if state != TransferState.COMPLETED)
# `IS TRUE` keeps the planner from beginning with `mine`.
_IS_FOR_THE_READER: Final = "(destination_id IN (SELECT id FROM mine))"


class Order(NamedTuple):
    """By what a list is sorted: the id; or groups by state, then time, or neither; then the number."""

    by_time: bool = False
    by_id: bool = False
    # "" for none; "state", or "waiting": what the reader can accept, other pending, completed, cancelled, all other.
    groups: str = ""
    is_descending: bool = False

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The columns of a position, which `picked` has, and their types."""
        place = [("place", "integer")] if self.groups else []
        at = [("at", "timestamptz")] if self.by_time else []
        id_ = [("id", "uuid")] if self.by_id else []
        return [*place, *at, *id_, ("number", "bigint")]


def _groups(order: Order, state: str, *, is_of_actor: bool, dates: str) -> list[Group]:
    """The groups in ascending order of their places, those of one state if it is not empty."""
    match order.groups:
        case "":
            return [Group(0, streams_of(state, dates))]
        case "state":
            each_state = enumerate(TransferState.values, start=1)
            groups = [Group(place, streams_of(each, dates)) for place, each in each_state if state in {"", each}]
        case _:
            # All transfers to the reader's wallets are found by their destination.
            theirs = [PARTIES[0], PARTIES[2]] if is_of_actor else PARTIES
            mine = [PARTIES[1]] if is_of_actor else PARTIES
            # A place may have several states.
            pending_there = streams_of("pending", f" AND {_IS_FOR_THE_READER} IS NOT TRUE{dates}", parties=theirs)
            pending_here = streams_of("pending", f" AND {_IS_FOR_THE_READER} IS TRUE{dates}", parties=mine)
            places = [
                (-4, {"requested": streams_of("requested", dates), "failed": streams_of("failed", dates)}),
                (-3, {"cancelled": streams_of("cancelled", dates)}),
                (-2, {"completed": streams_of("completed", dates)}),
                (-1, {"pending": pending_there}),
                (0, {"pending": pending_here}),
            ]
            groups = [
                Group(place, [each for name, streams in of_states.items() if state in {"", name} for each in streams])
                for place, of_states in places
            ]
    return [group for group in groups if group.streams]


_ROWS: Final = "(SELECT rows FROM wanted)"


def _group_sql(group: Group, index: int, order: Order, within: Range, *, is_first: bool) -> str:
    """Return common table expressions: `group_<index>` has the group's rows, `whole_<index>` whether that is sure."""
    # A group is read only as far as those before it do not fill the page.
    earlier = [f"(SELECT count(*) FROM group_{each})" for each in range(index)]  # noqa: S608 - constants
    is_wanted = f"{' + '.join(earlier) or '0'} < {_ROWS}"
    begin, end = (within.high, within.low) if order.is_descending else (within.low, within.high)
    is_here, is_before = "false", "false"
    if not is_first:
        is_here, is_before = "true", "false"
        if order.groups:
            is_here = f"%(place)s::integer = {group.place}"
            is_before = f"%(place)s::integer {'<' if order.is_descending else '>'} {group.place}"
    # A cursor may be of a list with other dates.
    position = "%(number)s::bigint"
    if within is not EVERYWHERE:
        position = f"greatest(least({position}, {within.high}), {within.low})"
    start = f"(SELECT CASE WHEN {is_here} THEN {position} WHEN {is_before} THEN {end} ELSE {begin} END)"
    if is_first:
        start = begin
    if not order.by_time:
        nearest = next_rows(
            f"near_{index}",
            group,
            start=start,
            within=within,
            is_descending=order.is_descending,
            rows=_ROWS,
            is_wanted=is_wanted,
        )
        return f"{nearest}, group_{index} AS (SELECT {group.place} AS place, number FROM near_{index})"  # noqa: S608
    behind = next_rows(
        f"behind_{index}",
        group,
        start=start,
        within=within,
        is_descending=order.is_descending,
        rows=f"(SELECT rows + {MARGIN} FROM wanted)",  # noqa: S608 - constants
        is_wanted=is_wanted,
    )
    ahead = next_rows(
        f"ahead_{index}",
        group,
        start=start,
        within=within,
        is_descending=not order.is_descending,
        rows=str(MARGIN),
        is_wanted=f"{is_wanted} AND {is_here}",
    )
    # The row of the position itself is in neither.
    is_behind = f"(NOT {is_here} OR (created_at, number) {{}} (%(at)s::timestamptz, %(number)s::bigint))"
    after, before, direction = ("<", ">", "DESC") if order.is_descending else (">", "<", "ASC")
    beyond, before_all = (no_newer, no_older) if order.is_descending else (no_older, no_newer)
    opposite = "ASC" if order.is_descending else "DESC"
    return load(
        "transfers",
        "parts/list_by_time",
        index=str(index),
        place=str(group.place),
        behind=behind,
        ahead="" if is_first else f"{ahead}, ",
        near=f"behind_{index}" if is_first else f"(SELECT * FROM behind_{index} UNION ALL SELECT * FROM ahead_{index})",  # noqa: S608
        position="true" if is_first else is_behind.format(after),
        direction=direction,
        opposite=opposite,
        after=after,
        beyond=beyond(f"SELECT number, created_at FROM behind_{index} ORDER BY number {opposite} LIMIT 1"),  # noqa: S608
        margin=str(MARGIN),
        is_whole_ahead="true"
        if is_first
        else f"""((SELECT count(*) FROM ahead_{index}) < {MARGIN}
               OR {before_all(f"SELECT number, created_at FROM ahead_{index} ORDER BY number {direction} LIMIT 1")}
                  {before}= %(at)s::timestamptz)""",  # noqa: S608
    )


def _group_by_id(order: Order, *, state: str, is_of_actor: bool, is_first: bool) -> str:
    """Return common table expressions as `_group_sql`, of the one group of a list by id."""
    after, direction = ("<", "DESC") if order.is_descending else (">", "ASC")
    position = "%(id)s::uuid"
    return load(
        "transfers",
        "parts/list_by_id",
        # The first one is what an index serves.
        behind="true"
        if is_first
        else f"id {after}= {position} AND (id, number) {after} ({position}, %(number)s::bigint)",
        state=f" AND state = '{state}'" if state else "",
        direction=direction,
        tally="visible" if is_of_actor else "own",
        whose="(SELECT id FROM me)" if is_of_actor else "(SELECT id FROM party)",
    )


def _numbers(low: str, *, state: str = "", high: str = LAST, dates: str = "") -> str:
    """Return the SQL of the numbers of transfers of `party` above `low` and below `high`, each once."""
    return " UNION ".join(
        "SELECT found.number FROM party CROSS JOIN LATERAL (SELECT number FROM transfers_transfer"  # noqa: S608
        f" WHERE {compared(stream, 'party.id', '>', low)} AND {compared(stream, 'party.id', '<', high)}"
        f"{stream.condition} OFFSET 0) AS found"
        for stream in streams_of(state, dates)
    )


def _count(numbers: str) -> str:
    return f"(SELECT count(*) FROM ({numbers}) AS counted)"  # noqa: S608 - constants


def _total(within: Range, *, state: str, is_of_actor: bool) -> tuple[str, str]:
    """Return common table expressions, and the SQL of the number of transfers of the list."""
    if state not in {"", TransferState.COMPLETED}:
        return "", _count(_numbers(within.low, state=state, high=within.high, dates=within.dates))
    without = ""
    if state:
        # The completed ones are the others.
        each_undone = (_numbers(within.low, state=each, high=within.high, dates=within.dates) for each in _UNDONE)
        without = "".join(f" - {_count(numbers)}" for numbers in each_undone)
    if within.dates:
        # Between the inner numbers an index is enough, which has no times.
        inner_low, inner_high = "(SELECT inner_low FROM between)", "(SELECT inner_high FROM between)"
        parts = (
            _numbers(within.low, high="(SELECT least(inner_low + 1, high) FROM between)", dates=within.dates),
            _numbers(inner_low, high=inner_high),
            _numbers("(SELECT greatest(inner_high - 1, low) FROM between)", high=within.high, dates=within.dates),
        )
        return "", f"({' + '.join(map(_count, parts))}{without})"
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
    newer = _count(_numbers("(SELECT number FROM kept)"))
    return kept, (
        "((SELECT transfers FROM kept) + CASE WHEN (SELECT is_whole FROM near) THEN (SELECT transfers FROM near)"  # noqa: S608
        f" ELSE {newer} END{without})"
    )


class List(NamedTuple):
    """
    A list of transfers of all wallets that the actor controls, or of one of them.

    `state` is "" for any. `has_since` and `has_until` say whether the parameters `since` and `until` narrow it.
    """

    order: Order
    state: str = ""
    is_of_actor: bool = True
    counts: bool = False
    has_since: bool = False
    has_until: bool = False

    @property
    def range(self) -> Range:
        """Between which numbers it is."""
        if not self.has_since and not self.has_until:
            return EVERYWHERE
        # Written so that the planner expects it of nearly all: it knows nothing of the relation of number and time, and
        # would read and sort all transfers of the range.
        since = " AND (created_at < (SELECT %(since)s::timestamptz))::int <> 1" if self.has_since else ""
        until = " AND (created_at >= (SELECT %(until)s::timestamptz))::int <> 1" if self.has_until else ""
        return Range("(SELECT low FROM between)", "(SELECT high FROM between)", since + until)


def read_page(
    listed: List, *, limit: int, after: Sequence[Any] | None, arguments: Mapping[str, Any], rows: str, full: str = ""
) -> wallet_queries.JsonPage:
    """
    Return a page.

    `arguments` are those of `ME`, `offset`, `since`, `until`, `wallet` unless the list is of the actor, and those of
    `full`: the statement to read a page by time or id if by an index it is not whole. `rows` is the SQL of the transfer
    whose number the row `placed` has.
    """
    by_number = _page(listed, is_first=after is None, rows=rows)
    names = [name for name, _ in listed.order.keys]
    position = dict(zip(names, after, strict=True)) if after is not None else {}
    if listed.order.by_time or listed.order.by_id:
        quick = _BY_ID if listed.order.by_id else _BY_TIME
        return quick.read_page(
            by_number, full, limit=limit, arguments={**arguments, **position}, whose=arguments["actor"]
        )
    return wallet_queries.read_page(by_number, limit=limit, arguments={**arguments, **position})


# Of the many statements there may be, clients send a few.
@lru_cache(maxsize=256)
def _page(listed: List, *, is_first: bool, rows: str) -> str:
    order, state, is_of_actor, counts, has_since, has_until = listed
    within = listed.range
    groups = _groups(order, state, is_of_actor=is_of_actor, dates=within.dates)
    if order.is_descending:
        groups.reverse()
    if order.by_id:
        each_group = [_group_by_id(order, state=state, is_of_actor=is_of_actor, is_first=is_first)]
    else:
        each_group = [_group_sql(group, index, order, within, is_first=is_first) for index, group in enumerate(groups)]
    before, total = ("", "NULL::bigint")
    if counts:
        before, total = _total(within, state=state, is_of_actor=is_of_actor)
    direction = "DESC" if order.is_descending else "ASC"
    names = [name for name, _ in order.keys]
    between = ""
    if within is not EVERYWHERE:
        between = load(
            "transfers",
            "parts/list_between",
            since="(SELECT %(since)s::timestamptz)" if has_since else "NULL::timestamptz",
            until="(SELECT %(until)s::timestamptz)" if has_until else "NULL::timestamptz",
            first=FIRST,
            last=LAST,
            span=str(SPAN),
        )
    return load(
        "transfers",
        "parts/list_page",
        me=wallet_queries.ME,
        controlled=trust_queries.CONTROLLED,
        party="SELECT id FROM mine" if is_of_actor else "SELECT %(wallet)s::uuid AS id FROM me WHERE id IS NOT NULL",
        recent=load("transfers", "parts/list_recent", most=str(SINCE_CHECKPOINT)) if order.by_time or between else "",
        between=between,
        kept=before,
        groups=", ".join(each_group),
        all=" UNION ALL ".join(f"SELECT * FROM group_{index}" for index in range(len(groups))),  # noqa: S608
        order=", ".join(f"{name} {direction}" for name in names),
        last=", ".join(
            f"(array_agg(placed.{name} ORDER BY position))[(SELECT %(fetch)s::bigint - 1)]"
            f"{'' if type_ == 'bigint' else '::text'}"
            for name, type_ in order.keys
        ),
        total=total,
        is_whole=(
            " AND ".join(f"(SELECT is_whole FROM whole_{index})" for index in range(len(groups)))  # noqa: S608
            if order.by_time or order.by_id
            else "true"
        ),
        rows=rows,
    )
