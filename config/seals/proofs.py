"""
Proofs that rows are sealed: the row, its salt, and the hashes that lead to the root of its block.

A proof shows the row, so it is for those who may see it: the caller of this module has decided that. A leaf's hash
without row and salt says nothing, and the other hashes of a proof are of that kind.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from config.seals import blocks, merkle
from config.seals.encoding import shown
from config.seals.tables import MOVEMENT, REQUEST, TERMS, TRANSFER, Table
from transfers import partitions, token_lists
from transfers.errors import HistoryDetached
from transfers.seal_models import LateTransfer, Seal

# Each needs the rows of a block.
MOVEMENTS_AT_ONCE: Final = 5


class Wanted(NamedTuple):
    """A row whose proof is wanted: its table, its key with the place of that among its values, and its block."""

    table: Table
    key: int
    place: int
    height: int


def of_transfer(number: int) -> list[dict[str, Any]]:
    """
    Return the proofs of what a transfer was asked as, of its terms and its outcome, as far as they are sealed.

    :raises HistoryDetached: movements of these blocks are stored elsewhere
    """
    asked = _height(transfers=number)
    if asked is None:
        return []
    late = LateTransfer.objects.filter(pk=number).values_list("asked_id", "decided_id").first()
    if late is None:
        wanted = [Wanted(TRANSFER, number, 1, asked), Wanted(TERMS, number, 0, asked)]
    else:
        wanted = [Wanted(REQUEST, number, 1, late[0]), Wanted(TERMS, number, 0, late[0])]
        if late[1] is not None:
            wanted.append(Wanted(TRANSFER, number, 1, late[1]))
    return list(_proofs(wanted, what="transfer"))


def of_token(token_id: UUID, *, after: int) -> tuple[list[dict[str, Any]], int | None]:
    """
    Return the proofs of the movements of a token whose numbers are above `after`, and the number to go on after.

    That number is None if there are no more. Movements that are not sealed yet are left out.

    :raises HistoryDetached: the first of them is in a partition that is detached, or others of its block are in one
        that is stored elsewhere
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, number FROM transfers_movement WHERE token_id = %s AND number > %s ORDER BY number LIMIT %s",
            [token_id, after, MOVEMENTS_AT_ONCE + 1],
        )
        found = cursor.fetchall()
    token_lists.check_is_attached(token_id, number=after + 1, found=found[0][1] if found else None)
    page = found[:MOVEMENTS_AT_ONCE]
    heights = [(id_, _height(movements=id_)) for id_, _ in page]
    wanted = [Wanted(MOVEMENT, id_, 0, height) for id_, height in heights if height is not None]
    more = page[-1][1] if len(found) > len(page) and len(wanted) == len(page) else None
    return list(_proofs(wanted, what="token")), more


def _height(**position: int) -> int | None:
    """Return the height of the first seal that reaches a position, None if none does."""
    ((name, key),) = position.items()
    reaching = Seal.objects.filter(**{f"{name}__gte": key}).order_by(name, "height")
    return reaching.values_list("height", flat=True).first()


def _proofs(wanted: Sequence[Wanted], *, what: str) -> Iterator[dict[str, Any]]:
    for height in dict.fromkeys(each.height for each in wanted):
        yield from _of_block(height, [each for each in wanted if each.height == height], what=what)


def _of_block(height: int, wanted: Iterable[Wanted], *, what: str) -> Iterator[dict[str, Any]]:
    seals = {seal.height: seal for seal in Seal.objects.filter(height__in=[height - 1, height])}
    seal, before = seals[height], seals.get(height - 1)
    with transaction.atomic():
        partitions.keep()
        if blocks.is_elsewhere(seal, before, partitions.detached()):
            raise HistoryDetached(what)
        leaves = blocks.rows(height=height, after=blocks.positions(before), upto=blocks.positions(seal))
        hashes, found = [], []
        for index, leaf in enumerate(leaves):
            salt = blocks.salt(bytes(seal.secret), index)
            hashes.append(merkle.leaf_hash(salt + leaf.row))
            if any(leaf.table is each.table and leaf.values[each.place] == each.key for each in wanted):
                found.append((index, salt, leaf))
    for index, salt, leaf in found:
        yield {
            "table": leaf.table.name,
            "version": leaf.table.version,
            "row": {field.name: shown(value) for field, value in zip(leaf.table.fields, leaf.values, strict=True)},
            "salt": salt.hex(),
            "index": index,
            "path": [node.hex() for node in merkle.path(hashes, index)],
            "checkpoint": checkpoint(seal),
        }


def checkpoint(seal: Seal) -> dict[str, Any]:
    """Return the public part of a seal."""
    return {
        "height": seal.height,
        "format": seal.format,
        "previous": bytes(seal.previous).hex(),
        "root": bytes(seal.root).hex(),
        "leaves": seal.leaves,
        "sealed_at": shown(seal.sealed_at),
        "hash": bytes(seal.hash).hex(),
        "key": seal.key_id,
        "signature": bytes(seal.signature).hex(),
    }
