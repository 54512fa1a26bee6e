"""
How long an import of a wallet service takes, and how much memory.

    python -m tests.benchmarks moving [--tokens 1000000] [--moves 3] [--wallets 2000]

The service is generated: each token moved `moves` times, in transfers of up to three tokens, and one row in ten
thousand is damaged: tokens that are elsewhere, transactions without transfer, pending bundles without reservation.
The import runs twice, the second time with a thousandth of it new.
"""

import argparse
import resource
import time

import django
import psycopg

from tests.benchmarks import machine

_EMPTY = """
CREATE SCHEMA wallet;
CREATE TABLE wallet.wallet (
    id uuid PRIMARY KEY, name varchar NOT NULL UNIQUE, password varchar, salt varchar, logo_url varchar,
    created_at timestamp NOT NULL DEFAULT now());
CREATE TABLE wallet.token (
    id uuid PRIMARY KEY, capture_id uuid NOT NULL UNIQUE, wallet_id uuid NOT NULL,
    transfer_pending boolean NOT NULL DEFAULT false, transfer_pending_id uuid,
    created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now());
CREATE TABLE wallet.transfer (
    id uuid PRIMARY KEY, originator_wallet_id uuid NOT NULL, source_wallet_id uuid NOT NULL,
    destination_wallet_id uuid NOT NULL, type varchar NOT NULL DEFAULT 'send', parameters json,
    state varchar NOT NULL, created_at timestamp NOT NULL, closed_at timestamp NOT NULL);
CREATE TABLE wallet.transaction (
    id uuid PRIMARY KEY, token_id uuid NOT NULL, transfer_id uuid NOT NULL, source_wallet_id uuid NOT NULL,
    destination_wallet_id uuid NOT NULL, processed_at timestamp NOT NULL);
CREATE TABLE wallet.wallet_trust (
    id uuid PRIMARY KEY, actor_wallet_id uuid, target_wallet_id uuid, originator_wallet_id uuid, type varchar,
    request_type varchar NOT NULL, state varchar, created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
"""
# md5 makes the id of a thing from its name; `w` of a token is its first wallet, `g` its place in there by threes.
_FILL = (
    """INSERT INTO wallet.wallet (id, name, password, salt, created_at)
       SELECT md5('w' || w)::uuid, 'wallet-' || w, CASE WHEN w % 10 = 0 THEN repeat('0', 128) END,
              CASE WHEN w % 10 = 0 THEN 'salt' END, timestamp '2021-01-01'
         FROM generate_series(0, {wallets} - 1) AS w""",
    """INSERT INTO wallet.wallet_trust
       SELECT md5('m' || w)::uuid, md5('w' || w / 10 * 10)::uuid, md5('w' || w)::uuid, md5('w' || w / 10 * 10)::uuid,
              'manage', 'manage', 'trusted', timestamp '2021-01-02', timestamp '2021-01-02'
         FROM generate_series(0, {wallets} - 1) AS w WHERE w % 10 <> 0""",
    """INSERT INTO wallet.token (id, capture_id, wallet_id, created_at)
       SELECT md5('t' || t)::uuid, md5('c' || t)::uuid,
              md5('w' || (t + CASE WHEN t % 10000 = 0 THEN 1 ELSE 7 * {moves} END) % {wallets})::uuid,
              timestamp '2021-02-01' + t * interval '1 second'
         FROM generate_series({first}, {last} - 1) AS t""",
    """INSERT INTO wallet.transfer (
           id, originator_wallet_id, source_wallet_id, destination_wallet_id, parameters, state, created_at, closed_at)
       SELECT md5(format('x%s-%s-%s-{first}', w, g, r))::uuid, md5('w' || (w + 7 * r) % {wallets})::uuid,
              md5('w' || (w + 7 * r) % {wallets})::uuid, md5('w' || (w + 7 * r + 7) % {wallets})::uuid,
              json_build_object('bundle', json_build_object('bundleSize', tokens::text)), 'completed', at, at
         FROM (SELECT t % {wallets} AS w, t / {wallets} / 3 AS g, count(*) AS tokens
                 FROM generate_series({first}, {last} - 1) AS t GROUP BY 1, 2) AS part,
              generate_series(0, {moves} - 1) AS r,
              LATERAL (SELECT timestamp '2022-01-01' + r * interval '100 days' + g * interval '1 minute'
                              + w * interval '1 millisecond' AS at) AS clock
        WHERE (w + g) % 10000 <> 1""",
    """INSERT INTO wallet.transaction (
           id, token_id, transfer_id, source_wallet_id, destination_wallet_id, processed_at)
       SELECT md5(format('h%s-%s', t, r))::uuid, md5('t' || t)::uuid, md5(format('x%s-%s-%s-{first}', w, g, r))::uuid,
              md5('w' || (w + 7 * r) % {wallets})::uuid, md5('w' || (w + 7 * r + 7) % {wallets})::uuid,
              timestamp '2022-01-01' + r * interval '100 days' + g * interval '1 minute' + w * interval '1 millisecond'
         FROM generate_series({first}, {last} - 1) AS t, generate_series(0, {moves} - 1) AS r,
              LATERAL (SELECT t % {wallets} AS w, t / {wallets} / 3 AS g) AS place""",
)
_PENDING = """
INSERT INTO wallet.transfer (
    id, originator_wallet_id, source_wallet_id, destination_wallet_id, parameters, state, created_at, closed_at)
SELECT md5('p' || w)::uuid, md5('w' || w)::uuid, md5('w' || w)::uuid, md5('w' || w + 1)::uuid,
       '{"bundle": {"bundleSize": 10}}', 'pending', now(), now()
  FROM generate_series(1, 100) AS w"""


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks moving", description=__doc__)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--moves", type=int, default=3)
    parser.add_argument("--wallets", type=int, default=2_000)
    asked = parser.parse_args(arguments)
    with machine.running() as running:
        django.setup()
        with running.connect() as connection:
            connection.execute("CREATE DATABASE service")
            dsn = psycopg.conninfo.make_conninfo(connection.info.dsn, dbname="service")
        print(f"{machine.described()}, load {machine.load_average():.1f}, {', '.join(running.versions)}", flush=True)
        with psycopg.connect(dsn, autocommit=True) as service:
            service.execute(_EMPTY)
            _generate(service, asked, 0, asked.tokens)
            service.execute(_PENDING)
            service.execute("VACUUM ANALYZE")
            what = f"import of {asked.tokens:,} tokens, {asked.tokens * asked.moves:,} transactions"
            _measured(running, what, dsn)
            _generate(service, asked, asked.tokens, asked.tokens + asked.tokens // 1000)
            _measured(running, "second import", dsn)
            _measured(running, "third import, --since", dsn, since="2023-01-01")


def _generate(service: "psycopg.Connection[object]", asked: argparse.Namespace, first: int, last: int) -> None:
    for statement in _FILL[0 if first == 0 else 2 :]:
        service.execute(statement.format(wallets=asked.wallets, moves=asked.moves, first=first, last=last))


def _measured(running: machine.Machine, what: str, dsn: str, since: str | None = None) -> None:
    from django.core.management import call_command

    from config.management.commands.import_treetracker import moment

    assert running.postgres.child is not None
    database = running.postgres.child.pid
    began, used, cpu = time.monotonic(), machine.cpu_seconds(database), time.process_time()
    call_command("import_treetracker", dsn, since=moment(since) if since else None)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{what}: {time.monotonic() - began:.0f} s (processor time: PostgreSQL"
        f" {machine.cpu_seconds(database) - used:.0f} s,"
        f" the command {time.process_time() - cpu:.0f} s); the command had at most {megabytes} MB",
        flush=True,
    )
