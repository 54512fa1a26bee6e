"""
Databases of a chosen size, written by COPY into the tables of the product.

PostgreSQL generates the rows and reads them back, with one COPY on each side of a named pipe. Every token is issued to
a wallet and goes to and fro between two, in bundles. The movements of a token are a whole round of all tokens apart, so
its history is spread over the partitions.

Indexes are made after the rows, and triggers do not run: the audits (`--only seals`) check the rules.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
from django.db import connection as django_connection

from tests.benchmarks import data, machine
from wallets import operations as wallets
from wallets.models import Wallet

FIELDS: Final = 1_000
# What a row takes with its indexes, and loading it, for the estimate: see "As it grows" in README.md.
TOKEN_BYTES, TRANSFER_BYTES, MOVEMENT_BYTES = 330, 420, 200
TOKEN_SECONDS, TRANSFER_SECONDS, MOVEMENT_SECONDS = 15e-6, 40e-6, 10e-6
# PostgreSQL's log, sorting, and what the measured requests write.
SPARE_BYTES: Final = 6 * 10**9
# While data is loaded. What is loaded when the machine stops is lost; killed processes lose nothing that is committed.
_LOADING: Final = {
    "wal_level": "minimal", "max_wal_senders": "0", "fsync": "off", "full_page_writes": "off",
    "synchronous_commit": "off", "max_wal_size": "4GB", "checkpoint_timeout": "30min", "autovacuum": "off",
    "maintenance_work_mem": "1GB", "statement_timeout": "0", "max_parallel_maintenance_workers": "1",
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Numbers of tokens, of all their movements (the first of each token is its issue), and of tokens in a bundle."""

    tokens: int
    movements: int
    bundle: int = 1

    def __post_init__(self) -> None:
        if self.tokens % self.bundle or self.movements % self.tokens or self.rounds < 2:
            raise SystemExit(
                f"{self.database}: tokens are whole bundles, and movements whole rounds of tokens, from 2 on."
            )

    @property
    def rounds(self) -> int:
        return self.movements // self.tokens

    @property
    def transfers(self) -> int:
        return self.tokens // self.bundle * (self.rounds - 1)

    @property
    def name(self) -> str:
        return f"{_short(self.tokens)} tokens, {_short(self.movements)} movements"

    @property
    def database(self) -> str:
        return f"scale_{self.tokens}_{self.movements}_{self.bundle}"

    @property
    def bytes(self) -> int:
        return self.tokens * TOKEN_BYTES + self.transfers * TRANSFER_BYTES + self.movements * MOVEMENT_BYTES

    @property
    def seconds(self) -> float:
        return self.tokens * TOKEN_SECONDS + self.transfers * TRANSFER_SECONDS + self.movements * MOVEMENT_SECONDS

    def bed(self, token: int) -> int:
        """Return the number of the bed in which a loaded token is."""
        return token // self.bundle % data.BEDS

    def estimate(self) -> str:
        return (
            f"{self.name}, {_short(self.transfers)} transfers: about {self.bytes / 1e9:.1f} GB and"
            f" {self.seconds / 60:.0f} minutes of processor time to load"
        )


def _short(number: int) -> str:
    for unit, word in ((10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:g} {word}"
    return str(number)


def check_disk(running: machine.Machine, sizes: Sequence[Size]) -> None:
    """Say what the sizes take that are not loaded yet. :raises SystemExit: the disk is too small."""
    missing = [size for size in sizes if not _is_loaded(running, size)]
    for size in missing:
        print(size.estimate(), flush=True)
    needed = sum(size.bytes for size in missing) + SPARE_BYTES
    free = shutil.disk_usage(running.postgres.home).free
    print(f"{needed / 1e9:.1f} GB in all, {free / 1e9:.1f} GB are free in {running.postgres.home}", flush=True)
    if needed > free:
        raise SystemExit("The disk is too small: choose smaller --sizes.")


@dataclass(frozen=True)
class Land:
    """The estate, and the wallets between which loaded tokens go: `fields`, and `beds`, which the reader manages."""

    estate: data.Estate
    fields: list[UUID]
    beds: list[UUID]


def token_id(number: int) -> UUID:
    return UUID(hashlib.md5(f"token {number}".encode(), usedforsecurity=False).hexdigest())


def settle(kept: Path) -> Land:
    """Make the wallets that all sizes share, in the database of which they are copies. Credentials stay in a file."""
    if kept.exists():
        credentials = json.loads(kept.read_text(encoding="utf-8"))
        estate = data.Estate(reader=Wallet.objects.get(name="park"), listed=[], **credentials)
    else:
        estate = data.settle()
        for number in range(FIELDS):
            wallets.create_wallet(name=f"field-{number}")
        credentials = {name: getattr(estate, name) for name in ("api_key", "bearer", "reader_bearer")}
        kept.touch(mode=0o600)
        kept.write_text(json.dumps(credentials), encoding="utf-8")
    named = dict(Wallet.objects.values_list("name", "id"))
    return Land(
        estate,
        [named[f"field-{number}"] for number in range(FIELDS)],
        [named[f"bed-{number}"] for number in range(data.BEDS)],
    )


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


# Version 7 of RFC 9562, as new transfers have it: the milliseconds of `at`, then bits of a hash.
_TRANSFER_ID: Final = """(lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
        || left(md5('transfer ' || transfer), 3) || 'a' || right(md5('transfer ' || transfer), 15))::uuid"""
# `n` counts the movements of all tokens, round by round. The last of a token leads into its bed.
_PLACES: Final = f"""
SELECT n, n / %(tokens)s AS number, n %% %(tokens)s AS token,
       (n / %(tokens)s - 1) * %(groups)s + n %% %(tokens)s / %(bundle)s AS transfer,
       (%(fields)s::uuid[])[1 + n %% %(tokens)s / %(bundle)s / {data.BEDS} %% {FIELDS}] AS field,
       (%(beds)s::uuid[])[1 + n %% %(tokens)s / %(bundle)s %% {data.BEDS}] AS bed,
       (%(rounds)s - 1 - n / %(tokens)s) %% 2 = 0 AS into_bed,
       %(since)s::timestamptz + (n / %(tokens)s * %(groups)s + n %% %(tokens)s / %(bundle)s)
                              * interval '90 days' / (%(groups)s * %(rounds)s) AS at
  FROM generate_series(%(start)s::bigint, %(stop)s::bigint - 1, %(step)s) AS n"""
_TRANSFERS: Final = f"""
SELECT {_TRANSFER_ID}, %(first_number)s + transfer, CASE WHEN into_bed THEN field ELSE bed END,
       CASE WHEN into_bed THEN field ELSE bed END, CASE WHEN into_bed THEN bed ELSE field END,
       '{{"bundle": {{"bundleSize": %(bundle)s}}}}'::jsonb, 'completed'::varchar, %(bundle)s, 0, %(bundle)s, at, at,
       ''::varchar
  FROM ({_PLACES}) AS places"""
_MOVEMENTS: Final = f"""
SELECT %(first)s + n, md5('token ' || token)::uuid, number::integer,
       CASE WHEN number > 0 THEN %(first_number)s + transfer END,
       CASE WHEN number > 0 THEN CASE WHEN into_bed THEN field ELSE bed END END,
       CASE WHEN into_bed THEN bed ELSE field END, at
  FROM ({_PLACES}) AS places"""
_TOKENS: Final = f"""
SELECT md5('token ' || token)::uuid, md5('capture ' || token)::uuid, bed, number::integer, %(first)s + n,
       floor(random() * 4294967296 - 2147483648)::integer, false, at, at
  FROM ({_PLACES}) AS places"""
_INTO: Final = {
    "transfers_transfer": "id, number, originator_id, source_id, destination_id, parameters, state, token_count,"
    " reserved_count, moved_count, created_at, closed_at, closed_event",
    "transfers_movement": "id, token_id, number, transfer_number, source_id, destination_id, processed_at",
    "wallets_token": "id, capture_id, wallet_id, moves, arrival, lot, claim, created_at, updated_at",
}
_STEPS: Final = """
CREATE TABLE IF NOT EXISTS scale_step (name text PRIMARY KEY, seconds double precision);
CREATE TABLE IF NOT EXISTS scale_place (first bigint, first_number bigint, since timestamptz);
"""
_LAST_STEP: Final = "counts, VACUUM ANALYZE"


def _is_loaded(running: machine.Machine, size: Size) -> bool:
    with running.connect() as connection:
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [size.database]).fetchall():
            return False
    with connect(running, size.database) as connection:
        connection.execute(_STEPS)
        return bool(connection.execute("SELECT FROM scale_step WHERE name = %s", [_LAST_STEP]).fetchall())


def load_all(running: machine.Machine, land: Land, sizes: Sequence[Size], *, partition: int, jobs: int) -> None:
    """Load what is not loaded yet, with settings of PostgreSQL for that alone."""
    missing = [size for size in sizes if not _is_loaded(running, size)]
    if not missing:
        return
    running.configure_postgres(_LOADING)
    for size in missing:
        assert running.postgres.child is not None
        begun, used = time.monotonic(), machine.cpu_seconds(running.postgres.child.pid)
        Loading(running, land, size, partition=partition).run(jobs)
        used = machine.cpu_seconds(running.postgres.child.pid) - used
        took = time.monotonic() - begun
        print(f"{size.name}: loaded in {took:,.0f} s, {used:,.0f} s of PostgreSQL's processor time", flush=True)
    running.configure_postgres({})


class Loading:
    """The steps of loading one size. Each is a transaction and is done once, also if a run is interrupted."""

    def __init__(self, running: machine.Machine, land: Land, size: Size, *, partition: int) -> None:
        from transfers import partitions

        self.machine, self.size, self.partition = running, size, partition
        django_connection.close()
        with running.connect() as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [size.database]).fetchall():
                connection.execute(f"CREATE DATABASE {size.database} TEMPLATE coppice")
        with within(size.database):
            self.last = partitions.attached()[-1]
        with connect(running, size.database) as connection:
            connection.execute(_STEPS)
            if not connection.execute("SELECT FROM scale_place").fetchall():
                connection.execute(
                    "INSERT INTO scale_place"
                    " SELECT %s, nextval('wallets_event_number') + 1, now() - interval '90 days'",
                    [self.last.first],
                )
            first, number, since = connection.execute("SELECT * FROM scale_place").fetchone() or (0, 0, None)
        self.first = int(first)
        self.values = {
            "tokens": size.tokens, "rounds": size.rounds, "bundle": size.bundle, "groups": size.tokens // size.bundle,
            "first": first, "first_number": number, "since": since, "fields": land.fields, "beds": land.beds,
        }  # fmt: skip

    def run(self, jobs: int) -> None:
        size = self.size
        # The largest first: a partition is one table, which one session fills.
        steps = [
            (f"movements from {start:,}", lambda start=start, **given: self.movements(start, **given))
            for start in range(0, size.movements, self.partition)
        ]
        steps += [("transfers_transfer", self.transfers), ("wallets_token", self.tokens)]
        with ThreadPoolExecutor(jobs) as pool:
            for step in [pool.submit(self.step, name, work) for name, work in steps]:
                step.result()
        self.step("attach", self.attach)
        self.step(_LAST_STEP, self.count, atomic=False)

    def step(self, name: str, work: Any, *, atomic: bool = True) -> None:
        with (
            connect(self.machine, self.size.database) as reader,
            connect(self.machine, self.size.database) as writer,
        ):
            if writer.execute("SELECT FROM scale_step WHERE name = %s", [name]).fetchall():
                return
            begun = time.monotonic()
            if atomic:
                with writer.transaction():
                    writer.execute("SET LOCAL session_replication_role = replica")
                    work(reader=reader, writer=writer)
                    writer.execute("INSERT INTO scale_step VALUES (%s, %s)", [name, time.monotonic() - begun])
            else:
                work(writer)
                writer.execute("INSERT INTO scale_step VALUES (%s, %s)", [name, time.monotonic() - begun])
            print(f"{self.size.name}: {name}: {time.monotonic() - begun:,.0f} s", flush=True)

    def transfers(self, *, reader: Any, writer: Any) -> None:
        self.refill(reader, writer, "transfers_transfer", _TRANSFERS, self.size.tokens, self.size.bundle)

    def tokens(self, *, reader: Any, writer: Any) -> None:
        self.refill(reader, writer, "wallets_token", _TOKENS, self.size.movements - self.size.tokens, 1)

    def refill(self, reader: Any, writer: Any, table: str, rows: str, start: int, step: int) -> None:
        """Write rows into a table, which keeps those that it has. Its indexes are made anew."""
        writer.execute(f"CREATE TEMPORARY TABLE kept ON COMMIT DROP AS TABLE {table}")
        made_again = []
        for name, kind, made in writer.execute(
            "SELECT indexrelid::regclass::text, contype::text,"
            "       CASE WHEN contype IS NULL THEN pg_get_indexdef(indexrelid)"
            "         ELSE format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', indrelid::regclass, conname,"
            "                     pg_get_constraintdef(held.oid)) END"
            "  FROM pg_index LEFT JOIN pg_constraint AS held ON held.conindid = indexrelid AND contype IN ('p', 'u')"
            " WHERE indrelid = %s::regclass ORDER BY 1",
            [table],
        ).fetchall():
            writer.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}" if kind else f"DROP INDEX {name}")
            made_again.append(made)
        writer.execute(f"TRUNCATE {table}")
        self.copy(reader, writer, table, table, rows, {"start": start, "stop": self.size.movements, "step": step})
        writer.execute(f"INSERT INTO {table} SELECT * FROM kept")
        for made in made_again:
            writer.execute(made)

    def movements(self, start: int, *, reader: Any, writer: Any) -> None:
        """Write a partition as a table, which `attach` makes one."""
        name = f"loaded_{self.first + start}"
        stop = min(start + self.partition, self.size.movements)
        writer.execute(f"CREATE TABLE {name} (LIKE transfers_movement)")
        self.copy(reader, writer, name, "transfers_movement", _MOVEMENTS, {"start": start, "stop": stop, "step": 1})
        writer.execute(f"ALTER TABLE {name} ADD PRIMARY KEY (id)")
        writer.execute(
            f"ALTER TABLE {name} ADD CONSTRAINT movement_once_per_number_from_{self.first + start}_"
            " UNIQUE (token_id, number)"
        )
        writer.execute(f"CREATE INDEX ON {name} (transfer_number) WHERE transfer_number IS NOT NULL")

    def attach(self, *, reader: Any, writer: Any) -> None:
        """Replace the last partition, which is empty, by the loaded ones and an empty one; set the sequences."""
        end = self.first + self.size.movements
        writer.execute(f"ALTER TABLE transfers_movement DETACH PARTITION {self.last.name}")
        if writer.execute(f"SELECT FROM {self.last.name} LIMIT 1").fetchall():
            raise RuntimeError(f"{self.last.name} has rows.")
        writer.execute(f"DROP TABLE {self.last.name}")
        bounds = [*range(self.first, end, self.partition), end]
        for first, stop in zip(bounds, [*bounds[1:], None], strict=True):
            name = f"transfers_movement_from_{first}"
            if stop is None:
                writer.execute(f"CREATE TABLE {name} (LIKE transfers_movement)")
                writer.execute(
                    f"ALTER TABLE {name} ADD CONSTRAINT movement_once_per_number_from_{first} UNIQUE (token_id, number)"
                )
            else:
                writer.execute(f"ALTER TABLE loaded_{first} RENAME TO {name}")
                writer.execute(
                    f"ALTER TABLE {name} RENAME CONSTRAINT movement_once_per_number_from_{first}_"
                    f" TO movement_once_per_number_from_{first}"
                )
            upto = "MAXVALUE" if stop is None else stop
            writer.execute(
                f"ALTER TABLE transfers_movement ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({upto})"
            )
        writer.execute("SELECT setval('transfers_arrival', %s)", [end])
        writer.execute("SELECT setval('wallets_event_number', %s)", [self.values["first_number"] + self.size.transfers])

    def count(self, writer: Any) -> None:
        """Leave the database as hours of rest would."""
        from transfers import list_counts
        from transfers.list_models import ListMark
        from transfers.models import Transfer

        writer.execute("ANALYZE")
        with within(self.size.database):
            data.tidy(writer)
            newest = Transfer.objects.order_by("-number").values_list("number", flat=True)[0]
            while not ListMark.objects.filter(number__gte=newest).exists():
                list_counts.roll_up()
        writer.execute("VACUUM (ANALYZE) transfers_listtally, transfers_listspan")

    def copy(self, reader: Any, writer: Any, table: str, columns_of: str, rows: str, range_: dict[str, int]) -> None:
        """Have the server write the rows into a named pipe and read them from it."""
        pipe = self.machine.postgres.sockets / f"{self.size.database}.{table}"
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        # Sessions of the server run as another user.
        pipe.chmod(0o666)
        # Neither side waits for the other to open it. The end of the rows is when both this and the source are closed.
        held = os.open(pipe, os.O_RDWR)
        try:
            with ThreadPoolExecutor(2) as pool:
                to = f"COPY {table} ({_INTO[columns_of]}) FROM '{pipe}' (FORMAT binary, FREEZE)"
                sides = [
                    pool.submit(writer.execute, to),
                    pool.submit(
                        psycopg.ClientCursor(reader).execute,
                        f"COPY ({rows}) TO '{pipe}' (FORMAT binary)",
                        self.values | range_,
                    ),
                ]
                wait(sides, return_when=FIRST_COMPLETED)
                os.close(held)
                for side in sides:
                    side.result()
        finally:
            pipe.unlink()


MEASURED: Final = (*_INTO, "wallets_idempotentanswer", "desk_request")


def row_bytes(
    connection: "psycopg.Connection[tuple[Any, ...]]", tables: Sequence[str] = MEASURED
) -> dict[str, tuple[int, float, float]]:
    """Return by table the number of rows, and the bytes of one without and with its indexes; partitions are summed."""
    found = {}
    for table in tables:
        connection.execute(f"ANALYZE {table}")
        rows, heap, whole = connection.execute(
            "SELECT sum(greatest(reltuples, 0))::bigint, sum(pg_table_size(class.oid)),"
            "       sum(pg_total_relation_size(class.oid))"
            "  FROM pg_class AS class"
            " WHERE class.oid = %(of)s::regclass AND relkind = 'r'"
            "    OR class.oid IN (SELECT relid FROM pg_partition_tree(%(of)s::regclass) WHERE isleaf)",
            {"of": table},
        ).fetchone() or (0, 0, 0)
        found[table] = (int(rows), float(heap) / max(1, rows), float(whole) / max(1, rows))
    return found
