"""
The partitions of movements: ranges of ids, each a table `transfers_movement_from_<first id>`.

The last one has no upper bound, so each movement has a partition, whether or not beat runs. Before the ids reach it,
`extend` gives it an upper bound and adds another one without. There is no DEFAULT partition: each new range would have
to be compared with its rows.

An old range can be detached once it is sealed: its table stays, and can be moved to another server or to a file.
`DetachedPartition` has its number of rows and a checksum, and the seals prove each row, also while it is detached. Only
the oldest attached range can be, so what is missing of a token's history is its beginning: all movements below
`DetachedPartition.below` of the last one.

Not `DETACH … CONCURRENTLY`: it cannot be in the transaction of that row, and a reader in between would take the rest
for the whole history. A plain DETACH takes ACCESS EXCLUSIVE on the table for milliseconds, and waits at most
`_LOCK_TIMEOUT` for it.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from django.db import OperationalError, connection, transaction
from django.db.models import Max

from transfers.partition_models import DetachedPartition
from transfers.seal_models import Seal

TABLE: Final = "transfers_movement"
# Ids in one partition: about 20 GB with indexes. Each partition costs a look-up in a token's history.
SIZE: Final = 100_000_000
# While a change waits for its lock, transfers wait behind it.
_LOCK_TIMEOUT: Final = "500ms"
# The key of the advisory lock of all changes of partitions.
_LOCK: Final = 20261203
_BOUNDS: Final = re.compile(r"FROM \((?:MINVALUE|'(\d+)')\) TO \((?:MAXVALUE|'(\d+)')\)")

log = logging.getLogger("coppice.transfers")


class PartitionRefused(Exception):
    """Nothing was changed; the message says why."""


class Partition(NamedTuple):
    """An attached partition: its ids are from `first` (None: the lowest) to below `end` (None: no end)."""

    name: str
    first: int | None
    end: int | None
    bytes: int
    tablespace: str


class Detached(NamedTuple):
    """A detached partition with ids from `first` to below `end`. `is_here`: its table is in this database."""

    name: str
    first: int
    end: int
    is_here: bool

    def has_any(self, *, after: int, upto: int) -> bool:
        """Return whether ids above `after` and up to `upto` are in its range."""
        return after < upto and self.first <= upto and after + 1 < self.end


def attached() -> list[Partition]:
    """Return the attached partitions, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT part.relname, pg_get_expr(part.relpartbound, part.oid), pg_total_relation_size(part.oid),"
            "       coalesce(place.spcname, 'pg_default')"
            "  FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid"
            "  LEFT JOIN pg_tablespace AS place ON place.oid = part.reltablespace"
            " WHERE inhparent = %s::regclass",
            [TABLE],
        )
        found = [Partition(name, *_range(bounds), size, place) for name, bounds, size, place in cursor.fetchall()]
    return sorted(found, key=lambda each: each.first or 0)


def _range(bounds: str) -> tuple[int | None, int | None]:
    match = _BOUNDS.search(bounds)
    assert match is not None, bounds
    first, end = match.groups()
    return int(first) if first else None, int(end) if end else None


def newest_id() -> int:
    """Return the id of the newest movement, whether or not it is committed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM transfers_arrival")
        return int(cursor.fetchone()[0])


def written_to() -> str:
    """Return the name of the partition that has the newest movement."""
    newest = newest_id()
    return next(each.name for each in reversed(attached()) if each.first is None or each.first <= newest)


def detached() -> list[Detached]:
    """Return the detached partitions, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, lag(below, 1, 0::bigint) OVER (ORDER BY below), below, to_regclass(name) IS NOT NULL"
            "  FROM transfers_detachedpartition ORDER BY below"
        )
        return [Detached(*row) for row in cursor.fetchall()]


def keep() -> None:
    """
    Let no partition be detached or attached until the transaction ends.

    The first statement of a transaction with one snapshot: in an older snapshot, what was detached since is neither in
    the table nor detached.
    """
    _run(f"LOCK TABLE {TABLE} IN ACCESS SHARE MODE")


def detached_below() -> int:
    """Return the id below which all movements are detached, 0 if none is."""
    return DetachedPartition.objects.aggregate(below=Max("below"))["below"] or 0


def is_detached(*, transfer_number: int) -> bool:
    """Return whether movements of the transfer may be detached."""
    return DetachedPartition.objects.filter(last_transfer__gte=transfer_number).exists()


# --- ahead --------------------------------------------------------------------------------


def extend(*, size: int = SIZE) -> str | None:
    """
    Give the last partition an end if ids will soon be in it, and add one behind it; return the name of that, or None.

    If another session uses the table for long, nothing is changed: the next run tries again.
    """
    try:
        with _changing():
            last, newest = attached()[-1], newest_id()
            assert last.first is not None
            if newest + size // 5 < last.first:
                return None
            if not _has_rows(last.name):
                return _divide(last, end=max(last.first + size, _multiple_above(newest + size // 5, size)))
        return _divide_late(last, end=_multiple_above(newest + size, size))
    except OperationalError:
        log.warning("movement_partitions_in_use")
        return None


def _divide_late(last: Partition, *, end: int) -> str | None:
    """
    Divide a partition that has rows, because beat did not run. Others write while its ids are compared.

    The end is a whole partition behind the newest id, so that no id reaches it before the partition is divided.
    """
    with _changing():
        _run(
            f"ALTER TABLE {last.name} DROP CONSTRAINT IF EXISTS movement_in_range",
            f"ALTER TABLE {last.name} ADD CONSTRAINT movement_in_range CHECK (id < {end}) NOT VALID",
        )
    try:
        with transaction.atomic():
            _run("SET LOCAL statement_timeout = 0", f"ALTER TABLE {last.name} VALIDATE CONSTRAINT movement_in_range")
        with _changing():
            return _divide(last, end=end)
    finally:
        with _changing():
            _run(f"ALTER TABLE {last.name} DROP CONSTRAINT IF EXISTS movement_in_range")


def _multiple_above(number: int, size: int) -> int:
    return (number // size + 1) * size


def _has_rows(name: str) -> bool:
    """Return whether a partition has rows. Until the transaction ends none is added."""
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"SELECT EXISTS (SELECT FROM {name})")  # noqa: S608 - of the catalog
        return bool(cursor.fetchone()[0])


def _divide(last: Partition, *, end: int) -> str:
    added = f"{TABLE}_from_{end}"
    _run(
        f"ALTER TABLE {TABLE} DETACH PARTITION {last.name}",
        f"ALTER TABLE {TABLE} ATTACH PARTITION {last.name} FOR VALUES FROM ({last.first}) TO ({end})",
        f"CREATE TABLE {added} (LIKE {TABLE})",
        f"ALTER TABLE {added} ADD CONSTRAINT movement_once_per_number_from_{end} UNIQUE (token_id, number)",
        f"ALTER TABLE {TABLE} ATTACH PARTITION {added} FOR VALUES FROM ({end}) TO (MAXVALUE)",
    )
    return added


@contextmanager
def _changing() -> Iterator[None]:
    """Open a transaction that alone changes partitions, and waits for no lock longer than `_LOCK_TIMEOUT`."""
    with transaction.atomic():
        _run(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'", f"SELECT pg_advisory_xact_lock({_LOCK})")
        yield


def _run(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


# --- old ones ------------------------------------------------------------------------------


def detach(name: str, *, distance: int = SIZE) -> DetachedPartition:
    """
    Take the oldest partition out of the table of movements. Its rows stay in a table with its name, and cannot change.

    The newest movement is at least `distance` ids behind its end, so that no running statement writes to it. All its
    movements are sealed, and their transfers: a block is made of what is attached.

    :raises PartitionRefused: it is not the oldest, or too new, or not sealed, or another session uses the table for
        long
    """
    with _refusing(), _changing():
        oldest = attached()[0]
        if oldest.name != name:
            raise PartitionRefused(f"The oldest attached partition is {oldest.name}: detach it first.")
        if oldest.end is None or newest_id() < oldest.end + distance:
            raise PartitionRefused(
                f"{name} is too new: detach it when {distance:,} newer movements are behind its end."
            )
        sealed = Seal.objects.filter(movements__gte=oldest.end - 1)
        # Reading all rows takes minutes.
        if sealed.exists():
            proof = _proof(name)
            sealed = sealed.filter(transfers__gte=proof.last_transfer or 0)
        if not sealed.exists():
            raise PartitionRefused(f"{name} is not sealed yet: see COPPICE_SEAL_EVERY_MINUTES.")
        _run(
            f"ALTER TABLE {TABLE} DETACH PARTITION {name}",
            f"CREATE TRIGGER movement_append_only BEFORE INSERT OR UPDATE OR DELETE ON {name}"
            " FOR EACH ROW EXECUTE FUNCTION coppice_refuse('the partition is detached')",
        )
        return DetachedPartition.objects.create(name=name, below=oldest.end, **proof._asdict())


def attach(name: str) -> None:
    """
    Put the newest detached partition back, if it has the rows that it had when it was detached.

    Others write meanwhile; PostgreSQL compares each id with the range.

    :raises PartitionRefused: it is not the newest detached one, its table is missing or has other rows, or another
        session uses the table for long
    """
    with _refusing(), _changing():
        row = DetachedPartition.objects.order_by("-below").first()
        if row is None:
            raise PartitionRefused("No partition is detached.")
        if row.name != name:
            raise PartitionRefused(f"The newest detached partition is {row.name}: attach it first.")
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NULL", [name])
            if cursor.fetchone() == (True,):
                raise PartitionRefused(f"There is no table {name}: restore it into this database first.")
        if _proof(name) != _Proof(row.movements, row.last_transfer, row.newest_at, row.checksum):
            raise PartitionRefused(f"{name} does not have the rows that it had when it was detached.")
        end = row.below
        row.delete()
        first = detached_below() or "MINVALUE"
        _run(
            f"DROP TRIGGER IF EXISTS movement_append_only ON {name}",
            f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end})",
        )


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise PartitionRefused(f"Another session uses the table of movements; try again later. {error}") from error


class _Proof(NamedTuple):
    """What is kept of a detached partition: fields of `DetachedPartition`."""

    movements: int
    last_transfer: int | None
    newest_at: datetime | None
    checksum: Decimal


def _proof(name: str) -> _Proof:
    _run("SET LOCAL statement_timeout = 0", "SET LOCAL enable_seqscan = on")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), max(transfer_number), max(processed_at),"  # noqa: S608 - of the catalog, or was in it
            "       coalesce(sum(hash_record_extended(row(id, number, processed_at, destination_id, source_id,"
            "                                             token_id, transfer_number), 0)::numeric), 0)"
            f" FROM {name}"
        )
        return _Proof(*cursor.fetchone())


def refresh_statistics() -> None:
    """Update the planner's statistics of tables that have grown, so that plans for small ones do not stay in use."""
    with connection.cursor() as cursor:
        # Not of all partitions: that takes as long as there are many.
        cursor.execute(f"ANALYZE wallets_token, {written_to()}")
