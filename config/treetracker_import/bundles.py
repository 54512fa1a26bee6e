"""Which pending bundles of the source can reserve their tokens."""

from typing import Final
from uuid import UUID

from django.db import connection

from config.treetracker_import import decisions
from config.treetracker_import.staging import rows, run
from wallets.sql_files import load

# Unclaimed tokens first, because a claimed one is its owner's; then the oldest.
_FREE: Final = """
SELECT id, wallet_id, row_number() OVER (PARTITION BY wallet_id ORDER BY claim, created_at, id) AS place
  FROM import_token AS token
 WHERE wallet_id IN (SELECT source_id FROM import_range) AND NOT is_kept_here AND here_pending_id IS NULL
   AND NOT EXISTS (SELECT FROM import_reserved AS reserved WHERE reserved.token_id = token.id)
"""
_FREE_OF: Final = """
SELECT count(*) FROM import_token AS token
 WHERE wallet_id = %(wallet)s AND NOT is_kept_here AND here_pending_id IS NULL
   AND NOT EXISTS (SELECT FROM import_reserved AS reserved WHERE reserved.token_id = token.id)
"""


def reserve() -> None:
    """Reserve tokens for the pending bundles, the oldest bundle first; one that does not fit is closed as failed."""
    wallet, left, first = None, 0, 0
    for source_id, transfer_id, size, held in rows(load("config/treetracker_import", "find_pending_bundles")):
        if source_id != wallet:
            ((free,),) = rows(_FREE_OF, {"wallet": source_id})
            wallet, left, first = source_id, int(free), 0
        kind = "bundle_unreserved" if size <= left else "bundle_beyond"
        if kind == "bundle_beyond":
            detail, usual = f"promises {size} tokens of {source_id}, which has {left} free", "fail"
        else:
            detail, usual = f"promises {size} tokens of {source_id}, and reserves {held}", "reserve"
        action = usual
        if kind == "bundle_beyond" or held < size:
            action = _note(kind, transfer_id, detail, usual)
        if action == "reserve":
            _give(transfer_id, source_id, first + 1, first + size)
            left, first = left - size, first + size
    run("ANALYZE import_range")
    run(
        f"INSERT INTO import_reserved (token_id, transfer_id) SELECT free.id, range.transfer_id"  # noqa: S608
        f"  FROM ({_FREE}) AS free JOIN import_range AS range"
        f"    ON range.source_id = free.wallet_id AND free.place BETWEEN range.first AND range.last"
    )


def _note(kind: str, transfer_id: UUID, detail: str, usual: str) -> str:
    action = decisions.decided(kind, transfer_id, usual)
    run(
        "INSERT INTO import_finding (kind, object, id, detail, action)"
        " VALUES (%(kind)s, 'transfer', %(id)s, %(detail)s, %(action)s)",
        {"kind": kind, "id": transfer_id, "detail": detail, "action": action},
    )
    return action


def _give(transfer_id: UUID, source_id: UUID, first: int, last: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO import_range (transfer_id, source_id, first, last) VALUES (%s, %s, %s, %s)",
            [transfer_id, source_id, first, last],
        )
