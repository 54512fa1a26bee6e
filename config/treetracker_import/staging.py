"""
The temporary tables of an import, and the copy of the source in them.

They belong to the session and end with the transaction, so nothing else sees them, and PostgreSQL keeps on disk what
does not fit into memory.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import DataError, connection, transaction

from config.treetracker_import.editions import COPIED, Table
from config.treetracker_import.source import Source

# Columns beside those of the source.
_MORE: Final = {
    "wallet": """, name_key text, new_name text, new_key text, tokens bigint DEFAULT 0, is_new boolean DEFAULT true,
        is_placeholder boolean DEFAULT false""",
    # Where a token is in Coppice before this import, how often it moved, and which transfer reserves it.
    "token": """, is_new boolean DEFAULT true, here_wallet_id uuid, here_moves integer,
        here_arrival bigint, here_pending_id uuid,
        came_from uuid, is_kept_here boolean DEFAULT false, is_decided boolean DEFAULT false""",
    # What becomes of a transfer: new; complete, cancel or fail one that is open in Coppice; kept as it is in Coppice;
    # left_out. `size`: how many
    # tokens it asks for, NULL if it does not say so.
    "transfer": """, fate text DEFAULT 'new', size bigint GENERATED ALWAYS AS (
        CASE WHEN jsonb_typeof(parameters -> 'tokens') = 'array' THEN jsonb_array_length(parameters -> 'tokens')
             WHEN parameters #>> '{bundle,bundleSize}' ~ '^[0-9]{1,9}$'
             THEN (parameters #>> '{bundle,bundleSize}')::bigint END) STORED""",
    # new, known, change, left_out
    "trust": ", fate text DEFAULT 'new', source_state text",
    "transaction": "",
    "event": ", here_type text, number bigint",
    "link": "",
}
_TABLES: Final = (
    # What breaks a rule, and what will be done about it.
    """CREATE TEMPORARY TABLE import_finding (
        place bigint GENERATED ALWAYS AS IDENTITY, kind text NOT NULL, object text NOT NULL, id uuid NOT NULL,
        detail text NOT NULL, action text NOT NULL, other uuid, is_repeated boolean NOT NULL DEFAULT false)
        ON COMMIT DROP""",
    "CREATE INDEX ON import_finding (kind, place)",
    """CREATE TEMPORARY TABLE import_decision (
        kind text NOT NULL, id uuid, action text NOT NULL, name text) ON COMMIT DROP""",
    """CREATE TEMPORARY TABLE import_key (
        id uuid, digest bytea, prefix text, name text, is_refused boolean, batch boolean, place bigint,
        fate text DEFAULT 'new') ON COMMIT DROP""",
    # The powers in force according to the source.
    """CREATE TEMPORARY TABLE import_power (holder_id uuid, subject_id uuid, trust_id uuid, created_at timestamptz)
       ON COMMIT DROP""",
    # The tokens that transfers list, as text: a list may hold anything.
    "CREATE TEMPORARY TABLE import_listed (transfer_id uuid, token text, token_id uuid) ON COMMIT DROP",
    # How many different tokens a transfer lists, and whether a completed one moved others.
    "CREATE TEMPORARY TABLE import_list (transfer_id uuid, tokens bigint, is_to_rewrite boolean) ON COMMIT DROP",
    # By what event a cancelled transfer ended, if the source has that event.
    "CREATE TEMPORARY TABLE import_ending (transfer_id uuid, event text) ON COMMIT DROP",
    # Steps of histories, in the order (at, begun, transaction_id, rank): 0 the issue, 1 a correction before a
    # transaction, 2 a transaction, 3 a correction at the end.
    """CREATE TEMPORARY TABLE import_step (
        token_id uuid, at timestamptz, begun timestamptz, transaction_id uuid, rank integer, group_id uuid,
        transfer_id uuid, source_id uuid, destination_id uuid) ON COMMIT DROP""",
    """CREATE TEMPORARY TABLE import_chain (
        token_id uuid, first_at timestamptz, first_source uuid, last_at timestamptz, last_destination uuid,
        is_broken boolean) ON COMMIT DROP""",
    """CREATE TEMPORARY TABLE import_movement (
        place bigint, token_id uuid, number integer, transfer_number bigint, source_id uuid, destination_id uuid,
        at timestamptz, is_last boolean) ON COMMIT DROP""",
    # The transfers to write, those that stand for corrections included.
    """CREATE TEMPORARY TABLE import_group (
        id uuid, originator_id uuid, source_id uuid, destination_id uuid, parameters jsonb, state text,
        token_count bigint, reserved_count bigint, moved_count bigint, created_at timestamptz, closed_at timestamptz,
        closed_event text, closed_from text, is_made boolean, is_known boolean) ON COMMIT DROP""",
    # The numbers of the transfers in `import_group`.
    "CREATE TEMPORARY TABLE import_number (id uuid, number bigint, is_known boolean) ON COMMIT DROP",
    "CREATE TEMPORARY TABLE import_reserved (token_id uuid, transfer_id uuid) ON COMMIT DROP",
    # Which of the free tokens of a wallet a bundle gets, counted from the oldest.
    "CREATE TEMPORARY TABLE import_range (transfer_id uuid, source_id uuid, first bigint, last bigint) ON COMMIT DROP",
    # Pending transfers of Coppice, imported earlier, of whose tokens the source moved some.
    "CREATE TEMPORARY TABLE import_broken (id uuid, source_id uuid, missing bigint, is_bundle boolean) ON COMMIT DROP",
)
# Staged tables that later statements look into by these columns.
_INDEXES: Final = (
    "CREATE UNIQUE INDEX ON import_wallet (id)",
    "CREATE UNIQUE INDEX ON import_token (id)",
    "CREATE INDEX ON import_token (wallet_id)",
    "CREATE UNIQUE INDEX ON import_transfer (id)",
    "CREATE INDEX ON import_trust (id)",
)


def run(statement: str, parameters: dict[str, Any] | None = None) -> int:
    """Run a statement in the session of the import and return how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, {} if parameters is None else parameters)
        return int(cursor.rowcount)


def rows(statement: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Run a query in the session of the import and return all its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, {} if parameters is None else parameters)
        return list(cursor.fetchall())


def buffer() -> None:
    """
    Give the temporary tables of this transaction 256 MB of buffers.

    PostgreSQL refuses this in a session that has used temporary tables, also in a transaction that was rolled back. The
    session then keeps the buffers that it has.
    """
    with suppress(DataError), transaction.atomic():
        run("SET LOCAL temp_buffers = '256MB'")


def create() -> None:
    """Create the temporary tables, empty. The caller has opened the transaction with which they end."""
    for table in COPIED:
        columns = ", ".join(f"{column.name} {column.type}" for column in table.columns)
        run(f"CREATE TEMPORARY TABLE import_{table.staged} ({columns}{_MORE[table.staged]}) ON COMMIT DROP")
    for statement in _TABLES:
        run(statement)


def index() -> None:
    """Index the filled tables and tell the planner what they hold."""
    for statement in _INDEXES:
        run(statement)
    run(f"ANALYZE {', '.join(f'import_{table.staged}' for table in COPIED)}")


def drop() -> None:
    """Drop the temporary tables before the transaction ends, for a caller that has opened it around the import."""
    names = rows("SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relname LIKE 'import\\_%%'"
                 " AND relkind = 'r'")  # fmt: skip
    run(f"DROP TABLE {', '.join(name for (name,) in names)}")


def fill(
    source: Source,
    *,
    since: datetime | None,
    open_ids: list[UUID],
    progress: Callable[[str, int], Callable[[int], None]],
) -> dict[str, int]:
    """
    Copy the source into the temporary tables, and return the number of rows by table.

    `progress(table, total)` returns what to call with each number of rows that was copied.
    """
    counts = {}
    for table in COPIED:
        counts[table.name] = 0
        if not source.has(table):
            continue
        condition = source.condition(table, since=since, open_ids=open_ids)
        advance = progress(table.name, source.count(table, condition))
        counts[table.name] = _copy(table, source.copy(table, condition), advance)
    return counts


def _copy(table: Table, blocks: Iterable[bytes], advance: Callable[[int], None]) -> int:
    columns = ", ".join(column.name for column in table.columns)
    copied = 0
    with connection.cursor() as cursor, cursor.copy(f"COPY import_{table.staged} ({columns}) FROM STDIN") as copy:
        for block in blocks:
            copy.write(block)
            # In this format a line break in a value is written `\n`.
            lines = block.count(b"\n")
            copied += lines
            advance(lines)
    return copied
