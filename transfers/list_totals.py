"""SQL of the totals of lists of transfers: the counts that `transfers.list_counts` stores, and the rows since then."""

from typing import Final

from transfers.list_counts import HAS_TRANSFERS
from transfers.list_streams import LAST, Range, Stream, compared, streams_of
from transfers.states import TransferState
from wallets.sql_files import load

_UNDONE: Final = tuple(state for state in TransferState.values if state != TransferState.COMPLETED)


def _numbers(low: str, *, state: str = "", high: str = LAST, dates: str = "") -> str:
    """Return the SQL of the numbers of transfers of `party` above `low` and below `high`, each once."""

    def where(stream: Stream) -> str:
        if stream.state:
            # Without an order, the planner would combine an index of all wallets with that of these columns.
            return f"{stream.column} = party.id AND state = '{stream.state}' AND number > {low} AND number < {high}"
        return f"{compared(stream, 'party.id', '>', low)} AND {compared(stream, 'party.id', '<', high)}"

    return " UNION ".join(
        "SELECT found.number FROM party CROSS JOIN LATERAL (SELECT number FROM transfers_transfer"  # noqa: S608
        f" WHERE {where(stream)}{stream.condition} OFFSET 0) AS found"
        for stream in streams_of(state, dates)
    )


def _count(numbers: str) -> str:
    return f"(SELECT count(*) FROM ({numbers}) AS counted)"  # noqa: S608 - constants


def total_of(within: Range, *, state: str, is_of_actor: bool) -> tuple[str, str]:
    """Return common table expressions, and the SQL of the number of transfers of the list."""
    if state not in {"", TransferState.COMPLETED}:
        return "", _count(_numbers(within.low, state=state, high=within.high, dates=within.dates))
    without = ""
    if state:
        # The completed ones are the others.
        each_undone = (_numbers(within.low, state=each, high=within.high, dates=within.dates) for each in _UNDONE)
        without = "".join(f" - {_count(numbers)}" for numbers in each_undone)
    if within.dates:
        # All transfers between the inner numbers have the wanted times, so an index without times suffices.
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
