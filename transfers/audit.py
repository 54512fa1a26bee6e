"""
Checks of the ledger for `config.ops.audits`: each finds rows that break a rule.

They repeat what triggers enforce, where that is cheap, because an audit must also find changes that bypassed the
triggers. What the models state is checked by `wallets.audit`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from django.db import connection, transaction

from transfers.states import OPEN, TransferState
from wallets.audit import Finding, first_rows
from wallets.sql_files import load

# The query of each check is a file of `transfers/sql/audit`, and returns one text per finding.
CHECKS: Final = {
    "every token is in a wallet that exists": "tokens_in_wallets",
    "a token is where its last movement put it": "last_movements",
    "the history of a token has no gap": "gaps_in_histories",
    "each movement starts where and after the one before ended": "order_of_movements",
    "each movement belongs to a token and to a completed transfer between the same wallets": "movements_of_transfers",
    "a completed transfer moved what was asked, any other nothing": "moved_counts",
    "a completed transfer of listed tokens moved these": "listed_and_moved",
    "a pending transfer of listed tokens reserves these": "listed_and_reserved",
    "a pending transfer reserves what was asked, any other nothing": "reserved_counts",
    "a reserved token is in the source of the transfer or claim link that reserves it": "places_of_reserved_tokens",
    "an active claim link reserves its tokens, any other nothing": "reserved_by_links",
    "a claim link that was redeemed has its transfer, and no other": "claims",
    "a transfer is between two wallets that exist, and is closed when it was decided": "parties_and_closing",
    "a transfer that says so has terms, between its wallets, and no other": "terms_of_transfers",
    "an open transfer is closed soon after it expired": "overdue",
    "a claim link is closed soon after it expired": "overdue_links",
    "a transfer that needs an approval moves nothing before another credential gave it": "approvals",
    "the tallies agree with the tokens of each wallet": "counters",
    "the days of wallets agree with the transfers and issues": "wallet_days",
    "the counts of lists agree with the transfers and trusts": "list_counts",
    "as many tokens were issued as there are": "issued_counts",
    "detached movements are sealed, and older than all others": "detached_partitions",
}
# The sweep runs each few seconds; it was not running if transfers are open that expired longer ago than this.
OVERDUE_MINUTES: Final = 15
# What an audit of new rows leaves to the audit of all: these compare sums over all history, or all tokens.
_OF_ALL: Final = frozenset(
    {
        "the days of wallets agree with the transfers and issues",
        "the counts of lists agree with the transfers and trusts",
        "as many tokens were issued as there are",
        "the history of a token has no gap",
    }
)
# What it looks up by an index for each row, in tables with all history.
_LOOKS_UP: Final = frozenset(
    {
        "every token is in a wallet that exists",
        "a token is where its last movement put it",
        "each movement starts where and after the one before ended",
        "each movement belongs to a token and to a completed transfer between the same wallets",
        "a completed transfer moved what was asked, any other nothing",
        "a completed transfer of listed tokens moved these",
    }
)
# And what it checks instead of two rules about whole histories, for the movements that are new.
_CONTINUED: Final = {"each movement starts where and after the one before ended": "continued_histories"}
_PARTS: Final = {
    "all_lines": load("transfers", "parts/lines_of_all"),
    "wallet_days": load("transfers", "parts/wallet_days"),
    # See `transfers.partitions`: 0 if no movement is detached.
    "detached_below": "(SELECT coalesce(max(below), 0) FROM transfers_detachedpartition)",
    "detached_until": "(SELECT max(newest_at) FROM transfers_detachedpartition)",
    "detached_transfers": "(SELECT coalesce(max(last_transfer), 0) FROM transfers_detachedpartition)",
}
# Which rows the checks read: all.
_ALL: Final = {
    "movements": "transfers_movement",
    "transfers": "transfers_transfer",
    "numbered": "transfers_transfer",
    "terms": "transfers_transferterms",
    "tokens": "wallets_token",
    "links": "transfers_actiontoken",
    "wallets": "wallets_wallet",
    "holdings": "wallets_token",
}


def _between(table: str, key: str, spans: str) -> str:
    # OFFSET keeps these rows the first that are read, whatever is joined to them.
    return f"""(
        SELECT row.* FROM unnest(%({spans}_after)s::bigint[], %({spans}_upto)s::bigint[]) AS span (after, upto)
          JOIN {table} AS row ON row.{key} > span.after AND row.{key} <= span.upto OFFSET 0)"""  # noqa: S608


_MOVEMENTS: Final = _between("transfers_movement", "id", "movements")
_NUMBERED: Final = _between("transfers_transfer", "number", "transfers")
# Open transfers are new, or were when their numbers were sealed.
_TRANSFERS: Final = load("transfers", "parts/new_transfers", numbered=_NUMBERED)
_WALLETS: Final = load("transfers", "parts/new_wallets", transfers=_TRANSFERS)
# Which rows the checks read: those of some spans of numbers, and what belongs to them.
_NEW: Final = {
    "movements": _MOVEMENTS,
    "transfers": _TRANSFERS,
    "numbered": _NUMBERED,
    "terms": _between("transfers_transferterms", "transfer_number", "transfers"),
    "tokens": load("transfers", "parts/new_tokens", movements=_MOVEMENTS),
    "links": load("transfers", "parts/new_links", numbered=_NUMBERED),
    "wallets": _WALLETS,
    "holdings": load("transfers", "parts/new_holdings", wallets=_WALLETS),
}


class Spans(NamedTuple):
    """
    What an audit of new rows reads: transfers by number and movements by id, each from above one up to another.

    The last of each are the new rows, and have no end.
    """

    transfers: Sequence[tuple[int, int]]
    movements: Sequence[tuple[int, int]]


def query(check: str, *, is_of_all: bool = True) -> str:
    """Return the SQL of a check, of all rows or of those of `Spans`."""
    name, rows = CHECKS[check], _ALL
    if not is_of_all:
        name, rows = _CONTINUED.get(check, name), _NEW
    return load("transfers", f"audit/{name}", **_PARTS, **rows)


def audit_findings(spans: Spans | None = None) -> list[Finding]:
    """
    Return the rows of the ledger that break a rule, an empty list if there are none.

    With `spans` it reads these rows and the tokens, wallets and open transfers that they touch: what is sealed is as it
    was when it was new. Otherwise it reads all.

    The caller has opened a REPEATABLE READ transaction, or knows that nothing is written meanwhile; otherwise a
    transfer that commits between two checks looks like a fault.
    """
    parameters: dict[str, Any] = {
        "open": [state.value for state in OPEN],
        "known": TransferState.values,
        "overdue_minutes": OVERDUE_MINUTES,
    }
    if spans is not None:
        return _findings_of_new({**parameters, **_bounds(spans)})
    findings = []
    with transaction.atomic(), connection.cursor() as cursor:
        # All rows are read anyway, and a nested loop over two tables would never end.
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute("SET LOCAL enable_seqscan = on")
        for check in CHECKS:
            findings += [Finding(check, detail) for detail in first_rows(query(check), parameters)]
        cursor.execute("SET LOCAL enable_nestloop TO DEFAULT")
        cursor.execute("SET LOCAL enable_seqscan TO DEFAULT")
    return findings


def _findings_of_new(parameters: Mapping[str, Any]) -> list[Finding]:
    findings = []
    with transaction.atomic(), connection.cursor() as cursor:
        for check in CHECKS:
            if check in _OF_ALL:
                continue
            # A hash or merge join of a few rows with all movements would read them all.
            joins = "off" if check in _LOOKS_UP else "on"
            cursor.execute(f"SET LOCAL enable_hashjoin = {joins}; SET LOCAL enable_mergejoin = {joins}")
            findings += [
                Finding(check, detail) for detail in first_rows(query(check, is_of_all=False), dict(parameters))
            ]
        cursor.execute("SET LOCAL enable_hashjoin TO DEFAULT; SET LOCAL enable_mergejoin TO DEFAULT")
    return findings


def _bounds(spans: Spans) -> Mapping[str, Any]:
    return {
        "transfers_after": [after for after, _ in spans.transfers],
        "transfers_upto": [upto for _, upto in spans.transfers],
        "movements_after": [after for after, _ in spans.movements],
        "movements_upto": [upto for _, upto in spans.movements],
        "newest_movement": spans.movements[-1][0],
    }
