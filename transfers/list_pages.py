"""
Pages of the lists of transfers that are read from indexes by wallet and number.

A list is a sequence of groups, most lists have one. Transfers of one group are found in streams: an index of one party,
from which a page reads only its own rows. `transfers.transfer_lists` has the other orders.

No index is in the order of time: such indexes cost the statement of each transfer a tenth. But times are almost in the
order of the numbers. For each `list_counts.SPAN` numbers `ListSpan` keeps the newest time of these and all lower ones,
the oldest of these and all higher ones, and the spread: by how much one of these is at most older than one with a lower
number. The first two tell between which numbers all transfers with some dates are; a list with dates is read between
these. A page by time is read by number, with `MARGIN` rows more on both sides, and sorted. It is whole if these times
show that what was not read is outside of it. Otherwise the caller reads the list another way.

By the time of closing, most transfers are in the order of their creation, since they completed then: these are read as
those of a list with dates. The others, which were closed later, have an index by that time.

Nor has an index wallet and id. A page by id is read from the primary key, which has the transfers of all wallets by
their times (`transfers.ids`), and those of earlier versions at random: of a wallet with a tenth of them, each tenth. As
soon as half as many were read as the list has, the caller reads the list instead. Pages by source or destination are
read from the index by that wallet and the number in the same way. There the transfers of one wallet stand together, so
that for a list with few of the first wallets the limit is reached, and the list read.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from transfers.list_counts import SPAN
from transfers.list_streams import (
    EVERYWHERE,
    FIRST,
    LAST,
    PARTIES,
    Group,
    Range,
    Stream,
    next_rows,
    no_newer,
    no_older,
    streams_of,
)
from transfers.list_totals import total_of
from transfers.states import TransferState
from trusts import queries as trust_queries
from wallets import queries as wallet_queries
from wallets.sql_files import load

# How many more rows a page by time reads on each side, and how many transfers since the checkpoint.
MARGIN: Final = 100
SINCE_CHECKPOINT: Final = 6_000

_BY_TIME: Final = wallet_queries.OptimisticPage()
_BY_KEY: Final = wallet_queries.OptimisticPage()
_BY_CLOSING: Final = wallet_queries.OptimisticPage()
_OPEN: Final = (TransferState.REQUESTED.value, TransferState.PENDING.value)
# `IS TRUE` keeps the planner from beginning with `mine`.
_IS_FOR_THE_READER: Final = "(destination_id IN (SELECT id FROM mine))"


# Columns by which an index of all transfers is read, and whether the number follows in it: an id is unique.
KEYS: Final[Mapping[str, bool]] = {"id": False, "source_id": True, "destination_id": True}


class Order(NamedTuple):
    """
    By what a list is sorted, before the number: a column of `KEYS`, or time of closing, or groups by state, then time.
    """

    by_time: bool = False
    by_key: str = ""
    by_closing: bool = False
    # "" for none; "state", or "waiting": what the reader can accept, other pending, completed, cancelled, all other.
    groups: str = ""
    is_descending: bool = False

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The columns of a position, which `picked` has, and their types."""
        place = [("place", "integer")] if self.groups else []
        at = [("at", "timestamptz")] if self.by_time or self.by_closing else []
        key = [("key", "uuid")] if self.by_key else []
        return [*place, *at, *key, ("number", "bigint")]

    @property
    def signs(self) -> tuple[str, str, str]:
        """The comparisons that mean behind and before, and the direction."""
        return ("<", ">", "DESC") if self.is_descending else (">", "<", "ASC")


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
# As the indexes by time of closing, which also have other transfers, say it.
_IS_APART: Final = "closed_at <> created_at"
_IS_AMONG_OPEN: Final = "(%(at)s::timestamptz = 'infinity')"


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
    if is_first:
        return _by_time(str(index), group.place, behind, order)
    after, before, direction = order.signs
    before_all = no_older if order.is_descending else no_newer
    return _by_time(
        str(index),
        group.place,
        behind,
        order,
        ahead=f"{ahead}, ",
        # The row of the position itself is in neither.
        near=f"(SELECT * FROM behind_{index} UNION ALL SELECT * FROM ahead_{index})",  # noqa: S608
        position=f"(NOT {is_here} OR (created_at, number) {after} (%(at)s::timestamptz, %(number)s::bigint))",
        is_whole_ahead=f"""((SELECT count(*) FROM ahead_{index}) < {MARGIN}
               OR {before_all(f"SELECT number, created_at FROM ahead_{index} ORDER BY number {direction} LIMIT 1")}
                  {before}= %(at)s::timestamptz)""",  # noqa: S608
    )


def _by_time(
    index: str,
    place: int,
    behind: str,
    order: Order,
    *,
    ahead: str = "",
    near: str = "",
    position: str = "true",
    is_whole_ahead: str = "true",
) -> str:
    """Return common table expressions as `_group_sql`: `behind`, those of `behind_<index>`, and what is made of it."""
    after, _, direction = order.signs
    opposite = "ASC" if order.is_descending else "DESC"
    beyond = no_newer if order.is_descending else no_older
    return load(
        "transfers",
        "parts/list_by_time",
        index=index,
        place=str(place),
        behind=behind,
        ahead=ahead,
        near=near or f"behind_{index}",
        position=position,
        direction=direction,
        opposite=opposite,
        after=after,
        beyond=beyond(f"SELECT number, created_at FROM behind_{index} ORDER BY number {opposite} LIMIT 1"),  # noqa: S608
        margin=str(MARGIN),
        is_whole_ahead=is_whole_ahead,
    )


def _between(name: str, *, since: str, until: str) -> str:
    """Return a common table expression: between which numbers the transfers with these times are, SQL or NULL."""
    return load(
        "transfers",
        "parts/list_between",
        between=name,
        since=since,
        until=until,
        first=FIRST,
        last=LAST,
        span=str(SPAN),
    )


def _open_group(order: Order, within: Range, streams: Sequence[Stream], *, is_first: bool, is_wanted: str) -> str:
    """Return common table expressions: `group_open` has the next open transfers. They have no time of closing."""
    begin = within.high if order.is_descending else within.low
    position = f"greatest(least(%(number)s::bigint, {within.high}), {within.low})"
    near = next_rows(
        "near_open",
        Group(1, streams),
        start=begin if is_first else f"(SELECT CASE WHEN {_IS_AMONG_OPEN} THEN {position} ELSE {begin} END)",
        within=within,
        is_descending=order.is_descending,
        rows=_ROWS,
        is_wanted=is_wanted,
    )
    return f"{near}, group_open AS (SELECT 1 AS place, 'infinity'::timestamptz AS at, number FROM near_open)"  # noqa: S608


def _closed_group(order: Order, within: Range, *, state: str, is_first: bool, is_wanted: str) -> str:
    """Return common table expressions: `group_closed` has the next closed transfers, `whole_at_once` if it is sure."""
    after, before, direction = order.signs
    lowest, highest = ("'-infinity'::timestamptz", FIRST), ("'infinity'::timestamptz", LAST)
    begin, (end, end_number) = (highest, lowest) if order.is_descending else (lowest, highest)
    at, number = begin if is_first else ("%(at)s::timestamptz", "%(number)s::bigint")
    narrowed = (f" AND state = '{state}'" if state else "") + within.dates

    def late(index: int, *, shown: str, wallet: str, behind: str, up_to: str, rows: str) -> str:
        column, only = PARTIES[index]
        return (
            f"(SELECT {shown}closed_at AS at, number FROM transfers_transfer WHERE {_IS_APART}{narrowed}"  # noqa: S608
            f"{only} AND {column} = {wallet} AND (closed_at, number) {behind}"
            f" AND (closed_at, number) {before}= ({up_to}, {end_number})"
            f" ORDER BY closed_at {direction}, number {direction} LIMIT {rows})"
        )

    start = f"{after} ({at}, {number})"
    heads = [
        late(index, shown=f"{index} AS stream, ", wallet="wallet.id", behind=start, up_to=end, rows="1")
        for index in range(len(PARTIES))
    ]
    start, reach = f"{after}= (head.at, head.number)", f"coalesce((SELECT at FROM late_reach), {end})"  # noqa: S608
    found = [
        late(index, shown="", wallet=f"head.id AND head.stream = {index}", behind=start, up_to=reach, rows=_ROWS)
        for index in range(len(PARTIES))
    ]
    position, last = "NULL::timestamptz" if is_first else at, "(SELECT at FROM late_last)"
    since, until = (last, position) if order.is_descending else (position, last)
    closing = _between("closing", since=since, until=f"({until} + interval '1 microsecond')")
    low, high = "(SELECT low FROM closing)", "(SELECT high FROM closing)"
    numbers = Range(f"greatest({within.low}, {low})", f"least({within.high}, {high})")
    # Written as the condition of dates is.
    only = f"{within.dates} AND (closed_at <> created_at)::int <> 1"
    if not is_first:
        only += f" AND ((created_at, number) {before}= ({at}, {number}))::int <> 1"
    behind = next_rows(
        "behind_at_once",
        Group(0, streams_of(state, only)),
        start=numbers.high if order.is_descending else numbers.low,
        within=numbers,
        is_descending=order.is_descending,
        rows=f"(SELECT rows + {MARGIN} FROM wanted)",  # noqa: S608 - constants
        is_wanted=is_wanted,
    )
    return load(
        "transfers",
        "parts/list_by_closing",
        heads=" UNION ALL ".join(heads),
        within=" UNION ALL ".join(found),
        is_wanted=is_wanted,
        direction=direction,
        before=before,
        end=end,
        rows=_ROWS,
        closing=closing,
        at_once=_by_time("at_once", 0, behind, order),
    )


def _groups_by_closing(order: Order, within: Range, *, state: str, is_first: bool) -> dict[str, str]:
    """Return the common table expressions of the groups of a list by time of closing by their names, in its order."""
    streams = [stream for each in _OPEN if state in {"", each} for stream in streams_of(each, within.dates)]
    is_open_wanted = is_closed_wanted = "true"
    if order.is_descending:
        is_open_wanted = "true" if is_first else _IS_AMONG_OPEN
        if streams:
            is_closed_wanted = f"(SELECT count(*) FROM group_open) < {_ROWS}"  # noqa: S608 - constants
    elif state not in _OPEN:
        is_open_wanted = f"(SELECT count(*) FROM group_closed) < {_ROWS}"  # noqa: S608 - constants
    groups = {}
    if state not in _OPEN:
        groups["closed"] = _closed_group(order, within, state=state, is_first=is_first, is_wanted=is_closed_wanted)
    if streams:
        groups["open"] = _open_group(order, within, streams, is_first=is_first, is_wanted=is_open_wanted)
    return dict(reversed(groups.items())) if order.is_descending else groups


def _group_by_key(order: Order, within: Range, *, state: str, is_of_actor: bool, is_first: bool) -> str:
    """Return common table expressions as `_group_sql`, of the one group of a list by a key."""
    after, _, direction = order.signs
    key, position = order.by_key, "(%(key)s::uuid, %(number)s::bigint)"
    columns = [key, "number"] if KEYS[key] else [key]
    behind = "true"
    if not is_first:
        behind = f"({key}, number) {after} {position}"
        if not KEYS[key]:
            # What the index serves.
            behind = f"{key} {after}= %(key)s::uuid AND {behind}"
    narrowed, share = within.dates, "1"
    if within is not EVERYWHERE:
        narrowed += f" AND number > {within.low} AND number < {within.high}"
        newest = "(SELECT max(number) FROM transfers_transfer)"
        before = f"(SELECT min(span) * {SPAN} - 1 FROM transfers_listspan)"  # noqa: S608 - constants
        there = f"least({within.high}, {newest}) - greatest({within.low}, {before})"
        share = f"greatest(0, least(1, ({there})::float8 / ({newest} - {before})))"
    return load(
        "transfers",
        "parts/list_by_key",
        key=key,
        index=", ".join(f"{column} {direction}" for column in columns),
        behind=behind,
        condition=(f" AND state = '{state}'" if state else "") + narrowed,
        direction=direction,
        share=share,
        tally="visible" if is_of_actor else "own",
        whose="(SELECT id FROM me)" if is_of_actor else "(SELECT id FROM party)",
    )


def dates(*, has_since: bool, has_until: bool) -> str:
    """Return common table expressions; `between` has the numbers between which transfers with these dates are."""
    between = _between(
        "between",
        since="(SELECT %(since)s::timestamptz)" if has_since else "NULL::timestamptz",
        until="(SELECT %(until)s::timestamptz)" if has_until else "NULL::timestamptz",
    )
    return f"{load('transfers', 'parts/list_checkpoint')}, {_recent()}{between}"


def _recent() -> str:
    return load("transfers", "parts/list_recent", most=str(SINCE_CHECKPOINT))


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
    `full`: the statement to read a page by time or key if by an index it is not whole. `rows` is the SQL of the
    transfer whose number the row `placed` has.
    """
    by_number = _page(listed, is_first=after is None, rows=rows)
    names = [name for name, _ in listed.order.keys]
    position = dict(zip(names, after, strict=True)) if after is not None else {}
    if listed.order.by_time or listed.order.by_key or listed.order.by_closing:
        quick = _BY_KEY if listed.order.by_key else _BY_CLOSING if listed.order.by_closing else _BY_TIME
        return quick.read_page(
            by_number, full, limit=limit, arguments={**arguments, **position}, whose=arguments["actor"]
        )
    return wallet_queries.read_page(by_number, limit=limit, arguments={**arguments, **position})


# Of the many statements there may be, clients send a few.
@lru_cache(maxsize=256)
def _page(listed: List, *, is_first: bool, rows: str) -> str:
    order, state, is_of_actor, counts, has_since, has_until = listed
    within = listed.range
    if order.by_closing:
        each_group = _groups_by_closing(order, within, state=state, is_first=is_first)
    elif order.by_key:
        each_group = {"0": _group_by_key(order, within, state=state, is_of_actor=is_of_actor, is_first=is_first)}
    else:
        groups = _groups(order, state, is_of_actor=is_of_actor, dates=within.dates)
        if order.is_descending:
            groups.reverse()
        each_group = {
            str(index): _group_sql(group, index, order, within, is_first=is_first) for index, group in enumerate(groups)
        }
    sure = []
    if order.by_time or order.by_key:
        sure = list(each_group)
    elif "closed" in each_group:
        sure = ["at_once"]
    before, total = ("", "NULL::bigint")
    if counts:
        before, total = total_of(within, state=state, is_of_actor=is_of_actor)
    _, _, direction = order.signs
    names = [name for name, _ in order.keys]
    times = load("transfers", "parts/list_checkpoint") + ", "
    if within is not EVERYWHERE:
        times = dates(has_since=has_since, has_until=has_until)
    elif order.by_time or order.by_closing:
        times += _recent()
    return load(
        "transfers",
        "parts/list_page",
        me=wallet_queries.ME,
        controlled=trust_queries.CONTROLLED,
        party="SELECT id FROM mine" if is_of_actor else "SELECT %(wallet)s::uuid AS id FROM me WHERE id IS NOT NULL",
        times=times,
        kept=before,
        groups=", ".join(each_group.values()),
        all=" UNION ALL ".join(f"SELECT * FROM group_{name}" for name in each_group),  # noqa: S608
        order=", ".join(f"{name} {direction}" for name in names),
        last=", ".join(
            f"(array_agg(placed.{name} ORDER BY position))[(SELECT %(fetch)s::bigint - 1)]"
            f"{'' if type_ == 'bigint' else '::text'}"
            for name, type_ in order.keys
        ),
        total=total,
        is_whole=" AND ".join(f"(SELECT is_whole FROM whole_{name})" for name in sure) or "true",  # noqa: S608
        rows=rows,
    )
