"""The rows and leaves of a block, read as they are in the tables now."""

import hmac
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from django.db import DataError, connection, transaction

from config.seals import merkle
from config.seals.chain import Header
from config.seals.tables import BLOCK, MOVEMENT, PARTS, Part, Table, movements_with
from transfers import partitions
from transfers.seal_models import POSITIONS, Seal

SALT_BYTES: Final = 16
# How many rows are held at once: the row of a transfer of 10,000 listed tokens has 400 kB.
_ROWS_AT_ONCE: Final = 128
START: Final = dict.fromkeys(POSITIONS, 0)


class Leaf(NamedTuple):
    """A row of a block: its table and values, and the bytes that are hashed but for the salt."""

    table: Table
    values: tuple[Any, ...]
    row: bytes


def positions(seal: Seal | None) -> dict[str, int]:
    """Return up to where the rows are sealed with this seal, the newest; None: no row is."""
    return START if seal is None else {name: getattr(seal, name) for name in POSITIONS}


def header(seal: Seal) -> Header:
    """Return the header of a seal."""
    return Header(seal.format, seal.height, bytes(seal.previous), bytes(seal.root), seal.leaves, seal.sealed_at)


def rows(*, height: int, after: Mapping[str, int], upto: Mapping[str, int]) -> Iterator[Leaf]:
    """
    Yield the rows of a block in the order of its leaves, first that of the block itself. The caller has opened a
    transaction.

    Movements of detached partitions are read too, if their tables are in this database: see `is_elsewhere`.
    """
    block = tuple(upto[name] for name in POSITIONS)
    yield Leaf(BLOCK, block, BLOCK.encode(block))
    for part in PARTS:
        bounds = {"height": height, "after": after[part.position], "upto": upto[part.position]}
        if bounds["after"] == bounds["upto"] and part.is_of_range:
            continue
        with connection.chunked_cursor() as cursor:
            cursor.execute(_statement(part, bounds["after"], bounds["upto"]), bounds)
            while found := cursor.fetchmany(_ROWS_AT_ONCE):
                for values in found:
                    yield Leaf(part.table, values, part.table.encode(values))


def _statement(part: Part, after: int, upto: int) -> str:
    if part.table is not MOVEMENT:
        return part.statement
    names = [each.name for each in partitions.detached() if each.is_here and each.has_any(after=after, upto=upto)]
    return movements_with(names) if names else part.statement


def is_elsewhere(seal: Seal, before: Seal | None, detached: Iterable[partitions.Detached]) -> bool:
    """
    Return whether movements of a block are in a detached partition whose table is not in this database.

    Its root cannot be calculated then. `before` is the seal before it.
    """
    after = positions(before)["movements"]
    return any(each.has_any(after=after, upto=seal.movements) for each in detached if not each.is_here)


def salt(secret: bytes, index: int) -> bytes:
    """Return the salt of a leaf, without which its hash says nothing about a row that can be guessed."""
    return hmac.digest(secret, index.to_bytes(4), sha256)[:SALT_BYTES]


def hashes(secret: bytes, leaves: Iterator[Leaf]) -> list[bytes]:
    """Return the hashes of leaves."""
    return [merkle.leaf_hash(salt(secret, index) + leaf.row) for index, leaf in enumerate(leaves)]


def hashes_of(seal: Seal, before: Seal | None) -> list[bytes]:
    """
    Return the hashes of the leaves of a block as its rows are now; `before` is the seal before it.

    There are none if a row was changed to a value that no sealed row can have, such as a time after the year 9999.
    """
    try:
        with transaction.atomic():
            found = rows(height=seal.height, after=positions(before), upto=positions(seal))
            return hashes(bytes(seal.secret), found)
    except (DataError, OverflowError, ValueError):
        return []
