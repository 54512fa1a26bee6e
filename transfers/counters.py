"""
Token counts of wallets, without counting tokens.

Counting a wallet of a million tokens takes 36 ms, and a list of wallets counts a hundred. A counter in the wallet's row
would serialise the transfers of a busy wallet, and a row of differences for each transfer costs it 5 %. So a transfer
that completes at once writes nothing here: it is its own difference, found by wallet and number.

A count is the sum of
* `TokenTally`: what was counted up to the checkpoint, the number in `TallyMark`,
* the transfers above that number that completed at once,
* `TallyDelta`: what changed in any other way, by issue or when an open transfer was completed.

`roll_up` moves the checkpoint up to the number below which all is final (`wallets.event_sequence`) and adds the
deltas to the tallies. It may run at any time or never: a count is right in every snapshot, only slower the older the
checkpoint is. Reserved tokens are those of the pending transfers out of a wallet, which only its own controllers
make.

`roll_up` also counts the transfers of each day that completed at once (`DayTally`); `transfers.reports` adds the
others. It keeps what moved in each wallet on each day (`WalletDay`, for `transfers.balances`). `Issue` records,
independently, how many tokens were ever issued; the audit compares it with what the wallets hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from trusts.controlled_wallets import (
    WalletSelection,
    controlled_in_order,
    count_controlled,
    wallet_arguments,
)
from wallets import event_sequence, restrictions
from wallets.queries import JsonPage, OptimisticPage, TokenCount, page_of
from wallets.sql_files import load

# The key of the advisory lock of the process that rolls up, apart from those of `wallets.event_sequence`.
_LOCK: Final = 20261122
_SINCE_CHECKPOINT: Final = load("transfers", "parts/since_checkpoint")


def token_counts(wallet_ids: Iterable[UUID]) -> dict[UUID, TokenCount]:
    """Return for each of these ids the number of the wallet's tokens, and of those that are reserved."""
    statement = load("transfers", "count_tokens", since_checkpoint=_SINCE_CHECKPOINT)
    with connection.cursor() as cursor:
        cursor.execute(statement, {"wallets": list(wallet_ids)})
        return {row[0]: TokenCount(int(row[1]), int(row[2])) for row in cursor.fetchall()}


# How many rows since the checkpoint are read at once.
_LITTLE: Final = 600
# Whether there are more is the same for all wallets.
_OPTIMISTIC: Final = OptimisticPage()


_MORE: Final = load("transfers", "parts/wallet_more")


def _rows(*, listed: str, at_once: bool, order: str, more: str = "") -> str:
    """Return the SQL of wallets as JSON. `listed` is SQL of their `id` and `is_own`, `more` that of further fields."""
    if at_once:
        counted = load("transfers", "parts/counted_together", limit=str(_LITTLE))
    else:
        counted = load("transfers", "parts/counted_one_by_one", since_checkpoint=_SINCE_CHECKPOINT)
    is_all = ", wallet.is_all" if at_once else ""
    json = load("transfers", "parts/wallet_json", more=more)
    return load("transfers", "parts/wallet_rows", listed=listed, counted=counted, json=json, is_all=is_all, order=order)


@cache
def _page(
    *,
    at_once: bool,
    is_first: bool,
    selection: WalletSelection,
    has_total: bool,
    has_more_fields: bool,
    is_restricted: bool,
) -> str:
    counted = count_controlled(selection)
    # What is kept are all wallets, also those that a restricted key does not reach.
    if selection.is_all and not is_restricted:
        counted = load("transfers", "parts/kept_controlled", counted=counted)
    total = f"({counted})"
    rows = _rows(
        listed=controlled_in_order(is_first=is_first, selection=selection),
        at_once=at_once,
        order=selection.sorted_by("wallet."),
        more=_MORE if has_more_fields else "",
    )
    is_whole = "coalesce(bool_and(is_all), true)" if at_once else "true"
    position = [_POSITION.get(column, column) for column in selection.position]
    return page_of(rows, *position, is_whole=is_whole, total=total if has_total else "NULL::bigint")


_POSITION: Final = {"created_at": "created_at::text", "id": "id::text"}
_ONE: Final = _rows(
    listed="SELECT %(id)s::uuid AS id, true AS is_own",
    at_once=False,
    order="wallet.id",
    more=f"""{_MORE} ',"wallet":', to_json(wallet.name),""",
)
_ALL_OLDEST_FIRST: Final = WalletSelection()


def wallet_json(*, wallet_id: UUID) -> str:
    """Return the JSON of one wallet that exists, without authorisation."""
    with connection.cursor() as cursor:
        cursor.execute(_ONE, {"id": wallet_id})
        return str(cursor.fetchone()[0])


def wallets_page(
    *,
    actor_id: UUID,
    limit: int,
    offset: int = 0,
    after: Sequence[Any] | None = None,
    selection: WalletSelection = _ALL_OLDEST_FIRST,
    values: Mapping[str, Any] = MappingProxyType({}),
    has_total: bool = False,
    has_more_fields: bool = False,
) -> JsonPage:
    """
    Return a page of the wallets that the actor controls, with their token counts.

    Oldest first, the caller's own last, as the public service lists them (the Treetracker contract, row 11), unless the
    selection says otherwise. `values` are those of `name`, `start` and `end` that `wallet_arguments` takes. `after` is
    the position of the last row of the page before. With `has_total` the page has the number of all wallets of the
    list.
    """
    arguments: dict[str, Any] = {"actor": actor_id, "offset": offset}
    arguments |= wallet_arguments(selection, after=after, **values)
    quick, full = (
        _page(
            at_once=at_once,
            is_first=after is None,
            selection=selection,
            has_total=has_total,
            has_more_fields=has_more_fields,
            is_restricted=restrictions.current() is not None,
        )
        for at_once in (True, False)
    )
    return _OPTIMISTIC.read_page(quick, full, limit=limit, arguments=arguments)


_WALLET_DAYS: Final = load("transfers", "parts/wallet_days")
_ROLL_UP: Final = load("transfers", "roll_up", wallet_days=_WALLET_DAYS)
_REBUILD_DAYS: Final = load(
    "transfers", "rebuild_days", all_lines=load("transfers", "parts/lines_of_all"), wallet_days=_WALLET_DAYS
)


def roll_up() -> bool:
    """Add all that is final to the tallies and days. Returns False if another process is doing so."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return False
        # Much may have moved since the last run: a limit that ends one would end all that follow.
        cursor.execute("SET LOCAL statement_timeout = 0")
        # Separate statements, so that the last one sees all that is below the number.
        cursor.execute(event_sequence.SETTLED)
        cursor.execute(_ROLL_UP, {"settled": cursor.fetchone()[0]})
    return True


def recount() -> None:
    """Count all tokens and correct the tallies and days, after tokens were written other than by the ledger."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(load("transfers", "recount", since_checkpoint=_SINCE_CHECKPOINT))
        cursor.execute(load("transfers", "recount_issues"))
        # What is to be added to the days later is in them now.
        cursor.execute("LOCK TABLE transfers_tallydelta IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("UPDATE transfers_tallydelta SET at = NULL WHERE at IS NOT NULL")
        cursor.execute("DELETE FROM transfers_walletday")
        cursor.execute(_REBUILD_DAYS)
