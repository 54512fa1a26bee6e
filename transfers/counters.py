"""
How many tokens lie in each wallet, without counting them.

Counting a wallet of a million tokens takes 36 ms; a list of wallets counts a hundred. A counter in the wallet's row
would make every transfer of a busy wallet wait for the one before, and a row of differences for each transfer costs
it 5 %. So an immediate transfer writes nothing here: it is its own difference, found by wallet and number.

A count is the sum of
* `TokenTally`: what was counted up to the number of `TallyMark`,
* the transfers above that number that completed at once,
* `TallyDelta`: what came or went in any other way, by issue or when an open transfer was completed.

`fold` moves the mark up to the number below which all is final (`wallets.event_sequence`) and takes the deltas in. It
may run at any time or never: a count is right in every snapshot, only slower the longer nothing was folded.
Reserved tokens are those of the pending transfers out of a wallet, which only its own controllers make.

`fold` also counts the transfers of each day that completed at once (`DayTally`); `transfers.reports` adds the others.
`Issue` says, apart from all this, how many tokens were ever issued: what the wallets hold must come to the same.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from trusts.queries import controlled_in_order
from wallets import event_sequence
from wallets.queries import OptimisticPage, TokenCount, WrittenPage, page_of

# The key of the advisory lock under which one process folds, apart from those of `wallets.event_sequence`.
_FOLDING: Final = 20261122

_IMMEDIATE: Final = "state = 'completed' AND closed_event = ''"
MARK: Final = "(SELECT coalesce(max(number), 0) FROM transfers_tallymark)"
# As pairs, so that only the index (wallet, number) can serve: see `trusts.queries.numbers_by_party`.
_SINCE: Final = f"({{column}}, number) > (wallet.id, {MARK}) AND ({{column}}, number) <= (wallet.id, {2**63 - 1})"
_OTHERWISE: Final = "coalesce((SELECT sum(tokens) FROM transfers_tallydelta WHERE wallet_id = wallet.id), 0)"
_AT_ONCE: Final = f"""
coalesce((SELECT sum(moved_count) FROM transfers_transfer
           WHERE {_SINCE.format(column="destination_id")} AND {_IMMEDIATE}), 0)
- coalesce((SELECT sum(moved_count) FROM transfers_transfer
             WHERE {_SINCE.format(column="source_id")} AND {_IMMEDIATE}), 0)
"""  # noqa: S608 - constants
_TAIL: Final = f"{_OTHERWISE} + {_AT_ONCE}"

_HELD: Final = f"coalesce(tally.tokens, 0) + {_TAIL}"
_RESERVED: Final = """
coalesce((SELECT sum(reserved_count) FROM transfers_transfer
           WHERE source_id = wallet.id AND state = 'pending'), 0)
"""
COUNTS: Final = f"""
SELECT wallet.id, {_HELD}, {_RESERVED}
  FROM unnest((SELECT %(wallets)s::uuid[])) AS wallet (id)
  LEFT JOIN transfers_tokentally AS tally ON tally.wallet_id = wallet.id
"""  # noqa: S608 - constants


def token_counts(wallet_ids: Iterable[UUID]) -> dict[UUID, TokenCount]:
    """Return how many tokens lie in each of the wallets, and how many of them are reserved."""
    with connection.cursor() as cursor:
        cursor.execute(COUNTS, {"wallets": list(wallet_ids)})
        return {row[0]: TokenCount(int(row[1]), int(row[2])) for row in cursor.fetchall()}


_PAGE: Final = """
WITH page AS (
    SELECT listed.*, wallet.written
      FROM ({listed}) AS listed JOIN wallets_wallet AS wallet ON wallet.id = listed.id
){counted}
SELECT concat(written, ',"tokens_in_wallet":', held, ',"tokens_available":', held - reserved,
              ',"tokens_pending":', reserved, '}}') AS json, counted.*
  FROM counted ORDER BY is_own, created_at, id
"""
# What the tallies lack is cheaper read at once than looked for wallet by wallet, if there is so little of it.
_LITTLE: Final = 600
_COUNTED_AT_ONCE: Final = f""", lacking AS MATERIALIZED (
    SELECT wallet_id, tokens, 0 AS reserved
      FROM (SELECT * FROM transfers_transfer
             WHERE number > {MARK} AND {_IMMEDIATE} ORDER BY number LIMIT {_LITTLE}) AS newest
     CROSS JOIN LATERAL (VALUES (destination_id, moved_count), (source_id, -moved_count)) AS side (wallet_id, tokens)
     UNION ALL SELECT wallet_id, tokens, 0 FROM transfers_tallydelta
     UNION ALL SELECT source_id, 0, reserved_count FROM transfers_transfer WHERE state = 'pending'
     LIMIT {_LITTLE}
), counted AS (
    SELECT page.*, coalesce(tally.tokens, 0) + coalesce(lacking.tokens, 0) AS held,
           coalesce(lacking.reserved, 0) AS reserved, (SELECT count(*) < {_LITTLE} FROM lacking) AS is_all
      FROM page
      LEFT JOIN transfers_tokentally AS tally ON tally.wallet_id = page.id
      LEFT JOIN (SELECT wallet_id, sum(tokens)::bigint AS tokens, sum(reserved)::bigint AS reserved
                   FROM lacking GROUP BY wallet_id) AS lacking ON lacking.wallet_id = page.id
)"""  # noqa: S608 - constants
_COUNTED_ONE_BY_ONE: Final = f""", counted AS MATERIALIZED (
    SELECT wallet.*, ({_HELD})::bigint AS held, ({_RESERVED})::bigint AS reserved
      FROM page AS wallet LEFT JOIN transfers_tokentally AS tally ON tally.wallet_id = wallet.id
)"""  # noqa: S608 - constants
# Whether there is more is the same for all wallets.
_SHORTCUT: Final = OptimisticPage()


@cache
def _page(*, at_once: bool, is_first: bool) -> str:
    rows = _PAGE.format(
        listed=controlled_in_order(is_first=is_first),
        counted=_COUNTED_AT_ONCE if at_once else _COUNTED_ONE_BY_ONE,
    )
    is_whole = "coalesce(bool_and(is_all), true)" if at_once else "true"
    return page_of(rows, "is_own", "created_at::text", "id::text", is_whole=is_whole)


def wallets_page(
    *,
    actor_id: UUID,
    limit: int,
    offset: int = 0,
    after: Sequence[Any] | None = None,
) -> WrittenPage:
    """
    Return a page of the wallets that the actor controls, with their token counts.

    Oldest first, the caller's own last, as the public service lists them (the Treetracker contract, row 11). `after`
    is the position of the last row of the page before: (is it the caller's own, created_at, id).
    """
    arguments: dict[str, Any] = {"actor": actor_id, "offset": offset}
    if after is not None:
        arguments |= {"own": after[0], "created_at": after[1], "id": after[2]}
    is_first = after is None
    return _SHORTCUT.read_page(
        _page(at_once=True, is_first=is_first),
        _page(at_once=False, is_first=is_first),
        limit=limit,
        arguments=arguments,
    )


_FOLD: Final = f"""
WITH moved AS (
    SELECT source_id, destination_id, moved_count, created_at FROM transfers_transfer
     WHERE number > {MARK} AND number <= %(settled)s AND {_IMMEDIATE}
), taken AS (
    DELETE FROM transfers_tallydelta RETURNING wallet_id, tokens
), change AS (
    SELECT wallet_id, sum(tokens) AS tokens
      FROM (SELECT destination_id, moved_count FROM moved
            UNION ALL SELECT source_id, -moved_count FROM moved
            UNION ALL SELECT wallet_id, tokens FROM taken) AS difference (wallet_id, tokens)
     GROUP BY wallet_id HAVING sum(tokens) <> 0
), folded AS (
    INSERT INTO transfers_tokentally AS tally (wallet_id, tokens)
    SELECT wallet_id, tokens FROM change
        ON CONFLICT (wallet_id) DO UPDATE SET tokens = tally.tokens + excluded.tokens
), days AS (
    INSERT INTO transfers_daytally AS tally (day, transfers, tokens)
    SELECT (created_at AT TIME ZONE 'UTC')::date, count(*), sum(moved_count) FROM moved GROUP BY 1
        ON CONFLICT (day) DO UPDATE SET transfers = tally.transfers + excluded.transfers,
                                        tokens = tally.tokens + excluded.tokens
)
INSERT INTO transfers_tallymark AS mark (id, number) VALUES (1, %(settled)s)
    ON CONFLICT (id) DO UPDATE SET number = greatest(mark.number, excluded.number)
"""  # noqa: S608 - constants


def fold() -> bool:
    """Take all that is final into the tallies. Returns False if another process is at it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_FOLDING])
        if not cursor.fetchone()[0]:
            return False
        # In statements of their own, so that the last one sees all that is below the number.
        cursor.execute(event_sequence.SETTLED)
        cursor.execute(_FOLD, {"settled": cursor.fetchone()[0]})
    return True


_RECOUNT: Final = f"""
INSERT INTO transfers_tokentally AS tally (wallet_id, tokens)
SELECT wallet.id, coalesce(held.count, 0) - ({_TAIL})
  FROM wallets_wallet AS wallet
  LEFT JOIN (SELECT wallet_id, count(*) FROM wallets_token GROUP BY wallet_id) AS held ON held.wallet_id = wallet.id
    ON CONFLICT (wallet_id) DO UPDATE SET tokens = excluded.tokens
"""  # noqa: S608 - constants


_REISSUE: Final = """
INSERT INTO transfers_issue (wallet_id, tokens, issued_at)
SELECT wallet_id, found.tokens - coalesce(known.tokens, 0), clock_timestamp()
  FROM (SELECT destination_id AS wallet_id, count(*) AS tokens
          FROM transfers_movement WHERE number = 0 GROUP BY destination_id) AS found
  LEFT JOIN (SELECT wallet_id, sum(tokens) AS tokens FROM transfers_issue GROUP BY wallet_id) AS known USING (wallet_id)
 WHERE found.tokens <> coalesce(known.tokens, 0)
"""


def recount() -> None:
    """Count all tokens and correct the tallies: for tokens that came into the database other than by the ledger."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_FOLDING])
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(_RECOUNT)
        cursor.execute(_REISSUE)


# For the audit: what the tallies say against what lies there.
MISCOUNTED: Final = f"""
SELECT format('wallet %%s holds %%s tokens, %%s of them reserved; the tally says %%s and %%s', wallet.id,
              coalesce(held.count, 0), coalesce(held.reserved, 0), wallet.tokens, wallet.reserved)
  FROM (SELECT wallet.id, coalesce(tally.tokens, 0) + {_TAIL} AS tokens,
               coalesce((SELECT sum(reserved_count) FROM transfers_transfer
                          WHERE source_id = wallet.id AND state = 'pending'), 0) AS reserved
          FROM wallets_wallet AS wallet LEFT JOIN transfers_tokentally AS tally ON tally.wallet_id = wallet.id
       ) AS wallet
  LEFT JOIN (SELECT wallet_id, count(*), count(transfer_pending_id) AS reserved FROM wallets_token GROUP BY wallet_id
            ) AS held ON held.wallet_id = wallet.id
 WHERE coalesce(held.count, 0) <> wallet.tokens OR coalesce(held.reserved, 0) <> wallet.reserved
"""  # noqa: S608 - constants
