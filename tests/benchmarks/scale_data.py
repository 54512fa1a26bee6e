"""
Databases of a chosen size, written by COPY into the tables of the product, with all their constraints and triggers.

PostgreSQL generates the rows (`COPY (SELECT …) TO STDOUT`) and reads them back (`COPY … FROM STDIN`), so that Python
only carries bytes. Every token is issued to a wallet and goes to and fro between two, each time by a transfer of its
own. The movements of a token are a whole round of all tokens apart, so its history is spread over the partitions.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import psycopg
from django.db import connection as django_connection

from tests.benchmarks import data, machine
from wallets import operations as wallets
from wallets.models import Wallet

FIELDS: Final = 1_000
# What a row takes with its indexes, and loading it, for the estimate: see "As it grows" in README.md. The time is that
# of a busy machine with two cores.
TOKEN_BYTES, TRANSFER_BYTES, MOVEMENT_BYTES = 330, 420, 200
TOKEN_SECONDS, TRANSFER_SECONDS, MOVEMENT_SECONDS = 60e-6, 50e-6, 33e-6
# PostgreSQL's log, sorting, and what the measured requests write.
SPARE_BYTES: Final = 4 * 10**9
# Rows of one COPY.
CHUNK: Final = 1_000_000


@dataclass(frozen=True)
class Size:
    """A number of tokens, each with the same number of movements, of which the first is the issue."""

    tokens: int
    each: int

    @property
    def movements(self) -> int:
        return self.tokens * self.each

    @property
    def transfers(self) -> int:
        return self.tokens * (self.each - 1)

    @property
    def name(self) -> str:
        return f"{_short(self.tokens)} tokens, {_short(self.movements)} movements"

    @property
    def database(self) -> str:
        return f"scale_{self.tokens}_{self.movements}"

    @property
    def bytes(self) -> int:
        return self.tokens * TOKEN_BYTES + self.transfers * TRANSFER_BYTES + self.movements * MOVEMENT_BYTES

    @property
    def seconds(self) -> float:
        return (
            self.tokens * TOKEN_SECONDS + self.transfers * TRANSFER_SECONDS + self.movements * MOVEMENT_SECONDS
        )  # fmt: skip

    def estimate(self) -> str:
        return f"{self.name}: about {self.bytes / 1e9:.1f} GB and {self.seconds / 60:.0f} minutes to load"


def _short(number: int) -> str:
    for unit, word in ((10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:g} {word}"
    return str(number)


def check_disk(sizes: list[Size], directory: Any) -> None:
    """Say what the sizes take. :raises SystemExit: the disk of the directory is too small."""
    for size in sizes:
        print(size.estimate(), flush=True)
    needed, free = sum(size.bytes for size in sizes) + SPARE_BYTES, shutil.disk_usage(directory).free
    print(f"{needed / 1e9:.1f} GB in all, {free / 1e9:.1f} GB are free in {directory}", flush=True)
    if needed > free:
        raise SystemExit("The disk is too small: choose smaller --tokens and --movements.")


@dataclass(frozen=True)
class Land:
    """The estate, and the wallets between which loaded tokens go: `fields`, and `beds`, which the reader manages."""

    estate: data.Estate
    fields: list[UUID]
    beds: list[UUID]

    def bed(self, token: int) -> int:
        """Return the number of the bed in which a loaded token is."""
        return token % data.BEDS


def token_id(number: int) -> UUID:
    return UUID(hashlib.md5(f"token {number}".encode(), usedforsecurity=False).hexdigest())


def settle() -> Land:
    """Make the wallets that all sizes share, in the database of which they are copies."""
    estate = data.settle()
    fields = [wallets.create_wallet(name=f"field-{number}").pk for number in range(FIELDS)]
    named = dict(Wallet.objects.filter(name__startswith="bed-").values_list("name", "id"))
    return Land(estate, fields, [named[f"bed-{number}"] for number in range(data.BEDS)])


@contextmanager
def within(database: str) -> Iterator[None]:
    """Let Django use another database of the server."""
    settings = django_connection.settings_dict
    before = settings["NAME"]
    django_connection.close()
    settings["NAME"] = database
    try:
        yield
    finally:
        django_connection.close()
        settings["NAME"] = before


def connect(running: machine.Machine, database: str) -> "psycopg.Connection[tuple[Any, ...]]":
    return psycopg.connect(host=running.postgres.sockets, user="coppice", dbname=database, autocommit=True)


# `n` counts the movements of all tokens, round by round. The last of a token leads into its bed.
_PLACES: Final = f"""
SELECT n, %(first)s + n AS id, md5('token ' || n %% %(tokens)s)::uuid AS token, n / %(tokens)s AS number,
       (%(fields)s::uuid[])[1 + n %% %(tokens)s / {data.BEDS} %% {FIELDS}] AS field,
       (%(beds)s::uuid[])[1 + n %% %(tokens)s %% {data.BEDS}] AS bed,
       (%(each)s - 1 - n / %(tokens)s) %% 2 = 0 AS into_bed,
       %(since)s::timestamptz + n * interval '90 days' / %(movements)s AS at
  FROM generate_series(%(start)s::bigint, %(stop)s::bigint - 1) AS n"""
_TRANSFERS: Final = f"""
SELECT md5('transfer ' || n)::uuid, %(first_number)s + n - %(tokens)s, CASE WHEN into_bed THEN field ELSE bed END,
       CASE WHEN into_bed THEN field ELSE bed END, CASE WHEN into_bed THEN bed ELSE field END,
       '{{"bundle": {{"bundleSize": 1}}}}'::jsonb, 'completed'::varchar, 1, 0, 1, at, at, ''::varchar
  FROM ({_PLACES}) AS places WHERE number > 0"""
_MOVEMENTS: Final = f"""
SELECT id, token, number::integer, CASE WHEN number > 0 THEN %(first_number)s + n - %(tokens)s END,
       CASE WHEN number > 0 THEN CASE WHEN into_bed THEN field ELSE bed END END,
       CASE WHEN into_bed THEN bed ELSE field END, at
  FROM ({_PLACES}) AS places"""
_TOKENS: Final = f"""
SELECT token, md5('capture ' || n)::uuid, bed, number::integer, id,
       floor(random() * 4294967296 - 2147483648)::integer, false, at, at
  FROM ({_PLACES}) AS places WHERE number = %(each)s - 1"""
_INTO: Final = {
    "transfers_transfer": "id, number, originator_id, source_id, destination_id, parameters, state, token_count,"
    " reserved_count, moved_count, created_at, closed_at, closed_event",
    "transfers_movement": "id, token_id, number, transfer_number, source_id, destination_id, processed_at",
    "wallets_token": "id, capture_id, wallet_id, moves, arrival, lot, claim, created_at, updated_at",
}


def load(running: machine.Machine, land: Land, size: Size, *, partition: int) -> dict[str, float]:
    """Make the database of a size and fill it. Returns the seconds that each table took, and the rest."""
    from transfers import partitions

    django_connection.close()
    with running.connect() as connection:
        connection.execute(f"CREATE DATABASE {size.database} TEMPLATE coppice")
    seconds = dict.fromkeys((*_INTO, "counts, VACUUM ANALYZE"), 0.0)
    with (
        within(size.database),
        connect(running, size.database) as reader,
        connect(running, size.database) as writer,
    ):
        writer.execute("SET synchronous_commit = off; SET statement_timeout = 0")
        reader.execute("SET statement_timeout = 0")
        first = partitions.attached()[-1].first
        (number,) = reader.execute("SELECT nextval('wallets_event_number')").fetchone() or (0,)
        assert first is not None
        place = {
            "tokens": size.tokens, "each": size.each, "movements": size.movements, "first": first,
            "first_number": number + 1, "fields": land.fields, "beds": land.beds,
            "since": reader.execute("SELECT now() - interval '90 days'").fetchone()[0],  # type: ignore[index]
        }  # fmt: skip
        for start in range(0, size.movements, min(CHUNK, partition)):
            stop = min(start + min(CHUNK, partition), size.movements)
            if start % partition == 0:
                writer.execute("SELECT setval('transfers_arrival', %s)", [first + start])
                partitions.extend(size=partition)
            chunk = place | {"start": start, "stop": stop}
            for table, rows in (
                ("transfers_transfer", _TRANSFERS), ("wallets_token", _TOKENS), ("transfers_movement", _MOVEMENTS),
            ):  # fmt: skip
                begun = time.monotonic()
                _copy(reader, writer, rows, chunk, table)
                seconds[table] += time.monotonic() - begun
        writer.execute("SELECT setval('transfers_arrival', %s)", [first + size.movements])
        writer.execute("SELECT setval('wallets_event_number', %s)", [number + 1 + size.transfers])
        begun = time.monotonic()
        data.tidy(writer)
        seconds["counts, VACUUM ANALYZE"] = time.monotonic() - begun
    return seconds


def _copy(reader: Any, writer: Any, rows: str, values: dict[str, Any], table: str) -> None:
    with (
        psycopg.ClientCursor(reader) as source,
        writer.cursor() as target,
        source.copy(f"COPY ({rows}) TO STDOUT (FORMAT binary)", values) as read,
        target.copy(f"COPY {table} ({_INTO[table]}) FROM STDIN (FORMAT binary)") as write,
    ):
        for block in read:
            write.write(block)


def row_bytes(connection: "psycopg.Connection[tuple[Any, ...]]") -> dict[str, tuple[int, float, float]]:
    """Return by table the number of rows, and the bytes of one without and with its indexes; partitions are summed."""
    found = {}
    for table in (*_INTO, "wallets_idempotentanswer", "desk_request"):
        heap, whole = connection.execute(
            "SELECT coalesce(sum(pg_table_size(relid)), 0), coalesce(sum(pg_total_relation_size(relid)), 0)"
            "  FROM pg_partition_tree(%s::regclass) WHERE isleaf",
            [table],
        ).fetchone() or (0, 0)
        if not whole:
            heap, whole = connection.execute(
                "SELECT pg_table_size(%(of)s), pg_total_relation_size(%(of)s)", {"of": table}
            ).fetchone() or (0, 0)
        (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
        found[table] = (int(rows), float(heap) / max(1, rows), float(whole) / max(1, rows))
    return found
