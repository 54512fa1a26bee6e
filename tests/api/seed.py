"""The data behind `data/exchanges.jsonl`, written with a handful of set-based statements (see `data/ORIGIN.md`)."""

from collections.abc import Collection
from functools import cache
from hashlib import md5
from uuid import UUID

from django.contrib.auth.hashers import make_password
from django.db import connection, transaction

from transfers import counters
from wallets import queries

API_KEY = "FORTESTFORTESTFORTESTFORTESTFORTEST"
DEPRECATED_API_KEY = "DEPRECATEDDEPRECATED"
PASSWORD = "test1234"
PEOPLE = ["alice", "bobby", "carol", "dave", "erin"]
MANAGED = [f"m{number:05}" for number in range(1, 10)]
STRANGERS = [f"s{number:05}" for number in range(1, 7)]


def derived_id(text: str) -> UUID:
    """Return the id of `wallet:<name>`, `token:<i>`, `capture:<i>` or `trust:<name>`."""
    digits = md5(text.encode(), usedforsecurity=False).hexdigest()
    return UUID(f"{digits[:12]}4{digits[13:16]}8{digits[17:]}")


@cache
def known_ids() -> frozenset[str]:
    """Return the ids that the data and the requests bring along, as opposed to those that a server makes."""
    names = PEOPLE + MANAGED + STRANGERS
    texts = [f"{kind}:{name}" for name in names for kind in ("wallet", "trust")]
    texts += [f"{kind}:{number}" for number in range(1, 20001) for kind in ("token", "capture")]
    return frozenset({str(derived_id(text)) for text in texts} | {"11111111-1111-4111-8111-111111111111"})


def _derived(expression: str) -> str:
    return f"overlay(overlay(md5({expression}) placing '4' from 13) placing '8' from 17)::uuid"


TOKEN_ID = _derived("'token:' || i")
CAPTURE_ID = _derived("'capture:' || i")


def load(named: Collection[str] = ()) -> None:
    """
    Write keys, wallets, trusts and tokens. History starts empty, but for the issue of each token.

    No bundle draws a token of `named`, as long as its wallet gives away fewer than 100 others. A draw begins at a
    random lot and goes up: these have the lowest lot there is, and 100 others of each wallet the highest. One draw
    in 4 billion begins at the lowest.
    """
    names = PEOPLE + MANAGED + STRANGERS
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO wallets_apikey (id, name, prefix, digest, batch_access, revoked_at)"
            " VALUES (gen_random_uuid(), 'good', 'FORTES', %s, true, NULL),"
            "        (gen_random_uuid(), 'off', 'DEPREC', %s, true, now())",
            [queries.digest(API_KEY), queries.digest(DEPRECATED_API_KEY)],
        )
        cursor.execute(
            "INSERT INTO wallets_wallet (id, name, name_key, password, about, display_name, created_at)"
            " SELECT id, name, name, %s, '', '', timestamptz '2024-01-01 00:00:00Z' + position * interval '1 minute'"
            " FROM unnest(%s::uuid[], %s::text[]) WITH ORDINALITY AS wallet (id, name, position)",
            [make_password(PASSWORD), [derived_id(f"wallet:{name}") for name in names], names],
        )
        cursor.execute(
            "INSERT INTO trusts_trust"
            " (id, actor_id, target_id, originator_id, type, request_type, state, withdrawn, created_at, updated_at)"
            " SELECT id, %s, target, %s, type, type, 'trusted', false, at, at"
            " FROM (SELECT *, timestamptz '2024-01-02 00:00:00Z' + position * interval '1 minute' AS at"
            "         FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) WITH ORDINALITY"
            "           AS trust (id, target, type, position)) AS trust",
            [
                *[derived_id("wallet:alice")] * 2,
                [derived_id(f"trust:{name}") for name in ["bobby", *MANAGED, "carol"]],
                [derived_id(f"wallet:{name}") for name in ["bobby", *MANAGED, "carol"]],
                ["manage"] * 10 + ["send"],
            ],
        )
        cursor.execute(
            "INSERT INTO wallets_token (id, capture_id, wallet_id, moves, arrival, lot, claim, created_at, updated_at)"
            f" SELECT {TOKEN_ID}, {CAPTURE_ID},"
            "  CASE WHEN i <= 10000 THEN %s WHEN i <= 12500 THEN %s WHEN i <= 15000 THEN %s"
            "   WHEN i <= 17500 THEN %s ELSE %s END::uuid,"
            # The first token is the last to arrive, as the recorded lists have it: those are in the order of storage.
            "  0, nextval('transfers_arrival'),"
            f" CASE WHEN {TOKEN_ID} = ANY(%s::uuid[]) THEN -2147483648"
            "       WHEN i %% 25 = 0 THEN 2147483647 ELSE (random() * 2147483646)::int END, false, at, at"
            " FROM (SELECT i, timestamptz '2024-02-01 00:00:00Z' + i * interval '1 second' AS at"
            "       FROM generate_series(1, 20000) AS i ORDER BY i DESC) AS series",
            [*[derived_id(f"wallet:{name}") for name in PEOPLE], list(named)],
        )
        cursor.execute(
            "INSERT INTO transfers_movement (id, token_id, number, destination_id, processed_at)"
            " SELECT arrival, id, 0, wallet_id, created_at FROM wallets_token"
        )
    counters.recount()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def move_from_alice(wallet: str, numbers: list[int]) -> None:
    """
    Put tokens of alice into a wallet, as the recorder did: behind the server's back and without history.

    Afterwards the ledger's audit would rightly complain.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE wallets_token SET wallet_id = %s WHERE id = ANY(%s) AND wallet_id = %s",
            [
                derived_id(f"wallet:{wallet}"),
                [derived_id(f"token:{number}") for number in numbers],
                derived_id("wallet:alice"),
            ],
        )
        assert cursor.rowcount == len(numbers)
    counters.recount()
