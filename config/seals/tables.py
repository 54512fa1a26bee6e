"""
Which rows are sealed, and the SQL that reads them in the order of their leaves.

A table is added, or its fields are changed, with a new version of the table and a new format of seals: blocks that
exist keep the form in which they were sealed.

What is not sealed: names and all else that can be changed or pseudonymised (wallets, events, claim links with their
texts), what follows from sealed rows (tokens' places, tallies, days of wallets), and what is not final.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from config.seals.encoding import Field, Kind, encoder
from transfers.seal_models import POSITIONS


class Table(NamedTuple):
    """The rows of one kind: the name and version that are hashed, the fields, and the SQL for a range of keys."""

    name: str
    version: int
    fields: tuple[Field, ...]
    encode: Callable[[Sequence[Any]], bytes]


def _table(name: str, version: int, **kinds: Kind) -> Table:
    fields = tuple(Field(column, kind) for column, kind in kinds.items())
    return Table(name, version, fields, encoder(name, version, fields))


_ASKED: Final = {
    "id": Kind.UUID,
    "number": Kind.INTEGER,
    "originator_id": Kind.UUID,
    "source_id": Kind.UUID,
    "destination_id": Kind.UUID,
    "parameters": Kind.JSON,
    "token_count": Kind.INTEGER,
    "created_at": Kind.TIME,
    "expires_at": Kind.TIME,
    "has_terms": Kind.BOOLEAN,
}
# A transfer that was open when its number was sealed, as it was asked for.
REQUEST: Final = _table("request", 1, **_ASKED)
# A transfer in its final state.
TRANSFER: Final = _table(
    "transfer",
    1,
    **_ASKED,
    state=Kind.TEXT,
    reserved_count=Kind.INTEGER,
    moved_count=Kind.INTEGER,
    closed_at=Kind.TIME,
    closed_event=Kind.TEXT,
    closed_from=Kind.TEXT,
    closed_by_id=Kind.UUID,
)
# The approval of a transfer in its final state: a row apart, since the other side must not see its ids of credentials.
APPROVAL: Final = _table(
    "approval",
    1,
    number=Kind.INTEGER,
    approval_of=Kind.TEXT,
    approval_asked_by_id=Kind.UUID,
    approval_asked_with=Kind.UUID,
    approved_by_id=Kind.UUID,
    approved_with=Kind.UUID,
    approved_at=Kind.TIME,
)
_HAS_APPROVAL: Final = (
    "num_nonnulls(row.approval_of, row.approval_asked_by_id, row.approval_asked_with, row.approved_by_id,"
    " row.approved_with, row.approved_at) > 0"
)
TERMS: Final = _table(
    "terms",
    1,
    transfer_number=Kind.INTEGER,
    originator_id=Kind.UUID,
    source_id=Kind.UUID,
    destination_id=Kind.UUID,
    reference=Kind.TEXT,
    unique_reference=Kind.BOOLEAN,
    metadata=Kind.JSON,
)
# `capture_id` is that of the token, in its first movement.
MOVEMENT: Final = _table(
    "movement",
    1,
    id=Kind.INTEGER,
    token_id=Kind.UUID,
    number=Kind.INTEGER,
    transfer_number=Kind.INTEGER,
    source_id=Kind.UUID,
    destination_id=Kind.UUID,
    processed_at=Kind.TIME,
    capture_id=Kind.UUID,
)
ISSUE: Final = _table("issue", 1, id=Kind.INTEGER, wallet_id=Kind.UUID, tokens=Kind.INTEGER, issued_at=Kind.TIME)
TRUST_CHANGE: Final = _table(
    "trust_change",
    1,
    id=Kind.INTEGER,
    trust_id=Kind.UUID,
    actor_id=Kind.UUID,
    event=Kind.TEXT,
    state=Kind.TEXT,
    created_at=Kind.TIME,
)
STATEMENT_LINE: Final = _table(
    "statement_line",
    1,
    id=Kind.INTEGER,
    wallet_id=Kind.UUID,
    number=Kind.INTEGER,
    task_id=Kind.UUID,
    type=Kind.TEXT,
    amount=Kind.NUMBER,
    running_balance=Kind.NUMBER,
    other_wallet_id=Kind.UUID,
    created_at=Kind.TIME,
)
# The first leaf of each block: up to which key each sequence of rows is sealed.
BLOCK: Final = _table("block", 1, **dict.fromkeys(POSITIONS, Kind.INTEGER))
TABLES: Final = {
    table.name: table
    for table in (BLOCK, REQUEST, TRANSFER, APPROVAL, TERMS, MOVEMENT, ISSUE, TRUST_CHANGE, STATEMENT_LINE)
}

_CAPTURE: Final = (
    "CASE WHEN row.number = 0 THEN (SELECT capture_id FROM wallets_token AS token WHERE token.id = row.token_id) END"
)


def columns(table: Table, row: str = "row") -> str:
    """Return the SQL of the fields of a table, of the row with this alias."""

    def column(field: Field) -> str:
        if field.name == "capture_id":
            return _CAPTURE.replace("row.", f"{row}.")
        return f"{row}.{field.name}::text" if field.kind is Kind.JSON else f"{row}.{field.name}"

    return ", ".join(column(field) for field in table.fields)


class Keyed(NamedTuple):
    """
    Rows with ascending keys: up to the position of a seal (its column `position`), all are sealed.

    `source` is the table, `key` its column, `sequence` the sequence of the database that gives the keys.
    """

    position: str
    source: str
    key: str
    sequence: str


SEQUENCES: Final = (
    Keyed("transfers", "transfers_transfer", "number", "wallets_event_number"),
    Keyed("movements", "transfers_movement", "id", "transfers_arrival"),
    Keyed("issues", "transfers_issue", "id", "transfers_issue_id_seq"),
    Keyed("trust_changes", "trusts_trustchange", "id", "trusts_trustchange_id_seq"),
    Keyed("statement_lines", "lockers_statementline", "id", "lockers_statementline_id_seq"),
)


class Part(NamedTuple):
    """
    The leaves of one kind in a block, in order: SQL with the parameters `height`, `after` and `upto`.

    Unless `is_of_range`, it has rows although no key is between the last two.
    """

    table: Table
    position: str
    statement: str
    is_of_range: bool = True


def _of_sequence(table: Table, position: str, source: str, key: str) -> Part:
    return Part(
        table,
        position,
        f"SELECT {columns(table)} FROM {source} AS row"  # noqa: S608 - constants
        f" WHERE row.{key} > %(after)s AND row.{key} <= %(upto)s ORDER BY row.{key}",
    )


def movements_with(detached: Iterable[str]) -> str:
    """Return the statement of the movements of a block with those of detached partitions, tables of this database."""
    names = ", ".join(field.name for field in MOVEMENT.fields if field.name != "capture_id")
    tables = " UNION ALL ".join(f"SELECT {names} FROM {table}" for table in ("transfers_movement", *detached))  # noqa: S608
    return _of_sequence(MOVEMENT, "movements", f"({tables})", "id").statement


def _decided_at_once(table: Table, condition: str) -> Part:
    return Part(
        table,
        "transfers",
        f"SELECT {columns(table)} FROM transfers_transfer AS row"  # noqa: S608 - constants
        " WHERE row.number > %(after)s AND row.number <= %(upto)s"
        "   AND NOT EXISTS (SELECT FROM transfers_latetransfer AS late"
        "                    WHERE late.number = row.number AND late.asked_id = %(height)s)"
        f"  AND {condition} ORDER BY row.number",
    )


def _decided_later(table: Table, condition: str) -> Part:
    return Part(
        table,
        "transfers",
        f"SELECT {columns(table)} FROM transfers_latetransfer AS late"  # noqa: S608 - constants
        "  JOIN transfers_transfer AS row ON row.number = late.number"
        f" WHERE late.decided_id = %(height)s AND {condition} ORDER BY row.number",
        is_of_range=False,
    )


# The order of the leaves of a block.
PARTS: Final = (
    Part(
        REQUEST,
        "transfers",
        f"SELECT {columns(REQUEST)} FROM transfers_latetransfer AS late"  # noqa: S608 - constants
        "  JOIN transfers_transfer AS row ON row.number = late.number"
        " WHERE late.asked_id = %(height)s AND late.number > %(after)s AND late.number <= %(upto)s"
        " ORDER BY row.number",
    ),
    _decided_at_once(TRANSFER, "true"),
    _decided_at_once(APPROVAL, _HAS_APPROVAL),
    # Those of earlier blocks that became final since.
    _decided_later(TRANSFER, "true"),
    _decided_later(APPROVAL, _HAS_APPROVAL),
    _of_sequence(TERMS, "transfers", "transfers_transferterms", "transfer_number"),
    _of_sequence(MOVEMENT, "movements", "transfers_movement", "id"),
    _of_sequence(ISSUE, "issues", "transfers_issue", "id"),
    _of_sequence(TRUST_CHANGE, "trust_changes", "trusts_trustchange", "id"),
    _of_sequence(STATEMENT_LINE, "statement_lines", "lockers_statementline", "id"),
)
