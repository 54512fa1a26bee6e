"""
SQL of the next transfers of many wallets from indexes that have a wallet first, for `transfers.list_pages`.

A stream is the transfers of one wallet in one column, in the order of an index. A group is the streams of one place
of a list. The next rows of a group behind a number are read together: the first row of each stream bounds how far.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from transfers import list_counts
from transfers.states import TransferState
from trusts import queries as trust_queries
from wallets.sql_files import load

# The column of each party, and the further condition of its partial index.
PARTIES: Final[Sequence[tuple[str, str]]] = (
    ("source_id", ""),
    ("destination_id", ""),
    ("originator_id", " AND originator_id <> source_id AND originator_id <> destination_id"),
)


class Stream(NamedTuple):
    """Transfers of one wallet in one column, by number, from an index that has the state first unless it is empty."""

    column: str
    state: str
    condition: str


class Group(NamedTuple):
    place: int
    streams: Sequence[Stream]


class Range(NamedTuple):
    """
    Between which numbers the transfers of a list are, and the SQL condition of their dates.

    `low` and `high` are SQL of the nearest numbers outside of it.
    """

    low: str
    high: str
    dates: str = ""


# The numbers before and behind all rows.
FIRST: Final = "0::bigint"
LAST: Final = f"{trust_queries.LAST_NUMBER}::bigint"
EVERYWHERE: Final = Range(FIRST, LAST)


def streams_of(state: str, condition: str = "", *, parties: Sequence[tuple[str, str]] = PARTIES) -> list[Stream]:
    """`state` is that of all, or "" for any."""
    if state == TransferState.COMPLETED:
        return [Stream(column, "", f"{only} AND state = 'completed'{condition}") for column, only in parties]
    # Repeat the partial index's predicate explicitly so the planner can use it.
    undone = " AND state <> 'completed'" if state else ""
    return [Stream(column, state, f"{only}{undone}{condition}") for column, only in parties]


def compared(stream: Stream, wallet: str, sign: str, number: str) -> str:
    """
    Return the SQL condition that a transfer of the wallet, and of the state, is behind the number.

    Wallet and state are compared together with the number, and rows ordered by them, so that one index serves it.
    Otherwise the planner may read an index of all wallets, as `trusts.queries.numbers_by_party` says.
    """
    state = ["state"] if stream.state else []
    columns, values = [stream.column, *state, "number"], [wallet, *(f"'{stream.state}'" for _ in state), number]
    return f"({', '.join(columns)}) {sign} ({', '.join(values)})"


def next_rows(
    name: str, group: Group, *, start: str, within: Range, is_descending: bool, rows: str, is_wanted: str
) -> str:
    """
    Return common table expressions; `name` has the next `rows` transfers of the group behind the number `start`, in a
    range.

    `rows` and `is_wanted`, without which there are none, are SQL.
    """
    after, before, direction = ("<", ">", "DESC") if is_descending else (">", "<", "ASC")
    last = within.low if is_descending else within.high

    def order(stream: Stream) -> str:
        columns = [stream.column, *(["state"] if stream.state else []), "number"]
        return ", ".join(f"{column} {direction}" for column in columns)

    heads = " UNION ALL ".join(
        f"(SELECT {index} AS stream, number FROM transfers_transfer"  # noqa: S608 - constants
        f" WHERE {compared(stream, 'wallet.id', after, start)} AND {compared(stream, 'wallet.id', before, last)}"
        f"{stream.condition} ORDER BY {order(stream)} LIMIT 1)"
        for index, stream in enumerate(group.streams)
    )
    reach = f"(SELECT number FROM {name}_reach)"  # noqa: S608 - constants
    found = " UNION ALL ".join(
        f"(SELECT number, created_at FROM transfers_transfer WHERE head.stream = {index}"  # noqa: S608 - constants
        f" AND {compared(stream, 'head.id', f'{after}=', 'head.number')}"
        f" AND {compared(stream, 'head.id', f'{before}=', reach)}{stream.condition}"
        f" ORDER BY {order(stream)} LIMIT {rows})"
        for index, stream in enumerate(group.streams)
    )
    return load(
        "transfers",
        "parts/list_nearest",
        nearest=name,
        heads=heads,
        is_wanted=is_wanted,
        direction=direction,
        rows=rows,
        last=last,
        within=found,
        before=before,
    )


def no_newer(rows: str) -> str:
    """Return the SQL of a time than which no transfer with a lower number than the first of `rows` is newer."""
    return load("transfers", "parts/list_newest", rows=rows, span=str(list_counts.SPAN))


def no_older(rows: str) -> str:
    """Return the SQL of a time than which no transfer with a higher number than the first of `rows` is older."""
    return load("transfers", "parts/list_oldest", rows=rows, span=str(list_counts.SPAN))
